//! Names that an export makes up, of variables and of files.
//!
//! Each says by itself what it belongs to, whatever else there is: were two the same, or did
//! one depend on what others are called, a tenant could come by another's secret.

use sha2::{Digest, Sha256};

/// Longest name of a file, so that every file system takes it.
const MAX_FILE: usize = 160;

/// A variable of the environment: `["shop", "ware-house"]` is `SHOP__WARE_HOUSE`. What is
/// neither a letter nor a digit nor between two is written with small letters, which stand for
/// nothing else.
pub(super) fn variable(parts: &[&str]) -> String {
    let mut name = parts.iter().map(|part| word(part)).collect::<Vec<_>>().join("__");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

fn word(part: &str) -> String {
    let bytes = part.as_bytes();
    let is_plain = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let mut word = String::new();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => word.push(byte.to_ascii_uppercase().into()),
            b'-' if is_plain(at.checked_sub(1)) && is_plain(Some(at + 1)) => word.push('_'),
            b'-' => word.push('h'),
            b'.' => word.push('d'),
            b'_' => word.push('u'),
            other => word += &format!("x{other:02X}"),
        }
    }
    word
}

/// A file's name: `["shop", "shop backend"]` is `shop.shop%20backend`. Cases apart, no two are
/// the same.
pub(super) fn file(parts: &[&str]) -> String {
    let mut name = parts.iter().map(|part| escaped(part)).collect::<Vec<_>>().join(".");
    if name.len() > MAX_FILE {
        let digest = hex::encode(&Sha256::digest(name.as_bytes())[..16]);
        name.truncate(MAX_FILE);
        // No escape begins like this.
        name += &format!("%%{digest}");
    }
    name
}

fn escaped(part: &str) -> String {
    let mut name = String::new();
    for &byte in part.as_bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => name.push(byte.into()),
            other => name += &format!("%{other:02x}"),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// All names of up to so many of the letters that make trouble.
    fn all(most: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        for _ in 0..most {
            let longer =
                all.iter().flat_map(|name| "a1-._ B".chars().map(move |c| format!("{name}{c}")));
            all = longer.chain([String::new()]).collect();
        }
        all.retain(|name| !name.is_empty());
        all
    }

    #[test]
    fn no_two_things_have_one_name() {
        let (mut variables, mut files) = (HashMap::new(), HashMap::new());
        let mut count = 0;
        for one in all(2) {
            for other in all(3) {
                let parts = [one.as_str(), other.as_str()];
                let (variable, file) = (variable(&parts), file(&parts).to_lowercase());
                assert_eq!(variables.insert(variable.clone(), count), None, "{variable}");
                assert_eq!(files.insert(file.clone(), count), None, "{file}");
                count += 1;
            }
        }
    }

    #[test]
    fn names_can_be_read_and_used() {
        assert_eq!(variable(&["shop", "ware-house", "token"]), "SHOP__WARE_HOUSE__TOKEN");
        assert_eq!(variable(&["9.shop", "a_b"]), "_9dSHOP__AuB");
        assert_eq!(file(&["shop", "shop backend"]), "shop.shop%20backend");
        assert_eq!(file(&["..", "../x"]), "%2e%2e.%2e%2e%2fx");
        let (one, other) = ("é".repeat(99) + "a", "é".repeat(99) + "b");
        assert!(file(&["shop", &one]).len() < 200);
        assert_ne!(file(&["shop", &one]), file(&["shop", &other]));
        let plain = |name: String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        assert!(all(3).iter().all(|part| plain(variable(&[part]))));
    }
}
