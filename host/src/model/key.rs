//! API keys: what one is, and what it may do. Never the key's text.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApplicationId, KeyId};

/// One thing that a key may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Read what there is.
    Read,
    /// Publish events.
    Publish,
    /// Read and change everything but events.
    Manage,
}

impl KeyScope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Publish, Self::Manage];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Manage => "manage",
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no scope; there are read, publish and manage")]
pub struct UnknownScope(String);

impl FromStr for KeyScope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// What a key may do, all in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<KeyScope>", into = "Vec<KeyScope>")]
pub struct Scopes(u8);

impl Scopes {
    /// Everything.
    pub const ALL: Self = Self(0b111);

    fn bit(scope: KeyScope) -> u8 {
        1 << scope as u8
    }

    /// Whether a key with these may do what needs `scope`. Who manages may read.
    pub fn allow(self, scope: KeyScope) -> bool {
        let by = match scope {
            KeyScope::Read => Self::bit(KeyScope::Read) | Self::bit(KeyScope::Manage),
            other => Self::bit(other),
        };
        self.0 & by != 0
    }

    /// Whether they allow all that `others` do.
    pub fn cover(self, others: Self) -> bool {
        others.iter().all(|scope| self.allow(scope))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = KeyScope> {
        KeyScope::ALL.into_iter().filter(move |scope| self.0 & Self::bit(*scope) != 0)
    }
}

impl FromIterator<KeyScope> for Scopes {
    fn from_iter<I: IntoIterator<Item = KeyScope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |all, scope| all | Self::bit(scope)))
    }
}

impl From<Vec<KeyScope>> for Scopes {
    fn from(scopes: Vec<KeyScope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<KeyScope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

/// An API key, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct ApiKey {
    /// `key_…`
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// Whose it is; null for an admin key, which is the platform's.
    pub application: Option<ApplicationId>,
    /// What it may do.
    #[schema(value_type = Vec<KeyScope>)]
    pub scopes: Scopes,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it stops being let in; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last let in, to the minute; null if it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked; null if it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is let in at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it may make other keys for the platform: without such a one nobody could.
    pub fn is_administrators(&self) -> bool {
        self.application.is_none() && self.scopes == Scopes::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(words: &str) -> Scopes {
        words.split_whitespace().map(|word| word.parse::<KeyScope>().unwrap()).collect()
    }

    #[test]
    fn who_manages_may_read_and_nothing_else_follows() {
        let manage = scopes("manage");
        assert!(manage.allow(KeyScope::Read) && !manage.allow(KeyScope::Publish));
        assert!(!scopes("read").allow(KeyScope::Manage));
        assert!(!scopes("publish").allow(KeyScope::Read));
        assert!(!Scopes::default().allow(KeyScope::Read));
        assert!(manage.cover(scopes("read")) && !manage.cover(scopes("read publish")));
    }

    #[test]
    fn scopes_are_a_list_without_repetitions() {
        let read: Scopes = serde_json::from_str(r#"["manage","read","manage"]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["read","manage"]"#);
        assert!(serde_json::from_str::<Scopes>(r#"["admin"]"#).is_err());
    }
}
