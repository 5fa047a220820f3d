//! Reads SQLite's write-ahead log for what it is worth, without SQLite: how far it is whole,
//! and whether what is not whole may have been acknowledged. Never changes it but to cut off
//! what nobody can read any more, and keeps that beside it.
//!
//! SQLite itself takes the log up to the first frame whose checksum is wrong and says nothing
//! of the rest. After a loss of power that is right: a commit is answered when the log is on
//! disk, so only the last transaction can be torn, and it was never answered. When frames of
//! later transactions follow the wrong one, a committed one was damaged.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// The log's own header, and that of each frame.
const HEADER: usize = 32;
const FRAME: usize = 24;

/// What a log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogState {
    /// Bytes up to the end of the last whole transaction.
    pub whole: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Bytes behind it.
    pub rest: u64,
    /// The frame, counted from 1, that cannot be read although a committed transaction
    /// ends with it or follows it; 0 is the log's header.
    pub damaged: Option<u64>,
}

/// `-wal` beside a database.
pub fn log_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

/// A file beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads the log of a database that nobody has open. One that is not there is an empty one.
pub fn inspect(database: &Path) -> io::Result<LogState> {
    let file = match File::open(log_of(database)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LogState::default()),
        Err(error) => return Err(error),
    };
    let bytes = file.metadata()?.len();
    let mut state = walk(&mut BufReader::with_capacity(1 << 20, file))?;
    state.rest = bytes.saturating_sub(state.whole);
    Ok(state)
}

/// Cuts a damaged log, of a database that nobody has open, after its last whole transaction.
/// Answers the file in which what it was is kept; none if there is nothing to cut.
pub fn cut(database: &Path) -> io::Result<Option<PathBuf>> {
    let _alone = super::backup::alone(database).map_err(io::Error::other)?;
    let state = inspect(database)?;
    if state.damaged.is_none() {
        return Ok(None);
    }
    let kept = beside(database, "-wal-damaged");
    std::fs::copy(log_of(database), &kept)?;
    let log = File::options().write(true).open(log_of(database))?;
    log.set_len(state.whole)?;
    log.sync_all()?;
    Ok(Some(kept))
}

fn walk(log: &mut impl Read) -> io::Result<LogState> {
    let mut header = [0; HEADER];
    if fill(log, &mut header)? < HEADER {
        return Ok(LogState::default());
    }
    let Some(start) = Start::read(&header) else {
        // A header is written in one piece. One of zeros was not written yet.
        let damaged = header.iter().any(|&byte| byte != 0).then_some(0);
        return Ok(LogState { damaged, ..LogState::default() });
    };
    let mut state = LogState { whole: HEADER as u64, ..LogState::default() };
    let mut sums = start.sums;
    let mut frame = vec![0; FRAME + start.page];
    let mut end = HEADER as u64;
    let (mut number, mut broken, mut commits_after) = (0, None, 0u64);
    while fill(log, &mut frame)? == frame.len() {
        number += 1;
        end += frame.len() as u64;
        let ours = frame[8..16] == start.salts;
        let commits = word(&frame, 4) != 0;
        if broken.is_none() && ours {
            sums = start.sum(sums, &frame[..8]);
            sums = start.sum(sums, &frame[FRAME..]);
            if sums == (word(&frame, 16), word(&frame, 20)) {
                if commits {
                    state.whole = end;
                    state.transactions += 1;
                }
                continue;
            }
        }
        let first = *broken.get_or_insert(number);
        // What an earlier turn of the log left behind has other salts and means nothing.
        if ours && commits_after > 0 {
            state.damaged = Some(first);
            break;
        }
        // Of the broken frame itself nothing is sure, its salts included.
        commits_after += u64::from((ours || first == number) && commits);
    }
    Ok(state)
}

/// What the log's header says.
struct Start {
    page: usize,
    salts: [u8; 8],
    sums: (u32, u32),
    /// Whether checksums read their words big end first.
    big: bool,
}

