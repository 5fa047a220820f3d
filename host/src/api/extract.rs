//! Takes requests apart: bodies, query strings, path parts. Everything that does not fit is
//! answered with the problem that names it.
//!
//! Owns size bounds, media types and what may be said once only. Never authorises and never looks at what was said.

use std::{borrow::Cow, str::FromStr, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{Extensions, HeaderMap, HeaderName, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    Api,
    auth::APPLICATION_HEADER,
    door::Scale,
    explain, inflate,
    problem::{Code, FieldError, Problem},
};
use crate::model::{IdError, Timestamp, media, time};

/// How long the rest of a body that is too large is read and thrown away. A client that is
/// still writing when the connection closes sees a reset instead of the 413.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long a body may take to come, and so keep a connection and memory, however small it is.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Beside that, a second for so many bytes of what is allowed: a slow line is no crime.
const BYTES_A_SECOND: usize = 256 << 10;

/// A JSON body, as `T`.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let body = json_bytes(request, api.limits.load().max_body).await?;
        explain::json(&body).map(Self)
    }
}

/// A JSON body, as `T`; none is `T`'s default.
#[derive(Debug)]
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Api>> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let limit = api.limits.load().max_body;
        let body = read((&parts.headers, &parts.extensions), body, limit).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        require_json(&parts.headers)?;
        explain::json(&body).map(Self)
    }
}

/// A query string, as `T`, which should deny unknown fields.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                use std::error::Error;
                let cause =
                    rejection.source().map_or_else(|| rejection.to_string(), ToString::to_string);
                Err(explain::query(&cause))
            }
        }
    }
}

/// The path's one variable part, as an id.
#[derive(Debug)]
pub struct PathId<T>(pub T);

impl<T: FromStr<Err = IdError>, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathParts(text) = PathParts::<String>::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|error: IdError| {
            Problem::new(Code::InvalidId, format!("{text:?} is not an id of the kind wanted here"))
                .detail(error.to_string())
        })
    }
}

/// The path's variable parts as they are.
#[derive(Debug)]
pub struct PathParts<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParts<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(parts)) => Ok(Self(parts)),
            Err(rejection) => Err(Problem::new(Code::InvalidId, "The path cannot be read")
                .detail(rejection.body_text())),
        }
    }
}

/// A body that must be JSON, unparsed.
pub async fn json_bytes(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers)?;
    read((&parts.headers, &parts.extensions), body, limit).await
}

/// A body whose type was looked at already, with what came before it.
pub async fn any_bytes(request: Request, limit: usize) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let body = read((&parts.headers, &parts.extensions), body, limit).await?;
    Ok((parts, body))
}

/// A body byte for byte as it came, whatever its Content-Encoding says: for who checks a
/// signature over just these bytes, or knows nothing of the sender.
pub async fn bytes_as_sent(request: Request, limit: usize) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let body = read_in_time(&parts.headers, body, limit).await?;
    Ok((parts, body))
}

/// A body of one of these media types.
pub async fn bytes_of(request: Request, types: &[&str], limit: usize) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    require(&parts.headers, types)?;
    read((&parts.headers, &parts.extensions), body, limit).await
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    require(headers, &["application/json"])
}

fn require(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    if media_type(headers).is_some_and(|essence| types.contains(&essence.as_str())) {
        return Ok(());
    }
    Err(wrong_type(headers, types))
}

/// A body's type is not one of these.
pub fn wrong_type(headers: &HeaderMap, types: &[&str]) -> Problem {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let title = match given {
        Some(given) => format!("This request does not take a body of type {given}"),
        None => "The body's Content-Type is missing".to_owned(),
    };
    Problem::new(Code::WrongContentType, title)
        .detail(format!("Send Content-Type: {}.", types.join(" or ")))
}

/// The media type a request names, without parameters and in lower case; none if its text is
/// said to be in another charset than the one it would be read in.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    media::is_utf8(given).then(|| media::essence(given))
}

/// Headers of which two would leave open which counts.
const SINGLE: [HeaderName; 3] =
    [header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static(APPLICATION_HEADER)];

/// Refuses what says one thing twice: another reader of the request, a proxy before this server
/// for example, may have taken the other.
pub async fn said_once(request: Request, next: Next) -> Response {
    for name in &SINGLE {
        if request.headers().get_all(name).iter().nth(1).is_some() {
            let title = format!("The header {name} is there more than once");
            return Problem::new(Code::InvalidHeader, title).into_response();
        }
    }
    next.run(request).await
}

