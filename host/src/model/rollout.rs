//! What happens to plugin versions after their upload: which was live when, what is tried
//! beside it, what was taken out of service, what failed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApplicationId, EventId, FailureKind, Log, Sha256};

/// What was done to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeAction {
    /// A version was uploaded and made live.
    Upload,
    /// A version was made live.
    Promote,
    /// The version that was live before was made live again.
    Rollback,
    /// A candidate began to take a share of the events.
    CanaryStart,
    /// A canary was ended by request.
    CanaryEnd,
    /// A canary was ended by the server: the note says why.
    CanaryStop,
    /// A candidate began to run beside the live version.
    ShadowStart,
    /// A shadow was ended by request.
    ShadowEnd,
    /// The server took a version out of service for an application: the note says why.
    Quarantine,
    /// A quarantine was lifted.
    Release,
}

impl ChangeAction {
    /// The action's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::CanaryStart => "canary-start",
            Self::CanaryEnd => "canary-end",
            Self::CanaryStop => "canary-stop",
            Self::ShadowStart => "shadow-start",
            Self::ShadowEnd => "shadow-end",
            Self::Quarantine => "quarantine",
            Self::Release => "release",
        }
    }

    /// Whether `live` moved.
    pub const fn moves_live(self) -> bool {
        matches!(self, Self::Upload | Self::Promote | Self::Rollback)
    }
}

/// One line of a plugin's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PluginChange {
    /// Its owner; none for plugins the platform shares with every application.
    #[schema(value_type = Option<String>)]
    pub application: Option<ApplicationId>,
    /// The plugin.
    pub name: String,
    /// What was done.
    pub action: ChangeAction,
    /// The version before: the one that was live, or the one concerned.
    pub from: Option<String>,
    /// The version after.
    pub to: Option<String>,
    /// Who: the key's id, or `server` for what it did by itself.
    pub by: String,
    /// Whether saved configs that the version refuses were accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// Why, when there is a reason to give.
    pub note: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// How a candidate is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RolloutMode {
    /// A share of the events is delivered as the candidate decides.
    Canary,
    /// The candidate runs beside the live version; what it decides is compared, never sent.
    Shadow,
}

/// A candidate version tried on live events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The plugin's owner; none for shared ones.
    #[schema(value_type = Option<String>)]
    pub application: Option<ApplicationId>,
    /// The plugin.
    pub name: String,
    /// The candidate.
    pub version: String,
    /// How it is tried.
    pub mode: RolloutMode,
    /// The share of events that run through it, in hundredths of a percent: chosen by a hash
    /// of the event's id, so that every subscription sees the same choice.
    pub share: u16,
    /// When a canary goes back by itself.
    pub limits: RolloutLimits,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}

impl Rollout {
    /// The share of all events.
    pub const ALL: u16 = 10_000;

    /// Where an event stands among all: from 0 to [`Self::ALL`], the same on every server.
    /// The first four bytes of the SHA-256 of the id's text, modulo 10,000.
    pub fn place(event: EventId) -> u16 {
        let [a, b, c, d, ..] = Sha256::of(event.to_string().as_bytes()).0;
        // Below ALL, so it fits.
        (u32::from_be_bytes([a, b, c, d]) % u32::from(Self::ALL)) as u16
    }
}

/// When a canary goes back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutLimits {
    /// Percent of the candidate's runs that may fail beyond the live version's own share.
    #[schema(minimum = 0, maximum = 100)]
    pub fault_percent: f64,
    /// How many times the live version's mean fuel the candidate's may be.
    #[schema(minimum = 1)]
    pub fuel_ratio: f64,
    /// Runs of the candidate before anything is concluded; for fuel, of both versions.
    #[schema(minimum = 1)]
    pub runs: u64,
}

impl Default for RolloutLimits {
    fn default() -> Self {
        Self { fault_percent: 1.0, fuel_ratio: 2.0, runs: 20 }
    }
}

/// A version that is out of service for an application's subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Quarantine {
    /// Whose deliveries wait.
    #[schema(value_type = String)]
    pub application: ApplicationId,
    /// The component.
    #[schema(value_type = String)]
    pub sha256: Sha256,
    /// The plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A failed run, kept for the plugin's author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PluginFailure {
    /// The application whose event it was.
    #[schema(value_type = String)]
    pub application: ApplicationId,
    /// The plugin.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The component.
    #[schema(value_type = String)]
    pub sha256: Sha256,
    /// The event it was asked about.
    pub event_id: EventId,
    /// The step's config, as JSON text.
    pub config: String,
    /// The failure's name.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// The guest's functions, innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// What it noted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<Log>,
    /// Fuel used.
    pub fuel: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_spread_evenly_over_the_places() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let below = |share| {
            let places = (0..20_000).map(|_| Rollout::place(EventId::new(now)));
            places.filter(|&place| place < share).count()
        };
        // Four standard deviations around the mean of 20,000 draws.
        assert!((1830..=2170).contains(&below(1_000)), "{}", below(1_000));
        assert_eq!(below(0), 0);
        assert_eq!(below(Rollout::ALL), 20_000);
    }

    #[test]
    fn words_agree_with_their_json() {
        for action in [ChangeAction::CanaryStop, ChangeAction::Upload, ChangeAction::Release] {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }
}
