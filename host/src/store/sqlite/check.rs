//! What must hold of a database, looked at from outside: SQLite's own rules, and ours. Reads
//! only.

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::{Connection, SqliteConnection};

use super::{
    MIGRATIONS, Result, StoreError,
    backup::{alone, reading},
    codec::{bytes16, col},
    failed, log, usage,
};
use crate::model::{ApplicationId, DeliveryId, EventId, Sha256};

/// The one rule that `compact` mends.
pub const COUNTED: &str = "what an application's events take is counted right";
/// Examples shown of each violation.
const EXAMPLES: usize = 5;

/// Something that must hold and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What must hold.
    pub rule: &'static str,
    /// How often it does not.
    pub count: u64,
    /// Some of the places.
    pub examples: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Rules looked at.
    pub rules: usize,
    /// Those that do not hold.
    pub broken: Vec<Broken>,
    /// Events, deliveries and attempts in it.
    pub events: u64,
    /// Deliveries in it.
    pub deliveries: u64,
    /// Attempts in it.
    pub attempts: u64,
    /// What its log holds that is not in the file yet.
    pub log: log::LogState,
}

/// A rule, the places where it does not hold, and what an id in them is. A place is an id,
/// and a text beside it.
struct Rule(&'static str, fn([u8; 16]) -> String, &'static str);

fn event(id: [u8; 16]) -> String {
    EventId::from_bytes(id).to_string()
}

fn delivery(id: [u8; 16]) -> String {
    DeliveryId::from_bytes(id).to_string()
}

fn application(id: [u8; 16]) -> String {
    ApplicationId::from_bytes(id).to_string()
}

fn nothing(_: [u8; 16]) -> String {
    String::new()
}

/// States: 0 pending, 1 delivering, 2 succeeded, 3 dead, 4 filtered, 5 held, 6 cancelled.
const RULES: &[Rule] = &[
    Rule(
        "every delivery has its event",
        delivery,
        "SELECT id, '' FROM deliveries AS d WHERE NOT EXISTS (SELECT 1 FROM events WHERE row = d.event_row)",
    ),
    Rule(
        "a delivery belongs to the application of its event",
        delivery,
        "SELECT d.id, '' FROM deliveries AS d JOIN events AS e ON e.row = d.event_row
         WHERE e.application_id <> d.application_id",
    ),
    // One that is being let go of has lost its payload first.
    Rule(
        "an event has as many deliveries as it says",
        event,
        "SELECT id, found || ' of ' || deliveries FROM
             (SELECT id, deliveries, length(payload) AS bytes,
                     (SELECT count(*) FROM deliveries WHERE event_row = e.row) AS found FROM events AS e)
         WHERE found > deliveries OR (found < deliveries AND bytes > 0)",
    ),
    Rule(
        "what is still to be delivered has its payload",
        delivery,
        "SELECT d.id, '' FROM events AS e JOIN deliveries AS d ON d.event_row = e.row
         WHERE length(e.payload) = 0 AND d.state IN (0, 1, 5)",
    ),
    Rule(
        "a delivery is in a state that there is",
        delivery,
        "SELECT id, 'state ' || state FROM deliveries WHERE state NOT BETWEEN 0 AND 6",
    ),
    Rule(
        "what is over has the time when it ended, and nothing else has",
        delivery,
        "SELECT id, 'state ' || state FROM deliveries
         WHERE (state IN (2, 3, 4, 6)) <> (finished_at IS NOT NULL)",
    ),
    Rule(
        "what is under way has an owner and a lease, and nothing else has an owner",
        delivery,
        "SELECT id, 'state ' || state FROM deliveries
         WHERE (state = 1 AND (owner = 0 OR lease_until = 0)) OR (state <> 1 AND owner <> 0)",
    ),
    Rule(
        "what is still to be delivered has a subscription",
        delivery,
        "SELECT id, 'state ' || state FROM deliveries AS d
         WHERE state IN (0, 1, 5) AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE id = d.subscription_id)",
    ),
    Rule(
        "a delivery's pipeline is there",
        delivery,
        "SELECT id, 'pipeline ' || pipeline_id FROM deliveries AS d
         WHERE pipeline_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pipelines WHERE id = d.pipeline_id)",
    ),
    // The last attempt of one that was cancelled meanwhile is on record, and not counted.
    Rule(
        "no more attempts are on record than a delivery made",
        delivery,
        "SELECT id, found || ' of ' || attempts FROM
             (SELECT id, attempts, state, (SELECT count(*) FROM attempts WHERE delivery_row = d.row) AS found
              FROM deliveries AS d)
         WHERE found > attempts + (state = 6)",
    ),
    Rule(
        "every attempt has its delivery",
        nothing,
        "SELECT zeroblob(16), 'delivery row ' || delivery_row FROM attempts AS t
         WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE row = t.delivery_row)",
    ),
    Rule(
        "every pipeline run has its event and its pipeline",
        nothing,
        "SELECT zeroblob(16), 'event row ' || event_row || ', pipeline ' || pipeline_id FROM runs AS r
         WHERE NOT EXISTS (SELECT 1 FROM events WHERE row = r.event_row)
            OR NOT EXISTS (SELECT 1 FROM pipelines WHERE id = r.pipeline_id)",
    ),
    Rule(
        "a pipeline's components are there",
        nothing,
        "SELECT zeroblob(16), 'pipeline ' || p.id || ', ' || (s.value ->> 'name')
         FROM pipelines AS p, json_each(p.steps) AS s
         WHERE NOT EXISTS (SELECT 1 FROM components WHERE sha256 = unhex(s.value ->> 'sha256'))",
    ),
    Rule(
        "a plugin has one live version at most",
        nothing,
        "SELECT zeroblob(16), name FROM plugins GROUP BY owner, name HAVING sum(live) > 1",
    ),
    Rule(
        "an event belongs to an application",
        event,
        "SELECT id, '' FROM events AS e WHERE NOT EXISTS (SELECT 1 FROM applications WHERE id = e.application_id)",
    ),
    Rule(COUNTED, application, usage::MISCOUNTED),
];

