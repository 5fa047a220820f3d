//! `POST /in/{source}`: where third parties' requests come in.
//!
//! Takes no key: the request's own signature is its proof, over its bytes as they came. Whoever
//! cannot show one is told nothing, not even whether the source exists.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Json, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    docs::{Busy, UnknownType, Unproven, Violating},
    extract::{PathParts, bytes_as_sent},
    limits,
    problem::{Code, Problem},
    refusal,
};
use crate::{
    model::{EventId, SourceId},
    sources::{NotTaken, Reason, Received, Refusal},
};

/// What a third party is told of a request that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceivedOut {
    /// The event's id; null if nobody wants it.
    id: Option<EventId>,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "github.push")]
    event_type: Option<String>,
    /// Whether it was taken before.
    repeated: bool,
}

/// Take a third party's request
///
/// Verifies the signature of the source's kind and makes an event of the request. Answered with
/// 200 once the event is on disk; a repetition is answered alike and delivered once. Slack's
/// `url_verification` is answered with its challenge.
#[utoipa::path(
    post,
    path = "/in/{source}",
    tag = "Sources",
    params(("source" = String, Path, description = "The source's id")),
    request_body(
        content(
            (serde_json::Value = "application/json"),
            (String = "application/x-www-form-urlencoded")
        ),
        description = "As the third party sends it: JSON, or a form with a field `payload`"
    ),
    responses(
        (status = 200, description = "It is on disk",
            content((ReceivedOut = "application/json"), (String = "text/plain"))),
        UnknownType, Unproven, Violating, Busy
    )
)]
pub async fn receive(
    State(api): State<Arc<Api>>,
    PathParts(source): PathParts<String>,
    request: Request,
) -> Result<Response, Problem> {
    let id: Option<SourceId> = source.parse().ok();
    let (parts, body) = bytes_as_sent(request, api.limits.load().max_body)
        .await
        .inspect_err(|problem| api.sources.unread(id, &problem.body().title))?;
    let received = api.sources.receive(id, parts.headers, body).await.map_err(problem)?;
    Ok(match received {
        Received::Event(published) => Json(ReceivedOut {
            id: Some(published.receipt.id),
            event_type: Some(published.event_type.to_string()),
            repeated: published.repeated,
        })
        .into_response(),
        Received::Ignored | Received::Dropped => {
            Json(ReceivedOut { id: None, event_type: None, repeated: false }).into_response()
        }
        Received::Challenge(text) => {
            let plain = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            ];
            (plain, text).into_response()
        }
    })
}

fn problem(not_taken: NotTaken) -> Problem {
    match not_taken {
        NotTaken::Unverified => Problem::new(
            Code::UnverifiedRequest,
            "The request has no signature that is valid here",
        )
        .detail("The URL, the secret, the signed bytes or the time is another. Whoever runs this server sees which: hookmill source refusals.")
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"hookmill\"")),
        NotTaken::Unusable(refusal) => unusable(refusal),
        NotTaken::Limited(exceeded) => limits::limited(&exceeded, 1),
        NotTaken::Rejected(rejected) => refusal::publish(rejected),
    }
}

fn unusable(Refusal { reason, detail }: Refusal) -> Problem {
    let (code, title) = match reason {
        Reason::ContentType => (Code::WrongContentType, "The body is not of a type that is taken"),
        Reason::Malformed => (Code::MalformedPayload, "The body is not acceptable JSON"),
        Reason::UnknownEventType => (Code::UnknownEventType, "There is no such event type"),
        Reason::TransformFailed => (Code::TransformFailed, "The source's plugins failed"),
        _ => (Code::UnmappableRequest, "No event can be made of the request"),
    };
    Problem::new(code, title).detail(detail)
}
