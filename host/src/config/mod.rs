//! Settings: their declarations, where values come from, and what is wrong with them.
//!
//! Sources, later ones winning: defaults, a TOML file, `HOOKMILL_*` variables, flags. Owns
//! what a value may be. Never decides what is done with it.
//!
//! A new setting is one entry in `settings.rs` and one row in docs/operations.md.

mod declare;
mod environment;
mod file;
mod given;
mod load;
mod settings;
mod show;
mod values;

use std::{path::PathBuf, time::Duration};

pub use self::{
    declare::{Bounds, Facts, Setting},
    environment::supervisor_socket,
    given::{Origin, Problem},
    load::{ConfigError, Flag, Loaded, Sources},
    settings::{Config, SETTINGS},
    show::{Format, sample},
    values::LogFormat,
};
use crate::telemetry::OtlpSettings;

impl Config {
    /// A number of days as a time to keep things for; none for ever.
    pub fn days(days: f64) -> Option<Duration> {
        (days > 0.0).then(|| Duration::from_secs_f64(days * 86_400.0))
    }

    /// The folder for compiled plugins.
    pub fn plugin_cache(&self) -> PathBuf {
        self.plugin_cache.clone().unwrap_or_else(|| {
            let mut name = self.database.as_os_str().to_owned();
            name.push("-plugins");
            name.into()
        })
    }

    /// How long an attempt may take.
    pub fn attempt_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.attempt_timeout_seconds)
    }

    /// How long a subscription may let an attempt take.
    pub fn max_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.max_timeout_seconds)
    }

    /// Where spans go, if anywhere.
    pub fn otlp(&self) -> Option<OtlpSettings> {
        let header = |text: &String| {
            let (name, value) = text.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        Some(OtlpSettings {
            endpoint: self.otlp_endpoint.clone()?,
            headers: self.otlp_headers.iter().filter_map(header).collect(),
            ratio: self.otlp_sample_ratio,
        })
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.connect_timeout_seconds)
    }
}
