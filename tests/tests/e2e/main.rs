//! The product from outside: the real binary, real sockets, real plugins.

mod bad_input;
mod cli;
mod crash;
mod delivery;
mod hostile;
mod idempotency;
mod journey;
mod languages;
mod libraries;
mod openapi;
mod resources;
