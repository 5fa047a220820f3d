//! `/v1/plugins`: plugins and their versions.
//!
//! A name means the acting application's own plugin, or else the platform's shared one. To
//! change a shared one, `?shared=true` must say so.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{Json, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{Acting, Actor, Manage, Read},
    docs::{Missing, Used},
    explain::closest,
    extract::{PathParts, QueryParams},
    page::{PageOut, PageQuery, Paging},
    preconditions::{IfMatch, IfNoneMatch, Tag},
    problem::Problem,
    refusal::{self, Subject},
};
use crate::model::{ApplicationId, PluginVersion};

/// A plugin: its live version (its newest, if none is live) and the names of all.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PluginOut {
    #[serde(flatten)]
    current: PluginVersion,
    /// Its versions, newest first.
    #[schema(example = json!(["1.2.0", "1.1.0"]))]
    versions: Vec<String>,
}

/// Whose plugin is meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OwnerQuery {
    /// Means the shared plugin of this name.
    #[serde(default)]
    pub shared: bool,
}

/// Which page, and whose plugin is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionsQuery {
    /// Means the shared plugin of this name, though the application has its own.
    #[serde(default)]
    shared: bool,
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

type Versions = Vec<Arc<PluginVersion>>;

pub fn plugin_subject(name: &str) -> Subject {
    Subject::new("plugin", name)
}

pub fn version_subject(name: &str, version: &str) -> Subject {
    Subject::new("plugin version", format_args!("{name}@{version}"))
}

/// The versions a name means, newest first, and their owner. Its own plugin hides a shared
/// one of the same name, unless `shared` asks for that.
fn select(
    all: &[Arc<PluginVersion>],
    name: &str,
    shared: bool,
) -> Option<(Option<ApplicationId>, Versions)> {
    let named = || all.iter().filter(|version| version.name == name);
    let owner = if shared { None } else { named().find_map(|version| version.application) };
    let mut versions: Versions =
        named().filter(|version| version.application == owner).cloned().collect();
    newest_first(&mut versions);
    if versions.is_empty() { None } else { Some((owner, versions)) }
}

fn newest_first(versions: &mut Versions) {
    versions.sort_by(|a, b| (b.created_at, &b.version).cmp(&(a.created_at, &a.version)));
}

fn find(api: &Api, acting: &Actor, name: &str, shared: bool) -> Result<Versions, Problem> {
    let all = api.catalog.plugins(acting.application.id);
    match select(&all, name, shared) {
        Some((_, versions)) => Ok(versions),
        None => Err(missing(&all, name)),
    }
}

/// The owner of the plugin that a name means.
pub fn owner_of(
    api: &Api,
    acting: &Actor,
    name: &str,
    shared: bool,
) -> Result<Option<ApplicationId>, Problem> {
    let all = api.catalog.plugins(acting.application.id);
    select(&all, name, shared).map(|(owner, _)| owner).ok_or_else(|| missing(&all, name))
}

fn missing(all: &[Arc<PluginVersion>], name: &str) -> Problem {
    let known = all.iter().map(|version| version.name.as_str());
    plugin_subject(name).not_found().did_you_mean(closest(name, known))
}

/// The owner of a plugin that is to be changed: shared ones only if the request says so.
pub fn owner_to_change(
    api: &Api,
    acting: &Actor,
    name: &str,
    shared: bool,
) -> Result<Option<ApplicationId>, Problem> {
    if shared {
        acting.must_be_admin()?;
    }
    let all = api.catalog.plugins(acting.application.id);
    match select(&all, name, shared) {
        None => Err(missing(&all, name)),
        Some((None, _)) if !shared => Err(plugin_subject(name).not_found().detail(format!(
            "The application has no plugin {name} of its own; to change the shared one, add \
             ?shared=true."
        ))),
        Some((owner, _)) => Ok(owner),
    }
}

/// A plugin out of its versions, newest first; none if there are none.
fn shown(versions: &[Arc<PluginVersion>]) -> Option<PluginOut> {
    let current = versions.iter().find(|version| version.live).or(versions.first())?;
    Some(PluginOut {
        current: PluginVersion::clone(current),
        versions: versions.iter().map(|version| version.version.clone()).collect(),
    })
}

