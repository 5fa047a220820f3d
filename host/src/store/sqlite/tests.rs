//! The store's promises, each on a real file.

mod limits;
mod noted;
mod recovery;
mod upkeep;
mod usage;

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::SqliteStore;
use crate::{
    model::{
        Application, ApplicationId, Attempt, AttemptOutcome, Credentials, DeliveryId,
        DeliveryState, Event, EventId, EventType, EventTypeName, Kept, ListedEvent, Message,
        OnError, Outcome, PipelineId, PipelineRun, Policy, ResolvedStep, Secret, SecretText,
        Sha256, StepReport, StepVerdict, Subscription, SubscriptionId, SubscriptionState,
        Timestamp, Timings, TraceContext, Violation,
    },
    store::{
        Appended, Backlog, Belt, Claimed, Counts, DeliveryFilter, EventFilter, History,
        Idempotency, Lease, NewDelivery, NewEvent, Next, Record, Recovery, Resources, Store,
        StoreError, Used,
    },
};

pub(super) const OWNER: i64 = 7;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

pub(super) fn lease(seconds: i64) -> Lease {
    Lease { owner: OWNER, until: at(seconds) }
}

/// Some of every kind that is stored.
fn credentials() -> Credentials {
    let auth = serde_json::json!({"oauth2": {"token_url": "https://login.example/token",
        "client_id": "shop", "client_secret": "s3cret", "scopes": ["a", "b"], "audience": "c",
        "token_endpoint_auth_method": "client_secret_post"}});
    Credentials {
        header_secrets: [("shop".to_owned(), SecretText::new("s3cret".into()))].into(),
        auth: Some(serde_json::from_value(auth).unwrap()),
    }
}

/// A store with one application and one subscription.
pub(super) struct Bench {
    pub store: SqliteStore,
    pub application: Application,
    pub subscription: SubscriptionId,
    folder: TempDir,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        let application = Application {
            id: ApplicationId::new(at(0)),
            name: "default".into(),
            created_at: at(0),
        };
        store.create_application(&application).await.unwrap();
        store.create_event_type(&EventType::named("order.created"), None).await.unwrap();
        let subscription = Subscription {
            id: SubscriptionId::new(at(0)),
            application: application.id,
            name: None,
            description: Some("for tests".into()),
            endpoint: "http://127.0.0.1:9/hook".parse().unwrap(),
            event_types: vec!["order.**".parse().unwrap()],
            channels: Vec::new(),
            filter: None,
            pipeline: vec![],
            output_schema: None,
            headers: [("x-team".to_owned(), "blue".to_owned())].into(),
            policy: Policy { concurrency: Some(3), ..Policy::default() },
            state: SubscriptionState::Active,
            secrets: vec![Secret::from_key(vec![1; 32]).unwrap()],
            credentials: credentials(),
            created_at: at(0),
            updated_at: at(0),
        };
        store.create_subscription(&subscription).await.unwrap();
        let stored = store.subscriptions().await.unwrap();
        assert_eq!(stored, std::slice::from_ref(&subscription));
        Self { store, application, subscription: subscription.id, folder }
    }

    /// The same file, opened by the next process.
    pub(super) async fn reopened(self) -> Self {
        let Self { store, application, subscription, folder } = self;
        store.close().await;
        drop(store);
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        Self { store, application, subscription, folder }
    }

    pub(super) fn event(&self, second: i64) -> NewEvent {
        let event = Event {
            id: EventId::new(at(second)),
            application: self.application.id,
            application_name: "default".into(),
            event_type: "order.created".parse().unwrap(),
            schema_version: 1,
            subject: Some("order/7".into()),
            occurred_at: at(second),
            accepted_at: at(second),
            trace: Some(Arc::new(trace())),
            content_type: None,
            context: None,
            channels: Vec::new(),
            payload: Bytes::from_static(br#"{"total": 1.10}"#),
        };
        NewEvent {
            event: Arc::new(event),
            producer_id: None,
            violations: vec![],
            idempotency: vec![],
            deliveries: vec![self.delivery(second)],
            most_stored: None,
        }
    }

    pub(super) fn delivery(&self, second: i64) -> NewDelivery {
        NewDelivery {
            id: DeliveryId::new(at(second)),
            subscription: self.subscription,
            pipeline: None,
            order: None,
            held: false,
            leased: false,
        }
    }

    pub(super) async fn claim(&self, owner: i64, second: i64) -> Vec<Claimed> {
        let lease = Lease { owner, until: at(second + 60) };
        self.store.claim(&[(self.subscription, 10)], lease, at(second)).await.unwrap().claimed
    }

    pub(super) async fn state(&self, id: DeliveryId) -> DeliveryState {
        self.store.delivery(self.application.id, id).await.unwrap().state
    }

    pub(super) async fn record(&self, claimed: &Claimed, next: Next) {
        let record = Record {
            delivery: claimed.key,
            order: claimed.order,
            attempt: Some(attempt(claimed.attempts + 1)),
            run: None,
            bare: false,
            next,
            at: at(100),
        };
        self.store.record(&[record]).await.unwrap();
    }
}

