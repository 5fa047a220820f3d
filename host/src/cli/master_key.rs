//! `hookmill master-key …`: the key that a database's secrets are sealed under.
//!
//! Works on files of a server that does not run, and so speaks to none. Never prints a key
//! but the one it makes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{self, Failure};
use crate::{
    config::{Config, Flag},
    model::SecretText,
    seal::{KeySource, MasterKey, SealError},
    store::{Store, sqlite},
};

/// The key that a database's secrets are sealed under
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key: into a file, or to stdout
    Generate(Generate),
    /// Seal a database's secrets anew, under another key; the server has to be stopped
    Rotate(Rotate),
}

/// Make a key: into a file, or to stdout
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The file to make; only its owner can read it
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Seal a database's secrets anew, under another key; the server has to be stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookmill master-key rotate --database hookmill.db
  hookmill master-key rotate --database hookmill.db --new-key-file /etc/hookmill/key-2

The first leaves the new key in the file where the last one was. What is not given by flags is
taken from where `hookmill serve` takes it: HOOKMILL_… and the file of --config. Either all is
sealed under the new key or nothing is, whatever happens meanwhile.")]
pub(super) struct Rotate {
    /// A TOML file with the server's settings
    #[arg(long, env = "HOOKMILL_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The database file [default: hookmill.db]
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// A file with the key it is sealed under [default: the database's name and .key]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// A file with the next key, made if it is not there [default: takes the last key's place]
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

impl Command {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Generate(generate) => generate.run(),
            Self::Rotate(rotate) => rotate.run().await,
        }
    }
}

fn failed(error: &SealError) -> Failure {
    Failure::failed(error.to_string())
}

impl Generate {
    fn run(self) -> Result<(), Failure> {
        let key = MasterKey::generate().map_err(|error| failed(&error))?;
        match self.file {
            Some(file) => {
                key.write(&file).map_err(|error| failed(&error))?;
                output::say(format_args!("master key {} is in {}", key.id(), file.display()));
            }
            None => output::data(&*key.text()),
        }
        Ok(())
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let Self { config, database, master_key_file, new_key_file } = self;
        // A file with the key is meant instead of a key that was given elsewhere.
        let no_key = || Flag::unset("master_key", "--master-key-file");
        let flags = [
            Flag::given("database", "--database", database),
            master_key_file.is_some().then(no_key),
            Flag::given("master_key_file", "--master-key-file", master_key_file),
        ];
        let flags: Vec<Flag> = flags.into_iter().flatten().collect();
        let config = Config::load(config.as_deref(), &flags)
            .map_err(|error| super::config::refused(&error))?;
        let given = config.master_key.as_ref().map(SecretText::reveal);
        let source = KeySource::from_settings(given, config.master_key_file.as_deref())
            .map_err(|error| failed(&error))?;
        let database = &config.database;
        let (next, stays) = match new_key_file {
            Some(file) => (file, true),
            None => (source.next_path(database).ok_or_else(nowhere)?, false),
        };
        if !stays && next.exists() {
            // Left by a rotation that was cut off. Opening finishes it if all but that was done.
            let opened = sqlite::SqliteStore::open_with(database, &source).await;
            opened.map_err(|error| Failure::failed(error.to_string()))?.close().await;
        }
        let key = next_key(&next).map_err(|error| failed(&error))?;
        let done = sqlite::rotate_master_key(database, &source, &key)
            .await
            .map_err(|error| Failure::failed(format!("the key stays as it was: {error}")))?;
        let place = match source.path(database) {
            Some(path) if !stays => {
                MasterKey::replace(&next, &path).map_err(|error| failed(&error))?;
                path
            }
            _ => next,
        };
        output::say(format_args!(
            "the secrets of {} subscriptions and {} sources are sealed under master key {}, which is in {}",
            done.subscriptions,
            done.sources,
            key.id(),
            place.display()
        ));
        if stays {
            output::say(format_args!(
                "start the server with --master-key-file {}",
                place.display()
            ));
        }
        Ok(())
    }
}

/// The key in a file. One that is left from a rotation that came to nothing is taken up again.
fn next_key(file: &std::path::Path) -> Result<MasterKey, SealError> {
    if file.exists() {
        return MasterKey::read(file);
    }
    let key = MasterKey::generate()?;
    key.write(file)?;
    Ok(key)
}

fn nowhere() -> Failure {
    Failure::usage("the key comes from a setting, so there is no file for the next one")
        .hint("name one with --new-key-file")
}
