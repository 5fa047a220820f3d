//! REST API v1: JSON over HTTP, problems for refusals, OpenAPI made from the code.
//!
//! Owns routes, the shapes of requests and answers, authorisation. Never decides what an
//! event matches, never runs SQL, never sends to endpoints: it asks the catalog, the
//! ingest, the store and the dispatcher.

mod applications;
mod audit;
mod auditor;
pub mod auth;
mod backtests;
mod backup;
mod batch;
mod cloudevents;
mod deliveries;
mod delivery_again;
mod delivery_inputs;
mod docs;
mod door;
mod envelope;
mod event_types;
mod events;
mod exact;
mod explain;
mod extract;
mod forms;
mod handshake;
mod health;
mod idempotency;
mod inbound;
mod inflate;
mod keys;
mod limit_documents;
mod limit_refusals;
mod limits;
mod message;
mod observe;
mod once;
mod page;
mod plugin_component;
mod plugin_health;
mod plugin_live;
mod plugin_rollout;
mod plugin_run;
mod plugin_upload;
mod plugins;
mod portal_tokens;
mod preconditions;
pub mod problem;
mod publish;
mod refusal;
mod replays;
mod schema_evolution;
mod source_io;
mod source_secrets;
mod sources;
mod strict;
mod subscription_check;
mod subscription_credentials;
mod subscription_health;
mod subscription_io;
mod subscription_match;
mod subscription_schemes;
mod subscription_secret;
mod subscription_secrets;
mod subscription_state;
mod subscriptions;
mod tail;

use std::{
    any::Any,
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::sync::Mutex;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use url::Url;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::problem::{Code, Problem};
use crate::{
    access::Access,
    backtest::Backtests,
    catalog::Catalog,
    clock::Clock,
    delivery::Dispatcher,
    ingest::Ingest,
    limits::Rates,
    model::Policy,
    plugin::Runtime,
    recovery::Replays,
    sources::Sources,
    store::{SharedStore, noted},
    watch::Watch,
};

pub use docs::openapi;
pub use door::Door;

/// What requests may weigh.
#[derive(Debug, Clone, Copy)]
pub struct ApiLimits {
    /// Bytes of a JSON body, and of one event in a batch.
    pub max_body: usize,
    /// Bytes of a plugin upload.
    pub max_upload: usize,
    /// Events in a batch.
    pub max_batch: usize,
    /// Bytes of a batch.
    pub max_batch_body: usize,
    /// How long an answer to a request under a key is remembered.
    pub idempotency: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            max_body: 1024 * 1024,
            max_upload: 64 * 1024 * 1024,
            max_batch: 500,
            max_batch_body: 8 * 1024 * 1024,
            idempotency: Duration::from_secs(24 * 3600),
        }
    }
}

/// What a subscription may ask deliveries to do. Checked when one is saved, so a mistake is
/// told to the person who makes it; the delivery checks again, at connect time.
pub trait EndpointPolicy: Send + Sync {
    /// The endpoint, if requests may go there; else why not.
    fn check_url(&self, url: &str) -> Result<Url, String>;
    /// Whether a request may carry this header; else why not.
    fn check_header(&self, name: &str, value: &str) -> Result<(), String>;
    /// Everything in a policy that cannot be used: where in it, and why.
    fn check_policy(&self, policy: &Policy) -> Vec<(String, String)> {
        policy.check()
    }
}

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Everything the API asks.
pub struct Api {
    /// What happened.
    pub store: SharedStore,
    /// What changes seldom.
    pub catalog: Arc<Catalog>,
    /// Where events go in.
    pub ingest: Ingest,
    /// What takes third parties' requests.
    pub sources: Arc<Sources>,
    /// What runs plugins.
    pub runtime: Arc<Runtime>,
    /// What watches plugins at work.
    pub watch: Arc<Watch>,
    /// What tries versions on recorded events.
    pub backtests: Arc<Backtests>,
    /// What delivers again.
    pub replays: Arc<Replays>,
    /// What delivers.
    pub dispatcher: Arc<Dispatcher>,
    /// Who is let in.
    pub access: Arc<Access>,
    /// What time it is.
    pub clock: Clock,
    /// What requests may weigh.
    pub limits: ArcSwap<ApiLimits>,
    /// At what rates it may be asked.
    pub rates: Arc<Rates>,
    /// Held through a change of anybody's own limits, and of what would take them with it: so
    /// that store and memory see changes in the same order.
    pub changing_limits: Mutex<()>,
    /// Held through a change of where a subscription sends, and of whether it may: so that leave
    /// is never for another endpoint than it was given for.
    pub settling_leave: Mutex<()>,
    /// What subscriptions may ask for.
    pub endpoint_policy: Arc<dyn EndpointPolicy>,
    /// What `/metrics` shows.
    pub metrics: RenderMetrics,
    /// Whether the server takes requests: false while it starts and once it stops.
    pub ready: Arc<AtomicBool>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The server's HTTP interface.
pub fn router(api: Arc<Api>) -> Router {
    let (routes, _) = routes().split_for_parts();
    let auditor = auditor::Auditor::new(Arc::clone(&api));
    let once = once::Once::new(Arc::clone(&api));
    // Layers wrap the routes that are there when they are added, so they come last.
    routes
        .layer(middleware::from_fn_with_state(auditor, auditor::record))
        // Around it: a repetition changes nothing, so there is nothing to write down.
        .layer(middleware::from_fn_with_state(once, once::record))
        .merge(docs::pages())
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(extract::said_once))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), limits::tell))
        .layer(middleware::from_fn(observe::observe))
        .with_state(api)
}

