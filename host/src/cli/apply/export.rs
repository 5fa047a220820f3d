//! `hookmill export`: what a server has, as a file for `hookmill apply`.
//!
//! Everything in a stable order, so that two exports can be compared line by line. Never has a
//! secret in it: where one belongs, it names a variable of the environment.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    build::ALL,
    compare::as_declared,
    digits::{self, Exact},
    keys,
    kind::{Kind, Known},
    limits, made_up,
    plugins::is_shared,
    secrets,
    sources::is_made_by_server,
};
use crate::{
    cli::{
        Global,
        client::Client,
        output::{self, Failure},
    },
    model::{Application, PluginRef},
};

/// Write what a server has as a file for `hookmill apply`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill export -o hookmill.yaml --components plugins\n  hookmill --application shop export"
)]
pub(in crate::cli) struct Export {
    /// Where to write it [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the plugins' components into this folder, for a server that has none
    #[arg(long, value_name = "FOLDER")]
    components: Option<PathBuf>,
}

struct Exporter<'a> {
    client: Client,
    known: Known,
    /// Where the file will be: paths in it are relative to that.
    base: &'a Path,
    components: Option<&'a Path>,
    left_out: LeftOut,
    plugins: Vec<Value>,
    sources: Vec<Value>,
    subscriptions: Vec<Value>,
    keys: Vec<Value>,
}

/// What the server has and the file does not.
#[derive(Default)]
struct LeftOut {
    unnamed: usize,
    resting: usize,
    versions: usize,
    keys: usize,
    limits: bool,
    components: bool,
}

impl LeftOut {
    fn say(&self) {
        if self.unnamed > 0 {
            output::say(format_args!(
                "warning: {} subscriptions have no name and are left out\nhint: hookmill subscription name sub_… NAME",
                self.unnamed
            ));
        }
        let resting = format!("that {} subscriptions are paused or disabled", self.resting);
        let versions = format!("older schema versions of {} event types", self.versions);
        let keys = format!(
            "{} keys that have a newer one of their name; `apply` revokes those with other scopes or a later end",
            self.keys
        );
        let parts = [
            (true, "secrets, events, admin keys, limits of keys"),
            (self.resting > 0, resting.as_str()),
            (self.versions > 0, versions.as_str()),
            (self.keys > 0, keys.as_str()),
            (self.components, "the plugins' components; --components writes them"),
            (self.limits, "limits, which only an admin key sees"),
        ];
        for (_, part) in parts.iter().filter(|(is_left_out, _)| *is_left_out) {
            output::say(format_args!("left out: {part}"));
        }
    }
}

impl Export {
    pub(in crate::cli) async fn run(self, global: &Global) -> Result<(), Failure> {
        let client = global.client()?;
        let known = Known::of(&client).await?;
        let applications = match &global.application {
            Some(name) => vec![name.clone()],
            None => by_name(&client.list(&["applications"], &[], ALL).await?),
        };
        let base = self.output.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut exporter = Exporter {
            client,
            known,
            base,
            components: self.components.as_deref(),
            left_out: LeftOut::default(),
            plugins: Vec::new(),
            sources: Vec::new(),
            subscriptions: Vec::new(),
            keys: Vec::new(),
        };
        let event_types = exporter.event_types().await?;
        let declared = exporter.applications(&applications).await?;
        for (place, application) in applications.iter().enumerate() {
            exporter.plugins(application, place == 0).await?;
            exporter.sources(application).await?;
            exporter.subscriptions(application).await?;
            exporter.keys(application).await?;
        }
        exporter.left_out.say();
        let file = json!({
            "version": 1,
            "applications": declared,
            "event_types": event_types,
            "plugins": exporter.plugins,
            "sources": exporter.sources,
            "subscriptions": exporter.subscriptions,
            "keys": exporter.keys,
        });
        self.write(global, &file)
    }

    fn write(&self, global: &Global, file: &Value) -> Result<(), Failure> {
        let text = if global.json {
            format!("{:#}\n", Exact(file))
        } else {
            digits::yaml(file)
                .map_err(|error| Failure::failed(format!("cannot write YAML: {error}")))?
        };
        match &self.output {
            Some(path) => write(path, text.as_bytes()),
            None => {
                output::data(text.trim_end());
                Ok(())
            }
        }
    }
}

