//! `POST /v1/events/batch`: many events in one request, each accepted or refused by itself.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Json,
};
use futures_util::future::join_all;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{self, Acting},
    cloudevents,
    envelope::{Envelope, publish_of},
    explain, extract,
    idempotency::idempotency_key,
    limits, observe,
    problem::{Code, Problem, ProblemBody},
    publish::{PublishedOut, accept},
};
use crate::{
    ingest::{Publish, Published, Turn, key_in_batch},
    model::media,
};

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
    events: Items<'a>,
}

/// The events of a batch, unparsed: as many as any batch may have, and how many came. A body
/// of millions of nothings must not become a list of them.
#[derive(Debug, Default)]
struct Items<'a> {
    texts: Vec<&'a [u8]>,
    count: usize,
}

/// The most that `max_batch_events` can be set to.
const MOST: usize = 10_000;

impl<'a> Items<'a> {
    fn push(&mut self, text: &'a [u8]) {
        self.texts.push(text);
        self.count += 1;
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut items = Items::default();
                while items.count < MOST {
                    let Some(item) = list.next_element::<&'de RawValue>()? else {
                        return Ok(items);
                    };
                    items.push(item.get().as_bytes());
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items.count += 1;
                }
                Ok(items)
            }
        }
        source.deserialize_seq(Reader)
    }
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
/// Takes `{"events": […]}` or the list alone; `application/x-ndjson`, one event a line; or a
/// batch of CloudEvents. Each event is accepted or refused by itself: the answer is 200 and
/// says what became of each, in their order. An `Idempotency-Key` holds for each event that has no
/// `id`, by its place, so a repeated batch delivers nothing twice.
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
    acting: Acting<auth::Publish>,
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<BatchOut>, Problem> {
    let key = idempotency_key(request.headers())?;
    take(&api, &acting, request, key).await
}

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    CloudEvents,
}

/// What a body of lines is called; the first is the most usual.
pub const LINES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

impl Form {
    const TYPES: [&str; 6] =
        [media::JSON, LINES[0], LINES[1], LINES[2], LINES[3], cloudevents::BATCH];

    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match extract::media_type(headers).as_deref() {
            Some(media::JSON) => Ok(Self::Json),
            Some(cloudevents::BATCH) => Ok(Self::CloudEvents),
            Some(lines) if Self::TYPES.contains(&lines) => Ok(Self::Lines),
            _ => Err(extract::wrong_type(headers, &Self::TYPES)),
        }
    }
}

/// Takes a batch in whatever form it comes.
pub async fn take(
    api: &Api,
    acting: &Acting<auth::Publish>,
    request: Request,
    key: Option<String>,
) -> Result<Json<BatchOut>, Problem> {
    let form = Form::of(request.headers())?;
    let (parts, body) = extract::any_bytes(request, api.limits.load().max_batch_body).await?;
    let items = match form {
        Form::Json => batch_items(&body)?,
        Form::CloudEvents => explain::json(&body)?,
        Form::Lines => lines(&body),
    };
    let most = api.limits.load().max_batch;
    if items.count > most {
        return Err(Problem::new(
            Code::BatchTooLarge,
            format!("The batch has {} events; {most} are allowed", items.count),
        )
        .member("limit", most));
    }
    let (of, by) = (&acting.application, &acting.by);
    limits::events(api, &parts.extensions, of, by, items.count)?;
    let extensions = &parts.extensions;
    let turns = Turn::each(api.clock.now());
    // All at once, so that they share transactions; stored one after the other.
    let data: Vec<BatchItem> = join_all(items.texts.into_iter().enumerate().zip(turns).map(
        |((index, item), mut turn)| {
            let event = batch_event(form, item, index, key.as_deref(), api.limits.load().max_body);
            async move {
                let result = match event {
                    Ok(event) => accept(api, extensions, acting, event, &mut turn).await,
                    Err(problem) => Err(problem),
                };
                turn.end().await;
                BatchItem::from(result)
            }
        },
    ))
    .await;
    let accepted = data.iter().filter(|item| matches!(item, BatchItem::Accepted { .. })).count();
    Ok(Json(BatchOut { accepted, refused: data.len() - accepted, data }))
}

