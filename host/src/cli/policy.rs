//! `hookmill subscription policy`, and the flags it shares with `hookmill subscribe`: how a
//! subscription's deliveries are made.

use clap::Args;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::{
    Global, input,
    output::{self, Failure},
    signing::SigningFlags,
    wire_flags::WireFlags,
};

/// Parts of a policy.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub(super) struct PolicyFlags {
    /// Most attempts under way at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// When failed attempts are repeated, as JSON: {"schedule":[0,5,300]}
    #[arg(long, value_name = "JSON|@FILE")]
    retry: Option<String>,
    /// How many attempts may begin in a time: 10/s, 600/m, 100/h
    #[arg(long, value_name = "N/UNIT", value_parser = rate)]
    rate_limit: Option<f64>,
    /// How many may begin at once after a pause [default: a second's worth]
    #[arg(long, value_name = "N", requires = "rate_limit")]
    burst: Option<u32>,
    /// Give up what is older than this: 30m, 6h, 3d; 0 for no limit
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    max_age: Option<u64>,
    /// Deliver in order: none, by-subject, strict
    #[arg(long, value_name = "WORD", value_parser = ["none", "by-subject", "strict"])]
    ordering: Option<String>,
    /// Give up a failing event that others wait for after this time: 30m, 6h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ordering_patience: Option<u64>,
    /// Disable it after this time of nothing but failures: 12h, 5d; 0 for never
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    disable_after: Option<u64>,
    #[command(flatten)]
    wire: WireFlags,
    #[command(flatten)]
    signing: SigningFlags,
}

impl PolicyFlags {
    /// Puts what was given into a policy; the rest of it stays.
    pub(super) fn apply(&self, policy: &mut Map<String, Value>) -> Result<(), Failure> {
        if let Some(retry) = &self.retry {
            policy.insert("retry".into(), input::json_argument(retry)?);
        }
        if let Some(per_second) = self.rate_limit {
            let mut rate = json!({"per_second": per_second});
            if let Some(burst) = self.burst {
                rate["burst"] = burst.into();
            }
            policy.insert("rate_limit".into(), rate);
        }
        self.wire.apply(policy);
        self.signing.apply(policy)?;
        let ordering = self.ordering.as_ref().map(|word| word.replace('-', "_").into());
        for (part, value) in [
            ("concurrency", self.concurrency.map(Value::from)),
            ("max_age_seconds", self.max_age.map(Value::from)),
            ("ordering", ordering),
            ("ordering_patience_seconds", self.ordering_patience.map(Value::from)),
            ("disable_after_seconds", self.disable_after.map(Value::from)),
        ] {
            if let Some(value) = value {
                policy.insert(part.into(), value);
            }
        }
        Ok(())
    }
}

/// Change how a subscription's deliveries are made, or show it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill subscription policy sub_01jd… --rate-limit 10/s --max-age 6h\n  hookmill subscription policy sub_01jd… --default retry"
)]
pub(super) struct ChangePolicy {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    #[command(flatten)]
    flags: PolicyFlags,
    /// Leave a part to the server's default; repeat for more
    #[arg(long = "default", value_name = "PART")]
    defaults: Vec<String>,
}

impl ChangePolicy {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let path = ["subscriptions", &*self.id];
        let mut subscription = client.get(&path, &[]).await?;
        let before = match subscription["policy"].take() {
            Value::Object(policy) => policy,
            _ => Map::new(),
        };
        let mut policy = before.clone();
        for part in &self.defaults {
            let part = part.replace('-', "_");
            // A time is named without its unit, as its flag is.
            if policy.remove(&part).is_none() {
                policy.remove(&format!("{part}_seconds"));
            }
        }
        self.flags.apply(&mut policy)?;
        if policy != before {
            let changed = client.patch(&path, &json!({"policy": policy})).await?;
            policy = changed["policy"].as_object().cloned().unwrap_or_default();
        }
        if global.json {
            output::json(&policy.into());
        } else if policy.is_empty() {
            output::data("the server's defaults");
        } else {
            for (part, value) in &policy {
                output::data(format_args!("{part:<26} {}", output::plain(value)));
            }
        }
        Ok(())
    }
}

/// `10/s`, `600/m`, `100/h` as attempts a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text} is no rate: write 10/s, 600/m or 100/h");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    number.parse::<f64>().map(|number| number / seconds).map_err(|_| wrong())
}

/// `90s`, `30m`, `6h`, `3d`, or a number of seconds.
fn seconds(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let time = match days {
        Some(days) => days.checked_mul(86_400),
        None => text.parse::<SignedDuration>().ok().and_then(|d| u64::try_from(d.as_secs()).ok()),
    };
    time.ok_or_else(|| format!("{text} is no time: write 90s, 30m, 6h or 3d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_read_as_written() {
        assert_eq!(rate("10/s"), Ok(10.0));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert_eq!(rate("36/h"), Ok(0.01));
        assert!(rate("10").is_err() && rate("x/s").is_err() && rate("1/d").is_err());
        assert_eq!(
            ["90", "90s", "30m", "6h", "3d"].map(|t| seconds(t).unwrap()),
            [90, 90, 1800, 21_600, 259_200]
        );
        assert!(seconds("soon").is_err() && seconds("-1h").is_err());
    }

    #[test]
    fn flags_change_what_they_name_and_leave_the_rest() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            flags: PolicyFlags,
        }
        let line = "x --rate-limit 60/m --burst 5 --ordering by-subject --max-age 1h";
        let flags = <Line as clap::Parser>::parse_from(line.split(' ')).flags;
        let mut policy =
            json!({"concurrency": 3, "max_age_seconds": 9}).as_object().unwrap().clone();
        flags.apply(&mut policy).unwrap();
        let expected = json!({"concurrency": 3, "max_age_seconds": 3600, "ordering": "by_subject",
            "rate_limit": {"per_second": 1.0, "burst": 5}});
        assert_eq!(Value::from(policy), expected);
    }
}