/// List plugins
///
/// The application's own and the shared ones, by name.
#[utoipa::path(
    get,
    path = "/v1/plugins",
    tag = "Plugins",
    params(PageQuery),
    responses((status = 200, body = PageOut<PluginOut>))
)]
pub async fn list_plugins(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PageOut<PluginOut>>, Problem> {
    let paging = Paging::<String>::new("plg", query.limit, query.cursor.as_deref())?;
    let mut plugins: BTreeMap<(String, bool), Versions> = BTreeMap::new();
    for version in api.catalog.plugins(acting.application.id) {
        let shared = version.application.is_none();
        plugins.entry((version.name.clone(), shared)).or_default().push(version);
    }
    // The key sorts an application's own before the shared one of the same name.
    let position =
        |((name, shared), _): &((String, bool), Versions)| format!("{name}/{}", u8::from(*shared));
    let page = paging.slice(plugins, position, |place, after| parts(place) > parts(after));
    let data = page
        .data
        .into_iter()
        .filter_map(|(_, mut versions)| {
            newest_first(&mut versions);
            shown(&versions)
        })
        .collect();
    Ok(Json(PageOut { data, next_cursor: page.next_cursor }))
}

/// A position's name and the rest: as one text, `a-b/0` would be before `a/0`.
fn parts(position: &str) -> (&str, &str) {
    position.rsplit_once('/').unwrap_or((position, ""))
}

/// Get a plugin
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}",
    tag = "Plugins",
    params(("name" = String, Path, description = "Its name"), OwnerQuery),
    responses((status = 200, body = PluginOut), Missing)
)]
pub async fn get_plugin(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let versions = find(&api, &acting, &name, query.shared)?;
    let plugin = shown(&versions).ok_or_else(|| plugin_subject(&name).not_found())?;
    Ok(known.answer(Tag::of(&plugin), plugin))
}

/// What tells a state of a plugin from any other: its versions, and which of them is live.
pub fn tag(versions: &[Arc<PluginVersion>]) -> Tag {
    let mut versions = versions.to_vec();
    newest_first(&mut versions);
    Tag::of(&shown(&versions))
}

/// The tag of a plugin as it is now, for the answer to a change of it.
pub fn tag_now(api: &Api, owner: Option<ApplicationId>, name: &str) -> Tag {
    tag(&api.catalog.versions(owner, name))
}

/// List a plugin's versions
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/versions",
    tag = "Plugins",
    params(("name" = String, Path, description = "Its name"), VersionsQuery),
    responses((status = 200, body = PageOut<PluginVersion>), Missing)
)]
pub async fn list_plugin_versions(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<VersionsQuery>,
) -> Result<Json<PageOut<PluginVersion>>, Problem> {
    let paging = Paging::<String>::new("plgv", query.limit, query.cursor.as_deref())?;
    let versions = find(&api, &acting, &name, query.shared)?;
    // Padded, so that the text sorts as the time does.
    let position = |version: &PluginVersion| {
        format!("{:020}/{}", version.created_at.as_millisecond(), version.version)
    };
    let versions = versions.into_iter().map(Arc::unwrap_or_clone);
    Ok(Json(paging.slice(versions, position, |place, after| place < after)))
}

/// Get a plugin version
#[utoipa::path(
    get,
    path = "/v1/plugins/{name}/versions/{version}",
    tag = "Plugins",
    params(
        ("name" = String, Path, description = "The plugin"),
        ("version" = String, Path, description = "For example `1.2.0`"),
        OwnerQuery
    ),
    responses((status = 200, body = PluginVersion), Missing)
)]
pub async fn get_plugin_version(
    acting: Acting<Read>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, String)>,
    QueryParams(query): QueryParams<OwnerQuery>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let found = version_of(&api, &acting, &name, Some(&version), query.shared)?;
    Ok(known.answer(Tag::of(&*found), &*found))
}

/// A plugin's version: the one named, or the live one.
pub fn version_of(
    api: &Api,
    acting: &Actor,
    name: &str,
    version: Option<&str>,
    shared: bool,
) -> Result<Arc<PluginVersion>, Problem> {
    let versions = find(api, acting, name, shared)?;
    let found = versions.iter().find(|known| match version {
        Some(version) => known.version == version,
        None => known.live,
    });
    found.cloned().ok_or_else(|| {
        let known = versions.iter().map(|known| known.version.as_str());
        match version {
            Some(version) => {
                version_subject(name, version).not_found().did_you_mean(closest(version, known))
            }
            None => version_subject(name, "live").not_found().detail("No version is live."),
        }
    })
}

