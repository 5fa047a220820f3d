//! Whether an event passes a filter. Two answers only: what is not so is not so, also where
//! nothing is.

use super::{Bound, Kind, Memo, Node, Scalar, Test};
use crate::{model::time, routing::facts::Seen};

impl Node {
    /// Whether it holds. The filter's own fields are the memo's.
    pub(super) fn holds(&self, memo: &Memo<'_>) -> bool {
        match &self.kind {
            Kind::All(nodes) => nodes.iter().all(|node| node.holds(memo)),
            Kind::Any(nodes) => nodes.iter().any(|node| node.holds(memo)),
            Kind::Not(node) => !node.holds(memo),
            Kind::Test { field, test, .. } => test.holds(memo.see(*field)),
        }
    }
}

impl Test {
    pub(super) fn holds(&self, seen: &Seen<'_>) -> bool {
        match (self, seen) {
            (Self::Exists(wanted), seen) => (*seen != Seen::Missing) == *wanted,
            (_, Seen::Missing | Seen::Other) => false,
            (Self::Exact(wanted), seen) => wanted.is(seen),
            (Self::In(wanted), seen) => scalar(seen).is_some_and(|value| wanted.contains(&value)),
            (Self::Prefix(prefix), Seen::Text(text)) => text.starts_with(&**prefix),
            (Self::Suffix(suffix), Seen::Text(text)) => text.ends_with(&**suffix),
            (Self::Compare(comparison, bound), seen) => {
                let found = match (bound, seen) {
                    (Bound::Number(bound), Seen::Number(number)) => Some(number.cmp(bound)),
                    (Bound::Text(bound), Seen::Text(text)) => Some((**text).cmp(&**bound)),
                    (Bound::Time(bound), Seen::Text(text)) => {
                        time::instant(text).map(|time| time.cmp(bound))
                    }
                    _ => None,
                };
                found.is_some_and(|found| comparison.holds(found))
            }
            (Self::Prefix(_) | Self::Suffix(_), _) => false,
        }
    }
}

impl Scalar {
    fn is(&self, seen: &Seen<'_>) -> bool {
        match (self, seen) {
            (Self::Null, Seen::Null) => true,
            (Self::Bool(one), Seen::Bool(other)) => one == other,
            (Self::Number(one), Seen::Number(other)) => one == other,
            (Self::Text(one), Seen::Text(other)) => **one == **other,
            _ => false,
        }
    }
}

/// What was seen, if it is a value without parts.
pub(in crate::routing) fn scalar(seen: &Seen<'_>) -> Option<Scalar> {
    Some(match seen {
        Seen::Missing | Seen::Other => return None,
        Seen::Null => Scalar::Null,
        Seen::Bool(value) => Scalar::Bool(*value),
        Seen::Number(number) => Scalar::Number(number.clone()),
        Seen::Text(text) => Scalar::Text((&**text).into()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::routing::{Facts, Filter};

    const PAYLOAD: &str = r#"{"status":"paid","total":150.00,"big":12345678901234567890123,
        "none":null,"yes":true,"at":"2026-01-01T12:00:00+02:00","day":"2026-01-15",
        "items":[{"sku":"A-1"}],"text":"150"}"#;

    fn facts<'a>(payload: Option<&'a Value>, text: &'a [u8], run: &dyn Fn(&Facts<'_>)) {
        run(&Facts {
            event_type: &"order.paid".parse().unwrap(),
            schema_version: 2,
            id: Some("o-7"),
            subject: None,
            occurred_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            channels: &[],
            payload,
            text,
        });
    }

    /// The answer, and that its explanation gives the same one.
    fn passes(filter: &str, facts: &Facts<'_>) -> bool {
        let filter = Filter::compile(filter).unwrap();
        let passes = filter.passes(facts);
        let explained = filter.explain(facts);
        assert_eq!(explained.passes, passes, "{filter:?} {explained:?}");
        passes
    }

    #[test]
    fn every_test_has_its_meaning() {
        let payload: Value = serde_json::from_str(PAYLOAD).unwrap();
        facts(Some(&payload), PAYLOAD.as_bytes(), &|facts| {
            for (filter, expected) in [
                (r#"{"exact":{"/status":"paid"}}"#, true),
                (r#"{"exact":{"/status":"paid","/total":150}}"#, true),
                (r#"{"exact":{"/status":"paid","/total":151}}"#, false),
                (r#"{"exact":{"/total":1.5e2}}"#, true),
                (r#"{"exact":{"/text":150}}"#, false),
                (r#"{"exact":{"/big":12345678901234567890123}}"#, true),
                (r#"{"exact":{"/big":12345678901234567890124}}"#, false),
                (r#"{"gt":{"/big":12345678901234567890122}}"#, true),
                (r#"{"gt":{"/big":12345678901234567890123}}"#, false),
                (r#"{"exact":{"/none":null}}"#, true),
                (r#"{"exact":{"/missing":null}}"#, false),
                (r#"{"not":{"exact":{"/missing":1}}}"#, true),
                (r#"{"exists":{"/none":true}}"#, true),
                (r#"{"exists":{"/items":true,"/missing":false}}"#, true),
                (r#"{"exact":{"/items/0/sku":"A-1"}}"#, true),
                (r#"{"prefix":{"/items/0/sku":"A-"}}"#, true),
                (r#"{"suffix":{"/items/0/sku":"-1"}}"#, true),
                (r#"{"prefix":{"/total":"1"}}"#, false),
                (r#"{"in":{"/status":["open","paid"]}}"#, true),
                (r#"{"in":{"/total":[1,150.0]}}"#, true),
                (r#"{"in":{"/status":[null]}}"#, false),
                (r#"{"gte":{"/total":150}}"#, true),
                (r#"{"lt":{"/total":150}}"#, false),
                (r#"{"lt":{"/total":"200"}}"#, false),
                (r#"{"gt":{"/day":"2026-01-02"}}"#, true),
                (r#"{"lte":{"/at":"2026-01-01T10:00:00Z"}}"#, true),
                (r#"{"lt":{"/at":"2026-01-01T10:00:00Z"}}"#, false),
                (r#"{"lt":{"/status":"2026-01-01T10:00:00Z"}}"#, false),
                (r#"{"gt":{"occurred_at":"2026-01-01T00:00:00Z"}}"#, true),
                (r#"{"exact":{"type":"order.paid","id":"o-7","schema_version":2}}"#, true),
                (r#"{"exists":{"subject":true}}"#, false),
                (r#"{"all":[{"exact":{"/yes":true}},{"gt":{"/total":100}}]}"#, true),
                (r#"[{"exact":{"/yes":true}},{"gt":{"/total":200}}]"#, false),
                (r#"{"any":[{"exact":{"/yes":false}},{"gt":{"/total":100}}]}"#, true),
                (r#"{"not":{"any":[{"exact":{"/yes":false}},{"gt":{"/total":100}}]}}"#, false),
            ] {
                assert_eq!(passes(filter, facts), expected, "{filter}");
            }
        });
    }

    #[test]
    fn a_payload_that_is_no_json_has_nothing_in_it() {
        facts(None, b"<order/>", &|facts| {
            assert!(!passes(r#"{"exists":{"":true}}"#, facts));
            assert!(!passes(r#"{"exact":{"/a":1}}"#, facts));
            assert!(passes(r#"{"not":{"exact":{"/a":1}}}"#, facts));
            assert!(passes(r#"{"exact":{"type":"order.paid"}}"#, facts));
        });
    }
}
