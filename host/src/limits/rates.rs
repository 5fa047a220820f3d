//! At what rates applications, keys and event types may publish and ask: a token bucket for
//! each of them that has a limit.
//!
//! Owns the buckets and everybody's own limits in memory. Nothing is kept for what has no
//! limit, and nothing for a bucket that is full.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::bucket::Bucket;
use crate::{
    clock::Clock,
    model::{ApplicationId, Holder, Limits, RateLimit},
};

/// Buckets that are kept before the full ones among them are looked for.
const FEW: usize = 1_024;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Events that are published.
    Events,
    /// Requests that do not publish.
    Requests,
}

impl What {
    /// The word for it in headers and problems.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Requests => "requests",
        }
    }
}

/// What holds for whoever has no limit of their own.
#[derive(Debug, Clone, Default)]
pub struct RatesSettings {
    /// For each application.
    pub application: Limits,
    /// For each key.
    pub key: Limits,
    /// For each event type, each application's events for themselves.
    pub event_type: Limits,
}

/// How a limit stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What it counts.
    pub what: What,
    /// The word for whose it is.
    pub whose: &'static str,
    /// The limit.
    pub limit: RateLimit,
    /// What is left of it.
    pub left: u32,
    /// How long until all of it is.
    pub full_in: Duration,
}

/// One limit was not enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exceeded {
    /// That limit.
    pub limit: Standing,
    /// When it is enough; none if it never is, for so much at once.
    pub wait: Option<Duration>,
}

/// Whose bucket, of what. An event type's is each application's own.
type Place = (What, Holder, Option<ApplicationId>);

/// See the module.
pub struct Rates {
    settings: ArcSwap<RatesSettings>,
    clock: Clock,
    own: ArcSwap<HashMap<Holder, Limits>>,
    /// Whether anybody has any limit.
    any: AtomicBool,
    buckets: Mutex<Buckets>,
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Buckets {
    all: HashMap<Place, Bucket>,
    /// How many there may be before those that are full go.
    most: usize,
}

impl Rates {
    /// With the server's defaults, and everybody's own limits.
    pub fn new(settings: RatesSettings, own: Vec<(Holder, Limits)>, clock: Clock) -> Self {
        let rates = Self {
            settings: ArcSwap::from_pointee(settings),
            clock,
            own: ArcSwap::from_pointee(own.into_iter().collect()),
            any: AtomicBool::new(false),
            buckets: Mutex::default(),
        };
        rates.look();
        rates
    }

    fn look(&self) {
        let has = |limits: &Limits| limits.events.is_some() || limits.requests.is_some();
        let settings = self.settings.load();
        let RatesSettings { application, key, event_type } = &**settings;
        let any = [application, key, event_type].into_iter().any(has)
            || self.own.load().values().any(has);
        self.any.store(any, Relaxed);
    }

    /// Sets the server's defaults.
    pub fn set_defaults(&self, settings: RatesSettings) {
        self.settings.store(Arc::new(settings));
        self.look();
    }

    /// Whether anybody has a limit of any rate.
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// A holder's own limits.
    pub fn own(&self, holder: &Holder) -> Limits {
        self.own.load().get(holder).cloned().unwrap_or_default()
    }

    /// Sets a holder's own limits; the default ones are those it has none of.
    pub fn set(&self, holder: &Holder, limits: &Limits) {
        self.own.rcu(|all| {
            let mut all = HashMap::clone(all);
            if *limits == Limits::default() {
                all.remove(holder);
            } else {
                all.insert(holder.clone(), limits.clone());
            }
            all
        });
        self.look();
    }

    /// Whether any key has limits of its own.
    pub fn has_keys(&self) -> bool {
        self.own.load().keys().any(|holder| matches!(holder, Holder::Key(_)))
    }

