//! The index of a JSON text: where each of its values begins and ends.
//!
//! One pass over the text, which is also a full check of its grammar (RFC 8259). Owns the
//! shape of the index; never copies or changes the text.

/// Deepest nesting of arrays and objects.
pub(super) const MAX_DEPTH: u32 = 128;

/// One value. Nodes stand in the order of the text, so a value's children follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// Its first byte.
    pub(super) start: u32,
    /// The byte after its last.
    pub(super) end: u32,
    /// The index of the first node that is not within it.
    pub(super) next: u32,
    /// The opening quote of its key; the same as `start` for what has no key.
    pub(super) key: u32,
    /// The byte after the key's closing quote; the same as `start` for what has no key.
    pub(super) key_end: u32,
}

impl Node {
    pub(super) const fn has_key(&self) -> bool {
        self.key != self.start
    }
}

/// Why a text is not acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    #[error("not JSON: its content type says so")]
    NotJson,
    #[error("nested more deeply than {MAX_DEPTH}")]
    TooDeep,
    #[error("larger than 4 GiB")]
    TooLarge,
}

/// Indexes `text`; the first node is the whole document.
pub(super) fn scan(text: &str) -> Result<Vec<Node>, Malformed> {
    if u32::try_from(text.len()).is_err() {
        return Err(Malformed::TooLarge);
    }
    // A value for every sixteen bytes is about what real payloads have.
    let mut scan =
        Scan { bytes: text.as_bytes(), at: 0, nodes: Vec::with_capacity(text.len() / 16 + 1) };
    scan.space();
    scan.value(None, 0)?;
    scan.space();
    if scan.at == text.len() { Ok(scan.nodes) } else { Err(scan.wrong()) }
}

/// What ends a run of plain bytes in a string: quote, backslash, control characters.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl Scan<'_> {
    fn wrong(&self) -> Malformed {
        Malformed::Syntax(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    /// Positions fit: `scan` has looked at the length.
    fn position(&self) -> u32 {
        self.at as u32
    }

    fn value(&mut self, key: Option<(u32, u32)>, depth: u32) -> Result<(), Malformed> {
        let index = self.nodes.len();
        let start = self.position();
        let (key, key_end) = key.unwrap_or((start, start));
        self.nodes.push(Node { start, end: start, next: 0, key, key_end });
        match self.peek() {
            Some(b'{') => self.object(depth + 1)?,
            Some(b'[') => self.array(depth + 1)?,
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            _ => return Err(self.wrong()),
        }
        let (end, next) = (self.position(), self.nodes.len() as u32);
        let node = &mut self.nodes[index];
        node.end = end;
        node.next = next;
        Ok(())
    }

    fn object(&mut self, depth: u32) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.position();
            if self.peek() != Some(b'"') {
                return Err(self.wrong());
            }
            self.string()?;
            let key_end = self.position();
            self.space();
            self.expect(b':')?;
            self.space();
            self.value(Some((key, key_end)), depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b'}'),
            }
            self.space();
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(None, depth)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b']'),
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(plain) = rest.iter().position(|&b| SPECIAL[usize::from(b)]) else {
                self.at = self.bytes.len();
                return Err(self.wrong());
            };
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => match rest.get(plain + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'u')
                        if rest
                            .get(plain + 2..plain + 6)
                            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
                    {
                        self.at += 6;
                    }
                    _ => return Err(self.wrong()),
                },
                _ => return Err(self.wrong()),
            }
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == from { Err(self.wrong()) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_serde_json_accepts() {
        for text in [
            "",
            " ",
            "1",
            "-0",
            "01",
            "-",
            "1.",
            "1.5e",
            "1.5e+3",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\u{1}\"",
            "\"ü\\n\\u00e9\"",
            "[",
            "[]",
            "[1,]",
            "[1 2]",
            "{",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            " { \"a\" : [ true , false , null ] } ",
            "nul",
            "nulll",
            "{\"a\":1}}",
            "[1]x",
            "\u{feff}1",
        ] {
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(text);
            assert_eq!(scan(text).is_ok(), serde.is_ok(), "{text:?}: {:?}", scan(text));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(scan(&nested(128)).is_ok());
        assert_eq!(scan(&nested(129)), Err(Malformed::TooDeep));
        assert_eq!(scan(&nested(1_000_000)), Err(Malformed::TooDeep));
    }
}
