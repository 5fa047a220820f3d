//! `hookmill key`: who is let in.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Global, input, limits,
    output::{self, Failure, field},
};

/// Keys: who is let in, and what they may do
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  hookmill --application shop key create 'shop backend' --scope publish\n  hookmill key create 'on call' --admin --scope read"
)]
pub(super) enum Command {
    /// Create a key; it is shown once
    Create(Create),
    /// List keys
    List,
    /// Let a key in no more
    Revoke {
        /// The key's id, `key_…`
        id: String,
    },
    /// Make a key in place of another, which is let in for a while longer
    Rotate {
        /// The id of the key to replace, `key_…`
        id: String,
        /// How long the old key is still let in
        #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
        grace: u32,
    },
    /// Show or change what may be asked and published with a key
    Limits(limits::KeyLimits),
}

/// A key to make.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// What it may do: read, publish, manage (which includes read); can be repeated
    #[arg(long = "scope", required = true, value_delimiter = ',', value_parser = ["read", "publish", "manage"])]
    scopes: Vec<String>,
    /// Make an admin key: for all applications, and what belongs to none
    #[arg(long)]
    admin: bool,
    /// When it stops being let in, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    expires: Option<Timestamp>,
}

impl Command {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        match self {
            Self::Create(create) => {
                let body = create.body(global)?;
                show(global, &client.post(&["keys"], &body).await?);
            }
            Self::List => {
                let of = [("application", global.application.clone())];
                let items = client.list(&["keys"], &of, usize::MAX).await?;
                if global.json {
                    output::json(&items.into());
                } else {
                    output::table(
                        ["ID", "NAME", "APPLICATION", "SCOPES", "LAST USED", "STATE"],
                        items.iter().map(row).collect(),
                    );
                }
            }
            Self::Revoke { id } => {
                client.delete(&["keys", &id], &[]).await?;
                output::say(format_args!("revoked {id}"));
            }
            Self::Rotate { id, grace } => {
                let body = json!({"grace_seconds": grace});
                show(global, &client.post(&["keys", &id, "rotate"], &body).await?);
            }
            Self::Limits(limits) => return limits.run(global).await,
        }
        Ok(())
    }
}

impl Create {
    /// A key for everything is only made when that is said.
    fn body(self, global: &Global) -> Result<Value, Failure> {
        let mut body = json!({"name": self.name, "scopes": self.scopes});
        match (&global.application, self.admin) {
            (Some(name), false) => body["application"] = json!(name),
            (None, true) => {}
            (Some(_), true) => {
                return Err(Failure::usage("an admin key belongs to no application")
                    .hint("leave out --application, or --admin"));
            }
            (None, false) => {
                return Err(Failure::usage("whose key is it?")
                    .hint("give --application NAME, or --admin for a key to everything"));
            }
        }
        if let Some(expires) = self.expires {
            body["expires_at"] = json!(expires);
        }
        Ok(body)
    }
}

fn show(global: &Global, made: &Value) {
    if global.json {
        output::json(made);
    } else {
        output::data(field(made, "key"));
        output::say(format_args!("{} is shown once; keep it safe", field(made, "id")));
    }
}

fn row(key: &Value) -> [String; 6] {
    let scopes = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let state = if key["revoked_at"].is_string() {
        "revoked".to_owned()
    } else if key["expires_at"].is_string() {
        format!("until {}", field(key, "expires_at"))
    } else {
        "active".to_owned()
    };
    let application = key["application"].as_str().unwrap_or("(admin)").to_owned();
    [
        field(key, "id"),
        field(key, "name"),
        application,
        scopes.collect::<Vec<_>>().join(" "),
        key["last_used_at"].as_str().unwrap_or("never").to_owned(),
        state,
    ]
}
