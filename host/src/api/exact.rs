//! What the types cannot say of themselves: patterns of names, cursors of lists, bodies that
//! are bytes, headers of answers.
//!
//! Owns the last pass over the OpenAPI document, as JSON, so that what satisfies it is
//! well-formed and what does not is refused. Never adds an operation or a field: those come
//! from the routes and their types.

use serde_json::{Map, Value, json};

use super::forms;

/// An event type's name.
pub(super) const EVENT_TYPE: &str = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7}$";
/// An event type's name that is not the server's own.
const OWN_EVENT_TYPE: &str = r"^(?!hookmill(\.|$))[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7}$";
/// A name, `*` for a segment, `**` for the rest.
const PATTERN: &str = r"^((\*|[A-Za-z0-9_-]+)\.){0,7}(\*\*?|[A-Za-z0-9_-]+)$";
const PLUGIN: &str = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
const VERSION: &str = "^[0-9][0-9A-Za-z.+-]{0,63}$";
const PLUGIN_REF: &str = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?(@[0-9][0-9A-Za-z.+-]{0,63})?$";
/// A name or an id.
const APPLICATION: &str = "^[a-z0-9._-]{1,64}$";
/// The name of a header.
const HEADER: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$";
const POINTER: &str = "^/";
const CHANNEL: &str = "^[A-Za-z0-9_.:-]{1,128}$";
/// A media type without parameters, or a range of them.
const MEDIA_RANGE: &str = r"^(\*/\*|[A-Za-z0-9!#$&^_.+-]{1,100}/(\*|[A-Za-z0-9!#$&^_.+-]{1,100}))$";
pub(super) const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";
/// As a header keeps it: a bare word of visible ASCII, or a string of RFC 9651.
const HEADER_TEXT: &str = r#"^([!#-~]([ -~]{0,253}[!-~])?|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#;
const URL: &str = "^https?://[^\\s]+$";
const SECRET: &str = "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$";

/// What answers with an ETag, and with 304 to who has it.
const TAGGED: &[&str] = &[
    "get_application",
    "get_application_limits",
    "get_event_type",
    "get_event_type_limits",
    "get_key",
    "get_key_limits",
    "get_plugin",
    "get_plugin_version",
    "get_schema_version",
    "get_source",
    "get_subscription",
];
/// What is only done to the state that If-Match names.
const CONDITIONAL: &[&str] = &[
    "add_secret",
    "add_source_secret",
    "change_event_type",
    "change_schema_version",
    "change_source",
    "change_subscription",
    "delete_application",
    "delete_event_type",
    "delete_plugin",
    "delete_plugin_version",
    "delete_source",
    "delete_subscription",
    "end_rollout",
    "remove_secret",
    "remove_source_secret",
    "revoke_key",
    "roll_back",
    "rotate_key",
    "rotate_secret",
    "set_application_limits",
    "set_event_type_limits",
    "set_key_limits",
    "set_live_version",
    "start_rollout",
];
/// Which limits those of whom cannot have, by the operation that sets them.
const NOT_OF: &[(&str, &[&str])] = &[
    ("set_application_limits", &["max_payload_bytes"]),
    ("set_event_type_limits", &["requests", "subscriptions", "plugin_versions", "stored_bytes"]),
    ("set_key_limits", &["max_payload_bytes", "subscriptions", "plugin_versions", "stored_bytes"]),
];
/// A list of entity tags, or `*`.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"( ?, ?(W/)?"[!#-~]*")*)$"#;

