//! What happened: events, deliveries, attempts.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, sqlite::SqliteRow};

use super::{
    Result, SqliteStore,
    claim::read_run,
    codec::{
        self, EVENT_COLUMNS, LISTED_COLUMNS, bytes16, col, col_time, col_u32, col_u64, event_type,
        from_json, from_word, listed, millis, outcome, outcome_code, state, state_code, timestamp,
    },
    counts::moved,
    failed, order,
    undelivered::push_types,
};
use crate::{
    model::{
        ApplicationId, Attempt, Delivery, DeliveryId, DeliveryState, EventId, ListedEvent, Message,
        OnError, Outcome, PipelineId, PipelineRun, StoredEvent, SubscriptionId, Timestamp, Timings,
    },
    store::{DeliveryFilter, EventFilter, History, Idempotency, Page, StoreError, Used},
};

const DELIVERY_COLUMNS: &str = "d.id, e.id, e.type, d.subscription_id, d.application_id, d.state, \
     d.attempts, d.reason, d.due_at, d.created_at, d.finished_at, d.pipeline_id, d.last_outcome";

/// Where what follows an event's columns begins.
const REST: usize = codec::EVENT_WIDTH;

fn stored_event(row: &SqliteRow) -> Result<StoredEvent> {
    let violations = col::<Option<&str>>(row, REST + 2)?;
    Ok(StoredEvent {
        event: codec::event(row, 0)?,
        producer_id: col(row, REST)?,
        deliveries: col_u32(row, REST + 1)?,
        violations: violations.map(from_json).transpose()?.unwrap_or_default(),
    })
}

fn delivery(row: &SqliteRow) -> Result<Delivery> {
    let state = state(col(row, 5)?)?;
    let due_at = order::known(col(row, 8)?);
    let waiting = matches!(state, DeliveryState::Pending | DeliveryState::Delivering);
    Ok(Delivery {
        id: DeliveryId::from_bytes(bytes16(col(row, 0)?)?),
        event_id: EventId::from_bytes(bytes16(col(row, 1)?)?),
        event_type: event_type(col(row, 2)?)?,
        subscription_id: SubscriptionId::from_bytes(bytes16(col(row, 3)?)?),
        application: ApplicationId::from_bytes(bytes16(col(row, 4)?)?),
        state,
        attempts: col_u32(row, 6)?,
        reason: col(row, 7)?,
        next_attempt_at: due_at.filter(|_| waiting).map(timestamp).transpose()?,
        created_at: col_time(row, 9)?,
        finished_at: col::<Option<i64>>(row, 10)?.map(timestamp).transpose()?,
        pipeline: col::<Option<i64>>(row, 11)?.map(PipelineId),
        last_outcome: col::<Option<i64>>(row, 12)?.map(outcome).transpose()?,
    })
}

fn attempt(row: &SqliteRow) -> Result<Attempt> {
    let part = |at: usize| -> Result<Option<u64>> {
        Ok(col::<Option<i64>>(row, at)?.and_then(|us| u64::try_from(us).ok()))
    };
    Ok(Attempt {
        number: col_u32(row, 0)?,
        started_at: col_time(row, 1)?,
        outcome: outcome(col(row, 2)?)?,
        status: col::<Option<i64>>(row, 3)?.and_then(|status| u16::try_from(status).ok()),
        error: col(row, 4)?,
        response_body: col(row, 5)?,
        timings: Timings {
            first_byte_us: part(6)?,
            total_us: col_u64(row, 7)?,
            dns_us: part(8)?,
            connect_us: part(9)?,
            tls_us: part(10)?,
        },
    })
}

/// A run from `kind, reason, on_error, content_type, headers, body, steps` at column `at`.
pub(super) fn run_from(row: &SqliteRow, at: usize, payload: &Bytes) -> Result<PipelineRun> {
    let reason =
        || -> Result<String> { Ok(col::<Option<String>>(row, at + 1)?.unwrap_or_default()) };
    let outcome = match col::<i64>(row, at)? {
        0 => Outcome::Send(Message {
            content_type: col::<Option<String>>(row, at + 3)?.unwrap_or_default(),
            headers: col::<Option<&str>>(row, at + 4)?
                .map(from_json)
                .transpose()?
                .unwrap_or_default(),
            body: col::<Option<Vec<u8>>>(row, at + 5)?.map_or_else(|| payload.clone(), Bytes::from),
        }),
        1 => Outcome::Drop { reason: reason()? },
        _ => {
            Outcome::Fail { on_error: from_word::<OnError>(col(row, at + 2)?)?, reason: reason()? }
        }
    };
    Ok(PipelineRun { outcome, steps: from_json(col(row, at + 6)?)? })
}

