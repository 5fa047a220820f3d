//! What an operator may set about delivering, with its defaults.
//!
//! Owns the numbers and the relations between them that must hold. Never reads a file or
//! an environment variable: that is `config`'s.

use std::{net::SocketAddr, time::Duration};

use rustls::pki_types::CertificateDer;

use super::{BreakerRules, Guard};
use crate::model::{Policy, RetryPolicy};

/// How deliveries are made.
#[derive(Debug, Clone)]
pub struct DeliverySettings {
    /// Most attempts under way at once, in all.
    pub max_in_flight: usize,
    /// Most attempts under way at once for a subscription that does not say.
    pub concurrency: u32,
    /// Most deliveries of one subscription in memory; the others wait in the store.
    pub lane_places: u32,
    /// Most deliveries in memory, in all.
    pub total_places: usize,
    /// How long a delivery is leased to this server.
    pub lease: Duration,
    /// How long an attempt may take, the response's body included.
    pub attempt_timeout: Duration,
    /// The longest that a subscription may ask for instead.
    pub longest_timeout: Duration,
    /// How long resolving, connecting and the TLS handshake may take of it.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How many bytes of a response's body are kept; then the connection is closed.
    pub response_capture: usize,
    /// The schedule of a subscription that has none of its own.
    pub retry: RetryPolicy,
    /// The largest share of a wait that is added to it at random.
    pub jitter: f64,
    /// How old a delivery may become; zero for no bound.
    pub max_age: Duration,
    /// When a failing endpoint is left alone for a while.
    pub breaker: BreakerRules,
    /// Most attempts under way at once to one host, over all subscriptions; 0 for no bound.
    pub host_concurrency: u32,
    /// After how long of nothing but failures a subscription is disabled; zero for never.
    pub disable_after: Duration,
    /// The longest `Retry-After` that is honoured in full.
    pub retry_after_cap: Duration,
    /// Where requests may go.
    pub guard: Guard,
    /// The name servers to ask for endpoints' addresses; the machine's resolver if none.
    pub dns_servers: Vec<SocketAddr>,
    /// Certificate authorities trusted besides the machine's, as DER.
    pub extra_authorities: Vec<CertificateDer<'static>>,
    /// Whether endpoints may be `http:`.
    pub allow_http: bool,
    /// Most records in a transaction.
    pub record_batch: usize,
    /// The longest that nobody looks at the time: a sleeping machine's monotonic clock may
    /// stand still while the wall's goes on.
    pub longest_sleep: Duration,
    /// How long the first record of a batch waits for company.
    pub record_linger: Duration,
    /// What requests say they come from.
    pub user_agent: String,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            max_in_flight: 512,
            concurrency: 32,
            lane_places: 1_000,
            total_places: 20_000,
            lease: Duration::from_secs(5 * 60),
            attempt_timeout: Duration::from_secs(15),
            longest_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            // Node and Apache close an idle connection after 5 s; a request sent into the
            // closing one would be a failed attempt that is nobody's fault.
            idle_timeout: Duration::from_secs(4),
            response_capture: 16 * 1024,
            retry: RetryPolicy::standard(),
            jitter: 0.2,
            max_age: Duration::ZERO,
            breaker: BreakerRules::default(),
            host_concurrency: 256,
            disable_after: Duration::from_secs(5 * 24 * 3600),
            retry_after_cap: Duration::from_secs(10 * 3600),
            guard: Guard::default(),
            dns_servers: Vec::new(),
            extra_authorities: Vec::new(),
            allow_http: true,
            record_batch: 512,
            longest_sleep: Duration::from_secs(60),
            record_linger: Duration::from_millis(20),
            user_agent: concat!("Hookmill/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

impl DeliverySettings {
    /// What a lease must have left beyond an attempt's time: for the plugins before it and
    /// the record after it.
    const MARGIN: Duration = Duration::from_secs(15);

    /// What a lease must have left for an attempt to start under it.
    pub fn spare_lease(&self) -> Duration {
        self.attempt_timeout.max(self.longest_timeout) + Self::MARGIN
    }

    /// How long an attempt for a subscription of this policy may take.
    pub fn timeout(&self, policy: &Policy) -> Duration {
        policy.timeout().map_or(self.attempt_timeout, |asked| asked.min(self.longest_timeout))
    }

    /// How much of that making a connection may take.
    pub fn connect_timeout(&self, policy: &Policy) -> Duration {
        policy.connect_timeout().unwrap_or(self.connect_timeout).min(self.timeout(policy))
    }

    /// These, with those of `new` that can change while the server runs.
    #[must_use]
    pub fn with_live_of(&self, new: &Self) -> Self {
        Self {
            concurrency: new.concurrency,
            host_concurrency: new.host_concurrency,
            attempt_timeout: new.attempt_timeout,
            longest_timeout: new.longest_timeout,
            connect_timeout: new.connect_timeout,
            max_age: new.max_age,
            breaker: new.breaker,
            disable_after: new.disable_after,
            ..self.clone()
        }
        .usable()
    }

    /// The nearest settings that can work: nothing is zero that must not be, and a lease
    /// outlasts two attempts.
    #[must_use]
    pub fn usable(mut self) -> Self {
        self.max_in_flight = self.max_in_flight.max(1);
        self.concurrency = self.concurrency.clamp(1, Policy::MAX_CONCURRENCY);
        self.lane_places = self.lane_places.max(1);
        self.total_places = self.total_places.max(1);
        self.record_batch = self.record_batch.max(1);
        self.lease = self.lease.max(2 * self.spare_lease());
        self.jitter = self.jitter.clamp(0.0, 1.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlasts_an_attempt_whatever_is_set() {
        let settings = DeliverySettings {
            lease: Duration::ZERO,
            max_in_flight: 0,
            attempt_timeout: Duration::from_secs(60),
            ..DeliverySettings::default()
        }
        .usable();
        assert!(settings.lease > settings.spare_lease());
        assert_eq!(settings.max_in_flight, 1);
    }

    #[test]
    fn what_can_change_while_it_runs_does_and_the_rest_stays() {
        let before = DeliverySettings::default();
        let new = DeliverySettings {
            concurrency: 7,
            max_in_flight: 7,
            attempt_timeout: Duration::from_secs(200),
            user_agent: "other".into(),
            ..DeliverySettings::default()
        };
        let now = before.with_live_of(&new);
        assert_eq!((now.concurrency, now.attempt_timeout), (7, Duration::from_secs(200)));
        assert_eq!((now.max_in_flight, now.user_agent), (before.max_in_flight, before.user_agent));
        assert!(now.lease > Duration::from_secs(400), "a lease still outlasts an attempt");
    }

    #[test]
    fn a_policy_has_its_own_time_up_to_the_longest() {
        let settings = DeliverySettings::default();
        let policy = |timeout, connect| Policy {
            timeout_seconds: timeout,
            connect_timeout_seconds: connect,
            ..Policy::default()
        };
        let limits = |policy: Policy| {
            [settings.timeout(&policy), settings.connect_timeout(&policy)].map(|d| d.as_secs())
        };
        assert_eq!(limits(policy(None, None)), [15, 5]);
        assert_eq!(limits(policy(Some(30.0), Some(20.0))), [30, 20]);
        assert_eq!(limits(policy(Some(300.0), None)), [60, 5]);
        assert_eq!(limits(policy(Some(2.0), None)), [2, 2]);
        assert!(settings.spare_lease() > settings.longest_timeout);
    }
}
