//! What is asked of an endpoint: the request of one attempt.
//!
//! Owns which headers it has, in which order of precedence. Never sends, never signs itself.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use bytes::Bytes;

use super::{
    cloudevents,
    http::{self, Request},
    job::Job,
    settings::DeliverySettings,
    sign::{self, Signed},
};
use crate::model::{
    Message, RequestMethod, Scheme, Subscription, Timestamp,
    signing::{HeaderPrefix, Standard},
};

const EVENT_ID: HeaderName = HeaderName::from_static("hookmill-event-id");
const EVENT_TYPE: HeaderName = HeaderName::from_static("hookmill-event-type");
const ATTEMPT: HeaderName = HeaderName::from_static("hookmill-attempt");
const ID: HeaderName = HeaderName::from_static(sign::ID);
const TIMESTAMP: HeaderName = HeaderName::from_static(sign::TIMESTAMP);
/// How requests are signed that nothing else is said about.
const DEFAULT: &[Scheme] = &[Scheme::Standard(Standard { header_prefix: HeaderPrefix::Webhook })];
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
    let (headers, body) = content(job, subscription, message, body, now);
    Request {
        url: subscription.endpoint.clone(),
        method: match subscription.policy.method {
            RequestMethod::Post => Method::POST,
            RequestMethod::Put => Method::PUT,
        },
        headers,
        body,
        timeout: settings.timeout(&subscription.policy),
        connect_timeout: settings.connect_timeout(&subscription.policy),
        client_cert: None,
    }
}

/// The request's headers and body, in the form its subscription wants. The server's own
/// headers come last, so that nothing replaces them.
fn content(
    job: &Job,
    subscription: &Subscription,
    message: Option<&Message>,
    body: Bytes,
    now: Timestamp,
) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(16);
    http::set(
        &mut headers,
        subscription.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let added = message.map(|message| message.headers.as_slice()).unwrap_or_default();
    http::set(&mut headers, added.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let said = message.map(|message| message.content_type.as_str());
    let said = said.or(job.event.event.content_type.as_deref());
    let content_type = said.and_then(|said| HeaderValue::from_str(said).ok());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(JSON));
    let (id, stamp) = (job.id.to_string(), now.as_second().to_string());
    let event = &job.event.event;
    let body = match &subscription.policy.payload {
        Some(form) => cloudevents::put(form, event, &mut headers, body),
        None => body,
    };
    let signed = Signed { id: &id, stamp: &stamp, body: &body };
    let (policy, secrets) = (&subscription.policy, &subscription.secrets);
    let schemes = policy.signing.as_deref().unwrap_or(DEFAULT);
    sign::set(&mut headers, schemes, secrets, &signed, now);
    for (name, value) in [
        (ID, id),
        (TIMESTAMP, stamp),
        (EVENT_ID, event.id.to_string()),
        (EVENT_TYPE, event.event_type.to_string()),
    ] {
        // Ids, names and base64 are visible ASCII: nothing is left out here.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(ATTEMPT, HeaderValue::from(job.attempts.saturating_add(1)));
    (headers, body)
}
