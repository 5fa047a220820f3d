//! The flags for how a subscription's requests are signed and formed, and its handshake.
//!
//! Owns their form. What they ask for is checked by the server.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    Global, input,
    output::{self, Failure, field},
};

/// How requests are signed and what form the payload has.
#[derive(Debug, Default, Args)]
pub(super) struct SigningFlags {
    /// How requests are signed: standard, standard_asymmetric, or a scheme as JSON, its secret
    /// included; repeat for several at once
    #[arg(long = "sign", value_name = "NAME|JSON|@FILE", help_heading = "Policy")]
    schemes: Vec<String>,
    /// The payload alone, or as a CloudEvent
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Policy")]
    payload: Option<Form>,
    /// The CloudEvents' source [default: /applications/NAME]
    #[arg(long, value_name = "URI", requires = "payload", help_heading = "Policy")]
    source: Option<String>,
    /// Ask the endpoint for leave to send (CloudEvents webhook handshake), as this DNS name
    #[arg(long, value_name = "NAME", help_heading = "Policy")]
    handshake: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// The payload alone
    Raw,
    /// A CloudEvents envelope with the payload in it
    CloudeventsStructured,
    /// The payload, with CloudEvents attributes as headers
    CloudeventsBinary,
}

impl Form {
    const fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::CloudeventsStructured => "cloudevents_structured",
            Self::CloudeventsBinary => "cloudevents_binary",
        }
    }
}

impl SigningFlags {
    /// Puts what was given into a policy.
    pub(super) fn apply(&self, policy: &mut Map<String, Value>) -> Result<(), Failure> {
        if !self.schemes.is_empty() {
            let schemes: Result<Vec<_>, _> =
                self.schemes.iter().map(|given| scheme_json(given)).collect();
            policy.insert("signing".into(), schemes?.into());
        }
        if let Some(form) = self.payload {
            let mut payload = json!({"form": form.word()});
            if let Some(source) = &self.source {
                payload["source"] = source.as_str().into();
            }
            policy.insert("payload".into(), payload);
        }
        if let Some(origin) = &self.handshake {
            policy.insert("handshake".into(), json!({"origin": origin}));
        }
        Ok(())
    }
}

/// A scheme: its name, if it needs nothing else, or JSON.
pub(super) fn scheme_json(given: &str) -> Result<Value, Failure> {
    let is_word = given.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { Ok(json!({"scheme": given})) } else { input::json_argument(given) }
}

/// Which secret to replace, and by what.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// Whose secret to replace: a scheme of the subscription's policy, by its name
    #[arg(long, value_name = "NAME", default_value = "standard")]
    scheme: String,
    /// The new secret, instead of one that the server makes
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// How long the old one keeps signing [default: a day, or 0 where a header has room for one
    /// signature]
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u32>,
}

impl Rotate {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut body = json!({"scheme": self.scheme});
        if let Some(secret) = self.secret {
            body["secret"] = secret.into();
        }
        if let Some(grace) = self.grace {
            body["grace_seconds"] = grace.into();
        }
        let path = ["subscriptions", &self.id, "rotate-secret"];
        let mut rotated = global.client()?.post(&path, &body).await?;
        rotated["id"] = self.id.into();
        show_secrets(global, &rotated);
        Ok(())
    }
}

/// Prints a subscription's id with its secret, which is shown this once, and its public keys.
pub(super) fn show_secrets(global: &Global, subscription: &Value) {
    if global.json {
        output::json(subscription);
        return;
    }
    let id = field(subscription, "id");
    let secret = field(subscription, "secret");
    if !secret.is_empty() {
        output::data(format_args!("{id}  secret {secret}"));
        output::say(format_args!(
            "(shown once; `hookmill subscription rotate {id}` makes a new one)"
        ));
    }
    let new = subscription["public_key"].as_str();
    let keys = subscription["public_keys"].as_array().into_iter().flatten();
    for key in keys.filter_map(|key| key["key"].as_str()).chain(new) {
        output::data(format_args!("{id}  public key {key}"));
    }
    if secret.is_empty() && new.is_none() {
        output::data(format_args!("{id}  replaced"));
    }
}

/// Asks the endpoint for leave to send, and prints what it said.
pub(super) async fn handshake(global: &Global, id: &str) -> Result<(), Failure> {
    let answer = global.client()?.act(&["subscriptions", id, "handshake"]).await?;
    if global.json {
        output::json(&answer);
    }
    if answer["allowed"] != true {
        return Err(
            Failure::failed(format!("{id} may not send there")).line(field(&answer, "refused"))
        );
    }
    if !global.json {
        let rate = answer["rate"].as_u64().map(|rate| format!(", {rate} requests a minute"));
        let (endpoint, rate) = (field(&answer, "endpoint"), rate.unwrap_or_default());
        output::data(format_args!("{id}  {endpoint} allows deliveries{rate}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_parts_of_the_policy() {
        let flags = SigningFlags {
            schemes: vec!["standard".into(), r#"{"scheme":"github","secret":"x"}"#.into()],
            payload: Some(Form::CloudeventsBinary),
            source: Some("/shop".into()),
            handshake: Some("events.example".into()),
        };
        let mut policy = Map::new();
        flags.apply(&mut policy).unwrap();
        let expected = json!({
            "signing": [{"scheme": "standard"}, {"scheme": "github", "secret": "x"}],
            "payload": {"form": "cloudevents_binary", "source": "/shop"},
            "handshake": {"origin": "events.example"},
        });
        assert_eq!(Value::from(policy), expected);
        let mut untouched = Map::new();
        SigningFlags::default().apply(&mut untouched).unwrap();
        assert!(untouched.is_empty());
    }
}
