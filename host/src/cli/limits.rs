//! `hookmill application limits`, `application usage`, `key limits` and `event-type limits`: what
//! somebody may take, and what is taken.
//!
//! Owns the flags and the tables. A change names the state it was made to, so what another
//! changes meanwhile is not lost.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Global,
    output::{self, Failure, count},
    policy::rate,
};

/// Own limits to set, or to leave to the server's default again.
#[derive(Debug, Args)]
struct Rates {
    /// Events that may be published, such as 100/s or 6000/m:500 with what may come at once
    #[arg(long, value_name = "RATE[:BURST]", value_parser = rate_limit)]
    events: Option<Value>,
}

/// The same, of requests.
#[derive(Debug, Args)]
struct Requests {
    /// Requests that may be made, those that publish left out
    #[arg(long, value_name = "RATE[:BURST]", value_parser = rate_limit)]
    requests: Option<Value>,
}

/// For all kinds.
#[derive(Debug, Args)]
struct Clear {
    /// Begin with none of its own
    #[arg(long)]
    clear: bool,
}

const APPLICATION_EXAMPLES: &str = "\
Without flags it shows them; with flags it changes those that are named. A limit is a value, or
the word `default`: then it is the server's again.

Examples:
  hookmill application limits shop
  hookmill application limits shop --events 100/s:500 --stored-bytes 10GiB
  hookmill application limits shop --subscriptions default
  hookmill application limits shop --clear";

const KEY_EXAMPLES: &str = "\
Without flags it shows them; with flags it changes those that are named. A key that it is replaced
by has its limits, too.

Examples:
  hookmill key limits key_01jd…
  hookmill key limits key_01jd… --events 10/s --requests default";

const EVENT_TYPE_EXAMPLES: &str = "\
Without flags it shows them; with flags it changes those that are named. The rate is each
application's own.

Example:
  hookmill event-type limits order.created --events 50/s:200 --max-payload-bytes 64KiB";

/// Show or change what an application may take
#[derive(Debug, Args)]
#[command(after_help = APPLICATION_EXAMPLES)]
pub(super) struct ApplicationLimits {
    /// Its name or id
    name: String,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    requests: Requests,
    /// Most subscriptions
    #[arg(long, value_name = "N", value_parser = number)]
    subscriptions: Option<Value>,
    /// Most versions of plugins of its own
    #[arg(long, value_name = "N", value_parser = number)]
    plugin_versions: Option<Value>,
    /// Most bytes of stored events' payloads: a number, or such as 500MiB, 10GiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    stored_bytes: Option<Value>,
    #[command(flatten)]
    clear: Clear,
}

/// Show or change what may be asked and published with a key
#[derive(Debug, Args)]
#[command(after_help = KEY_EXAMPLES)]
pub(super) struct KeyLimits {
    /// The key's id, `key_…`
    id: String,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    requests: Requests,
    #[command(flatten)]
    clear: Clear,
}

/// Show or change what may be published of an event type
#[derive(Debug, Args)]
#[command(after_help = EVENT_TYPE_EXAMPLES)]
pub(super) struct EventTypeLimits {
    /// For example order.created
    name: String,
    #[command(flatten)]
    rates: Rates,
    /// Largest payload: a number, or such as 64KiB, 1MiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_payload_bytes: Option<Value>,
    #[command(flatten)]
    clear: Clear,
}

/// Show what an application uses of what it may have
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookmill application usage shop")]
pub(super) struct Usage {
    /// Its name or id
    name: String,
}

impl ApplicationLimits {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let flags = [
            ("events", self.rates.events),
            ("requests", self.requests.requests),
            ("subscriptions", self.subscriptions),
            ("plugin_versions", self.plugin_versions),
            ("stored_bytes", self.stored_bytes),
        ];
        run(global, ["applications", &self.name], flags, self.clear.clear).await
    }
}

impl KeyLimits {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let flags = [("events", self.rates.events), ("requests", self.requests.requests)];
        run(global, ["keys", &self.id], flags, self.clear.clear).await
    }
}

impl EventTypeLimits {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let flags = [("events", self.rates.events), ("max_payload_bytes", self.max_payload_bytes)];
        run(global, ["event-types", &self.name], flags, self.clear.clear).await
    }
}

