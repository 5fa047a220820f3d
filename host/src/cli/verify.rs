//! `hookmill verify`: checks the signature of a recorded request.
//!
//! Owns reading the record and saying what is wrong with it. Never asks a server.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Global, input,
    output::{self, Failure},
    trust::Trust,
};
use crate::{
    clock::Clock,
    delivery::{Key, VerifyError, sign},
    model::Scheme,
};

/// Most headers of a recorded request.
const MAX_HEADERS: usize = 128;

const EXAMPLES: &str = "\
Examples:
  hookmill verify --secret whsec_… --request recorded.http --any-age
  hookmill verify --secret whpk_… --header 'webhook-id: dlv_…' --header 'webhook-timestamp: 1795451451' \\
      --header 'webhook-signature: v1a,…' --body @body.json
  hookmill verify --scheme github --secret-file secret.txt --header 'x-hub-signature-256: sha256=…' --body -";

/// Check the signature of a recorded request
///
/// Exit code 0 if it is verified, 1 if it is not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    #[command(flatten)]
    trust: Trust,
    /// The whole request as it came over the wire; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["headers", "body"])]
    request: Option<PathBuf>,
    /// A header of it; repeat for more
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body; - is stdin
    #[arg(long, value_name = "TEXT|@FILE|-", required_unless_present = "request")]
    body: Option<String>,
    /// When it arrived: a time, or how long ago (2h) [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::moment, conflicts_with = "any_age")]
    at: Option<Timestamp>,
    /// How many seconds its timestamp may be off
    #[arg(long, value_name = "SECONDS", default_value_t = 300, conflicts_with = "any_age")]
    tolerance: u64,
    /// Do not look at its age
    #[arg(long)]
    any_age: bool,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no header name"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "the value cannot be sent")?;
    Ok((name, value))
}

/// A request as it was recorded.
#[derive(Debug)]
struct Recorded {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Verify {
    pub(super) fn run(self, global: &Global) -> Result<(), Failure> {
        let recorded = self.recorded()?;
        let check = self.trust.read()?.ok_or_else(|| {
            Failure::usage("there is no secret to check with")
                .hint("give --secret, --secret-file or HOOKMILL_SECRET")
        })?;
        let (scheme, key) = (check.scheme(&recorded.headers), &check.key);
        let tolerance = (!self.any_age).then(|| Duration::from_secs(self.tolerance));
        let now = self.at.unwrap_or_else(|| Clock::system().now());
        let checked = recorded.check(&scheme, key, tolerance, now);
        if global.json {
            let error = checked.as_ref().err().map(ToString::to_string);
            let verified = checked.is_ok();
            output::json(&json!({"verified": verified, "scheme": scheme.name(), "error": error}));
        } else if checked.is_ok() {
            output::data(format_args!("verified  {}", scheme.name()));
        }
        let Err(error) = checked else { return Ok(()) };
        let failure = Failure::failed(format!("not verified: {error}"));
        Err(match recorded.remark(&error, &scheme, key, now) {
            Some(remark) => failure.hint(remark),
            None => failure,
        })
    }

    fn recorded(&self) -> Result<Recorded, Failure> {
        if let Some(path) = &self.request {
            return parse(&bytes(path)?)
                .map_err(|why| Failure::usage(format!("{} {why}", path.display())));
        }
        let body = match self.body.as_deref() {
            Some("-") => bytes(Path::new("-"))?,
            Some(text) => match text.strip_prefix('@') {
                Some(path) => bytes(Path::new(path))?,
                None => text.as_bytes().to_vec(),
            },
            None => Vec::new(),
        };
        Ok(Recorded { headers: self.headers.iter().cloned().collect(), body })
    }
}

/// A file's bytes; `-` is stdin.
fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return input::bytes(path);
    }
    let mut bytes = Vec::new();
    match std::io::stdin().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::usage(format!("cannot read stdin: {error}"))),
    }
}

/// Reads a request as it came over the wire; else says what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Recorded, String> {
    let mut buffer = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut buffer);
    let start = match request.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => {
            return Err("ends before the empty line that ends a request's headers".into());
        }
        Err(error) => return Err(format!("is no HTTP/1 request: {error}")),
    };
    let mut headers = HeaderMap::new();
    for header in request.headers.iter() {
        let pair =
            (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_bytes(header.value));
        if let (Ok(name), Ok(value)) = pair {
            headers.append(name, value);
        }
    }
    if headers.contains_key(http::header::TRANSFER_ENCODING) {
        return Err("has a chunked body; record it decoded, without Transfer-Encoding".into());
    }
    let body = &bytes[start..];
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let body = match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.get(..length).ok_or_else(|| {
            format!("has {} bytes of its body's {length}: it was cut off", body.len())
        })?,
        None => body,
    };
    Ok(Recorded { headers, body: body.to_vec() })
}

impl Recorded {
    fn check(
        &self,
        scheme: &Scheme,
        key: &Key,
        tolerance: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), VerifyError> {
        sign::check(scheme, key, &self.headers, &self.body, tolerance, now)
    }

