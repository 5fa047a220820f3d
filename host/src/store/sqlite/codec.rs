//! Between the model's types and SQLite's. What cannot be read back is a damaged database,
//! and says so.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use super::{Result, StoreError, failed};
use crate::model::{
    ApplicationId, AttemptOutcome, DeliveryState, Event, EventId, EventTypeName, ListedEvent,
    Timestamp, TraceContext,
};

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Failed(format!("the database holds {what} that cannot be read"))
}

pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

pub(super) fn timestamp(millis: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(millis).map_err(|_| damaged("a time"))
}

pub(super) fn bytes16(bytes: &[u8]) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| damaged("an id"))
}

/// JSON text of one of our own types.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Failed(format!("damaged record: {error}")))
}

/// The JSON word of an enum without fields.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String> {
    Ok(json(value)?.trim_matches('"').to_owned())
}

pub(super) fn from_word<T: DeserializeOwned>(word: &str) -> Result<T> {
    from_json(&format!("\"{word}\""))
}

pub(super) fn state_code(state: DeliveryState) -> i64 {
    DeliveryState::ALL.iter().position(|&s| s == state).unwrap_or_default() as i64
}

pub(super) fn state(code: i64) -> Result<DeliveryState> {
    let index = usize::try_from(code).map_err(|_| damaged("a state"))?;
    DeliveryState::ALL.get(index).copied().ok_or_else(|| damaged("a state"))
}

pub(super) fn outcome_code(outcome: AttemptOutcome) -> i64 {
    AttemptOutcome::ALL.iter().position(|&o| o == outcome).unwrap_or_default() as i64
}

pub(super) fn outcome(code: i64) -> Result<AttemptOutcome> {
    let index = usize::try_from(code).map_err(|_| damaged("an outcome"))?;
    AttemptOutcome::ALL.get(index).copied().ok_or_else(|| damaged("an outcome"))
}

/// A column as a Rust value.
pub(super) fn col<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(index).map_err(failed)
}

pub(super) fn col_u32(row: &SqliteRow, index: usize) -> Result<u32> {
    u32::try_from(col::<i64>(row, index)?).map_err(|_| damaged("a number"))
}

pub(super) fn col_u64(row: &SqliteRow, index: usize) -> Result<u64> {
    u64::try_from(col::<i64>(row, index)?).map_err(|_| damaged("a number"))
}

pub(super) fn col_time(row: &SqliteRow, index: usize) -> Result<Timestamp> {
    timestamp(col(row, index)?)
}

/// The columns that [`event`] reads, of `events AS e` joined with `applications AS a`.
pub(super) const EVENT_COLUMNS: &str = "e.id, e.application_id, a.name, e.type, e.schema_version, \
                                        e.subject, e.occurred_at, e.accepted_at, e.payload, \
                                        e.traceparent, e.tracestate, e.content_type, \
                                        e.context, e.channels";

/// How many columns that is.
pub(super) const EVENT_WIDTH: usize = 14;

/// An event from [`EVENT_COLUMNS`] that start at column `at`.
pub(super) fn event(row: &SqliteRow, at: usize) -> Result<Event> {
    Ok(Event {
        id: EventId::from_bytes(bytes16(col(row, at)?)?),
        application: ApplicationId::from_bytes(bytes16(col(row, at + 1)?)?),
        application_name: Arc::from(col::<&str>(row, at + 2)?),
        event_type: event_type(col(row, at + 3)?)?,
        schema_version: col_u32(row, at + 4)?,
        subject: col(row, at + 5)?,
        occurred_at: col_time(row, at + 6)?,
        accepted_at: col_time(row, at + 7)?,
        payload: col::<Vec<u8>>(row, at + 8)?.into(),
        trace: trace(row, at + 9)?,
        content_type: col::<Option<&str>>(row, at + 11)?.map(Arc::from),
        context: col::<Option<&str>>(row, at + 12)?.map(from_json).transpose()?.map(Arc::new),
        channels: channels(row, at + 13)?,
    })
}

/// The columns that [`listed`] reads, of `events AS e`: all but the payload, whose length alone
/// SQLite tells without reading it.
pub(super) const LISTED_COLUMNS: &str = "e.id, e.type, e.schema_version, e.subject, e.channels, \
                                         e.occurred_at, e.accepted_at, e.content_type, \
                                         length(e.payload), e.producer_id, e.deliveries, \
                                         e.violations";

/// An event of a list, from [`LISTED_COLUMNS`].
pub(super) fn listed(row: &SqliteRow) -> Result<ListedEvent> {
    let violations = col::<Option<&str>>(row, 11)?;
    Ok(ListedEvent {
        id: EventId::from_bytes(bytes16(col(row, 0)?)?),
        event_type: event_type(col(row, 1)?)?,
        schema_version: col_u32(row, 2)?,
        subject: col(row, 3)?,
        channels: channels(row, 4)?,
        occurred_at: col_time(row, 5)?,
        accepted_at: col_time(row, 6)?,
        content_type: col::<Option<&str>>(row, 7)?.map(Arc::from),
        payload_bytes: usize::try_from(col_u64(row, 8)?).map_err(|_| damaged("a length"))?,
        producer_id: col(row, 9)?,
        deliveries: col_u32(row, 10)?,
        violations: violations.map(from_json).transpose()?.unwrap_or_default(),
    })
}

fn channels(row: &SqliteRow, at: usize) -> Result<Vec<String>> {
    col::<Option<&str>>(row, at)?.map_or_else(|| Ok(Vec::new()), from_json)
}

/// One that cannot be read is none: no event is lost for its trace.
fn trace(row: &SqliteRow, at: usize) -> Result<Option<Arc<TraceContext>>> {
    let Some(parent) = col::<Option<&str>>(row, at)? else { return Ok(None) };
    Ok(TraceContext::parse(parent, col(row, at + 1)?).map(Arc::new))
}

pub(super) fn event_type(name: &str) -> Result<EventTypeName> {
    name.parse().map_err(|_| damaged("an event type"))
}
