//! Asks for a host's addresses: the machine's resolver, or the name servers an operator
//! names.
//!
//! Owns the question. Never judges an answer: that is the guard's.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use async_trait::async_trait;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};

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

/// Name servers that an operator names. What they say is not remembered: an address is asked
/// for at the moment it is connected to.
pub(super) struct Servers(TokioResolver);

impl Servers {
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        builder.build().map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

#[async_trait]
impl Resolve for Servers {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        // Names are absolute here: nothing is searched for under another domain.
        let name = format!("{}.", host.trim_end_matches('.'));
        match self.0.lookup_ip(name).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) => Err(error.to_string()),
        }
    }
}
