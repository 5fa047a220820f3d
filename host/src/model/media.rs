//! Media types: what a payload is, and which kinds an event type takes.
//!
//! Owns their forms and how one is found within a range. Never looks at a payload.

/// What a payload is that says nothing else.
pub const JSON: &str = "application/json";
/// Most media types and ranges of one event type.
pub const MAX_RANGES: usize = 20;
/// Longest media type with its parameters, in bytes.
pub const MAX_BYTES: usize = 255;

/// A media type without its parameters, in lower case.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether payloads of this type are JSON texts.
pub fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == JSON || essence.ends_with("+json")
}

/// Whether a text of this type is in UTF-8, as far as it says: ASCII is.
pub fn is_utf8(content_type: &str) -> bool {
    let parameters = content_type.split(';').skip(1).filter_map(|given| given.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.all(|(_, value)| {
        let value = value.trim().trim_matches('"');
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

/// Whether payloads of this type are text that a JSON string can hold.
pub fn is_text(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.starts_with("text/") || essence == "application/xml" || essence.ends_with("+xml")
}

/// Whether `content_type` can be sent in a header: a type, a subtype, perhaps parameters.
pub fn is_media_type(content_type: &str) -> bool {
    let visible = content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let bare = content_type.split(';').next().unwrap_or_default();
    let (kind, subtype) = bare.trim_end().split_once('/').unwrap_or_default();
    visible && content_type.len() <= MAX_BYTES && is_token(kind) && is_token(subtype)
}

/// Whether `range` is `*/*`, `text/*` or a media type without parameters.
pub fn is_range(range: &str) -> bool {
    let (kind, subtype) = range.split_once('/').unwrap_or_default();
    let is_lower = !range.bytes().any(|byte| byte.is_ascii_uppercase());
    let fits = is_token(kind) && (subtype == "*" || is_token(subtype));
    range == "*/*" || range.len() <= MAX_BYTES && is_lower && fits
}

/// Whether one of `ranges` takes payloads of this type.
pub fn takes(ranges: &[String], content_type: &str) -> bool {
    // Most are asked for what they name first, spelt the same.
    if ranges.iter().any(|range| range == content_type) {
        return true;
    }
    let essence = essence(content_type);
    ranges.iter().any(|range| match range.strip_suffix('*') {
        Some("*/") => true,
        Some(kind) if kind.ends_with('/') => essence.starts_with(kind),
        _ => *range == essence,
    })
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_has_two_parts_and_fits_a_header() {
        for good in ["text/xml", "text/plain; charset=utf-8", "application/vnd.x+json;v=1", "A/B"] {
            assert!(is_media_type(good), "{good}");
        }
        let long = format!("text/{}", "x".repeat(255));
        for bad in ["", "text", "text/", "/xml", "text/*", "a/b\r\nx: y", "a b/c", "a/é", &long] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn a_range_takes_what_is_in_it() {
        for good in ["*/*", "text/*", "application/vnd.x+json"] {
            assert!(is_range(good), "{good}");
        }
        for bad in ["", "*", "*/xml", "text/", "text/x*", "text/xml; charset=utf-8", "Text/xml"] {
            assert!(!is_range(bad), "{bad}");
        }
        let ranges = |all: &[&str]| all.iter().map(|&range| range.to_owned()).collect::<Vec<_>>();
        assert!(takes(&ranges(&[JSON]), JSON));
        assert!(takes(&ranges(&["text/*"]), "Text/XML; charset=utf-8"));
        assert!(takes(&ranges(&["text/xml", "*/*"]), "image/png"));
        assert!(!takes(&ranges(&["text/*", JSON]), "application/xml"));
        assert!(!takes(&ranges(&["text/*"]), "texts/x"));
        assert!(!takes(&[], JSON));
    }

    #[test]
    fn another_charset_than_utf8_is_told() {
        for good in ["a/b", "a/b; charset=UTF-8", "a/b;x=y; Charset=\"utf-8\"", "a/b;charset=utf8"]
        {
            assert!(is_utf8(good), "{good}");
        }
        for bad in ["a/b; charset=utf-16", "a/b;charset=\"latin1\"", "a/b;charset=utf-8;charset=x"]
        {
            assert!(!is_utf8(bad), "{bad}");
        }
    }

    #[test]
    fn json_is_told_by_its_name() {
        assert!(is_json("Application/JSON; charset=utf-8") && is_json("application/ld+json"));
        assert!(!is_json("text/plain") && !is_json("application/jsonl"));
        assert!(is_text("text/csv") && is_text("application/soap+xml; a=b"));
        assert!(!is_text("application/octet-stream"));
    }
}
