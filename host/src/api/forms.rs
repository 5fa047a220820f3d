//! The forms in which events come, for the OpenAPI document: which media types, what stands in
//! bodies and headers of each, an example of each.
//!
//! Owns what the types cannot say of `POST /v1/events` and `/v1/events/batch`: a body that is a
//! CloudEvent, a list, lines, or nothing but a payload. Never reads one; that is `publish`'s.

use serde_json::{Map, Value, json};

use super::{
    batch::LINES,
    cloudevents,
    exact::{EVENT_TYPE, PRINTABLE, merge},
};
use crate::model::{CloudContext, media};

/// A URI reference as it is kept: visible ASCII.
const URI: &str = "^[!-~]+$";

/// A CloudEvent with its data in it.
fn cloud_event() -> Value {
    let text = |most: u32, description: &str| {
        json!({
            "type": ["string", "null"],
            "pattern": PRINTABLE,
            "maxLength": most,
            "description": description,
        })
    };
    json!({
        "type": "object",
        "description": format!(
            "A CloudEvent 1.0 in structured mode. Members that are not listed are extension \
             attributes: at most {}, their names lower-case letters and digits, their values \
             strings, booleans or integers of 32 bits.",
            CloudContext::MAX_EXTENSIONS
        ),
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"type": "string", "enum": ["1.0"]},
            "id": {
                "type": "string", "pattern": PRINTABLE, "maxLength": 255,
                "description": "With `source` an idempotency key: the same event under the same two is accepted once.",
            },
            "source": {
                "type": "string", "pattern": URI, "maxLength": 512,
                "description": "A URI reference to where it happened.",
            },
            "type": {
                "type": "string", "pattern": EVENT_TYPE, "maxLength": 128,
                "description": "The event type's name.",
            },
            "subject": text(255, "What it is about."),
            "time": {
                "type": ["string", "null"], "format": "date-time",
                "description": "When it happened, if not now.",
            },
            "datacontenttype": text(255, "What the data is, if not JSON. Its event type must take it."),
            "dataschema": text(
                512,
                "Kept. One that ends in `/v1/event-types/TYPE/versions/N` names the schema version N.",
            ),
            "data": {
                "description": "What happened: JSON byte for byte, or a string with the text of another type.",
            },
            "data_base64": {
                "type": ["string", "null"], "contentEncoding": "base64",
                "description": "In its place, any bytes.",
            },
        },
        "additionalProperties": true,
        "example": {
            "specversion": "1.0",
            "id": "7",
            "source": "/shop",
            "type": "order.created",
            "subject": "orders/7",
            "data": {"id": 7, "total": "19.90", "currency": "EUR"},
        },
    })
}

fn header(name: &str, description: &str, schema: &Value) -> Value {
    json!({
        "name": name, "in": "header", "required": false,
        "description": description, "schema": schema,
    })
}

/// The attributes of a CloudEvent in binary mode.
fn binary() -> Vec<Value> {
    let text = |most: u32| json!({"type": "string", "pattern": "^[!-~]+$", "maxLength": most});
    let attribute = |name: &str, description: &str, schema: Value| {
        header(&format!("{}{name}", cloudevents::PREFIX), description, &schema)
    };
    let kind = json!({"type": "string", "pattern": EVENT_TYPE, "maxLength": 128});
    vec![
        attribute(
            "specversion",
            "With it the request is a CloudEvent in binary mode: the headers that begin with `ce-` \
             are its attributes, percent-encoded, and the body is its data. Others than those \
             listed are extension attributes.",
            json!({"type": "string", "enum": ["1.0"]}),
        ),
        attribute("id", "With `ce-source` an idempotency key.", text(255)),
        attribute("source", "A URI reference to where it happened.", text(512)),
        attribute("type", "The event type's name.", kind),
        attribute("subject", "What it is about.", text(255)),
        attribute(
            "time",
            "When it happened, if not now.",
            json!({"type": "string", "format": "date-time"}),
        ),
        attribute("dataschema", "As in structured mode.", text(512)),
    ]
}

