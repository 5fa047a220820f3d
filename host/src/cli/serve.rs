//! `hookmill serve`: the server, in this process.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use ipnet::IpNet;

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
    #[arg(long, env = "HOOKMILL_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// The settings that have a flag of their own; absent ones leave the rest to decide.
#[derive(Debug, Args)]
struct Flags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The database file, made if it is not there [default: hookmill.db]
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// An admin key to accept; without one, the first start makes one and prints it once
    #[arg(long, value_name = "KEY")]
    admin_key: Option<String>,
    /// A file with the key that secrets are sealed under [default: the database's name and .key]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// A private network that deliveries may go to; repeat for more
    #[arg(long = "allow-network", value_name = "CIDR")]
    allow_networks: Vec<IpNet>,
}

impl Flags {
    fn apply(self, config: &mut Config) {
        let Self { listen, database, admin_key, master_key_file, allow_networks } = self;
        config.listen = listen.unwrap_or(config.listen);
        config.admin_key = admin_key.or_else(|| config.admin_key.take());
        if let Some(database) = database {
            config.database = database;
        }
        if master_key_file.is_some() {
            config.master_key = None;
            config.master_key_file = master_key_file;
        }
        if !allow_networks.is_empty() {
            config.allow_networks = allow_networks;
        }
    }
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref(), |config| self.flags.apply(config))
            .map_err(|error| Failure::usage(error.to_string()))?;
        Box::pin(crate::server::run(config))
            .await
            .map_err(|error| Failure::failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_flags_change_nothing_and_given_ones_win() {
        let none = Flags {
            listen: None,
            database: None,
            admin_key: None,
            master_key_file: None,
            allow_networks: Vec::new(),
        };
        let mut config = Config { admin_key: Some("a".into()), ..Config::default() };
        let before = config.clone();
        none.apply(&mut config);
        assert_eq!(config, before);
        let given = Flags {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            database: Some("x.db".into()),
            admin_key: Some("b".into()),
            master_key_file: Some("key".into()),
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        };
        given.apply(&mut config);
        assert_eq!((config.listen.port(), config.admin_key.as_deref()), (0, Some("b")));
        assert_eq!(config.allow_networks.len(), 1);
        assert_eq!(config.master_key_file, Some("key".into()));
    }
}
