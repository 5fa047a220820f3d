//! Puts the parts together, runs them until told to stop, and takes them apart in order.

mod connections;
mod reload;
mod supervisor;
mod tls;

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::pki_types::CertificateDer;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use url::Url;

use self::{connections::Connections, reload::Reload, tls::Tls};
use crate::{
    access::{Access, JwksSource, JwtSettings, Jwts, NewKey},
    api::{self, Api, Door, EndpointPolicy},
    backtest::Backtests,
    catalog::{Catalog, Change},
    clock::Clock,
    config::{self, Config},
    delivery::{
        BreakerRules, BreakerState, DeliverySettings, Dice, Dispatcher, Guard, Parts,
        check_endpoint, check_header, read_authorities,
    },
    ingest::{Ingest, IngestSettings},
    limits::{Admission, AdmissionSettings, Rates, RatesSettings},
    model::{Limits, Policy, RateLimit, Scopes, SecretText},
    notices::Notices,
    operational::{self, BacklogLimits},
    plugin::{Compiler, PluginSettings, Runtime},
    recovery::Replays,
    retention::{Retention, RetentionSettings},
    seal::KeySource,
    sources::Sources,
    store::{SharedStore, sqlite::SqliteStore},
    telemetry::{self, Exporter},
    watch::{Watch, WatchSettings},
};

/// Why the server did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServeError(String);

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> ServeError + '_ {
    move |error| ServeError(format!("{what}: {error}"))
}

