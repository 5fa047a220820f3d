//! Builds a new JSON document from a template whose strings and `$` objects refer to the
//! event.
//!
//! Everything the template refers to is read in one call, and put into the new document
//! as the producer wrote it: nothing is parsed that is only copied.

mod reference;
mod render;
mod template;

use hookmill_sdk::prelude::*;
use template::Node;

/// What to send.
#[derive(Config)]
struct Reshape {
    /// The new document. `{"$": "/pointer"}` becomes the value there, `{{/pointer}}` in a
    /// string its text.
    #[schemars(with = "Value")]
    template: Node,
    /// The media type of what is sent.
    #[serde(default = "json_type")]
    content_type: String,
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// Builds a new JSON document from a template.
#[transform]
fn reshape(event: &Event, config: Reshape) -> Result<Outcome> {
    let body = render::document(event, &config.template)?;
    Ok(deliver(Message::new(config.content_type, body)))
}

#[cfg(test)]
mod tests {
    use super::reshape;
    use hookmill_sdk::prelude::*;
    use hookmill_sdk::testing;

    fn reshaped(template: &str) -> Result<String> {
        let event =
            testing::event_text(r#"{"a": {"b": 1.50, "s": "x \"y\""}, "list": [1, 2], "n": null}"#)
                .event_type("order.created")
                .subject("order/7")
                .build();
        let config = format!(r#"{{"template": {template}}}"#);
        let config = hookmill_sdk::serde_json::from_str(&config)?;
        match testing::run(reshape, &event, &config)? {
            Outcome::Deliver(message) => Ok(String::from_utf8(message.body)?),
            other => Err(Error::failed(format!("{other:?}"))),
        }
    }

    #[test]
    fn recorded_cases() {
        testing::check_cases(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), reshape);
    }

    #[test]
    fn references_are_replaced() {
        for (template, body) in [
            (r#"{"$": "/a/b"}"#, "1.50"),
            (r#"{"$": ""}"#, r#"{"a": {"b": 1.50, "s": "x \"y\""}, "list": [1, 2], "n": null}"#),
            (r#"[{"$": "/a/s"}, {"$": "/n"}, true, null, -3]"#, r#"["x \"y\"",null,true,null,-3]"#),
            (r#"{"$": "/no", "default": {"x": [1]}}"#, r#"{"x":[1]}"#),
            (r#"{"k": {"$": "/no", "optional": true}, "l": 1}"#, r#"{"l":1}"#),
            (r#"[{"$": "/no", "optional": true}]"#, "[]"),
            (r#""<{{/a/s}}> {{/list}} {{/a/b}} {{/no|none}}""#, r#""<x \"y\"> [1, 2] 1.50 none""#),
            (
                r#"{"t": {"$": "event.type"}, "u": "{{event.subject}}"}"#,
                r#"{"t":"order.created","u":"order/7"}"#,
            ),
            (r#"{"$literal": {"$": "{{/a}}"}}"#, r#"{"$":"{{/a}}"}"#),
            (r#""no { braces }} here""#, r#""no { braces }} here""#),
        ] {
            assert_eq!(reshaped(template).as_deref(), Ok(body), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (template, problem) in [
            (r#"{"$": "/no"}"#, "invalid-event: there is nothing at /no"),
            (r#"{"$": "/no", "optional": true}"#, "invalid-event: there is nothing at /no"),
            (r#""{{/no}}""#, "invalid-event: there is nothing at /no"),
            (r#"{"$": "a.b"}"#, "invalid-config: /template: `a.b` is neither a JSON pointer"),
            (
                r#""{{event.kind}}""#,
                "invalid-config: /template: `event.kind` is neither a JSON pointer",
            ),
            (r#""{{/a""#, "invalid-config: /template: `{{` is never closed in \"{{/a\""),
            (
                r#"{"$": "/a", "defautl": 1}"#,
                "invalid-config: /template/defautl: `defautl` can't stand beside `$`",
            ),
            (r#"{"$": 1}"#, "invalid-config: /template: `$` takes a string"),
        ] {
            let got = reshaped(template).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(got.starts_with(problem), "{template}: {got}");
        }
    }
}
