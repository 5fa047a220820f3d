//! What is asked of an endpoint: the request of one attempt.
//!
//! Owns which headers it has, in which order of precedence, and its signature. Never sends.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use bytes::Bytes;

use super::{
    http::{self, Request},
    job::Job,
    settings::DeliverySettings,
    sign,
};
use crate::model::{Message, Subscription, Timestamp};

const EVENT_ID: HeaderName = HeaderName::from_static("hookmill-event-id");
const EVENT_TYPE: HeaderName = HeaderName::from_static("hookmill-event-type");
const ATTEMPT: HeaderName = HeaderName::from_static("hookmill-attempt");
const ID: HeaderName = HeaderName::from_static(sign::ID);
const TIMESTAMP: HeaderName = HeaderName::from_static(sign::TIMESTAMP);
const SIGNATURE: HeaderName = HeaderName::from_static(sign::SIGNATURE);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The request of one attempt: `message` if a pipeline made one, else the payload.
pub(super) fn request(
    settings: &DeliverySettings,
    job: &Job,
    subscription: &Subscription,
    message: Option<&Message>,
    body: Bytes,
    now: Timestamp,
) -> Request {
    Request {
        url: subscription.endpoint.clone(),
        method: Method::POST,
        headers: headers(job, subscription, message, &body, now),
        body,
        timeout: settings.attempt_timeout,
        client_cert: None,
    }
}

/// The request's headers. The server's own come last, so that nothing replaces them.
fn headers(
    job: &Job,
    subscription: &Subscription,
    message: Option<&Message>,
    body: &[u8],
    now: Timestamp,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    http::set(
        &mut headers,
        subscription.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let added = message.map(|message| message.headers.as_slice()).unwrap_or_default();
    http::set(&mut headers, added.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let content_type =
        message.and_then(|message| HeaderValue::from_str(&message.content_type).ok());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(JSON));
    let (id, seconds) = (job.id.to_string(), now.as_second());
    let secrets = subscription.secrets.iter().filter(|secret| secret.is_active(now));
    let signature = sign::sign(secrets, &id, seconds, body);
    let event = &job.event.event;
    for (name, value) in [
        (ID, id),
        (SIGNATURE, signature),
        (EVENT_ID, event.id.to_string()),
        (EVENT_TYPE, event.event_type.to_string()),
    ] {
        // Ids, names and base64 are visible ASCII: nothing is left out here.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(TIMESTAMP, HeaderValue::from(seconds));
    headers.insert(ATTEMPT, HeaderValue::from(job.attempts.saturating_add(1)));
    headers
}
