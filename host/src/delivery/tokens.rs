//! Access tokens by OAuth 2's client-credentials grant, kept until shortly before they expire.
//!
//! Owns the cache and the talk with token endpoints, which goes through the same guarded
//! transport as deliveries. Whoever waits for a token that is being fetched gets that one, or
//! its failure. What a token endpoint answers is never kept or shown, but for its error's name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    auth::sensitive,
    http::{Exchange, Request, Transport},
};
use crate::{
    clock::Clock,
    model::{AttemptOutcome, ClientAuth, Oauth2, SecretText, Sha256},
};

/// Most clients whose tokens are kept.
const MAX_CLIENTS: usize = 10_000;
/// How long a token is good that does not say.
const UNSAID: Duration = Duration::from_secs(300);
/// The longest that one is kept, whatever it says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long before its end a token is not used any more, at most: it has a way to go.
const MARGIN: Duration = Duration::from_secs(60);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoToken {
    /// For people; without anything secret.
    pub message: String,
    /// When the token endpoint wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl NoToken {
    pub(super) fn because(message: String) -> Self {
        Self { message, retry_after: None }
    }
}

/// A token to send.
#[derive(Debug)]
pub(super) struct Token {
    /// The value of the header `Authorization`.
    pub value: HeaderValue,
    /// Whether it was fetched for this attempt.
    pub fresh: bool,
}

#[derive(Default)]
struct Slot {
    /// The header's value, and until when it is good.
    token: Option<(HeaderValue, Instant)>,
    /// The last failure, and when it came.
    failed: Option<(NoToken, Instant)>,
}

type SharedSlot = Arc<tokio::sync::Mutex<Slot>>;

/// The tokens of all clients.
pub(super) struct Tokens {
    slots: Mutex<HashMap<Sha256, SharedSlot>>,
    clock: Clock,
}

impl Tokens {
    pub(super) fn new(clock: Clock) -> Self {
        Self { slots: Mutex::default(), clock }
    }

    /// A token that is good now and is not `refused`.
    pub(super) async fn get(
        &self,
        transport: &dyn Transport,
        client: &Oauth2,
        refused: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Token, NoToken> {
        let asked = self.clock.instant();
        let slot = self.slot(client);
        let late = |_| NoToken::because("no access token came in time".into());
        let mut slot = timeout_at(deadline, slot.lock()).await.map_err(late)?;
        let now = self.clock.instant();
        if let Some((value, until)) = &slot.token
            && now < *until
            && Some(value) != refused
        {
            return Ok(Token { value: value.clone(), fresh: false });
        }
        // It was asked for while this one waited: asking again would come to the same.
        if let Some((why, at)) = &slot.failed
            && *at >= asked
        {
            return Err(why.clone());
        }
        let exchange = transport.send(request(client, deadline - now)).await;
        match granted(client, &exchange) {
            Ok((value, lifetime)) => {
                let lifetime = lifetime.min(LONGEST);
                let good = lifetime - MARGIN.min(lifetime / 4);
                *slot = Slot { token: Some((value.clone(), now + good)), failed: None };
                Ok(Token { value, fresh: true })
            }
            Err(why) => {
                *slot = Slot { token: None, failed: Some((why.clone(), self.clock.instant())) };
                Err(why)
            }
        }
    }

    fn slot(&self, client: &Oauth2) -> SharedSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_CLIENTS {
            // Those in use come back; the others were of subscriptions that changed or went.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(identity(client)).or_default())
    }
}

/// What two subscriptions must agree in to share a token.
fn identity(client: &Oauth2) -> Sha256 {
    let mut all = Zeroizing::new(Vec::with_capacity(512));
    let secret = client.client_secret.reveal();
    let scopes = client.scopes.join(" ");
    for part in [
        client.token_url.as_str(),
        &client.client_id,
        secret,
        &scopes,
        client.audience.as_deref().unwrap_or_default(),
    ] {
        all.extend((part.len() as u64).to_le_bytes());
        all.extend(part.as_bytes());
    }
    Sha256::of(&all)
}

fn request(client: &Oauth2, timeout: Duration) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !client.scopes.is_empty() {
        form.append_pair("scope", &client.scopes.join(" "));
    }
    if let Some(audience) = &client.audience {
        form.append_pair("audience", audience);
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    match client.token_endpoint_auth_method {
        ClientAuth::ClientSecretBasic => {
            // Both are form-encoded first: RFC 6749, section 2.3.1.
            let encoded = |text: &str| -> String {
                form_urlencoded::byte_serialize(text.as_bytes()).collect()
            };
            let pair = Zeroizing::new(format!(
                "{}:{}",
                encoded(&client.client_id),
                encoded(client.client_secret.reveal())
            ));
            let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            // Base64 is visible ASCII: there is always a value.
            if let Some(value) = sensitive(&value) {
                headers.insert(AUTHORIZATION, value);
            }
        }
        ClientAuth::ClientSecretPost => {
            form.append_pair("client_id", &client.client_id);
            form.append_pair("client_secret", client.client_secret.reveal());
        }
    }
    Request {
        url: client.token_url.clone(),
        method: Method::POST,
        headers,
        body: form.finish().into(),
        timeout,
        connect_timeout: timeout,
        client_cert: None,
    }
}

/// What a token endpoint answers, as far as it matters.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<SecretText>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    error: Option<String>,
}

fn granted(client: &Oauth2, exchange: &Exchange) -> Result<(HeaderValue, Duration), NoToken> {
    let host = client.token_url.host_str().unwrap_or_default();
    let none = |why: &str| NoToken {
        message: format!("no access token from {host}: {why}"),
        retry_after: exchange.retry_after,
    };
    let answer: Option<Answer> =
        exchange.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
    if exchange.outcome != AttemptOutcome::Succeeded {
        let said = exchange.error.as_deref().unwrap_or("it refused");
        return Err(match answer.and_then(|answer| answer.error).filter(|name| is_name(name)) {
            Some(name) => none(&format!("{said} ({name})")),
            None => none(said),
        });
    }
    let answer = answer.ok_or_else(|| none("its answer is not what RFC 6749 says"))?;
    let token = answer.access_token.ok_or_else(|| none("its answer has no access_token"))?;
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(none("it gives tokens of another type than Bearer"));
    }
    let token = token.reveal();
    let value = sensitive(&Zeroizing::new(format!("Bearer {token}")))
        .filter(|_| token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty())
        .ok_or_else(|| none("its token cannot be sent in a header"))?;
    // Some write the number as a text.
    let seconds = answer.expires_in.as_ref().and_then(|value| {
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    });
    Ok((value, seconds.map_or(UNSAID, Duration::from_secs)))
}

/// Whether a text has the form of an error's name, and so may be shown.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
