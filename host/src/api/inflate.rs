//! Bodies with a Content-Encoding: gzip and zstd, inflated up to a bound.
//!
//! Owns the names of the encodings. What a body inflates to is never larger than a body that
//! comes as it is, whatever its few bytes promise.

use std::io::{self, Read};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
};

use tokio::sync::Semaphore;

use super::{
    door::Scale,
    problem::{Code, Problem},
};

/// What is sent back to who tries another one.
const KNOWN: HeaderValue = HeaderValue::from_static("gzip, zstd, identity");
/// The largest window a zstd frame may ask for, as a power of two: the 8 MiB that RFC 9659
/// allows in HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How many bodies are inflated at once; the others wait. What each comes to is in nobody's
/// count until it is there.
static PLACES: Semaphore = Semaphore::const_new(4);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Zstd,
}

/// The body as it was before its encoding, weighed as if it had come so. One without an
/// encoding is not touched.
pub async fn inflated(
    headers: &HeaderMap,
    body: Bytes,
    limit: usize,
    scale: Option<&Scale>,
) -> Result<Bytes, Problem> {
    let Some(encoding) = encoding(headers)? else { return Ok(body) };
    // A megabyte takes milliseconds, which other requests should not wait for.
    let place = PLACES.acquire().await.map_err(|error| Problem::internal("inflating", &error))?;
    let inflating = tokio::task::spawn_blocking(move || {
        let inflated = inflate(encoding, &body, limit);
        // Held here, so that a client that goes away frees no place before the work is done.
        drop(place);
        inflated
    });
    match inflating.await {
        Ok(Ok(body)) if scale.is_some_and(|scale| !scale.add(body.len())) => {
            Err(Problem::new(Code::Overloaded, "There is no memory for the inflated body"))
        }
        Ok(Ok(body)) if body.len() <= limit => Ok(body.into()),
        Ok(Ok(_)) => Err(Problem::new(
            Code::BodyTooLarge,
            format!("The body inflates to more than {limit} bytes"),
        )
        .member("limit_bytes", limit)),
        Ok(Err(error)) => Err(Problem::new(
            Code::UnreadableBody,
            "The body is not what its Content-Encoding says",
        )
        .detail(error.to_string())),
        Err(error) => Err(Problem::internal("inflating a body", &error)),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Problem> {
    let mut given = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let name = first.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    match name.as_str() {
        _ if given.next().is_some() => Err(unknown("more than one")),
        "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        other => Err(unknown(other)),
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(Code::UnknownEncoding, format!("The server cannot inflate a body: {name}"))
        .detail("Send Content-Encoding: gzip or zstd, one of them once, or none.")
        .header(header::ACCEPT_ENCODING, KNOWN)
}

/// Reads one byte beyond the limit, if there is one, and no further.
fn inflate(encoding: Encoding, body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let most = limit as u64 + 1;
    let mut inflated = Vec::new();
    match encoding {
        Encoding::Gzip => {
            flate2::bufread::MultiGzDecoder::new(body).take(most).read_to_end(&mut inflated)?;
        }
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            decoder.take(most).read_to_end(&mut inflated)?;
        }
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn with(encoding: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().unwrap())])
    }

    async fn read(encoding: &str, body: Vec<u8>, limit: usize) -> Result<Bytes, Problem> {
        inflated(&with(encoding), body.into(), limit, None).await
    }

    #[tokio::test]
    async fn what_was_packed_is_unpacked_up_to_the_limit() {
        let text = b"{\"a\":1}".repeat(100);
        for (encoding, packed) in [
            ("gzip", gzip(&text)),
            ("X-GZIP", gzip(&text)),
            ("zstd", zstd::encode_all(&text[..], 3).unwrap()),
            ("identity", text.clone()),
        ] {
            assert_eq!(read(encoding, packed.clone(), text.len()).await.unwrap(), text);
            if encoding != "identity" {
                let problem = read(encoding, packed, text.len() - 1).await.unwrap_err();
                assert_eq!(problem.code(), Code::BodyTooLarge);
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 64 << 20];
        for (encoding, bomb) in
            [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 19).unwrap())]
        {
            assert!(bomb.len() < 100_000, "{}", bomb.len());
            let problem = read(encoding, bomb, 1 << 20).await.unwrap_err();
            assert_eq!(problem.code(), Code::BodyTooLarge, "{encoding}");
        }
    }

    #[tokio::test]
    async fn a_window_larger_than_the_web_s_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 64 << 20]).unwrap();
        let frame = encoder.finish().unwrap();
        let problem = read("zstd", frame, 1 << 20).await.unwrap_err();
        assert_eq!(problem.code(), Code::UnreadableBody);
    }

    #[tokio::test]
    async fn what_is_cut_short_or_damaged_is_said_to_be() {
        let text = b"[1,2,3,4,5,6,7,8]";
        let whole = [("gzip", gzip(text)), ("zstd", zstd::encode_all(&text[..], 3).unwrap())];
        for (encoding, packed) in whole {
            for cut in 1..packed.len() {
                let problem = read(encoding, packed[..cut].to_vec(), 99).await.unwrap_err();
                assert_eq!(problem.code(), Code::UnreadableBody, "{encoding} {cut}");
            }
            let mut trailing = packed.clone();
            trailing.extend(b"garbage");
            let problem = read(encoding, trailing, 99).await.unwrap_err();
            assert_eq!(problem.code(), Code::UnreadableBody, "{encoding}");
        }
    }

    #[tokio::test]
    async fn other_encodings_are_refused_naming_those_there_are() {
        for other in ["br", "deflate", "gzip, gzip", ""] {
            let problem = read(other, Vec::new(), 9).await.unwrap_err();
            assert_eq!(problem.code(), Code::UnknownEncoding, "{other}");
        }
        let mut twice = with("gzip");
        twice.append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(inflated(&twice, Bytes::new(), 9, None).await.is_err());
    }
}
