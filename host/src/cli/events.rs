//! `hookmill events`: what was accepted.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    Global, input,
    output::{self, Failure, field},
};

/// List events, or look at one
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  hookmill events --undelivered --since 1d\n  hookmill events list --type order.created --since 1h\n  hookmill events show evt_01jd… --payload | jq .total"
)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List events, newest first
    List(List),
    /// Show an event and what became of it
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this event type: a name or a pattern
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only those not delivered to all they matched
    #[arg(long)]
    undelivered: bool,
    /// Accepted at or after: a time, or how long ago (1h)
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    since: Option<Timestamp>,
    /// Accepted before
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    until: Option<Timestamp>,
    /// Most to list
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The event
    #[arg(value_name = "evt_…")]
    id: String,
    /// Print its payload only, byte for byte
    #[arg(long)]
    payload: bool,
}

impl Events {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.command {
            Some(Command::List(list)) => list.run(global).await,
            Some(Command::Show(show)) => show.run(global).await,
            None => self.list.run(global).await,
        }
    }
}

impl List {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let query = [
            ("event_type", self.event_type),
            ("undelivered", self.undelivered.then(|| "true".into())),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
        ];
        let items = global.client()?.list(&["events"], &query, self.limit).await?;
        if global.json {
            output::json(&items.into());
            return Ok(());
        }
        let columns = ["id", "type", "accepted_at", "subject", "deliveries"];
        let rows = items.iter().map(|item| columns.map(|column| field(item, column)));
        output::table(["ID", "TYPE", "ACCEPTED", "SUBJECT", "DELIVERIES"], rows.collect());
        Ok(())
    }
}

impl Show {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        if self.payload {
            let payload = client.get_bytes(&["events", &self.id, "payload"]).await?;
            match str::from_utf8(&payload) {
                Ok(text) => output::data(text),
                // A line break would be one byte too many.
                Err(_) => output::bytes(&payload),
            }
            return Ok(());
        }
        let event = client.get(&["events", &self.id], &[]).await?;
        if global.json {
            output::json(&event);
            return Ok(());
        }
        let fields = event.as_object().into_iter().flatten();
        let long = ["payload", "payload_base64"];
        let fields =
            fields.filter(|(name, value)| !long.contains(&name.as_str()) && !value.is_null());
        for (name, value) in fields {
            output::data(format_args!("{name:<16} {}", output::plain(value)));
        }
        let filter = [("event_id", Some(self.id))];
        let deliveries = client.list(&["deliveries"], &filter, 1000).await?;
        for delivery in &deliveries {
            output::data(format_args!(
                "  {} → {}  {}",
                field(delivery, "id"),
                field(delivery, "subscription_id"),
                field(delivery, "state")
            ));
        }
        Ok(())
    }
}
