//! Events in: one transaction for a batch of requests.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    Result, SqliteStore,
    bulk::Bulk,
    codec::{bytes16, col, col_u32, json, millis, state_code},
    failed, order,
};
use crate::{
    model::{ApplicationId, DeliveryState, EventId, Timestamp},
    store::{Appended, DeliveryKey, Idempotency, Lease, NewEvent, Receipt},
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
static KEYS: Bulk = Bulk::new(
    "INSERT OR REPLACE INTO idempotency (application_id, key, fingerprint, event_id, \
         schema_version, deliveries, expires_at) VALUES",
    "(?, ?, ?, ?, ?, ?, ?)",
    "",
);

/// Expired keys removed with each batch that brings keys: more than it can bring.
const EXPIRED_AT_ONCE: i64 = 1_000;

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
        let (answers, fresh) = self.sort_out(&mut transaction, batch).await?;
        insert_events(&mut transaction, &fresh).await?;
        insert_deliveries(&mut transaction, &fresh, lease).await?;
        insert_keys(&mut transaction, &fresh).await?;
        count_violations(&mut transaction, &fresh).await?;
        transaction.commit().await.map_err(failed)?;
        write.done_with(fresh.iter().map(|item| item.bytes()).sum());
        Ok(answers)
    }

    /// Tells new events from repeated ones, also within the batch, and gives them rows.
    async fn sort_out<'a>(
        &self,
        connection: &mut SqliteConnection,
        batch: &'a [NewEvent],
    ) -> Result<(Vec<Appended>, Vec<Fresh<'a>>)> {
        let mut seen = Seen::new();
        let mut answers = Vec::with_capacity(batch.len());
        let mut fresh: Vec<Fresh<'a>> = Vec::with_capacity(batch.len());
        for new in batch {
            if let Some(before) = used_before(connection, &seen, new).await? {
                answers.push(before);
                continue;
            }
            let count = new.deliveries.len();
            let item = Fresh {
                new,
                row: Self::take_rows(&self.next_event, 1),
                first_delivery: Self::take_rows(&self.next_delivery, count),
            };
            for idempotency in &new.idempotency {
                let key = (new.event.application.as_bytes(), idempotency.key.as_str());
                seen.insert(key, (&idempotency.fingerprint, item.receipt()));
            }
            let keys = (0..count as i64)
                .map(|i| DeliveryKey { delivery: item.first_delivery + i, event: item.row });
            answers.push(Appended::New(keys.collect()));
            fresh.push(item);
        }
        Ok((answers, fresh))
    }
}

/// Keys of the batch's own events so far: by application and key, the print and the answer.
type Seen<'a> = HashMap<(&'a [u8; 16], &'a str), (&'a [u8; 32], Receipt)>;

/// Whether any of an event's keys was used before: by the same request, and what was said then,
/// or by another.
async fn used_before(
    connection: &mut SqliteConnection,
    seen: &Seen<'_>,
    new: &NewEvent,
) -> Result<Option<Appended>> {
    for idempotency in &new.idempotency {
        let key = (new.event.application.as_bytes(), idempotency.key.as_str());
        let before = match seen.get(&key) {
            Some((fingerprint, receipt)) => {
                Some((**fingerprint == idempotency.fingerprint, receipt.clone()))
            }
            None => {
                let event = &new.event;
                find_key(connection, event.application, idempotency, event.accepted_at).await?
            }
        };
        match before {
            Some((true, receipt)) => return Ok(Some(Appended::Repeated(receipt))),
            Some((false, _)) => return Ok(Some(Appended::Conflict(idempotency.key.clone()))),
            None => {}
        }
    }
    Ok(None)
}

pub(super) async fn find_key(
    connection: &mut SqliteConnection,
    application: ApplicationId,
    idempotency: &Idempotency,
    now: Timestamp,
) -> Result<Option<(bool, Receipt)>> {
    let row = sqlx::query(
        "SELECT fingerprint, event_id, schema_version, deliveries FROM idempotency
         WHERE application_id = ? AND key = ? AND expires_at > ?",
    )
    .bind(application.as_bytes().as_slice())
    .bind(idempotency.key.as_str())
    .bind(millis(now))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let same = col::<&[u8]>(&row, 0)? == idempotency.fingerprint;
    let receipt = Receipt {
        id: EventId::from_bytes(bytes16(col(&row, 1)?)?),
        schema_version: col_u32(&row, 2)?,
        deliveries: col_u32(&row, 3)?,
    };
    Ok(Some((same, receipt)))
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

async fn insert_keys(connection: &mut SqliteConnection, fresh: &[Fresh<'_>]) -> Result<()> {
    let rows: Vec<_> = fresh
        .iter()
        .flat_map(|item| item.new.idempotency.iter().map(move |key| (item, key)))
        .collect();
    let Some((first, _)) = rows.first() else { return Ok(()) };
    sqlx::query(
        "DELETE FROM idempotency WHERE (application_id, key) IN
         (SELECT application_id, key FROM idempotency WHERE expires_at <= ? LIMIT ?)",
    )
    .bind(millis(first.new.event.accepted_at))
    .bind(EXPIRED_AT_ONCE)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    KEYS.execute(connection, &rows, |row, (item, idempotency)| {
        row.put(item.new.event.application.as_bytes().as_slice())
            .put(idempotency.key.as_str())
            .put(idempotency.fingerprint.as_slice())
            .put(item.new.event.id.as_bytes().as_slice())
            .put(i64::from(item.new.event.schema_version))
            .put(item.new.deliveries.len() as i64)
            .put(millis(idempotency.expires_at));
    })
    .await
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