/// Runs a server until SIGTERM or SIGINT; SIGHUP reads `sources` again.
pub async fn run(config: Config, sources: config::Sources) -> Result<(), ServeError> {
    telemetry::log(config.log_format, config.log_filter.as_deref());
    outlive_file_limits();
    let rendered = telemetry::metrics().map_err(|e| failed("metrics cannot be set up")(&e))?;
    // Before anything is made: a start that fails for want of a port must not use up the one
    // time the admin key is shown.
    let listener = TcpListener::bind(config.listen).await.map_err(|e| {
        failed(&format!("cannot listen on {} (choose another with --listen)", config.listen))(&e)
    })?;
    let address = listener.local_addr().map_err(|e| failed("the listener has no address")(&e))?;
    let clock = Clock::system();
    let tls = Tls::from_settings(&config, clock).map_err(|e| failed("cannot serve HTTPS")(&e))?;
    if tls.is_none() {
        // An alert on what is left of it is quiet then.
        metrics::gauge!("hookmill_tls_certificate_expiry_timestamp_seconds").set(f64::INFINITY);
    }
    let exporter = config
        .otlp()
        .map(Exporter::start)
        .transpose()
        .map_err(|e| failed("traces cannot be sent")(&e))?;
    let is_new = !config.database.exists();
    let key_file = KeySource::Beside.path(&config.database).filter(|path| !path.exists());
    let store = open(&config).await?;
    let installation_key = installation_key(&store).await?;
    let (access, made_key) = access(&store, &config, &installation_key, clock).await?;
    let runtime = start_runtime(installation_key, &config)?;
    let catalog = Catalog::load(store.clone(), runtime.clone(), clock)
        .await
        .map_err(|e| failed("the database cannot be read")(&e))?;
    let extra_authorities = config.endpoint_ca_file.as_deref().map(authorities).transpose()?;
    let settings = DeliverySettings {
        extra_authorities: extra_authorities.unwrap_or_default(),
        ..delivery_settings(&config)
    };
    let current = Arc::new(ArcSwap::from_pointee(config.clone()));
    let guard = settings.guard.clone();
    let policy = Endpoints {
        guard: guard.clone(),
        allow_http: settings.allow_http,
        current: Arc::clone(&current),
    };
    let (notices, heard) = Notices::channel();
    let watch = Watch::start(
        watch_settings(&config),
        store.clone(),
        catalog.clone(),
        runtime.clone(),
        notices.clone(),
        clock,
    );
    let dispatcher = Dispatcher::start(
        settings,
        Parts {
            store: store.clone(),
            directory: catalog.clone(),
            pipelines: watch.clone(),
            notices: notices.clone(),
            dice: Dice::seeded(u64::from_le_bytes(random()?)),
            clock,
            owner: i64::from_le_bytes(random()?),
        },
    )
    .await
    .map_err(|e| failed("delivery cannot start")(&e))?;
    let (told, watching) = (dispatcher.clone(), watch.clone());
    catalog.listen(move |change| match change {
        Change::Rollouts => watching.rollouts_changed(),
        Change::Due(subscription, at) => told.wake(subscription, at),
        Change::Deleted(subscription) => told.forget(subscription),
        Change::Renewed(subscription) => told.renew(subscription),
    });
    let admission = Admission::new(admission_settings(&config), clock);
    let own = store.limits().await.map_err(|e| failed("the database cannot be read")(&e))?;
    let rates = Arc::new(Rates::new(rates_settings(&config), own, clock));
    let ingest = Ingest::start(
        IngestSettings {
            queue: config.ingest_queue,
            idempotency_window: Duration::from_secs(config.idempotency_seconds),
            ..IngestSettings::default()
        },
        store.clone(),
        catalog.clone(),
        dispatcher.clone(),
        (admission.clone(), Arc::clone(&rates)),
        clock,
    );

    let replays = Replays::start(store.clone(), catalog.clone(), dispatcher.clone(), clock)
        .await
        .map_err(|e| failed("the database cannot be read")(&e))?;
    tokio::spawn(operational::tell(heard, catalog.clone(), ingest.clone(), clock));
    let backlog = Arc::new(ArcSwap::from_pointee(backlog_limits(&config)));
    let counting = tokio::spawn(operational::watch_backlog(
        store.clone(),
        notices,
        clock,
        (Arc::clone(&backlog), admission.clone()),
    ));
    let third_parties = Sources::load(
        store.clone(),
        catalog.clone(),
        ingest.clone(),
        runtime.clone(),
        Arc::clone(&rates),
        admission.clone(),
        clock,
    )
    .await
    .map_err(|e| failed("the database cannot be read")(&e))?;
    let backtests = Backtests::new(store.clone(), catalog.clone(), runtime.clone(), clock);
    let woken = dispatcher.clone();
    let wake = move |subscription| woken.wake(subscription, clock.now());
    let retention = Retention::start(retention_settings(&config), store.clone(), clock, wake);
    let retention = Arc::new(retention);
    let ready = Arc::new(AtomicBool::new(true));
    let (counted, queue) = (catalog.clone(), ingest.clone());
    let gate = admission.clone();
    let breakers = dispatcher.clone();
    let api = Arc::new(Api {
        store: store.clone(),
        catalog: catalog.clone(),
        ingest,
        sources: third_parties,
        runtime: runtime.clone(),
        watch: watch.clone(),
        backtests: backtests.clone(),
        replays: replays.clone(),
        dispatcher: dispatcher.clone(),
        access: Arc::clone(&access),
        clock,
        limits: ArcSwap::from_pointee(reload::limits(&config)),
        rates,
        changing_limits: tokio::sync::Mutex::default(),
        settling_leave: tokio::sync::Mutex::default(),
        endpoint_policy: Arc::new(policy),
        metrics: Arc::new(move || {
            count_breakers(&breakers);
            metrics::gauge!("hookmill_ingest_waiting").set(queue.waiting() as f64);
            metrics::gauge!("hookmill_publishing").set(gate.at_work() as f64);
            metrics::gauge!("hookmill_publishing_limit").set(gate.limit() as f64);
            metrics::gauge!("hookmill_bodies_bytes").set(gate.bytes() as f64);
            render(&rendered, &runtime, &watch, &counted)
        }),
        ready: ready.clone(),
    });
    let kept_for = Arc::clone(&current);
    let audit_for = move || Config::days(kept_for.load().retain_audit_days);
    let keeping = tokio::spawn(Arc::clone(&access).keep(store.clone(), audit_for));
    let key_file = key_file.filter(|path| path.exists());
    announce(&config, address, is_new, &catalog, (made_key.as_deref(), key_file.as_deref()));

    let watched = dispatcher.clone();
    let reload = Reload {
        sources,
        started: config,
        current: Arc::clone(&current),
        api: Arc::clone(&api),
        admission: admission.clone(),
        backlog,
        retention: Arc::clone(&retention),
        guard,
        tls: tls.clone(),
    };
    let following = [
        reload::hangups().map(|hangups| tokio::spawn(reload.run(hangups))),
        tls.clone().map(|tls| tokio::spawn(tls.follow())),
    ];
    let door = Door::new(api::router(api), admission);
    // Caught from now on: a supervisor may say so the moment it hears that the server is ready.
    let signals = stop_signals();
    supervisor::tell(supervisor::READY);

    let stop = async move {
        told_to_stop(signals).await;
        supervisor::tell(supervisor::STOPPING);
        ready.store(false, Ordering::Relaxed);
        watched.tail().end();
    };
    let patience = move || Duration::from_secs(current.load().shutdown_seconds);
    Connections::within_limits(tls).serve(listener, door, stop, patience).await;
    following.iter().flatten().for_each(tokio::task::JoinHandle::abort);
    retention.stop();
    backtests.stop();
    replays.stop();
    dispatcher.shutdown().await;
    counting.abort();
    keeping.abort();
    access.keys.write_uses().await;
    store.close().await;
    if let Some(exporter) = exporter {
        exporter.flush().await;
    }
    Ok(())
}