/// Looks at a database that no server has open.
pub async fn check(path: &Path) -> Result<Checked> {
    let _alone = alone(path)?;
    let log = log::inspect(path)
        .map_err(|error| StoreError::Failed(format!("cannot read the log: {error}")))?;
    let mut connection =
        SqliteConnection::connect_with(&reading(path)).await.map_err(|error| unreadable(&error))?;
    let found = look(&mut connection, log).await;
    // It only read.
    let _closed = connection.close().await;
    found
}

async fn look(connection: &mut SqliteConnection, log: log::LogState) -> Result<Checked> {
    let mut broken = Vec::new();
    if let Some(frame) = log.damaged {
        broken.push(Broken {
            rule: "the log beside the file is whole",
            count: 1,
            examples: vec![format!("frame {frame} cannot be read, {} bytes are lost", log.rest)],
        });
    }
    let damage = integrity(connection).await?;
    let sound = damage.count == 0;
    broken.extend(Some(damage).filter(|_| !sound));
    let mut checked =
        Checked { rules: RULES.len() + 4, broken, events: 0, deliveries: 0, attempts: 0, log };
    if !sound {
        // What else is wrong follows from that, and reading on may fail.
        return Ok(checked);
    }
    known_version(connection).await?;
    checked.broken.extend(foreign_keys(connection).await?);
    for rule in RULES {
        checked.broken.extend(places(connection, rule).await?);
    }
    checked.broken.extend(components(connection).await?);
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM deliveries), (SELECT count(*) FROM attempts)",
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    (checked.events, checked.deliveries, checked.attempts) =
        (count(counts.0), count(counts.1), count(counts.2));
    Ok(checked)
}

