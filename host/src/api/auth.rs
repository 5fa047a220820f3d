//! Who asks, and for whom: what each route needs of a caller, and how one without it is refused.
//!
//! Owns the refusals (RFC 6750) and the application a request acts for. Never checks a
//! credential itself: that is `access`'s.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{Extensions, HeaderMap, HeaderValue, header, request::Parts},
};

use super::{
    Api, door, explain, limits,
    problem::{Code, Problem},
};
use crate::{
    access::{Caller, Denied, Kind, Reach},
    model::{Application, KeyScope, Timestamp},
};

/// The header that names the application a request acts for.
pub const APPLICATION_HEADER: &str = "hookmill-application";

/// What a portal token is for: everything below these, and nothing else.
const PORTAL: [&str; 3] = ["/v1/subscriptions", "/v1/deliveries", "/v1/replays"];
/// What it may read besides.
const PORTAL_READS: [&str; 4] = [
    "/v1/event-types",
    "/v1/event-types/{name}",
    "/v1/event-types/{name}/versions",
    "/v1/event-types/{name}/versions/{version}",
];

mod sealed {
    pub trait Sealed {}
}

/// What a route needs of whoever calls it: named in its handler's signature.
pub trait Need: sealed::Sealed + Send + Sync + 'static {
    /// The scope a key must have.
    const SCOPE: KeyScope;
    /// Another that it must have beside.
    const ALSO: Option<KeyScope> = None;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl sealed::Sealed for $name {}
            impl Need for $name {
                const SCOPE: KeyScope = KeyScope::$name;
            }
        )*
    };
}

needs! {
    /// It only reads.
    Read;
    /// It takes events in.
    Publish;
    /// It changes something.
    Manage;
}

/// It changes who may publish without a key: whoever gives a source its secret can sign what it
/// takes.
#[derive(Debug, Clone, Copy)]
pub struct ManageWhoPublishes;
impl sealed::Sealed for ManageWhoPublishes {}
impl Need for ManageWhoPublishes {
    const SCOPE: KeyScope = KeyScope::Manage;
    const ALSO: Option<KeyScope> = Some(KeyScope::Publish);
}

/// Whoever makes a request.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whose credential it carries.
    pub caller: Arc<Caller>,
    /// The one application that it can reach; none if that is every one.
    pub home: Option<Arc<Application>>,
}

impl Identity {
    /// Whether it can reach what belongs to no application.
    pub fn is_admin(&self) -> bool {
        self.home.is_none()
    }
}

/// Whose request this is. Asked once for a request: what was found is kept with it.
pub async fn identify(
    api: &Api,
    headers: &HeaderMap,
    extensions: &mut Extensions,
) -> Result<Identity, Problem> {
    if let Some(known) = extensions.get::<Identity>() {
        return Ok(known.clone());
    }
    let credential = credential(headers)?;
    let caller = api.access.identify(credential).await.map_err(|why| denied(&why))?;
    let home = match &caller.reach {
        Reach::Platform => None,
        Reach::Application(id) => Some(api.catalog.application(*id)),
        Reach::Claimed(name) => Some(find_application(api, name)),
    };
    let home = match home {
        Some(None) => {
            return Err(unauthorized(
                "The key or token is for an application that does not exist",
                INVALID_TOKEN,
            ));
        }
        Some(found) => found,
        None => None,
    };
    if let Some(home) = &home
        && headers.contains_key(APPLICATION_HEADER)
        && !is_called(home, named_application(headers)?)
    {
        return Err(foreign(home));
    }
    let identity = Identity { caller, home };
    extensions.insert(identity.clone());
    Ok(identity)
}

/// Whether an application is meant by a name or id.
fn is_called(application: &Application, name_or_id: &str) -> bool {
    application.name == name_or_id || name_or_id.parse() == Ok(application.id)
}

/// Says the same whether the other application exists or not.
pub fn foreign(home: &Application) -> Problem {
    Problem::new(
        Code::ForeignApplication,
        format!("The key is of the application {}, and acts for no other", home.name),
    )
    .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT))
}

const REALM: &str = "Bearer realm=\"hookmill\"";
const INVALID_REQUEST: &str = "Bearer realm=\"hookmill\", error=\"invalid_request\"";
const INVALID_TOKEN: &str = "Bearer realm=\"hookmill\", error=\"invalid_token\"";
const INSUFFICIENT: &str = "Bearer realm=\"hookmill\", error=\"insufficient_scope\"";