/// What the cursors of each list look like, by the list's operation.
const CURSORS: &[(&str, &str)] = &[
    ("list_applications", "^app_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_audit", "^aud_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_backtests", "^bkt_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_deliveries", "^dlv_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_event_types", "^type:[A-Za-z0-9_.-]{1,128}$"),
    ("list_events", "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_keys", "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_plugin_failures", "^plgf:[0-9]{1,18}$"),
    ("list_plugin_history", "^plgh:[0-9]{1,18}$"),
    ("list_plugin_versions", "^plgv:[0-9]{20}/[0-9][0-9A-Za-z.+-]{0,63}$"),
    ("list_plugins", "^plg:[a-z0-9-]{1,64}/[01]$"),
    ("list_replays", "^rpl_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_schema_versions", "^schema:[0-9]{1,9}$"),
    ("list_sources", "^src_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_subscriptions", "^sub_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
    ("list_violations", "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
];

/// Makes the document say all that the server checks before it looks at what is stored.
pub fn document(mut document: Value) -> Value {
    forms::describe(&mut document);
    if let Some(schemas) = document.pointer_mut("/components/schemas") {
        for (at, more) in fields() {
            if let Some(schema) = schemas.pointer_mut(at) {
                merge(schema, more);
            }
        }
        close_choices(schemas);
        name_items(schemas);
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (path, item) in paths.into_iter().flatten() {
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            exact_operation(path, operation);
        }
    }
    document
}

/// What is added to which field of which schema.
fn fields() -> Vec<(&'static str, Value)> {
    let text = |most: u32| json!({"pattern": PRINTABLE, "minLength": 1, "maxLength": most});
    let name = json!({"pattern": EVENT_TYPE, "maxLength": 128});
    let patterns = json!({
        "uniqueItems": true,
        "items": {"pattern": PATTERN, "maxLength": 128},
    });
    let url = json!({"pattern": URL});
    let headers = json!({
        "maxProperties": 32,
        "propertyNames": {"pattern": HEADER},
    });
    let whole = json!({"type": ["object", "boolean"]});
    let maybe_whole = json!({"type": ["object", "boolean", "null"]});
    let secret = json!({"pattern": SECRET});
    let version = json!({"pattern": VERSION});
    let channels = json!({"uniqueItems": true, "items": {"pattern": CHANNEL}});
    let ranges = json!({"minItems": 1, "maxItems": 20, "items": {"pattern": MEDIA_RANGE}});
    let header = json!({"pattern": HEADER});
    let pointer = json!({"pattern": POINTER, "maxLength": 256});
    let count = json!({"format": "int64", "maximum": u32::MAX});
    vec![
        ("/EventIn/properties/channels", channels.clone()),
        ("/SubscriptionIn/properties/channels", channels.clone()),
        ("/SubscriptionPatch/properties/channels", channels),
        ("/EventTypeIn/properties/content_types", ranges.clone()),
        ("/EventTypePatch/properties/content_types", ranges),
        ("/CheckIn/properties/schema", whole.clone()),
        ("/KeyIn/properties/name", text(100)),
        ("/KeyIn/properties/application", json!({"pattern": APPLICATION})),
        ("/KeyIn/properties/scopes", json!({"minItems": 1})),
        ("/Limits/properties/subscriptions", count.clone()),
        ("/Limits/properties/plugin_versions", count),
        ("/Step/properties/plugin", json!({"pattern": PLUGIN_REF})),
        ("/SourcePatch/properties/name", json!({"pattern": APPLICATION})),
        ("/SourceIn/properties/subject", pointer.clone()),
        ("/SourcePatch/properties/subject", pointer.clone()),
        ("/TypeRule/properties/header", header.clone()),
        ("/TypeRule/properties/pointers/items", pointer.clone()),
        ("/TypeRule/properties/suffix", pointer.clone()),
        ("/TypeRule/properties/prefix", json!({"pattern": OWN_EVENT_TYPE, "maxLength": 128})),
        ("/TypeRule/properties/fixed", json!({"pattern": OWN_EVENT_TYPE, "maxLength": 128})),
        ("/IdRule/properties/header", header.clone()),
        ("/IdRule/properties/pointers/items", pointer),
        ("/HmacRule/properties/header", header),
        ("/EventIn/properties/type", name.clone()),
        ("/EventIn/properties/id", text(255)),
        ("/EventIn/properties/subject", text(255)),
        ("/EventTypeIn/properties/name", json!({"pattern": OWN_EVENT_TYPE, "maxLength": 128})),
        ("/EventTypeIn/properties/description", text(2000)),
        ("/EventTypeIn/properties/schema", maybe_whole.clone()),
        ("/EventTypePatch/properties/description", text(2000)),
        ("/SchemaIn/properties/schema", whole.clone()),
        ("/SchemaVersion/allOf/1/properties/schema", whole),
        ("/EventTypeOut/allOf/1/properties/schema", maybe_whole.clone()),
        ("/SubscriptionIn/properties/endpoint", url.clone()),
        ("/SubscriptionIn/properties/event_types", patterns.clone()),
        ("/SubscriptionIn/properties/output_schema", maybe_whole.clone()),
        ("/SubscriptionIn/properties/headers", headers.clone()),
        ("/SubscriptionIn/properties/description", text(2000)),
        ("/SubscriptionIn/properties/secret", secret.clone()),
        ("/SubscriptionPatch/properties/endpoint", url.clone()),
        ("/SubscriptionPatch/properties/event_types", patterns),
        ("/SubscriptionPatch/properties/output_schema", maybe_whole.clone()),
        ("/SubscriptionPatch/properties/headers", headers),
        ("/SubscriptionPatch/properties/description", text(2000)),
        ("/SubscriptionOut/properties/output_schema", maybe_whole),
        ("/StepIn/properties/plugin", json!({"pattern": PLUGIN_REF})),
        (
            "/RetryPolicy/oneOf/0/properties/schedule",
            json!({
                "minItems": 1, "maxItems": 50, "items": {"maximum": 604_800},
            }),
        ),
        (
            "/RetryPolicy/oneOf/1/properties/exponential",
            json!({
                "additionalProperties": false,
                "properties": {
                    "attempts": {"minimum": 1, "maximum": 50},
                    "first": {"maximum": 604_800},
                    "factor": {"minimum": 1},
                    "cap": {"maximum": 604_800},
                },
            }),
        ),
        ("/SendTo/properties/url", url),
        ("/ReplayIn/properties/event_types/items", json!({"pattern": PATTERN, "maxLength": 128})),
        (
            "/ReplayIn/properties/states/items",
            json!({
                "enum": ["pending", "succeeded", "dead", "filtered"],
            }),
        ),
        ("/BacktestIn/properties/version", version.clone()),
        ("/BacktestIn/properties/against", version.clone()),
        ("/LiveIn/properties/version", version.clone()),
        ("/RolloutIn/properties/version", version.clone()),
        ("/RunIn/properties/version", version),
        ("/RunEvent/properties/type", name),
        ("/SecretIn/properties/secret", secret.clone()),
        ("/RotateIn/properties/secret", secret),
        ("/Bearer", written("token", "The token; never shown.")),
        ("/Basic", written("password", "The password; never shown.")),
        ("/Oauth2", written("client_secret", "The client's secret; never shown.")),
        ("/Oauth2/properties/token_url", json!({"pattern": URL})),
        ("/Mtls", written("private_key", "The key to it as PEM; never shown.")),
    ]
}

/// A field that is given and never shown. As no answer has it, the types leave it out.
fn written(name: &str, description: &str) -> Value {
    let field = json!({"type": "string", "description": description, "writeOnly": true});
    json!({"properties": {name: field}, "required": [name]})
}

/// Puts `more` into `schema`: objects into objects, what is required
/// beside what already is.
pub(super) fn merge(schema: &mut Value, more: Value) {
    match (schema, more) {
        (Value::Array(schema), Value::Array(more)) => schema.extend(more),
        (Value::Object(schema), Value::Object(more)) => {
            for (key, value) in more {
                let replaced = key != "required" && value.is_array();
                let field = schema.entry(key).or_insert(Value::Null);
                if replaced { *field = value } else { merge(field, value) }
            }
        }
        (schema, more) => *schema = more,
    }
}

/// A tagged choice is its tag and a closed object beside each other, of which neither lets the
/// other's fields pass: they become one object.
fn close_choices(schemas: &mut Value) {
    let whole = schemas.clone();
    for choice in ["Scheme", "PayloadForm"] {
        let variants = schemas.pointer_mut(&format!("/{choice}/oneOf"));
        for variant in variants.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(parts) = variant.get("allOf").and_then(Value::as_array).cloned() else {
                merge(variant, json!({"additionalProperties": false}));
                continue;
            };
            let mut one = json!({"additionalProperties": false});
            for part in &parts {
                merge(&mut one, resolved(&whole, part));
            }
            one["description"] = variant["description"].clone();
            *variant = one;
        }
    }
    for choice in ["RetryPolicy", "EndpointAuth"] {
        let variants = schemas.pointer_mut(&format!("/{choice}/oneOf"));
        for variant in variants.and_then(Value::as_array_mut).into_iter().flatten() {
            merge(variant, json!({"additionalProperties": false}));
        }
    }
}

/// The items of a page are things that have a name of their own.
fn name_items(schemas: &mut Value) {
    let known = schemas.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
    for name in known.unwrap_or_default() {
        let page = schemas.pointer_mut(&format!("/PageOut_{name}/properties/data/items"));
        if let Some(items) = page {
            *items = json!({"$ref": format!("#/components/schemas/{name}")});
        }
    }
}

fn resolved(schemas: &Value, part: &Value) -> Value {
    let name = part["$ref"].as_str().and_then(|at| at.strip_prefix("#/components/schemas/"));
    name.map_or_else(|| part.clone(), |name| schemas[name].clone())
}

fn exact_operation(path: &str, operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        exact_parameter(path, &id, parameter);
    }
    if TAGGED.contains(&id.as_str()) {
        let known = "What you have, as ETag named it: 304 if that is still so.";
        conditional(operation, "If-None-Match", known);
        operation["responses"]["304"] = json!({"description": "You have it."});
    }
    if CONDITIONAL.contains(&id.as_str()) {
        let meant = "What the change is meant for, as ETag named it: 412 if it is no longer so.";
        conditional(operation, "If-Match", meant);
        operation["responses"]["412"] = json!({
            "description": "It was changed meanwhile.",
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
            }},
        });
    }
    if let Some(content) = operation.pointer_mut("/requestBody/content") {
        exact_content(content);
    }
    if let Some((_, foreign)) = NOT_OF.iter().find(|(of, _)| *of == id) {
        let none = foreign.iter().map(|name| ((*name).to_owned(), json!({"type": "null"})));
        let none = Value::Object(none.collect());
        let schema = &mut operation["requestBody"]["content"]["application/json"]["schema"];
        *schema = json!({"allOf": [schema.take(), {"properties": none}]});
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for (status, response) in responses {
        if let Some(content) = response.get_mut("content") {
            exact_content(content);
        }
        let headers = answered(status);
        if !headers.is_empty() {
            merge(response, json!({"headers": headers}));
        }
        if status == "429" {
            merge(response, json!({"headers": standing()}));
        }
    }
}

