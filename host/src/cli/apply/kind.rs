//! The kinds of resources that a file can declare, and which fields the server takes for each.
//!
//! The fields are those of the server's own OpenAPI document, so one that a server learns needs
//! no change here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::document::{Document, Item};
use crate::{
    cli::{client::Client, output::Failure},
    model::{Application, EventTypeName, PluginRef, Subscription},
};

/// A kind, in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Application,
    EventType,
    Plugin,
    Source,
    Subscription,
    Key,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Application,
        Self::EventType,
        Self::Plugin,
        Self::Source,
        Self::Subscription,
        Self::Key,
    ];

    /// Its section in the file; the path of its list in the API, but for hyphens.
    pub(super) const fn section(self) -> &'static str {
        match self {
            Self::Application => "applications",
            Self::EventType => "event_types",
            Self::Plugin => "plugins",
            Self::Source => "sources",
            Self::Subscription => "subscriptions",
            Self::Key => "keys",
        }
    }

    /// For people.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::Application => "an application",
            Self::EventType => "an event type",
            Self::Plugin => "a plugin",
            Self::Source => "a source",
            Self::Subscription => "a subscription",
            Self::Key => "a key",
        }
    }

    /// For people, without an article.
    pub(super) fn word(self) -> &'static str {
        let noun = self.noun();
        noun.split_once(' ').map_or(noun, |(_, word)| word)
    }

    /// The fields that every item must have.
    pub(super) const fn named_by(self) -> &'static [&'static str] {
        match self {
            Self::Plugin => &["name", "version"],
            Self::Key => &["name", "secret_file"],
            _ => &["name"],
        }
    }

    /// Fields that mean something to `hookmill apply` alone.
    const fn own(self) -> &'static [&'static str] {
        match self {
            Self::Application => &["limits"],
            Self::EventType => &["schema_file", "limits"],
            Self::Plugin => &["name", "version", "application", "shared", "live", "component"],
            Self::Source | Self::Subscription => &["application"],
            Self::Key => &["application", "secret_file"],
        }
    }

    /// The fields that a resource can be without, and that null takes from it. Elsewhere null
    /// would be no change: then it is not as declared for ever.
    const fn removable(self) -> &'static [&'static str] {
        match self {
            Self::Application | Self::Plugin => &[],
            Self::EventType => &["description", "sunset_at"],
            Self::Source => &["delivery_id", "subject", "repetitions"],
            Self::Subscription => &["filter", "output_schema", "description", "auth"],
            Self::Key => &["expires_at"],
        }
    }

    /// Whose an item of this kind is: an application's, or else the platform's.
    pub(super) const fn is_platforms(self) -> bool {
        matches!(self, Self::Application | Self::EventType)
    }

    /// Whether a text can be this field of an item. Names become parts of paths.
    pub(super) fn takes(self, field: &str, text: &str) -> bool {
        match (self, field) {
            (_, "application") | (Self::Application | Self::Source, "name") => {
                Application::is_valid_name(text)
            }
            (Self::EventType, "name") => text.parse::<EventTypeName>().is_ok(),
            (Self::Plugin, "name") => PluginRef::is_valid_name(text),
            (Self::Plugin, "version") => PluginRef::is_valid_version(text),
            (Self::Subscription, "name") => Subscription::is_valid_name(text),
            (Self::Key, "name") => !text.chars().any(char::is_control),
            _ => true,
        }
    }

    /// What the OpenAPI document calls a creation and a change.
    const fn schemas(self) -> [&'static str; 2] {
        match self {
            Self::Application => ["ApplicationIn", ""],
            Self::EventType => ["EventTypeIn", "EventTypePatch"],
            Self::Plugin => ["", ""],
            Self::Source => ["SourceIn", "SourcePatch"],
            Self::Subscription => ["SubscriptionIn", "SubscriptionPatch"],
            Self::Key => ["KeyIn", ""],
        }
    }
}

/// The name that comes closest, if one is near enough to be meant.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |known: &&str| strsim::jaro_winkler(name, known);
    known.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|known| near(known) > 0.7)
}

/// The fields that a server takes.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<Kind, [BTreeSet<String>; 2]>);

impl Known {
    /// Asks the server.
    pub(super) async fn of(client: &Client) -> Result<Self, Failure> {
        let document = client.openapi().await?;
        Ok(Self(
            Kind::ALL
                .into_iter()
                .map(|kind| {
                    (
                        kind,
                        kind.schemas().map(|name| {
                            let properties =
                                document["components"]["schemas"][name]["properties"].as_object();
                            properties.into_iter().flat_map(Map::keys).cloned().collect()
                        }),
                    )
                })
                .collect(),
        ))
    }

    /// Whether a creation takes a field.
    pub(super) fn creates(&self, kind: Kind, field: &str) -> bool {
        self.0.get(&kind).is_some_and(|[create, _]| create.contains(field))
    }

    /// Whether a change takes a field.
    pub(super) fn changes(&self, kind: Kind, field: &str) -> bool {
        self.0.get(&kind).is_some_and(|[_, change]| change.contains(field))
    }

    /// Of an answer's fields, those that can be declared and are not null.
    pub(super) fn declarable(&self, kind: Kind, shown: &Value) -> Map<String, Value> {
        let fields = shown.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, value)| {
            !value.is_null() && (self.creates(kind, name) || self.changes(kind, name))
        });
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Checks that all fields of an item are known, and null only where that means something.
    pub(super) fn check(&self, document: &Document, item: &Item) -> Result<(), Failure> {
        let own = item.kind.own();
        for (name, value) in &item.fields {
            let (kind, field) = (item.kind, name.as_str());
            if own.contains(&field) || self.creates(kind, field) || self.changes(kind, field) {
                if value.is_null() && !kind.removable().contains(&field) {
                    let what = format!(
                        "`{field}` of {} {} cannot be null: leave it out, or say what it should be",
                        kind.noun(),
                        item.name()
                    );
                    return Err(document.wrong(item.line(field), &what, None));
                }
                continue;
            }
            let sets = self.0.get(&kind).into_iter().flatten().flatten();
            let known = sets.map(String::as_str).chain(own.iter().copied());
            let what = format!("{} has no field `{field}`", kind.noun());
            return Err(document.wrong(item.line(field), &what, closest(field, known)));
        }
        Ok(())
    }
}