/// How a body may be packed.
fn packed() -> Value {
    let description = "How the body is packed. Limits are of what it inflates to.";
    let known = json!({"type": "string", "enum": ["gzip", "zstd", "identity"]});
    header("Content-Encoding", description, &known)
}

fn named(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn list(schema: &str) -> Value {
    json!({"type": "array", "items": named(schema), "maxItems": 500})
}

/// Bodies of `POST /v1/events`, beside the JSON form.
fn single() -> Value {
    let payload = json!({
        "schema": {
            "type": "string", "format": "binary",
            "description": "The payload alone, with `?type=` or the `ce-` headers of a \
                CloudEvent in binary mode. JSON may come so, too.",
        },
        "examples": {"xml": {
            "summary": "With ?type=invoice.sent and Content-Type: text/xml",
            "value": "<invoice id=\"7\"/>",
        }},
    });
    json!({
        cloudevents::STRUCTURED: {"schema": named("CloudEvent")},
        cloudevents::BATCH: {"schema": list("CloudEvent"), "example": [cloud_event()["example"]]},
        "*/*": payload,
    })
}

/// Bodies of `POST /v1/events/batch`, beside the object.
fn several() -> Value {
    let lines = |line: &str| {
        json!({
            "schema": {"type": "string", "description": "An event a line, each as in a list."},
            "example": line,
        })
    };
    let example = "{\"type\":\"order.created\",\"payload\":{\"id\":7}}\n\
                   {\"type\":\"order.created\",\"payload\":{\"id\":8}}\n";
    let mut all = Map::new();
    for name in LINES {
        all.insert(name.to_owned(), lines(example));
    }
    let list_of = list("CloudEvent");
    all.insert(
        cloudevents::BATCH.to_owned(),
        json!({"schema": list_of, "example": [cloud_event()["example"]]}),
    );
    Value::Object(all)
}

/// Puts every form of events into the document.
pub fn describe(document: &mut Value) {
    document["components"]["schemas"]["CloudEvent"] = cloud_event();
    let publishing = [
        ("/v1/events", single(), [binary(), vec![packed()]].concat()),
        ("/v1/events/batch", several(), vec![packed()]),
    ];
    for (path, content, headers) in publishing {
        let operation = &mut document["paths"][path]["post"];
        merge(&mut operation["requestBody"]["content"], content);
        merge(&mut operation["parameters"], Value::Array(headers));
    }
    // A list alone is as good as one in an object.
    let batch = &mut document["paths"]["/v1/events/batch"]["post"]["requestBody"]["content"];
    let json = &mut batch[media::JSON]["schema"];
    *json = json!({"oneOf": [json.take(), list("EventIn")]});
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{exact, openapi};

    #[test]
    fn every_form_has_a_schema_and_an_example() {
        let document = exact::document(serde_json::to_value(openapi()).unwrap());
        for path in ["/v1/events", "/v1/events/batch"] {
            let body = &document["paths"][path]["post"]["requestBody"]["content"];
            for (form, content) in body.as_object().unwrap() {
                assert!(content["schema"].is_object(), "{path} {form}");
                let schema = content["schema"]["$ref"].as_str().unwrap_or_default();
                let schema = schema.strip_prefix('#').and_then(|at| document.pointer(at));
                let json = form == media::JSON;
                let example = ["example", "examples"].iter().any(|name| {
                    !content[name].is_null() || schema.is_some_and(|schema| !schema[name].is_null())
                });
                assert!(example || json, "{path} {form}");
            }
        }
    }

    #[test]
    fn the_example_of_a_cloud_event_is_one() {
        let example = cloud_event()["example"].clone();
        assert!(jsonschema::is_valid(&cloud_event(), &example));
        let body = serde_json::to_vec(&example).unwrap().into();
        let read = cloudevents::structured(&body, None).unwrap();
        assert_eq!((read.event_type.as_str(), read.id.as_deref()), ("order.created", Some("7")));
    }
}
