//! How many patterns a schema has, and how large each may become: compiled, they take by far more
//! than their text, in memory and in time.
//!
//! Owns the bounds on patterns. Never compiles one, never looks at a payload.

use serde_json::Value;

use super::SchemaError;

/// Most patterns of a schema, names of `patternProperties` included.
const MOST: usize = 4_000;
/// Most bytes of text they may have together.
const TEXT: usize = 256 << 10;
/// Bytes all of them may take, compiled.
const COMPILED: usize = 64 << 20;
/// Bytes one of them may take.
const LARGEST: usize = 1 << 20;

/// Refuses too many. Answers how many bytes each may take, compiled.
pub(super) fn check(schema: &Value) -> Result<usize, SchemaError> {
    let (mut count, mut text, mut pieces) = (0, 0, 0);
    let mut rest = vec![schema];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => {
                let names = members.get("patternProperties").and_then(Value::as_object);
                let names = names.into_iter().flat_map(|named| named.keys().map(String::as_str));
                for pattern in names.chain(members.get("pattern").and_then(Value::as_str)) {
                    count += 1;
                    text += pattern.len();
                    pieces += 1 + splits(pattern);
                }
                rest.extend(members.values());
            }
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    if count > MOST || text > TEXT {
        let message = format!(
            "the schema has {count} patterns of {text} bytes together; {MOST} of {TEXT} are \
             allowed. Use `enum`, or name definitions by `$ref`, in place of patterns that repeat"
        );
        return Err(SchemaError { at: String::new(), message });
    }
    Ok((COMPILED / pieces.max(1)).min(LARGEST))
}

/// Where a pattern may be cut in two: what looks around or back is compiled in pieces.
fn splits(pattern: &str) -> usize {
    let pairs = pattern.as_bytes().windows(3);
    let cuts = |pair: &&[u8]| match pair {
        [b'(', b'?', kind] => *kind != b':',
        [b'\\', kind, _] => matches!(kind, b'1'..=b'9' | b'k'),
        _ => false,
    };
    2 * pairs.filter(cuts).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_are_counted_wherever_they_stand() {
        let named = |count: usize| -> Value {
            let all: serde_json::Map<_, _> =
                (0..count).map(|n| (format!("^[a-z]{{1,50}}{n}"), json!({}))).collect();
            json!({"items": {"patternProperties": all}})
        };
        assert!(check(&named(MOST)).is_ok_and(|each| each == COMPILED / MOST));
        let error = check(&named(20_000)).unwrap_err();
        assert!(error.message.contains("20000 patterns"), "{error}");
        let list: Vec<_> = (0..=MOST).map(|n| json!({"pattern": n.to_string()})).collect();
        assert!(check(&json!({"anyOf": list})).is_err());
        assert!(check(&json!({"pattern": "a".repeat(TEXT + 1)})).is_err());
        assert_eq!(check(&json!({"pattern": "^a"})), Ok(LARGEST));
        // A property that is called `pattern` is none.
        assert_eq!(check(&json!({"properties": {"pattern": {"type": "string"}}})), Ok(LARGEST));
    }

    #[test]
    fn what_looks_around_in_many_places_gets_less() {
        let around = check(&json!({"pattern": "(?=a)".repeat(20_000)})).unwrap();
        assert!(around < 4_096, "{around}");
    }
}
