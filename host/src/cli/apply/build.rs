//! Makes the plan: each declared resource against the one that is there.
//!
//! Reads from the server, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    compare::{Difference, as_declared, compared, differences},
    digits,
    document::{Document, Item},
    keys,
    kind::{Kind, Known, closest},
    limits,
    plan::{Action, Call, Change, Plan, What},
    plugins,
    secrets::{self, Look},
    sources,
};
use crate::{
    cli::{client::Client, input, output::Failure},
    model::Application,
};

/// More resources of a kind than any file declares.
pub(super) const ALL: usize = 100_000;

/// Most bytes of a schema's file: what the server takes, and room for how it is written.
const MAX_SCHEMA_FILE: usize = 16 << 20;

/// Fields for a request.
type Body = Map<String, Value>;

/// How the plan is made.
pub(super) struct Wanted {
    pub(super) prune: bool,
    pub(super) refresh_secrets: bool,
    pub(super) look: Look,
}

pub(super) struct Builder<'a> {
    pub(super) document: &'a Document,
    known: Known,
    client: &'a Client,
    pub(super) wanted: Wanted,
    /// Those that are there; none if the key may not know.
    applications: Option<BTreeSet<String>>,
    /// What was listed already, by kind and application.
    lists: BTreeMap<(Kind, String), Vec<Value>>,
    pub(super) plan: Plan,
}

impl<'a> Builder<'a> {
    /// The plan for a file.
    pub(super) async fn plan(
        client: &'a Client,
        document: &'a Document,
        wanted: Wanted,
    ) -> Result<Plan, Failure> {
        let known = Known::of(client).await?;
        document.items.iter().try_for_each(|item| {
            known.check(document, item)?;
            secrets::check(document, item)
        })?;
        let applications = match client.list(&["applications"], &[], ALL).await {
            Ok(list) => Some(names(&list)),
            // An application's key knows its own only, which is there.
            Err(failure)
                if failure.needs_admin() && !document.sections.contains(&Kind::Application) =>
            {
                None
            }
            Err(failure) => return Err(failure),
        };
        let (lists, plan) = (BTreeMap::new(), Plan::default());
        let mut builder = Self { document, known, client, wanted, applications, lists, plan };
        for item in &document.items {
            let before = builder.plan.changes.len();
            builder.check_application(item)?;
            match item.kind {
                Kind::Application => builder.application(item).await?,
                Kind::EventType => builder.event_type(item).await?,
                Kind::Plugin => plugins::plan(&mut builder, item).await?,
                Kind::Source => sources::plan(&mut builder, item).await?,
                Kind::Subscription => builder.subscription(item).await?,
                Kind::Key => keys::plan(&mut builder, item).await?,
            }
            if builder.plan.changes.len() == before {
                builder.plan.unchanged += 1;
            }
        }
        if builder.wanted.prune {
            builder.prune().await?;
        }
        Ok(builder.plan)
    }

    pub(super) fn application_of<'b>(&'b self, item: &'b Item) -> &'b str {
        self.document.application_of(item)
    }

    fn is_there(&self, application: &str) -> bool {
        self.applications.as_ref().is_none_or(|all| all.contains(application))
    }

    fn declared(&self, kind: Kind) -> impl Iterator<Item = &'a Item> + use<'a> {
        self.document.items.iter().filter(move |item| item.kind == kind)
    }

    fn check_application(&self, item: &Item) -> Result<(), Failure> {
        if item.kind.is_platforms() {
            return Ok(());
        }
        let name = self.application_of(item);
        if self.is_there(name) || self.declared(Kind::Application).any(|item| item.name() == name) {
            return Ok(());
        }
        let known = self.applications.iter().flatten().map(String::as_str);
        let what = format!("there is no application {name}; declare it under `applications`");
        Err(self.document.wrong(item.line("application"), &what, closest(name, known)))
    }