    /// Forgets the own limits of keys that are no more.
    pub fn keep_keys(&self, is_there: impl Fn(&str) -> bool) {
        self.own.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.retain(|holder, _| !matches!(holder, Holder::Key(key) if !is_there(key)));
            all
        });
        self.look();
    }

    /// What holds for a holder: its own limits, else the server's.
    pub fn effective(&self, holder: &Holder) -> Limits {
        let settings = self.settings.load();
        let default = match holder {
            Holder::Application(_) => &settings.application,
            Holder::EventType(_) => &settings.event_type,
            Holder::Key(_) => &settings.key,
        };
        let own = self.own(holder);
        Limits {
            events: own.events.or(default.events),
            requests: own.requests.or(default.requests),
            max_payload_bytes: own.max_payload_bytes.or(default.max_payload_bytes),
            subscriptions: own.subscriptions.or(default.subscriptions),
            plugin_versions: own.plugin_versions.or(default.plugin_versions),
            stored_bytes: own.stored_bytes.or(default.stored_bytes),
        }
    }

    /// Most bytes that an application's payloads may take; any, if none.
    pub fn most_stored(&self, application: ApplicationId) -> Option<u64> {
        let all = self.own.load();
        let own = all.get(&Holder::Application(application)).and_then(|own| own.stored_bytes);
        own.or(self.settings.load().application.stored_bytes)
    }

    /// Takes so many from each holder's limit, or from none if one of them is not enough. Tells
    /// how the limits stand then.
    pub fn take(
        &self,
        what: What,
        application: ApplicationId,
        holders: &[Holder],
        count: u32,
    ) -> (Vec<Standing>, Result<(), Exceeded>) {
        let limited = self.limited(what, application, holders);
        if limited.is_empty() {
            return (Vec::new(), Ok(()));
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(&limited, count, self.clock)
    }

    /// Puts back what was taken from each holder's limit and then came to nothing. Tells how the
    /// limits stand then.
    pub fn give_back(
        &self,
        what: What,
        application: ApplicationId,
        holders: &[Holder],
        count: u32,
    ) -> Vec<Standing> {
        let limited = self.limited(what, application, holders);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let there = limited.into_iter().filter_map(|(place, limit)| {
            let bucket = buckets.all.get_mut(&place)?;
            bucket.give_back(count, self.clock.now());
            Some(standing(&place, limit, bucket, self.clock))
        });
        there.collect()
    }

    /// Those of the holders who have a limit.
    fn limited(
        &self,
        what: What,
        application: ApplicationId,
        holders: &[Holder],
    ) -> Vec<(Place, RateLimit)> {
        let limited = holders.iter().filter_map(|holder| {
            let limits = self.effective(holder);
            let limit = match what {
                What::Events => limits.events,
                What::Requests => limits.requests,
            }?;
            let within = matches!(holder, Holder::EventType(_)).then_some(application);
            Some(((what, holder.clone(), within), limit))
        });
        limited.collect()
    }
}

impl Buckets {
    fn take(
        &mut self,
        limited: &[(Place, RateLimit)],
        count: u32,
        clock: Clock,
    ) -> (Vec<Standing>, Result<(), Exceeded>) {
        let now = clock.now();
        self.make_room(clock);
        let mut refused = None;
        for (place, limit) in limited {
            let bucket = self.all.entry(place.clone()).or_insert_with(|| Bucket::new(*limit));
            bucket.set(*limit);
            if let Some(at) = bucket.wait_for(count, now)
                && refused.is_none()
            {
                let wait = (count <= limit.burst()).then(|| clock.until(at));
                refused = Some((place.clone(), *limit, wait));
            }
        }
        let mut standings = Vec::with_capacity(limited.len());
        for (place, limit) in limited {
            // It was put there just now.
            let Some(bucket) = self.all.get_mut(place) else { continue };
            if refused.is_none() {
                bucket.take_many(count, now);
            }
            standings.push(standing(place, *limit, bucket, clock));
        }
        let result = match refused {
            None => Ok(()),
            Some((place, limit, wait)) => {
                let bucket = self.all.get(&place).copied().unwrap_or_else(|| Bucket::new(limit));
                Err(Exceeded { limit: standing(&place, limit, &bucket, clock), wait })
            }
        };
        (standings, result)
    }

    /// Forgets buckets that are full, when there are many: a new one is full, too.
    fn make_room(&mut self, clock: Clock) {
        if self.all.len() < self.most.max(FEW) {
            return;
        }
        let now = clock.now();
        self.all.retain(|_, bucket| bucket.full_in(now) > Duration::ZERO);
        self.most = self.all.len() * 2;
    }
}

