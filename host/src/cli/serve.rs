//! `hookmill serve`: the server, in this process.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use ipnet::IpNet;

use super::output::Failure;
use crate::config::{Flag, Sources};

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
#[derive(Debug, Default, Args)]
pub(super) struct Flags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Serve HTTPS with the certificate of a PEM file; it needs --tls-key
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
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
    pub(super) fn given(self) -> Vec<Flag> {
        let Self {
            listen,
            tls_certificate,
            tls_key,
            database,
            admin_key,
            master_key_file,
            allow_networks,
        } = self;
        // A file with the key is meant instead of a key that was given elsewhere.
        let no_key = || Flag::unset("master_key", "--master-key-file");
        let no_key = master_key_file.is_some().then(no_key);
        let networks = (!allow_networks.is_empty()).then_some(allow_networks);
        let given = [
            Flag::given("listen", "--listen", listen),
            Flag::given("tls_certificate", "--tls-certificate", tls_certificate),
            Flag::given("tls_key", "--tls-key", tls_key),
            Flag::given("database", "--database", database),
            Flag::given("admin_key", "--admin-key", admin_key),
            no_key,
            Flag::given("master_key_file", "--master-key-file", master_key_file),
            Flag::given("allow_networks", "--allow-network", networks),
        ];
        given.into_iter().flatten().collect()
    }
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let sources = Sources { file: self.config, flags: self.flags.given() };
        let config = sources.load().map_err(|error| super::config::refused(&error))?;
        Box::pin(crate::server::run(config, sources))
            .await
            .map_err(|error| Failure::failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn absent_flags_change_nothing_and_given_ones_win() {
        let none = Flags {
            listen: None,
            tls_certificate: None,
            tls_key: None,
            database: None,
            admin_key: None,
            master_key_file: None,
            allow_networks: Vec::new(),
        };
        assert_eq!(none.given(), []);
        let given = Flags {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            tls_certificate: Some("c.pem".into()),
            tls_key: Some("k.pem".into()),
            database: Some("x.db".into()),
            admin_key: Some("at least twenty-four characters".into()),
            master_key_file: Some("key".into()),
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        };
        let loaded = Config::load_with_origins(None, &given.given()).unwrap();
        let config = &loaded.config;
        assert_eq!((config.listen.port(), config.database.to_str()), (0, Some("x.db")));
        assert_eq!(config.admin_key.as_deref(), Some("at least twenty-four characters"));
        assert_eq!(config.allow_networks.len(), 1);
        assert_eq!(config.master_key_file, Some("key".into()));
        assert_eq!(loaded.origin("allow_networks").to_string(), "--allow-network");
    }
}
