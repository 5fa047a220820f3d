//! Balances what the server says against what arrived.
//!
//! Owns the meaning of "accounted for": every promised delivery is listed once, and each that
//! succeeded was received, with a signature that holds; each that was filtered did not arrive.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    plan::Route,
    receiver::{Arrival, Receiver},
    report::{Report, Row},
    traffic::{Accepted, Sent},
};
use crate::cli::output::field;

/// Makes the report.
pub(super) fn balance(
    routes: &[Route],
    sent: Sent,
    receiver: &Receiver,
    deliveries: &[Value],
) -> Report {
    let arrivals = receiver.arrivals();
    let mut rows: Vec<Row> = routes
        .iter()
        .map(|route| Row { name: route.name, pipeline: route.pipeline.clone(), ..Row::default() })
        .collect();
    let mut faults = Vec::new();
    let mut listed: HashMap<String, u64> = HashMap::new();
    for delivery in deliveries {
        let event_id = field(delivery, "event_id");
        let subscription = field(delivery, "subscription_id");
        let Some(event) = sent.accepted.get(&event_id) else { continue };
        let Some(at) = routes.iter().position(|route| route.id == subscription) else { continue };
        *listed.entry(event_id).or_default() += 1;
        let id = field(delivery, "id");
        if let Err(fault) =
            enter(&mut rows[at], at, &routes[at], delivery, event, arrivals.get(&id))
        {
            faults.push(format!("{id} to {}: {fault}", routes[at].name));
        }
    }
    for (id, event) in &sent.accepted {
        let found = listed.get(id).copied().unwrap_or(0);
        if found != event.deliveries {
            faults.push(format!(
                "{id}: {} deliveries were promised, {found} exist",
                event.deliveries
            ));
        }
    }
    for row in &mut rows {
        row.waits.sort_unstable();
        row.trips.sort_unstable();
    }
    let end = arrivals.values().map(|arrival| arrival.at).max();
    let seconds = match (sent.began, end) {
        (Some(began), Some(end)) => end.saturating_duration_since(began).as_secs_f64(),
        _ => 0.0,
    };
    Report { rows, accepted: sent.accepted.len() as u64, rejected: sent.rejected, faults, seconds }
}

/// Enters one delivery; an error is what does not add up about it.
fn enter(
    row: &mut Row,
    at: usize,
    route: &Route,
    delivery: &Value,
    event: &Accepted,
    arrival: Option<&Arrival>,
) -> Result<(), String> {
    let state = field(delivery, "state");
    match (&*state, arrival) {
        ("succeeded", None) => Err("succeeded, but did not arrive".into()),
        ("succeeded", Some(arrival)) => {
            if let Some(why) = &arrival.unverified {
                return Err(format!("arrived, but its signature does not hold: {why}"));
            }
            if arrival.route != at {
                return Err("arrived at another subscription's endpoint".into());
            }
            if route.verbatim && arrival.sha256 != event.sha256 {
                return Err("arrived with another payload than was sent".into());
            }
            row.delivered += 1;
            row.waits.push(arrival.at.saturating_duration_since(event.at));
            row.trips.push(arrival.at.saturating_duration_since(event.posted));
            Ok(())
        }
        ("filtered", None) => {
            row.filtered += 1;
            Ok(())
        }
        ("filtered", Some(_)) => Err("was filtered, but arrived".into()),
        ("dead", _) => {
            row.dead += 1;
            let reason = field(delivery, "reason");
            *row.reasons.entry(reason).or_default() += 1;
            Ok(())
        }
        (other, _) => Err(format!("is {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{clock::Clock, model::Sha256};

    fn outcome(state: &str, arrival: Option<&Arrival>) -> Result<Row, String> {
        let now = Clock::system().instant();
        let route =
            Route { id: "sub_1".into(), name: "n", pipeline: String::new(), verbatim: true };
        let event = Accepted { at: now, posted: now, deliveries: 1, sha256: Sha256::of(b"{}") };
        let mut row = Row::default();
        let delivery = json!({"state": state, "reason": "r"});
        enter(&mut row, 0, &route, &delivery, &event, arrival).map(|()| row)
    }

    fn arrival(body: &[u8]) -> Arrival {
        let at = Clock::system().instant();
        Arrival { at, route: 0, unverified: None, sha256: Sha256::of(body) }
    }

    #[test]
    fn what_adds_up_is_counted() {
        assert_eq!(outcome("succeeded", Some(&arrival(b"{}"))).unwrap().delivered, 1);
        assert_eq!(outcome("filtered", None).unwrap().filtered, 1);
        assert_eq!(outcome("dead", None).unwrap().reasons["r"], 1);
    }

    #[test]
    fn what_does_not_is_a_fault() {
        assert!(outcome("succeeded", None).is_err());
        assert!(outcome("succeeded", Some(&arrival(b"[]"))).is_err());
        assert!(outcome("succeeded", Some(&Arrival { route: 1, ..arrival(b"{}") })).is_err());
        let forged = Arrival { unverified: Some("no".into()), ..arrival(b"{}") };
        assert!(outcome("succeeded", Some(&forged)).is_err());
        assert!(outcome("filtered", Some(&arrival(b"{}"))).is_err());
        assert!(outcome("pending", None).is_err());
    }
}