impl Start {
    fn read(header: &[u8; HEADER]) -> Option<Self> {
        let big = match word(header, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page = word(header, 8) as usize;
        if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
            return None;
        }
        let salts = header[16..24].try_into().ok()?;
        let mut start = Self { page, salts, sums: (0, 0), big };
        start.sums = start.sum((0, 0), &header[..24]);
        (start.sums == (word(header, 24), word(header, 28))).then_some(start)
    }

    fn sum(&self, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let read = if self.big { u32::from_be_bytes } else { u32::from_le_bytes };
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(read([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(b);
            b = b.wrapping_add(read([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(a);
        }
        (a, b)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads until `buffer` is full or nothing is left; answers how much it read.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of transactions with these numbers of frames, as SQLite writes it.
    fn log(transactions: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [0x377f_0682u32, 3_007_000, 512, 0, 7, 9] {
            bytes.extend(number.to_be_bytes());
        }
        let mut start = Start { page: 512, salts: [0; 8], sums: (0, 0), big: false };
        start.salts.copy_from_slice(&bytes[16..24]);
        let mut sums = start.sum((0, 0), &bytes);
        bytes.extend(sums.0.to_be_bytes());
        bytes.extend(sums.1.to_be_bytes());
        for &frames in transactions {
            for frame in 1..=frames {
                let mut head = [1u32.to_be_bytes(), [0; 4]].concat();
                head[7] = u8::from(frame == frames);
                let page = [frame as u8; 512];
                sums = start.sum(start.sum(sums, &head), &page);
                bytes.extend(head);
                bytes.extend(start.salts);
                bytes.extend(sums.0.to_be_bytes());
                bytes.extend(sums.1.to_be_bytes());
                bytes.extend(page);
            }
        }
        bytes
    }

    fn state(bytes: &[u8]) -> LogState {
        walk(&mut &*bytes).unwrap()
    }

    const ONE: usize = FRAME + 512;

    #[test]
    fn a_whole_log_is_whole() {
        let bytes = log(&[2, 1]);
        let found = state(&bytes);
        assert_eq!((found.whole, found.transactions, found.damaged), (bytes.len() as u64, 2, None));
        assert_eq!(state(&[]), LogState::default());
    }

    #[test]
    fn a_torn_end_is_no_damage() {
        let whole = log(&[2, 1]).len() as u64;
        // Cut off anywhere, or with pages that never arrived: the last was never answered.
        let mut torn = log(&[2, 1, 3]);
        torn.truncate(torn.len() - 100);
        assert_eq!((state(&torn).whole, state(&torn).damaged), (whole, None));
        let mut torn = log(&[2, 1, 3]);
        torn[HEADER + 4 * ONE + 50] ^= 1;
        assert_eq!((state(&torn).whole, state(&torn).damaged), (whole, None));
        let mut garbage = log(&[2, 1]);
        garbage.extend([0xAB; 3 * ONE]);
        assert_eq!((state(&garbage).whole, state(&garbage).damaged), (whole, None));
    }

    #[test]
    fn what_was_committed_and_cannot_be_read_is_damage() {
        let mut bytes = log(&[2, 1, 3]);
        bytes[HEADER + ONE + 50] ^= 1;
        let found = state(&bytes);
        assert_eq!((found.whole, found.damaged), (HEADER as u64, Some(2)));
        // Its own salts, and the log's header.
        let mut bytes = log(&[1, 1]);
        bytes[HEADER + 10] ^= 1;
        assert_eq!(state(&bytes).damaged, Some(1));
        let mut bytes = log(&[1, 1]);
        bytes[17] ^= 1;
        assert_eq!((state(&bytes).whole, state(&bytes).damaged), (0, Some(0)));
    }

    #[test]
    fn what_an_earlier_turn_of_the_log_left_means_nothing() {
        let whole = log(&[2, 1]).len();
        let mut bytes = log(&[2, 1, 1, 1]);
        for frame in [3, 4] {
            bytes[HEADER + frame * ONE + 8] = 0xFF;
        }
        assert_eq!((state(&bytes).whole, state(&bytes).damaged), (whole as u64, None));
    }
}