fn trace() -> TraceContext {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    TraceContext::parse(parent, Some("vendor=1")).unwrap()
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        number,
        started_at: at(99),
        outcome: AttemptOutcome::HttpStatus,
        status: Some(503),
        error: Some("503 Service Unavailable".into()),
        response_body: Some("busy".into()),
        timings: Timings {
            dns_us: Some(1),
            connect_us: Some(2),
            tls_us: None,
            first_byte_us: Some(12),
            total_us: 34,
        },
    }
}

fn keyed(mut new: NewEvent, key: &str, print: u8) -> NewEvent {
    new.idempotency.push(Idempotency {
        key: key.into(),
        fingerprint: [print; 32],
        expires_at: new.event.accepted_at + jiff::SignedDuration::from_secs(100),
    });
    new
}

#[tokio::test]
async fn what_is_appended_is_there_after_reopening_and_is_claimed_whole() {
    let bench = Bench::new().await;
    let new = bench.event(1);
    bench.store.append(std::slice::from_ref(&new), lease(60)).await.unwrap();
    let bench = bench.reopened().await;
    let claimed = bench.claim(OWNER, 2).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event, new.event);
    assert_eq!(claimed[0].id, new.deliveries[0].id);
    assert_eq!(bench.store.due(OWNER).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_not_done_is_counted_by_state() {
    let bench = Bench::new().await;
    assert_eq!(bench.store.backlog().await.unwrap(), Backlog::default());
    let mut batch: Vec<_> = (1..=5).map(|second| bench.event(second)).collect();
    batch[4].deliveries[0].held = true;
    bench.store.append(&batch, lease(60)).await.unwrap();
    let claimed = bench.claim(OWNER, 3).await;
    bench.record(&claimed[0], Next::Dead("given up".into())).await;
    bench.record(&claimed[1], Next::Succeeded).await;
    // One is under way, one waits.
    let backlog = Backlog { pending: 2, held: 1, dead: 1, first_due: Some(at(3)) };
    assert_eq!(bench.store.backlog().await.unwrap(), backlog);
}

#[tokio::test]
async fn a_batch_of_every_size_is_stored_in_order() {
    let bench = Bench::new().await;
    for size in [1, 3, 4, 37, 300] {
        let batch: Vec<_> = (0..size).map(|i| bench.event(i)).collect();
        let answers = bench.store.append(&batch, lease(60)).await.unwrap();
        assert_eq!(answers.len(), batch.len());
        for new in &batch {
            let stored = bench.store.event(bench.application.id, new.event.id).await.unwrap();
            assert_eq!(stored.event, *new.event);
        }
    }
}

#[tokio::test]
async fn a_leased_delivery_is_nobody_elses_until_its_lease_or_its_owner_ends() {
    let bench = Bench::new().await;
    let mut new = bench.event(1);
    new.deliveries[0].leased = true;
    bench.store.append(&[new], lease(60)).await.unwrap();
    assert!(bench.claim(OWNER, 2).await.is_empty());
    assert_eq!(bench.claim(OWNER, 61).await.len(), 1, "the lease has ended");
    assert_eq!(bench.claim(OWNER + 1, 62).await.len(), 1, "another owner on this file is dead");
}

#[tokio::test]
async fn released_leases_are_due_again() {
    let bench = Bench::new().await;
    bench.store.append(&[bench.event(1)], lease(60)).await.unwrap();
    assert_eq!(bench.claim(OWNER, 2).await.len(), 1);
    bench.store.release(OWNER).await.unwrap();
    assert_eq!(bench.store.due(OWNER).await.unwrap(), [(bench.subscription, at(1))]);
    assert_eq!(bench.claim(OWNER, 3).await.len(), 1);
}

#[tokio::test]
async fn claims_are_bounded_oldest_first_and_say_what_is_next() {
    let bench = Bench::new().await;
    let batch: Vec<_> = (0..5).map(|i| bench.event(i)).collect();
    bench.store.append(&batch, lease(60)).await.unwrap();
    let claims = bench.store.claim(&[(bench.subscription, 2)], lease(60), at(9)).await.unwrap();
    let ids: Vec<_> = claims.claimed.iter().map(|c| c.id).collect();
    assert_eq!(ids, [batch[0].deliveries[0].id, batch[1].deliveries[0].id]);
    assert_eq!(claims.next_due, [(bench.subscription, Some(at(2)))]);
}

#[tokio::test]
async fn a_repeated_key_answers_as_the_first_time_also_within_a_batch() {
    let bench = Bench::new().await;
    let first = keyed(bench.event(1), "a", 1);
    let batch = [
        first.clone(),
        keyed(bench.event(2), "a", 1),
        keyed(bench.event(3), "a", 2),
        bench.event(4),
    ];
    let answers = bench.store.append(&batch, lease(60)).await.unwrap();
    assert!(matches!(answers[0], Appended::New(_)));
    assert!(
        matches!(&answers[1], Appended::Repeated(r) if r.id == first.event.id && r.deliveries == 1)
    );
    assert_eq!(answers[2], Appended::Conflict { key: "a".into() });
    assert!(matches!(answers[3], Appended::New(_)));

    let bench = bench.reopened().await;
    let later = [keyed(bench.event(50), "a", 1), keyed(bench.event(51), "a", 9)];
    let answers = bench.store.append(&later, lease(60)).await.unwrap();
    assert!(matches!(&answers[0], Appended::Repeated(r) if r.id == first.event.id));
    assert_eq!(answers[1], Appended::Conflict { key: "a".into() });

    let expired = [keyed(bench.event(200), "a", 3)];
    let answers = bench.store.append(&expired, lease(60)).await.unwrap();
    assert!(matches!(answers[0], Appended::New(_)), "the key was forgotten after its time");
    assert_eq!(bench.claim(OWNER, 300).await.len(), 3, "each accepted event is delivered once");
}

#[tokio::test]
async fn of_several_keys_each_is_looked_at_and_each_is_remembered() {
    let bench = Bench::new().await;
    let (a, b) = (keyed(bench.event(1), "a", 1), keyed(keyed(bench.event(2), "b", 2), "k", 2));
    // The last one repeats the first under another key, and that is one it is known by then.
    let again = keyed(keyed(bench.event(3), "a", 1), "fresh", 1);
    let batch = [a.clone(), b, again, keyed(bench.event(4), "fresh", 4)];
    let answers = bench.store.append(&batch, lease(60)).await.unwrap();
    assert!(matches!(&answers[2], Appended::Repeated(receipt) if receipt.id == a.event.id));
    assert_eq!(answers[3], Appended::Conflict { key: "fresh".into() });

    let bench = bench.reopened().await;
    let batch = [
        keyed(keyed(bench.event(5), "a", 1), "k", 1),
        keyed(keyed(bench.event(6), "new", 6), "k", 6),
        keyed(bench.event(7), "fresh", 1),
        keyed(keyed(bench.event(8), "a", 1), "late", 1),
    ];
    let answers = bench.store.append(&batch, lease(60)).await.unwrap();
    let other = Appended::Conflict { key: "k".into() };
    assert_eq!(answers[..2], [other.clone(), other], "the key that was used is named");
    for answer in &answers[2..] {
        assert!(matches!(answer, Appended::Repeated(receipt) if receipt.id == a.event.id));
    }
    // What is refused before it comes to the store is looked at in the same way.
    let keys = |new: &NewEvent| new.idempotency.clone();
    let app = bench.application.id;
    let used = bench.store.repeated(app, &keys(&batch[0]), at(9)).await.unwrap();
    assert_eq!(used, Some(Used::ByAnother("k".into())));
    let later = keyed(keyed(bench.event(9), "late", 1), "latest", 1);
    for asked in [&later, &keyed(bench.event(9), "latest", 1)] {
        let used = bench.store.repeated(app, &keys(asked), at(9)).await.unwrap();
        assert!(matches!(used, Some(Used::BySame(receipt)) if receipt.id == a.event.id));
    }
    let unknown = keyed(bench.event(9), "unknown", 9);
    assert_eq!(bench.store.repeated(app, &keys(&unknown), at(9)).await.unwrap(), None);
    assert_eq!(bench.claim(OWNER, 300).await.len(), 2, "each accepted event is delivered once");
}

#[tokio::test]
async fn a_list_tells_all_of_an_event_but_what_was_sent() {
    let bench = Bench::new().await;
    let batch: Vec<_> = (0..3).map(|i| bench.event(i)).collect();
    bench.store.append(&batch, lease(60)).await.unwrap();
    let app = bench.application.id;
    let filter = EventFilter::default();
    let whole = bench.store.events(app, &filter, None, 9).await.unwrap();
    let listed = bench.store.list_events(app, &filter, None, 9).await.unwrap();
    let as_listed: Vec<ListedEvent> = whole.items.into_iter().map(ListedEvent::from).collect();
    assert_eq!(listed.items, as_listed);
    assert_eq!(listed.items[0].payload_bytes, batch[2].event.payload.len());
    assert_eq!(bench.store.undelivered(app, &filter, None, 9).await.unwrap().items, as_listed);
}

#[tokio::test]
async fn results_move_a_delivery_and_keep_its_attempts() {
    let bench = Bench::new().await;
    bench.store.append(&[bench.event(1)], lease(60)).await.unwrap();
    let claimed = bench.claim(OWNER, 2).await.remove(0);
    bench.record(&claimed, Next::Retry(at(500))).await;
    let delivery = bench.store.delivery(bench.application.id, claimed.id).await.unwrap();
    assert_eq!(delivery.state, DeliveryState::Pending);
    assert_eq!((delivery.attempts, delivery.next_attempt_at), (1, Some(at(500))));
    assert!(bench.claim(OWNER, 499).await.is_empty());

    let claimed = bench.claim(OWNER, 500).await.remove(0);
    assert_eq!(claimed.attempts, 1);
    bench.record(&claimed, Next::Dead("no more attempts".into())).await;
    let delivery = bench.store.delivery(bench.application.id, claimed.id).await.unwrap();
    assert_eq!(delivery.reason.as_deref(), Some("no more attempts"));
    assert_eq!((delivery.state, delivery.finished_at), (DeliveryState::Dead, Some(at(100))));
    let attempts = bench.store.attempts(bench.application.id, claimed.id).await.unwrap();
    assert_eq!(attempts, [attempt(1), attempt(2)]);

    bench.store.retry(bench.application.id, claimed.id, at(600)).await.unwrap();
    assert_eq!(bench.claim(OWNER, 600).await[0].attempts, 2);
}

#[tokio::test]
async fn a_run_is_kept_once_for_its_event_and_pipeline() {
    let bench = Bench::new().await;
    let step = ResolvedStep {
        name: "redact".into(),
        version: "1.0.0".into(),
        sha256: Sha256::of(b"x"),
        config: "{}".into(),
        on_error: OnError::Retry,
        kept: Kept::default(),
    };
    let pipeline = bench.store.intern_pipeline(std::slice::from_ref(&step), None).await.unwrap();
    assert_eq!(
        bench.store.intern_pipeline(std::slice::from_ref(&step), None).await.unwrap(),
        pipeline
    );
    assert_eq!(bench.store.pipeline(pipeline).await.unwrap().steps, [step]);
    assert!(matches!(bench.store.pipeline(PipelineId(99)).await, Err(StoreError::NotFound)));

    let mut new = bench.event(1);
    new.deliveries[0].pipeline = Some(pipeline);
    new.deliveries.push(NewDelivery { pipeline: Some(pipeline), ..bench.delivery(1) });
    bench.store.append(&[new], lease(60)).await.unwrap();
    let claimed = bench.claim(OWNER, 2).await;
    assert!(Arc::ptr_eq(&claimed[0].event, &claimed[1].event));
    let run = Arc::new(PipelineRun {
        outcome: Outcome::Send(Message {
            content_type: "application/json".into(),
            headers: vec![("x-a".into(), "b".into())],
            body: Bytes::from_static(b"{}"),
        }),
        steps: vec![StepReport {
            plugin: "redact".into(),
            version: "1.0.0".into(),
            verdict: StepVerdict::Edit { edits: 2 },
            fuel: 5,
            duration_us: 6,
            memory_bytes: 7,
            shared: false,
            learned: false,
            read_all: false,
            reads: vec!["/a".into()],
            log: vec![],
        }],
    });
    let records: Vec<_> = claimed
        .iter()
        .map(|c| Record {
            delivery: c.key,
            order: None,
            attempt: Some(attempt(1)),
            run: Some((pipeline, run.clone())),
            bare: false,
            next: Next::Retry(at(3)),
            at: at(2),
        })
        .collect();
    bench.store.record(&records).await.unwrap();
    for claimed in bench.claim(OWNER, 4).await {
        assert_eq!(claimed.run.as_deref(), Some(&*run));
        let stored = bench.store.run(bench.application.id, claimed.id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&*run));
        let bare = Record {
            delivery: claimed.key,
            order: claimed.order,
            attempt: Some(attempt(2)),
            run: None,
            bare: true,
            next: Next::Retry(at(5)),
            at: at(4),
        };
        bench.store.record(&[bare]).await.unwrap();
    }
    // The payload itself was sent: that is what is sent again.
    for claimed in bench.claim(OWNER, 6).await {
        assert_eq!((claimed.pipeline, claimed.run), (None, None));
    }
}

