//! Letting go of what is old: candidates are looked up by a reader, and the writer is held for
//! one bounded transaction a step, in which they are looked at again.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    Result, SqliteStore, answers,
    codec::{bytes16, json, millis, timestamp},
    failed, order,
    usage::{Counted, Going},
};
use crate::{
    clock::Stopwatch,
    model::{SubscriptionId, Timestamp},
    store::{Old, PurgeStep, Purged, Swept},
};

/// Events looked at in a step, whether anything becomes of them or not.
const LOOKED_AT: i64 = 500;
/// Rows of each table that a sweep removes.
const SWEPT_AT_ONCE: i64 = 1_000;
/// Lines of history kept of each plugin: rolling back needs the last one that says which
/// version was live.
const HISTORY_KEPT: i64 = 1_000;

/// What one transaction is to let go of.
#[derive(Default)]
struct Chosen {
    /// Events it is done with afterwards.
    events: Vec<i64>,
    /// Their deliveries, or some of those of an event that has too many for one step.
    deliveries: Vec<i64>,
    /// That event.
    partly: Option<i64>,
    /// Old enough, but not to be touched.
    kept: u64,
    /// The last event looked at.
    through: i64,
}

impl SqliteStore {
    pub(super) async fn purge_step(&self, step: &PurgeStep) -> Result<Purged> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        let old = old_events(&mut reader, step).await?;
        let Some(&last) = old.last() else {
            return Ok(Purged { through: step.after, done: true, ..Purged::default() });
        };
        let chosen = choose(&mut reader, step, &old).await?;
        let mut purged = Purged { through: chosen.through, kept: chosen.kept, ..Purged::default() };
        purged.done = chosen.through >= last && (old.len() as i64) < LOOKED_AT;
        if !purged.done {
            purged.next = accepted_after(&mut reader, chosen.through).await?;
        }
        drop(reader);
        if !chosen.deliveries.is_empty() || !chosen.events.is_empty() {
            self.let_go(step, chosen, &mut purged).await?;
        }
        Ok(purged)
    }

    async fn let_go(
        &self,
        step: &PurgeStep,
        mut chosen: Chosen,
        purged: &mut Purged,
    ) -> Result<()> {
        let mut write = self.write().await?;
        let held = Stopwatch::start();
        let mut transaction = write.begin().await?;
        if let Some(before) = step.cancel_before {
            (purged.cancelled, purged.moved) =
                cancel(&mut transaction, &chosen, before, step.before).await?;
        }
        still_over(&mut transaction, &mut chosen).await?;
        let mut counted = Counted::default();
        match step.what {
            Old::Payloads => {
                let events = json(&chosen.events)?;
                purged.payloads = payloads(&mut transaction, &events, &mut counted).await?;
            }
            Old::Attempts => {
                purged.attempts = attempts(&mut transaction, &json(&chosen.deliveries)?).await?;
            }
            Old::Events => whole(&mut transaction, &chosen, &mut counted, purged).await?,
        }
        transaction.commit().await.map_err(failed)?;
        self.usages.take_over(counted);
        purged.held = held.elapsed();
        write.done();
        Ok(())
    }

    pub(super) async fn sweep_rest(&self, now: Timestamp) -> Result<Swept> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        // Asked first: the writer is left alone when there is nothing to do.
        let expired: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM idempotency WHERE expires_at <= ?1)
                                    OR EXISTS (SELECT 1 FROM answers WHERE expires_at <= ?1)",
        )
        .bind(millis(now))
        .fetch_one(&mut *reader)
        .await
        .map_err(failed)?;
        let history: Vec<i64> = sqlx::query_scalar(
            "SELECT row FROM (SELECT row, row_number() OVER (PARTITION BY owner, name ORDER BY row DESC) AS n
                              FROM plugin_history) WHERE n > ? LIMIT ?",
        )
        .bind(HISTORY_KEPT)
        .bind(SWEPT_AT_ONCE)
        .fetch_all(&mut *reader)
        .await
        .map_err(failed)?;
        let failures: Vec<i64> = sqlx::query_scalar(
            "SELECT row FROM plugin_failures AS f WHERE NOT EXISTS
                 (SELECT 1 FROM plugins AS p WHERE p.name = f.name AND p.version = f.version
                  AND p.sha256 = f.sha256) LIMIT ?",
        )
        .bind(SWEPT_AT_ONCE)
        .fetch_all(&mut *reader)
        .await
        .map_err(failed)?;
        drop(reader);
        if !expired && history.is_empty() && failures.is_empty() {
            return Ok(Swept::default());
        }
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let keys = sqlx::query(
            "DELETE FROM idempotency WHERE (application_id, key) IN
             (SELECT application_id, key FROM idempotency WHERE expires_at <= ? LIMIT ?)",
        )
        .bind(millis(now))
        .bind(SWEPT_AT_ONCE)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?
        .rows_affected();
        let answers = answers::sweep(&mut transaction, now, SWEPT_AT_ONCE).await?;
        let swept = Swept {
            keys: keys + answers,
            history: delete(&mut transaction, "plugin_history", "row", &json(&history)?).await?,
            failures: delete(&mut transaction, "plugin_failures", "row", &json(&failures)?).await?,
        };
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(swept)
    }
}

