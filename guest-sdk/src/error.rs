//! Why a plugin could not answer, and the `?` that says so.
//!
//! Owns the three kinds of fault and how other errors become one. Never decides what
//! the server does about it: that is the step's `on_error`.

use std::fmt;

/// What a plugin's function returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of fault, as the server counts them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The event is not what the plugin understands. Trying again will not help.
    InvalidEvent,
    /// The step's configuration is wrong. Trying again will not help.
    InvalidConfig,
    /// Anything else.
    Failed,
}

impl Fault {
    /// The fault's name in the server's records, for example `invalid-event`.
    pub fn name(self) -> &'static str {
        match self {
            Fault::InvalidEvent => "invalid-event",
            Fault::InvalidConfig => "invalid-config",
            Fault::Failed => "failed",
        }
    }
}

/// Why a plugin could not answer: a kind, and a sentence for whoever looks into it.
///
/// Any `std::error::Error` becomes [`Fault::Failed`] by `?`. As with other such
/// catch-all types, `Error` itself is therefore no `std::error::Error`.
#[derive(Clone, Eq, PartialEq)]
pub struct Error {
    fault: Fault,
    message: String,
}

impl Error {
    /// The event is not what the plugin understands.
    #[cold]
    pub fn invalid_event(message: impl Into<String>) -> Self {
        Error { fault: Fault::InvalidEvent, message: message.into() }
    }

    /// The step's configuration is wrong.
    #[cold]
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Error { fault: Fault::InvalidConfig, message: message.into() }
    }

    /// Anything else.
    #[cold]
    pub fn failed(message: impl Into<String>) -> Self {
        Error { fault: Fault::Failed, message: message.into() }
    }

    /// The kind.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts what was being done before the sentence: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The sentence, owned: what crosses to the server.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_message(self) -> String {
        self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.fault.name(), self.message)
    }
}

// A test that returns `Result<()>` prints its error with Debug: the sentence reads
// better than the fields.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl<E: std::error::Error> From<E> for Error {
    #[cold]
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Error::failed(message)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Fault, Result};

    #[test]
    fn any_error_becomes_failed() {
        fn parse(text: &str) -> Result<u8> {
            Ok(text.parse::<u8>()?)
        }
        assert_eq!(parse("7"), Ok(7));
        let error = parse("seven").map_err(|error| (error.fault(), error.to_string()));
        assert_eq!(error, Err((Fault::Failed, "failed: invalid digit found in string".to_owned())));
    }

    #[test]
    fn context_goes_before_the_sentence() {
        let error = Error::invalid_event("not a date").context("/due");
        assert_eq!(error.to_string(), "invalid-event: /due: not a date");
    }
}