async fn open(config: &Config) -> Result<SharedStore, ServeError> {
    let key = config.master_key.as_ref().map(SecretText::reveal);
    let key = KeySource::from_settings(key, config.master_key_file.as_deref())
        .map_err(|e| failed("cannot start")(&e))?;
    let path = &config.database;
    let store = SqliteStore::open_with(path, &key)
        .await
        .map_err(|e| failed(&format!("cannot open the database {}", path.display()))(&e))?;
    Ok(Arc::new(store))
}

async fn installation_key(store: &SharedStore) -> Result<[u8; 32], ServeError> {
    let unreadable = failed("the database cannot be read");
    store.installation_key(random()?).await.map_err(|e| unreadable(&e))
}

fn start_runtime(key: [u8; 32], config: &Config) -> Result<Arc<Runtime>, ServeError> {
    let program = std::env::current_exe().map_err(|e| failed("this program has no path")(&e))?;
    let mut settings = PluginSettings::new(config.plugin_cache(), key, Compiler::Child(program));
    if let Some(threads) = config.plugin_threads {
        settings.threads = threads;
    }
    settings.learn_bytes = config.plugin_learn_bytes;
    Runtime::start(settings).map_err(ServeError)
}

/// What holds for whoever has no limit of their own; 0 is none.
fn rates_settings(config: &Config) -> RatesSettings {
    let rate =
        |per_second: f64| (per_second > 0.0).then_some(RateLimit { per_second, burst: None });
    let most = |count: u32| (count > 0).then_some(count);
    RatesSettings {
        application: Limits {
            events: rate(config.application_events_per_second),
            requests: rate(config.application_requests_per_second),
            subscriptions: most(config.application_subscriptions),
            plugin_versions: most(config.application_plugin_versions),
            stored_bytes: Some(config.application_stored_bytes).filter(|&most| most > 0),
            ..Limits::default()
        },
        key: Limits {
            events: rate(config.key_events_per_second),
            requests: rate(config.key_requests_per_second),
            ..Limits::default()
        },
        event_type: Limits {
            events: rate(config.event_type_events_per_second),
            ..Limits::default()
        },
    }
}

fn retention_settings(config: &Config) -> RetentionSettings {
    RetentionSettings {
        payloads: Config::days(config.retain_payload_days),
        attempts: Config::days(config.retain_attempts_days),
        events: Config::days(config.retain_events_days),
        unfinished: Config::days(config.retain_unfinished_days),
    }
}

fn watch_settings(config: &Config) -> WatchSettings {
    WatchSettings {
        failures: config.quarantine_failures,
        percent: config.quarantine_percent,
        ..WatchSettings::default()
    }
}

const fn admission_settings(config: &Config) -> AdmissionSettings {
    AdmissionSettings { publishing: config.max_publishing, body_bytes: config.max_bodies_bytes }
}

const fn backlog_limits(config: &Config) -> BacklogLimits {
    BacklogLimits {
        high: config.backlog_high,
        most: config.max_pending_deliveries,
        bytes: config.max_database_bytes,
    }
}

/// All but what is in files of its own.
fn delivery_settings(config: &Config) -> DeliverySettings {
    DeliverySettings {
        max_in_flight: config.max_in_flight,
        concurrency: config.subscription_concurrency,
        host_concurrency: config.host_concurrency,
        max_age: Duration::from_secs(config.max_age_seconds),
        breaker: BreakerRules {
            percent: config.breaker_percent,
            minimum: config.breaker_minimum,
            open: Duration::from_secs(config.breaker_open_seconds),
            longest: Duration::from_secs(config.breaker_longest_seconds),
        },
        disable_after: Duration::from_secs(config.disable_after_seconds),
        attempt_timeout: config.attempt_timeout(),
        connect_timeout: config.connect_timeout(),
        longest_timeout: config.max_timeout(),
        guard: Guard::new(config.allow_networks.clone()),
        dns_servers: config.dns_servers.clone(),
        ..DeliverySettings::default()
    }
}