fn credential(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("The request carries no key", REALM));
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| {
            unauthorized(
                "The Authorization header is not of the form Bearer and a key",
                INVALID_REQUEST,
            )
        })
}

fn denied(why: &Denied) -> Problem {
    match why {
        Denied::Jwt(reason) => Problem::new(Code::Unauthorized, "The token is not accepted")
            .detail(format!("The token is refused: {reason}."))
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(INVALID_TOKEN)),
        Denied::Key | Denied::Portal => unauthorized(&why.to_string(), INVALID_TOKEN),
    }
}

fn unauthorized(title: &str, challenge: &'static str) -> Problem {
    Problem::new(Code::Unauthorized, title)
        .detail(
            "Send `Authorization: Bearer hmk_…` with a key: the one that `hookmill serve` showed, \
             or one that was made with it.",
        )
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Refuses a caller without a scope, naming it.
fn missing(scope: KeyScope) -> Problem {
    let challenge = match scope {
        KeyScope::Read => "Bearer realm=\"hookmill\", error=\"insufficient_scope\", scope=\"read\"",
        KeyScope::Publish => {
            "Bearer realm=\"hookmill\", error=\"insufficient_scope\", scope=\"publish\""
        }
        KeyScope::Manage => {
            "Bearer realm=\"hookmill\", error=\"insufficient_scope\", scope=\"manage\""
        }
    };
    Problem::new(Code::InsufficientScope, format!("The key lacks the scope {scope}"))
        .detail("A key's scopes never change; make one that has it.")
        .member("scope", scope.as_str())
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn admin_needed() -> Problem {
    Problem::new(Code::AdminNeeded, "This is the platform's, and needs an admin key")
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT))
}

/// A caller that may do `N`, whomever it belongs to.
async fn allowed<N: Need>(parts: &mut Parts, api: &Api) -> Result<Identity, Problem> {
    let identity = identify(api, &parts.headers, &mut parts.extensions).await?;
    // What an application asks for is counted whatever comes of it; what an admin asks for is,
    // if it is for an application.
    if let Some(home) = &identity.home
        && !door::publishes(&parts.method, parts.uri.path())
    {
        limits::request(api, &mut parts.extensions, home, &identity.caller.id)?;
    }
    if identity.caller.kind == Kind::Portal {
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        within_portal(route, N::SCOPE)?;
    }
    let mut needed = [Some(N::SCOPE), N::ALSO].into_iter().flatten();
    match needed.find(|scope| !identity.caller.scopes.allow(*scope)) {
        Some(lacking) => Err(missing(lacking)),
        None => Ok(identity),
    }
}

/// Whether a portal token is for this route. What is not listed is not.
pub(super) fn within_portal(route: &str, scope: KeyScope) -> Result<(), Problem> {
    let below = |root: &&str| {
        route.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let reads = scope == KeyScope::Read && PORTAL_READS.contains(&route);
    if scope != KeyScope::Publish && (reads || PORTAL.iter().any(below)) {
        return Ok(());
    }
    Err(Problem::new(Code::BeyondPortal, "A portal token is not for this")
        .detail("It is for subscriptions, deliveries and replays, and for reading event types.")
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(INSUFFICIENT)))
}

/// A request whose key may do `N` for the whole platform: for what belongs to no application.
#[derive(Debug, Clone)]
pub struct Admin<N> {
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<Arc<Api>> for Admin<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let identity = allowed::<N>(parts, api).await?;
        if identity.is_admin() { Ok(Self { need: PhantomData }) } else { Err(admin_needed()) }
    }
}

/// A request whose key may do `N`, whomever it belongs to: for what every application sees, or
/// what shows each its own.
#[derive(Debug, Clone)]
pub struct Known<N> {
    /// Whose request it is.
    pub identity: Identity,
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<Arc<Api>> for Known<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let identity = allowed::<N>(parts, api).await?;
        Ok(Self { identity, need: PhantomData })
    }
}

/// Whether a request that was let in still would be: an answer that goes on and on must not
/// outlive the key it was asked for with.
pub async fn still_holds<N: Need>(api: &Api, headers: &HeaderMap) -> bool {
    let identity = identify(api, headers, &mut Extensions::new()).await;
    identity.is_ok_and(|identity| identity.caller.scopes.allow(N::SCOPE))
}

