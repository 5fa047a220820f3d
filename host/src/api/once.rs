//! `Idempotency-Key` on requests that change something: the second request under a key is answered
//! as the first was, and nothing is done twice.
//!
//! Stands around the routes, so that no route can forget it, and around the audit log, for a
//! repetition changes nothing. That a request is about to be carried out is on disk before it is,
//! and what it was answered before it is answered: a crash in between leaves a request of which
//! nobody knows what came, and so it is said, never a second one in silence. Publishing has keys of
//! its own, which are on disk with the event.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{
    Api,
    auditor::{NO_CHANGES, changes, is_refused},
    auth::{Identity, identify, named},
    docs, extract, finish,
    idempotency::{IDEMPOTENCY_KEY, REPLAYED, idempotency_key},
    limits,
    problem::{Code, Problem},
    refusal::{self, Subject},
};
use crate::{
    access::Caller,
    model::{ApplicationId, KeyScope},
    store::{Asked, AskedId, Begun},
};

/// Most requests under a key that are remembered for one application.
const MOST: u32 = 5_000;
/// Largest answer that is kept, in bytes. A larger one was given once.
const MAX_ANSWER: u64 = 64 << 10;
/// The headers of an answer that are kept with it.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
/// Whose answer is no document.
const NOT_KEPT: &str = "make_backup";

/// Whether an operation takes a key that is kept here: what changes something, by POST.
pub fn takes(method: &str, operation: &str) -> bool {
    method == "post" && operation != NOT_KEPT && !NO_CHANGES.contains(&operation)
}

/// See the module.
pub struct Once {
    api: Arc<Api>,
    /// Operations that take a key, by route.
    routes: HashMap<String, String>,
    turns: Turns,
}

impl Once {
    pub fn new(api: Arc<Api>) -> Arc<Self> {
        let posts = changes().into_iter().filter(|((method, _), operation)| {
            method == Method::POST && takes("post", &operation.id)
        });
        let routes = posts.map(|((_, route), operation)| (route, operation.id)).collect();
        Arc::new(Self { api, routes, turns: Turns::default() })
    }

    /// The route of a request that has a key and takes one, with the operation.
    fn asked(&self, request: &Request) -> Option<(String, String)> {
        if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
            return None;
        }
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        let operation = self.routes.get(route)?;
        Some((route.to_owned(), operation.clone()))
    }

    async fn answer(
        &self,
        (route, operation): (String, String),
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let Some(key) = idempotency_key(request.headers())? else {
            return Ok(next.run(request).await);
        };
        let (mut parts, body) = request.into_parts();
        let identity = identify(&self.api, &parts.headers, &mut parts.extensions).await?;
        // Before anything is read or written: who may not ask must cost nothing.
        if let Some(home) = &identity.home {
            limits::request(&self.api, &mut parts.extensions, home, &identity.caller.id)?;
        }
        if is_refused(&identity, &parts.method, &route) {
            return Ok(next.run(Request::from_parts(parts, body)).await);
        }
        let scope = self.scope(&identity, &parts.headers, &route)?;
        let limits = **self.api.limits.load();
        let most = if operation == "upload_plugin" { limits.max_upload } else { limits.max_body };
        let request = Request::from_parts(parts, body);
        let (parts, body) = extract::bytes_as_sent(request, most).await?;
        let asked = Asked {
            id: id(&identity, scope, &key),
            scope,
            fingerprint: fingerprint(&parts, &body),
            expires_at: self.api.clock.now() + limits.idempotency,
        };
        // The first is waited for; what it left is looked at only then.
        let _turn = self.turns.take(asked.id).await;
        let begun = self.api.store.begin_answer(&asked, MOST, self.api.clock.now()).await;
        match begun.map_err(|error| refusal::store(error, &subject()))? {
            Begun::First => {}
            Begun::Known(Some(answer)) => return Kept::replay(&answer),
            Begun::Known(None) => return Err(unknown(&key)),
            Begun::Other => return Err(refusal::other_request(&key)),
            Begun::TooMany(most) => return Err(too_many(most)),
        }
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        Ok(self.end(&asked.id, response).await)
    }

    /// The application a request is for; none for what is the platform's.
    fn scope(
        &self,
        identity: &Identity,
        headers: &HeaderMap,
        route: &str,
    ) -> Result<Option<ApplicationId>, Problem> {
        if let Some(home) = &identity.home {
            return Ok(Some(home.id));
        }
        if docs::is_platforms(route) || route.starts_with("/v1/keys") {
            return Ok(None);
        }
        named(&self.api, headers).map(|application| Some(application.id))
    }

    /// Writes down what the request came to.
    async fn end(&self, id: &AskedId, response: Response) -> Response {
        let status = response.status();
        // Of what failed within, nobody knows how far it came: the row stays, without an answer.
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            return response;
        }
        if !status.is_success() {
            // Refused, and nothing done (what made something says so, whatever failed after
            // that): it may be corrected and asked anew under its key.
            self.note(self.api.store.drop_answer(id).await);
            return response;
        }
        let (parts, body) = response.into_parts();
        let is_small = body.size_hint().exact().is_some_and(|bytes| bytes <= MAX_ANSWER);
        if !is_small {
            return Response::from_parts(parts, body);
        }
        let body = match to_bytes(body, MAX_ANSWER as usize).await {
            Ok(body) => body,
            Err(error) => return Problem::internal("answering", &error).into_response(),
        };
        if let Some(kept) = Kept::text(&parts.headers, status, &body) {
            self.note(self.api.store.end_answer(id, &kept).await);
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// What is done is done: a repetition is told that nobody knows.
    fn note(&self, written: Result<(), crate::store::StoreError>) {
        if let Err(error) = written {
            tracing::error!(%error, "what a request under a key came to was not written down");
        }
    }
}

