//! Makes one HTTP request and says how it ended.
//!
//! Owns the client, the guard of where requests may go, the headers that may be set and
//! the naming of errors. Never decides what follows, never reads the store.

mod classify;
mod client;
mod guard;
mod headers;
mod identity;

pub use client::ClientError;
pub(super) use client::{Client, Exchange, Request, Transport};
pub use guard::{EndpointProblem, Guard, check_endpoint};
pub(super) use headers::set;
pub use headers::{HeaderProblem, check_header};
pub use identity::ClientCert;