impl Exporter<'_> {
    async fn event_types(&mut self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for name in by_name(&self.client.list(&["event-types"], &[], ALL).await?) {
            let shown = self.client.get(&["event-types", &name], &[]).await?;
            let mut fields = self.known.declarable(Kind::EventType, &shown);
            for field in ["deprecated", "archived"] {
                let value = as_declared(field, &shown);
                if value == true && self.known.changes(Kind::EventType, field) {
                    fields.insert(field.into(), value);
                }
            }
            self.left_out.versions += usize::from(shown["latest_version"].as_u64() > Some(1));
            self.left_out.limits |=
                !limits::add(&self.client, "event-types", &name, &mut fields).await?;
            all.push(fields.into());
        }
        Ok(all)
    }

    async fn applications(&mut self, names: &[String]) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for name in names {
            let mut fields = Map::new();
            fields.insert("name".into(), name.as_str().into());
            self.left_out.limits |=
                !limits::add(&self.client, "applications", name, &mut fields).await?;
            all.push(fields.into());
        }
        Ok(all)
    }

    /// An application's own plugins, and once those of the platform.
    async fn plugins(&mut self, application: &str, shared_too: bool) -> Result<(), Failure> {
        let client = self.client.acting_for(Some(application));
        for plugin in client.list(&["plugins"], &[], ALL).await? {
            let shared = is_shared(&plugin);
            let Some(name) = plugin["name"].as_str().filter(|_| shared_too || !shared) else {
                continue;
            };
            let query = [("shared", shared.then(|| "true".to_owned()))];
            let mut versions = client.list(&["plugins", name, "versions"], &query, ALL).await?;
            // Oldest first: a first version goes live whatever is said of it.
            versions.reverse();
            for shown in versions {
                let version = shown["version"].as_str().unwrap_or_default();
                // They become a file's name: a server must not lead out of the folder.
                let is_name =
                    PluginRef::is_valid_name(name) && PluginRef::is_valid_version(version);
                if !is_name || !Application::is_valid_name(application) {
                    return Err(Failure::failed(format!(
                        "the server's {name}@{version} is no plugin's name"
                    )));
                }
                let mut item = Map::new();
                item.insert("name".into(), name.into());
                item.insert("version".into(), version.into());
                if shared {
                    item.insert("shared".into(), true.into());
                } else {
                    item.insert("application".into(), application.into());
                }
                item.insert("live".into(), shown["live"].clone());
                if let Some(folder) = self.components {
                    let path = ["plugins", name, "versions", version, "component"];
                    let wasm = client.download(&path, &query).await?;
                    let owner =
                        if shared { "" } else { &format!("{}.", made_up::file(&[application])) };
                    let file = folder.join(format!("{owner}{name}@{version}.wasm"));
                    write(&file, &wasm)?;
                    let file = file.strip_prefix(self.base).unwrap_or(&file);
                    item.insert("component".into(), file.to_string_lossy().into());
                } else {
                    self.left_out.components = true;
                }
                self.plugins.push(item.into());
            }
        }
        Ok(())
    }

    async fn sources(&mut self, application: &str) -> Result<(), Failure> {
        let client = self.client.acting_for(Some(application));
        let mut list = client.list(&["sources"], &[], ALL).await?;
        list.sort_by_key(|shown| shown["name"].to_string());
        for shown in list {
            let Some(name) = shown["name"].as_str() else { continue };
            let mut fields = self.known.declarable(Kind::Source, &shown);
            let has_secret = shown["secrets"].as_array().is_some_and(|all| !all.is_empty());
            if has_secret || is_made_by_server(shown.get("kind")) {
                fields.insert("secret".into(), secrets::of_source(application, name));
            }
            self.sources.push(named_first(name, application, fields));
        }
        Ok(())
    }

    async fn subscriptions(&mut self, application: &str) -> Result<(), Failure> {
        let client = self.client.acting_for(Some(application));
        let mut list = digits::subscriptions(&client, ALL).await?;
        list.sort_by_key(|shown| shown["name"].as_str().map(str::to_owned));
        for shown in list {
            let Some(name) = shown["name"].as_str() else {
                self.left_out.unnamed += 1;
                continue;
            };
            let mut fields = self.known.declarable(Kind::Subscription, &shown);
            secrets::placeholders(application, name, &mut fields);
            self.left_out.resting += usize::from(shown["state"] != "active");
            self.subscriptions.push(named_first(name, application, fields));
        }
        Ok(())
    }

    async fn keys(&mut self, application: &str) -> Result<(), Failure> {
        let query = [("application", Some(application.to_owned()))];
        let mut list = self.client.list(&["keys"], &query, ALL).await?;
        list.retain(keys::is_usable);
        list.sort_by_key(|shown| shown["name"].to_string());
        // Of two with one name the newer is the one that `apply` would find.
        let all = list.len();
        list.dedup_by_key(|shown| shown["name"].to_string());
        self.left_out.keys += all - list.len();
        for shown in list {
            let Some(name) = shown["name"].as_str() else { continue };
            let mut fields = self.known.declarable(Kind::Key, &shown);
            let file = made_up::file(&[application, name]);
            fields.insert("secret_file".into(), format!("{file}.key").into());
            self.keys.push(named_first(name, application, fields));
        }
        Ok(())
    }
}

/// An item that begins with what names it.
fn named_first(name: &str, application: &str, mut fields: Map<String, Value>) -> Value {
    let mut item = Map::new();
    item.insert("name".into(), name.into());
    item.insert("application".into(), application.into());
    fields.retain(|field, _| field != "name" && field != "application");
    item.append(&mut fields);
    item.into()
}

fn by_name(list: &[Value]) -> Vec<String> {
    let mut names: Vec<String> =
        list.iter().filter_map(|item| item["name"].as_str()).map(Into::into).collect();
    names.sort_unstable();
    names
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}