/// The next events that were accepted early enough. Rows are given in the order of
/// acceptance, but for the few of one moment, so the first that is too young ends the walk.
async fn old_events(connection: &mut SqliteConnection, step: &PurgeStep) -> Result<Vec<i64>> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT row, accepted_at FROM events WHERE row > ? ORDER BY row LIMIT ?")
            .bind(step.after)
            .bind(LOOKED_AT)
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    let before = millis(step.before);
    Ok(rows.into_iter().take_while(|&(_, at)| at < before).map(|(row, _)| row).collect())
}

async fn accepted_after(connection: &mut SqliteConnection, row: i64) -> Result<Option<Timestamp>> {
    let at: Option<i64> =
        sqlx::query_scalar("SELECT accepted_at FROM events WHERE row > ? ORDER BY row LIMIT 1")
            .bind(row)
            .fetch_optional(connection)
            .await
            .map_err(failed)?;
    at.map(timestamp).transpose()
}

/// Which of the old events, and which of their deliveries, one transaction can take.
async fn choose(
    connection: &mut SqliteConnection,
    step: &PurgeStep,
    old: &[i64],
) -> Result<Chosen> {
    let events = json(&old)?;
    let kept = kept(connection, step, &events).await?;
    let (mut rows, cut) = match step.what {
        Old::Payloads => (gone_payloads(connection, &events).await?, None),
        Old::Attempts | Old::Events => deliveries_of(connection, step, &events).await?,
    };
    let mut chosen = Chosen { through: step.after, ..Chosen::default() };
    let most = step.rows as usize;
    let mut room = most;
    for &event in old {
        let mine = rows.remove(&event);
        let nothing_left = match step.what {
            Old::Payloads => mine.is_some(),
            Old::Attempts => mine.is_none() && cut.is_none_or(|cut| event < cut),
            Old::Events => false,
        };
        if nothing_left || kept.contains(&event) {
            chosen.kept += u64::from(!nothing_left);
            chosen.through = event;
            continue;
        }
        let mut mine = mine.unwrap_or_default();
        if cut.is_some_and(|cut| event >= cut) || mine.len() >= room {
            if chosen.events.is_empty() {
                // Too many for one transaction: it comes again for the rest.
                mine.truncate(most);
                chosen.deliveries = mine;
                chosen.partly = Some(event);
            }
            break;
        }
        room -= 1 + mine.len();
        chosen.deliveries.append(&mut mine);
        chosen.events.push(event);
        chosen.through = event;
    }
    Ok(chosen)
}

/// Those whose payload is gone already, as a map like that of [`deliveries_of`].
async fn gone_payloads(
    connection: &mut SqliteConnection,
    events: &str,
) -> Result<HashMap<i64, Vec<i64>>> {
    let rows: Vec<i64> = sqlx::query_scalar(
        "SELECT row FROM events WHERE row IN (SELECT value FROM json_each(?)) AND length(payload) = 0",
    )
    .bind(events)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|row| (row, Vec::new())).collect())
}

/// Their deliveries that the step is about, oldest event first, as many as it may touch; and,
/// if there are more, the event with which they end.
async fn deliveries_of(
    connection: &mut SqliteConnection,
    step: &PurgeStep,
    events: &str,
) -> Result<(HashMap<i64, Vec<i64>>, Option<i64>)> {
    let sql = if step.what == Old::Attempts {
        "SELECT d.event_row, d.row FROM deliveries AS d
         WHERE d.event_row IN (SELECT value FROM json_each(?1))
           AND EXISTS (SELECT 1 FROM attempts AS t WHERE t.delivery_row = d.row)
         ORDER BY d.event_row LIMIT ?2"
    } else {
        "SELECT d.event_row, d.row FROM deliveries AS d
         WHERE d.event_row IN (SELECT value FROM json_each(?1)) ORDER BY d.event_row LIMIT ?2"
    };
    let rows: Vec<(i64, i64)> = sqlx::query_as(sql)
        .bind(events)
        .bind(i64::from(step.rows) + 1)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let more = rows.len() > step.rows as usize;
    let cut = rows.last().filter(|_| more).map(|&(event, _)| event);
    let mut by_event: HashMap<i64, Vec<i64>> = HashMap::new();
    for (event, delivery) in rows {
        by_event.entry(event).or_default().push(delivery);
    }
    Ok((by_event, cut))
}

