//! By what a request is known to come again.
//!
//! Its id is the third party's, and not all of them sign it. What is signed is the body, and with
//! some a time: whoever caught such a request can send it again, under another id. So what was
//! signed is remembered beside the id, where the source's `repetitions` say so.

use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::model::{Repetitions, Source, SourceKind};

/// What tells one signed request from others, if the source looks at that.
pub(super) struct Print(Option<(Repetitions, Sha256)>);

impl Print {
    /// Of a verified request, as it came.
    pub(super) fn of(source: &Source, headers: &HeaderMap, body: &[u8]) -> Self {
        let by = source.settings.repetitions();
        if by == Repetitions::Id {
            return Self(None);
        }
        let mut hash = Sha256::new();
        // A time that is signed with the body: what is said again later is another request.
        let stamp = match source.settings.kind {
            SourceKind::Slack => Some("x-slack-request-timestamp"),
            SourceKind::Hmac => {
                source.settings.hmac.as_ref().and_then(|rule| rule.timestamp_header.as_deref())
            }
            _ => None,
        };
        let stamp = stamp.and_then(|name| headers.get(name)).map(|value| value.as_bytes());
        for part in [stamp.unwrap_or_default(), body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(Some((by, hash)))
    }

    /// The print as text, of a request that is of this event type.
    pub(super) fn text(self, event_type: &str) -> Option<String> {
        let (by, mut hash) = self.0?;
        if by == Repetitions::ContentAndType {
            hash.update(event_type.as_bytes());
        }
        Some(hex::encode(hash.finalize()))
    }
}
