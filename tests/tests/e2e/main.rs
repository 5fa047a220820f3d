//! The product from outside: the real binary, real sockets, real plugins.

mod author;
mod backtest;
mod bad_input;
mod cli;
mod crash;
mod delivery;
mod faults;
mod guide;
mod hostile;
mod idempotency;
mod journey;
mod keep;
mod languages;
mod libraries;
mod observe;
mod openapi;
mod operational;
mod policy;
mod power;
mod quarantine;
mod recovery;
mod resources;
mod rollout;
mod secrets;
mod signatures;
mod trust;