/// Every route with its documentation: the one list both are made from.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        // What is handed to the ingest is finished there, and an upload whose client went away
        // need not be compiled.
        .routes(routes!(publish::publish_event))
        .routes(routes!(batch::publish_batch))
        .routes(routes!(plugin_upload::upload_plugin, plugins::list_plugins))
        .merge(resources().layer(middleware::from_fn(to_the_end)))
}

fn resources() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(tail::tail))
        .routes(routes!(events::list_events))
        .routes(routes!(events::get_event))
        .routes(routes!(events::get_event_payload))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::get_delivery))
        .routes(routes!(delivery_inputs::get_delivery_inputs))
        .routes(routes!(deliveries::retry_delivery))
        .routes(routes!(delivery_again::rerun_delivery))
        .routes(routes!(delivery_again::send_delivery_to))
        .routes(routes!(replays::start_replay, replays::list_replays))
        .routes(routes!(replays::get_replay))
        .routes(routes!(replays::pause_replay))
        .routes(routes!(replays::resume_replay))
        .routes(routes!(replays::cancel_replay))
        .routes(routes!(
            subscriptions::create_subscription,
            subscription_health::list_subscriptions
        ))
        .routes(routes!(
            subscriptions::get_subscription,
            subscriptions::change_subscription,
            subscriptions::delete_subscription
        ))
        .routes(routes!(subscription_health::subscription_health))
        .routes(routes!(subscription_state::pause_subscription))
        .routes(routes!(subscription_state::resume_subscription))
        .routes(routes!(subscription_state::enable_subscription))
        .routes(routes!(subscription_state::disable_subscription))
        .routes(routes!(subscriptions::test_subscription))
        .routes(routes!(subscription_match::match_subscription))
        .routes(routes!(subscription_secret::rotate_secret))
        // It may create an event type on its way, which is not to be left half done.
        .routes(routes!(inbound::receive))
        .routes(routes!(sources::create_source, sources::list_sources))
        .routes(routes!(sources::get_source, sources::change_source, sources::delete_source))
        .routes(routes!(sources::list_refusals))
        .routes(routes!(source_secrets::add_source_secret))
        .routes(routes!(source_secrets::remove_source_secret))
        .routes(routes!(handshake::get_handshake, handshake::ask_for_leave))
        .routes(routes!(subscription_secrets::list_secrets, subscription_secrets::add_secret))
        .routes(routes!(subscription_secrets::remove_secret))
        .routes(routes!(event_types::create_event_type, event_types::list_event_types))
        .routes(routes!(
            event_types::get_event_type,
            event_types::change_event_type,
            event_types::delete_event_type
        ))
        .routes(routes!(event_types::add_schema_version, event_types::list_schema_versions))
        .routes(routes!(event_types::get_schema_version, schema_evolution::change_schema_version))
        .routes(routes!(schema_evolution::check_schema_version))
        .routes(routes!(event_types::list_violations))
        .routes(routes!(plugins::get_plugin, plugins::delete_plugin))
        .routes(routes!(plugins::list_plugin_versions))
        .routes(routes!(plugins::get_plugin_version, plugins::delete_plugin_version))
        .routes(routes!(plugin_live::set_live_version))
        .routes(routes!(plugin_live::roll_back))
        .routes(routes!(plugin_live::list_plugin_history))
        .routes(routes!(
            plugin_rollout::get_rollout,
            plugin_rollout::start_rollout,
            plugin_rollout::end_rollout
        ))
        .routes(routes!(plugin_health::plugin_version_stats))
        .routes(routes!(plugin_health::list_plugin_failures))
        .routes(routes!(plugin_health::release_plugin_version))
        .routes(routes!(plugin_component::get_plugin_component))
        .routes(routes!(plugin_run::run_plugin))
        .routes(routes!(backtests::start_backtest))
        .routes(routes!(backtests::list_backtests))
        .routes(routes!(backtests::get_backtest, backtests::cancel_backtest))
        .routes(routes!(backup::make_backup))
        .routes(routes!(applications::create_application, applications::list_applications))
        .routes(routes!(applications::get_application, applications::delete_application))
        .routes(routes!(keys::create_key, keys::list_keys))
        .routes(routes!(keys::get_key, keys::revoke_key))
        .routes(routes!(keys::rotate_key))
        .routes(routes!(portal_tokens::create_portal_token, portal_tokens::revoke_portal_tokens))
        .routes(routes!(audit::list_audit))
        .routes(routes!(
            limit_documents::get_application_limits,
            limit_documents::set_application_limits
        ))
        .routes(routes!(limit_documents::get_application_usage))
        .routes(routes!(
            limit_documents::get_event_type_limits,
            limit_documents::set_event_type_limits
        ))
        .routes(routes!(limit_documents::get_key_limits, limit_documents::set_key_limits))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(docs::index))
        .routes(routes!(docs::openapi_json))
        .routes(routes!(docs::explain_problem))
}