/// Adds a header that makes an operation depend on a state, and the tag of that state to its
/// answers.
fn conditional(operation: &mut Value, header: &str, description: &str) {
    let parameter = json!({
        "name": header,
        "in": "header",
        "required": false,
        "description": description,
        "schema": {"type": "string", "pattern": TAGS},
    });
    if operation["parameters"].is_null() {
        operation["parameters"] = json!([]);
    }
    merge(&mut operation["parameters"], json!([parameter]));
    if let Some(answer) = operation.pointer_mut("/responses/200") {
        let tag = json!({"description": "Its state.", "schema": {"type": "string"}});
        merge(answer, json!({"headers": {"ETag": tag}}));
    }
}

fn exact_parameter(path: &str, operation: &str, parameter: &mut Value) {
    let place = parameter["in"].as_str().unwrap_or_default().to_owned();
    let name = parameter["name"].as_str().unwrap_or_default().to_ascii_lowercase();
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let more = match (place.as_str(), name.as_str()) {
        ("query", "cursor") => {
            let known = CURSORS.iter().find(|(list, _)| *list == operation);
            let Some((_, pattern)) = known else { return };
            text(pattern)
        }
        ("query", "type") | ("header", "ce-type") => {
            merged(text(EVENT_TYPE), json!({"maxLength": 128}))
        }
        ("query", "event_type") => merged(text(PATTERN), json!({"maxLength": 128})),
        ("path", "name") if path.starts_with("/v1/event-types") => {
            merged(text(EVENT_TYPE), json!({"maxLength": 128}))
        }
        ("path", "version") if path.starts_with("/v1/event-types") => json!({"minimum": 1}),
        ("path", "name") if path.starts_with("/v1/plugins") => text(PLUGIN),
        ("path", "version") => text(VERSION),
        ("path", "code") => text("^[a-z-]{1,64}$"),
        ("path" | "query", "application") | ("header", "hookmill-application") => text(APPLICATION),
        ("header", "idempotency-key") => text(HEADER_TEXT),
        ("header", "last-event-id") => text("^[!-~]+$"),
        ("header", "traceparent" | "tracestate") => json!({"type": "string"}),
        _ => return,
    };
    merge(&mut parameter["schema"], more);
}