/// The operator's own certificate authorities.
fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let name = format!("endpoint_ca_file {}", file.display());
    let pem = std::fs::read(file).map_err(|e| failed(&format!("cannot read {name}"))(&e))?;
    read_authorities(&pem).map_err(|why| ServeError(format!("{name} {why}")))
}

/// Endpoints as the delivery engine will see them.
struct Endpoints {
    guard: Guard,
    allow_http: bool,
    current: Arc<ArcSwap<Config>>,
}

impl EndpointPolicy for Endpoints {
    fn check_url(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("is not a URL ({error}); write one such as https://shop.example/hooks")
        })?;
        check_endpoint(&url, &self.guard, self.allow_http)
            .map_err(|problem| problem.to_string())?;
        Ok(url)
    }

    fn check_header(&self, name: &str, value: &str) -> Result<(), String> {
        check_header(name, value).map_err(|problem| problem.to_string())
    }

    fn check_policy(&self, policy: &Policy) -> Vec<(String, String)> {
        let mut wrong = policy.check();
        let longest = self.current.load().max_timeout();
        if policy.timeout().is_some_and(|asked| asked > longest) {
            let most = longest.as_secs_f64();
            let why =
                format!("is longer than the {most} s that the server's max_timeout_seconds allows");
            wrong.push(("/timeout_seconds".into(), why));
        }
        wrong
    }
}

/// Everybody who is let in, and the admin key if one was made just now: there was none, and
/// none is configured.
async fn access(
    store: &SharedStore,
    config: &Config,
    installation_key: &[u8; 32],
    clock: Clock,
) -> Result<(Arc<Access>, Option<String>), ServeError> {
    let jwts = match jwt_settings(config) {
        None => None,
        Some(settings) => {
            let cannot = failed("tokens cannot be checked (jwt_jwks)");
            Some(Jwts::start(settings, clock).await.map_err(|e| cannot(&e))?)
        }
    };
    let configured = config.admin_key.as_deref();
    let access = Access::load(store.clone(), configured, installation_key, jwts, clock)
        .await
        .map_err(|e| failed("the database cannot be read")(&e))?;
    let mut made = None;
    if access.keys.is_empty() {
        let first = NewKey {
            name: "first".into(),
            application: None,
            scopes: Scopes::ALL,
            expires_at: None,
        };
        let cannot = failed("the first admin key cannot be made");
        let (_, text) = access.keys.create(first).await.map_err(|e| cannot(&e))?;
        made = Some(text);
    }
    Ok((Arc::new(access), made))
}

fn jwt_settings(config: &Config) -> Option<JwtSettings> {
    Some(JwtSettings {
        jwks: JwksSource::from(config.jwt_jwks.as_deref()?),
        // The configuration was checked: these are there.
        issuer: config.jwt_issuer.clone()?,
        audience: config.jwt_audience.clone()?,
        algorithms: config.jwt_algorithms.clone(),
        application_claim: config.jwt_application_claim.clone(),
        scope_claim: config.jwt_scope_claim.clone(),
        scope_prefix: config.jwt_scope_prefix.clone(),
        leeway: Duration::from_secs(config.jwt_leeway_seconds),
        refresh: Duration::from_secs(config.jwt_refresh_seconds),
        refetch: Duration::from_secs(config.jwt_refetch_seconds),
    })
}

fn random<const N: usize>() -> Result<[u8; N], ServeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| failed("the system gives no random bytes")(&e))?;
    Ok(bytes)
}

/// The lines a person sees at the start. Their form is relied on by scripts: `listening on`
/// is followed by the URL.
fn announce(
    config: &Config,
    address: SocketAddr,
    is_new: bool,
    catalog: &Catalog,
    (key, key_file): (Option<&str>, Option<&Path>),
) {
    let mut out = std::io::stdout().lock();
    let database = config.database.display();
    let new = if is_new { " (new)" } else { "" };
    let plugins = catalog.plugin_count();
    let version = env!("CARGO_PKG_VERSION");
    let scheme = if config.tls_certificate.is_some() { "https" } else { "http" };
    // Nobody may be reading: a server that is heard by nobody still serves.
    let _unheard = writeln!(
        out,
        "hookmill {version}  database {database}{new}  plugins {plugins}  listening on {scheme}://{address}"
    );
    if let Some(key) = key {
        let _unheard =
            writeln!(out, "admin key (shown once): {key}   docs {scheme}://{address}/docs");
    }
    if let Some(path) = key_file {
        let path = path.display();
        let _unheard = writeln!(
            out,
            "master key: {path}   (keep a copy elsewhere: without it a backup's secrets are lost)"
        );
    }
    let _unheard = out.flush();
}