    /// What there is of a kind in an application, which need not be there yet.
    pub(super) async fn list(
        &mut self,
        kind: Kind,
        application: &str,
    ) -> Result<&[Value], Failure> {
        let key = (kind, application.to_owned());
        if !self.lists.contains_key(&key) {
            let path = kind.section().replace('_', "-");
            let list = if self.is_there(application) {
                let of_one = (kind == Kind::Key).then(|| application.to_owned());
                let query = [("application", of_one)];
                let client = self.client.acting_for(Some(application));
                if kind == Kind::Subscription {
                    digits::subscriptions(&client, ALL).await?
                } else {
                    client.list(&[&path], &query, ALL).await?
                }
            } else {
                Vec::new()
            };
            self.lists.insert(key.clone(), list);
        }
        Ok(self.lists.get(&key).map_or(&[], Vec::as_slice))
    }

    /// The same by name.
    pub(super) async fn find(
        &mut self,
        kind: Kind,
        application: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let list = self.list(kind, application).await?;
        Ok(list.iter().find(|shown| shown["name"] == name).cloned())
    }

    pub(super) async fn versions(
        &self,
        application: &str,
        name: &str,
        shared: bool,
    ) -> Result<Vec<Value>, Failure> {
        let client = self.client.acting_for(Some(application));
        let query = [("shared", shared.then(|| "true".to_owned()))];
        client.list(&["plugins", name, "versions"], &query, ALL).await
    }

    /// Notes that a declared resource is not as it should be.
    pub(super) fn push(
        &mut self,
        item: &Item,
        action: Action,
        differences: Vec<Difference>,
        calls: Vec<What>,
    ) {
        let is_global = item.kind.is_platforms();
        let application = (!is_global).then(|| self.application_of(item).to_owned());
        let mut name = match &application {
            Some(application) => format!("{application}/{}", item.name()),
            None => item.name().to_owned(),
        };
        if item.kind == Kind::Plugin {
            name = plugins::title(item, &name);
        }
        let calls =
            calls.into_iter().map(|what| Call { application: application.clone(), what }).collect();
        let line = Some(item.line(""));
        self.plan.changes.push(Change { action, kind: item.kind, name, line, differences, calls });
    }

    async fn application(&mut self, item: &Item) -> Result<(), Failure> {
        if self.is_there(item.name()) {
            let (found, calls) = limits::differing(self.client, item, true).await?;
            if !calls.is_empty() {
                self.push(item, Action::Change, found, calls);
            }
            return Ok(());
        }
        let mut calls = vec![What::Post(vec!["applications".into()], json!({"name": item.name()}))];
        calls.extend(limits::differing(self.client, item, false).await?.1);
        self.push(item, Action::Create, Vec::new(), calls);
        Ok(())
    }

    async fn event_type(&mut self, item: &Item) -> Result<(), Failure> {
        let schema = match (item.fields.get("schema"), item.text("schema_file")) {
            (Some(_), Some(_)) => {
                let what = "has both `schema` and `schema_file`";
                return Err(self.document.wrong(item.line("schema_file"), what, None));
            }
            (Some(schema), None) => Some(schema.clone()),
            (None, Some(file)) => {
                Some(input::json_within(&self.document.beside(file), MAX_SCHEMA_FILE)?)
            }
            (None, None) => None,
        };
        let application = self.document.default_application().to_owned();
        let path = vec!["event-types".to_owned(), item.name().to_owned()];
        if self.find(Kind::EventType, &application, item.name()).await?.is_none() {
            check_end(self.document, item, false)?;
            let (mut body, later) = self.bodies(item)?;
            if let Some(schema) = schema {
                body.insert("schema".into(), schema);
            }
            let mut calls = vec![What::Post(vec!["event-types".into()], body.into())];
            if !later.is_empty() {
                calls.push(What::Patch(path, later.into()));
            }
            calls.extend(limits::differing(self.client, item, false).await?.1);
            self.push(item, Action::Create, Vec::new(), calls);
            return Ok(());
        }
        let shown = self.client.get(&["event-types", item.name()], &[]).await?;
        check_end(self.document, item, as_declared("deprecated", &shown) == true)?;
        let (mut found, patch) = self.patch(item, &shown)?;
        let mut calls = Vec::new();
        if !patch.is_empty() {
            calls.push(What::Patch(path.clone(), patch.into()));
        }
        let newer = schema.as_ref().map(|new| differences("schema", &shown["schema"], new));
        if let (Some(schema), Some(newer)) = (schema, newer.filter(|newer| !newer.is_empty())) {
            found.extend(newer);
            let path = [path, vec!["versions".into()]].concat();
            calls.push(What::Post(path, json!({ "schema": schema })));
        }
        let (differing, mending) = limits::differing(self.client, item, true).await?;
        found.extend(differing);
        calls.extend(mending);
        if !calls.is_empty() {
            self.push(item, Action::Change, found, calls);
        }
        Ok(())
    }

