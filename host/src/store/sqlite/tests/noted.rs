//! An entry of the audit log is on the disk before what its change writes, and only then.

use super::{Bench, at};
use crate::{
    model::{Application, ApplicationId, AuditEntry, AuditFilter, AuditId, ChangeOutcome},
    store::{
        Audit, Resources, StoreError,
        noted::{carry, noted},
    },
};

fn entry() -> AuditEntry {
    AuditEntry {
        id: AuditId::new(at(0)),
        at: at(0),
        actor: "key_1".into(),
        actor_name: "one".into(),
        action: "create_application".into(),
        resource: "application".into(),
        resource_id: None,
        application: None,
        request_id: "1".into(),
        outcome: ChangeOutcome::Unknown,
        before: None,
        after: None,
    }
}

fn application(name: &str) -> Application {
    Application { id: ApplicationId::new(at(0)), name: name.into(), created_at: at(0) }
}

impl Bench {
    async fn entries(&self) -> Vec<AuditId> {
        let page = self.store.audit(&AuditFilter::default(), None, 10).await.unwrap();
        page.items.into_iter().map(|entry| entry.id).collect()
    }

    /// The bytes of the log: each commit makes it longer.
    fn log(&self) -> u64 {
        self.folder.path().join("test.db-wal").metadata().unwrap().len()
    }
}

#[tokio::test]
async fn what_writes_nothing_leaves_no_entry_and_costs_no_commit() {
    let bench = Bench::new().await;
    let before = bench.log();
    let (read, written) = noted(entry(), bench.store.applications()).await;
    assert!(read.is_ok() && !written);
    assert_eq!(bench.log(), before);
    assert!(bench.entries().await.is_empty());
}

#[tokio::test]
async fn an_entry_is_there_before_the_first_write_whatever_that_comes_to() {
    let bench = Bench::new().await;
    let (first, second) = (entry(), AuditEntry { id: AuditId::new(at(1)), ..entry() });
    let one = application("one");
    let making = async {
        bench.store.create_application(&one).await.unwrap();
        assert_eq!(bench.entries().await, [first.id]);
        // Once is enough.
        bench.store.create_application(&application("two")).await.unwrap();
    };
    let ((), written) = noted(first.clone(), making).await;
    assert!(written);
    let (refused, written) = noted(second.clone(), bench.store.create_application(&one)).await;
    assert_eq!(
        (refused.err().map(|e| e.to_string()), written),
        (Some(StoreError::Exists.to_string()), true)
    );
    assert_eq!(bench.entries().await, [second.id, first.id]);
    bench.store.drop_audit(second.id).await.unwrap();
    // Others' writes are not this change's.
    bench.store.create_application(&application("three")).await.unwrap();
    assert_eq!(bench.entries().await, [first.id]);
}

#[tokio::test]
async fn a_change_that_goes_on_in_another_task_takes_its_entry_along() {
    let bench = std::sync::Arc::new(Bench::new().await);
    let (first, second) = (entry(), AuditEntry { id: AuditId::new(at(1)), ..entry() });
    let make = |name: &'static str| {
        let bench = std::sync::Arc::clone(&bench);
        async move { bench.store.create_application(&application(name)).await }
    };
    let carried = async { tokio::spawn(carry(make("one"))).await.unwrap().unwrap() };
    assert!(noted(first.clone(), carried).await.1);
    assert_eq!(bench.entries().await, [first.id]);
    let left = async { tokio::spawn(make("two")).await.unwrap().unwrap() };
    assert!(!noted(second, left).await.1, "what is not carried has no entry to write");
    // Without one, nothing is carried.
    carry(make("three")).await.unwrap();
    assert_eq!(bench.entries().await, [first.id]);
}
