//! Wraps events as CloudEvents 1.0, structured mode: one JSON document with the event's
//! facts and the payload as `data`, for receivers that speak CloudEvents.
//!
//! The payload is copied as the producer wrote it, never parsed.

use hookmill_sdk::prelude::*;

/// How the CloudEvent's attributes are made.
#[derive(Config)]
struct CloudEvents {
    /// Identifies where events come from: a URI or a path, for example
    /// `https://shop.example/orders` or `/shop`.
    source: String,
    /// Put before the event type's name, for example `com.example.`.
    #[serde(default)]
    type_prefix: String,
    /// The URI of the schema the data adheres to.
    dataschema: Option<String>,
}

/// Wraps events as CloudEvents 1.0 structured messages.
#[transform]
fn cloudevents(event: &Event, config: CloudEvents) -> Result<Outcome> {
    check_uri("/source", &config.source)?;
    let data = event.raw();
    let mut body = Object::with_room_for(data.len());
    body.text("specversion", "1.0")?;
    body.text("id", &event.id())?;
    body.text("source", &config.source)?;
    body.text("type", &(config.type_prefix + &event.event_type()))?;
    body.text("time", &event.occurred_at())?;
    // An empty subject is not a subject: CloudEvents forbids it.
    if let Some(subject) = event.subject().filter(|subject| !subject.is_empty()) {
        body.text("subject", &subject)?;
    }
    body.text("datacontenttype", "application/json")?;
    if let Some(schema) = &config.dataschema {
        check_uri("/dataschema", schema)?;
        body.text("dataschema", schema)?;
    }
    body.json("data", &data)?;
    Ok(deliver(Message::new("application/cloudevents+json", body.end())))
}

/// Catches what can't be a URI reference at all; the rest is the receiver's business.
fn check_uri(at: &str, uri: &str) -> Result<()> {
    if uri.is_empty() {
        return Err(Error::invalid_config(format!("{at} is empty")));
    }
    if uri.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err(Error::invalid_config(format!("{at} has white space in it: {uri:?}")));
    }
    Ok(())
}

/// A JSON object being written member by member.
struct Object {
    text: Vec<u8>,
}

impl Object {
    fn with_room_for(data: usize) -> Self {
        // The attributes seldom take more than this.
        let mut text = Vec::with_capacity(data + 512);
        text.push(b'{');
        Object { text }
    }

    fn text(&mut self, name: &str, value: &str) -> Result<()> {
        self.name(name)?;
        hookmill_sdk::serde_json::to_writer(&mut self.text, value)?;
        Ok(())
    }

    fn json(&mut self, name: &str, json: &str) -> Result<()> {
        self.name(name)?;
        self.text.extend_from_slice(json.as_bytes());
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<()> {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        hookmill_sdk::serde_json::to_writer(&mut self.text, name)?;
        self.text.push(b':');
        Ok(())
    }

    fn end(mut self) -> Vec<u8> {
        self.text.push(b'}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::cloudevents;
    use hookmill_sdk::prelude::*;
    use hookmill_sdk::testing;

    #[test]
    fn recorded_cases() {
        testing::check_cases(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), cloudevents);
    }

    #[test]
    fn the_data_is_copied_as_written() {
        let event =
            testing::event_text(r#"{"price": 1.50, "big": 12345678901234567890123}"#).build();
        let outcome = testing::run(cloudevents, &event, &json!({"source": "/shop"}));
        let Ok(Outcome::Deliver(message)) = outcome else { panic!("{outcome:?}") };
        let body = String::from_utf8_lossy(&message.body).into_owned();
        assert!(
            body.ends_with(r#""data":{"price": 1.50, "big": 12345678901234567890123}}"#),
            "{body}"
        );
    }
}
