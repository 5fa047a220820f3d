//! The events themselves: their types, their schemas, their payloads.
//!
//! What they say is public: a field that is here stays.

use serde_json::{Map, Value, json};

use crate::model::{ApplicationId, DisabledReason, Notice, SubscriptionId, Timestamp};

/// One of the server's own event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// When such an event is made.
    pub description: &'static str,
    /// What the payload says beside what each of them says: fields, each with its own
    /// description.
    fields: &'static [(&'static str, &'static str)],
}

const SUBSCRIPTION: (&str, &str) = ("subscription_id", "Which subscription");
const ENDPOINT: (&str, &str) = ("endpoint", "Where its deliveries go");
const REASON: (&str, &str) = ("reason", "Why, for people");

/// All of them, the types whose delivery never makes another first.
const BUILTINS: [Builtin; 6] = [
    Builtin {
        name: "hookmill.delivery.dead",
        description: "A delivery was given up.",
        fields: &[
            ("delivery_id", "Which delivery"),
            SUBSCRIPTION,
            ("event_id", "The event it was to deliver"),
            ("event_type", "That event's type"),
            REASON,
        ],
    },
    Builtin {
        name: "hookmill.subscription.disabled",
        description: "The server disabled a subscription.",
        fields: &[SUBSCRIPTION, ENDPOINT, REASON],
    },
    Builtin {
        name: "hookmill.plugin.quarantined",
        description: "A plugin version that kept failing was taken out of service.",
        fields: &[("plugin", "The plugin's name"), ("version", "Its version"), REASON],
    },
    Builtin {
        name: "hookmill.breaker.opened",
        description: "An endpoint that kept failing is left alone for a while.",
        fields: &[SUBSCRIPTION, ENDPOINT, REASON],
    },
    Builtin {
        name: "hookmill.breaker.closed",
        description: "An endpoint that was left alone answers again.",
        fields: &[SUBSCRIPTION, ENDPOINT],
    },
    Builtin {
        name: "hookmill.backlog.high",
        description: "More deliveries wait than the setting backlog_high says.",
        fields: &[("pending", "How many wait"), ("limit", "The setting")],
    },
];

/// One of the server's own event types by name.
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

impl Builtin {
    /// The JSON Schema that every payload of the type satisfies.
    pub fn schema(&self) -> Value {
        let mut properties = Map::new();
        for (name, description) in self.fields {
            let kind = if matches!(*name, "pending" | "limit") { "integer" } else { "string" };
            properties
                .insert((*name).to_owned(), json!({"type": kind, "description": description}));
        }
        let application = json!({"type": ["string", "null"], "description": "Whose it is; null if it is the server's own"});
        properties.insert("application".to_owned(), application);
        let at = json!({"type": "string", "format": "date-time", "description": "When"});
        properties.insert("at".to_owned(), at);
        let suppressed = json!({"type": "integer", "minimum": 0, "description": "How many more of the same there were since the last event, too many to tell of each"});
        properties.insert("suppressed".to_owned(), suppressed);
        let required: Vec<&String> = properties.keys().collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.name,
            "description": self.description,
            "type": "object",
            "required": required,
            "properties": properties,
        })
    }
}

/// An event about to be published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Own {
    pub event_type: &'static str,
    pub subject: Option<String>,
    pub payload: Value,
    /// The subscription it is about.
    pub about: Option<SubscriptionId>,
}

/// Whose notice it is; none if it is the server's own.
pub(super) const fn application(notice: &Notice) -> Option<ApplicationId> {
    match notice {
        Notice::SubscriptionDisabled { application, .. }
        | Notice::DeliveryDead { application, .. }
        | Notice::PluginQuarantined { application, .. }
        | Notice::BreakerOpened { application, .. }
        | Notice::BreakerClosed { application, .. } => Some(*application),
        Notice::BacklogHigh { .. } => None,
    }
}

