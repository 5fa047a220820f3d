//! `{{secret:NAME}}` in a header's value, which stands for a secret of the subscription.
//!
//! Owns the form. Everything else, other braces included, is text.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::SecretText;

const OPEN: &str = "{{secret:";
const CLOSE: &str = "}}";
/// Longest name of a secret, in bytes.
const MAX_NAME: usize = 64;

/// Whether a secret may have this name.
pub fn is_secret_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// What cannot be read as a placeholder, as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclosed(pub String);

/// The names of the secrets that a value needs.
pub fn secret_names(value: &str) -> Result<Vec<&str>, Unclosed> {
    let mut names = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find(OPEN) {
        let after = &rest[at + OPEN.len()..];
        let name = after.find(CLOSE).map(|end| &after[..end]).filter(|name| is_secret_name(name));
        let Some(name) = name else { return Err(Unclosed(rest[at..].to_owned())) };
        names.push(name);
        rest = &after[name.len() + CLOSE.len()..];
    }
    Ok(names)
}

/// The value with its secrets in it; none if one is not there. A secret's own braces are text.
pub fn filled(value: &str, secrets: &BTreeMap<String, SecretText>) -> Option<Zeroizing<String>> {
    // Room for all of it at once: a text that grows leaves its former self in memory.
    let names = secret_names(value).ok()?;
    let more: usize =
        names.iter().map(|name| secrets.get(*name).map_or(0, |s| s.reveal().len())).sum();
    let mut text = Zeroizing::new(String::with_capacity(value.len() + more));
    let mut rest = value;
    for name in names {
        let (before, after) = rest.split_once(OPEN)?;
        text.push_str(before);
        text.push_str(secrets.get(name)?.reveal());
        rest = after.get(name.len() + CLOSE.len()..)?;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> BTreeMap<String, SecretText> {
        let of = |(name, text): (&str, &str)| (name.to_owned(), SecretText::new(text.to_owned()));
        [("shop", "s3cret"), ("odd", "{{secret:shop}}")].map(of).into()
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_are_text() {
        for (value, expected) in [
            ("ApiKey {{secret:shop}}", "ApiKey s3cret"),
            ("{{secret:shop}}:{{secret:shop}}", "s3cret:s3cret"),
            ("{{shop}} {secret:shop}", "{{shop}} {secret:shop}"),
            ("{{secret:odd}}", "{{secret:shop}}"),
            ("", ""),
        ] {
            assert_eq!(filled(value, &secrets()).unwrap().as_str(), expected, "{value}");
        }
        assert_eq!(filled("{{secret:nobody}}", &secrets()), None);
    }

    #[test]
    fn what_looks_like_a_placeholder_and_is_none_is_refused() {
        assert_eq!(secret_names("a {{secret:b}} {{secret:c}}"), Ok(vec!["b", "c"]));
        for bad in ["{{secret:a", "{{secret:}}", "{{secret:a b}}", "x{{secret:{{secret:a}}}}"] {
            let at = bad.trim_start_matches('x').to_owned();
            assert_eq!(secret_names(bad), Err(Unclosed(at)), "{bad}");
        }
    }
}
