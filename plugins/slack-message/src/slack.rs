//! Slack's text: escaped, linked, and within its bounds.
//!
//! Owns the format of a message. Knows nothing of GitHub.

use hookmill_sdk::prelude::*;

/// Slack takes 3,000 characters in a section; some are kept for the closing line.
const SECTION: usize = 2900;
/// The notification beside it: one line.
const NOTIFICATION: usize = 300;

/// A message being written.
pub(crate) struct Text {
    headline: String,
    lines: String,
    /// Characters written so far.
    length: usize,
}

impl Text {
    /// Begins with a headline, which is also the notification. It is Slack's markup.
    pub(crate) fn new(headline: String) -> Self {
        let length = headline.chars().count();
        Text { headline, lines: String::new(), length }
    }

    /// Adds a line of markup, if it still fits.
    #[must_use]
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let length = line.chars().count() + 1;
        if self.length + length > SECTION {
            return false;
        }
        self.lines.push('\n');
        self.lines.push_str(line);
        self.length += length;
        true
    }

    /// Adds the last line, for which there is always room if it is short.
    pub(crate) fn last_line(&mut self, line: &str) {
        self.lines.push('\n');
        self.lines.push_str(line);
    }

    /// The body for an incoming webhook.
    pub(crate) fn into_body(self) -> Value {
        let text = format!("{}{}", self.headline, self.lines);
        json!({
            "text": self.headline,
            "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}],
        })
    }
}

/// Plain text as markup, on one line and cut to so many characters: Slack's three
/// special characters are escaped, never in half.
pub(crate) fn plain(text: &str, limit: usize) -> String {
    let limit = limit.min(NOTIFICATION);
    let mut markup = String::with_capacity(text.len().min(limit));
    for (count, character) in text.trim().chars().enumerate() {
        if count == limit {
            markup.push('…');
            break;
        }
        match character {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            // What would be a line of its own, or invisible, is a space.
            character if character.is_control() => markup.push(' '),
            character => markup.push(character),
        }
    }
    markup
}

/// A link; the plain label alone if the address is none or longer than any real one.
pub(crate) fn link(url: &str, label: &str, limit: usize) -> String {
    let label = plain(label, limit);
    if url.len() > 500 || !(url.starts_with("https://") || url.starts_with("http://")) {
        return label;
    }
    let mut address = String::with_capacity(url.len());
    for character in url.chars() {
        match character {
            '&' => address.push_str("&amp;"),
            '<' => address.push_str("%3C"),
            '>' => address.push_str("%3E"),
            '|' => address.push_str("%7C"),
            character if character.is_control() || character == ' ' => {}
            character => address.push(character),
        }
    }
    format!("<{address}|{label}>")
}

#[cfg(test)]
mod tests {
    use super::{link, plain};

    #[test]
    fn text_is_escaped_and_cut_between_characters() {
        assert_eq!(plain("a < b && c > d", 100), "a &lt; b &amp;&amp; c &gt; d");
        assert_eq!(plain("<<<<", 2), "&lt;&lt;…");
        assert_eq!(plain("äöü", 3), "äöü");
        assert_eq!(plain(" one\ntwo\t", 100), "one two");
    }

    #[test]
    fn links_cannot_be_broken_out_of() {
        assert_eq!(
            link("https://x.example/?a=1&b=2|3>", "<@U1>", 50),
            "<https://x.example/?a=1&amp;b=2%7C3%3E|&lt;@U1&gt;>"
        );
        assert_eq!(link("javascript:alert(1)", "label", 50), "label");
    }
}
