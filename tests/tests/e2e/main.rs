//! The product from outside: the real binary, real sockets, real plugins.

mod author;
mod backtest;
mod bad_input;
mod cli;
mod crash;
mod delivery;
mod guide;
mod hostile;
mod idempotency;
mod journey;
mod languages;
mod libraries;
mod openapi;
mod quarantine;
mod resources;
mod rollout;
mod secrets;
mod trust;