/// The batch's events, unparsed.
fn batch_items(body: &[u8]) -> Result<Items<'_>, Problem> {
    let is_list = body.iter().find(|byte| !is_space(byte)) == Some(&b'[');
    if is_list { explain::json(body) } else { Ok(explain::json::<Batch<'_>>(body)?.events) }
}

/// Lines that are not blank. What is wrong with one is no matter of the others.
fn lines(body: &[u8]) -> Items<'_> {
    let mut all = body.split(|&byte| byte == b'\n').map(trimmed).filter(|line| !line.is_empty());
    let mut items = Items::default();
    all.by_ref().take(MOST).for_each(|line| items.push(line));
    items.count += all.count();
    items
}

/// What JSON has between its parts, and no more than that.
const fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_space(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// Copied out of the batch: an event that waits for its endpoint must not keep the other
/// events' bytes in memory.
fn batch_event(
    form: Form,
    text: &[u8],
    index: usize,
    key: Option<&str>,
    limit: usize,
) -> Result<Publish, Problem> {
    if text.len() > limit {
        return Err(Problem::new(
            Code::BodyTooLarge,
            format!("The event is larger than {limit} bytes"),
        )
        .member("limit_bytes", limit));
    }
    let text = Bytes::copy_from_slice(text);
    let mut event = match form {
        Form::Json | Form::Lines => publish_of(&text, None),
        Form::CloudEvents => cloudevents::structured(&text, None),
    }?;
    // One that has an id is known by it wherever it stands; its place says nothing.
    if event.id.is_none() {
        event.idempotency_key = key.map(|key| key_in_batch(key, index));
    }
    Ok(event)
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
            assert_eq!(batch_items(body).unwrap().count, 2);
        }
        assert_eq!(batch_items(b"{\"event\":[]}").unwrap_err().code(), Code::UnknownField);
        assert_eq!(batch_items(b"[]").unwrap().count, 0);
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
            lifecycle: Default::default(),
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
    fn a_body_of_millions_of_nothings_is_counted_and_not_kept() {
        let list = format!("[{}0]", "0,".repeat(2_000_000));
        let found = batch_items(list.as_bytes()).unwrap();
        assert_eq!((found.count, found.texts.len()), (2_000_001, MOST));
        let found = lines(&b"0\n".repeat(2_000_000)).count;
        assert_eq!(found, 2_000_000);
        assert_eq!(lines(&b"0\n".repeat(MOST + 1)).texts.len(), MOST);
        assert!(batch_items(br#"{"events":[1,2}"#).is_err() && batch_items(b"[1 2]").is_err());
    }

    #[test]
    fn each_event_of_a_batch_stands_alone() {
        let body = Bytes::from_static(br#"[{"type":"a","payload":{"x":1}},7]"#);
        let items = batch_items(&body).unwrap().texts;
        let event = |item, index, key, limit| batch_event(Form::Json, item, index, key, limit);
        let first = event(items[0], 0, Some("k"), 100).unwrap();
        assert_eq!(first.payload, r#"{"x":1}"#);
        assert_eq!(first.idempotency_key, Some(key_in_batch("k", 0)));
        let named = event(br#"{"type":"a","payload":1,"id":"7"}"#, 1, Some("k"), 100).unwrap();
        assert_eq!(named.idempotency_key, None, "it has an id of its own");
        let second = event(items[1], 1, None, 100).unwrap_err();
        assert_eq!(second.code(), Code::InvalidField);
        let large = event(items[0], 0, None, 5).unwrap_err();
        assert_eq!(large.code(), Code::BodyTooLarge);
    }

    #[test]
    fn lines_are_events_whatever_is_wrong_with_the_others() {
        let body = b"{\"a\":1}\r\n\n  \n\xff\n[\n7";
        assert_eq!(lines(body).texts, [&b"{\"a\":1}"[..], b"\xff", b"[", b"7"]);
        let fed = lines(b"\x0c7").texts;
        assert_eq!(
            batch_event(Form::Lines, fed[0], 0, None, 9).unwrap_err().code(),
            Code::MalformedJson
        );
        let bad = batch_event(Form::Lines, b"\xff", 0, None, 9).unwrap_err();
        assert_eq!(bad.code(), Code::MalformedJson);
    }
}
