//! Results in: attempts, what they lead to, and what pipelines came to, in one transaction
//! for a batch.

use sqlx::SqliteConnection;

use super::{
    Result, SqliteStore,
    bulk::{Bulk, Row},
    codec::{json, millis, outcome_code, state_code, word},
    failed, order,
};
use crate::{
    model::{Attempt, DeliveryState, Outcome, PipelineId, PipelineRun},
    store::{Next, Record, Switch},
};

static ATTEMPTS: Bulk = Bulk::new(
    "INSERT INTO attempts (delivery_row, number, started_at, outcome, status, error, \
         response_body, first_byte_us, total_us, dns_us, connect_us, tls_us) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "",
);
/// Only a leased delivery takes a result: one that was cancelled meanwhile stays so.
static DELIVERIES: Bulk = Bulk::new(
    "WITH result (row, state, attempts, due_at, reason, finished_at, pipeline_id, bare, outcome) \
         AS (VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ") UPDATE deliveries SET state = result.state, attempts = deliveries.attempts + result.attempts, \
         due_at = coalesce(result.due_at, deliveries.due_at), owner = 0, lease_until = 0, \
         reason = result.reason, finished_at = result.finished_at, \
         last_outcome = coalesce(result.outcome, deliveries.last_outcome), \
         pipeline_id = CASE WHEN result.bare THEN NULL \
             ELSE coalesce(result.pipeline_id, deliveries.pipeline_id) END \
         FROM result WHERE deliveries.row = result.row AND deliveries.state = 1",
);
static RUNS: Bulk = Bulk::new(
    "INSERT INTO runs (event_row, pipeline_id, kind, reason, on_error, content_type, \
         headers, body, steps) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
    // Only a failure gives way: what was sent once is what is sent again.
    "ON CONFLICT (event_row, pipeline_id) DO UPDATE SET kind = excluded.kind, \
         reason = excluded.reason, on_error = excluded.on_error, \
         content_type = excluded.content_type, headers = excluded.headers, \
         body = excluded.body, steps = excluded.steps WHERE runs.kind = 2",
);

impl SqliteStore {
    pub(super) async fn record_batch(&self, batch: &[Record]) -> Result<()> {
        let attempts: Vec<_> = batch
            .iter()
            .filter_map(|record| Some((record.delivery.delivery, record.attempt.as_ref()?)))
            .collect();
        let runs: Vec<_> = batch
            .iter()
            .filter_map(|record| {
                record.run.as_ref().map(|(id, run)| (record.delivery.event, *id, run.as_ref()))
            })
            .collect();
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        ATTEMPTS.execute(&mut transaction, &attempts, put_attempt).await?;
        insert_runs(&mut transaction, &runs).await?;
        DELIVERIES.execute(&mut transaction, batch, put_result).await?;
        order::move_up(&mut transaction, batch).await?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }

    pub(super) async fn switch_pipeline(&self, switch: &Switch) -> Result<()> {
        let mut write = self.write().await?;
        let mut transaction = write.begin().await?;
        let run = switch.run.as_ref();
        let runs: Vec<_> =
            run.map(|(id, run)| (switch.delivery.event, *id, run.as_ref())).into_iter().collect();
        insert_runs(&mut transaction, &runs).await?;
        sqlx::query("UPDATE deliveries SET pipeline_id = ? WHERE row = ? AND state = 1")
            .bind(run.map(|(id, _)| id.0))
            .bind(switch.delivery.delivery)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        write.done();
        Ok(())
    }
}

fn put_attempt(row: &mut Row<'_>, (delivery, attempt): &(i64, &Attempt)) {
    row.put(*delivery)
        .put(i64::from(attempt.number))
        .put(millis(attempt.started_at))
        .put(outcome_code(attempt.outcome))
        .put(attempt.status.map(i64::from))
        .put(attempt.error.as_deref())
        .put(attempt.response_body.as_deref())
        .put(attempt.timings.first_byte_us.map(|us| us as i64))
        .put(attempt.timings.total_us as i64)
        .put(attempt.timings.dns_us.map(|us| us as i64))
        .put(attempt.timings.connect_us.map(|us| us as i64))
        .put(attempt.timings.tls_us.map(|us| us as i64));
}

fn put_result(row: &mut Row<'_>, record: &Record) {
    let at = millis(record.at);
    let (state, due, reason, finished) = match &record.next {
        Next::Succeeded => (DeliveryState::Succeeded, None, None, Some(at)),
        Next::Retry(due) => (DeliveryState::Pending, Some(millis(*due)), None, None),
        Next::Dead(reason) => (DeliveryState::Dead, None, Some(reason.as_str()), Some(at)),
        Next::Filtered(reason) => (DeliveryState::Filtered, None, Some(reason.as_str()), Some(at)),
        Next::Held(reason) => (DeliveryState::Held, None, Some(reason.as_str()), None),
        Next::Cancelled => {
            (DeliveryState::Cancelled, None, Some("its subscription was deleted"), Some(at))
        }
    };
    row.put(record.delivery.delivery)
        .put(state_code(state))
        .put(i64::from(record.attempt.is_some()))
        .put(due)
        .put(reason)
        .put(finished)
        .put(record.run.as_ref().map(|(pipeline, _)| pipeline.0))
        .put(record.bare)
        .put(record.attempt.as_ref().map(|attempt| outcome_code(attempt.outcome)));
}

/// A run as the columns of its row.
struct RunRow<'a> {
    event: i64,
    pipeline: PipelineId,
    kind: i64,
    reason: Option<&'a str>,
    on_error: Option<String>,
    content_type: Option<&'a str>,
    headers: Option<String>,
    body: Option<&'a [u8]>,
    steps: String,
}

impl<'a> RunRow<'a> {
    fn new(event: i64, pipeline: PipelineId, run: &'a PipelineRun) -> Result<Self> {
        let mut row = Self {
            event,
            pipeline,
            kind: 0,
            reason: None,
            on_error: None,
            content_type: None,
            headers: None,
            body: None,
            steps: json(&run.steps)?,
        };
        match &run.outcome {
            Outcome::Send(message) => {
                row.content_type = Some(&message.content_type);
                row.headers =
                    (!message.headers.is_empty()).then(|| json(&message.headers)).transpose()?;
                row.body = run.changes_body().then_some(&message.body);
            }
            Outcome::Drop { reason } => {
                row.kind = 1;
                row.reason = Some(reason);
            }
            Outcome::Fail { on_error, reason } => {
                row.kind = 2;
                row.on_error = Some(word(on_error)?);
                row.reason = Some(reason);
            }
        }
        Ok(row)
    }
}

async fn insert_runs(
    connection: &mut SqliteConnection,
    runs: &[(i64, PipelineId, &PipelineRun)],
) -> Result<()> {
    let rows = runs
        .iter()
        .map(|(event, pipeline, run)| RunRow::new(*event, *pipeline, run))
        .collect::<Result<Vec<_>>>()?;
    RUNS.execute(connection, &rows, |row, run| {
        row.put(run.event)
            .put(run.pipeline.0)
            .put(run.kind)
            .put(run.reason)
            .put(run.on_error.as_deref())
            .put(run.content_type)
            .put(run.headers.as_deref())
            .put(run.body)
            .put(run.steps.as_str());
    })
    .await
}