fn merged(mut schema: Value, more: Value) -> Value {
    merge(&mut schema, more);
    schema
}

/// Bytes are not arrays of numbers, and a body that may be left out is not `null`.
fn exact_content(content: &mut Value) {
    for (media_type, content) in content.as_object_mut().into_iter().flatten() {
        if matches!(media_type.as_str(), "application/wasm" | "application/vnd.sqlite3") {
            content["schema"] = json!({"type": "string", "format": "binary"});
        }
        let optional = content.pointer("/schema/oneOf").and_then(Value::as_array);
        if let Some([given, null]) = optional.map(Vec::as_slice)
            && null["type"] == "null"
        {
            content["schema"] = given.clone();
        }
    }
}

/// The headers of answers of a status.
fn answered(status: &str) -> Map<String, Value> {
    let (name, description, schema) = match status {
        "201" => ("Location", "Where it is.", json!({"type": "string", "format": "uri-reference"})),
        "429" | "503" => (
            "Retry-After",
            "Seconds after which to try again, where that can be told.",
            json!({"type": "string", "pattern": "^[0-9]+$"}),
        ),
        "401" => ("WWW-Authenticate", "`Bearer`, and why.", json!({"type": "string"})),
        _ => return Map::new(),
    };
    Map::from_iter([(name.to_owned(), json!({"description": description, "schema": schema}))])
}

