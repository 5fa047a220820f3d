//! Whether what something is stored for is still there. It was when the request came, and may
//! have gone since; asked within the transaction that stores, it cannot go any more.

use std::collections::{BTreeSet, HashSet};

use sqlx::SqliteConnection;

use super::{Result, codec::json, failed};
use crate::{
    model::ApplicationId,
    store::{Gone, NewEvent},
};

/// What events of a batch name and is gone: nearly always nothing.
#[derive(Debug, Default)]
pub(super) struct Missing {
    applications: HashSet<String>,
    event_types: HashSet<String>,
}

impl Missing {
    /// One statement, however many they name.
    pub(super) async fn of(connection: &mut SqliteConnection, batch: &[NewEvent]) -> Result<Self> {
        let events = || batch.iter().map(|new| &new.event);
        let applications: BTreeSet<_> = events().map(|event| hex(event.application)).collect();
        // The server's own types are in no table.
        let event_types: BTreeSet<_> = events()
            .filter(|event| !event.event_type.is_reserved())
            .map(|event| event.event_type.as_str())
            .collect();
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT 0, value FROM json_each(?1)
             WHERE NOT EXISTS (SELECT 1 FROM applications WHERE id = unhex(value))
             UNION ALL SELECT 1, value FROM json_each(?2)
             WHERE NOT EXISTS (SELECT 1 FROM event_types WHERE name = value)",
        )
        .bind(json(&applications)?)
        .bind(json(&event_types)?)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
        let mut missing = Self::default();
        for (kind, name) in rows {
            let of_kind =
                if kind == 0 { &mut missing.applications } else { &mut missing.event_types };
            of_kind.insert(name);
        }
        Ok(missing)
    }

    /// What of this event is gone.
    pub(super) fn gone(&self, new: &NewEvent) -> Option<Gone> {
        if !self.applications.is_empty() && self.applications.contains(&hex(new.event.application))
        {
            return Some(Gone::Application);
        }
        self.event_types.contains(new.event.event_type.as_str()).then_some(Gone::EventType)
    }
}

/// Whether there is no such application any more.
pub(super) async fn is_gone(
    connection: &mut SqliteConnection,
    application: ApplicationId,
) -> Result<bool> {
    sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM applications WHERE id = ?)")
        .bind(application.as_bytes().as_slice())
        .fetch_one(connection)
        .await
        .map_err(failed)
}

/// The form in which JSON takes an id.
fn hex(id: ApplicationId) -> String {
    hex::encode(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{Event, EventType},
        store::{
            Appended, Belt, LimitDocuments, Resources, StoreError,
            sqlite::tests::{Bench, lease},
        },
    };

    fn with(new: NewEvent, change: impl FnOnce(&mut Event)) -> NewEvent {
        let mut event = Event::clone(&new.event);
        change(&mut event);
        NewEvent { event: Arc::new(event), ..new }
    }

    #[tokio::test]
    async fn nothing_is_stored_for_what_went_meanwhile() {
        let bench = Bench::new().await;
        let nobody = ApplicationId::first_of(bench.event(0).event.accepted_at);
        let batch = [
            bench.event(0),
            with(bench.event(1), |event| event.application = nobody),
            with(bench.event(2), |event| event.event_type = "order.gone".parse().unwrap()),
            with(bench.event(3), |event| event.event_type = "hookmill.test".parse().unwrap()),
        ];
        let answers = bench.store.append(&batch, lease(60)).await.unwrap();
        assert!(matches!(answers[0], Appended::New(_)) && matches!(answers[3], Appended::New(_)));
        assert_eq!(answers[1], Appended::Gone(Gone::Application));
        assert_eq!(answers[2], Appended::Gone(Gone::EventType));
        assert_eq!(bench.store.usage(bench.application.id).events, 2);
    }

    #[tokio::test]
    async fn a_type_with_events_stays_whoevers_they_are() {
        let bench = Bench::new().await;
        bench.store.append(&[bench.event(0)], lease(60)).await.unwrap();
        let used = EventType::named("order.created").name;
        let refused = bench.store.delete_event_type(&used).await;
        assert!(matches!(refused, Err(StoreError::InUse(1))), "{refused:?}");
        let unused = EventType::named("order.paid");
        bench.store.create_event_type(&unused, None).await.unwrap();
        bench.store.delete_event_type(&unused.name).await.unwrap();
        let gone = bench.store.delete_event_type(&unused.name).await;
        assert!(matches!(gone, Err(StoreError::NotFound)));
    }
}
