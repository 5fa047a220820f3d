//! `hookmill serve`: the server, in this process.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use ipnet::IpNet;
use serde::Serialize;

use super::output::Failure;
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  hookmill serve
  hookmill serve --listen 0.0.0.0:8080 --database /var/lib/hookmill/hookmill.db
  hookmill serve --config hookmill.toml --allow-network 10.1.0.0/16

Every setting is also read from the environment (HOOKMILL_…) and from the file; a flag
wins over the environment, the environment over the file.";

/// Run the server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// A TOML file with settings
    #[arg(long, env = "HOOKMILL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// The settings that have a flag of their own; absent ones leave the rest to decide.
#[derive(Debug, Args, Serialize)]
struct Flags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// The database file, made if it is not there [default: hookmill.db]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<PathBuf>,
    /// An admin key to accept; without one, the first start makes one and prints it once
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_key: Option<String>,
    /// A private network that deliveries may go to; repeat for more
    #[arg(long = "allow-network", value_name = "CIDR")]
    #[serde(rename = "allow_networks", skip_serializing_if = "Vec::is_empty")]
    allow_networks: Vec<IpNet>,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref(), &self.flags)
            .map_err(|error| Failure::usage(error.to_string()))?;
        crate::server::run(config).await.map_err(|error| Failure::failed(error.to_string()))
    }
}
