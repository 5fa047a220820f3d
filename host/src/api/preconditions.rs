//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110, 8.8 and 13): nobody overwrites what another
//! changed meanwhile, and nobody gets what they have.
//!
//! Owns the tags' form and the headers' syntax. Never decides a change: the catalog asks, where
//! changes wait for each other.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Json, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};

/// Bytes of a hash that tell one state from another: nobody gains by two that are the same.
const BYTES: usize = 16;

/// A strong entity tag, its quotation marks included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Of a state as it is shown.
    pub fn of(shown: &impl Serialize) -> Self {
        // What cannot be written cannot be answered either; no state has that tag.
        let text = serde_json::to_vec(shown).unwrap_or_default();
        let hash = Sha256::digest(&text);
        let digits = hash.iter().take(BYTES).map(|byte| format!("{byte:02x}"));
        Self(format!("\"{}\"", digits.collect::<String>()))
    }
}

/// An answer with its tag.
#[derive(Debug)]
pub struct Tagged<T>(pub Tag, pub T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        ([(header::ETAG, self.0.0)], Json(self.1)).into_response()
    }
}

/// The tags that a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Any,
    These(Vec<String>),
}

/// What must be so for a change to be made; anything, if the request does not say.
#[derive(Debug)]
pub struct IfMatch(Option<Named>);

impl IfMatch {
    /// Whether the change may be made to what has this tag. A weak tag fits nothing.
    pub fn allows(&self, tag: &Tag) -> bool {
        match &self.0 {
            None | Some(Named::Any) => true,
            Some(Named::These(named)) => named.contains(&tag.0),
        }
    }

    /// The same of what may not be there: then only a change that names nothing may be made.
    pub fn allows_of(&self, tag: Option<&Tag>) -> bool {
        tag.map_or(self.0.is_none(), |tag| self.allows(tag))
    }

    /// Refuses what may not be made.
    pub fn require(&self, tag: &Tag) -> Result<(), Problem> {
        if self.allows(tag) { Ok(()) } else { Err(failed()) }
    }
}

/// What the client has already.
#[derive(Debug)]
pub struct IfNoneMatch(Option<Named>);

impl IfNoneMatch {
    /// What is asked for, or 304 if the client has it.
    pub fn answer(&self, tag: Tag, shown: impl Serialize) -> Response {
        let known = match &self.0 {
            None => false,
            Some(Named::Any) => true,
            Some(Named::These(named)) => {
                named.iter().any(|known| known.strip_prefix("W/").unwrap_or(known) == tag.0)
            }
        };
        if known {
            (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.0)]).into_response()
        } else {
            Tagged(tag, shown).into_response()
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        named(&parts.headers, &header::IF_MATCH).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        named(&parts.headers, &header::IF_NONE_MATCH).map(Self)
    }
}

/// A change to what is not as it was.
pub fn failed() -> Problem {
    Problem::new(
        Code::PreconditionFailed,
        "It is not what If-Match names: it was changed meanwhile",
    )
    .detail("Get it anew, make the change to that, and give its ETag as If-Match.")
}

fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Named>, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().ok().map(str::trim);
        if text == Some("*") {
            return Ok(Some(Named::Any));
        }
        let listed = text.and_then(listed);
        tags.extend(listed.ok_or_else(|| {
            Problem::new(Code::InvalidHeader, format!("The header {name} has no entity tags in it"))
                .detail("It takes what ETag said, quotation marks included: \"5f2a…\".")
        })?);
    }
    Ok(if headers.contains_key(name) { Some(Named::These(tags)) } else { None })
}

/// The tags of a list. A tag may have a comma in it.
fn listed(text: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    let mut rest = text;
    loop {
        let weak = if rest.starts_with("W/") { "W/" } else { "" };
        let (opaque, after) = rest[weak.len()..].strip_prefix('"')?.split_once('"')?;
        if opaque.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return None;
        }
        tags.push(format!("{weak}\"{opaque}\""));
        let after = after.trim_start();
        if after.is_empty() {
            return Some(tags);
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Option<Named>, Code> {
        let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
        named(&headers, &header::IF_MATCH).map_err(|problem| problem.code())
    }

    fn matching(value: &str) -> IfMatch {
        IfMatch(read(value).unwrap())
    }

    #[test]
    fn a_change_is_made_to_what_it_was_meant_for() {
        let tag = Tag::of(&"state");
        assert!(matching(&tag.0).allows(&tag) && matching("*").allows(&tag));
        assert!(matching(&format!("\"a,b\" , {}", tag.0)).allows(&tag));
        assert!(IfMatch(None).allows(&tag));
        for other in [Tag::of(&"other").0, format!("W/{}", tag.0)] {
            assert!(!matching(&other).allows(&tag), "{other}");
        }
    }

    #[test]
    fn a_change_that_names_a_state_is_not_made_where_there_is_none() {
        assert!(IfMatch(None).allows_of(None));
        assert!(!matching("*").allows_of(None) && !matching("\"a\"").allows_of(None));
        assert!(matching("*").allows_of(Some(&Tag::of(&1))));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let tag = Tag::of(&1);
        let status =
            |value: &str| IfNoneMatch(read(value).unwrap()).answer(tag.clone(), 1).status();
        for known in [tag.0.clone(), format!("W/{}", tag.0), "*".into()] {
            assert_eq!(status(&known), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(status("\"x\""), StatusCode::OK);
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for bad in ["", "abc", "\"", "\"a", "\"a\" \"b\"", "\"a\",", "w/\"a\"", "\"a b\""] {
            assert_eq!(read(bad), Err(Code::InvalidHeader), "{bad}");
        }
        assert_eq!(named(&HeaderMap::new(), &header::IF_MATCH).unwrap(), None);
    }
}
