//! Why requests to sources were refused: the reasons there are, and the last of each source.
//!
//! Kept in memory and bounded: what a third party was refused it sends again, so a list that is
//! gone after a restart fills again, and the metrics count all of them. Of a request that was not
//! verified nothing is kept but that it came: its senders are anybody.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{SourceId, Timestamp};

/// Most verified requests of a source whose refusal is remembered.
const VERIFIED: usize = 100;
/// The same of requests that were not verified, one for each reason.
const UNVERIFIED: usize = 16;
/// Most refusals that are remembered of all sources together. If there are more, those of the
/// source that refused nothing for the longest time go.
const ALL: usize = 20_000;
/// Longest text that is remembered, in bytes.
const MOST: usize = 500;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The source has no secret yet.
    NoSecret,
    /// What the signature takes is not there.
    MissingHeader,
    /// What the signature takes cannot be read.
    MalformedHeader,
    /// What the signature takes is there twice.
    RepeatedHeader,
    /// It was signed too long ago.
    TooOld,
    /// It was signed in the future.
    TooNew,
    /// It was signed with another secret, or changed.
    NoMatch,
    /// Its body was too large or too slow, or was cut off.
    Unreadable,
    /// Its body is of a type that is not taken.
    ContentType,
    /// Its body is not JSON.
    Malformed,
    /// It says nothing that could be its event type.
    NoEventType,
    /// It has no id to tell repetitions by, or no usable one.
    NoDeliveryId,
    /// Its event type was never created.
    UnknownEventType,
    /// Its payload does not satisfy the event type's schema.
    SchemaViolation,
    /// The source's own plugins failed.
    TransformFailed,
    /// Its application publishes more than it may.
    RateLimited,
    /// Its payload is larger than its event type takes.
    TooLarge,
    /// Its application stores as much as it may.
    QuotaExceeded,
    /// Too much was waiting to be stored.
    Overloaded,
    /// It could not be stored.
    Storage,
}

impl Reason {
    /// As in JSON, and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            Self::MissingHeader => "missing_header",
            Self::MalformedHeader => "malformed_header",
            Self::RepeatedHeader => "repeated_header",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::NoMatch => "no_match",
            Self::Unreadable => "unreadable",
            Self::ContentType => "content_type",
            Self::Malformed => "malformed",
            Self::NoEventType => "no_event_type",
            Self::NoDeliveryId => "no_delivery_id",
            Self::UnknownEventType => "unknown_event_type",
            Self::SchemaViolation => "schema_violation",
            Self::TransformFailed => "transform_failed",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Overloaded => "overloaded",
            Self::Storage => "storage",
        }
    }
}

/// A refusal, for whoever reads the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In a word.
    pub reason: Reason,
    /// In a sentence.
    pub detail: String,
}

impl Refusal {
    /// Of a reason.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// Of a request to a source that is not there: nobody is told, so nothing is said.
    pub(super) const fn no_source() -> Self {
        Self { reason: Reason::NoSecret, detail: String::new() }
    }
}

/// A refused request, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refused {
    /// When it came; of several alike, the last.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whether its signature was good: then it is an event that was not taken.
    pub verified: bool,
    /// Why it was refused, in a word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub detail: String,
    /// The third party's id for it, if it was verified and has one.
    pub delivery_id: Option<String>,
    /// The event type it would have had, if it was verified and has one.
    pub event_type: Option<String>,
    /// How many there were like it. Those that were not verified are counted by reason.
    pub count: u64,
}

#[derive(Debug)]
struct Lists {
    since: Timestamp,
    verified: VecDeque<Refused>,
    unverified: VecDeque<Refused>,
}

impl Lists {
    const fn new(since: Timestamp) -> Self {
        Self { since, verified: VecDeque::new(), unverified: VecDeque::new() }
    }

    fn len(&self) -> usize {
        self.verified.len() + self.unverified.len()
    }

    /// When the last of them came.
    fn last(&self) -> Option<Timestamp> {
        let newest = [self.verified.front(), self.unverified.front()];
        newest.into_iter().flatten().map(|refused| refused.at).max()
    }
}

/// The last refusals of every source.
#[derive(Debug)]
pub(super) struct Refusals {
    /// When it began to remember.
    began: Timestamp,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<SourceId, Lists>,
    /// How many refusals are in all of them.
    count: usize,
}