    async fn subscription(&mut self, item: &Item) -> Result<(), Failure> {
        let application = self.application_of(item).to_owned();
        let Some(shown) = self.find(Kind::Subscription, &application, item.name()).await? else {
            let body = self.whole(item)?;
            let call = What::Post(vec!["subscriptions".into()], body.into());
            self.push(item, Action::Create, Vec::new(), vec![call]);
            return Ok(());
        };
        let (found, patch) = self.patch(item, &shown)?;
        if !found.is_empty() {
            let path =
                vec!["subscriptions".into(), shown["id"].as_str().unwrap_or_default().into()];
            self.push(item, Action::Change, found, vec![What::Patch(path, patch.into())]);
        }
        Ok(())
    }

    /// A declared resource as its creation takes it, all of it.
    pub(super) fn whole(&self, item: &Item) -> Result<Body, Failure> {
        let (body, later) = self.bodies(item)?;
        let Some(field) = later.keys().next() else { return Ok(body) };
        let word = item.kind.word();
        let what =
            format!("a new {word} cannot have `{field}`; it can be given to one that is there");
        Err(self.document.wrong(item.line(field), &what, None))
    }

    /// A declared resource as its creation takes it, and what only a change takes.
    fn bodies(&self, item: &Item) -> Result<(Body, Body), Failure> {
        let (mut body, mut later) = (Map::new(), Map::new());
        for field in item.fields.keys() {
            let value = secrets::resolved(self.document, item, field, self.wanted.look)?;
            if self.known.creates(item.kind, field) {
                body.insert(field.clone(), value);
            } else if self.known.changes(item.kind, field) {
                later.insert(field.clone(), value);
            }
        }
        Ok((body, later))
    }

    /// What is not as declared, and the change that mends it.
    pub(super) fn patch(
        &self,
        item: &Item,
        shown: &Value,
    ) -> Result<(Vec<Difference>, Map<String, Value>), Failure> {
        // Also what is for creation only: a secret in the file is one, whatever becomes of it.
        for field in item.fields.keys() {
            secrets::resolved(self.document, item, field, Look::Away)?;
        }
        let (mut all, mut patch) = (Vec::new(), Map::new());
        for field in item.fields.keys().filter(|field| self.known.changes(item.kind, field)) {
            let stand_in = secrets::resolved(self.document, item, field, Look::Away)?;
            let mut found = compared(field, shown, &stand_in);
            if found.is_empty() && self.wanted.refresh_secrets && secrets::has_any(item, field) {
                let (old, new) = (json!("(secret)"), json!("(secret, given again)"));
                found.push(Difference { at: field.clone(), old, new });
            }
            if found.is_empty() {
                continue;
            }
            let mut value = secrets::resolved(self.document, item, field, self.wanted.look)?;
            if let (true, Value::Object(secrets)) = (field == "header_secrets", &mut value) {
                // Those that are not named stay, unless they are said to go.
                for gone in shown[field].as_array().into_iter().flatten().filter_map(Value::as_str)
                {
                    secrets.entry(gone).or_insert(Value::Null);
                }
            }
            patch.insert(field.clone(), value);
            all.extend(found);
        }
        Ok((all, patch))
    }

