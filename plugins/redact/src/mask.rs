//! What is put in a value's place.
//!
//! Owns the masks and the hash. Never lets a container or a short value through: what
//! can't be hidden in part is hidden whole.

use crate::{Action, Rule};
use hmac::{Hmac, KeyInit, Mac};
use hookmill_sdk::prelude::*;
use hookmill_sdk::serde_json;
use sha2::Sha256;

/// Readable characters `keep_last` leaves unless the rule says otherwise.
const KEEP: u32 = 4;
/// What `mask` puts unless the rule says otherwise.
const TEXT: &str = "[redacted]";

/// The text to put in a value's place; `None` for null, which hides nothing.
pub(crate) fn masked(rule: &Rule, json: &str) -> Result<Option<String>> {
    if json == "null" {
        return Ok(None);
    }
    let text = rule.text.as_deref().unwrap_or(TEXT);
    Ok(Some(match rule.action {
        Action::Hash => hash(rule.secret.as_deref().unwrap_or_default(), &content(json)?)?,
        Action::KeepLast if !json.starts_with(['{', '[']) => {
            keep_last(&content(json)?, rule.characters.unwrap_or(KEEP))
        }
        Action::KeepLast | Action::Mask | Action::Remove => text.to_owned(),
    }))
}

/// A string's characters; any other value's JSON text.
fn content(json: &str) -> Result<String> {
    if json.starts_with('"') { Ok(serde_json::from_str(json)?) } else { Ok(json.to_owned()) }
}

/// `*` for all but the last characters; for all, if that would leave half or more
/// readable.
fn keep_last(text: &str, keep: u32) -> String {
    let length = text.chars().count();
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let hidden = if keep.saturating_mul(2) <= length { length - keep } else { length };
    let mut masked = "*".repeat(hidden);
    masked.extend(text.chars().skip(hidden));
    masked
}

/// HMAC-SHA256, the first half of it in hexadecimal: enough to tell values apart.
fn hash(secret: &str, text: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(text.as_bytes());
    let mut hex = String::with_capacity(39);
    hex.push_str("sha256:");
    for byte in mac.finalize().into_bytes().iter().take(16) {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::{hash, keep_last};

    #[test]
    fn keep_last_never_shows_more_than_half() {
        assert_eq!(keep_last("4242424242424242", 4), "************4242");
        assert_eq!(keep_last("12345678", 4), "****5678");
        assert_eq!(keep_last("1234567", 4), "*******");
        assert_eq!(keep_last("größe-ü", 1), "******ü");
        assert_eq!(keep_last("", 4), "");
        assert_eq!(keep_last("secret", 0), "******");
    }

    #[test]
    fn the_hash_is_hmac_sha256() {
        // RFC 4231, test case 2.
        let expected = "sha256:5bdcc146bf60754e6a042426089575c7".to_owned();
        assert_eq!(hash("Jefe", "what do ya want for nothing?"), Ok(expected));
    }
}
