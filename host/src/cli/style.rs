//! Colour, where the reader is a person at a terminal who has not asked for none.
//!
//! Owns when (`NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, what the terminal can do) and which.
//! Never carries meaning alone: what is red also says so in words or signs.

use std::{fmt::Display, sync::OnceLock};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects, Style};

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tint {
    /// Held, added.
    Good,
    /// Failed, taken away, over a limit.
    Bad,
    /// Beside the matter.
    Faint,
    /// As it is.
    Plain,
}

impl Tint {
    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Faint => Style::new().effects(Effects::DIMMED),
            Self::Plain => Style::new(),
        }
    }

    /// The text in its colour, if stdout takes any.
    pub(super) fn paint(self, text: impl Display) -> String {
        if takes_colour() && self != Self::Plain {
            let style = self.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}

/// Whether colours may be written to stdout.
fn takes_colour() -> bool {
    static TAKES: OnceLock<bool> = OnceLock::new();
    *TAKES.get_or_init(|| AutoStream::choice(&std::io::stdout()) != ColorChoice::Never)
}