/// Finishes what was begun although the client has gone. A change that is dropped half-way has
/// changed the store but not memory, or made deliveries due and told nobody.
async fn to_the_end(request: Request, next: Next) -> Response {
    finish(next.run(request)).await
}

/// Answers what the future comes to, which goes on if nobody waits for it any more.
async fn finish(answering: impl Future<Output = Response> + Send + 'static) -> Response {
    // A panic is caught around this: it is passed on, not hidden.
    let answering = noted::carry(answering);
    tokio::spawn(answering.in_current_span()).await.unwrap_or_else(|error| {
        match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Problem::internal("handling a request", &error).into_response(),
        }
    })
}

async fn unknown_route(request: Request) -> Problem {
    Problem::new(Code::UnknownRoute, format!("There is no path {}", request.uri().path()))
        .detail("/docs lists those there are.")
}

async fn method_not_allowed(request: Request) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("{} does not take {}", request.uri().path(), request.method()),
    )
    .detail("The header Allow lists the methods it takes.")
}

#[expect(clippy::needless_pass_by_value, reason = "the catch-panic layer hands the panic over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let cause = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    Problem::internal("handling a request: it panicked", &cause).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{StatusCode, header},
        routing::get,
    };
    use tower::ServiceExt;

    use super::*;

    /// The outermost parts of the router, around routes that need no server.
    fn shell() -> Router {
        async fn panics() -> &'static str {
            panic!("with a secret")
        }
        Router::new()
            .route("/ok", get(|| async { "ok" }).post(|| async { "ok" }))
            .route("/panics", get(panics))
            .layer(middleware::from_fn(to_the_end))
            .merge(docs::pages())
            .fallback(unknown_route)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(CatchPanicLayer::custom(panicked))
    }

    async fn send(method: &str, path: &str) -> (StatusCode, header::HeaderMap, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = shell().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 24).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn an_unknown_path_is_a_problem() {
        let (status, headers, body) = send("GET", "/v2").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers[header::CONTENT_TYPE], problem::MEDIA_TYPE);
        assert!(body.contains("problems/unknown-route"), "{body}");
    }

    #[tokio::test]
    async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
        let (status, headers, body) = send("PUT", "/ok").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        let allow = headers[header::ALLOW].to_str().unwrap();
        assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
        assert!(body.contains("problems/method-not-allowed"), "{body}");
    }

    #[tokio::test]
    async fn a_panic_is_an_opaque_problem() {
        let (status, _, body) = send("GET", "/panics").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("problems/internal") && !body.contains("secret"), "{body}");
    }

    #[tokio::test]
    async fn what_was_begun_is_finished_though_the_client_went_away() {
        let steps = Arc::new([tokio::sync::Notify::new(), tokio::sync::Notify::new()]);
        let done = Arc::new(tokio::sync::Notify::new());
        let (its_steps, its_done) = (Arc::clone(&steps), Arc::clone(&done));
        let change = get(move || async move {
            its_steps[0].notify_one();
            its_steps[1].notified().await;
            its_done.notify_one();
        });
        let router: Router =
            Router::new().route("/", change).layer(middleware::from_fn(to_the_end));
        let request = tokio::spawn(router.oneshot(Request::new(Body::empty())));
        steps[0].notified().await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        steps[1].notify_one();
        done.notified().await;
    }

    #[tokio::test]
    async fn the_documentation_pages_come_from_the_binary_alone() {
        let (status, _, page) = send("GET", "/docs/").await;
        assert_eq!(status, StatusCode::OK);
        let (_, _, script) = send("GET", "/docs/swagger-initializer.js").await;
        for text in [page, script.clone()] {
            assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
        }
        assert!(script.contains("/openapi.json"), "{script}");
        assert!(script.contains("\"validatorUrl\": \"none\""), "{script}");
        let (status, _, _) = send("GET", "/docs/swagger-ui-bundle.js").await;
        assert_eq!(status, StatusCode::OK);
    }
}