/// The index by which a list of events is walked. Violating events are few, and so may be those of
/// one type; a pattern is looked for among all, newest first, until a page is full.
fn way(filter: &EventFilter) -> &'static str {
    match &filter.event_type {
        _ if filter.violating => " INDEXED BY events_violating",
        Some(pattern) if pattern.is_exact() => " INDEXED BY events_by_type",
        _ => " INDEXED BY events_by_application",
    }
}

/// How far an id's time and the time in its row may be apart: an id is made when an event was
/// checked and is about to be stored, and a replay's shortly before its row.
const APART: SignedDuration = SignedDuration::from_secs(60);

/// Which ids what was made since one time and until another may have: these are found by the index
/// that a list is walked by. What exactly is of that time, its column says.
pub(super) fn push_ids<const N: usize>(
    query: &mut QueryBuilder<Sqlite>,
    column: &str,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    first_of: impl Fn(Timestamp) -> [u8; N],
) {
    let since = since.map(|since| since.checked_sub(APART).unwrap_or(Timestamp::MIN));
    let until = until.map(|until| until.checked_add(APART).unwrap_or(Timestamp::MAX));
    for (bound, comparison) in [(since, ">="), (until, "<")] {
        if let Some(bound) = bound {
            query.push(format!(" AND {column} {comparison} ")).push_bind(first_of(bound).to_vec());
        }
    }
}

/// Cuts the one row too many that tells whether more follow.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    Page { items, more }
}

pub(super) fn push_times(
    query: &mut QueryBuilder<Sqlite>,
    column: &str,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) {
    for (bound, comparison) in [(since, ">="), (until, "<")] {
        if let Some(bound) = bound {
            query.push(format!(" AND {column} {comparison} ")).push_bind(millis(bound));
        }
    }
}

impl SqliteStore {
    /// A page of events, of a query that ends where the application's id follows.
    async fn newest<T>(
        &self,
        mut query: QueryBuilder<Sqlite>,
        read: impl Fn(&SqliteRow) -> Result<T>,
        (application, filter, before, limit): (ApplicationId, &EventFilter, Option<EventId>, u32),
    ) -> Result<Page<T>> {
        query.push_bind(application.as_bytes().to_vec());
        if let Some(pattern) = &filter.event_type {
            push_types(&mut query, std::slice::from_ref(pattern));
        }
        if filter.violating {
            query.push(" AND e.violations IS NOT NULL");
        }
        let times = (filter.since, filter.until);
        push_times(&mut query, "e.accepted_at", times.0, times.1);
        push_ids(&mut query, "e.id", times, |at| *EventId::first_of(at).as_bytes());
        if let Some(id) = before {
            query.push(" AND e.id < ").push_bind(id.as_bytes().to_vec());
        }
        query.push(" ORDER BY e.id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await.map_err(failed)?;
        Ok(page(rows.iter().map(read).collect::<Result<_>>()?, limit))
    }
}

#[async_trait]
impl History for SqliteStore {
    async fn repeated(
        &self,
        application: ApplicationId,
        keys: &[Idempotency],
        now: Timestamp,
    ) -> Result<Option<Used>> {
        self.used(application, keys, now).await
    }

