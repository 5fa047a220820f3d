//! What is old goes, what is not over stays, and what a copy or a check says is so.

use std::io::Read;

use super::*;
use crate::{
    model::DeliveryState::{Dead, Pending, Succeeded},
    store::{
        Old, PurgeStep, Purged, Upkeep,
        sqlite::{backup, check},
    },
};

fn step(what: Old, before: i64) -> PurgeStep {
    PurgeStep { what, before: at(before), cancel_before: None, after: 0, rows: 100 }
}

impl Bench {
    /// Events at these seconds, each with one delivery that is over at second 100.
    async fn over(&self, seconds: std::ops::Range<i64>) -> Vec<NewEvent> {
        let events: Vec<_> = seconds.map(|second| self.event(second)).collect();
        self.store.append(&events, lease(60)).await.unwrap();
        for claimed in self.claim_all(50).await {
            self.record(&claimed, Next::Dead("refused".into())).await;
        }
        events
    }

    async fn claim_all(&self, second: i64) -> Vec<Claimed> {
        let lease = Lease { owner: OWNER, until: at(second + 60) };
        self.store.claim(&[(self.subscription, 1_000)], lease, at(second)).await.unwrap().claimed
    }

    async fn there(&self, event: &NewEvent) -> bool {
        self.store.event(self.application.id, event.event.id).await.is_ok()
    }

