//! What a guest's WASI keeps during a run: random numbers, unfinished lines, and what is left of
//! what it may make.
//!
//! Everything here follows from the event, and everything has a bound.

use std::mem;

use sha2::{Digest, Sha256};
use wasmtime::bail;

/// Handles of streams and pollables a run may be given: each costs the host a little memory.
const MAX_HANDLES: u32 = 10_000;
/// Random bytes a run may be given: making them is work that fuel does not see.
const MAX_RANDOM: u64 = 1 << 20;
/// Bytes a run may print, most of which are over the limit of its notes anyway.
const MAX_OUTPUT: usize = 1 << 20;
/// Longest line of output that becomes one note.
const MAX_LINE: usize = 4 << 10;

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The level of its notes.
    pub(in crate::plugin) const fn level(self) -> &'static str {
        match self {
            Self::Stdout => "info",
            Self::Stderr => "warn",
        }
    }
}

/// What one run's WASI keeps.
#[derive(Debug)]
pub(in crate::plugin) struct State {
    handles_left: u32,
    random_left: u64,
    output_left: usize,
    block: [u8; 32],
    used: usize,
    counter: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            handles_left: MAX_HANDLES,
            random_left: MAX_RANDOM,
            output_left: MAX_OUTPUT,
            block: [0; 32],
            // As if all of a block were used: the first byte makes one.
            used: 32,
            counter: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }
}

impl State {
    /// Counts a handle that the guest is about to be given.
    pub(super) fn handle(&mut self) -> wasmtime::Result<()> {
        match self.handles_left.checked_sub(1) {
            Some(left) => {
                self.handles_left = left;
                Ok(())
            }
            None => bail!("a run may be given at most {MAX_HANDLES} handles of WASI"),
        }
    }

    /// The next random bytes: SHA-256 of `seed` and a counter, so that the same run is given
    /// the same ones on every server.
    pub(in crate::plugin) fn random(
        &mut self,
        seed: &str,
        length: u64,
    ) -> wasmtime::Result<Vec<u8>> {
        let Some(left) = self.random_left.checked_sub(length) else {
            bail!("a run may be given at most {MAX_RANDOM} random bytes, and it asked for more");
        };
        self.random_left = left;
        let mut bytes = Vec::new();
        for _ in 0..length {
            if self.used == self.block.len() {
                let mut hash = Sha256::new();
                hash.update(seed.as_bytes());
                hash.update(self.counter.to_le_bytes());
                self.block = hash.finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            bytes.push(self.block[self.used]);
            self.used += 1;
        }
        Ok(bytes)
    }

    /// Adds output; answers the lines that are whole now.
    pub(in crate::plugin) fn write(
        &mut self,
        stream: Stream,
        bytes: &[u8],
    ) -> wasmtime::Result<Vec<String>> {
        let Some(left) = self.output_left.checked_sub(bytes.len()) else {
            bail!("a run may print at most {MAX_OUTPUT} bytes");
        };
        self.output_left = left;
        let rest = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            for piece in part.chunks(MAX_LINE) {
                rest.extend_from_slice(piece);
                if rest.ends_with(b"\n") || rest.len() >= MAX_LINE {
                    lines.push(text(&mem::take(rest)));
                }
            }
        }
        Ok(lines)
    }

    /// The lines that were never ended.
    pub(in crate::plugin) fn rest(&mut self) -> [(Stream, String); 2] {
        [
            (Stream::Stdout, text(&mem::take(&mut self.stdout))),
            (Stream::Stderr, text(&mem::take(&mut self.stderr))),
        ]
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_however_they_are_asked_for() {
        let whole = State::default().random("evt_a", 100).unwrap();
        let mut state = State::default();
        let parts = [1, 31, 32, 36].map(|length| state.random("evt_a", length).unwrap());
        assert_eq!(parts.concat(), whole);
        assert_ne!(State::default().random("evt_b", 100).unwrap(), whole);
    }

    #[test]
    fn handles_and_random_bytes_are_bounded() {
        let mut state = State::default();
        assert!((0..MAX_HANDLES).all(|_| state.handle().is_ok()));
        assert!(state.handle().is_err());
        assert!(state.random("", MAX_RANDOM - 1).is_ok());
        assert!(state.random("", 2).is_err());
        assert!(state.random("", u64::MAX).is_err());
        assert!(state.random("", 1).is_ok());
    }

    #[test]
    fn output_becomes_lines() {
        let mut state = State::default();
        assert_eq!(state.write(Stream::Stdout, b"a\nb").unwrap(), ["a"]);
        assert_eq!(state.write(Stream::Stderr, b"x\xff\n").unwrap(), ["x\u{fffd}"]);
        assert_eq!(state.write(Stream::Stdout, b"c\n\nd").unwrap(), ["bc", ""]);
        let long = "y".repeat(2 * MAX_LINE + 1);
        assert_eq!(state.write(Stream::Stderr, long.as_bytes()).unwrap().len(), 2);
        let rest = state.rest();
        assert_eq!(rest[0], (Stream::Stdout, "d".into()));
        assert_eq!(rest[1], (Stream::Stderr, "y".into()));
        assert!(state.write(Stream::Stderr, &vec![b'z'; MAX_OUTPUT]).is_err());
    }
}