    async fn event(&self, application: ApplicationId, id: EventId) -> Result<StoredEvent> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS}, e.producer_id, e.deliveries, e.violations FROM events AS e \
             JOIN applications AS a ON a.id = e.application_id \
             WHERE e.application_id = ? AND e.id = ?"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(application.as_bytes().as_slice())
            .bind(id.as_bytes().as_slice())
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        stored_event(&row)
    }

    async fn events(
        &self,
        application: ApplicationId,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page<StoredEvent>> {
        let way = way(filter);
        let query = QueryBuilder::new(format!(
            "SELECT {EVENT_COLUMNS}, e.producer_id, e.deliveries, e.violations FROM events AS e{way} \
             JOIN applications AS a ON a.id = e.application_id WHERE e.application_id = "
        ));
        self.newest(query, stored_event, (application, filter, before, limit)).await
    }

    async fn list_events(
        &self,
        application: ApplicationId,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page<ListedEvent>> {
        let way = way(filter);
        let query = QueryBuilder::new(format!(
            "SELECT {LISTED_COLUMNS} FROM events AS e{way} WHERE e.application_id = "
        ));
        self.newest(query, listed, (application, filter, before, limit)).await
    }

    async fn delivery(&self, application: ApplicationId, id: DeliveryId) -> Result<Delivery> {
        let sql = format!(
            "SELECT {DELIVERY_COLUMNS} FROM deliveries AS d JOIN events AS e ON e.row = d.event_row \
             WHERE d.application_id = ? AND d.id = ?"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(application.as_bytes().as_slice())
            .bind(id.as_bytes().as_slice())
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        delivery(&row)
    }

    async fn deliveries(
        &self,
        application: ApplicationId,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Page<Delivery>> {
        // A replay's deliveries may be few among many, and anywhere.
        let way = if filter.replay.is_some() { " INDEXED BY deliveries_replayed" } else { "" };
        let mut query = QueryBuilder::new(format!(
            "SELECT {DELIVERY_COLUMNS} FROM deliveries AS d{way} \
             JOIN events AS e ON e.row = d.event_row WHERE d.application_id = "
        ));
        query.push_bind(application.as_bytes().to_vec());
        if let Some(id) = filter.subscription {
            query.push(" AND d.subscription_id = ").push_bind(id.as_bytes().to_vec());
        }
        if let Some(id) = filter.event {
            query
                .push(" AND d.event_row = (SELECT row FROM events WHERE application_id = ")
                .push_bind(application.as_bytes().to_vec())
                .push(" AND id = ")
                .push_bind(id.as_bytes().to_vec())
                .push(")");
        }
        if let Some(state) = filter.state {
            // Written out, not bound: a partial index is used for a literal only.
            query.push(format!(" AND d.state = {}", state_code(state)));
        }
        if let Some(pattern) = &filter.event_type {
            push_types(&mut query, std::slice::from_ref(pattern));
        }
        if let Some(outcome) = filter.outcome {
            query.push(" AND d.last_outcome = ").push_bind(outcome_code(outcome));
        }
        if let Some(id) = filter.replay {
            query
                .push(" AND d.replay = (SELECT row FROM replays WHERE application_id = ")
                .push_bind(application.as_bytes().to_vec())
                .push(" AND id = ")
                .push_bind(id.as_bytes().to_vec())
                .push(")");
        }
        let times = (filter.since, filter.until);
        push_times(&mut query, "d.created_at", times.0, times.1);
        push_ids(&mut query, "d.id", times, |at| *DeliveryId::first_of(at).as_bytes());
        if let Some(id) = before {
            query.push(" AND d.id < ").push_bind(id.as_bytes().to_vec());
        }
        query.push(" ORDER BY d.id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await.map_err(failed)?;
        Ok(page(rows.iter().map(delivery).collect::<Result<_>>()?, limit))
    }

    async fn attempts(&self, application: ApplicationId, id: DeliveryId) -> Result<Vec<Attempt>> {
        let rows = sqlx::query(
            "SELECT t.number, t.started_at, t.outcome, t.status, t.error, t.response_body,
                    t.first_byte_us, t.total_us, t.dns_us, t.connect_us, t.tls_us
             FROM attempts AS t JOIN deliveries AS d ON d.row = t.delivery_row
             WHERE d.application_id = ? AND d.id = ? ORDER BY t.rowid",
        )
        .bind(application.as_bytes().as_slice())
        .bind(id.as_bytes().as_slice())
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(attempt).collect()
    }

    async fn run(&self, application: ApplicationId, id: DeliveryId) -> Result<Option<PipelineRun>> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS}, d.event_row, d.pipeline_id FROM deliveries AS d \
             JOIN events AS e ON e.row = d.event_row \
             JOIN applications AS a ON a.id = e.application_id \
             WHERE d.application_id = ? AND d.id = ?"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(application.as_bytes().as_slice())
            .bind(id.as_bytes().as_slice())
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        let Some(pipeline) = col::<Option<i64>>(&row, REST + 1)? else { return Ok(None) };
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        read_run(&mut connection, col(&row, REST)?, pipeline, &codec::event(&row, 0)?).await
    }

    async fn summary(
        &self,
        application: ApplicationId,
        event: EventId,
    ) -> Result<Vec<(DeliveryState, u64)>> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT d.state, count(*) FROM events AS e JOIN deliveries AS d ON d.event_row = e.row
             WHERE e.application_id = ? AND e.id = ? GROUP BY d.state ORDER BY d.state",
        )
        .bind(application.as_bytes().as_slice())
        .bind(event.as_bytes().as_slice())
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|(code, count)| Ok((state(code)?, u64::try_from(count).unwrap_or_default())))
            .collect()
    }

    async fn retry(
        &self,
        application: ApplicationId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<()> {
        let mut write = self.write().await?;
        let changed = sqlx::query(
            "UPDATE deliveries SET state = 0, due_at = ?1, owner = 0, lease_until = 0, reason = NULL,
                    finished_at = NULL
             WHERE application_id = ?2 AND id = ?3 AND state <> 1
               AND EXISTS (SELECT 1 FROM events WHERE row = event_row AND length(payload) > 0)",
        )
        .bind(millis(now))
        .bind(application.as_bytes().as_slice())
        .bind(id.as_bytes().as_slice())
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        moved(DeliveryState::Pending, changed.rows_affected());
        if changed.rows_affected() == 0 {
            // Under way already, or not there at all, or nothing is left to send.
            let delivery = self.delivery(application, id).await?;
            if self.event(application, delivery.event_id).await?.event.is_expired() {
                return Err(StoreError::PayloadExpired);
            }
        }
        Ok(())
    }
}
