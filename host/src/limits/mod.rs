//! Who may take how much: how many requests may publish at once, and how much memory their
//! bodies may take.
//!
//! Owns counting and deciding. Never speaks HTTP and never waits: a caller is let in or told
//! to come back.

mod admission;
mod pressure;

pub use admission::{Admission, AdmissionSettings, Closed, Pass, Shed, Weight};
