//! What a record says to those who watch. Never decides anything and never waits.

use crate::{
    model::{DeliveryId, DeliveryState, Event, SubscriptionId},
    store::{Next, Record},
    tail::{Happened, Tried, What},
};

/// A record, as it is on disk now.
pub(super) fn happened(
    event: &Event,
    delivery: DeliveryId,
    subscription: SubscriptionId,
    record: &Record,
) -> Happened {
    let (state, reason, again) = match &record.next {
        Next::Succeeded => (DeliveryState::Succeeded, None, None),
        Next::Retry(at) => (DeliveryState::Pending, None, Some(*at)),
        Next::Dead(why) => (DeliveryState::Dead, Some(why), None),
        Next::Filtered(why) => (DeliveryState::Filtered, Some(why), None),
        Next::Held(why) => (DeliveryState::Held, Some(why), None),
        Next::Cancelled => (DeliveryState::Cancelled, None, None),
    };
    let attempt = record.attempt.as_ref().map(|attempt| Tried {
        number: attempt.number,
        outcome: attempt.outcome,
        status: attempt.status,
        error: attempt.error.clone(),
    });
    Happened {
        application: event.application,
        event_type: event.event_type.clone(),
        what: What::Delivery {
            delivery_id: delivery,
            event_id: event.id,
            subscription_id: subscription,
            at: record.at,
            state,
            attempt,
            reason: reason.cloned(),
            next_attempt_at: again,
        },
    }
}
