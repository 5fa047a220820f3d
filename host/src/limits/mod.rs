//! Who may take how much: how many requests may publish at once, how much memory their bodies
//! may take, and at what rate an application, a key or an event type may ask and publish.
//!
//! Owns counting and deciding. Never speaks HTTP and never waits: a caller is let in or told
//! to come back.

mod admission;
mod bucket;
mod pressure;
mod rates;

pub use admission::{Admission, AdmissionSettings, Closed, Pass, Shed, Weight};
pub use bucket::Bucket;
pub use rates::{Exceeded, Rates, RatesSettings, Standing, What};
