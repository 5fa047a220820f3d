//! What a guest can reach: the event it is asked about, and its notebook.
//!
//! Owns the bindings made from `wit/`, and what is counted and kept of a run. Everything here
//! is bounded; nothing here reads a clock, a file or the network.

use std::sync::Arc;

use wasmtime::{
    ResourceLimiter, bail,
    component::{HasSelf, Linker, Resource},
};

use super::{
    document::Document,
    learn::{Fact, Trace},
    settings::Limits,
    wasi,
};
use crate::model::{Event, Log, Timestamp};

/// Most pointers kept of what a run read.
const MAX_READS: usize = 64;
/// Most pointers in one `get-many`.
const MAX_POINTERS: usize = 1_024;
/// What the answers of one `get-many` may come to, beside twice the payload.
const MANY_ANSWERS: usize = 64 << 10;
/// What a note costs beside its words, so that empty ones come to an end too.
const NOTE_OVERHEAD: usize = 16;
const CUT: &str = "… (cut: the limit of notes for a run is reached)";

/// The Rust side of `wit/plugin.wit`.
pub(super) mod bindings {
    pub(crate) mod filter {
        wasmtime::component::bindgen!({
            path: "../wit",
            world: "filter",
            with: { "hookmill:plugin/types.event": crate::plugin::host::EventHandle },
            imports: { default: trappable },
        });
    }
    pub(crate) mod transform {
        wasmtime::component::bindgen!({
            path: "../wit",
            world: "transform",
            with: {
                "hookmill:plugin/types": crate::plugin::host::bindings::filter::hookmill::plugin::types,
                "hookmill:plugin/log": crate::plugin::host::bindings::filter::hookmill::plugin::log,
            },
            imports: { default: trappable },
        });
    }
}

pub(super) use bindings::{
    filter::{
        FilterPre,
        hookmill::plugin::{log, types},
    },
    transform::TransformPre,
};

/// What a guest's handle of an event stands for. A run has one event, so it is empty.
#[derive(Debug, Clone, Copy)]
pub struct EventHandle;

/// The event as a step sees it: the facts as accepted, the payload as the steps before left it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) event: Arc<Event>,
    pub(super) document: Document,
}

/// A guest's side of the world: the data of its store.
pub(super) struct Guest {
    seen: Option<Arc<Seen>>,
    /// The pointers it read, each once.
    pub(super) reads: Vec<String>,
    /// Whether it read everything, or more than can be listed.
    pub(super) read_all: bool,
    /// What it asked, in order.
    pub(super) trace: Trace,
    /// Its notes.
    pub(super) notes: Vec<Log>,
    notes_left: usize,
    /// What it has of WASI.
    pub(super) wasi: wasi::State,
    /// Its memory.
    pub(super) meter: Meter,
}

impl Guest {
    /// A guest that is asked about `seen`, or only to describe itself.
    pub(super) fn new(seen: Option<Arc<Seen>>, limits: &Limits) -> Self {
        Self {
            seen,
            reads: Vec::new(),
            read_all: false,
            trace: Trace::default(),
            notes: Vec::new(),
            notes_left: limits.log_bytes,
            wasi: wasi::State::default(),
            meter: Meter {
                memory: 0,
                max_memory: limits.memory_bytes,
                elements: 0,
                max_elements: limits.table_elements,
                refused: false,
            },
        }
    }

    /// The event. A guest without one was given no handle to ask with.
    fn seen(&self) -> wasmtime::Result<&Seen> {
        match &self.seen {
            Some(seen) => Ok(seen),
            None => bail!("there is no event"),
        }
    }

    /// The time, to WASI: the event's. It is not listed among the reads, so it is all of them.
    pub(super) fn wasi_now(&mut self) -> Timestamp {
        self.read_all = true;
        self.trace.forbid();
        self.seen.as_ref().map_or(Timestamp::UNIX_EPOCH, |seen| seen.event.occurred_at)
    }

    /// Random bytes, to WASI: they follow from the event's id.
    pub(super) fn wasi_random(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.read_all = true;
        self.trace.forbid();
        let seed = self.seen.as_ref().map_or_else(String::new, |seen| seen.event.id.to_string());
        self.wasi.random(&seed, length)
    }

    /// Output by WASI: each line is a note.
    pub(super) fn wasi_write(
        &mut self,
        stream: wasi::Stream,
        bytes: &[u8],
    ) -> wasmtime::Result<()> {
        for line in self.wasi.write(stream, bytes)? {
            self.note(stream.level(), line);
        }
        Ok(())
    }

    /// After a run: lines that were never ended are notes too.
    pub(super) fn finish_output(&mut self) {
        for (stream, line) in self.wasi.rest() {
            if !line.is_empty() {
                self.note(stream.level(), line);
            }
        }
    }

    fn fact<T>(&mut self, asked: Fact, fact: impl FnOnce(&Event) -> T) -> wasmtime::Result<T> {
        self.trace.fact(asked);
        Ok(fact(&self.seen()?.event))
    }

    /// A fact that no two events share: what depends on it is not worth learning.
    fn own_fact(&mut self, fact: impl FnOnce(&Event) -> String) -> wasmtime::Result<String> {
        self.trace.forbid();
        Ok(fact(&self.seen()?.event))
    }

