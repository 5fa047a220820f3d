//! What a transform's answer may be: sizes, media types, headers.
//!
//! Owns the list of headers that are the server's own. Never sends anything.

use super::{host::types, settings::Limits};
use crate::model::FailureKind;

const MAX_HEADERS: usize = 64;
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 4 << 10;

/// Names the server, HTTP or a proxy on the way sets. Beside these, everything that starts
/// with one of [`RESERVED_PREFIXES`].
const RESERVED: [&str; 19] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const RESERVED_PREFIXES: [&str; 4] = ["webhook-", "hookmill-", "x-forwarded-", "sec-"];

/// A failure's name and words.
pub(super) type Failure = (FailureKind, String);

pub(super) fn bad_output(message: impl Into<String>) -> Failure {
    (FailureKind::BadOutput, message.into())
}

/// Adds a header, replacing one of the same name.
pub(super) fn set_header(
    headers: &mut Vec<(String, String)>,
    header: types::Header,
) -> Result<(), Failure> {
    let types::Header { name, value } = header;
    check_header(&name, &value)?;
    match headers.iter().position(|(known, _)| *known == name) {
        Some(at) => headers[at].1 = value,
        None if headers.len() == MAX_HEADERS => {
            return Err(bad_output(format!("more than {MAX_HEADERS} headers")));
        }
        None => headers.push((name, value)),
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), Failure> {
    let shown: String = name.chars().take(64).collect();
    let token = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b)
        });
    if !token {
        return Err(bad_output(format!(
            "{shown:?} is not a header name: lower-case letters, digits and hyphens, at most \
             {MAX_NAME}"
        )));
    }
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|p| name.starts_with(p)) {
        return Err(bad_output(format!("the header {shown} is the server's to set")));
    }
    let visible = value.len() <= MAX_VALUE
        && value.bytes().all(|b| (0x20..0x7f).contains(&b) || b == b'\t')
        && value.trim_matches([' ', '\t']).len() == value.len();
    if !visible {
        return Err(bad_output(format!(
            "the value of the header {shown} is not visible ASCII of at most {MAX_VALUE} bytes \
             without space around it"
        )));
    }
    Ok(())
}

/// What a message counts against the limit of output.
pub(super) fn message_size(message: &types::Message) -> usize {
    let headers = message.headers.iter().map(|h| h.name.len() + h.value.len()).sum::<usize>();
    message.body.len() + message.content_type.len() + headers
}

/// Checks a message's media type and size.
pub(super) fn check_message(message: &types::Message, limits: &Limits) -> Result<(), Failure> {
    check_size(message_size(message), limits)?;
    let (kind, _) = message.content_type.split_once(';').unwrap_or((&message.content_type, ""));
    let form = message.content_type.len() <= 256
        && message.content_type.bytes().all(|b| (0x20..0x7f).contains(&b))
        && kind.trim().split_once('/').is_some_and(|(a, b)| {
            [a, b].iter().all(|part| {
                !part.is_empty()
                    && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c))
            })
        });
    if form {
        Ok(())
    } else {
        let shown: String = message.content_type.chars().take(64).collect();
        Err(bad_output(format!("{shown:?} is not a media type such as application/json")))
    }
}

/// What edits count against the limit of output: everything they would put in.
pub(super) fn edits_size(edits: &[types::Edit]) -> usize {
    let bytes = |edit: &types::Edit| match edit {
        types::Edit::Set(set) => set.pointer.len() + set.value.len(),
        types::Edit::Remove(pointer) => pointer.len(),
        types::Edit::SetHeader(header) => header.name.len() + header.value.len(),
    };
    edits.iter().map(bytes).sum()
}

/// Checks the size of edits.
pub(super) fn check_edits(edits: &[types::Edit], limits: &Limits) -> Result<(), Failure> {
    check_size(edits_size(edits), limits)
}

fn check_size(bytes: usize, limits: &Limits) -> Result<(), Failure> {
    if bytes > limits.output_bytes {
        let limit = limits.output_bytes;
        Err((FailureKind::OutputTooLarge, format!("the answer has {bytes} bytes of {limit}")))
    } else {
        Ok(())
    }
}

/// Whether a media type says JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<(), Failure> {
        set_header(&mut vec![], types::Header { name: name.into(), value: value.into() })
    }

    #[test]
    fn the_server_s_headers_are_its_own() {
        for good in [("x-tenant", "a b"), ("authorization", "Bearer x"), ("x", "")] {
            assert_eq!(set(good.0, good.1), Ok(()));
        }
        for bad in [
            "",
            "Host",
            "host",
            "content-type",
            "content-length",
            "transfer-encoding",
            "webhook-id",
            "hookmill-x",
            "x y",
            "x:",
            "ü",
            "connection",
            &"x".repeat(129),
        ] {
            assert_eq!(set(bad, "x").unwrap_err().0, FailureKind::BadOutput, "{bad}");
        }
        for bad in ["a\r\nhost: b", "ü", " a", "a\0", &"x".repeat(5000)] {
            assert_eq!(set("x", bad).unwrap_err().0, FailureKind::BadOutput, "{bad:?}");
        }
    }

    #[test]
    fn a_header_replaces_one_of_its_name() {
        let mut headers = vec![("x-a".into(), "1".into())];
        for (name, value) in [("x-b", "2"), ("x-a", "3")] {
            let header = types::Header { name: name.into(), value: value.into() };
            set_header(&mut headers, header).unwrap();
        }
        assert_eq!(headers, [("x-a".into(), "3".into()), ("x-b".into(), "2".into())]);
        for i in 0..62 {
            let header = types::Header { name: format!("y-{i}"), value: String::new() };
            set_header(&mut headers, header).unwrap();
        }
        let header = types::Header { name: "z".into(), value: String::new() };
        assert!(set_header(&mut headers, header).is_err());
    }

    #[test]
    fn media_types_have_a_form_and_messages_a_size() {
        let check = |content_type: &str, body: usize| {
            let message = types::Message {
                content_type: content_type.into(),
                headers: vec![],
                body: vec![0; body],
            };
            check_message(&message, &Limits { output_bytes: 100, ..Limits::LEAN })
        };
        for good in
            ["application/json", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"]
        {
            assert_eq!(check(good, 10), Ok(()));
        }
        for bad in ["", "json", "a/", "/b", "a/b\r\nx: y", "a b/c"] {
            assert_eq!(check(bad, 10).unwrap_err().0, FailureKind::BadOutput, "{bad:?}");
        }
        assert_eq!(check("a/b", 100).unwrap_err().0, FailureKind::OutputTooLarge);
        assert!(is_json("Application/JSON; charset=utf-8") && is_json("application/ld+json"));
        assert!(!is_json("text/plain"));
    }
}
