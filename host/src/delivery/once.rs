//! One attempt to send a delivery to another URL, for tests: it changes nothing.
//!
//! Owns what of the subscription goes there and what does not. Never records anything.

use url::Url;

use super::{
    Dispatcher,
    job::{Job, SharedEvent},
    request,
};
use crate::{
    model::{Attempt, Message, Outcome, Subscription},
    store::Claimed,
};

/// Its pipeline has made nothing that could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the delivery's pipeline has made no message yet")]
pub struct NothingToSend;

impl Dispatcher {
    /// Sends what a delivery sends to `url`, signed with its subscription's secrets and under
    /// its id. The guard of where requests may go holds. The subscription's own headers stay:
    /// credentials for its endpoint may be among them.
    pub async fn send_once(
        &self,
        delivery: Claimed,
        subscription: &Subscription,
        url: Url,
    ) -> Result<Attempt, NothingToSend> {
        let message = message(&delivery)?;
        let (board, transport) = self.sending();
        let started_at = board.clock.now();
        let elsewhere = Subscription { endpoint: url, headers: [].into(), ..subscription.clone() };
        let event = SharedEvent::new(delivery.event.clone());
        let body = message.as_ref().map_or_else(|| event.event.payload.clone(), |m| m.body.clone());
        let job = Job::claimed(delivery, event, started_at);
        let request = request::request(
            &board.settings(),
            &job,
            &elsewhere,
            message.as_ref(),
            body,
            started_at,
        );
        let exchange = transport.send(request).await;
        Ok(exchange.into_attempt(job.next_number(), started_at))
    }
}

/// What it sends; none for the payload itself.
fn message(delivery: &Claimed) -> Result<Option<Message>, NothingToSend> {
    if delivery.pipeline.is_none() {
        return Ok(None);
    }
    match delivery.run.as_ref().map(|run| &run.outcome) {
        Some(Outcome::Send(message)) => Ok(Some(message.clone())),
        Some(Outcome::Drop { .. } | Outcome::Fail { .. }) | None => Err(NothingToSend),
    }
}
