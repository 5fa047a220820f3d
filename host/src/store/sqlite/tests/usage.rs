//! What applications' events take is what is counted, whatever happens.

use super::*;
use crate::{
    model::Usage,
    store::{
        LimitDocuments, Old, PurgeStep, Upkeep,
        sqlite::{backup, check},
    },
};

/// Numbers that look random and are the same for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn usage(rows: (i64, i64)) -> Usage {
    let [events, stored_bytes] = [rows.0, rows.1].map(|number| u64::try_from(number).unwrap());
    Usage { events, stored_bytes }
}

impl Bench {
    async fn other(&self) -> ApplicationId {
        let other =
            Application { id: ApplicationId::new(at(0)), name: "other".into(), created_at: at(0) };
        self.store.create_application(&other).await.unwrap();
        other.id
    }

    /// An event of an application with so many bytes and nobody who wants it.
    fn sized(&self, application: ApplicationId, second: i64, bytes: u64) -> NewEvent {
        let mut new = self.event(second);
        let payload = vec![b'1'; usize::try_from(bytes).unwrap()].into();
        new.event = Arc::new(Event { application, payload, ..(*new.event).clone() });
        new.deliveries.clear();
        new
    }

    async fn two(&self, sql: &'static str, application: ApplicationId) -> Option<Usage> {
        let rows: Option<(i64, i64)> = sqlx::query_as(sql)
            .bind(application.as_bytes().as_slice())
            .fetch_optional(&self.store.readers)
            .await
            .unwrap();
        rows.map(usage)
    }

    /// The application's usage, which memory, the table and the events themselves agree on.
    async fn agreed(&self, application: ApplicationId) -> Usage {
        let in_memory = self.store.usage(application);
        let counted = "SELECT events, bytes FROM usage WHERE application_id = ?";
        let counted = self.two(counted, application).await.unwrap_or_default();
        let there = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM events WHERE application_id = ?";
        let there = self.two(there, application).await.unwrap();
        assert_eq!((in_memory, counted), (there, there));
        there
    }

    /// Ends what is due.
    async fn finish(&self, second: i64) {
        for claimed in self.claim(OWNER, second).await {
            let next = Next::Succeeded;
            let record = Record {
                delivery: claimed.key,
                order: None,
                attempt: Some(attempt(1)),
                run: None,
                bare: false,
                next,
                at: at(second),
            };
            self.store.record(&[record]).await.unwrap();
        }
    }
}

/// What the second application of the random run may store.
const MOST: u64 = 1_500;

async fn random_run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut bench = Bench::new().await;
    let applications = [bench.application.id, bench.other().await];
    let (mut refused, mut purged, mut partly) = (0, 0, 0);
    for second in 0..120 {
        match dice.roll(8) {
            0..=3 => {
                let mut batch = Vec::new();
                for _ in 0..=dice.roll(5) {
                    let of = usize::try_from(dice.roll(2)).unwrap();
                    let mut new = bench.sized(applications[of], second, 1 + dice.roll(400));
                    if of == 0 {
                        // More than a step of the purge takes, now and then.
                        let wanted = if dice.roll(4) == 0 { 12 } else { dice.roll(3) };
                        new.deliveries = (0..wanted).map(|_| bench.delivery(second)).collect();
                    } else {
                        new.most_stored = Some(MOST);
                    }
                    if dice.roll(3) == 0 {
                        new = keyed(new, &dice.roll(6).to_string(), 1);
                    }
                    batch.push(new);
                }
                let answers = bench.store.append(&batch, lease(second + 60)).await.unwrap();
                for (new, answer) in batch.iter().zip(&answers) {
                    if let Appended::Full { used } = answer {
                        assert!(used + new.event.payload.len() as u64 > MOST);
                        assert_eq!(new.event.application, applications[1]);
                        refused += 1;
                    }
                }
            }
            4 => bench.finish(second).await,
            5 | 6 => {
                let what = [Old::Payloads, Old::Events][usize::try_from(dice.roll(2)).unwrap()];
                let before = at(second - i64::try_from(dice.roll(20)).unwrap());
                let step = PurgeStep { what, before, cancel_before: None, after: 0, rows: 8 };
                let done = bench.store.purge(&step).await.unwrap();
                purged += done.events + done.payloads;
                partly += u64::from(done.deliveries > 0 && done.events == 0);
            }
            _ => bench = bench.reopened().await,
        }
        bench.agreed(applications[0]).await;
        assert!(bench.agreed(applications[1]).await.stored_bytes <= MOST);
    }
    assert!(refused > 0 && purged > 0, "seed {seed}: {refused} refused, {purged} purged");
    let path = bench.folder.path().join("test.db");
    bench.store.close().await;
    let Bench { store, folder: _folder, .. } = bench;
    drop(store);
    assert_eq!(check::check(&path).await.unwrap().broken, [], "seed {seed}, {partly} partly");
}

