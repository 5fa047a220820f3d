//! Replays: what they may take, and the taking.
//!
//! Whatever is taken is taken together with the cursor, so a crash repeats and leaves out
//! nothing.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{
    Result, SqliteStore,
    codec::{
        bytes16, col, col_time, col_u64, from_json, from_word, json, millis, outcome_code, state,
        state_code, timestamp, word,
    },
    failed,
    history::{page, push_ids, push_times},
    order,
    undelivered::{self, push_types},
};
use crate::{
    model::{
        ApplicationId, DeliveryId, DeliveryState, EventId, ListedEvent, PipelineId, Replay,
        ReplayId, ReplayMode, ReplayProgress, ReplayState, SubscriptionId, Timestamp,
    },
    store::{Candidate, Claimed, EventFilter, Page, Recovery, Scope, StoreError, Take},
};

const COLUMNS: &str = "id, application_id, mode, filter, per_second, state, cursor, total, taken, \
                       created_at, finished_at";

fn replay_from(row: &SqliteRow) -> Result<Replay> {
    Ok(Replay {
        id: ReplayId::from_bytes(bytes16(col(row, 0)?)?),
        application: ApplicationId::from_bytes(bytes16(col(row, 1)?)?),
        mode: from_word(col(row, 2)?)?,
        filter: from_json(col(row, 3)?)?,
        per_second: col::<Option<i64>>(row, 4)?.and_then(|n| u32::try_from(n).ok()),
        state: from_word(col(row, 5)?)?,
        cursor: bytes16(col(row, 6)?)?,
        total: col_u64(row, 7)?,
        taken: col_u64(row, 8)?,
        created_at: col_time(row, 9)?,
        finished_at: col::<Option<i64>>(row, 10)?.map(timestamp).transpose()?,
    })
}

fn condition(states: &[DeliveryState]) -> String {
    // Written out, not bound, and without a list if it is one: so partial indexes are used.
    match states {
        [one] => format!("= {}", state_code(*one)),
        many => {
            let codes: Vec<String> = many.iter().map(|s| state_code(*s).to_string()).collect();
            format!("IN ({})", codes.join(", "))
        }
    }
}

/// Adds where candidates come from and which they are.
fn push_scope(query: &mut QueryBuilder<Sqlite>, scope: &Scope<'_>) {
    if scope.mode == ReplayMode::Missing {
        push_missing(query, scope);
    } else {
        push_deliveries(query, scope);
    }
    // Nothing is left to send of the others.
    query.push(" AND length(e.payload) > 0");
    push_types(query, &scope.filter.event_types);
}

fn push_deliveries(query: &mut QueryBuilder<Sqlite>, scope: &Scope<'_>) {
    let filter = scope.filter;
    let application = scope.application.as_bytes().to_vec();
    query
        .push(" FROM deliveries AS d JOIN events AS e ON e.row = d.event_row WHERE d.application_id = ")
        .push_bind(application.clone())
        .push(format!(" AND d.state {}", condition(filter.states())))
        .push(" AND d.id < ")
        .push_bind(DeliveryId::first_of(scope.end).as_bytes().to_vec());
    if let Some(since) = filter.since {
        // No delivery is older than its event.
        let first = DeliveryId::first_of(since);
        query.push(" AND d.id >= ").push_bind(first.as_bytes().to_vec());
    }
    // The sign keeps the list from being taken for the way in: the order is the ids'.
    query.push(" AND +d.subscription_id IN (SELECT id FROM subscriptions WHERE application_id = ");
    query.push_bind(application).push(" AND state = 'active')");
    if let [one] = filter.subscription_ids[..] {
        query.push(" AND d.subscription_id = ").push_bind(one.as_bytes().to_vec());
    } else if !filter.subscription_ids.is_empty() {
        query.push(" AND +d.subscription_id IN (");
        let mut list = query.separated(", ");
        for id in &filter.subscription_ids {
            list.push_bind(id.as_bytes().to_vec());
        }
        query.push(")");
    }
    if let Some(outcome) = filter.error {
        query.push(" AND d.last_outcome = ").push_bind(outcome_code(outcome));
    }
    push_times(query, "e.accepted_at", filter.since, filter.until);
}

/// An event's id is of the time it was stored at, which is shortly after it was accepted: by ids are
/// found those that may be meant, and by the column those that are.
/// Hookmill's own events go to whom they were made for, and to nobody else.
fn push_missing(query: &mut QueryBuilder<Sqlite>, scope: &Scope<'_>) {
    let filter = scope.filter;
    query
        .push(" FROM events AS e WHERE e.type NOT GLOB 'hookmill.*' AND e.application_id = ")
        .push_bind(scope.application.as_bytes().to_vec())
        .push(" AND e.id < ")
        .push_bind(EventId::first_of(scope.end).as_bytes().to_vec());
    push_times(query, "e.accepted_at", filter.since, filter.until);
    push_ids(query, "e.id", (filter.since, filter.until), |at| *EventId::first_of(at).as_bytes());
    push_types(query, scope.listening);
    query
        .push(" AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_row = e.row AND subscription_id = ")
        .push_bind(only(scope).as_bytes().to_vec())
        .push(")");
}

