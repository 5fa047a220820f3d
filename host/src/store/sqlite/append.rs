//! Events in: one transaction for a batch of requests.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    Result, SqliteStore,
    bulk::Bulk,
    codec::{json, millis, state_code},
    failed, order,
    repeated::{Remembered, Seen, Verdict, look, remember},
    there::Missing,
    usage::Counted,
};
use crate::{
    model::{ApplicationId, DeliveryState},
    store::{Appended, DeliveryKey, Lease, NewEvent, Receipt},
};

static EVENTS: Bulk = Bulk::new(
    "INSERT INTO events (row, id, application_id, type, schema_version, subject, producer_id, \
         occurred_at, accepted_at, deliveries, violations, payload, traceparent, tracestate, \
         content_type, context, channels) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "",
);
static DELIVERIES: Bulk = Bulk::new(
    "INSERT INTO deliveries (row, id, application_id, event_row, subscription_id, pipeline_id, \
         state, attempts, due_at, owner, lease_until, created_at, order_key) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
    "",
);

/// An event that is new, with the rows it gets.
struct Fresh<'a> {
    new: &'a NewEvent,
    row: i64,
    first_delivery: i64,
}

/// What an event or a delivery takes in the log beside payloads, indices included; roughly.
const ROW: u64 = 512;

impl Fresh<'_> {
    fn bytes(&self) -> u64 {
        (self.new.event.payload.len() as u64) + ROW * (1 + self.new.deliveries.len() as u64)
    }

    fn keys(&self) -> Vec<DeliveryKey> {
        (self.first_delivery..)
            .zip(&self.new.deliveries)
            .map(|(delivery, _)| DeliveryKey { delivery, event: self.row })
            .collect()
    }

    fn receipt(&self) -> Receipt {
        Receipt {
            id: self.new.event.id,
            schema_version: self.new.event.schema_version,
            deliveries: self.new.deliveries.len() as u32,
        }
    }
}

impl SqliteStore {
    pub(super) async fn append_batch(
        &self,
        batch: &[NewEvent],
        lease: Lease,
    ) -> Result<Vec<Appended>> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let (answers, fresh, keys) = self.sort_out(&mut transaction, batch).await?;
        insert_events(&mut transaction, &fresh).await?;
        insert_deliveries(&mut transaction, &fresh, lease).await?;
        if let Some(first) = batch.first() {
            remember(&mut transaction, &keys, first.event.accepted_at).await?;
        }
        count_violations(&mut transaction, &fresh).await?;
        let mut counted = Counted::default();
        let payloads = fresh.iter().map(|item| {
            let event = &item.new.event;
            (event.application, event.payload.len())
        });
        counted.come(&mut transaction, payloads).await?;
        transaction.commit().await.map_err(failed)?;
        self.usages.take_over(counted);
        write.done_with(fresh.iter().map(|item| item.bytes()).sum());
        Ok(answers)
    }

    /// Tells new events from repeated ones, from those that there is no room for, also within the
    /// batch, and from those whose application or type went meanwhile, and gives them rows. A repetition may have brought a key that is new:
    /// the next request with it is one, too.
    async fn sort_out<'a>(
        &self,
        connection: &mut SqliteConnection,
        batch: &'a [NewEvent],
    ) -> Result<(Vec<Appended>, Vec<Fresh<'a>>, Vec<Remembered<'a>>)> {
        let missing = Missing::of(connection, batch).await?;
        let mut seen = Seen::new();
        // Payloads of this batch, by application, where that is asked for.
        let mut coming: HashMap<ApplicationId, u64> = HashMap::new();
        let mut answers = Vec::with_capacity(batch.len());
        let mut fresh: Vec<Fresh<'a>> = Vec::with_capacity(batch.len());
        let mut keys = Vec::new();
        for new in batch {
            let (application, now) = (new.event.application, new.event.accepted_at);
            let verdict = look(connection, &seen, application, &new.idempotency, now).await?;
            let (receipt, unused) = match verdict {
                Verdict::Conflict(key) => {
                    answers.push(Appended::Conflict { key });
                    continue;
                }
                Verdict::Repeated(receipt, unused) => {
                    answers.push(Appended::Repeated(receipt.clone()));
                    (receipt, unused)
                }
                Verdict::Fresh => {
                    if let Some(gone) = missing.gone(new) {
                        answers.push(Appended::Gone(gone));
                        continue;
                    }
                    if let Some(used) = self.overfull(new, &mut coming) {
                        answers.push(Appended::Full { used });
                        continue;
                    }
                    let item = self.fresh(new);
                    answers.push(Appended::New(item.keys()));
                    let receipt = item.receipt();
                    fresh.push(item);
                    (receipt, new.idempotency.iter().collect())
                }
            };
            for idempotency in unused {
                let key = (application, idempotency.key.as_str());
                seen.insert(key, (&idempotency.fingerprint, receipt.clone()));
                keys.push(Remembered { application, idempotency, receipt: receipt.clone() });
            }
        }
        Ok((answers, fresh, keys))
    }

    /// What an event's application has stored, if there is no room for the event: beside that and
    /// those `coming` in the same batch. Else it is among these.
    fn overfull(&self, new: &NewEvent, coming: &mut HashMap<ApplicationId, u64>) -> Option<u64> {
        let most = new.most_stored?;
        let application = new.event.application;
        let coming = coming.entry(application).or_default();
        let used = self.usages.of(application).stored_bytes.saturating_add(*coming);
        let bytes = new.event.payload.len() as u64;
        if used.saturating_add(bytes) > most {
            return Some(used);
        }
        *coming += bytes;
        None
    }

    /// Rows for a new event and its deliveries.
    fn fresh<'a>(&self, new: &'a NewEvent) -> Fresh<'a> {
        Fresh {
            new,
            row: Self::take_rows(&self.next_event, 1),
            first_delivery: Self::take_rows(&self.next_delivery, new.deliveries.len()),
        }
    }
}

