//! Every setting: its name, type, default, bounds and documentation, once.
//!
//! A new setting is one entry here and one row in docs/operations.md (a test compares them);
//! it is then read from files and the environment, checked, shown and in the sample file.
//! Where a value comes from is not known here.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    LogFormat,
    declare::{Setting, any, between, settings},
    values::{name_servers, networks, texts},
};
use crate::model::SecretText;

const KIB: f64 = 1_024.0;
const MIB_64: f64 = 67_108_864.0;
const YEAR: f64 = 31_536_000.0;
const DAY: f64 = 86_400.0;
const AGES: f64 = 36_500.0;
const AGES_SAID: &str = "0 to 36500, parts of a day too (0 is for ever),";

settings! {
    /// Address and port to listen on; port 0 takes a free one.
    listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)), any();
    /// The certificate that HTTPS is served with: a PEM file, the chain after it. Without it and
    /// `tls_key`, the server speaks plain HTTP. Read again when the file changes.
    tls_certificate: Option<PathBuf> = None, any().example("\"/etc/hookmill/tls.crt\"");
    /// Its private key, a PEM file.
    tls_key: Option<PathBuf> = None, any().example("\"/etc/hookmill/tls.key\"");
    /// Authorities, a PEM file, one of which must have signed the certificate that each client
    /// shows; without it, clients show none.
    tls_client_ca: Option<PathBuf> = None, any().example("\"/etc/hookmill/clients.pem\"");
    /// The database file; made if it is not there. Beside it: `-wal`, `-shm`, `-lock`.
    database: PathBuf = PathBuf::from("hookmill.db"), any();
    /// The folder for compiled plugins; `<database>-plugins` if none is given. It can be
    /// deleted at any time the server is down: what is missing is compiled again.
    plugin_cache: Option<PathBuf> = None, any().example("\"/var/cache/hookmill\"");
    /// The admin key. Without one, one is made at the first start and shown once.
    admin_key: Option<String> = None, any().secret().example("\"at least 24 characters of your own\"");
    /// The file or URL of an identity provider's keys (JWKS): its tokens are let in. Without
    /// it, keys alone are.
    jwt_jwks: Option<String> = None, any().example("\"https://id.example/jwks.json\"");
    /// What tokens must have as `iss`; needed with `jwt_jwks`.
    jwt_issuer: Option<String> = None, any().example("\"https://id.example/\"");
    /// What tokens must have as `aud`, or among it; needed with `jwt_jwks`.
    jwt_audience: Option<String> = None, any().example("\"hookmill\"");
    /// The algorithms that tokens may be signed by. A list, or a text with commas.
    #[serde(deserialize_with = "texts")]
    jwt_algorithms: Vec<String> = ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(), any();
    /// The claim with the name or id of the application that a token acts for.
    jwt_application_claim: String = "hookmill_application".to_owned(), any();
    /// The claim with a token's scopes.
    jwt_scope_claim: String = "scope".to_owned(), any();
    /// What this server's scopes begin with there.
    jwt_scope_prefix: String = "hookmill:".to_owned(), any();
    /// How far the provider's clock may be from this one, in seconds.
    jwt_leeway_seconds: u64 = 60, between(0.0, 600.0);
    /// How often the provider's keys are read again, in seconds.
    jwt_refresh_seconds: u64 = 300, between(1.0, DAY).said("1 to 86400, a day,");
    /// The shortest time between two looks for a key that is not known, in seconds.
    jwt_refetch_seconds: u64 = 30, between(0.0, 3_600.0);
    /// The key that the database's secrets are sealed under: base64 of 32 bytes. Without it
    /// and `master_key_file`, it is in the file `<database>.key`, made at the first start.
    master_key: Option<SecretText> = None,
        any().secret().example("\"a line that hookmill master-key generate prints\"");
    /// A file with that key.
    master_key_file: Option<PathBuf> = None, any().example("\"/etc/hookmill/master.key\"");
    /// Networks that deliveries may go to although they are private, loopback or otherwise
    /// not public, for example `127.0.0.0/8`. A list, or a text with commas.
    #[serde(deserialize_with = "networks")]
    allow_networks: Vec<IpNet> = Vec::new(), any().live();
    /// Largest request body in bytes, 1 KiB to 64 MiB.
    max_body_bytes: usize = 1 << 20, between(KIB, MIB_64).said("1 KiB to 64 MiB").live();
    /// Largest plugin upload in bytes, at most 64 MiB.
    max_upload_bytes: usize = 64 << 20, between(KIB, MIB_64).said("1 KiB to 64 MiB").live();
    /// Most events in one batch request, 1 to 10,000.
    max_batch_events: usize = 500, between(1.0, 10_000.0).live();
    /// Largest batch request in bytes, 1 KiB to 64 MiB.
    max_batch_bytes: usize = 8 << 20, between(KIB, MIB_64).said("1 KiB to 64 MiB").live();
    /// Most requests waiting for their transaction; more are answered 503.
    ingest_queue: usize = 4_096, between(1.0, 1_000_000.0);
    /// Most requests that publish at once; more are answered 503. While they go on to come,
    /// far fewer are let in, so that those are answered in time.
    max_publishing: usize = 1_024, between(1.0, 65_536.0).live();
    /// Most bytes of requests' bodies in memory at once; more are answered 503.
    max_bodies_bytes: usize = 256 << 20, between(1_048_576.0, 68_719_476_736.0).live();
    /// Events a second that an application may publish that has no limit of its own; 0 for any.
    application_events_per_second: f64 = 0.0, between(0.0, 10_000.0).live();
    /// Requests a second, those that publish left out, that such an application may make.
    application_requests_per_second: f64 = 0.0, between(0.0, 10_000.0).live();
    /// Most subscriptions of an application that has no limit of its own; 0 for any number.
    application_subscriptions: u32 = 0, any().live();
    /// Most versions of its own plugins that such an application may have.
    application_plugin_versions: u32 = 0, any().live();
    /// Most bytes that the payloads of such an application's stored events may take; 0 for any
    /// number.
    application_stored_bytes: u64 = 0, any().live();
    /// Events a second that may be published with one key; 0 for any.
    key_events_per_second: f64 = 0.0, between(0.0, 10_000.0).live();
    /// Requests a second, those that publish left out, that may be made with one key.
    key_requests_per_second: f64 = 0.0, between(0.0, 10_000.0).live();
    /// Events a second of one type that an application may publish, if the type has no limit
    /// of its own; 0 for any.
    event_type_events_per_second: f64 = 0.0, between(0.0, 10_000.0).live();
    /// More pending deliveries than this, and no event is taken; 0 for never.
    max_pending_deliveries: u64 = 0, any().live();
    /// A larger database than this in bytes, and no event is taken; 0 for never.
    max_database_bytes: u64 = 0, any().live();
    /// How long an idempotency key is kept, in seconds; 24 hours.
    idempotency_seconds: u64 = 24 * 3600, between(60.0, 604_800.0).said("1 minute to 7 days").live();
    /// Days that events' payloads are kept, counted from the end of their last delivery; 0
    /// for ever.
    retain_payload_days: f64 = 30.0, between(0.0, AGES).said(AGES_SAID).live();
    /// Days that attempts are kept; 0 for ever.
    retain_attempts_days: f64 = 30.0, between(0.0, AGES).said(AGES_SAID).live();
    /// Days that events are kept, with their deliveries and all else that belongs to them; 0
    /// for ever.
    retain_events_days: f64 = 30.0, between(0.0, AGES).said(AGES_SAID).live();
    /// Days that entries of the audit log are kept; 0 for ever.
    retain_audit_days: f64 = 365.0, between(0.0, AGES).said(AGES_SAID).live();
    /// Days after which a delivery that has not ended is cancelled, so that its event can go;
    /// 0 for never.
    retain_unfinished_days: f64 = 0.0, between(0.0, AGES).said(AGES_SAID).live();
    /// Seconds an attempt may take as a whole, the response's body included.
    attempt_timeout_seconds: f64 = 15.0, between(0.1, 300.0).live();
    /// Seconds connecting may take.
    connect_timeout_seconds: f64 = 5.0, between(0.1, 300.0).live();
    /// Longest time limit of an attempt that a subscription's policy may ask for, in seconds.
    max_timeout_seconds: f64 = 60.0, between(0.1, 300.0).live();
    /// A file of certificate authorities (PEM) that endpoints' certificates may be signed by,
    /// besides those the machine trusts.
    endpoint_ca_file: Option<PathBuf> = None, any().example("\"/etc/hookmill/authorities.pem\"");
    /// Name servers that are asked for endpoints' addresses instead of the machine's resolver,
    /// for example `10.0.0.2` or `10.0.0.2:5353`. A list, or a text with commas.
    #[serde(deserialize_with = "name_servers")]
    dns_servers: Vec<SocketAddr> = Vec::new(), any();
    /// Most attempts under way at once, over all subscriptions.
    max_in_flight: usize = 512, between(1.0, 65_536.0);
    /// Most attempts under way at once for one subscription that says nothing else.
    subscription_concurrency: u32 = 32, between(1.0, 1_024.0).live();
    /// Most attempts under way at once to one host, over all subscriptions; 0 for no bound.
    host_concurrency: u32 = 256, between(0.0, 65_536.0).live();
    /// Seconds after which a delivery is not attempted any more, of a subscription that says
    /// nothing else; 0 for no such limit.
    max_age_seconds: u64 = 0, between(0.0, YEAR).said("0 to 31536000, a year,").live();
    /// An endpoint is left alone for a while when this percentage of a minute's attempts
    /// failed; 0 for never.
    breaker_percent: u32 = 50, between(0.0, 100.0).live();
    /// But not before it had so many attempts within the minute.
    breaker_minimum: u32 = 10, between(1.0, 1_000_000.0).live();
    /// Seconds until an endpoint that was left alone is tried again; each time it fails,
    /// twice as long.
    breaker_open_seconds: u64 = 30, between(1.0, DAY).said("1 to 86400, a day,").live();
    /// The longest time it is left alone, in seconds.
    breaker_longest_seconds: u64 = 600, between(1.0, DAY).said("1 to 86400, a day,").live();
    /// Seconds of nothing but failures after which a subscription is disabled; 0 for never.
    disable_after_seconds: u64 = 5 * 24 * 3600, between(0.0, YEAR).said("0 to 31536000, a year,").live();
    /// Threads that run plugins; as many as the machine has cores if none is given.
    plugin_threads: Option<usize> = None, between(1.0, 256.0).example("4");
    /// A plugin version is quarantined after so many failures in a row; 0 for never.
    quarantine_failures: u32 = 20, between(0.0, 1_000_000.0).live();
    /// A plugin version is quarantined when this percentage of at least 100 runs within a
    /// minute failed; 0 for never.
    quarantine_percent: u32 = 50, between(0.0, 100.0).live();
    /// Memory for learned verdicts of filters in bytes, at most 4 GiB; 0 learns nothing.
    plugin_learn_bytes: usize = 32 << 20, between(0.0, 4_294_967_296.0).said("0 to 4 GiB");
    /// More pending deliveries than this are told of; 0 for never.
    backlog_high: u64 = 100_000, any().live();
    /// The collector that traces are sent to, such as http://127.0.0.1:4318; none are sent if
    /// none is given.
    otlp_endpoint: Option<Url> = None, any().example("\"http://127.0.0.1:4318\"");
    /// Headers of requests to the collector, each `name: value`. A list, or a text with commas.
    #[serde(deserialize_with = "texts")]
    otlp_headers: Vec<String> = Vec::new(), any().secret();
    /// The share of new traces that is recorded, 0 to 1. Whoever began a trace before decides
    /// for it.
    otlp_sample_ratio: f64 = 1.0, between(0.0, 1.0);
    /// How long open requests are given to end when stopping, in seconds. Attempts under way
    /// then have their own time limits to end.
    shutdown_seconds: u64 = 20, between(0.0, 3_600.0).live();
    /// `text` or `json`.
    log_format: LogFormat = LogFormat::default(), any();
    /// What is logged, as `level` or `module=level`, with commas: `info,hookmill=debug`. The
    /// variable `RUST_LOG` goes before it.
    log_filter: Option<String> = None, any().live().example("\"info,hookmill=debug\"");
}
