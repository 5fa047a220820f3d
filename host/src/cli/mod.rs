//! The command line: parses it, runs one command, turns the result into an exit code.
//!
//! One file per command. Only `serve` runs the server in this process, and [`database`] opens
//! the file of one that is stopped; all others speak REST through [`client`]. Data goes to stdout, talk to stderr. Never holds business rules.

mod application;
mod apply;
mod audit;
mod client;
mod completions;
mod config;
mod credentials;
mod database;
mod delivery;
mod demo;
mod event_type;
mod events;
mod evolution;
mod filters;
mod health;
mod healthcheck;
mod input;
mod key;
mod limits;
mod listen;
mod man;
mod master_key;
mod output;
mod plugin;
mod policy;
mod replay;
mod retry;
mod scratch;
mod send;
mod serve;
mod signing;
mod source;
mod steps;
mod style;
mod subscription;
mod tail;
mod trust;
mod verify;
mod wire_flags;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use client::Client;
use output::Failure;

/// What `hookmill --help` ends with.
const AFTER_HELP: &str = "\
Start here:
  hookmill demo                          see it work, with nothing installed
  hookmill serve                         start a server; it prints its admin key once
  hookmill subscribe URL --to 'order.*'  send events to an endpoint
  hookmill send order.created --data '{\"id\":7}'

Exit codes: 0 done, 1 it failed or the answer is no, 2 wrong usage, 3 no server answers,
4 the server refused.";

/// The programmable webhook server: events in, through WebAssembly plugins, out as signed
/// webhooks.
#[derive(Debug, Parser)]
#[command(name = "hookmill", version, about, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
struct Global {
    /// The server to talk to
    #[arg(
        long,
        global = true,
        env = "HOOKMILL_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        help_heading = "Server"
    )]
    url: String,
    /// The API key
    #[arg(
        long,
        global = true,
        env = "HOOKMILL_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "Server"
    )]
    key: Option<String>,
    /// The application to act for; an admin key only [default: default]
    #[arg(
        long,
        global = true,
        env = "HOOKMILL_APPLICATION",
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "Server"
    )]
    application: Option<String>,
    /// A file of certificate authorities (PEM) that the server's certificate may be signed by,
    /// besides those the machine trusts
    #[arg(
        long,
        global = true,
        env = "HOOKMILL_CA_FILE",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Server"
    )]
    ca_file: Option<std::path::PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    fn client(&self) -> Result<Client, Failure> {
        let (key, application) = (self.key.as_deref(), self.application.as_deref());
        Client::trusting(&self.url, key, application, self.ca_file.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Event types and their JSON Schemas
    #[command(subcommand)]
    EventType(event_type::Command),
    /// Send events to an endpoint
    Subscribe(Box<subscription::Subscribe>),
    /// Look at and change subscriptions
    #[command(subcommand)]
    Subscription(subscription::Command),
    /// List subscriptions
    Subscriptions(subscription::List),
    /// Inbound endpoints for third parties that sign what they send
    #[command(subcommand)]
    Source(source::Command),
    /// Tenants: owners of subscriptions, events and plugins
    #[command(subcommand)]
    Application(application::Command),
    /// Keys: who is let in, and what they may do
    #[command(subcommand)]
    Key(key::Command),
    /// Who changed what, the newest first
    Audit(audit::Audit),
    /// Make a server as a file declares it
    Apply(apply::Apply),
    /// Write what a server has as a file for `hookmill apply`
    Export(apply::Export),
    /// Write, build, test, upload and run plugins
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Publish an event, or many
    Send(send::Send),
    /// List events, or look at one
    Events(events::Events),
    /// List deliveries
    Deliveries(delivery::Deliveries),
    /// What became of one delivery: its pipeline's steps and its attempts
    Delivery(delivery::Show),
    /// Deliver again: these, or by a filter all that are dead
    Retry(retry::Retry),
    /// Jobs that deliver again; `hookmill retry` starts them
    #[command(subcommand)]
    Replay(replay::Command),
    /// List replays
    Replays(replay::List),
    /// Watch events come in and deliveries go out
    Tail(tail::Tail),
    /// Receive webhooks on this machine, verify and print them
    Listen(listen::Listen),
    /// Check the signature of a recorded request
    Verify(verify::Verify),
    /// The key that a database's secrets are sealed under
    #[command(subcommand)]
    MasterKey(master_key::Command),
    /// See it work: a server, plugins, real events, verified deliveries
    Demo(demo::Demo),
    /// Copy the whole database to a file
    Backup(database::Backup),
    /// Make a database of a backup
    Restore(database::Restore),
    /// Check that a database, or a backup, is whole and consistent
    Check(database::Check),
    /// Rewrite a database without free room and what nothing refers to
    Compact(database::Compact),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// The server's settings: check them, show them, print a sample file
    #[command(subcommand)]
    Config(config::Command),
    /// Print the manual page, or write those of all commands to a folder
    Man(man::ManPages),
    /// Say by the exit code whether a server is ready
    Healthcheck(healthcheck::HealthCheck),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // An error means that a provider is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("cannot start: {error}")).report(),
    };
    match runtime.block_on(Box::pin(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::EventType(command) => command.run(&global).await,
        Command::Subscribe(subscribe) => subscribe.run(&global).await,
        Command::Subscription(command) => command.run(&global).await,
        Command::Subscriptions(list) => list.run(&global).await,
        Command::Source(command) => command.run(&global).await,
        Command::Application(command) => command.run(&global).await,
        Command::Key(command) => command.run(&global).await,
        Command::Audit(audit) => audit.run(&global).await,
        Command::Apply(apply) => apply.run(&global).await,
        Command::Export(export) => export.run(&global).await,
        Command::Plugin(command) => command.run(&global).await,
        Command::Send(send) => send.run(&global).await,
        Command::Events(command) => command.run(&global).await,
        Command::Deliveries(deliveries) => deliveries.run(&global).await,
        Command::Delivery(show) => show.run(&global).await,
        Command::Retry(retry) => retry.run(&global).await,
        Command::Replay(command) => command.run(&global).await,
        Command::Replays(list) => list.run(&global).await,
        Command::Tail(tail) => tail.run(&global).await,
        Command::Listen(listen) => listen.run().await,
        Command::Verify(verify) => verify.run(&global),
        Command::MasterKey(command) => command.run().await,
        Command::Demo(demo) => demo.run(&global).await,
        Command::Backup(backup) => backup.run(&global).await,
        Command::Restore(restore) => restore.run(&global).await,
        Command::Check(check) => check.run(&global).await,
        Command::Compact(compact) => compact.run(&global).await,
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Config(command) => command.run(global.json),
        Command::Man(man) => man.run(Cli::command()),
        Command::Healthcheck(check) => check.run(&global).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What users see is reviewed as words: `cargo insta review`.
    #[test]
    fn help_texts_are_as_reviewed() {
        fn help(command: &mut clap::Command, text: &mut String) {
            text.push_str(&format!("{}\n\n", command.render_long_help().to_string().trim_end()));
            text.push_str("————————————————————\n");
            for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
                help(sub, text);
            }
        }
        let mut text = String::new();
        let mut command = Cli::command().term_width(100);
        command.build();
        help(&mut command, &mut text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn every_command_has_a_help_line() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                assert!(sub.get_about().is_some(), "{} has none", sub.get_name());
                check(sub);
            }
        }
        check(&Cli::command());
    }
}