#[tokio::test]
async fn paused_and_deleted_subscriptions_hold_and_cancel() {
    let bench = Bench::new().await;
    bench.store.append(&[bench.event(1), bench.event(2)], lease(60)).await.unwrap();
    let leased = bench.store.claim(&[(bench.subscription, 1)], lease(60), at(3)).await.unwrap();
    assert_eq!(bench.store.hold_pending(bench.subscription, "paused").await.unwrap(), 1);
    assert!(bench.claim(OWNER, 4).await.is_empty());
    assert_eq!(bench.store.resume_held(bench.subscription, at(5)).await.unwrap(), 1);
    let waiting = bench.claim(OWNER, 6).await.remove(0);
    bench.record(&waiting, Next::Held("paused".into())).await;

    bench.store.delete_subscription(bench.subscription, at(7)).await.unwrap();
    let late = &leased.claimed[0];
    bench.record(late, Next::Succeeded).await;
    for id in [late.id, waiting.id] {
        assert_eq!(
            bench.state(id).await,
            DeliveryState::Cancelled,
            "a late result changes nothing"
        );
    }
    let gone = bench.store.delete_subscription(bench.subscription, at(8)).await;
    assert!(matches!(gone, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged() {
    let bench = Bench::new().await;
    let mut batch: Vec<_> = (0..5).map(|i| bench.event(i)).collect();
    batch[3].violations =
        vec![Violation { at: "/total".into(), schema: "/type".into(), message: "no".into() }];
    let kind = EventType::named("order.created");
    assert!(matches!(bench.store.create_event_type(&kind, None).await, Err(StoreError::Exists)));
    bench.store.append(&batch, lease(60)).await.unwrap();
    assert_eq!(bench.store.event_type(&kind.name).await.unwrap().violations, 1);

    let app = bench.application.id;
    let first = bench.store.events(app, &EventFilter::default(), None, 2).await.unwrap();
    assert!(first.more);
    let ids: Vec<_> = first.items.iter().map(|e| e.event.id).collect();
    assert_eq!(ids, [batch[4].event.id, batch[3].event.id]);
    let rest = bench.store.events(app, &EventFilter::default(), Some(ids[1]), 9).await.unwrap();
    assert_eq!((rest.items.len(), rest.more), (3, false));

    let violating = EventFilter { violating: true, ..EventFilter::default() };
    let violating = bench.store.events(app, &violating, None, 9).await.unwrap().items;
    assert_eq!(violating.len(), 1);
    assert_eq!(violating[0].violations, batch[3].violations);

    let since = EventFilter { since: Some(at(1)), until: Some(at(3)), ..EventFilter::default() };
    assert_eq!(bench.store.events(app, &since, None, 9).await.unwrap().items.len(), 2);

    let of = DeliveryFilter { event: Some(batch[2].event.id), ..DeliveryFilter::default() };
    assert_eq!(bench.store.deliveries(app, &of, None, 9).await.unwrap().items.len(), 1);
    let dead = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    assert_eq!(bench.store.deliveries(app, &dead, None, 9).await.unwrap().items.len(), 0);
    let summary = bench.store.summary(app, batch[0].event.id).await.unwrap();
    assert_eq!(summary, [(DeliveryState::Pending, 1)]);

    let stranger = ApplicationId::new(at(9));
    let unseen = bench.store.event(stranger, batch[0].event.id).await;
    assert!(matches!(unseen, Err(StoreError::NotFound)), "another application sees nothing");
}

#[tokio::test]
async fn a_transaction_that_the_database_ended_by_itself_does_not_stop_the_next() {
    let bench = Bench::new().await;
    {
        let mut write = bench.store.write().await.unwrap();
        let mut transaction = write.begin().await.unwrap();
        // What SQLite does when the disk is full, behind the connection's back.
        sqlx::query("ROLLBACK").execute(&mut *transaction).await.unwrap();
    }
    let appended = bench.store.append(&[bench.event(1)], lease(60)).await.unwrap();
    assert!(matches!(appended[..], [Appended::New(_)]));
    {
        // One that was merely dropped is rolled back, and nothing else with it.
        let mut write = bench.store.write().await.unwrap();
        let _dropped = write.begin().await.unwrap();
    }
    bench.store.append(&[bench.event(2)], lease(60)).await.unwrap();
    let page = bench.store.events(bench.application.id, &EventFilter::default(), None, 9).await;
    assert_eq!(page.unwrap().items.len(), 2);
}

#[tokio::test]
async fn one_file_has_one_server() {
    let bench = Bench::new().await;
    let second = SqliteStore::open(&bench.folder.path().join("test.db")).await;
    assert!(
        matches!(second, Err(StoreError::Failed(message)) if message.contains("another server"))
    );
}

#[tokio::test]
async fn schemas_are_numbered_from_one() {
    let bench = Bench::new().await;
    let name: EventTypeName = "order.paid".parse().unwrap();
    let schema = serde_json::json!({"type": "object"});
    let missing = bench.store.add_schema(&name, &schema, at(0)).await;
    assert!(matches!(missing, Err(StoreError::NotFound)));
    let kind = EventType::named(name.as_str());
    bench.store.create_event_type(&kind, None).await.unwrap();
    assert_eq!(bench.store.add_schema(&name, &schema, at(1)).await.unwrap(), 1);
    assert_eq!(bench.store.add_schema(&name, &schema, at(2)).await.unwrap(), 2);
    assert_eq!(bench.store.event_type(&name).await.unwrap().latest_version, 2);
    assert_eq!(bench.store.schemas(&name).await.unwrap()[1].schema, schema);
}

#[tokio::test]
async fn every_kind_of_credential_is_read_as_it_was_written() {
    let bench = Bench::new().await;
    let kinds = [
        serde_json::json!({"bearer": {"token": "s3cret"}}),
        serde_json::json!({"basic": {"username": "shop", "password": "s3cret"}}),
        serde_json::json!({"mtls": {"certificate": "shop", "private_key": "s3cret"}}),
        serde_json::Value::Null,
    ];
    for kind in kinds {
        let mut changed = bench.store.subscriptions().await.unwrap().remove(0);
        changed.credentials.auth = serde_json::from_value(kind).unwrap();
        changed.secrets[0].created_at = Some(at(1));
        bench.store.put_subscription(&changed).await.unwrap();
        assert_eq!(bench.store.subscriptions().await.unwrap(), [changed]);
    }
}

#[tokio::test]
async fn secrets_copied_to_another_subscription_do_not_open_there() {
    let bench = Bench::new().await;
    let mut other = bench.store.subscriptions().await.unwrap().remove(0);
    other.id = SubscriptionId::new(at(1));
    bench.store.create_subscription(&other).await.unwrap();
    sqlx::query(
        "UPDATE subscriptions SET sealed = (SELECT sealed FROM subscriptions WHERE id = ?)",
    )
    .bind(bench.subscription.as_bytes().as_slice())
    .execute(&mut *bench.store.writer.lock().await)
    .await
    .unwrap();
    let error = bench.store.subscriptions().await.unwrap_err().to_string();
    assert!(error.ends_with("that was damaged, changed or moved: it does not open"), "{error}");
}
