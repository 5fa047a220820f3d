//! The transactions of ingestion: many waiting requests to each, and what follows a commit.
//! Never checks or matches: what waits here was found acceptable.

use std::sync::Arc;

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::mpsc,
};

use super::{Shared, Waiting};
use crate::{
    delivery::Ready,
    model::{SubscriptionId, SubscriptionState},
    store::{Appended, NewEvent},
    tail::{Happened, What},
};

/// Makes transactions on a thread of its own. A transaction has a dozen turns of waiting for
/// the database; as a task it would stand behind all other requests at each of them, and all
/// whose events are in it would wait so much longer the more others are being refused.
pub(super) fn start(shared: Arc<Shared>, waiting: mpsc::Receiver<Waiting>) {
    let handle = Handle::current();
    if handle.runtime_flavor() == RuntimeFlavor::CurrentThread {
        // A test's runtime, whose clock must not move while another thread works.
        tokio::spawn(append_batches(shared, waiting));
        return;
    }
    let on_thread = {
        let work = append_batches(shared, waiting);
        std::thread::Builder::new()
            .name("hookmill-ingest".to_owned())
            .spawn(move || handle.block_on(work))
    };
    if let Err(error) = on_thread {
        // The queue's receiver is gone with the closure: what is published is answered 500.
        tracing::error!(%error, "the system gives no thread to store events with");
    }
}

/// While one transaction is on its way to the disk, the requests for the next gather.
pub(super) async fn append_batches(shared: Arc<Shared>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(shared.settings.batch);
    while waiting.recv_many(&mut batch, shared.settings.batch).await > 0 {
        shared.batch_size.record(batch.len() as f64);
        let (news, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Waiting { new, answer }| (new, answer)).unzip();
        match shared.store.append(&news, shared.dispatcher.lease()).await {
            Ok(appended) => {
                for ((new, appended), answer) in news.into_iter().zip(appended).zip(answers) {
                    shared.hand_over(&new, &appended);
                    // Whoever asked may be gone; what they asked for is done.
                    let _gone = answer.send(Ok(appended));
                }
            }
            Err(error) => {
                tracing::error!(%error, events = news.len(), "events could not be stored");
                for (new, answer) in news.iter().zip(answers) {
                    shared.give_back(new);
                    let _gone = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// An event that is on disk, for those who watch.
fn accepted(new: &NewEvent) -> Happened {
    let event = &new.event;
    Happened {
        application: event.application,
        event_type: event.event_type.clone(),
        what: What::Event {
            event_id: event.id,
            at: event.accepted_at,
            subject: event.subject.clone(),
            deliveries: new.deliveries.len(),
        },
    }
}

impl Shared {
    fn hand_over(&self, new: &NewEvent, appended: &Appended) {
        let Appended::New(keys) = appended else { return self.give_back(new) };
        self.accepted.increment(1);
        self.created.increment(keys.len() as u64);
        self.dispatcher.tail().show(|| accepted(new));
        let deliveries = || new.deliveries.iter().zip(keys);
        let ready: Vec<Ready> = deliveries()
            .filter(|(delivery, _)| delivery.leased)
            .map(|(delivery, &key)| Ready {
                key,
                id: delivery.id,
                subscription: delivery.subscription,
                pipeline: delivery.pipeline,
            })
            .collect();
        if !ready.is_empty() {
            self.dispatcher.accept(new.event.clone(), ready);
        }
        for delivery in new.deliveries.iter().filter(|d| !d.leased) {
            if delivery.held {
                self.resume_if_active(delivery.subscription);
            } else {
                self.dispatcher.wake(delivery.subscription, new.event.accepted_at);
            }
        }
    }

    fn give_back(&self, new: &NewEvent) {
        for delivery in new.deliveries.iter().filter(|d| d.leased) {
            self.dispatcher.unreserve(delivery.subscription);
        }
    }

    /// A subscription resumed or deleted between the match and the commit would never see a
    /// delivery that was stored as held.
    fn resume_if_active(&self, id: SubscriptionId) {
        let state = self.catalog.subscription(id).map(|subscription| subscription.state);
        if !matches!(state, None | Some(SubscriptionState::Active)) {
            return;
        }
        let catalog = self.catalog.clone();
        tokio::spawn(async move {
            let settled = match state {
                Some(_) => catalog.resume_held(id).await,
                None => catalog.cancel_orphans(id).await,
            };
            if let Err(error) = settled {
                tracing::error!(subscription = %id, %error, "held deliveries could not be settled");
            }
        });
    }
}