/// Refuses a database whose log lost what was committed.
pub(super) fn log_is_whole(path: &Path) -> Result<()> {
    let log = log::log_of(path);
    let state = log::inspect(path)
        .map_err(|error| StoreError::Failed(format!("cannot read {}: {error}", log.display())))?;
    let Some(frame) = state.damaged else {
        if state.rest > 0 {
            // Either an earlier turn of the log left it, or a transaction was never completed.
            tracing::info!(
                bytes = state.rest,
                "what follows the log's last transaction is not read"
            );
        }
        return Ok(());
    };
    Err(StoreError::Failed(format!(
        "{} is damaged at frame {frame}: committed changes behind it, {} bytes, cannot be read. Restore a \
         backup, or go on without them: hookmill check --cut-log --database {}",
        log.display(),
        state.rest,
        path.display()
    )))
}

/// A file so damaged that it cannot be opened is a finding, not a failure to look.
fn unreadable(error: &sqlx::Error) -> StoreError {
    StoreError::Failed(format!("it cannot be read: {error}"))
}

async fn integrity(connection: &mut SqliteConnection) -> Result<Broken> {
    let found: sqlx::Result<Vec<String>> =
        sqlx::query_scalar("PRAGMA integrity_check(100)").fetch_all(connection).await;
    let mut lines = found.unwrap_or_else(|error| vec![error.to_string()]);
    lines.retain(|line| line != "ok");
    let count = lines.len() as u64;
    lines.truncate(EXAMPLES);
    Ok(Broken { rule: "SQLite finds the file whole", count, examples: lines })
}

async fn known_version(connection: &mut SqliteConnection) -> Result<()> {
    let newest = MIGRATIONS.iter().map(|&(version, ..)| version).max().unwrap_or_default();
    let found: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await
            .map_err(|_| StoreError::Failed("it is no database of Hookmill's".to_owned()))?;
    match found {
        Some(version) if version == newest => Ok(()),
        Some(version) if version > newest => Err(StoreError::Failed(format!(
            "it was written by a newer version of Hookmill (its form is {version}, this program knows {newest})"
        ))),
        _ => Err(StoreError::Failed(
            "it was written by an older version of Hookmill: start `hookmill serve` on it once"
                .to_owned(),
        )),
    }
}

async fn foreign_keys(connection: &mut SqliteConnection) -> Result<Option<Broken>> {
    let rows =
        sqlx::query("PRAGMA foreign_key_check").fetch_all(connection).await.map_err(failed)?;
    let examples = rows
        .iter()
        .take(EXAMPLES)
        .map(|row| {
            Ok(format!("a row of {} names none of {}", col::<&str>(row, 0)?, col::<&str>(row, 2)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let count = rows.len() as u64;
    let rule = "what a row refers to is there";
    Ok((count > 0).then_some(Broken { rule, count, examples }))
}

async fn places(connection: &mut SqliteConnection, rule: &Rule) -> Result<Option<Broken>> {
    let &Rule(rule, name, sql) = rule;
    let mut broken = Broken { rule, count: 0, examples: Vec::new() };
    let mut rows = sqlx::query(sql).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        broken.count += 1;
        if broken.examples.len() < EXAMPLES {
            let place = format!("{} {}", name(bytes16(col(&row, 0)?)?), col::<&str>(&row, 1)?);
            broken.examples.push(place.trim().to_owned());
        }
    }
    Ok((broken.count > 0).then_some(broken))
}

async fn components(connection: &mut SqliteConnection) -> Result<Option<Broken>> {
    let rule = "a component is what its digest says";
    let mut broken = Broken { rule, count: 0, examples: Vec::new() };
    let mut rows = sqlx::query("SELECT sha256, bytes FROM components").fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let (digest, bytes): (&[u8], &[u8]) = (col(&row, 0)?, col(&row, 1)?);
        if Sha256::of(bytes).0 != digest {
            broken.count += 1;
            broken.examples.push(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    broken.examples.truncate(EXAMPLES);
    Ok((broken.count > 0).then_some(broken))
}