/// For whom a request acts, and whose key it carries.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The application.
    pub application: Arc<Application>,
    /// Whose key it carries, for the history of changes.
    pub by: Arc<str>,
    /// Whether that key can reach what belongs to no application.
    pub is_admin: bool,
    /// When that key ends, if it does.
    pub until: Option<Timestamp>,
}

impl Actor {
    /// Refuses one that cannot reach what belongs to no application.
    pub fn must_be_admin(&self) -> Result<(), Problem> {
        if self.is_admin { Ok(()) } else { Err(admin_needed()) }
    }
}

/// A request whose key may do `N` for the application it acts for: the key's own; for an admin
/// key the one that its header names, else `default`.
#[derive(Debug, Clone)]
pub struct Acting<N> {
    actor: Actor,
    need: PhantomData<N>,
}

impl<N> Deref for Acting<N> {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

impl<N: Need> FromRequestParts<Arc<Api>> for Acting<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let identity = allowed::<N>(parts, api).await?;
        let (by, is_admin) = (Arc::clone(&identity.caller.id), identity.is_admin());
        let until = identity.caller.until;
        let application = match identity.home {
            Some(home) => home,
            None => named(api, &parts.headers)?,
        };
        if !door::publishes(&parts.method, parts.uri.path()) {
            limits::request(api, &mut parts.extensions, &application, &by)?;
        }
        Ok(Self { actor: Actor { application, by, is_admin, until }, need: PhantomData })
    }
}

/// The application that an admin's request names.
pub fn named(api: &Api, headers: &HeaderMap) -> Result<Arc<Application>, Problem> {
    let name = named_application(headers)?;
    find_application(api, name).ok_or_else(|| {
        no_application(api, name)
            .detail("The header Hookmill-Application takes an application's name or id.")
    })
}

/// What an admin who names an application that does not exist is told.
pub fn no_application(api: &Api, name: &str) -> Problem {
    let known = api.catalog.applications();
    Problem::new(Code::UnknownApplication, format!("There is no application {name}"))
        .did_you_mean(explain::closest(name, known.iter().map(|app| app.name.as_str())))
}

/// The application of this name or id.
pub fn find_application(api: &Api, name_or_id: &str) -> Option<Arc<Application>> {
    match name_or_id.parse() {
        Ok(id) => api.catalog.application(id),
        Err(_) => api.catalog.application_named(name_or_id),
    }
}

fn named_application(headers: &HeaderMap) -> Result<&str, Problem> {
    match headers.get(APPLICATION_HEADER) {
        None => Ok(Application::DEFAULT),
        Some(value) => value.to_str().map_err(|_| {
            Problem::new(Code::InvalidHeader, "The header Hookmill-Application is not a name or id")
        }),
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_credential_is_taken_whatever_the_case_of_the_scheme() {
        let with =
            |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        for good in ["Bearer hmk_a", "bearer hmk_a", "BEARER  hmk_a "] {
            assert_eq!(credential(&with(good)).unwrap(), "hmk_a", "{good}");
        }
        for bad in ["", "Bearer", "Basic aG1rX2FkbWluX2E6", "hmk_a"] {
            if let Ok(found) = credential(&with(bad)) {
                assert!(bad.starts_with("Basic") && found.is_empty(), "{bad}");
            }
        }
        let response = credential(&HeaderMap::new()).unwrap_err().into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], REALM);
    }

    #[test]
    fn a_portal_token_is_for_what_is_listed_and_nothing_beside_it() {
        let may = |route, scope| within_portal(route, scope).is_ok();
        assert!(may("/v1/subscriptions", KeyScope::Manage));
        assert!(may("/v1/subscriptions/{id}/pause", KeyScope::Manage));
        assert!(may("/v1/event-types/{name}", KeyScope::Read));
        for beyond in
            ["/v1/subscriptionsx", "/v1/keys", "/v1/audit", "/v1/events", "/v1/plugins", ""]
        {
            assert!(!may(beyond, KeyScope::Read), "{beyond}");
        }
        assert!(!may("/v1/event-types/{name}", KeyScope::Manage));
        assert!(!may("/v1/subscriptions", KeyScope::Publish));
    }

    #[test]
    fn without_a_header_a_request_acts_for_default() {
        assert_eq!(named_application(&HeaderMap::new()).unwrap(), "default");
    }
}
