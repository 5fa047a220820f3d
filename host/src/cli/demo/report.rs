//! What the demo says at the end.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::cli::output::{self, Failure};

/// Most lines of each list of particulars.
const SHOWN: usize = 12;

/// One subscription's part.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) pipeline: String,
    pub(super) delivered: u64,
    pub(super) filtered: u64,
    pub(super) dead: u64,
    /// Why deliveries died, counted.
    pub(super) reasons: BTreeMap<String, u64>,
    /// From the 202 to the arrival, in order; zero if it arrived before the 202 was read.
    pub(super) waits: Vec<Duration>,
    /// From the POST to the arrival, in order.
    pub(super) trips: Vec<Duration>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) accepted: u64,
    /// Event type and reason of each.
    pub(super) rejected: Vec<(String, String)>,
    /// What does not add up.
    pub(super) faults: Vec<String>,
    /// From the first POST to the last arrival.
    pub(super) seconds: f64,
}

/// A quantile of sorted durations, in microseconds.
fn quantile(sorted: &[Duration], q: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    let index = (last as f64 * q).round() as usize;
    u64::try_from(sorted.get(index)?.as_micros()).ok()
}

fn time(sorted: &[Duration], q: f64) -> String {
    quantile(sorted, q).map_or_else(|| "–".into(), output::micros)
}

/// The end of a long reason: a violation quotes what it found before it says what is wrong.
fn shortened(reason: &str) -> String {
    match reason.char_indices().rev().nth(79) {
        Some((start, _)) if start > 0 => format!("… {}", &reason[start..]),
        _ => reason.to_owned(),
    }
}

impl Report {
    fn totals(&self) -> Row {
        let mut total = Row { name: "all", ..Row::default() };
        for row in &self.rows {
            total.delivered += row.delivered;
            total.filtered += row.filtered;
            total.dead += row.dead;
            total.waits.extend(&row.waits);
            total.trips.extend(&row.trips);
        }
        total.waits.sort_unstable();
        total.trips.sort_unstable();
        total
    }

    fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.accepted as f64 / self.seconds } else { 0.0 }
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        if !self.rejected.is_empty() {
            text += "\nrejected by their schema:\n";
            let mut types: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
            for (event_type, reason) in &self.rejected {
                types.entry(event_type).or_insert((0, reason)).0 += 1;
            }
            for (event_type, (count, reason)) in types.iter().take(SHOWN) {
                text += &format!("  {count} × {event_type}  {}\n", shortened(reason));
            }
            if types.len() > SHOWN {
                text += &format!("  … and {} more event types\n", types.len() - SHOWN);
            }
        }
        let total = self.totals();
        let rows = self.rows.iter().chain([&total]).map(|row| {
            [
                row.name.to_owned(),
                if row.name == "all" {
                    String::new()
                } else if row.pipeline.is_empty() {
                    "(none)".into()
                } else {
                    row.pipeline.clone()
                },
                output::count(row.delivered),
                output::count(row.filtered),
                output::count(row.dead),
                time(&row.waits, 0.5),
                time(&row.waits, 0.99),
            ]
        });
        let headers = ["SUBSCRIPTION", "PIPELINE", "DELIVERED", "FILTERED", "DEAD", "P50", "P99"];
        text += &format!("\n{}\n\n", output::grid(headers, rows.collect()));
        let sent = self.accepted + self.rejected.len() as u64;
        let facts = [
            ("sent", output::count(sent)),
            ("rejected by schema", output::count(self.rejected.len() as u64)),
            ("delivered, signature verified", output::count(total.delivered)),
            ("filtered", output::count(total.filtered)),
            ("dead", output::count(total.dead)),
            (
                "accept → arrival",
                format!("p50 {}  p99 {}", time(&total.waits, 0.5), time(&total.waits, 0.99)),
            ),
            (
                "post → arrival",
                format!("p50 {}  p99 {}", time(&total.trips, 0.5), time(&total.trips, 0.99)),
            ),
            ("events per second", format!("{:.0}", self.per_second())),
        ];
        for (name, value) in facts {
            text += &format!("{name:<31}{value}\n");
        }
        for row in &self.rows {
            for (reason, count) in &row.reasons {
                text += &format!("dead in {}: {count} × {reason}\n", row.name);
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let times = |sorted: &[Duration]| json!({"p50_us": quantile(sorted, 0.5), "p99_us": quantile(sorted, 0.99)});
        let row = |row: &Row| {
            json!({
                "name": row.name, "pipeline": row.pipeline, "delivered": row.delivered,
                "filtered": row.filtered, "dead": row.dead, "reasons": row.reasons,
                "accept_to_arrival": times(&row.waits), "post_to_arrival": times(&row.trips),
            })
        };
        json!({
            "sent": self.accepted + self.rejected.len() as u64,
            "accepted": self.accepted,
            "rejected_by_schema": self.rejected.iter()
                .map(|(event_type, reason)| json!({"type": event_type, "reason": reason}))
                .collect::<Vec<_>>(),
            "total": row(&self.totals()),
            "subscriptions": self.rows.iter().map(row).collect::<Vec<_>>(),
            "seconds": self.seconds,
            "events_per_second": self.per_second(),
            "unaccounted": self.faults,
        })
    }

    /// Fails if anything is missing, forged or died: the receiver takes everything.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let total = self.totals();
        if self.accepted == 0 || total.delivered == 0 {
            return Err(Failure::failed("nothing was delivered"));
        }
        if !self.faults.is_empty() {
            let count = self.faults.len();
            let mut failure = Failure::failed(format!("{count} deliveries do not add up"));
            for fault in self.faults.iter().take(SHOWN) {
                failure = failure.line(fault);
            }
            return Err(failure);
        }
        if total.dead > 0 {
            return Err(Failure::failed(format!("{} deliveries died", total.dead)));
        }
        output::say(format_args!(
            "every delivery is accounted for: {} arrived and verified, {} filtered",
            output::count(total.delivered),
            output::count(total.filtered)
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let waits: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        Report {
            rows: vec![Row {
                name: "archive",
                delivered: 100,
                waits: waits.clone(),
                trips: waits,
                ..Row::default()
            }],
            accepted: 100,
            rejected: vec![("github.push".into(), "/ref  is missing".into())],
            faults: Vec::new(),
            seconds: 2.0,
        }
    }

    #[test]
    fn the_table_carries_every_number() {
        let text = report().table();
        for part in [
            "1 × github.push  /ref  is missing",
            "sent                           101",
            "51 ms",
            "99 ms",
            "events per second              50",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn only_a_balance_without_faults_and_deaths_is_good() {
        assert!(report().verdict().is_ok());
        assert!(Report { faults: vec!["x".into()], ..report() }.verdict().is_err());
        assert!(Report { accepted: 0, ..report() }.verdict().is_err());
        let mut dead = report();
        dead.rows[0].dead = 1;
        assert!(dead.verdict().is_err());
    }

    #[test]
    fn long_reasons_keep_their_end() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{} is not right", "ü".repeat(200));
        let short = shortened(&long);
        assert!(short.starts_with("… ü") && short.ends_with(" is not right"), "{short}");
    }

    #[test]
    fn quantiles_of_nothing_are_none() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[Duration::from_micros(7)], 0.99), Some(7));
    }
}