    fn read(&mut self, pointer: &str) -> wasmtime::Result<Option<String>> {
        let found = self.seen()?.document.get(pointer).map(Into::into);
        if self.reads.iter().any(|known| known == pointer) {
            return Ok(found);
        }
        if self.reads.len() < MAX_READS && pointer.len() <= 1_024 {
            self.trace.read(self.reads.len());
            self.reads.push(pointer.into());
        } else {
            // What is not listed must not look as if it had not been read.
            self.read_all = true;
            self.trace.forbid();
        }
        Ok(found)
    }
}

/// What the answers of one `get-many` may come to, for a payload of this size.
pub(super) const fn many_room(payload: usize) -> usize {
    2 * payload + MANY_ANSWERS
}

impl Guest {
    fn note(&mut self, level: &str, mut message: String) {
        if self.notes_left == 0 {
            return;
        }
        match self.notes_left.checked_sub(message.len() + NOTE_OVERHEAD) {
            Some(left) => self.notes_left = left,
            None => {
                cut(&mut message, self.notes_left);
                message.push_str(CUT);
                self.notes_left = 0;
            }
        }
        self.notes.push(Log { level: level.into(), message });
    }
}

impl types::Host for Guest {}

impl types::HostEvent for Guest {
    fn id(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.own_fact(|event| event.id.to_string())
    }

    fn event_type(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.fact(Fact::EventType, |event| event.event_type.to_string())
    }

    fn schema_version(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<u32> {
        self.fact(Fact::SchemaVersion, |event| event.schema_version)
    }

    fn application(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.fact(Fact::Application, |event| event.application_name.to_string())
    }

    fn occurred_at(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.own_fact(|event| event.occurred_at.to_string())
    }

    fn subject(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<Option<String>> {
        self.fact(Fact::Subject, |event| event.subject.clone())
    }

    fn get(
        &mut self,
        _: Resource<EventHandle>,
        pointer: String,
    ) -> wasmtime::Result<Option<String>> {
        self.read(&pointer)
    }

    fn get_many(
        &mut self,
        _: Resource<EventHandle>,
        pointers: Vec<String>,
    ) -> wasmtime::Result<Vec<Option<String>>> {
        if pointers.len() > MAX_POINTERS {
            bail!("get-many answers at most {MAX_POINTERS} pointers, not {}", pointers.len());
        }
        // The same large value asked for many times over must not become that much memory.
        let room = many_room(self.seen()?.document.bytes().len());
        let mut left = room;
        let mut answers = Vec::with_capacity(pointers.len());
        for pointer in &pointers {
            let answer = self.read(pointer)?;
            match left.checked_sub(answer.as_ref().map_or(0, String::len)) {
                Some(rest) => left = rest,
                None => {
                    bail!("get-many answers at most {MANY_ANSWERS} bytes beside twice the payload")
                }
            }
            answers.push(answer);
        }
        self.trace.many(room - left);
        Ok(answers)
    }

    fn raw(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<String> {
        self.read_all = true;
        self.trace.forbid();
        Ok(self.seen()?.document.text().into())
    }

    fn drop(&mut self, _: Resource<EventHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.note(level, message);
        Ok(())
    }
}

/// Cuts `text` to at most `bytes`, between two characters.
pub(super) fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
}

/// Counts a guest's memory and table elements, and refuses too much.
pub(super) struct Meter {
    /// Linear memory it has, in bytes. Memory never shrinks, so this is also the most it had.
    pub(super) memory: usize,
    max_memory: usize,
    elements: usize,
    max_elements: usize,
    /// Whether it asked for more than it may have.
    pub(super) refused: bool,
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(grow(&mut self.memory, self.max_memory, current, desired, &mut self.refused))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(grow(&mut self.elements, self.max_elements, current, desired, &mut self.refused))
    }

    fn instances(&self) -> usize {
        // The pool has the smaller number, and it was looked at when the plugin was uploaded.
        1_000
    }
}

fn grow(total: &mut usize, max: usize, current: usize, desired: usize, refused: &mut bool) -> bool {
    let wanted = total.saturating_add(desired.saturating_sub(current));
    if wanted > max {
        *refused = true;
        return false;
    }
    *total = wanted;
    true
}

/// Adds everything a plugin may import. The two worlds import the same.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    log::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_and_said_to_be_cut() {
        let mut guest = Guest::new(None, &Limits { log_bytes: 100, ..Limits::LEAN });
        for _ in 0..10 {
            log::Host::write(&mut guest, log::Level::Info, "ü".repeat(20)).unwrap();
        }
        assert_eq!(guest.notes.len(), 2);
        assert_eq!(guest.notes[0].message, "ü".repeat(20));
        assert_eq!(guest.notes[1].message, format!("{}{CUT}", "ü".repeat(20)));
    }

    #[test]
    fn empty_notes_come_to_an_end() {
        let mut guest = Guest::new(None, &Limits::LEAN);
        for _ in 0..10_000 {
            log::Host::write(&mut guest, log::Level::Debug, String::new()).unwrap();
        }
        assert!(guest.notes.len() <= Limits::LEAN.log_bytes / NOTE_OVERHEAD + 1);
    }

    #[test]
    fn growth_is_counted_over_all_memories() {
        let mut meter = Guest::new(None, &Limits { memory_bytes: 100, ..Limits::LEAN }).meter;
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert!(!meter.refused);
        assert!(!meter.memory_growing(40, 41, None).unwrap());
        assert!(meter.refused);
        assert_eq!(meter.memory, 100);
    }
}
