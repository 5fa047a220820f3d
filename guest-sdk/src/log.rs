//! Notes kept with the delivery: `log::info("…")`, or `log::info!("… {}", x)`.
//!
//! Owns handing them over. Never keeps or cuts one: the server does, at 16 KiB a run.

pub use crate::__log_debug as debug;
pub use crate::__log_error as error;
pub use crate::__log_info as info;
pub use crate::__log_warn as warn;

/// How much a note matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// For whoever asks what happened.
    Info,
    /// Something odd that did not stop the run.
    Warn,
    /// Something wrong.
    Error,
}

/// Adds a note.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::capture(level, message);
}

/// Adds a note for the plugin's author.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Adds a note for whoever asks what happened.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Adds a note about something odd that did not stop the run.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Adds a note about something wrong.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// `log::debug!`: adds a formatted note for the plugin's author.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($message)+)) };
}

/// `log::info!`: adds a formatted note for whoever asks what happened.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($message)+)) };
}

/// `log::warn!`: adds a formatted note about something odd.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($message)+)) };
}

/// `log::error!`: adds a formatted note about something wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($message)+)) };
}

#[cfg(test)]
mod tests {
    use super::Level;
    use crate::{log, testing};

    #[test]
    fn notes_are_captured_in_order() {
        log::info("plain");
        log::warn!("formatted {}", 7);
        let notes = testing::logs();
        assert_eq!(
            notes,
            [(Level::Info, "plain".to_owned()), (Level::Warn, "formatted 7".to_owned())]
        );
        assert!(testing::logs().is_empty());
    }
}