/// Around all routes.
pub async fn record(State(once): State<Arc<Once>>, request: Request, next: Next) -> Response {
    match once.asked(&request) {
        None => next.run(request).await,
        // Whoever went away may come back and ask under the same key.
        Some(asked) => {
            finish(async move {
                once.answer(asked, request, next).await.unwrap_or_else(IntoResponse::into_response)
            })
            .await
        }
    }
}

fn subject() -> Subject {
    Subject::new("requests under a key", "")
}

/// A key is its owner's: what one was answered, with secrets in it, is not for another, nor for
/// the same one with a token that may do less.
fn id(identity: &Identity, scope: Option<ApplicationId>, key: &str) -> AskedId {
    let scope = scope.map_or_else(String::new, |id| id.to_string());
    let Caller { id, scopes, .. } = &*identity.caller;
    let scopes: Vec<&str> = scopes.iter().map(KeyScope::as_str).collect();
    hash([id.as_bytes(), scopes.join(" ").as_bytes(), scope.as_bytes(), key.as_bytes()])
}

/// The very same request: its path, its query, and its body byte for byte.
fn fingerprint(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let header = |name| parts.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    hash([
        path.as_bytes(),
        query.as_bytes(),
        header(header::CONTENT_TYPE),
        header(header::CONTENT_ENCODING),
        body,
    ])
}

/// Each part with its length, so that no two lists agree.
fn hash<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn unknown(key: &str) -> Problem {
    Problem::new(
        Code::OutcomeUnknown,
        format!("A request under the key {key} was begun, and nobody knows what came of it"),
    )
    .detail(
        "The server was stopped or failed in the midst of it, or its answer was too large to keep. \
         Look whether it was carried out; to make it again, give it a new key.",
    )
}

fn too_many(most: u32) -> Problem {
    let title = format!("The application has {most} requests under a key that are remembered");
    Problem::new(Code::QuotaExceeded, title)
        .detail("They are forgotten after `idempotency_seconds`. Without a key requests are taken.")
        .member("quota", "idempotency_keys")
        .member("limit", most)
        .member("used", most)
}

/// An answer, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Kept {
    /// The text that is kept of an answer; none if it cannot be.
    fn text(headers: &HeaderMap, status: StatusCode, body: &[u8]) -> Option<Vec<u8>> {
        let header = |name: HeaderName| {
            let value = headers.get(&name)?.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        };
        let kept = Self {
            status: status.as_u16(),
            headers: KEPT.into_iter().filter_map(header).collect(),
            body: String::from_utf8(body.to_vec()).ok()?,
        };
        serde_json::to_vec(&kept).ok()
    }

    fn replay(text: &[u8]) -> Result<Response, Problem> {
        let damaged = |cause: &str| Problem::internal("an answer that was kept", &cause);
        // Its errors may quote what they stumble over.
        let kept: Self = serde_json::from_slice(text).map_err(|_| damaged("it is damaged"))?;
        let mut response = Response::new(Body::from(kept.body));
        *response.status_mut() =
            StatusCode::from_u16(kept.status).map_err(|_| damaged("its status is none"))?;
        for (name, value) in kept.headers {
            let (name, value) = (HeaderName::try_from(name), HeaderValue::try_from(value));
            if let (Ok(name), Ok(value)) = (name, value) {
                response.headers_mut().insert(name, value);
            }
        }
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

type Waiting = HashMap<AskedId, Arc<AsyncMutex<()>>>;

/// Lets requests under one key go one after the other.
#[derive(Debug, Clone, Default)]
struct Turns(Arc<Mutex<Waiting>>);

/// A request's turn, until it is dropped.
struct Turn {
    turns: Turns,
    id: AskedId,
    _held: OwnedMutexGuard<()>,
}

impl Turns {
    /// The map is whole between any two statements that change it.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, id: AskedId) -> Turn {
        let turn = Arc::clone(self.lock().entry(id).or_default());
        Turn { turns: self.clone(), id, _held: turn.lock_owned().await }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.turns.lock();
        // The map's own and this one's; whoever waits has another.
        if waiting.get(&self.id).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_under_one_key_wait_for_each_other_and_leave_nothing() {
        let turns = Turns::default();
        let first = turns.take([1; 32]).await;
        let other = turns.take([2; 32]).await;
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { drop(turns.take([1; 32]).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop((first, other));
        waiting.await.unwrap();
        assert!(turns.lock().is_empty());
    }

    #[test]
    fn an_answer_is_given_again_as_it_was() {
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::LOCATION, HeaderValue::from_static("/v1/keys/key_1")),
            (header::DATE, HeaderValue::from_static("then")),
        ]);
        let kept = Kept::text(&headers, StatusCode::CREATED, b"{\"a\": 1}").unwrap();
        let again = Kept::replay(&kept).unwrap();
        assert_eq!(again.status(), StatusCode::CREATED);
        assert_eq!(again.headers()[header::LOCATION], "/v1/keys/key_1");
        assert_eq!(again.headers()[REPLAYED], "true");
        assert!(!again.headers().contains_key(header::DATE));
        assert!(Kept::replay(b"{\"secret").is_err());
    }

    #[test]
    fn parts_are_hashed_apart() {
        assert_ne!(hash([b"a", b"bc"]), hash([b"ab", b"c"]));
        assert_eq!(hash([b"a", b"bc"]), hash([b"a", b"bc"]));
    }
}
