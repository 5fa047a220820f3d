//! What serde has against a body or a query, as a problem that names the field.
//!
//! Serde's derived errors carry no data, only sentences of a fixed form; this is the one
//! place that reads them. A sentence of another form is passed on as it is.

use serde::Deserialize;
use serde_path_to_error::{Path, Segment};

use super::{
    problem::{Code, FieldError, Problem},
    strict::Strict,
};
use crate::ingest::json_fault;

/// Deserialises a body. The path of a mistake is only looked for once there is one, so
/// good requests do not pay for it.
pub fn json<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    let mut source = serde_json::Deserializer::from_slice(body);
    let read = T::deserialize(Strict(&mut source)).and_then(|read| source.end().map(|()| read));
    read.map_err(|error| diagnose::<T>(body, &error))
}

fn diagnose<'de, T: Deserialize<'de>>(body: &'de [u8], first: &serde_json::Error) -> Problem {
    let mut source = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(Strict(&mut source)) {
        // What follows a complete value is only seen at the end.
        Ok(_) => malformed(first),
        Err(error) => {
            let at = pointer(error.path());
            let inner = error.into_inner();
            match inner.classify() {
                serde_json::error::Category::Data => misfit(&at, &sentence(&inner)),
                _ => malformed(&inner),
            }
        }
    }
}

/// serde_json's message without the position it appends.
fn sentence(error: &serde_json::Error) -> String {
    let text = json_fault(error);
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

fn malformed(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    Problem::new(Code::MalformedJson, "The body is not JSON")
        .detail(format!("{} at line {line}, column {column}", sentence(error)))
        .member("line", line)
        .member("column", column)
}

/// Escapes one reference token of a JSON pointer (RFC 6901).
pub fn token(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}

fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |mut at, segment| {
        match segment {
            Segment::Seq { index } => at.push_str(&format!("/{index}")),
            Segment::Map { key } => at.push_str(&format!("/{}", token(key))),
            Segment::Enum { variant } => at.push_str(&format!("/{}", token(variant))),
            Segment::Unknown => {}
        }
        at
    })
}

/// What is wrong with a document that is well-formed but is not what was expected.
fn misfit(at: &str, sentence: &str) -> Problem {
    match Complaint::read(sentence) {
        Complaint::Unknown { name, known } => {
            let at = if ends_with_field(at, &name) {
                at.to_owned()
            } else {
                format!("{at}/{}", token(&name))
            };
            Problem::new(Code::UnknownField, format!("There is no field {name} here"))
                .detail(one_of("Known here", &known))
                .did_you_mean(closest(&name, known.iter().map(String::as_str)))
                .errors([FieldError::new(at, "unknown field")])
        }
        Complaint::Missing { name } => {
            Problem::new(Code::MissingField, format!("The field {name} is missing"))
                .errors([FieldError::new(format!("{at}/{}", token(&name)), "missing field")])
        }
        Complaint::Other => {
            let place = if at.is_empty() { "the body" } else { at };
            Problem::new(Code::InvalidField, format!("{place} is not what is expected there"))
                .errors([FieldError::new(at, sentence)])
        }
    }
}

fn ends_with_field(at: &str, name: &str) -> bool {
    at.rsplit_once('/').is_some_and(|(_, last)| last == token(name))
}

/// Parameters that had another name before.
const RENAMED: [(&str, &str); 1] = [("type", "event_type")];

/// The known name of a parameter that most likely was meant.
fn meant(name: &str, known: &[String]) -> Option<String> {
    let renamed = RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| (*new).to_owned());
    let renamed = renamed.filter(|new| known.contains(new));
    renamed.or_else(|| closest(name, known.iter().map(String::as_str)))
}

/// What is wrong with a query string, in serde's words, perhaps with a path before them.
pub fn query(text: &str) -> Problem {
    let (path, sentence) = match text.split_once(": ") {
        Some((path, rest)) if is_parameter(path) => (path, rest),
        _ => ("", text),
    };
    match Complaint::read(sentence) {
        Complaint::Unknown { name, known } => {
            Problem::new(Code::InvalidQuery, format!("There is no query parameter {name} here"))
                .detail(one_of("Known here", &known))
                .did_you_mean(meant(&name, &known))
                .errors([FieldError::new(format!("?{name}"), "unknown parameter")])
        }
        Complaint::Missing { name } => {
            Problem::new(Code::InvalidQuery, format!("The query parameter {name} is missing"))
                .errors([FieldError::new(format!("?{name}"), "missing parameter")])
        }
        Complaint::Other => {
            Problem::new(Code::InvalidQuery, "The query string is not what is expected")
                .errors([FieldError::new(format!("?{path}"), sentence)])
        }
    }
}

