//! `--timeout`, `--connect-timeout`, `--method`: how a subscription's requests are made.

use clap::Args;
use serde_json::{Map, Value};

/// The parts of a policy that say how a request is made.
#[derive(Debug, Args)]
pub(super) struct WireFlags {
    /// Seconds an attempt may take
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Seconds of it that connecting may take
    #[arg(long, value_name = "SECONDS")]
    connect_timeout: Option<f64>,
    /// The method of its requests [default: post]
    #[arg(long, value_name = "WORD", value_parser = ["post", "put"])]
    method: Option<String>,
}

impl WireFlags {
    /// Puts what was given into a policy.
    pub(super) fn apply(&self, policy: &mut Map<String, Value>) {
        for (part, given) in [
            ("timeout_seconds", self.timeout.map(Value::from)),
            ("connect_timeout_seconds", self.connect_timeout.map(Value::from)),
            ("method", self.method.as_deref().map(Value::from)),
        ] {
            if let Some(given) = given {
                policy.insert(part.into(), given);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: WireFlags,
    }

    #[test]
    fn only_what_is_given_is_changed() {
        let mut policy = Map::from_iter([("concurrency".to_owned(), json!(3))]);
        let line = ["x", "--timeout", "2.5", "--method", "put"];
        Line::try_parse_from(line).unwrap().flags.apply(&mut policy);
        let expected = json!({"concurrency": 3, "timeout_seconds": 2.5, "method": "put"});
        assert_eq!(Value::from(policy), expected);
        assert!(Line::try_parse_from(["x", "--method", "get"]).is_err());
    }
}
