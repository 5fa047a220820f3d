//! Shows the endpoint who its requests come from: secrets in headers, `Authorization`, a client
//! certificate.
//!
//! Owns when a subscription's credentials go along, and with which headers. They are set last,
//! so that no plugin replaces them. Never decides what an attempt's end leads to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION};
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::{
    http::{ClientCert, Exchange, Request, Transport},
    tokens::{NoToken, Tokens},
};
use crate::{
    clock::Clock,
    model::{
        AttemptOutcome, EndpointAuth, Mtls, Oauth2, Sha256, Subscription, Timings, filled,
        secret_names,
    },
};

/// Most client certificates that are kept ready.
const MAX_CERTIFICATES: usize = 1_000;

/// Sends requests with their subscription's credentials.
pub(super) struct Authorizer {
    tokens: Tokens,
    certificates: Mutex<HashMap<Sha256, Arc<ClientCert>>>,
    clock: Clock,
}

impl Authorizer {
    pub(super) fn new(clock: Clock) -> Self {
        Self { tokens: Tokens::new(clock), certificates: Mutex::default(), clock }
    }

    /// Makes one attempt's request, with whatever is needed before it, all within its time.
    pub(super) async fn send(
        &self,
        transport: &dyn Transport,
        subscription: &Subscription,
        mut request: Request,
    ) -> Exchange {
        let credentials = &subscription.credentials;
        if credentials.is_empty() {
            return transport.send(request).await;
        }
        if !same_origin(&request.url, &subscription.endpoint) {
            // They are for the endpoint. Whoever else is sent to does not get them.
            withhold(&mut request.headers, subscription);
            return transport.send(request).await;
        }
        let start = self.clock.instant();
        if let Err(why) = set_secret_headers(&mut request.headers, subscription) {
            return unauthorized(NoToken::because(why), start);
        }
        match &credentials.auth {
            None => {}
            Some(EndpointAuth::Bearer(bearer)) => {
                let value = Zeroizing::new(format!("Bearer {}", bearer.token.reveal()));
                set_authorization(&mut request.headers, &value);
            }
            Some(EndpointAuth::Basic(basic)) => {
                let pair =
                    Zeroizing::new(format!("{}:{}", basic.username, basic.password.reveal()));
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                set_authorization(&mut request.headers, &value);
            }
            Some(EndpointAuth::Mtls(mtls)) => match self.client_cert(mtls) {
                Ok(cert) => request.client_cert = Some(cert),
                Err(why) => return unauthorized(NoToken::because(why), start),
            },
            Some(EndpointAuth::Oauth2(oauth2)) => {
                return self.send_with_token(transport, oauth2, request, start).await;
            }
        }
        transport.send(request).await
    }

    /// A token that is refused may have been taken back before its time: then, once, another.
    async fn send_with_token(
        &self,
        transport: &dyn Transport,
        oauth2: &Oauth2,
        mut request: Request,
        start: Instant,
    ) -> Exchange {
        let deadline = start + request.timeout;
        let first = match self.tokens.get(transport, oauth2, None, deadline).await {
            Ok(token) => token,
            Err(why) => return unauthorized(why, start),
        };
        request.headers.insert(AUTHORIZATION, first.value.clone());
        request.timeout = self.left(deadline);
        let again = (!first.fresh).then(|| request.clone());
        let exchange = transport.send(request).await;
        let refused = exchange.status == Some(StatusCode::UNAUTHORIZED.as_u16());
        let Some(mut request) = again.filter(|_| refused) else { return exchange };
        match self.tokens.get(transport, oauth2, Some(&first.value), deadline).await {
            Ok(token) => {
                request.headers.insert(AUTHORIZATION, token.value);
                request.timeout = self.left(deadline);
                transport.send(request).await
            }
            Err(why) => unauthorized(why, start),
        }
    }

    /// The certificate as the client takes it. Reading one takes longer than the rest of a
    /// request's making, so it is done once.
    fn client_cert(&self, mtls: &Mtls) -> Result<Arc<ClientCert>, String> {
        let pem = Zeroizing::new(format!("{}\n{}", mtls.certificate, mtls.private_key.reveal()));
        let identity = Sha256::of(pem.as_bytes());
        let lock = || self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&identity) {
            return Ok(Arc::clone(known));
        }
        let cert =
            ClientCert::parse(&pem).map_err(|why| format!("its client certificate {why}"))?;
        let cert = Arc::new(cert);
        let mut known = lock();
        if known.len() >= MAX_CERTIFICATES {
            known.clear();
        }
        known.insert(identity, Arc::clone(&cert));
        Ok(cert)
    }

    fn left(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.clock.instant())
    }
}