/// How limits stand, on what they refuse.
fn standing() -> Value {
    let field = |description: &str, example: &str| json!({"description": description, "schema": {"type": "string"}, "example": example});
    json!({
        "RateLimit-Policy": field(
            "The limits it was subject to: `q` tokens that come back within `w` seconds.",
            "\"application-events\";q=500;w=5",
        ),
        "RateLimit": field(
            "How they stand: `r` tokens are left, and all in `t` seconds.",
            "\"application-events\";r=0;t=5",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::openapi,
        model::{EventTypeName, Pattern, PluginRef},
    };

    fn exact() -> Value {
        document(serde_json::to_value(openapi()).unwrap())
    }

    #[test]
    fn every_field_that_is_made_exact_is_there() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (at, _) in fields() {
            let place = format!("/components/schemas{at}");
            assert!(document.pointer(&place).is_some(), "{place}");
        }
    }

    #[test]
    fn everything_with_a_tag_is_an_operation() {
        let document = exact().to_string();
        for id in TAGGED.iter().chain(CONDITIONAL) {
            assert!(document.contains(&format!("\"operationId\":\"{id}\"")), "{id}");
        }
        assert_eq!(document.matches("\"If-Match\"").count(), CONDITIONAL.len());
    }

    #[test]
    fn what_a_rate_limit_refuses_has_its_headers() {
        let document = exact();
        let headers = &document["paths"]["/v1/events"]["post"]["responses"]["429"]["headers"];
        for name in ["RateLimit", "RateLimit-Policy", "Retry-After"] {
            assert!(headers[name]["schema"].is_object(), "{name}: {headers}");
        }
    }

    #[test]
    fn every_cursor_has_its_list_and_every_list_its_cursor() {
        let document = exact();
        let mut lists = Vec::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                for cursor in parameters.filter(|parameter| parameter["name"] == "cursor") {
                    let id = operation["operationId"].as_str().unwrap();
                    assert!(cursor["schema"]["pattern"].is_string(), "{id}");
                    lists.push(id.to_owned());
                }
            }
        }
        lists.sort();
        assert_eq!(lists, CURSORS.iter().map(|(list, _)| *list).collect::<Vec<_>>());
    }

    #[test]
    fn patterns_say_what_the_server_checks() {
        let fits = |pattern: &str, text: &str| {
            jsonschema::is_valid(&json!({"pattern": pattern}), &json!(text))
        };
        for text in ["a", "a.b", "order-1.x_Y", "", ".", "a.", ".a", "a b", "ä", "a.*", "hookmill"]
        {
            assert_eq!(fits(EVENT_TYPE, text), text.parse::<EventTypeName>().is_ok(), "{text}");
        }
        let long = "a.".repeat(8) + "a";
        for text in ["*", "**", "a.*", "*.a", "a.**", "**.a", "a*", "", "a..b", "***", &long] {
            assert_eq!(fits(PATTERN, text), text.parse::<Pattern>().is_ok(), "{text}");
        }
        let names = ["a", "a-b", "-a", "a-", "A", "a@1", "a@1.0.0-rc.1", "a@x", "a@", "@1", ""];
        for text in names {
            assert_eq!(fits(PLUGIN_REF, text), text.parse::<PluginRef>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_tagged_choice_is_a_closed_object() {
        let document = exact();
        let github = document["components"]["schemas"]["Scheme"]["oneOf"][2].clone();
        assert_eq!(github["additionalProperties"], false);
        assert_eq!(github["required"], json!(["scheme"]));
        assert!(github["properties"]["scheme"].is_object(), "{github}");
        assert!(github["properties"]["header"].is_object(), "{github}");
    }
}
