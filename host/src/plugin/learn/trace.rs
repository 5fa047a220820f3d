//! What a run asked of its event, in order, and the answers as a tree compares them.
//!
//! Owns the questions: every way in which a filter can see its event is one, or forbids that
//! the run is learned. Never keeps a payload: answers are read from the event again.

use std::{cmp::Ordering, sync::Arc};

use sha2::{Digest, Sha256};

use crate::plugin::{document::Known, host::Seen};

/// Answers up to this many bytes are compared whole, longer ones by their SHA-256.
pub(super) const WHOLE: usize = 32;
/// Most different questions of a run that is learned.
const MAX_QUESTIONS: usize = 64;
/// Payloads up to this size are searched on any thread; larger ones only by the plugin threads.
const QUICK: usize = 64 << 10;

/// A fact that many events have in common. What is an event's own, its id and its time, is
/// none: a path that holds it would never be followed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Fact {
    EventType,
    SchemaVersion,
    Application,
    Subject,
}

/// Something a run asked for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Fact(Fact),
    /// The pointer of this number in the run's list of reads.
    Read(usize),
}

/// The questions of one run, in order, each once: the second answer is the first one's.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Trace {
    asked: Vec<Asked>,
    /// The most that the answers of one `get-many` came to.
    many: usize,
    forbidden: bool,
}

impl Trace {
    /// The run asked for a fact.
    pub(in crate::plugin) fn fact(&mut self, fact: Fact) {
        if !self.asked.contains(&Asked::Fact(fact)) {
            self.push(Asked::Fact(fact));
        }
    }

    /// The run read a pointer for the first time: the one of this number in its list.
    pub(in crate::plugin) fn read(&mut self, number: usize) {
        self.push(Asked::Read(number));
    }

    /// The answers of a `get-many` came to so many bytes.
    pub(in crate::plugin) fn many(&mut self, bytes: usize) {
        self.many = self.many.max(bytes);
    }

    /// The run saw something that no question stands for: it may not be learned.
    pub(in crate::plugin) const fn forbid(&mut self) {
        self.forbidden = true;
    }

    fn push(&mut self, asked: Asked) {
        if self.asked.len() < MAX_QUESTIONS {
            self.asked.push(asked);
        } else {
            self.forbidden = true;
        }
    }

    /// The most that the answers of one `get-many` came to.
    pub(super) const fn most_at_once(&self) -> usize {
        self.many
    }

    /// The questions, the pointers among them taken from `reads` and made names of; none if the
    /// run may not be learned.
    pub(super) fn questions(
        &self,
        reads: &[String],
        name: impl Fn(&str) -> Arc<str>,
    ) -> Option<Vec<Question>> {
        if self.forbidden {
            return None;
        }
        let question = |asked: &Asked| match *asked {
            Asked::Fact(fact) => Some(Question::Fact(fact)),
            Asked::Read(number) => Some(Question::Pointer(name(reads.get(number)?))),
        };
        self.asked.iter().map(question).collect()
    }
}

/// Something a run can ask of its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    Fact(Fact),
    Pointer(Arc<str>),
}

/// What kind of answer a key's bytes are. Keys of different kinds are never equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Nothing,
    Whole,
    Sha256,
}

/// An answer as it is compared: nothing, the whole text, or the SHA-256 of a long one. In one
/// piece, for a look-up is mostly waiting for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    kind: Kind,
    len: u8,
    bytes: [u8; WHOLE],
}

impl Answer {
    pub(super) const NOTHING: Self = Self { kind: Kind::Nothing, len: 0, bytes: [0; WHOLE] };

    pub(super) fn of(text: &[u8]) -> Self {
        if text.len() <= WHOLE {
            Self::new(Kind::Whole, text)
        } else {
            Self::new(Kind::Sha256, &Sha256::digest(text))
        }
    }

    /// `bytes` are at most [`WHOLE`].
    fn new(kind: Kind, bytes: &[u8]) -> Self {
        let mut kept = [0; WHOLE];
        kept[..bytes.len()].copy_from_slice(bytes);
        Self { kind, len: bytes.len() as u8, bytes: kept }
    }

    /// How it compares with another, in some order that is the same every time.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        (self.kind, self.len, &self.bytes).cmp(&(other.kind, other.len, &other.bytes))
    }
}

/// How much time an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Patience {
    /// Almost none: on a thread that others wait for.
    Little,
    /// As much as a run: on a plugin thread.
    Enough,
}

/// The answer to a question. None if finding it takes more patience than there is.
pub(super) fn answer(seen: &Seen, question: &Question, patience: Patience) -> Option<Answer> {
    let event = &seen.event;
    Some(match question {
        Question::Fact(Fact::EventType) => Answer::of(event.event_type.as_str().as_bytes()),
        Question::Fact(Fact::SchemaVersion) => {
            Answer::new(Kind::Whole, &event.schema_version.to_be_bytes())
        }
        Question::Fact(Fact::Application) => Answer::of(event.application_name.as_bytes()),
        Question::Fact(Fact::Subject) => {
            event.subject.as_ref().map_or(Answer::NOTHING, |subject| Answer::of(subject.as_bytes()))
        }
        Question::Pointer(pointer) => {
            let document = &seen.document;
            let known = match document.known(pointer) {
                Some(known) => known,
                None if patience == Patience::Little && document.bytes().len() > QUICK => {
                    return None;
                }
                None => document.find(pointer, WHOLE),
            };
            match known {
                Known::Nothing => Answer::NOTHING,
                Known::Long(sha256) => Answer::new(Kind::Sha256, &sha256),
                Known::Short(text) => {
                    // Where `find` found it.
                    Answer::new(Kind::Whole, document.bytes().get(text)?)
                }
            }
        }
    })
}