/// Reads a body of at most `limit` bytes, inflated if it has to be.
async fn read(
    (headers, extensions): (&HeaderMap, &Extensions),
    body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    let body = read_in_time(headers, body, limit).await?;
    if headers.contains_key(header::CONTENT_ENCODING) {
        return inflate::inflated(headers, body, limit, extensions.get::<Scale>()).await;
    }
    Ok(body)
}

/// For as long as so many bytes may take.
async fn read_in_time(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let time = BODY_TIME + Duration::from_secs((limit / BYTES_A_SECOND) as u64);
    let reading = timeout(time, read_within(headers, body, limit));
    reading.await.unwrap_or_else(|_| Err(too_slow(time)))
}

async fn read_within(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        // With `Expect: 100-continue` the client waits for leave to send; do not give it.
        if !headers.contains_key(header::EXPECT) {
            drain(body, limit).await;
        }
        return Err(too_large(limit));
    }
    if announced.is_some() {
        // The connection ends the body at the announced length, so the bound holds.
        return to_bytes(body, limit).await.map_err(|error| unreadable(&error));
    }
    // Chunked: count while it comes.
    let mut stream = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| unreadable(&error))?;
        if whole.len() + chunk.len() > limit {
            drain(Body::from_stream(stream), limit).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

/// Throws away what is still to come of a body, for a while and up to a few times the limit.
async fn drain(body: Body, limit: usize) {
    let mut stream = body.into_data_stream();
    let mut left = limit.saturating_mul(4);
    let reading = async {
        while let Some(Ok(chunk)) = stream.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    if timeout(DRAIN_TIME, reading).await.is_err() {
        tracing::debug!("a client took too long to send a body that is too large");
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("The body is larger than {limit} bytes"))
        .member("limit_bytes", limit)
}

fn too_slow(time: Duration) -> Problem {
    let seconds = time.as_secs();
    Problem::new(Code::SlowBody, format!("The body did not end within {seconds} seconds"))
}

fn unreadable(error: &axum::Error) -> Problem {
    Problem::new(Code::UnreadableBody, "The body could not be read").detail(error.to_string())
}

/// A text field's bounds: what is stored and shown must be short and printable. It is measured
/// in characters, as JSON Schema's `maxLength` measures.
pub fn check_text(at: &str, text: &str, most: usize) -> Result<(), FieldError> {
    let length = text.chars().count();
    if length == 0 {
        Err(FieldError::new(at, "must not be empty; leave it out instead"))
    } else if length > most {
        Err(FieldError::new(at, format!("is {length} characters; at most {most} are allowed")))
    } else if text.chars().any(char::is_control) {
        Err(FieldError::new(at, "must not contain control characters"))
    } else {
        Ok(())
    }
}

/// Tells `null` (some none) from a field that is not there (none).
pub fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

/// A time as RFC 3339 writes one, and as nothing else does; as the store keeps it.
pub fn time<'de, D>(deserializer: D) -> Result<Option<Timestamp>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let given: Option<Cow<'de, str>> = serde::Deserialize::deserialize(deserializer)?;
    let read = given.map(|text| time::rfc3339(&text)).transpose();
    Ok(read.map_err(serde::de::Error::custom)?.map(time::kept))
}

/// The same where `null` is told from a field that is not there.
pub fn nullable_time<'de, D>(deserializer: D) -> Result<Option<Option<Timestamp>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    time(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::model::EventId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Params {
        limit: Option<u32>,
        violating: Option<bool>,
        event_id: Option<EventId>,
    }

    async fn query(uri: &str) -> Result<Params, Problem> {
        let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
        QueryParams::from_request_parts(&mut parts, &()).await.map(|QueryParams(params)| params)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_not_waited_for() {
        let body = || {
            let start = futures_util::stream::iter([Ok::<_, std::io::Error>("{")]);
            Body::from_stream(start.chain(futures_util::stream::pending()))
        };
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, 9.into())]);
        for headers in [HeaderMap::new(), announced] {
            let problem = read_in_time(&headers, body(), 1 << 20).await.unwrap_err();
            assert_eq!(problem.code(), Code::SlowBody, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn query_parameters_are_read_by_kind() {
        let params = query("/?limit=5&violating=true").await.unwrap();
        assert_eq!((params.limit, params.violating), (Some(5), Some(true)));
        assert!(params.event_id.is_none());
    }

    #[tokio::test]
    async fn bad_query_parameters_are_named() {
        let problem = query("/?limt=5").await.unwrap_err();
        assert_eq!(problem.code(), Code::InvalidQuery);
        assert_eq!(problem.body().did_you_mean.as_deref(), Some("limit"));
        let problem = query("/?limit=five").await.unwrap_err();
        assert_eq!(problem.body().errors[0].at, "?limit", "{problem:?}");
        let problem = query("/?event_id=sub_1").await.unwrap_err();
        assert!(problem.body().errors[0].message.contains("evt_"), "{problem:?}");
        assert_eq!(query("/?limit=1&limit=2").await.unwrap_err().code(), Code::InvalidQuery);
    }

    fn post(content_type: Option<&str>, body: impl Into<Body>) -> Request {
        let mut request = Request::new(body.into());
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        request
    }

    #[tokio::test]
    async fn only_json_is_taken_where_json_is_expected() {
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(&json_bytes(post(Some(good), "{}"), 9).await.unwrap()[..], b"{}");
        }
        let utf16 = Some("application/json; charset=utf-16");
        for bad in [None, Some("text/plain"), Some("application/cloudevents+json"), utf16] {
            let problem = json_bytes(post(bad, "{}"), 9).await.unwrap_err();
            assert_eq!(problem.code(), Code::WrongContentType);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_by_size_announced_or_not() {
        let stream = futures_util::stream::iter(
            (0..10).map(|_| Ok::<_, std::convert::Infallible>("0123456789")),
        );
        let chunked = post(Some("application/json"), Body::from_stream(stream));
        let mut announced = post(Some("application/json"), "0".repeat(100));
        announced.headers_mut().insert(header::CONTENT_LENGTH, 100.into());
        for request in [chunked, announced] {
            let problem = json_bytes(request, 99).await.unwrap_err();
            assert_eq!(problem.code(), Code::BodyTooLarge);
            assert_eq!(problem.body().more["limit_bytes"], 99);
        }
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_passes() {
        let mut request = post(Some("application/json"), "0".repeat(100));
        request.headers_mut().insert(header::CONTENT_LENGTH, 100.into());
        assert_eq!(json_bytes(request, 100).await.unwrap().len(), 100);
        let chunked = post(Some("application/json"), "0".repeat(100));
        assert_eq!(json_bytes(chunked, 100).await.unwrap().len(), 100);
    }

    #[test]
    fn text_is_short_and_printable() {
        assert!(check_text("/id", "order-7", 255).is_ok());
        for bad in ["", "a\u{0}b", "line\nbreak", &"x".repeat(256)] {
            assert!(check_text("/id", bad, 255).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_of_the_one_form_that_the_document_says() {
        #[derive(Debug, Deserialize)]
        struct Given {
            #[serde(default, deserialize_with = "time")]
            at: Option<Timestamp>,
            #[serde(default, deserialize_with = "nullable_time")]
            end: Option<Option<Timestamp>>,
        }
        let read = |text: &str| serde_json::from_str::<Given>(text).map_err(|e| e.to_string());
        let good = read(r#"{"at":"2026-01-01T00:00:00.5+01:00","end":null}"#).unwrap();
        assert_eq!(good.at.unwrap().to_string(), "2025-12-31T23:00:00.5Z");
        assert_eq!(good.end, Some(None));
        let none = read("{}").unwrap();
        assert_eq!((none.at, none.end), (None, None));
        for bad in ["20260101T000000Z", "2026-01-01T00:00Z", "2026-01-01T00:00:00Z[UTC]", "1"] {
            let error = read(&format!(r#"{{"at":"{bad}"}}"#)).unwrap_err();
            assert!(error.contains("RFC 3339"), "{error}");
            assert!(read(&format!(r#"{{"end":"{bad}"}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn null_is_told_from_absence() {
        #[derive(Deserialize)]
        struct Patch {
            #[serde(default, deserialize_with = "nullable")]
            retry: Option<Option<u32>>,
        }
        let read = |text| serde_json::from_str::<Patch>(text).unwrap().retry;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"retry":null}"#), Some(None));
        assert_eq!(read(r#"{"retry":3}"#), Some(Some(3)));
    }
}