/// SIGXFSZ on Linux and macOS.
const FILE_TOO_LARGE: i32 = 25;

/// Turns the signal that a limit on the size of files ends a process with into an error of the
/// write, which the store tells like a full disk.
fn outlive_file_limits() {
    match signal(SignalKind::from_raw(FILE_TOO_LARGE)) {
        Ok(caught) => drop(caught),
        Err(error) => tracing::warn!(%error, "a limit on the size of files would end the server"),
    }
}

fn stop_signals() -> Option<(Signal, Signal)> {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => Some((terminate, interrupt)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be caught; stop the server with SIGKILL");
            None
        }
    }
}

async fn told_to_stop(signals: Option<(Signal, Signal)>) {
    let Some(mut signals) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = signals.0.recv() => {}
        _ = signals.1.recv() => {}
    }
    tracing::info!("stopping: finishing what is under way");
}

/// Most versions with metrics of their own: each is a dozen series.
const MOST_VERSIONS: usize = 200;

/// What each plugin version's runs came to; those that ran most, if there are too many.
fn versions(watch: &Watch) {
    let mut all = watch.all_stats();
    all.sort_by_key(|(.., stats)| std::cmp::Reverse(stats.runs));
    for (plugin, version, stats) in all.into_iter().take(MOST_VERSIONS) {
        let labels = [("plugin", plugin), ("version", version)];
        let counter = |name: &'static str| metrics::counter!(name, &labels);
        counter("hookmill_plugin_version_runs_total").absolute(stats.runs);
        counter("hookmill_plugin_version_learned_total").absolute(stats.learned);
        counter("hookmill_plugin_version_drops_total").absolute(stats.dropped);
        counter("hookmill_plugin_version_exhausted_total").absolute(stats.exhausted);
        for (quantile, value) in [("0.5", stats.p50_us), ("0.99", stats.p99_us)] {
            // Nothing ran; a time of nothing would be wrong.
            let Some(value) = value else { continue };
            let [plugin, version] = labels.clone();
            let labels = [plugin, version, ("quantile", quantile.to_owned())];
            metrics::gauge!("hookmill_plugin_version_seconds", &labels).set(value as f64 / 1e6);
        }
        for fault in stats.faults {
            let [plugin, version] = labels.clone();
            let labels = [plugin, version, ("kind", fault.kind.as_str().to_owned())];
            metrics::counter!("hookmill_plugin_version_faults_total", &labels)
                .absolute(fault.count);
        }
    }
}

/// How many endpoints are left alone, or being tried again.
fn count_breakers(dispatcher: &Dispatcher) {
    let all = dispatcher.failing();
    for state in BreakerState::NOT_CLOSED {
        let count = all.values().filter(|health| health.breaker == state).count();
        metrics::gauge!("hookmill_breakers", "state" => state.as_str()).set(count as f64);
    }
}

/// Prometheus' text: what was recorded, and what the plugin runtime counts by itself.
fn render(
    recorded: &PrometheusHandle,
    runtime: &Runtime,
    watch: &Watch,
    catalog: &Catalog,
) -> String {
    versions(watch);
    metrics::gauge!("hookmill_plugins_quarantined").set(catalog.quarantine_count() as f64);
    metrics::counter!("hookmill_plugin_failures_unkept_total").absolute(watch.unkept_failures());
    let stats = runtime.stats();
    metrics::counter!("hookmill_plugin_runs_total").absolute(stats.runs);
    metrics::counter!("hookmill_plugin_shared_total").absolute(stats.shared);
    metrics::counter!("hookmill_plugin_learned_total").absolute(stats.learned);
    metrics::gauge!("hookmill_plugin_learned_bytes").set(stats.learned_bytes as f64);
    metrics::gauge!("hookmill_plugin_learned_trees").set(stats.learned_trees as f64);
    metrics::counter!("hookmill_plugin_fuel_total").absolute(stats.fuel);
    metrics::counter!("hookmill_plugin_run_microseconds_total").absolute(stats.run_us);
    metrics::counter!("hookmill_plugin_compiled_total").absolute(stats.compiled);
    metrics::counter!("hookmill_plugin_cache_hits_total").absolute(stats.cache_hits);
    metrics::gauge!("hookmill_plugins_loaded").set(stats.loaded as f64);
    for (kind, count) in stats.faults {
        metrics::counter!("hookmill_plugin_faults_total", "kind" => kind.as_str()).absolute(count);
    }
    telemetry::render(recorded)
}
