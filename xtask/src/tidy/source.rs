//! A file, and for Rust the same text without its comments, strings and tests.
//!
//! Owns just enough of Rust's grammar to tell code from what merely looks like it. Never
//! parses: a rule that needs more than text belongs in a lint.

/// A file of the tree.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Rust only: comments and the insides of literals replaced by spaces, so that columns
    /// and lines stay.
    pub(crate) code: String,
    /// Rust only: `code` with test modules replaced by spaces too.
    pub(crate) product: String,
    /// Rust only: string literals outside tests, with the lines they begin on.
    pub(crate) strings: Vec<(usize, String)>,
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Self {
        if !path.ends_with(".rs") {
            let (code, product) = (String::new(), String::new());
            return Self { path, text, code, product, strings: Vec::new() };
        }
        let (code, literals) = blank(&text);
        let product = if is_test(&path) { without_all(&code) } else { without_tests(&code) };
        let strings = literals
            .into_iter()
            // A literal's quotes are still there, unless its test module was blanked.
            .filter(|&(at, _)| product.as_bytes().get(at) == code.as_bytes().get(at))
            .map(|(at, literal)| (line_of(&text, at), literal))
            .collect();
        Self { path, text, code, product, strings }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines of `within` that have `needle` in them.
    pub(crate) fn lines_with<'a>(
        within: &'a str,
        needle: &'a str,
    ) -> impl Iterator<Item = usize> + 'a {
        let lines = within.lines().enumerate();
        lines.filter(move |(_, line)| line.contains(needle)).map(|(index, _)| index + 1)
    }
}

/// The line, from 1, of a byte.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Blanks comments and the insides of literals; gives the string literals with their places.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            let end = at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            wipe(&mut code, at, end);
            end
        } else if rest.starts_with(b"/*") {
            let end = comment_end(bytes, at);
            wipe(&mut code, at, end);
            end
        } else if let Some((open, hashes)) = raw_string(bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = text[open..].find(&close).map_or(bytes.len(), |found| open + found);
            literals.push((open - 1, text[open..end].to_owned()));
            wipe(&mut code, open, end);
            (end + close.len()).min(bytes.len())
        } else if bytes[at] == b'"' {
            let end = quoted_end(bytes, at + 1, b'"');
            literals.push((at, text[at + 1..end].to_owned()));
            wipe(&mut code, at + 1, end);
            end + 1
        } else if bytes[at] == b'\'' && is_char(bytes, at) {
            let end = quoted_end(bytes, at + 1, b'\'');
            wipe(&mut code, at + 1, end);
            end + 1
        } else {
            at + 1
        };
        at = end.max(at + 1);
    }
    // Only whole characters were replaced by spaces, so this is text again.
    (String::from_utf8_lossy(&code).into_owned(), literals)
}

fn wipe(code: &mut [u8], from: usize, to: usize) {
    let to = to.min(code.len());
    for byte in code.get_mut(from..to).into_iter().flatten() {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// If a raw string begins here: where its text begins, and its number of hashes.
fn raw_string(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let rest = &bytes[at..];
    let prefix = ["br", "cr", "r"].iter().find(|prefix| rest.starts_with(prefix.as_bytes()))?;
    let hashes = rest[prefix.len()..].iter().take_while(|&&b| b == b'#').count();
    let quote = prefix.len() + hashes;
    (rest.get(quote) == Some(&b'"')).then_some((at + quote + 1, hashes))
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Whether a quote begins a character and not a lifetime.
fn is_char(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1) {
        Some(b'\\') => true,
        // One character, of any length in bytes, and the closing quote.
        Some(&first) => {
            let length = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            bytes.get(at + 1 + length) == Some(&b'\'')
        }
        None => false,
    }
}

/// Whether the whole file is a test module, declared elsewhere.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn without_all(code: &str) -> String {
    code.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Blanks every module marked `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut product = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find(MARK) {
        let start = from + found;
        let after = &code[start..];
        let end = match (after.find('{'), after.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|semicolon| open < semicolon) => {
                block_end(code, start + open)
            }
            (_, Some(semicolon)) => start + semicolon + 1,
            _ => code.len(),
        };
        wipe(&mut product, start, end);
        from = end.max(start + MARK.len()).min(code.len());
    }
    String::from_utf8_lossy(&product).into_owned()
}

/// Just past the brace that closes the one at `open`.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> Source {
        Source::new("a.rs".into(), text.into())
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = rust("a /* b /* c */ */ d // e\n\"f\\\"g\" 'h' 'i r#\"j\"k\"# '\\'' b\"l\"");
        let words: Vec<_> = source.code.split_whitespace().collect();
        assert!(words.contains(&"a") && words.contains(&"d") && words.contains(&"'i"));
        for gone in ["b /", "e", "f", "g", "h", "j", "k", "l"] {
            assert!(!words.contains(&gone), "{gone} in {words:?}");
        }
        let strings: Vec<_> = source.strings.iter().map(|(line, text)| (*line, &**text)).collect();
        assert_eq!(strings, [(2, "f\\\"g"), (2, "j\"k"), (2, "l")]);
    }

    #[test]
    fn a_test_modules_own_file_is_not_the_product() {
        for path in ["host/src/a/tests.rs", "host/src/a/b_tests.rs", "host/src/a/tests/c.rs"] {
            let source = Source::new(path.into(), "fn a() {\n b(\"x\") }".into());
            assert!(source.product.trim().is_empty() && source.strings.is_empty(), "{path}");
            assert!(source.code.contains("b("));
        }
    }

    #[test]
    fn tests_are_not_the_product() {
        let source = rust(
            "fn a() { b(\"x\") }\n#[cfg(test)]\nmod tests { fn c() { d(\"y\") } }\nfn e() {}\n#[cfg(test)]\nuse f;\nfn g() {}",
        );
        for kept in ["a()", "b(", "e()", "g()"] {
            assert!(source.product.contains(kept), "{kept}");
        }
        for gone in ["c()", "d(", "use f"] {
            assert!(!source.product.contains(gone), "{gone}");
        }
        assert_eq!(source.strings, [(1, "x".to_owned())]);
        assert_eq!(source.code.lines().count(), source.product.lines().count());
    }
}