async fn insert_events(connection: &mut SqliteConnection, fresh: &[Fresh<'_>]) -> Result<()> {
    EVENTS
        .execute(connection, fresh, |row, Fresh { new, row: number, .. }| {
            let event = &new.event;
            // Violations are plain strings: they always have a JSON form.
            let violations =
                (!new.violations.is_empty()).then(|| json(&new.violations).ok()).flatten();
            let channels =
                (!event.channels.is_empty()).then(|| json(&event.channels).ok()).flatten();
            row.put(*number)
                .put(event.id.as_bytes().as_slice())
                .put(event.application.as_bytes().as_slice())
                .put(event.event_type.as_str())
                .put(i64::from(event.schema_version))
                .put(event.subject.as_deref())
                .put(new.producer_id.as_deref())
                .put(millis(event.occurred_at))
                .put(millis(event.accepted_at))
                .put(new.deliveries.len() as i64)
                .put(violations)
                .put(event.payload.as_ref())
                .put(event.trace.as_ref().map(ToString::to_string))
                .put(event.trace.as_ref().and_then(|trace| trace.state.as_deref()))
                .put(event.content_type.as_deref())
                // Texts and numbers: they always have a JSON form.
                .put(event.context.as_deref().and_then(|context| json(context).ok()))
                .put(channels);
        })
        .await
}

async fn insert_deliveries(
    connection: &mut SqliteConnection,
    fresh: &[Fresh<'_>],
    lease: Lease,
) -> Result<()> {
    let rows: Vec<_> = fresh
        .iter()
        .flat_map(|item| (item.first_delivery..).zip(&item.new.deliveries).map(move |d| (item, d)))
        .collect();
    DELIVERIES
        .execute(connection, &rows, |row, (item, (number, delivery))| {
            let event = &item.new.event;
            let (state, owner, until) = match (delivery.held, delivery.leased) {
                (true, _) => (DeliveryState::Held, 0, 0),
                (false, true) => (DeliveryState::Delivering, lease.owner, millis(lease.until)),
                (false, false) => (DeliveryState::Pending, 0, 0),
            };
            row.put(*number)
                .put(delivery.id.as_bytes().as_slice())
                .put(event.application.as_bytes().as_slice())
                .put(item.row)
                .put(delivery.subscription.as_bytes().as_slice())
                .put(delivery.pipeline.map(|p| p.0))
                .put(state_code(state))
                .put(millis(event.accepted_at))
                .put(owner)
                .put(until)
                .put(millis(event.accepted_at))
                .put(delivery.order.map(|key| key.0));
        })
        .await?;
    let ordered = rows.iter().filter(|(_, (_, delivery))| delivery.order.is_some());
    let ordered: Vec<i64> = ordered.map(|(_, (number, _))| *number).collect();
    order::line_up(connection, &ordered).await
}

async fn count_violations(connection: &mut SqliteConnection, fresh: &[Fresh<'_>]) -> Result<()> {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for item in fresh.iter().filter(|item| !item.new.violations.is_empty()) {
        *counts.entry(item.new.event.event_type.as_str()).or_default() += 1;
    }
    for (name, count) in counts {
        sqlx::query("UPDATE event_types SET violations = violations + ? WHERE name = ?")
            .bind(count)
            .bind(name)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}
