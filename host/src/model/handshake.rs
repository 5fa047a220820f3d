//! The CloudEvents webhook handshake: what an endpoint is asked, and what it answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// What an endpoint is asked before anything is delivered to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// Who wants to send: a DNS name, sent as `WebHook-Request-Origin`.
    #[schema(example = "events.shop.example")]
    pub origin: String,
    /// Requests a minute that are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub rate: Option<u32>,
}

impl Handshake {
    const MAX_ORIGIN: usize = 253;

    /// Why it cannot be used, naming the offending part.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let label = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if self.origin.len() > Self::MAX_ORIGIN || !self.origin.split('.').all(label) {
            let why =
                format!("is {:?}; a DNS name such as events.shop.example is needed", self.origin);
            return Err(("origin", why));
        }
        match self.rate {
            Some(0) => Err(("rate", "is 0; at least 1 a minute is needed".into())),
            _ => Ok(()),
        }
    }
}

/// How an endpoint answered when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeRecord {
    /// Where it was asked.
    pub endpoint: Url,
    /// As whom.
    pub origin: String,
    /// When.
    pub at: Timestamp,
    /// Requests a minute it allows; none for any number.
    pub rate: Option<u32>,
    /// Why deliveries may not be sent; none if they may.
    pub refused: Option<String>,
    /// Whether the subscription was active, and is paused until the endpoint allows it.
    pub waiting: bool,
}

impl HandshakeRecord {
    /// Whether this answer permits sending there as that.
    pub fn permits(&self, endpoint: &Url, asked: &Handshake) -> bool {
        self.refused.is_none() && self.endpoint == *endpoint && self.origin == asked.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_dns_name() {
        let check = |origin: &str, rate| Handshake { origin: origin.into(), rate }.check();
        assert_eq!(check("events.shop.example", Some(1)), Ok(()));
        for bad in ["", "a..b", "https://x.example", "a b", &"a".repeat(254)] {
            assert_eq!(check(bad, None).unwrap_err().0, "origin", "{bad}");
        }
        assert_eq!(check("x", Some(0)).unwrap_err().0, "rate");
    }

    #[test]
    fn a_permission_is_for_one_endpoint_and_one_origin() {
        let record = HandshakeRecord {
            endpoint: "https://a.example/".parse().unwrap(),
            origin: "x".into(),
            at: Timestamp::UNIX_EPOCH,
            rate: None,
            refused: None,
            waiting: false,
        };
        let asked = Handshake { origin: "x".into(), rate: None };
        assert!(record.permits(&record.endpoint, &asked));
        assert!(!record.permits(&"https://b.example/".parse().unwrap(), &asked));
        let other = Handshake { origin: "y".into(), rate: None };
        assert!(!record.permits(&record.endpoint, &other));
        let refused = HandshakeRecord { refused: Some("no".into()), ..record.clone() };
        assert!(!refused.permits(&record.endpoint, &asked));
    }
}