fn is_parameter(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn one_of(lead: &str, names: &[String]) -> String {
    if names.is_empty() {
        "No fields are known here.".into()
    } else {
        format!("{lead}: {}.", names.join(", "))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Complaint {
    Unknown { name: String, known: Vec<String> },
    Missing { name: String },
    Other,
}

impl Complaint {
    /// Reads the sentences of `serde::de::Error::{unknown_field, missing_field}`. The
    /// client's own name for an unknown field may hold a backtick, so it is taken up to
    /// the sentence's fixed middle.
    fn read(sentence: &str) -> Self {
        if let Some(rest) = sentence.strip_prefix("unknown field `") {
            if let Some((name, known)) = rest.split_once("`, expected ") {
                let known = known.split('`').skip(1).step_by(2).map(Into::into).collect();
                return Self::Unknown { name: name.into(), known };
            }
            if let Some((name, _)) = rest.split_once("`, there are no fields") {
                return Self::Unknown { name: name.into(), known: Vec::new() };
            }
        }
        match sentence.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(name) => Self::Missing { name: name.into() },
            None => Self::Other,
        }
    }
}

/// The known name that `name` most likely was meant to be, if any is near enough.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Longer names would make the comparison expensive and cannot be near.
    if name.len() > 128 {
        return None;
    }
    let bound = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only deserialised")]
        endpoint: String,
        #[expect(dead_code, reason = "only deserialised")]
        steps: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only deserialised")]
        plugin: u32,
    }

    fn refuse(body: &str) -> Problem {
        json::<Outer>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn malformed_json_says_where() {
        let problem = refuse("{\n  \"endpoint\": oops}");
        assert_eq!(problem.code(), Code::MalformedJson);
        assert_eq!(problem.body().more["line"], 2);
        assert_eq!(problem.body().more["column"], 15);
        for bad in ["", "{", "{} {}", "\u{0}", "{\"endpoint\":\"\\ud800\"}"] {
            let code = refuse(bad).code();
            assert!(matches!(code, Code::MalformedJson | Code::MissingField), "{bad:?} {code:?}");
        }
    }

    #[test]
    fn what_follows_the_document_is_malformed() {
        assert_eq!(refuse(r#"{"endpoint":"x","steps":[]} x"#).code(), Code::MalformedJson);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_closest() {
        let problem = refuse(r#"{"endpiont":"x","steps":[]}"#);
        assert_eq!(problem.code(), Code::UnknownField);
        assert_eq!(problem.body().did_you_mean.as_deref(), Some("endpoint"));
        assert_eq!(problem.body().errors[0].at, "/endpiont");

        let problem = refuse(r#"{"endpoint":"x","steps":[{"plugin":1},{"zzz`, expected ":1}]}"#);
        assert_eq!(problem.code(), Code::UnknownField);
        assert!(problem.body().errors[0].at.starts_with("/steps/1/"), "{problem:?}");
    }

    #[test]
    fn a_missing_field_is_named_where_it_is_missing() {
        let problem = refuse(r#"{"endpoint":"x","steps":[{}]}"#);
        assert_eq!(problem.code(), Code::MissingField);
        assert_eq!(problem.body().errors[0].at, "/steps/0/plugin");
    }

    #[test]
    fn a_wrong_kind_is_named_where_it_stands() {
        let problem = refuse(r#"{"endpoint":"x","steps":[{"plugin":"one"}]}"#);
        assert_eq!(problem.code(), Code::InvalidField);
        assert_eq!(problem.body().errors[0].at, "/steps/0/plugin");
        assert_eq!(problem.body().errors[0].message, r#"invalid type: string "one", expected u32"#);
        assert_eq!(refuse("[]").code(), Code::InvalidField);
    }

    #[test]
    fn far_names_are_not_suggested() {
        assert_eq!(closest("pipline", ["pipeline", "headers"]), Some("pipeline".into()));
        assert_eq!(closest("colour", ["pipeline", "headers"]), None);
        assert_eq!(closest(&"x".repeat(1000), ["x"]), None);
    }

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(token("a/b~c"), "a~1b~0c");
    }
}
