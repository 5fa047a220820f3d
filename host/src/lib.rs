//! Hookmill, the programmable webhook server, as a library: the binary is a thin hand-over
//! to [`cli`].

pub mod access;
pub mod api;
pub mod backtest;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod ingest;
pub mod limits;
pub mod model;
pub mod notices;
pub mod operational;
pub mod plugin;
pub mod recovery;
pub mod retention;
pub mod routing;
pub mod schema;
pub mod seal;
pub mod server;
pub mod sources;
pub mod store;
pub mod tail;
pub mod telemetry;
pub mod watch;
