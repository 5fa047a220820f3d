//! Patterns for `matches`: `*` any characters, `?` one, `[a-z]` one of a set, `[!a-z]`
//! one not of it, and `\` before a character that is meant literally.
//!
//! Owns their syntax and the matching, whose time grows at most with the product of
//! both lengths, whatever the pattern. The whole text has to match.

/// What is wrong with a pattern, if something is.
pub(crate) fn problem(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        rest = match character {
            '\\' => match rest[1..].chars().next() {
                Some(escaped) => &rest[1 + escaped.len_utf8()..],
                None => return Some("nothing follows the last `\\`"),
            },
            '[' => match set_end(rest) {
                Some(end) => &rest[end..],
                None => return Some("`[` is never closed"),
            },
            _ => &rest[character.len_utf8()..],
        };
    }
    None
}

/// Whether the whole text matches. The pattern must have no [`problem`].
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern_rest, mut text_rest) = (pattern, text);
    // Where to go on if it fails here: after the last `*`, which takes one more.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        if let Some(after_star) = pattern_rest.strip_prefix('*') {
            retry = Some((after_star, text_rest));
            pattern_rest = after_star;
            continue;
        }
        let Some(character) = text_rest.chars().next() else {
            return pattern_rest.is_empty();
        };
        if let Some(rest) = step(pattern_rest, character) {
            pattern_rest = rest;
            text_rest = &text_rest[character.len_utf8()..];
            continue;
        }
        // An earlier `*` could only take what this one can take too.
        let Some((after_star, from)) = retry else { return false };
        let Some(taken) = from.chars().next() else { return false };
        let from = &from[taken.len_utf8()..];
        retry = Some((after_star, from));
        (pattern_rest, text_rest) = (after_star, from);
    }
}

/// What is left of the pattern after one character, if it takes it.
fn step(pattern: &str, character: char) -> Option<&str> {
    let first = pattern.chars().next()?;
    match first {
        '?' => Some(&pattern[1..]),
        '[' => {
            let end = set_end(pattern)?;
            in_set(&pattern[1..end - 1], character).then(|| &pattern[end..])
        }
        '\\' => pattern[1..].strip_prefix(character),
        literal if literal == character => Some(&pattern[literal.len_utf8()..]),
        _ => None,
    }
}

/// Just past the `]` of a set; one right at its start belongs to it.
fn set_end(pattern: &str) -> Option<usize> {
    let start = if pattern.starts_with("[!") { 2 } else { 1 };
    let from = if pattern[start..].starts_with(']') { start + 1 } else { start };
    pattern[from..].find(']').map(|end| from + end + 1)
}

fn in_set(set: &str, character: char) -> bool {
    let (set, wanted) = match set.strip_prefix('!') {
        Some(set) => (set, false),
        None => (set, true),
    };
    let mut characters = set.chars();
    let mut found = false;
    while let Some(low) = characters.next() {
        let mut ahead = characters.clone();
        let range = ahead.next() == Some('-');
        match ahead.next().filter(|_| range) {
            Some(high) => {
                found |= (low..=high).contains(&character);
                characters = ahead;
            }
            None => found |= low == character,
        }
    }
    found == wanted
}

#[cfg(test)]
mod tests {
    use super::{matches, problem};

    #[test]
    fn whole_texts_match() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("order.*", "order.created"),
            ("*.created", "order.created"),
            ("o?der*d", "order.created"),
            ("*a*b*", "xxaxxbxx"),
            ("*aab", "aaaaaab"),
            ("[a-c]?", "bé"),
            ("[!a-c]", "d"),
            ("[]x]", "]"),
            ("[a-]", "-"),
            (r"\*\[", "*["),
            ("grö?e", "größe"),
        ] {
            assert_eq!(problem(pattern), None, "{pattern}");
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("order", "order.created"),
            ("*.created", "order.createdx"),
            ("[a-c]", "d"),
            ("[!a-c]", "a"),
            (r"\*", "a"),
            ("a*b*c", "ab"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn time_does_not_explode() {
        let pattern = "a*".repeat(30) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(problem("a[bc"), Some("`[` is never closed"));
        assert_eq!(problem("a[]"), Some("`[` is never closed"));
        assert_eq!(problem(r"a\"), Some(r"nothing follows the last `\`"));
    }
}