impl Own {
    /// What a notice says, with how many of the same said nothing since the last that did.
    pub(super) fn of(
        notice: &Notice,
        application: Option<&str>,
        suppressed: u64,
        now: Timestamp,
    ) -> Self {
        let (event_type, about, mut payload) = match notice {
            Notice::SubscriptionDisabled { subscription, endpoint, reason, .. } => (
                "hookmill.subscription.disabled",
                Some(*subscription),
                json!({"endpoint": endpoint, "reason": disabled(*reason)}),
            ),
            Notice::DeliveryDead { delivery, subscription, event, event_type, reason, .. } => (
                "hookmill.delivery.dead",
                Some(*subscription),
                json!({"delivery_id": delivery, "event_id": event, "event_type": event_type,
                       "reason": reason}),
            ),
            Notice::PluginQuarantined { plugin, version, reason, .. } => (
                "hookmill.plugin.quarantined",
                None,
                json!({"plugin": plugin, "version": version, "reason": reason}),
            ),
            Notice::BreakerOpened { subscription, endpoint, reason, .. } => (
                "hookmill.breaker.opened",
                Some(*subscription),
                json!({"endpoint": endpoint, "reason": reason}),
            ),
            Notice::BreakerClosed { subscription, endpoint, .. } => {
                ("hookmill.breaker.closed", Some(*subscription), json!({"endpoint": endpoint}))
            }
            Notice::BacklogHigh { pending, limit } => {
                ("hookmill.backlog.high", None, json!({"pending": pending, "limit": limit}))
            }
        };
        if let Some(about) = about {
            payload["subscription_id"] = about.to_string().into();
        }
        payload["application"] = application.into();
        payload["at"] = now.to_string().into();
        payload["suppressed"] = suppressed.into();
        let subject = about.map(|id| id.to_string());
        Self { event_type, subject, payload, about }
    }
}

fn disabled(reason: DisabledReason) -> &'static str {
    match reason {
        DisabledReason::Gone => "the endpoint answered 410 Gone",
        DisabledReason::Asked => "the endpoint asked for it: webhook-delivery: disable",
        DisabledReason::Failing => "nothing but failures for as long as its policy allows",
        DisabledReason::Operator => "by request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{DeliveryId, EventId},
        schema::Validator,
    };

    fn every_notice(now: Timestamp) -> Vec<Notice> {
        let (application, subscription) = (ApplicationId::new(now), SubscriptionId::new(now));
        let endpoint: url::Url = "https://shop.example/hooks".parse().unwrap();
        let reason = || "it failed".to_owned();
        vec![
            Notice::SubscriptionDisabled {
                application,
                subscription,
                endpoint: endpoint.clone(),
                reason: DisabledReason::Gone,
            },
            Notice::DeliveryDead {
                application,
                delivery: DeliveryId::new(now),
                subscription,
                event: EventId::new(now),
                event_type: "order.created".parse().unwrap(),
                reason: reason(),
            },
            Notice::PluginQuarantined {
                application,
                plugin: "redact".to_owned(),
                version: "1.0.0".to_owned(),
                reason: reason(),
            },
            Notice::BreakerOpened {
                application,
                subscription,
                endpoint: endpoint.clone(),
                reason: reason(),
            },
            Notice::BreakerClosed { application, subscription, endpoint },
            Notice::BacklogHigh { pending: 7, limit: 3 },
        ]
    }

    #[test]
    fn every_notice_is_an_event_of_a_type_whose_schema_it_satisfies() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let mut seen = Vec::new();
        for notice in every_notice(now) {
            let own = Own::of(&notice, Some("shop"), 3, now);
            let builtin = builtin(own.event_type).unwrap();
            let schema = builtin.schema();
            let violations = Validator::compile(&schema).unwrap().violations(&own.payload);
            assert_eq!(violations, [], "{}", own.payload);
            // Nothing is said that is not described.
            let described = schema["properties"].as_object().unwrap();
            assert_eq!(described.len(), own.payload.as_object().unwrap().len());
            let kind = notice.as_str().replace('_', ".");
            assert_eq!(own.event_type, format!("hookmill.{kind}"));
            seen.push(own.event_type);
        }
        assert_eq!(seen.len(), BUILTINS.len());
    }

    #[test]
    fn every_type_and_field_is_documented() {
        let documented = include_str!("../../../docs/operational-webhooks.md");
        for builtin in BUILTINS {
            assert!(documented.contains(&format!("| `{}` |", builtin.name)), "{}", builtin.name);
            for (field, _) in builtin.fields {
                assert!(documented.contains(&format!("`{field}`")), "{field}");
            }
        }
    }
}
