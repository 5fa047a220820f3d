//! `hookmill healthcheck`: whether a server is ready, as an exit code, for containers that
//! have no other program to ask with.

use clap::Args;

use super::{
    Global,
    output::{self, Failure},
};

/// Say by the exit code whether a server is ready: 0, or 3 if it does not answer
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookmill healthcheck --url http://127.0.0.1:8080")]
pub(super) struct HealthCheck {}

impl HealthCheck {
    pub(super) async fn run(&self, global: &Global) -> Result<(), Failure> {
        global.client()?.ready().await?;
        output::say("ready");
        Ok(())
    }
}
