//! CloudEvents in: attributes, modes, and what is refused.

use super::*;

fn one(text: &str) -> Result<Publish, Problem> {
    structured(&Bytes::copy_from_slice(text.as_bytes()), None)
}

fn headers(more: &[(&'static str, &str)]) -> HeaderMap {
    let always =
        [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/s"), ("ce-type", "a.b")];
    let mut headers = HeaderMap::new();
    for (name, value) in always.iter().chain(more) {
        headers.insert(*name, value.parse().unwrap());
    }
    headers
}

#[test]
fn a_structured_event_becomes_what_it_says() {
    let event = one(
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"a.b","subject":"s",
            "time":"2026-11-23T10:00:00+01:00","dataschema":"http://x/v1/event-types/a.b/versions/3",
            "data": { "n":1.00 },"tier":"gold","retries":3,"vip":true,"gone":null}"#,
    )
    .unwrap();
    assert_eq!(event.payload, r#"{ "n":1.00 }"#);
    assert_eq!((event.event_type.as_str(), event.id.as_deref()), ("a.b", Some("7")));
    assert_eq!(event.occurred_at.unwrap().to_string(), "2026-11-23T09:00:00Z");
    assert_eq!((event.schema_version, event.content_type), (Some(3), None));
    let context = event.context.unwrap();
    assert_eq!(context.source, "/shop");
    let shown = serde_json::to_value(&context.extensions).unwrap();
    assert_eq!(shown, serde_json::json!({"retries": 3, "tier": "gold", "vip": true}));
}

#[test]
fn data_is_what_its_content_type_says() {
    let with = |rest: &str| {
        one(&format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"a",{rest}}}"#))
    };
    let text = with(r#""datacontenttype":"text/xml","data":"<a>\n</a>""#).unwrap();
    assert_eq!(
        (text.payload.as_ref(), text.content_type.as_deref()),
        (&b"<a>\n</a>"[..], Some("text/xml"))
    );
    let bytes = with(r#""datacontenttype":"image/png","data_base64":"/wA=""#).unwrap();
    assert_eq!(bytes.payload.as_ref(), [0xff, 0]);
    assert_eq!(with(r#""data_base64":"WzFd""#).unwrap().payload, "[1]");
    assert_eq!(with(r#""x":"y""#).unwrap().payload, "null");
    assert_eq!(with(r#""data":null"#).unwrap().payload, "null");
    for (rest, at) in [
        (r#""datacontenttype":"text/xml","data":{}"#, "/data"),
        (r#""data":1,"data_base64":"WzFd""#, "/data_base64"),
        (r#""data_base64":"%""#, "/data_base64"),
        (r#""datacontenttype":"xml""#, "/datacontenttype"),
        (r#""time":"noon""#, "/time"),
        (r#""subject":"""#, "/subject"),
        (r#""Tier":"gold""#, "/Tier"),
        (r#""tier":{}"#, "/tier"),
        (r#""tier":1.5"#, "/tier"),
    ] {
        assert_eq!(with(rest).unwrap_err().body().errors[0].at, at, "{rest}");
    }
    let many: String = (0..40).map(|n| format!(r#""x{n}":"y","#)).collect();
    assert_eq!(with(many.trim_end_matches(',')).unwrap_err().code(), Code::InvalidField);
}

#[test]
fn what_a_cloud_event_must_have_is_named() {
    for (text, at) in [
        (r#"{"id":"7","source":"/s","type":"a"}"#, "/specversion"),
        (r#"{"specversion":"1.0","source":"/s","type":"a"}"#, "/id"),
        (r#"{"specversion":"1.0","id":"7","type":"a"}"#, "/source"),
        (r#"{"specversion":"1.0","id":"7","source":null,"type":"a"}"#, "/source"),
        (r#"{"specversion":"1.0","id":"7","source":"/s"}"#, "/type"),
        (r#"{"specversion":"0.3","id":"7","source":"/s","type":"a"}"#, "/specversion"),
        (r#"{"specversion":"1.0","id":"7","source":"a b","type":"a"}"#, "/source"),
        (r#"{"specversion":"1.0","id":7,"source":"/s","type":"a"}"#, "/id"),
    ] {
        assert_eq!(one(text).unwrap_err().body().errors[0].at, at, "{text}");
    }
    assert_eq!(one(r#"{"id":"1","id":"2"}"#).unwrap_err().code(), Code::InvalidField);
    assert_eq!(one("[]").unwrap_err().code(), Code::InvalidField);
    assert_eq!(one("{").unwrap_err().code(), Code::MalformedJson);
}

#[test]
fn a_binary_event_has_its_attributes_in_headers() {
    let given = headers(&[
        ("ce-subject", "%C3%84%20%221%22%205%25"),
        ("ce-tier", "\"a \\\"b\\\"\""),
        ("ce-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("content-type", "text/xml; charset=utf-8"),
    ]);
    let event = binary(&given, Bytes::from_static(b"<a/>"), Some("k".into())).unwrap();
    assert_eq!(event.subject.as_deref(), Some("Ä \"1\" 5%"));
    assert_eq!(event.content_type.as_deref(), Some("text/xml; charset=utf-8"));
    assert_eq!(event.idempotency_key.as_deref(), Some("k"));
    assert!(event.trace.is_some());
    let context = event.context.unwrap();
    assert_eq!(context.extensions["tier"].text(), "a \"b\"");
    assert!(context.extensions.contains_key("traceparent"), "and it stays with the event");
    assert_eq!(binary(&headers(&[]), Bytes::new(), None).unwrap().payload, "null");
}

#[test]
fn headers_that_cannot_be_used_are_named() {
    for (name, value, at) in [
        ("ce-specversion", "2.0", "ce-specversion"),
        ("ce-subject", "%ff", "ce-subject"),
        ("ce-id", "%00", "ce-id"),
        ("ce-time", "noon", "ce-time"),
        ("ce-datacontenttype", "text/xml", "ce-datacontenttype"),
        ("ce-my-tier", "gold", "ce-my-tier"),
        ("content-type", "xml", "ce-datacontenttype"),
    ] {
        let problem = binary(&headers(&[(name, value)]), Bytes::new(), None).unwrap_err();
        assert_eq!(problem.body().errors[0].at, at, "{name}: {value}");
    }
    let mut twice = headers(&[]);
    twice.append("ce-id", "8".parse().unwrap());
    assert!(binary(&twice, Bytes::new(), None).is_err());
    let mut without = headers(&[]);
    without.remove("ce-source");
    let problem = binary(&without, Bytes::new(), None).unwrap_err();
    assert_eq!(problem.body().errors[0].at, "ce-source");
}
