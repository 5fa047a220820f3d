//! Events from sources: told apart by what the third party calls their delivery, and by what it
//! signed.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Ingest, Publish, Published, Rejected, Turn, payload};
use crate::{
    catalog::Cost,
    model::{Application, SourceId, Timestamp},
    store::{Idempotency, StoreError},
};

/// How long a delivery is remembered at least: third parties repeat one for up to three
/// days.
const REMEMBERED: Duration = Duration::from_secs(4 * 24 * 3600);

/// The key that a third party's repetitions share, in a space of its source's own. What comes
/// again under the same id is the same event, though some parties change its text on the way:
/// the print says nothing of the payload.
fn key(key: String, window: Duration, now: Timestamp) -> Idempotency {
    Idempotency {
        fingerprint: Sha256::digest(key.as_bytes()).into(),
        key,
        expires_at: now.checked_add(window.max(REMEMBERED)).unwrap_or(Timestamp::MAX),
    }
}

/// What a third party's id and its print are remembered by, in spaces of their own.
fn keys(
    source: SourceId,
    delivery: Option<&str>,
    print: Option<&str>,
) -> impl Iterator<Item = String> {
    let delivery = delivery.map(|id| format!("{source}:{id}"));
    delivery.into_iter().chain(print.map(|print| format!("{source}#{print}")))
}

impl Ingest {
    /// Accepts an event that a source verified. Its `id` is the third party's for the delivery:
    /// the source accepts it once. So it does what has this print, if it has one.
    pub async fn publish_sourced(
        &self,
        application: &Application,
        source: SourceId,
        event: Publish,
        print: Option<String>,
    ) -> Result<Published, Rejected> {
        let now = self.shared.clock.now();
        let window = self.window();
        let keys = keys(source, event.id.as_deref(), print.as_deref());
        let keys = keys.map(|text| key(text, window, now)).collect();
        let mut published = self.accept(application, event, keys, &mut Turn::alone(now)).await?;
        if published.repeated {
            // No header with the type is signed by most: what was stored is what counts.
            let stored = self.shared.store.event(application.id, published.receipt.id).await;
            match stored {
                Ok(stored) => published.event_type = stored.event.event_type,
                // It is no longer kept, but was taken all the same.
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(Rejected::Store(error)),
            }
        }
        Ok(published)
    }

    /// Refuses what an event type without a schema would, for one that is yet to be made.
    pub async fn check_plain(&self, payload: Bytes) -> Result<(), Rejected> {
        let bytes = payload.len();
        let check = move || payload::plain(&payload).map(drop);
        self.shared.desk.examine(&Cost::default(), bytes, check).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_of_one_source_are_told_from_anothers_and_kept_for_days() {
        let now = Timestamp::UNIX_EPOCH;
        let (one, other) = (SourceId::new(now), SourceId::new(now));
        let of = |source, delivery, print| -> Vec<String> {
            keys(source, delivery, print)
                .map(|text| key(text, Duration::from_secs(60), now))
                .inspect(|key| {
                    let end = Timestamp::from_second(4 * 24 * 3600).unwrap();
                    assert_eq!(key.expires_at, end);
                    assert_eq!(key.fingerprint, <[u8; 32]>::from(Sha256::digest(&key.key)));
                })
                .map(|key| key.key)
                .collect()
        };
        assert_eq!(of(one, Some("7"), None), of(one, Some("7"), None));
        assert_ne!(of(one, Some("7"), None), of(other, Some("7"), None));
        let both = of(one, Some("7"), Some("7"));
        assert_eq!(both.len(), 2);
        assert_ne!(both[0], both[1], "an id is no print");
        assert!(of(one, None, None).is_empty());
    }
}