/// Those with a delivery that has not ended, or ended too lately. Where the open ones may be
/// cancelled, they are no obstacle once their event is old enough for that.
async fn kept(
    connection: &mut SqliteConnection,
    step: &PurgeStep,
    events: &str,
) -> Result<HashSet<i64>> {
    let rows: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT d.event_row FROM deliveries AS d JOIN events AS e ON e.row = d.event_row
         WHERE d.event_row IN (SELECT value FROM json_each(?1))
           AND (d.state = 1 OR d.finished_at >= ?2
                OR (d.state IN (0, 5) AND (?3 IS NULL OR e.accepted_at >= ?3)))",
    )
    .bind(events)
    .bind(millis(step.before))
    .bind(step.cancel_before.map(millis))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().collect())
}

/// Ends the open deliveries of what was chosen and is older than even they may become.
async fn cancel(
    connection: &mut SqliteConnection,
    chosen: &Chosen,
    before: Timestamp,
    finished: Timestamp,
) -> Result<(u64, Vec<SubscriptionId>)> {
    let events: Vec<i64> = chosen.events.iter().copied().chain(chosen.partly).collect();
    // As of then, so that they do not keep their event for another while.
    let done: Vec<(i64, Option<i64>, Vec<u8>)> = sqlx::query_as(
        "UPDATE deliveries SET state = 6, owner = 0, lease_until = 0, finished_at = min(created_at, ?3),
                reason = 'it waited for longer than retain_unfinished_days'
         WHERE state IN (0, 5) AND event_row IN
             (SELECT row FROM events WHERE row IN (SELECT value FROM json_each(?1)) AND accepted_at < ?2)
         RETURNING row, order_key, subscription_id",
    )
    .bind(json(&events)?)
    .bind(millis(before))
    .bind(millis(finished))
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut moved = BTreeSet::new();
    for (row, _, subscription) in done.iter().filter(|(_, key, _)| key.is_some()) {
        order::move_up_after(connection, *row, finished).await?;
        moved.insert(SubscriptionId::from_bytes(bytes16(subscription)?));
    }
    Ok((done.len() as u64, moved.into_iter().collect()))
}

/// Takes out what was made due again since it was chosen.
async fn still_over(connection: &mut SqliteConnection, chosen: &mut Chosen) -> Result<()> {
    let events: Vec<i64> = chosen.events.iter().copied().chain(chosen.partly).collect();
    let open: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT o.event_row, d.row FROM deliveries AS o JOIN deliveries AS d ON d.event_row = o.event_row
         WHERE o.event_row IN (SELECT value FROM json_each(?)) AND o.state IN (0, 1, 5)",
    )
    .bind(json(&events)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    chosen.events.retain(|event| open.iter().all(|(found, _)| found != event));
    chosen.partly = chosen.partly.filter(|event| open.iter().all(|(found, _)| found != event));
    chosen.deliveries.retain(|delivery| open.iter().all(|(_, found)| found != delivery));
    Ok(())
}

/// An empty payload is one that is no longer kept: no JSON text is empty. What was made of it
/// goes with it; what the steps did stays.
async fn payloads(
    connection: &mut SqliteConnection,
    events: &str,
    counted: &mut Counted,
) -> Result<u64> {
    counted.go(connection, events, Going::Payload).await?;
    sqlx::query(
        "UPDATE runs SET body = NULL, headers = NULL
         WHERE event_row IN (SELECT value FROM json_each(?)) AND (body IS NOT NULL OR headers IS NOT NULL)",
    )
    .bind(events)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let done = sqlx::query(
        "UPDATE events SET payload = x'' WHERE row IN (SELECT value FROM json_each(?))",
    )
    .bind(events)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected())
}

async fn attempts(connection: &mut SqliteConnection, deliveries: &str) -> Result<u64> {
    delete(connection, "attempts", "delivery_row", deliveries).await
}

/// Events with all that belongs to them. Of one that is taken in parts, the payload goes
/// first: from then on it is an event that is going.
async fn whole(
    connection: &mut SqliteConnection,
    chosen: &Chosen,
    counted: &mut Counted,
    purged: &mut Purged,
) -> Result<()> {
    let (events, deliveries) = (json(&chosen.events)?, json(&chosen.deliveries)?);
    if let Some(partly) = chosen.partly {
        payloads(connection, &json(&[partly])?, counted).await?;
    }
    counted.go(connection, &events, Going::Whole).await?;
    purged.attempts = attempts(connection, &deliveries).await?;
    purged.deliveries = delete(connection, "deliveries", "row", &deliveries).await?;
    delete(connection, "runs", "event_row", &events).await?;
    purged.events = delete(connection, "events", "row", &events).await?;
    Ok(())
}

/// Deletes the rows of `table` whose `column` is in a JSON list.
async fn delete(
    connection: &mut SqliteConnection,
    table: &str,
    column: &str,
    list: &str,
) -> Result<u64> {
    if list == "[]" {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Sqlite>::new(format!(
        "DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each("
    ));
    query.push_bind(list).push("))");
    Ok(query.build().execute(connection).await.map_err(failed)?.rows_affected())
}
