//! Asks for a host's addresses.
//!
//! Owns the question, and its answer by the machine's own resolver. Never judges an answer:
//! that is the guard's.

use std::{fmt, net::IpAddr};

use async_trait::async_trait;

/// Knows the addresses of host names.
#[async_trait]
pub(super) trait Resolve: Send + Sync + fmt::Debug {
    /// The host's addresses at this moment, in order of preference; else why there are none.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String>;
}

/// The machine's own resolver, with its hosts file and whatever else it is set up to use.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

#[async_trait]
impl Resolve for System {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        match tokio::net::lookup_host((host, 0)).await {
            Ok(found) => Ok(found.map(|address| address.ip()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }
}