impl Refusals {
    /// Nothing was refused yet.
    pub(super) fn new(began: Timestamp) -> Self {
        Self { began, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers one, in place of the oldest if there are many.
    pub(super) fn note(&self, source: SourceId, mut refused: Refused) {
        for text in [&mut refused.detail].into_iter().chain(&mut refused.delivery_id) {
            text.truncate(text.floor_char_boundary(MOST));
        }
        let at = refused.at;
        let mut kept = self.kept();
        let Kept { lists: all, count } = &mut *kept;
        let lists = all.entry(source).or_insert_with(|| Lists::new(self.began));
        *count -= lists.len();
        let (list, most) = if refused.verified {
            (&mut lists.verified, VERIFIED)
        } else {
            (&mut lists.unverified, UNVERIFIED)
        };
        // A third party repeats what was refused: that is one event, refused again.
        let alike = list.iter().position(|old| {
            old.reason == refused.reason
                && old.event_type == refused.event_type
                && old.delivery_id == refused.delivery_id
        });
        if let Some(old) = alike.and_then(|at| list.remove(at)) {
            refused.count += old.count;
        }
        list.push_front(refused);
        list.truncate(most);
        *count += lists.len();
        if *count > ALL {
            let others = all.iter_mut().filter(|(id, lists)| **id != source && lists.len() > 0);
            if let Some((_, lists)) = others.min_by_key(|(_, lists)| lists.last()) {
                *count -= lists.len();
                *lists = Lists::new(at);
            }
        }
    }

    /// Those of a source, newest first, and since when they are remembered.
    pub(super) fn of(&self, source: SourceId) -> (Timestamp, Vec<Refused>) {
        let kept = self.kept();
        let Some(lists) = kept.lists.get(&source) else { return (self.began, Vec::new()) };
        let mut list: Vec<_> = lists.verified.iter().chain(&lists.unverified).cloned().collect();
        list.sort_by_key(|refused| std::cmp::Reverse(refused.at));
        (lists.since, list)
    }

    /// Forgets those of a source that is gone.
    pub(super) fn forget(&self, source: SourceId) {
        let mut kept = self.kept();
        let gone = kept.lists.remove(&source);
        kept.count -= gone.map_or(0, |lists| lists.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(second: i64, reason: Reason, delivery_id: Option<&str>) -> Refused {
        Refused {
            at: Timestamp::from_second(second).unwrap(),
            verified: delivery_id.is_some(),
            reason,
            detail: "é".repeat(MOST),
            delivery_id: delivery_id.map(Into::into),
            event_type: None,
            count: 1,
        }
    }

    #[test]
    fn a_flood_of_what_anybody_may_send_drives_out_nothing_that_matters() {
        let source = SourceId::new(Timestamp::UNIX_EPOCH);
        let refusals = Refusals::new(Timestamp::UNIX_EPOCH);
        refusals.note(source, refused(0, Reason::UnknownEventType, Some("a")));
        refusals.note(source, refused(1, Reason::UnknownEventType, Some("a")));
        for second in 2..1000 {
            refusals.note(source, refused(second, Reason::NoMatch, None));
        }
        let (since, list) = refusals.of(source);
        assert_eq!((since, list.len()), (Timestamp::UNIX_EPOCH, 2));
        assert_eq!((list[0].reason, list[0].count), (Reason::NoMatch, 998));
        assert_eq!((list[1].delivery_id.as_deref(), list[1].count), (Some("a"), 2));
        assert_eq!(list[0].detail.len(), MOST);
        for id in 0..1000 {
            let delivery = id.to_string();
            refusals.note(source, refused(2000, Reason::SchemaViolation, Some(&delivery)));
        }
        assert_eq!(refusals.of(source).1.len(), VERIFIED + 1);
        refusals.forget(source);
        assert!(refusals.of(source).1.is_empty());
    }

    #[test]
    fn the_refusals_of_all_sources_are_bounded_and_the_oldest_go_first() {
        let now = Timestamp::UNIX_EPOCH;
        let refusals = Refusals::new(now);
        let sources: Vec<SourceId> = (0..300).map(|_| SourceId::new(now)).collect();
        for (second, source) in (1..).zip(&sources) {
            for id in 0..VERIFIED {
                let delivery = id.to_string();
                refusals.note(*source, refused(second, Reason::NoMatch, Some(&delivery)));
            }
        }
        let kept: Vec<_> = sources.iter().map(|source| refusals.of(*source)).collect();
        let counts: Vec<usize> = kept.iter().map(|(_, list)| list.len()).collect();
        assert!(counts.iter().sum::<usize>() <= ALL);
        let first = counts.iter().position(|count| *count > 0).unwrap();
        assert_eq!(first, 300 - ALL / VERIFIED);
        assert!(counts[first..].iter().all(|count| *count == VERIFIED));
        // What is gone is not said never to have been.
        assert!(kept[0].0 > now && kept[first].0 == now);
    }
}