    /// Deletes what the file does not have, of the kinds that have a section in it.
    async fn prune(&mut self) -> Result<(), Failure> {
        let items = self.document.items.iter();
        let mut applications: BTreeSet<String> = items
            .filter_map(|item| match item.kind {
                Kind::Application => Some(item.name().to_owned()),
                _ => self.document.owner_of(item).map(Into::into),
            })
            .collect();
        if applications.is_empty() {
            applications.insert(self.document.default_application().to_owned());
        }
        // Who needs it goes before what is needed. Keys go last: one may be this command's own.
        for kind in [Kind::Subscription, Kind::Source, Kind::Plugin, Kind::EventType, Kind::Key] {
            if !self.document.sections.contains(&kind) {
                continue;
            }
            if kind == Kind::EventType {
                let application = self.document.default_application().to_owned();
                self.prune_kind(kind, &application).await?;
                continue;
            }
            for application in &applications {
                self.prune_kind(kind, application).await?;
            }
        }
        Ok(())
    }

    async fn prune_kind(&mut self, kind: Kind, application: &str) -> Result<(), Failure> {
        let has_shared = self.declared(Kind::Plugin).any(|item| item.flag("shared", false));
        for shown in self.list(kind, application).await?.to_vec() {
            let Some(name) = shown["name"].as_str() else { continue };
            let is_shared = kind == Kind::Plugin && shown["application"].is_null();
            let is_over = kind == Kind::Key && !keys::is_usable(&shown);
            let stays = is_over || (is_shared && !has_shared);
            let is_declared = self.declared(kind).any(|item| {
                let is_here = kind == Kind::EventType
                    || is_shared
                    || self.application_of(item) == application;
                item.name() == name && item.flag("shared", false) == is_shared && is_here
            });
            let id = if kind == Kind::EventType || kind == Kind::Plugin {
                name
            } else {
                shown["id"].as_str().unwrap_or_default()
            };
            let path = vec![kind.section().replace('_', "-"), id.to_owned()];
            let title = match (kind, is_shared) {
                (Kind::EventType, _) => name.to_owned(),
                (_, true) => format!("{name} (shared)"),
                _ => format!("{application}/{name}"),
            };
            // Every application lists what is shared.
            let is_planned = self.plan.changes.iter().any(|change| {
                change.action == Action::Delete && change.kind == kind && change.name == title
            });
            if stays || is_declared || (is_shared && is_planned) {
                continue;
            }
            let what = What::Delete { path, shared: is_shared };
            let calls = vec![Call { application: Some(application.to_owned()), what }];
            let action = Action::Delete;
            self.plan.changes.push(Change {
                action,
                kind,
                name: title,
                line: None,
                differences: Vec::new(),
                calls,
            });
        }
        Ok(())
    }
}

/// Refuses an end for what would not be deprecated: the server would, half-way through.
fn check_end(document: &Document, item: &Item, is_deprecated: bool) -> Result<(), Failure> {
    let has_end = item.fields.get("sunset_at").is_some_and(|end| !end.is_null());
    if !has_end || item.flag("deprecated", is_deprecated) {
        return Ok(());
    }
    let what = format!(
        "`sunset_at` of an event type {}: it is not deprecated, and so has no end",
        item.name()
    );
    Err(document
        .wrong(item.line("sunset_at"), &what, None)
        .hint("write `deprecated: true` as well, or leave `sunset_at` out"))
}

fn names(list: &[Value]) -> BTreeSet<String> {
    list.iter().filter_map(|item| item["name"].as_str()).map(Into::into).collect()
}

/// The application of items that name none.
pub(super) fn default_application(given: Option<&str>) -> String {
    given.unwrap_or(Application::DEFAULT).to_owned()
}