    /// What else is known of a request that does not verify.
    fn remark(
        &self,
        error: &VerifyError,
        scheme: &Scheme,
        key: &Key,
        now: Timestamp,
    ) -> Option<String> {
        match error {
            VerifyError::NoMatch => self.meant_body(scheme, key, now),
            VerifyError::TooOld(_) | VerifyError::TooNew(_) => Some(
                match self.check(scheme, key, None, now) {
                    Ok(()) => {
                        "but for its age it verifies; say when it arrived with --at, or --any-age"
                    }
                    Err(_) => "without looking at its age, it does not verify either",
                }
                .into(),
            ),
            VerifyError::Missing(_) => self.other_scheme(scheme),
            VerifyError::OtherVersion { wanted: "v1", .. } => {
                Some("v1a is checked with the subscription's public key, whpk_…".into())
            }
            VerifyError::OtherVersion { .. } => {
                Some("v1 is checked with the subscription's secret, whsec_…".into())
            }
            VerifyError::Malformed(_) | VerifyError::WrongKey(_) => None,
        }
    }

    /// The body that was signed, if it is this one but for what often happens to bodies.
    fn meant_body(&self, scheme: &Scheme, key: &Key, now: Timestamp) -> Option<String> {
        let fits = |body: &[u8]| sign::check(scheme, key, &self.headers, body, None, now).is_ok();
        if fits(self.body.trim_ascii_end()) {
            return Some("the signature is for the body without the white space at its end".into());
        }
        if fits(&[&self.body, &b"\n"[..]].concat()) {
            return Some("the signature is for the body with a line break at its end".into());
        }
        let text = str::from_utf8(&self.body).ok()?;
        if fits(text.replace("\r\n", "\n").as_bytes()) {
            return Some("the signature is for the body with \\n for its \\r\\n".into());
        }
        let value: Value = serde_json::from_str(text).ok()?;
        fits(value.to_string().as_bytes()).then(|| {
            "the signature is for the same JSON written without white space: check the bytes as they \
             arrived, before anything parses them"
                .into()
        })
    }

    /// Names another scheme whose header is there.
    fn other_scheme(&self, scheme: &Scheme) -> Option<String> {
        let known = [
            ("webhook-signature", "standard"),
            ("svix-signature", "standard"),
            ("x-hub-signature-256", "github"),
            ("stripe-signature", "stripe"),
        ];
        let own = scheme.signature_header();
        let found = known
            .into_iter()
            .find(|(header, _)| *header != own && self.headers.contains_key(*header));
        found.map(|(header, name)| format!("it has {header}: is the scheme {name}?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, Timestamp};

    const BODY: &[u8] = b"{\"n\":1}";

    fn at() -> Timestamp {
        Timestamp::from_second(1_614_265_330).unwrap()
    }

    fn standard() -> (Scheme, Key, Secret) {
        let secret = Secret::from_key(vec![1; 32]).unwrap();
        let scheme = Scheme::default();
        let key = Key::parse(&scheme, &secret.reveal()).unwrap();
        (scheme, key, secret)
    }

    fn recorded(signed: &[u8], body: &[u8]) -> Recorded {
        let (id, stamp) = ("dlv_1", "1614265330");
        let signature = sign::sign([&standard().2], &sign::Signed { id, stamp, body: signed });
        let wire = format!(
            "POST / HTTP/1.1\r\nwebhook-id: {id}\r\nWebhook-Timestamp: {stamp}\r\n\
             webhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        parse(&[wire.as_bytes(), body, b"\n"].concat()).unwrap()
    }

    #[test]
    fn a_request_off_the_wire_verifies() {
        let (scheme, key, _) = standard();
        let request = recorded(BODY, BODY);
        assert_eq!(request.body, BODY);
        assert_eq!(request.check(&scheme, &key, Some(sign::TOLERANCE), at()), Ok(()));
    }

    #[test]
    fn what_happened_to_a_body_is_found_out() {
        let (scheme, key, _) = standard();
        for (signed, arrived, word) in [
            (BODY, &b"{\"n\":1}\n"[..], "without the white space"),
            (b"{\"n\":1}\n", BODY, "with a line break"),
            (b"a\nb", b"a\r\nb", "for its \\r\\n"),
            (BODY, b"{ \"n\": 1 }", "without white space"),
        ] {
            let request = recorded(signed, arrived);
            let error = request.check(&scheme, &key, None, at()).unwrap_err();
            let remark = request.remark(&error, &scheme, &key, at()).unwrap();
            assert!(remark.contains(word), "{remark}");
        }
        let request = recorded(BODY, b"{\"n\":2}");
        assert_eq!(request.remark(&VerifyError::NoMatch, &scheme, &key, at()), None);
    }

    #[test]
    fn an_old_request_and_another_scheme_are_told() {
        let (scheme, key, _) = standard();
        let request = recorded(BODY, BODY);
        let later = Timestamp::from_second(1_614_269_330).unwrap();
        let error = request.check(&scheme, &key, Some(sign::TOLERANCE), later).unwrap_err();
        assert_eq!(error, VerifyError::TooOld(4000));
        assert!(request.remark(&error, &scheme, &key, later).unwrap().starts_with("but for"));
        let github: Scheme = serde_json::from_str(r#"{"scheme":"github"}"#).unwrap();
        let missing = VerifyError::Missing("x-hub-signature-256".into());
        let remark = request.remark(&missing, &github, &key, at()).unwrap();
        assert_eq!(remark, "it has webhook-signature: is the scheme standard?");
    }

    #[test]
    fn what_is_no_request_says_so() {
        for (text, why) in [
            ("POST / HTTP/1.1\r\na: b\r\n", "ends before"),
            ("hello\n\n", "is no HTTP/1 request"),
            ("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc", "cut off"),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"),
        ] {
            assert!(parse(text.as_bytes()).unwrap_err().contains(why), "{text}");
        }
    }
}