/// Shows limits of these names, once they are as the flags say.
async fn run<const N: usize>(
    global: &Global,
    [collection, name]: [&str; 2],
    flags: [(&'static str, Option<Value>); N],
    clear: bool,
) -> Result<(), Failure> {
    let client = global.client()?;
    let path = [collection, name, "limits"];
    let (mut limits, tag) = client.get_tagged(&path).await?;
    let names = flags.each_ref().map(|(name, _)| *name);
    if clear || flags.iter().any(|(_, value)| value.is_some()) {
        let own = changed(&limits["own"], flags, clear);
        limits = client.put_if(&path, &tag, &own).await?;
    }
    if global.json {
        output::json(&limits);
    } else {
        let row = |name: &str| {
            let [own, effective] = ["own", "effective"].map(|of| shown(name, &limits[of][name]));
            [name.to_owned(), own, effective]
        };
        output::table(["LIMIT", "ITS OWN", "WHAT HOLDS"], names.map(row).to_vec());
    }
    Ok(())
}

/// Own limits with those that flags name as they say, and the others as they were.
fn changed<const N: usize>(
    own: &Value,
    flags: [(&'static str, Option<Value>); N],
    clear: bool,
) -> Value {
    let before = own.as_object().filter(|_| !clear).cloned();
    let mut own: Map<String, Value> = before.unwrap_or_default();
    for (name, value) in flags {
        match value {
            None => {}
            Some(Value::Null) => drop(own.remove(name)),
            Some(value) => drop(own.insert(name.into(), value)),
        }
    }
    own.into()
}

/// A limit for people.
fn shown(name: &str, limit: &Value) -> String {
    if let Some(per_second) = limit["per_second"].as_f64() {
        let burst = limit["burst"].as_u64().map(|burst| format!(", {} at once", count(burst)));
        return format!("{per_second}/s{}", burst.unwrap_or_default());
    }
    match limit.as_u64() {
        None => "-".to_owned(),
        Some(number) if name.ends_with("bytes") => sized(number),
        Some(number) => count(number),
    }
}

/// Bytes, to the byte and in short.
fn sized(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let short = units.iter().find(|(_, bits)| bytes >= 1 << bits);
    let short =
        short.map(|(unit, bits)| format!(" ({:.1} {unit})", bytes as f64 / f64::from(1 << bits)));
    format!("{}{}", count(bytes), short.unwrap_or_default())
}

impl Usage {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let usage = global.client()?.get(&["applications", &self.name, "usage"], &[]).await?;
        if global.json {
            output::json(&usage);
            return Ok(());
        }
        let row = |name: &str| {
            [name.to_owned(), shown(name, &usage[name]), shown(name, &usage["limits"][name])]
        };
        // Of events there is no quota: their rate is another thing.
        let events = ["events".to_owned(), shown("events", &usage["events"]), "-".to_owned()];
        let rows = vec![row("subscriptions"), row("plugin_versions"), events, row("stored_bytes")];
        output::table(["WHAT", "USED", "OF"], rows);
        Ok(())
    }
}

/// The word for what the server says.
const DEFAULT: &str = "default";

/// `100/s`, `6000/m:500`, or `default`.
fn rate_limit(text: &str) -> Result<Value, String> {
    if text == DEFAULT {
        return Ok(Value::Null);
    }
    let (per_second, burst) = match text.split_once(':') {
        None => (text, None),
        Some((rate, burst)) => (rate, Some(burst)),
    };
    let mut limit = json!({"per_second": rate(per_second)?});
    if let Some(burst) = burst {
        let burst: u32 =
            burst.parse().map_err(|_| format!("{burst} is no number: write 100/s:500"))?;
        limit["burst"] = burst.into();
    }
    Ok(limit)
}

/// A number, or `default`.
fn number(text: &str) -> Result<Value, String> {
    if text == DEFAULT {
        return Ok(Value::Null);
    }
    let number: Result<u32, _> = text.parse();
    number.map(Value::from).map_err(|_| format!("{text} is neither a number nor `default`"))
}

/// `1000`, `64KiB`, `10GiB`, or `default`.
fn bytes(text: &str) -> Result<Value, String> {
    if text == DEFAULT {
        return Ok(Value::Null);
    }
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (digits, bits) = unit.unwrap_or((text, &0));
    let number = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << bits));
    number
        .map(Value::from)
        .ok_or_else(|| format!("{text} is no size: write 1000, 64KiB, 500MiB, 10GiB or `default`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_written() {
        assert_eq!(rate_limit("600/m"), Ok(json!({"per_second": 10.0})));
        assert_eq!(rate_limit("5/s:9"), Ok(json!({"per_second": 5.0, "burst": 9})));
        assert_eq!(rate_limit("default"), Ok(Value::Null));
        assert!(rate_limit("5").is_err() && rate_limit("5/s:x").is_err());
        assert_eq!(number("7"), Ok(json!(7)));
        assert!(number("-1").is_err());
        assert_eq!(
            ["0", "1000", "64KiB", "3 GiB"].map(|text| bytes(text).unwrap()),
            [json!(0), json!(1000), json!(65_536), json!(3_221_225_472_u64)]
        );
        for bad in ["", "10GB", "1.5GiB", "99999999TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_flag_names_stays_unless_all_is_cleared() {
        let own = json!({"events": {"per_second": 1.0}, "subscriptions": 3});
        let flags = || {
            [("events", Some(Value::Null)), ("requests", None), ("stored_bytes", Some(json!(5)))]
        };
        assert_eq!(changed(&own, flags(), false), json!({"subscriptions": 3, "stored_bytes": 5}));
        assert_eq!(changed(&own, flags(), true), json!({"stored_bytes": 5}));
    }

    #[test]
    fn limits_are_shown_for_people() {
        assert_eq!(
            shown("events", &json!({"per_second": 100.0, "burst": 5000})),
            "100/s, 5,000 at once"
        );
        assert_eq!(shown("events", &json!({"per_second": 0.5})), "0.5/s");
        assert_eq!(shown("stored_bytes", &json!(1_572_864)), "1,572,864 (1.5 MiB)");
        assert_eq!(shown("subscriptions", &json!(1000)), "1,000");
        assert_eq!(shown("subscriptions", &Value::Null), "-");
    }
}
