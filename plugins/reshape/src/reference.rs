//! What a template can refer to: a place in the payload, or a fact about the event.
//!
//! Owns the spelling of references. Never reads the payload.

use hookmill_sdk::prelude::*;
use hookmill_sdk::{pointer, serde_json};

/// One reference.
#[derive(Debug, PartialEq)]
pub(crate) enum Reference {
    /// A JSON pointer into the payload.
    Payload(String),
    /// A fact about the event.
    Fact(Fact),
}

/// A fact about the event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fact {
    Id,
    Type,
    SchemaVersion,
    Application,
    OccurredAt,
    Subject,
}

const FACTS: [(&str, Fact); 6] = [
    ("event.id", Fact::Id),
    ("event.type", Fact::Type),
    ("event.schema_version", Fact::SchemaVersion),
    ("event.application", Fact::Application),
    ("event.occurred_at", Fact::OccurredAt),
    ("event.subject", Fact::Subject),
];

impl Reference {
    /// Reads a reference; an error says what it could have been.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if pointer::is_valid(text) {
            return Ok(Reference::Payload(text.to_owned()));
        }
        match FACTS.iter().find(|(name, _)| *name == text) {
            Some((_, fact)) => Ok(Reference::Fact(*fact)),
            None => {
                let facts: Vec<&str> = FACTS.iter().map(|(name, _)| *name).collect();
                Err(format!(
                    "`{text}` is neither a JSON pointer, which begins with `/`, nor one of {}",
                    facts.join(", ")
                ))
            }
        }
    }

    /// How it was written.
    pub(crate) fn spelling(&self) -> &str {
        match self {
            Reference::Payload(pointer) => pointer,
            Reference::Fact(fact) => {
                FACTS.iter().find(|(_, known)| known == fact).map_or("event", |(name, _)| name)
            }
        }
    }
}

impl Fact {
    /// The fact as a JSON text, if the event has it.
    pub(crate) fn json(self, event: &Event) -> Result<Option<String>> {
        let text = match self {
            Fact::Id => event.id(),
            Fact::Type => event.event_type(),
            Fact::SchemaVersion => return Ok(Some(event.schema_version().to_string())),
            Fact::Application => event.application(),
            Fact::OccurredAt => event.occurred_at(),
            Fact::Subject => match event.subject() {
                Some(subject) => subject,
                None => return Ok(None),
            },
        };
        Ok(Some(serde_json::to_string(&text)?))
    }
}
