//! Hookmill's own events: what an operator should hear of, delivered as any event is.
//!
//! Owns which notices become events, of which type, for whom, and how many of them. Never
//! waits in the way of what it tells of. An event of its own that cannot be delivered makes no
//! other.

mod backlog;
mod event;
mod limit;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::{
    backlog::{BacklogLimits, watch as watch_backlog},
    event::{Builtin, builtin},
};
use self::{event::Own, limit::Limiter};
use crate::{
    catalog::Catalog,
    clock::Clock,
    ingest::{Ingest, OwnEvent},
    model::{Application, Notice, SubscriptionId},
};

/// Makes events of notices, until the last teller is gone.
pub async fn tell(
    mut heard: mpsc::Receiver<Notice>,
    catalog: Arc<Catalog>,
    ingest: Ingest,
    clock: Clock,
) {
    let mut teller = Teller { catalog, ingest, clock, limiter: Limiter::default() };
    while let Some(notice) = heard.recv().await {
        let kind = notice.as_str();
        metrics::counter!("hookmill_notices_total", "kind" => kind).increment(1);
        tracing::debug!(?notice, "a notice");
        if teller.goes_round_in_circles(&notice) {
            continue;
        }
        let now = teller.clock.now();
        match teller.limiter.admit(&notice, now) {
            Some(suppressed) => teller.publish(&notice, suppressed).await,
            None => {
                metrics::counter!("hookmill_notices_suppressed_total", "kind" => kind).increment(1);
            }
        }
    }
}

struct Teller {
    catalog: Arc<Catalog>,
    ingest: Ingest,
    clock: Clock,
    limiter: Limiter,
}

impl Teller {
    /// A breaker of a subscription to these very events would be told of by events that wait
    /// for it, and each try of them may open it again.
    fn goes_round_in_circles(&self, notice: &Notice) -> bool {
        let id = match notice {
            Notice::BreakerOpened { subscription, .. }
            | Notice::BreakerClosed { subscription, .. } => *subscription,
            _ => return false,
        };
        let found = self.catalog.subscription(id);
        found.is_some_and(|found| found.event_types.iter().any(|pattern| pattern.is_reserved()))
    }

    /// For the application concerned, and for the operator's own.
    async fn publish(&self, notice: &Notice, suppressed: u64) {
        let concerned = event::application(notice).and_then(|id| self.catalog.application(id));
        let name = concerned.as_ref().map(|application| application.name.clone());
        let own = Own::of(notice, name.as_deref(), suppressed, self.clock.now());
        let operator = self.catalog.application_named(Application::OPERATOR);
        let also = operator.filter(|operator| concerned.as_ref() != Some(operator));
        for application in concerned.into_iter().chain(also) {
            self.publish_for(&application, &own).await;
        }
    }

    async fn publish_for(&self, application: &Application, own: &Own) {
        let event = OwnEvent {
            event_type: own.event_type,
            subject: own.subject.clone(),
            payload: own.payload.to_string().into(),
        };
        // Nobody is told of himself: his endpoint is what is in trouble.
        let others = |id: SubscriptionId| Some(id) != own.about;
        if let Err(error) = self.ingest.publish_own(application, event, others).await {
            metrics::counter!("hookmill_notices_lost_total").increment(1);
            tracing::warn!(%error, event_type = own.event_type, "a notice was lost");
        }
    }
}