#[tokio::test]
async fn the_count_is_what_is_there_through_appends_purges_and_restarts() {
    for seed in 1..=6 {
        random_run(seed).await;
    }
}

#[tokio::test]
async fn a_quota_is_kept_to_the_byte_and_a_repetition_is_no_new_event() {
    let bench = Bench::new().await;
    let of = bench.application.id;
    let limited = |bytes, key| {
        let new = NewEvent { most_stored: Some(100), ..bench.sized(of, 1, bytes) };
        keyed(new, key, 1)
    };
    let batch = [limited(60, "a"), limited(41, "b"), limited(40, "c"), limited(60, "a")];
    let answers = bench.store.append(&batch, lease(60)).await.unwrap();
    assert!(matches!(answers[0], Appended::New(_)));
    assert_eq!(answers[1], Appended::Full { used: 60 });
    assert!(matches!(answers[2], Appended::New(_)));
    assert!(matches!(answers[3], Appended::Repeated(_)));
    let answers =
        bench.store.append(&[limited(1, "d"), limited(40, "c")], lease(60)).await.unwrap();
    assert_eq!(answers[0], Appended::Full { used: 100 });
    assert!(matches!(answers[1], Appended::Repeated(_)));
    // Who has no quota is asked nothing.
    bench.store.append(&[bench.sized(of, 1, 500)], lease(60)).await.unwrap();
    assert_eq!(bench.agreed(of).await, Usage { events: 3, stored_bytes: 600 });
}

#[tokio::test]
async fn a_database_from_before_is_counted_when_it_is_opened() {
    let bench = Bench::new().await;
    let other = bench.other().await;
    let batch = [bench.event(1), bench.sized(other, 1, 7), bench.sized(other, 2, 8)];
    bench.store.append(&batch, lease(60)).await.unwrap();
    bench.sql("DROP TABLE usage").await;
    bench.sql("DROP TRIGGER usage_of_application").await;
    bench.sql("DELETE FROM _sqlx_migrations WHERE version = 20").await;
    let bench = bench.reopened().await;
    assert_eq!(bench.agreed(other).await, Usage { events: 2, stored_bytes: 15 });
    assert_eq!(bench.agreed(bench.application.id).await.events, 1);
}

#[tokio::test]
async fn a_count_that_is_wrong_is_found_by_a_check_and_mended_by_compacting() {
    let bench = Bench::new().await;
    let other = bench.other().await;
    let batch = [bench.event(1), bench.sized(other, 1, 7)];
    bench.store.append(&batch, lease(60)).await.unwrap();
    bench.sql("UPDATE usage SET bytes = -1, events = 9").await;
    let bench = bench.reopened().await;
    assert_eq!(bench.store.usage(other), Usage { events: 9, stored_bytes: 0 });
    let path = bench.folder.path().join("test.db");
    bench.store.close().await;
    let Bench { store, folder: _folder, .. } = bench;
    drop(store);
    let broken = check::check(&path).await.unwrap().broken;
    assert_eq!((broken.len(), broken[0].rule, broken[0].count), (1, check::COUNTED, 2));
    let example = format!("{other} 9 events of 1, -1 bytes of 7");
    assert!(broken[0].examples.contains(&example), "{broken:?}");
    assert_eq!(backup::compact(&path).await.unwrap().recounted, 2);
    assert_eq!(check::check(&path).await.unwrap().broken, []);
    assert_eq!(backup::compact(&path).await.unwrap().recounted, 0);
}

#[tokio::test]
async fn an_application_that_goes_leaves_no_count_behind() {
    let bench = Bench::new().await;
    let other = bench.other().await;
    bench.store.append(&[bench.sized(other, 1, 7)], lease(60)).await.unwrap();
    let refused = bench.store.delete_application(other).await;
    assert!(matches!(refused, Err(StoreError::InUse(_))));
    let step =
        PurgeStep { what: Old::Events, before: at(9), cancel_before: None, after: 0, rows: 100 };
    assert_eq!(bench.store.purge(&step).await.unwrap().events, 1);
    assert_eq!(bench.agreed(other).await, Usage::default());
    bench.store.delete_application(other).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM usage")
        .fetch_one(&bench.store.readers)
        .await
        .unwrap();
    assert_eq!((left, bench.store.usage(other)), (0, Usage::default()));
}