    /// Steps until there is nothing to do; what they came to in all, and how many they were.
    async fn purge(&self, mut step: PurgeStep) -> (Purged, usize) {
        let (mut sum, mut steps) = (Purged::default(), 0);
        loop {
            let purged = self.store.purge(&step).await.unwrap();
            assert!(purged.deliveries + purged.events <= u64::from(step.rows));
            steps += 1;
            sum.events += purged.events;
            sum.deliveries += purged.deliveries;
            sum.attempts += purged.attempts;
            sum.payloads += purged.payloads;
            sum.cancelled += purged.cancelled;
            sum.kept += purged.kept;
            step.after = purged.through;
            if purged.done {
                return (sum, steps);
            }
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("test.db")
    }

    /// What a check says of the file, once it is closed.
    async fn checked(self) -> (check::Checked, TempDir) {
        let path = self.path();
        self.store.close().await;
        let Self { store, folder, .. } = self;
        drop(store);
        (check::check(&path).await.unwrap(), folder)
    }

    pub(super) async fn sql(&self, sql: &'static str) {
        let mut write = self.store.write().await.unwrap();
        sqlx::query("PRAGMA foreign_keys = off").execute(&mut *write.connection).await.unwrap();
        sqlx::query(sql).execute(&mut *write.connection).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_old_and_over_goes_with_all_that_belongs_to_it() {
    let bench = Bench::new().await;
    let old = bench.over(1..4).await;
    let young = bench.event(900);
    bench.store.append(std::slice::from_ref(&young), lease(60)).await.unwrap();
    let (purged, _) = bench.purge(step(Old::Events, 500)).await;
    assert_eq!((purged.events, purged.deliveries, purged.attempts), (3, 3, 3));
    assert!(!bench.there(&old[0]).await && bench.there(&young).await);
    let (checked, _folder) = bench.checked().await;
    assert_eq!(checked.broken, []);
    assert_eq!((checked.events, checked.deliveries, checked.attempts), (1, 1, 0));
}

#[tokio::test]
async fn what_is_not_over_stays_however_old_unless_there_is_a_bound_on_that_too() {
    let bench = Bench::new().await;
    let waiting = bench.event(1);
    bench.store.append(std::slice::from_ref(&waiting), lease(60)).await.unwrap();
    let (purged, _) = bench.purge(step(Old::Events, 5_000)).await;
    assert_eq!((purged.events, purged.kept), (0, 1));
    let (purged, _) = bench.purge(step(Old::Payloads, 5_000)).await;
    assert_eq!((purged.payloads, purged.kept), (0, 1));
    assert_eq!(bench.state(waiting.deliveries[0].id).await, Pending);

    let lenient = PurgeStep { cancel_before: Some(at(0)), ..step(Old::Events, 5_000) };
    assert_eq!(bench.purge(lenient).await.0.events, 0);
    let strict = PurgeStep { cancel_before: Some(at(4_000)), ..step(Old::Events, 5_000) };
    let (purged, _) = bench.purge(strict).await;
    assert_eq!((purged.cancelled, purged.events), (1, 1));

    let leased = bench.event(2);
    bench.store.append(std::slice::from_ref(&leased), lease(60)).await.unwrap();
    assert_eq!(bench.claim_all(3).await.len(), 1);
    assert_eq!(bench.purge(strict).await.0.kept, 1, "an attempt is under way");
}

#[tokio::test]
async fn age_counts_from_the_end_of_the_last_delivery() {
    let bench = Bench::new().await;
    let events = bench.over(1..2).await;
    assert_eq!(bench.purge(step(Old::Events, 100)).await.0.kept, 1, "it ended at second 100");
    assert!(bench.there(&events[0]).await);
    assert_eq!(bench.purge(step(Old::Events, 101)).await.0.events, 1);
}

#[tokio::test]
async fn an_expired_payload_is_gone_and_cannot_be_sent_again() {
    let bench = Bench::new().await;
    let event = bench.over(1..2).await.remove(0);
    let (id, delivery) = (event.event.id, event.deliveries[0].id);
    assert_eq!(bench.purge(step(Old::Payloads, 500)).await.0.payloads, 1);
    assert_eq!(bench.purge(step(Old::Payloads, 500)).await.0, Purged::default());
    let stored = bench.store.event(bench.application.id, id).await.unwrap();
    assert!(stored.event.is_expired());
    let retried = bench.store.retry(bench.application.id, delivery, at(600)).await;
    assert!(matches!(retried, Err(StoreError::PayloadExpired)));
    assert_eq!(bench.state(delivery).await, Dead);
    let attempts = bench.store.attempts(bench.application.id, delivery).await.unwrap();
    assert_eq!(attempts.len(), 1, "what happened is still told");
    assert_eq!(bench.purge(step(Old::Attempts, 500)).await.0.attempts, 1);
    assert_eq!(bench.checked().await.0.broken, []);
}

#[tokio::test]
async fn a_step_is_bounded_though_one_event_has_more_deliveries_than_it_may_touch() {
    let bench = Bench::new().await;
    let mut wide = bench.event(1);
    wide.deliveries = (0..50).map(|_| bench.delivery(1)).collect();
    bench.store.append(&[wide.clone(), bench.event(2)], lease(60)).await.unwrap();
    for claimed in bench.claim_all(50).await {
        bench.record(&claimed, Next::Succeeded).await;
    }
    assert_eq!(bench.state(wide.deliveries[49].id).await, Succeeded);
    let first = PurgeStep { rows: 8, ..step(Old::Attempts, 500) };
    let (purged, steps) = bench.purge(first).await;
    assert_eq!(purged.attempts, 51);
    assert!((7..12).contains(&steps), "{steps}");

    let begun = bench.store.purge(&PurgeStep { rows: 8, ..step(Old::Events, 500) }).await.unwrap();
    assert_eq!((begun.deliveries, begun.events, begun.done), (8, 0, false));
    assert!(
        bench.store.event(bench.application.id, wide.event.id).await.unwrap().event.is_expired()
    );
    let bench = bench.reopened().await;
    let (purged, _) = bench.purge(PurgeStep { rows: 8, ..step(Old::Events, 500) }).await;
    assert_eq!((purged.deliveries, purged.events), (43, 2));
}

#[tokio::test]
async fn an_event_that_is_going_is_no_violation() {
    let bench = Bench::new().await;
    let mut wide = bench.event(1);
    wide.deliveries = (0..20).map(|_| bench.delivery(1)).collect();
    bench.store.append(&[wide], lease(60)).await.unwrap();
    for claimed in bench.claim_all(50).await {
        bench.record(&claimed, Next::Succeeded).await;
    }
    bench.store.purge(&PurgeStep { rows: 8, ..step(Old::Events, 500) }).await.unwrap();
    assert_eq!(bench.checked().await.0.broken, []);
}

#[tokio::test]
async fn expired_keys_go_without_traffic() {
    let bench = Bench::new().await;
    let batch = [keyed(bench.event(1), "a", 1), keyed(bench.event(2), "b", 1)];
    bench.store.append(&batch, lease(60)).await.unwrap();
    assert!(bench.store.sweep(at(50)).await.unwrap().is_empty());
    assert_eq!(bench.store.sweep(at(101)).await.unwrap().keys, 1);
    assert_eq!(bench.store.sweep(at(500)).await.unwrap().keys, 1);
}

#[tokio::test]
async fn a_copy_of_a_store_in_use_is_whole_and_another_waits_its_turn() {
    let bench = Bench::new().await;
    bench.over(1..4).await;
    let mut bytes = Vec::new();
    bench.store.snapshot().await.unwrap().read_to_end(&mut bytes).unwrap();
    assert!(!backup::place(&bench.path()).exists(), "it has no name");
    let copy = bench.folder.path().join("copy.db");
    std::fs::write(&copy, bytes).unwrap();
    let checked = check::check(&copy).await.unwrap();
    assert_eq!((checked.broken.len(), checked.events), (0, 3));
    assert!(!bench.folder.path().join("copy.db-lock").exists());

    let _alone = bench.store.copying.lock().await;
    assert!(matches!(bench.store.snapshot().await, Err(StoreError::InUse(_))));
}

#[tokio::test]
async fn a_database_in_use_is_neither_checked_nor_copied_as_a_file() {
    let bench = Bench::new().await;
    let error = check::check(&bench.path()).await.unwrap_err().to_string();
    assert!(error.contains("another server has"), "{error}");
    let copy = bench.folder.path().join("copy.db");
    assert!(backup::copy(&bench.path(), &copy).await.is_err());
    assert!(!copy.exists());
}

#[tokio::test]
async fn compacting_removes_what_nothing_names_and_gives_room_back() {
    let bench = Bench::new().await;
    let mut big = bench.event(1);
    let event = Event { payload: vec![b'1'; 1 << 20].into(), ..(*big.event).clone() };
    big.event = Arc::new(event);
    big.deliveries.clear();
    bench.store.append(&[big], lease(60)).await.unwrap();
    bench.store.intern_pipeline(&[], None).await.unwrap();
    assert_eq!(bench.purge(step(Old::Events, 500)).await.0.events, 1);
    let path = bench.path();
    bench.store.close().await;
    let Bench { store, folder: _folder, .. } = bench;
    drop(store);
    let done = backup::compact(&path).await.unwrap();
    assert_eq!(done.pipelines, 1);
    assert!(done.after + (1 << 20) <= done.before, "{done:?}");
}

/// What is planted, and the rule that it breaks.
const PLANTED: &[(&str, &str)] = &[
    ("DELETE FROM events", "every delivery has its event"),
    ("UPDATE events SET deliveries = 7", "an event has as many deliveries as it says"),
    ("UPDATE deliveries SET state = 9", "a delivery is in a state that there is"),
    (
        "UPDATE deliveries SET finished_at = NULL",
        "what is over has the time when it ended, and nothing else has",
    ),
    (
        "UPDATE deliveries SET owner = 5",
        "what is under way has an owner and a lease, and nothing else has an owner",
    ),
    ("UPDATE deliveries SET attempts = 0", "no more attempts are on record than a delivery made"),
    ("UPDATE deliveries SET pipeline_id = 77", "a delivery's pipeline is there"),
    ("UPDATE attempts SET delivery_row = 77", "every attempt has its delivery"),
    (
        "UPDATE deliveries SET application_id = zeroblob(16)",
        "a delivery belongs to the application of its event",
    ),
    (
        "UPDATE deliveries SET state = 0, finished_at = NULL, subscription_id = zeroblob(16)",
        "what is still to be delivered has a subscription",
    ),
    ("INSERT INTO components VALUES (zeroblob(32), x'00')", "a component is what its digest says"),
    (
        "INSERT INTO runs (event_row, pipeline_id, kind, steps) VALUES (1, 77, 0, '[]')",
        "every pipeline run has its event and its pipeline",
    ),
    (
        "INSERT INTO plugins VALUES (x'', 'a', '1', zeroblob(32), 'filter', 1, '', '', 1, 1),
                                    (x'', 'a', '2', zeroblob(32), 'filter', 1, '', '', 1, 1)",
        "a plugin has one live version at most",
    ),
    (
        "INSERT INTO quarantines VALUES (zeroblob(16), zeroblob(32), 'a', '1', '', 1)",
        "what a row refers to is there",
    ),
    ("UPDATE usage SET events = events + 1", check::COUNTED),
    (
        "INSERT INTO pipelines (digest, steps)
         VALUES (x'00', '[{\"name\":\"a\",\"sha256\":\"ab\"}]')",
        "a pipeline's components are there",
    ),
];

#[tokio::test]
async fn a_check_names_each_rule_that_is_broken_with_places() {
    for (planted, rule) in PLANTED {
        let bench = Bench::new().await;
        let delivery = bench.over(1..2).await[0].deliveries[0].id;
        bench.sql(planted).await;
        let (checked, _folder) = bench.checked().await;
        let found = checked.broken.iter().find(|broken| broken.rule == *rule);
        let found = found.unwrap_or_else(|| panic!("{planted}: {:?}", checked.broken));
        assert!(found.count >= 1 && !found.examples.is_empty());
        if planted.starts_with("UPDATE deliveries") && !planted.contains("attempts") {
            assert!(found.examples[0].starts_with(&delivery.to_string()), "{found:?}");
        }
    }
}

#[tokio::test]
async fn a_large_backlog_is_held_and_resumed_whole() {
    let bench = Bench::new().await;
    let batch: Vec<_> = (0..2_300).map(|_| bench.event(1)).collect();
    bench.store.append(&batch, lease(60)).await.unwrap();
    assert_eq!(bench.store.hold_pending(bench.subscription, "paused").await.unwrap(), 2_300);
    assert_eq!(bench.claim_all(5).await.len(), 0);
    assert_eq!(bench.store.resume_held(bench.subscription, at(6)).await.unwrap(), 2_300);
    assert_eq!(bench.claim_all(7).await.len(), 1_000);
}
