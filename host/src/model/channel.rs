//! What narrows down the events of a subscription: channels, and the text of a filter.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

/// Most channels an event is published on.
pub const MAX_EVENT_CHANNELS: usize = 10;
/// Most channels a subscription listens to.
pub const MAX_SUBSCRIPTION_CHANNELS: usize = 100;
const MAX_BYTES: usize = 128;

/// What is wrong with a list of channels, if anything: where in it, and why.
pub fn check_channels(given: &[String], most: usize) -> Option<(String, String)> {
    if given.len() > most {
        return Some((
            String::new(),
            format!("has {} channels; at most {most} are allowed", given.len()),
        ));
    }
    given.iter().enumerate().find_map(|(index, name)| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
        let why = if name.is_empty() || name.len() > MAX_BYTES || !name.bytes().all(allowed) {
            "is no name of a channel: write 1 to 128 letters, digits, `_`, `-`, `.` and `:`"
        } else if given[..index].contains(name) {
            "is there twice"
        } else {
            return None;
        };
        Some((format!("/{index}"), why.to_owned()))
    })
}

/// A filter as it was given: JSON, kept as it was written so that no number is rounded.
#[derive(Clone, PartialEq, Eq)]
pub struct FilterText(Arc<str>);

impl FilterText {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RawValue> for FilterText {
    fn from(raw: &RawValue) -> Self {
        Self(raw.get().into())
    }
}

impl fmt::Debug for FilterText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for FilterText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FilterText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(de::Error::custom)?;
        Ok(Self::from(&*raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_few_short_names_each_once() {
        let check = |names: &[&str]| {
            check_channels(&names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>(), 3)
        };
        assert_eq!(check(&[]), None);
        assert_eq!(check(&["eu", "customer:7", "a.b-c_d"]), None);
        for (bad, at) in [
            (&["a", "b", "c", "d"][..], ""),
            (&["a", ""], "/1"),
            (&["a b"], "/0"),
            (&["a", "a"], "/1"),
        ] {
            assert_eq!(check(bad).map(|(at, _)| at).as_deref(), Some(at), "{bad:?}");
        }
        assert!(check_channels(&["x".repeat(129)], 3).is_some());
    }

    #[test]
    fn a_filter_is_kept_as_it_was_written() {
        let text = r#"{"gt": {"/a": 12345678901234567890.10}}"#;
        let filter: FilterText = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
    }
}
