//! `POST /v1/events/batch`: many events in one request, each accepted or refused by itself.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::Json,
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    auth::Acting,
    explain,
    extract::json_bytes,
    limits, observe,
    problem::{Code, Problem, ProblemBody},
    publish::{Envelope, PublishedOut, accept, idempotency_key, publish_of},
};
use crate::ingest::{Publish, Published};

/// Several events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchIn, example = json!({
    "events": [{"type": "order.created", "payload": {"id": 7}}]
}))]
pub struct Batch<'a> {
    /// Up to 500 events.
    #[serde(borrow)]
    #[schema(value_type = Vec<Envelope<'_>>, max_items = 500)]
    events: Vec<&'a RawValue>,
}

/// What became of each event of a batch, in their order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchOut {
    /// How many were accepted.
    pub accepted: usize,
    /// How many were refused.
    pub refused: usize,
    /// One for each event.
    pub data: Vec<BatchItem>,
}

/// What became of one event of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BatchItem {
    /// It is on disk and will be delivered.
    Accepted {
        /// 202
        status: u16,
        #[serde(flatten)]
        event: PublishedOut,
        /// Whether it was accepted before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replayed: bool,
    },
    /// It is not.
    Refused {
        /// The status it would have been answered with alone.
        status: u16,
        /// Why.
        problem: ProblemBody,
    },
}

impl From<Result<Published, Problem>> for BatchItem {
    fn from(result: Result<Published, Problem>) -> Self {
        match result {
            Ok(published) => Self::Accepted {
                status: StatusCode::ACCEPTED.as_u16(),
                replayed: published.repeated,
                event: published.into(),
            },
            Err(problem) => {
                observe::rejected(problem.code());
                Self::Refused { status: problem.status().as_u16(), problem: problem.into_body() }
            }
        }
    }
}

/// Publish several events
///
/// Takes `{"events": […]}` or the list alone. Each event is accepted or refused by itself:
/// the answer is 200 and says what became of each, in their order. An `Idempotency-Key`
/// holds for each event by its place, so a repeated batch delivers nothing twice.
#[utoipa::path(
    post,
    path = "/v1/events/batch",
    tag = "Events",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat"),
        ("traceparent" = Option<String>, Header, description = "The trace that deliveries are a part of (W3C Trace Context)"),
        ("tracestate" = Option<String>, Header, description = "Passed on with it")
    ),
    request_body(content = Batch<'_>, content_type = "application/json"),
    responses((status = 200, body = BatchOut, description = "What became of each"))
)]
pub async fn publish_batch(
    acting: Acting,
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<BatchOut>, Problem> {
    let key = idempotency_key(request.headers())?;
    let extensions = request.extensions().clone();
    let body = json_bytes(request, api.limits.max_batch_body).await?;
    let items = batch_items(&body, api.limits.max_batch)?;
    limits::events(&api, &extensions, &acting.application, &acting.by, items.len())?;
    // All at once, so that they share transactions.
    let data: Vec<BatchItem> = join_all(items.into_iter().enumerate().map(|(index, item)| {
        let event = batch_event(item, index, key.as_deref(), api.limits.max_body);
        let (api, extensions, application) = (&api, &extensions, &acting.application);
        async move {
            let result = match event {
                Ok(event) => accept(api, extensions, application, event).await,
                Err(problem) => Err(problem),
            };
            BatchItem::from(result)
        }
    }))
    .await;
    let accepted = data.iter().filter(|item| matches!(item, BatchItem::Accepted { .. })).count();
    Ok(Json(BatchOut { accepted, refused: data.len() - accepted, data }))
}

/// The batch's events, unparsed.
fn batch_items(body: &[u8], most: usize) -> Result<Vec<&RawValue>, Problem> {
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let items =
        if is_list { explain::json(body)? } else { explain::json::<Batch<'_>>(body)?.events };
    if items.len() > most {
        return Err(Problem::new(
            Code::BatchTooLarge,
            format!("The batch has {} events; {most} are allowed", items.len()),
        )
        .member("limit", most));
    }
    Ok(items)
}

/// Copied out of the batch: an event that waits for its endpoint must not keep the other
/// events' bytes in memory.
fn batch_event(
    item: &RawValue,
    index: usize,
    key: Option<&str>,
    limit: usize,
) -> Result<Publish, Problem> {
    let text = item.get().as_bytes();
    if text.len() > limit {
        return Err(Problem::new(
            Code::BodyTooLarge,
            format!("The event is larger than {limit} bytes"),
        )
        .member("limit_bytes", limit));
    }
    publish_of(&Bytes::copy_from_slice(text), key.map(|key| format!("{key}#{index}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Timestamp};

    #[test]
    fn a_batch_is_a_list_or_an_object_with_one() {
        let list = br#" [{"type":"a","payload":1},7]"#;
        let object = br#"{"events":[{"type":"a","payload":1},7]}"#;
        for body in [&list[..], &object[..]] {
            assert_eq!(batch_items(body, 2).unwrap().len(), 2);
            assert_eq!(batch_items(body, 1).unwrap_err().code(), Code::BatchTooLarge);
        }
        assert_eq!(batch_items(b"{\"event\":[]}", 2).unwrap_err().code(), Code::UnknownField);
        assert!(batch_items(b"[]", 2).unwrap().is_empty());
    }

    #[test]
    fn what_became_of_an_event_of_a_batch_is_shown_as_if_it_had_come_alone() {
        let published = Published {
            receipt: crate::store::Receipt {
                id: EventId::new(Timestamp::UNIX_EPOCH),
                schema_version: 1,
                deliveries: 2,
            },
            event_type: "a.b".parse().unwrap(),
            repeated: false,
        };
        let id = published.receipt.id.to_string();
        let shown = |item: BatchItem| serde_json::to_value(item).unwrap();
        assert_eq!(
            shown(Ok(published).into()),
            serde_json::json!(
                {"status": 202, "id": id, "type": "a.b", "schema_version": 1, "deliveries": 2}
            )
        );
        let refused = shown(Err(Problem::new(Code::UnknownEventType, "There is none")).into());
        assert_eq!((&refused["status"], &refused["problem"]["status"]), (&400.into(), &400.into()));
        assert!(refused.get("id").is_none());
    }

    #[test]
    fn each_event_of_a_batch_stands_alone() {
        let body = Bytes::from_static(br#"[{"type":"a","payload":{"x":1}},7]"#);
        let items = batch_items(&body, 9).unwrap();
        let first = batch_event(items[0], 0, Some("k"), 100).unwrap();
        assert_eq!(first.payload, r#"{"x":1}"#);
        assert_eq!(first.idempotency_key.as_deref(), Some("k#0"));
        let second = batch_event(items[1], 1, None, 100).unwrap_err();
        assert_eq!(second.code(), Code::InvalidField);
        let large = batch_event(items[0], 0, None, 5).unwrap_err();
        assert_eq!(large.code(), Code::BodyTooLarge);
    }
}