fn standing(place: &Place, limit: RateLimit, bucket: &Bucket, clock: Clock) -> Standing {
    let now = clock.now();
    let (what, holder, _) = place;
    Standing {
        what: *what,
        whose: holder.kind(),
        limit,
        left: bucket.left(now),
        full_in: bucket.full_in(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn rate(per_second: f64, burst: u32) -> Limits {
        let limit = Some(RateLimit { per_second, burst: Some(burst) });
        Limits { events: limit, requests: limit, ..Limits::default() }
    }

    fn application(n: i64) -> ApplicationId {
        ApplicationId::new(Timestamp::from_second(n).unwrap())
    }

    fn rates(settings: RatesSettings) -> Rates {
        Rates::new(settings, Vec::new(), Clock::starting_at(Timestamp::UNIX_EPOCH))
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_defaults_may_change_while_it_runs() {
        let rates = rates(RatesSettings::default());
        let (app, own) = (application(1), application(2));
        rates.set(&Holder::Application(own), &rate(1.0, 5));
        let take = |of: ApplicationId, count| {
            rates.take(What::Events, of, &[Holder::Application(of)], count).1.is_ok()
        };
        assert!(take(app, 1_000));
        let default = RatesSettings { application: rate(1.0, 3), ..RatesSettings::default() };
        rates.set_defaults(default);
        assert!(rates.any() && take(app, 3) && !take(app, 1) && take(own, 5));
        rates.set_defaults(RatesSettings::default());
        assert!(take(app, 1_000) && !take(own, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_limit_refuses_costs_no_other() {
        let rates = rates(RatesSettings {
            application: rate(0.01, 10),
            key: rate(1.0, 3),
            ..RatesSettings::default()
        });
        let (app, key) = (application(1), Holder::Key("k".into()));
        let holders = [Holder::Application(app), key];
        assert!(rates.take(What::Events, app, &holders, 3).1.is_ok());
        let (standings, refused) = rates.take(What::Events, app, &holders, 2);
        assert_eq!([standings[0].left, standings[1].left], [7, 0]);
        let refused = refused.unwrap_err();
        assert_eq!((refused.limit.whose, refused.wait), ("key", Some(Duration::from_secs(2))));
        // Never, so many at once.
        assert_eq!(rates.take(What::Events, app, &holders, 4).1.unwrap_err().wait, None);
        assert!(rates.take(What::Requests, app, &holders, 3).1.is_ok(), "they are counted apart");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(rates.take(What::Events, app, &holders, 2).1.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn own_limits_come_before_the_servers_and_go_again() {
        let rates = rates(RatesSettings { application: rate(1.0, 1), ..RatesSettings::default() });
        let (one, other) = (application(1), application(2));
        let take = |app| rates.take(What::Events, app, &[Holder::Application(app)], 2).1;
        assert!(take(one).is_err());
        rates.set(&Holder::Application(one), &rate(1.0, 2));
        assert!(take(one).is_ok() && take(other).is_err());
        rates.set(&Holder::Application(one), &Limits::default());
        assert!(take(one).is_err() && rates.any());
    }

    #[test]
    fn limits_of_keys_that_are_no_more_are_forgotten_and_no_others() {
        let rates = rates(RatesSettings::default());
        let [here, gone] = ["here", "gone"].map(|key| Holder::Key(key.into()));
        let application = Holder::Application(application(1));
        for holder in [&here, &gone, &application] {
            rates.set(holder, &rate(1.0, 1));
        }
        rates.keep_keys(|key| key == "here");
        assert_eq!(
            [&here, &gone, &application].map(|of| rates.own(of).events.is_some()),
            [true, false, true]
        );
        rates.keep_keys(|_| false);
        rates.set(&application, &Limits::default());
        assert!(!rates.has_keys() && !rates.any());
    }

    #[test]
    fn an_applications_own_quota_comes_before_the_servers() {
        let settings = Limits { stored_bytes: Some(7), ..Limits::default() };
        let rates = rates(RatesSettings { application: settings, ..RatesSettings::default() });
        let (one, other) = (application(1), application(2));
        let own = Limits { stored_bytes: Some(0), ..Limits::default() };
        rates.set(&Holder::Application(one), &own);
        assert_eq!([one, other].map(|of| rates.most_stored(of)), [Some(0), Some(7)]);
        assert_eq!(rates.effective(&Holder::Application(one)).stored_bytes, Some(0));
        assert!(!rates.any(), "it is no rate");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_types_limit_is_each_applications_own() {
        let rates = rates(RatesSettings { event_type: rate(1.0, 1), ..RatesSettings::default() });
        let of = [Holder::EventType("a.b".parse().unwrap())];
        let (one, other) = (application(1), application(2));
        assert!(rates.take(What::Events, one, &of, 1).1.is_ok());
        assert!(rates.take(What::Events, one, &of, 1).1.is_err());
        assert!(rates.take(What::Events, other, &of, 1).1.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn full_buckets_are_forgotten() {
        let rates = rates(RatesSettings { key: rate(1.0, 1), ..RatesSettings::default() });
        let app = application(1);
        for n in 0..3 * FEW {
            let key = Holder::Key(n.to_string().into());
            assert!(rates.take(What::Requests, app, &[key], 1).1.is_ok());
            if n % FEW == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert!(rates.buckets.lock().unwrap().all.len() <= 2 * FEW);
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_limit() {
        let rates = Rates::new(RatesSettings::default(), Vec::new(), Clock::system());
        let app = application(1);
        assert!(!rates.any());
        assert_eq!(rates.take(What::Events, app, &[Holder::Application(app)], 9), (vec![], Ok(())));
        assert!(rates.buckets.lock().unwrap().all.is_empty());
    }
}