/// An attempt that ended before a request could be made.
fn unauthorized(why: NoToken, start: Instant) -> Exchange {
    Exchange {
        outcome: AttemptOutcome::Auth,
        status: None,
        error: Some(why.message),
        retry_after: why.retry_after,
        directive: None,
        headers: HeaderMap::new(),
        body: None,
        timings: Timings { total_us: Timings::micros(start.elapsed()), ..Timings::default() },
    }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// The headers with placeholders in them.
fn secret_headers(subscription: &Subscription) -> impl Iterator<Item = (HeaderName, &str)> {
    subscription.headers.iter().filter_map(|(name, value)| {
        let plain = secret_names(value).is_ok_and(|names| names.is_empty());
        (!plain).then_some((HeaderName::try_from(name).ok()?, value.as_str()))
    })
}

fn set_secret_headers(headers: &mut HeaderMap, subscription: &Subscription) -> Result<(), String> {
    for (name, value) in secret_headers(subscription) {
        let value = filled(value, &subscription.credentials.header_secrets)
            .and_then(|text| sensitive(&text))
            .ok_or_else(|| format!("the header {name} needs a secret that is not there"))?;
        headers.insert(name, value);
    }
    Ok(())
}

fn withhold(headers: &mut HeaderMap, subscription: &Subscription) {
    for (name, _) in secret_headers(subscription) {
        headers.remove(name);
    }
}

fn set_authorization(headers: &mut HeaderMap, value: &str) {
    // What could not be sent was refused when it was saved.
    if let Some(value) = sensitive(value) {
        headers.insert(AUTHORIZATION, value);
    }
}

/// A value that no log and no header compression keeps.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::tests::{
            subscription,
            tokens::{Scripted, body, request},
        },
        model::SecretText,
    };

    fn secret(text: &str) -> SecretText {
        SecretText::new(text.to_owned())
    }

    async fn sent(subscription: &Subscription, to: &str, plugin: &str) -> HeaderMap {
        let transport = Scripted::new([body("")]);
        let mut request = request(to);
        for (name, value) in &subscription.headers {
            let name = HeaderName::try_from(name).unwrap();
            request.headers.insert(name, value.parse().unwrap());
        }
        request.headers.insert(AUTHORIZATION, plugin.parse().unwrap());
        let authorizer = Authorizer::new(Clock::system());
        authorizer.send(&transport, subscription, request).await;
        transport.sent().remove(0).headers
    }

    #[tokio::test]
    async fn headers_with_secrets_and_authorization_are_set_last_and_marked() {
        let mut given = subscription("https://shop.example/hook");
        given.headers.insert("x-key".into(), "ApiKey {{secret:shop}}".into());
        given.headers.insert("x-plain".into(), "{{shop}}".into());
        given.credentials.header_secrets.insert("shop".into(), secret("s3cret"));
        let auth = serde_json::json!({"basic": {"username": "Aladdin", "password": "open sesame"}});
        given.credentials.auth = Some(serde_json::from_value(auth).unwrap());
        let headers = sent(&given, "https://shop.example/hook", "of a plugin").await;
        assert_eq!(headers["x-key"], "ApiKey s3cret");
        assert_eq!(headers["x-plain"], "{{shop}}");
        // The example of RFC 7617.
        assert_eq!(headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(headers[AUTHORIZATION].is_sensitive() && headers["x-key"].is_sensitive());
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn another_host_than_the_endpoint_gets_no_credentials() {
        let mut given = subscription("https://shop.example/hook");
        given.headers.insert("x-key".into(), "{{secret:shop}}".into());
        given.credentials.header_secrets.insert("shop".into(), secret("s3cret"));
        let auth = serde_json::json!({"bearer": {"token": "t0ken"}});
        given.credentials.auth = Some(serde_json::from_value(auth).unwrap());
        for elsewhere in
            ["https://other.example/hook", "http://shop.example/", "https://shop.example:8443/"]
        {
            let headers = sent(&given, elsewhere, "of a plugin").await;
            assert_eq!(headers[AUTHORIZATION], "of a plugin");
            assert!(!headers.contains_key("x-key"));
        }
        let headers = sent(&given, "https://shop.example/other", "of a plugin").await;
        assert_eq!(headers[AUTHORIZATION], "Bearer t0ken");
    }

    #[tokio::test]
    async fn a_header_whose_secret_is_gone_fails_the_attempt_and_sends_nothing() {
        let mut given = subscription("https://shop.example/hook");
        given.headers.insert("x-key".into(), "{{secret:shop}}".into());
        given.credentials.header_secrets.insert("other".into(), secret("s3cret"));
        let transport = Scripted::new([]);
        let authorizer = Authorizer::new(Clock::system());
        let exchange = authorizer.send(&transport, &given, request(given.endpoint.as_str())).await;
        assert_eq!(exchange.outcome, AttemptOutcome::Auth);
        assert_eq!(exchange.error.unwrap(), "the header x-key needs a secret that is not there");
        assert!(transport.sent().is_empty());
    }
}
