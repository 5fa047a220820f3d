//! Where requests are verified and read: at once if that is quick, else away from the tasks that
//! speak with the network; and when those without a signature are refused.
//!
//! Anybody may send anything here. What a request costs, and when it is answered, follows from
//! its bytes alone: never from whether there is such a source, or what it is like.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    reading::{self, Reading, Said},
    refusal::Refusal,
    repetition::Print,
    verify,
};
use crate::{
    catalog::Cost,
    clock::Clock,
    delivery::sign::MAX_SIGNATURES,
    ingest::{Desk, Rejected},
    limits::Admission,
    model::Source,
};

/// Most requests that are looked at, or wait for that.
const MOST: usize = 256;
/// How often a body is read at the most to check a digest: once for each of a source's secrets.
const READINGS: usize = 5;
/// What the check of one public-key signature costs beside reading the body, in bytes of a body
/// that cost as much.
const SIGNATURE: usize = 16 << 10;
/// A refusal comes no sooner than this after the request.
const AFTER: Duration = Duration::from_millis(25);
/// And so much later for each MiB of the body: longer than any check takes, be it of as many
/// signatures with as many keys as there may be.
const AFTER_MIB: Duration = Duration::from_millis(300);

/// What a request was found to be.
pub(super) enum Examined {
    /// Not one of the third party's.
    Unverified(Refusal),
    /// It is the third party's. What was read of it, though it may not be enough.
    Verified(Reading, Result<(Said, Print), Refusal>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    desk: Desk,
    places: Semaphore,
    clock: Clock,
}

impl Gate {
    pub(super) fn new(admission: Admission, clock: Clock) -> Self {
        let desk = Desk::for_strangers(admission, clock);
        Self { desk, places: Semaphore::new(MOST), clock }
    }

    /// What a request to a source, or to none, is.
    pub(super) async fn examine(
        &self,
        source: Option<Arc<Source>>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Examined, Rejected> {
        let now = self.clock.now();
        let bytes = weight(&headers, body.len());
        self.at_desk(bytes, move || {
            let Some(source) = source else { return Examined::Unverified(Refusal::no_source()) };
            if let Err(refusal) = verify::verify(&source, &headers, &body, now) {
                return Examined::Unverified(refusal);
            }
            let mut reading = Reading::default();
            let print = Print::of(&source, &headers, &body);
            let said = reading::read(&source, &headers, body, &mut reading);
            Examined::Verified(reading, said.map(|said| (said, print)))
        })
        .await
    }

    /// What comes of looking at so many bytes.
    pub(super) async fn at_desk<T: Send + 'static>(
        &self,
        bytes: usize,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Rejected> {
        let full = |_| Rejected::Overloaded { retry_after: Duration::from_secs(1) };
        let _place = self.places.try_acquire().map_err(full)?;
        // A guess that nothing is learned from: what strangers send must not change it.
        self.desk.examine(&Cost::default(), bytes, look).await
    }

    /// Waits until a request without a signature may be refused, so that how long that took
    /// tells nothing.
    pub(super) async fn refuse(&self, came: Instant, body: usize) {
        sleep_until(came + refused_after(body)).await;
    }
}

/// What a request costs at the most, in bytes that are read once.
fn weight(headers: &HeaderMap, body: usize) -> usize {
    let values = ["webhook-signature", "svix-signature"].into_iter().filter_map(|n| headers.get(n));
    let most = values
        .map(|value| value.as_bytes().windows(4).filter(|at| at == b"v1a,").count())
        .max()
        .unwrap_or_default()
        .min(MAX_SIGNATURES);
    let each = body.saturating_add(SIGNATURE);
    body.saturating_mul(READINGS).saturating_add(each.saturating_mul(most))
}

fn refused_after(body: usize) -> Duration {
    AFTER + AFTER_MIB.mul_f64(body as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ed25519_dalek::{Signer, SigningKey};

    use super::{super::tests::source, *};
    use crate::{limits::AdmissionSettings, model::SourceKind};

    fn gate() -> Gate {
        let settings = AdmissionSettings { publishing: 9, body_bytes: 9 };
        Gate::new(Admission::new(settings, Clock::system()), Clock::system())
    }

    #[test]
    fn what_many_signatures_cost_is_known_before_they_are_checked() {
        let with = |signatures: usize| {
            let value = "v1a,x ".repeat(signatures).parse().unwrap();
            HeaderMap::from_iter([(http::HeaderName::from_static("webhook-signature"), value)])
        };
        assert_eq!(weight(&HeaderMap::new(), 100), 500);
        assert!(weight(&with(2), 0) > weight(&with(1), 0));
        assert_eq!(weight(&with(650), 1 << 20), weight(&with(MAX_SIGNATURES), 1 << 20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_takes_as_long_whether_there_is_a_source_or_not() {
        let gate = gate();
        let clock = Clock::system();
        for body in [0, 1 << 20] {
            let came = clock.instant();
            gate.refuse(came, body).await;
            let took = came.elapsed();
            assert!(took >= refused_after(body) && took < refused_after(body + 99_000), "{took:?}");
        }
    }

    // 650 signatures over a MiB with five keys, as one head has room for.
    #[tokio::test]
    async fn the_dearest_request_is_refused_within_the_time_that_refusals_take() {
        let keys: Vec<_> = (1..=5).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
        let texts: Vec<_> = keys
            .iter()
            .map(|key| format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes())))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let source = Arc::new(source(SourceKind::StandardWebhooks, &texts));
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        let other = SigningKey::from_bytes(&[9; 32]).sign(b"something else").to_bytes();
        let signatures = format!("v1a,{} ", STANDARD.encode(other)).repeat(650);
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "a".parse().unwrap());
        let now = Clock::system().now().as_second().to_string();
        headers.insert("webhook-timestamp", now.parse().unwrap());
        headers.insert("webhook-signature", signatures.trim().parse().unwrap());
        let gate = gate();
        let start = gate.clock.instant();
        let found = gate.examine(Some(source), headers, body).await;
        let took = start.elapsed();
        assert!(matches!(found, Ok(Examined::Unverified(_))));
        // With room for a machine that does other things, too.
        assert!(took < refused_after(1 << 20) * 10, "{took:?}");
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let gate = gate();
        let _all = gate.places.try_acquire_many(MOST as u32).unwrap();
        let refused = gate.examine(None, HeaderMap::new(), Bytes::new()).await;
        assert!(matches!(refused, Err(Rejected::Overloaded { .. })));
    }
}
