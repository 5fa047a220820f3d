//! Limits at work: who is told to come back later or that there is no room, and what answers
//! say of limits.
//!
//! What limits come to is decided in [`crate::limits`]; here they are asked and told. Answers
//! carry `RateLimit-Policy` and `RateLimit` as structured fields, as the IETF's draft has them.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::{
    Api,
    problem::{Code, Problem},
};
use crate::{
    limits::{Exceeded, Standing, What},
    model::{Application, ApplicationId, Holder},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// What the ids of those begin with who carry a portal token.
const PORTAL: &str = "portal:";

/// Where the answer to a request learns how limits stand.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<Standing>>>);

impl Told {
    fn tell(&self, standings: Vec<Standing>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for standing in standings {
            // Of a batch, the last that was taken from a limit counts.
            told.retain(|before| (before.whose, before.what) != (standing.whose, standing.what));
            told.push(standing);
        }
    }
}

/// Puts how limits stand on every answer that was subject to one.
pub(super) async fn tell(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    if !api.rates.any() {
        return next.run(request).await;
    }
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let mut response = next.run(request).await;
    let told = told.0.lock().unwrap_or_else(PoisonError::into_inner);
    if !told.is_empty() {
        let (policy, standing) = fields(&told);
        for (name, text) in [(POLICY, policy), (STANDING, standing)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// The two fields: lists of items named alike, with their parameters.
fn fields(standings: &[Standing]) -> (String, String) {
    let (mut policy, mut standing) = (String::new(), String::new());
    for limit in standings {
        let comma = if policy.is_empty() { "" } else { ", " };
        let (whose, what, quota) = (limit.whose, limit.what.as_str(), limit.limit.burst());
        // The window is the time in which a whole quota comes back.
        let window = seconds(Duration::from_secs_f64(f64::from(quota) / limit.limit.per_second));
        let full_in = limit.full_in.as_secs_f64().ceil() as u64;
        // Writing to a string cannot fail.
        let _written = write!(policy, "{comma}\"{whose}-{what}\";q={quota};w={window}");
        let _written = write!(standing, "{comma}\"{whose}-{what}\";r={};t={full_in}", limit.left);
    }
    (policy, standing)
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    (time.as_secs_f64().ceil() as u64).max(1)
}

/// On a request that was counted already, or is none of a client's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted;

/// Takes one request from the limits of an application and a key, once.
pub(super) fn request(
    api: &Api,
    extensions: &mut Extensions,
    application: &Application,
    key: &Arc<str>,
) -> Result<(), Problem> {
    if !api.rates.any() || extensions.get::<Counted>().is_some() {
        return Ok(());
    }
    extensions.insert(Counted);
    // Portal tokens are made anew as often as anybody likes: all of an application's are one key.
    let key = if key.starts_with(PORTAL) {
        format!("{PORTAL}{}", application.id).into()
    } else {
        Arc::clone(key)
    };
    let holders = [Holder::Application(application.id), Holder::Key(key)];
    take(api, extensions, What::Requests, application.id, &holders, 1)
}

/// Takes so many events from the limits of an application and a key: all of them, or none.
pub(super) fn events(
    api: &Api,
    extensions: &Extensions,
    application: &Application,
    key: &Arc<str>,
    count: usize,
) -> Result<(), Problem> {
    if !api.rates.any() {
        return Ok(());
    }
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    take(api, extensions, What::Events, application.id, &publishers(application, key), count)
}

/// Those whose limits every event is taken from, whatever it is.
fn publishers(application: &Application, key: &Arc<str>) -> [Holder; 2] {
    [Holder::Application(application.id), Holder::Key(Arc::clone(key))]
}

/// Takes an event from the limit of its type. If that is used up, what [`events`] took for it is
/// put back: a refusal by one limit takes nothing from the others.
pub(super) fn event(
    api: &Api,
    extensions: &Extensions,
    (application, key): (&Application, &Arc<str>),
    (event_type, bytes): (&str, usize),
) -> Result<(), Problem> {
    if !api.rates.any() {
        return Ok(());
    }
    // A type that does not exist has no bucket to fill memory with.
    let known = event_type.parse().ok().filter(|name| api.catalog.event_type(name).is_some());
    let Some(name) = known else { return Ok(()) };
    let of_type = [Holder::EventType(name)];
    // One that is too large is refused anyway, or is a repetition.
    if api.rates.own(&of_type[0]).max_payload_bytes.is_some_and(|most| bytes > most) {
        return Ok(());
    }
    let taken = take(api, extensions, What::Events, application.id, &of_type, 1);
    if taken.is_err() {
        let holders = publishers(application, key);
        let standings = api.rates.give_back(What::Events, application.id, &holders, 1);
        if let Some(told) = extensions.get::<Told>() {
            told.tell(standings);
        }
    }
    taken
}

fn take(
    api: &Api,
    extensions: &Extensions,
    what: What,
    application: ApplicationId,
    holders: &[Holder],
    count: u32,
) -> Result<(), Problem> {
    let (standings, taken) = api.rates.take(what, application, holders, count);
    if let Some(told) = extensions.get::<Told>() {
        told.tell(standings);
    }
    taken.map_err(|exceeded| limited(&exceeded, count))
}

/// A payload that its event type does not take.
pub(super) fn too_large(event_type: &str, bytes: usize, most: usize) -> Problem {
    let title = format!("The payload has {bytes} bytes; {event_type} takes {most}");
    Problem::new(Code::BodyTooLarge, title).member("limit_bytes", most)
}

/// 429, and when to come back.
pub(super) fn limited(exceeded: &Exceeded, count: u32) -> Problem {
    let Exceeded { limit, wait } = exceeded;
    let (whose, what) = (limit.whose, limit.what.as_str());
    metrics::counter!("hookmill_rate_limited_total", "limit" => whose, "of" => what).increment(1);
    let (rate, burst) = (limit.limit.per_second, limit.limit.burst());
    let problem =
        Problem::new(Code::RateLimited, format!("The {whose}'s limit of {what} is used up"))
            .member("limit", format!("{whose}-{what}"))
            .member("per_second", rate)
            .member("burst", burst);
    match wait {
        Some(wait) => problem
            .detail("Try again after Retry-After seconds.")
            .header(header::RETRY_AFTER, seconds(*wait).into()),
        None => problem.detail(format!(
            "{count} at once are never allowed: the burst is {burst}. Send them in smaller batches."
        )),
    }
}

/// One more of something would be more than an application may have.
pub(super) fn exceeded(quota: &'static str, limit: u64, used: u64) -> Problem {
    let title = format!("The application has {used} of {limit} {}", quota.replace('_', " "));
    beyond(quota, title, limit, used)
        .detail("Delete one that is not needed, or ask the operator for more.")
}

/// One more event would be more than an application may store.
pub(super) fn full(limit: u64, used: u64) -> Problem {
    let title = format!("The application's stored payloads take {used} bytes of {limit}");
    beyond("stored_bytes", title, limit, used).detail(
        "Nothing was accepted. What is old goes by itself; send less, or ask the operator for more.",
    )
}

fn beyond(quota: &'static str, title: String, limit: u64, used: u64) -> Problem {
    metrics::counter!("hookmill_quota_exceeded_total", "quota" => quota).increment(1);
    Problem::new(Code::QuotaExceeded, title)
        .member("quota", quota)
        .member("limit", limit)
        .member("used", used)
}

/// Whether an application may have one more subscription.
pub(super) fn one_more_subscription(api: &Api, application: ApplicationId) -> Result<(), Problem> {
    let limits = api.rates.effective(&Holder::Application(application));
    let Some(limit) = limits.subscriptions else { return Ok(()) };
    let used = api.catalog.subscriptions(application).len();
    within("subscriptions", limit, used)
}

/// Whether an application may have one more version of a plugin of its own.
pub(super) fn one_more_plugin(api: &Api, application: ApplicationId) -> Result<(), Problem> {
    let limits = api.rates.effective(&Holder::Application(application));
    let Some(limit) = limits.plugin_versions else { return Ok(()) };
    let used = own_plugins(api, application);
    within("plugin_versions", limit, used)
}

fn within(quota: &'static str, limit: u32, used: usize) -> Result<(), Problem> {
    if used < limit as usize { Ok(()) } else { Err(exceeded(quota, limit.into(), used as u64)) }
}

pub(super) fn own_plugins(api: &Api, application: ApplicationId) -> usize {
    let plugins = api.catalog.plugins(application);
    plugins.iter().filter(|plugin| plugin.application == Some(application)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RateLimit;

    fn standing(whose: &'static str, per_second: f64, burst: u32, left: u32) -> Standing {
        Standing {
            what: What::Events,
            whose,
            limit: RateLimit { per_second, burst: Some(burst) },
            left,
            full_in: Duration::from_millis(1_500),
        }
    }

    #[test]
    fn limits_are_told_as_structured_fields() {
        let (policy, now) =
            fields(&[standing("application", 10.0, 50, 47), standing("key", 100.0, 5, 0)]);
        assert_eq!(policy, r#""application-events";q=50;w=5, "key-events";q=5;w=1"#);
        assert_eq!(now, r#""application-events";r=47;t=2, "key-events";r=0;t=2"#);
    }

    #[test]
    fn of_a_limit_that_was_taken_from_twice_the_last_is_told() {
        let told = Told::default();
        told.tell(vec![standing("event-type", 1.0, 9, 8)]);
        told.tell(vec![standing("event-type", 1.0, 9, 7)]);
        let told = told.0.lock().unwrap();
        assert_eq!(told.iter().map(|s| s.left).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn who_is_refused_is_told_by_what_and_when_to_come_back() {
        let limit = standing("key", 1.0, 5, 0);
        let problem = limited(&Exceeded { limit, wait: Some(Duration::from_millis(300)) }, 1);
        assert_eq!(
            (problem.code(), &problem.body().more["limit"]),
            (Code::RateLimited, &"key-events".into())
        );
        let never = limited(&Exceeded { limit, wait: None }, 9);
        assert!(never.body().detail.as_deref().unwrap().contains("smaller batches"));
    }
}