/// The one subscription of a scope of mode `missing`.
fn only(scope: &Scope<'_>) -> SubscriptionId {
    let first = scope.filter.subscription_ids.first().copied();
    // None has that id: nothing would be found.
    first.unwrap_or_else(|| SubscriptionId::from_bytes([0; 16]))
}

#[async_trait]
impl Recovery for SqliteStore {
    async fn create_replay(&self, replay: &Replay, keep: u32) -> Result<()> {
        let application = replay.application.as_bytes().as_slice();
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        sqlx::query(
            "DELETE FROM replays WHERE row IN
             (SELECT row FROM replays WHERE application_id = ? AND state IN ('done', 'cancelled')
              ORDER BY id DESC LIMIT -1 OFFSET ?)",
        )
        .bind(application)
        .bind(i64::from(keep))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let sql =
            format!("INSERT INTO replays ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        sqlx::query(AssertSqlSafe(sql))
            .bind(replay.id.as_bytes().as_slice())
            .bind(application)
            .bind(word(&replay.mode)?)
            .bind(json(&replay.filter)?)
            .bind(replay.per_second.map(i64::from))
            .bind(word(&replay.state)?)
            .bind(replay.cursor.as_slice())
            .bind(replay.total as i64)
            .bind(replay.taken as i64)
            .bind(millis(replay.created_at))
            .bind(replay.finished_at.map(millis))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    async fn replay(&self, application: ApplicationId, id: ReplayId) -> Result<Replay> {
        let sql = format!("SELECT {COLUMNS} FROM replays WHERE application_id = ? AND id = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(application.as_bytes().as_slice())
            .bind(id.as_bytes().as_slice())
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        replay_from(&row)
    }

    async fn replays(
        &self,
        application: ApplicationId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Page<Replay>> {
        let mut query =
            QueryBuilder::new(format!("SELECT {COLUMNS} FROM replays WHERE application_id = "));
        query.push_bind(application.as_bytes().to_vec());
        if let Some(before) = before {
            query.push(" AND id < ").push_bind(before.as_bytes().to_vec());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await.map_err(failed)?;
        Ok(page(rows.iter().map(replay_from).collect::<Result<_>>()?, limit))
    }

    async fn running_replays(&self) -> Result<Vec<Replay>> {
        let sql = format!("SELECT {COLUMNS} FROM replays WHERE state = 'running' ORDER BY row");
        let rows =
            sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(replay_from).collect()
    }

    async fn move_replay(
        &self,
        id: ReplayId,
        from: &[ReplayState],
        to: ReplayState,
        now: Timestamp,
    ) -> Result<bool> {
        let mut write = self.write().await?;
        let changed = sqlx::query(
            "UPDATE replays SET state = ?1, finished_at = ?2
             WHERE id = ?3 AND state IN (SELECT value FROM json_each(?4))",
        )
        .bind(word(&to)?)
        .bind(to.is_final().then(|| millis(now)))
        .bind(id.as_bytes().as_slice())
        .bind(json(&from)?)
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        Ok(changed.rows_affected() > 0)
    }

    async fn replay_progress(&self, id: ReplayId) -> Result<ReplayProgress> {
        let rows: Vec<(i64, bool, i64)> = sqlx::query_as(
            "SELECT state, last_outcome IS NOT NULL, count(*) FROM deliveries
             WHERE replay = (SELECT row FROM replays WHERE id = ?) GROUP BY 1, 2",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let mut progress = ReplayProgress::default();
        for (code, tried, count) in rows {
            let count = u64::try_from(count).unwrap_or_default();
            *match (state(code)?, tried) {
                (DeliveryState::Pending | DeliveryState::Delivering, false) => {
                    &mut progress.waiting
                }
                (DeliveryState::Pending | DeliveryState::Delivering, true) => {
                    &mut progress.retrying
                }
                (DeliveryState::Succeeded, _) => &mut progress.succeeded,
                (DeliveryState::Dead, _) => &mut progress.failed,
                (DeliveryState::Filtered, _) => &mut progress.filtered,
                (DeliveryState::Held, _) => &mut progress.held,
                (DeliveryState::Cancelled, _) => &mut progress.cancelled,
            } += count;
        }
        Ok(progress)
    }

    async fn replay_waiting(&self, id: ReplayId) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM deliveries
             WHERE replay = (SELECT row FROM replays WHERE id = ?) AND state IN (0, 1)
               AND last_outcome IS NULL",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn count_candidates(&self, scope: &Scope<'_>) -> Result<u64> {
        let mut query = QueryBuilder::new("SELECT count(*)");
        push_scope(&mut query, scope);
        let count: i64 =
            query.build_query_scalar().fetch_one(&self.readers).await.map_err(failed)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn candidates(
        &self,
        scope: &Scope<'_>,
        after: [u8; 16],
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let missing = scope.mode == ReplayMode::Missing;
        let (columns, place) = if missing {
            ("SELECT e.id, e.row, e.id", "e.id")
        } else {
            ("SELECT d.id, d.row, e.id, d.subscription_id", "d.id")
        };
        let mut query = QueryBuilder::new(columns);
        push_scope(&mut query, scope);
        query.push(format!(" AND {place} > ")).push_bind(after.to_vec());
        query.push(format!(" ORDER BY {place} LIMIT ")).push_bind(i64::from(limit));
        let rows = query.build().fetch_all(&self.readers).await.map_err(failed)?;
        let candidate = |row: &SqliteRow| {
            let subscription = match missing {
                true => only(scope),
                false => SubscriptionId::from_bytes(bytes16(col(row, 3)?)?),
            };
            Ok(Candidate {
                place: bytes16(col(row, 0)?)?,
                row: col(row, 1)?,
                subscription,
                event: EventId::from_bytes(bytes16(col(row, 2)?)?),
            })
        };
        rows.iter().map(candidate).collect()
    }

    async fn take(&self, replay: &Replay, takes: &[Take], now: Timestamp) -> Result<Option<u64>> {
        let Some(last) = takes.last() else { return Ok(Some(0)) };
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let number: Option<i64> = sqlx::query_scalar(
            "UPDATE replays SET cursor = ?1 WHERE id = ?2 AND state = 'running' AND cursor = ?3
             RETURNING row",
        )
        .bind(last.candidate.place.as_slice())
        .bind(replay.id.as_bytes().as_slice())
        .bind(replay.cursor.as_slice())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        let Some(number) = number else { return Ok(None) };
        let taken = match replay.mode {
            ReplayMode::Original => {
                make_due(&mut transaction, number, replay.filter.states(), takes, now).await?
            }
            ReplayMode::Rerun | ReplayMode::Missing => {
                let mut taken = 0;
                for take in takes {
                    let row = take.candidate.row;
                    let Some(fresh) = take.fresh else { continue };
                    taken += u64::from(if replay.mode == ReplayMode::Missing {
                        self.add_missing(&mut transaction, number, take, fresh, now).await?
                    } else {
                        let states = replay.filter.states();
                        self.make_anew(&mut transaction, Some(number), row, states, fresh, now)
                            .await?
                    });
                }
                taken
            }
        };
        sqlx::query(
            "UPDATE replays SET taken = taken + ?1, total = max(total - ?3, taken + ?1)
             WHERE row = ?2",
        )
        .bind(taken as i64)
        .bind(number)
        .bind(passed_over(replay.mode, takes))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(Some(taken))
    }

    async fn rerun(
        &self,
        application: ApplicationId,
        id: DeliveryId,
        fresh: (DeliveryId, Option<PipelineId>),
        now: Timestamp,
    ) -> Result<bool> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let row = row_of(&mut transaction, application, id).await?;
        const STATES: [DeliveryState; 6] = [
            DeliveryState::Pending,
            DeliveryState::Succeeded,
            DeliveryState::Dead,
            DeliveryState::Filtered,
            DeliveryState::Held,
            DeliveryState::Cancelled,
        ];
        let made = self.make_anew(&mut transaction, None, row, &STATES, fresh, now).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(made)
    }

    async fn peek(&self, application: ApplicationId, id: DeliveryId) -> Result<Claimed> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        let row = row_of(&mut connection, application, id).await?;
        super::claim::read(&mut connection, &[row]).await?.pop().ok_or(StoreError::NotFound)
    }

    async fn undelivered(
        &self,
        application: ApplicationId,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page<ListedEvent>> {
        undelivered::list(self, application, filter, before, limit).await
    }
}

/// How many were counted that the replay is not about after all: only what they say told.
fn passed_over(mode: ReplayMode, takes: &[Take]) -> i64 {
    let missing = mode == ReplayMode::Missing;
    takes.iter().filter(|take| missing && take.fresh.is_none()).count() as i64
}

async fn row_of(
    connection: &mut SqliteConnection,
    application: ApplicationId,
    id: DeliveryId,
) -> Result<i64> {
    sqlx::query_scalar("SELECT row FROM deliveries WHERE application_id = ? AND id = ?")
        .bind(application.as_bytes().as_slice())
        .bind(id.as_bytes().as_slice())
        .fetch_one(connection)
        .await
        .map_err(failed)
}

/// Makes deliveries due that are still in one of `states`.
async fn make_due(
    connection: &mut SqliteConnection,
    replay: i64,
    states: &[DeliveryState],
    takes: &[Take],
    now: Timestamp,
) -> Result<u64> {
    let rows: Vec<i64> = takes.iter().map(|take| take.candidate.row).collect();
    let sql = format!(
        "UPDATE deliveries SET state = 0, due_at = ?, owner = 0, lease_until = 0, reason = NULL,
                finished_at = NULL, last_outcome = NULL, replay = ?
         WHERE row IN (SELECT value FROM json_each(?)) AND state {}",
        condition(states)
    );
    let changed = sqlx::query(AssertSqlSafe(sql))
        .bind(millis(now))
        .bind(replay)
        .bind(json(&rows)?)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    order::line_up(connection, &rows).await?;
    Ok(changed.rows_affected())
}

impl SqliteStore {
    /// Makes a new delivery of an old one's event for its subscription. The old one stays as
    /// it is if it was done with, else the new one takes its place.
    async fn make_anew(
        &self,
        connection: &mut SqliteConnection,
        replay: Option<i64>,
        old: i64,
        states: &[DeliveryState],
        (id, pipeline): (DeliveryId, Option<PipelineId>),
        now: Timestamp,
    ) -> Result<bool> {
        let sql = format!(
            "INSERT INTO deliveries (row, id, application_id, event_row, subscription_id, pipeline_id,
                 state, attempts, due_at, owner, lease_until, created_at, replay, order_key)
             SELECT ?1, ?2, application_id, event_row, subscription_id, ?3, 0, 0, ?4, 0, 0, ?4, ?5,
                    order_key
             FROM deliveries WHERE row = ?6 AND state {}",
            condition(states)
        );
        let row = Self::take_rows(&self.next_delivery, 1);
        let made = sqlx::query(AssertSqlSafe(sql))
            .bind(row)
            .bind(id.as_bytes().as_slice())
            .bind(pipeline.map(|pipeline| pipeline.0))
            .bind(millis(now))
            .bind(replay)
            .bind(old)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        if made.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE deliveries SET state = 6, finished_at = ?, reason = ?, owner = 0, lease_until = 0
             WHERE row = ? AND state NOT IN (2, 4, 6)",
        )
        .bind(millis(now))
        .bind(format!("run again as {id}"))
        .bind(old)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        sqlx::query(
            "UPDATE events SET deliveries = deliveries + 1
             WHERE row = (SELECT event_row FROM deliveries WHERE row = ?)",
        )
        .bind(row)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        order::line_up(connection, &[row]).await?;
        order::move_up_after(connection, old, now).await?;
        Ok(true)
    }

    /// Makes the delivery that an event lacks for a subscription.
    async fn add_missing(
        &self,
        connection: &mut SqliteConnection,
        replay: i64,
        take: &Take,
        (id, pipeline): (DeliveryId, Option<PipelineId>),
        now: Timestamp,
    ) -> Result<bool> {
        let (event, subscription) = (take.candidate.row, take.candidate.subscription);
        let subject: Option<String> = if take.ordering.is_none() {
            None
        } else {
            sqlx::query_scalar("SELECT subject FROM events WHERE row = ?")
                .bind(event)
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?
        };
        let key = take.ordering.key(subject.as_deref());
        let row = Self::take_rows(&self.next_delivery, 1);
        let made = sqlx::query(
            "INSERT INTO deliveries (row, id, application_id, event_row, subscription_id, pipeline_id,
                 state, attempts, due_at, owner, lease_until, created_at, replay, order_key)
             SELECT ?1, ?2, application_id, row, ?3, ?4, 0, 0, ?5, 0, 0, ?5, ?6, ?8
             FROM events WHERE row = ?7 AND NOT EXISTS
                 (SELECT 1 FROM deliveries WHERE event_row = ?7 AND subscription_id = ?3)",
        )
        .bind(row)
        .bind(id.as_bytes().as_slice())
        .bind(subscription.as_bytes().as_slice())
        .bind(pipeline.map(|pipeline| pipeline.0))
        .bind(millis(now))
        .bind(replay)
        .bind(event)
        .bind(key.map(|key| key.0))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        if made.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("UPDATE events SET deliveries = deliveries + 1 WHERE row = ?")
            .bind(event)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        order::line_up(connection, &[row]).await?;
        Ok(true)
    }
}
