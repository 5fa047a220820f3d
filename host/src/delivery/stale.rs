//! When a delivery is given up although attempts are left: it is too old, or others have
//! waited for it long enough. Pure: told the time.

use std::time::Duration;

use super::{job::Job, settings::DeliverySettings};
use crate::{
    model::{Subscription, Timestamp},
    store::Next,
};

/// Why a delivery is not attempted at `now`. One that somebody made due after its time, by a
/// retry or by resuming its subscription, is.
pub(super) fn before(
    settings: &DeliverySettings,
    subscription: &Subscription,
    job: &Job,
    now: Timestamp,
) -> Option<String> {
    let age = settings.max_age(subscription)?;
    let end = job.created_at().checked_add(age).ok()?;
    (now > end && job.due_at <= end).then(|| match job.attempts {
        0 => format!("it was not attempted within {} s, its limit of age", age.as_secs()),
        made => format!("{made} attempts failed within {} s, its limit of age", age.as_secs()),
    })
}

/// What follows an attempt when these limits are heeded: no attempt is planned beyond them.
pub(super) fn after(
    settings: &DeliverySettings,
    subscription: &Subscription,
    job: &Job,
    next: Next,
    now: Timestamp,
) -> Next {
    let Next::Retry(at) = next else { return next };
    let beyond = |from: Timestamp, time: Duration| from.checked_add(time).is_ok_and(|end| at > end);
    let made = job.attempts.saturating_add(1);
    if let Some(age) = settings.max_age(subscription)
        && beyond(job.created_at(), age)
    {
        let age = age.as_secs();
        return Next::Dead(format!(
            "attempt {made} failed, and the next would come after {age} s, its limit of age"
        ));
    }
    if job.order.is_some()
        && let Some(patience) = subscription.policy.ordering_patience_seconds
        && beyond(job.first_attempt_at.unwrap_or(now), Duration::from_secs(patience))
    {
        return Next::Dead(format!(
            "attempt {made} failed, and others must not wait for it longer than {patience} s"
        ));
    }
    Next::Retry(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::{
            Ready,
            job::SharedEvent,
            tests::{World, event},
        },
        model::{DeliveryId, OrderKey, Ordering},
        store::DeliveryKey,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn job(due: i64, attempts: u32) -> Job {
        let ready = Ready {
            key: DeliveryKey::for_tests(1, 1),
            id: DeliveryId::new(at(0)),
            subscription: crate::model::SubscriptionId::from_bytes([1; 16]),
            pipeline: None,
        };
        let mut job = Job::new(ready, SharedEvent::new(event()), at(9_999));
        (job.due_at, job.attempts) = (at(due), attempts);
        job
    }

    fn subscription(change: impl FnOnce(&mut Subscription)) -> std::sync::Arc<Subscription> {
        use crate::delivery::Directory;

        let world = World::default();
        let id = world.subscribe_with("http://127.0.0.1:9/", change);
        world.directory.subscription(id).unwrap()
    }

    #[test]
    fn what_is_too_old_is_not_attempted_unless_somebody_made_it_due() {
        let settings = DeliverySettings::default();
        let aging = subscription(|s| s.policy.max_age_seconds = Some(60));
        let refused = |due, now| before(&settings, &aging, &job(due, 0), at(now)).is_some();
        assert!(!refused(0, 60) && refused(0, 61) && refused(60, 61));
        assert!(!refused(61, 62));
        let ageless = subscription(|_| ());
        assert_eq!(before(&settings, &ageless, &job(0, 0), at(1 << 30)), None);
    }

    #[test]
    fn no_attempt_is_planned_beyond_the_age() {
        let settings =
            DeliverySettings { max_age: Duration::from_secs(60), ..DeliverySettings::default() };
        let subscription = subscription(|_| ());
        let planned =
            |second| after(&settings, &subscription, &job(0, 0), Next::Retry(at(second)), at(1));
        assert_eq!(planned(60), Next::Retry(at(60)));
        assert!(matches!(planned(61), Next::Dead(why) if why.contains("after 60 s")));
    }

    #[test]
    fn patience_counts_from_the_first_attempt_and_only_where_others_wait() {
        let settings = DeliverySettings::default();
        let subscription = subscription(|s| {
            s.policy.ordering = Ordering::Strict;
            s.policy.ordering_patience_seconds = Some(60);
        });
        let mut failing = job(0, 3);
        failing.first_attempt_at = Some(at(100));
        let plan = |job: &Job| after(&settings, &subscription, job, Next::Retry(at(161)), at(150));
        assert_eq!(plan(&failing), Next::Retry(at(161)));
        failing.order = Some(OrderKey(0));
        assert!(matches!(plan(&failing), Next::Dead(why) if why.contains("longer than 60 s")));
        failing.first_attempt_at = None;
        assert_eq!(plan(&failing), Next::Retry(at(161)));
    }
}