/// Delete a plugin
///
/// With all its versions. Refused while a subscription uses it.
#[utoipa::path(
    delete,
    path = "/v1/plugins/{name}",
    tag = "Plugins",
    params(("name" = String, Path, description = "The plugin"), OwnerQuery),
    responses((status = 204, description = "It is gone"), Missing, Used)
)]
pub async fn delete_plugin(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts(name): PathParts<String>,
    QueryParams(query): QueryParams<OwnerQuery>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    let owner = owner_to_change(&api, &acting, &name, query.shared)?;
    if let Some(source) = api.sources.user_of(owner, &name, None) {
        return Err(plugin_subject(&name).in_use(format_args!("the source {}", source.name)));
    }
    api.catalog
        .delete_plugin(owner, &name, None, |now| expected.allows(&tag(now)))
        .await
        .map_err(|error| refusal::catalog(error, &plugin_subject(&name)))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a plugin version
///
/// Refused while a subscription uses it.
#[utoipa::path(
    delete,
    path = "/v1/plugins/{name}/versions/{version}",
    tag = "Plugins",
    params(
        ("name" = String, Path, description = "The plugin"),
        ("version" = String, Path, description = "For example `1.2.0`"),
        OwnerQuery
    ),
    responses((status = 204, description = "It is gone"), Missing, Used)
)]
pub async fn delete_plugin_version(
    acting: Acting<Manage>,
    State(api): State<Arc<Api>>,
    PathParts((name, version)): PathParts<(String, String)>,
    QueryParams(query): QueryParams<OwnerQuery>,
    expected: IfMatch,
) -> Result<StatusCode, Problem> {
    let owner = owner_to_change(&api, &acting, &name, query.shared)?;
    if let Some(source) = api.sources.user_of(owner, &name, Some(&version)) {
        let subject = version_subject(&name, &version);
        return Err(subject.in_use(format_args!("the source {}", source.name)));
    }
    let fits = |now: &[Arc<PluginVersion>]| {
        let mut named = now.iter().filter(|known| known.version == version);
        named.next().is_none_or(|found| expected.allows(&Tag::of(&**found)))
    };
    api.catalog
        .delete_plugin(owner, &name, Some(&version), fits)
        .await
        .map_err(|error| refusal::catalog(error, &version_subject(&name, &version)))?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Manifest, PluginKind, Sha256, Timestamp};

    #[test]
    fn a_page_goes_on_in_the_order_of_the_list() {
        let mut names = ["redact-things/0", "redact/1", "redact/0", "redact2/0"];
        names.sort_by_key(|name| parts(name).to_owned());
        assert_eq!(names, ["redact/0", "redact/1", "redact-things/0", "redact2/0"]);
    }

    fn version(
        owner: Option<ApplicationId>,
        version: &str,
        at: i64,
        live: bool,
    ) -> Arc<PluginVersion> {
        Arc::new(PluginVersion {
            application: owner,
            name: "redact".into(),
            version: version.into(),
            sha256: Sha256::of(version.as_bytes()),
            kind: PluginKind::Filter,
            size: 1,
            interface: "0.1.0".into(),
            manifest: Manifest {
                name: "redact".into(),
                version: version.into(),
                summary: String::new(),
                config_schema: json!({}),
                event_types: Vec::new(),
            },
            live,
            created_at: Timestamp::from_second(at).unwrap(),
        })
    }

    #[test]
    fn an_own_plugin_hides_the_shared_one_of_its_name() {
        let own = Some(ApplicationId::new(Timestamp::UNIX_EPOCH));
        let all = [version(None, "2.0.0", 9, true), version(own, "1.0.0", 1, true)];
        let (owner, versions) = select(&all, "redact", false).unwrap();
        assert_eq!((owner, versions[0].version.as_str()), (own, "1.0.0"));
        let (owner, versions) = select(&all, "redact", true).unwrap();
        assert_eq!((owner, versions[0].version.as_str()), (None, "2.0.0"));
        assert!(select(&all, "reduct", false).is_none());
        assert!(select(&all[1..], "redact", true).is_none());
    }

    #[test]
    fn a_plugin_shows_its_versions_newest_first_and_the_live_one() {
        let all = [version(None, "1.0.0", 1, true), version(None, "1.1.0", 2, false)];
        let (_, versions) = select(&all, "redact", false).unwrap();
        let out = serde_json::to_value(shown(&versions).unwrap()).unwrap();
        assert_eq!(out["versions"], json!(["1.1.0", "1.0.0"]));
        assert_eq!((&out["version"], &out["live"]), (&json!("1.0.0"), &json!(true)));
        assert_eq!(out["application"], json!(null));
    }
}
