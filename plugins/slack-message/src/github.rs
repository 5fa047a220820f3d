//! What to say about GitHub's events.
//!
//! Owns which fields matter and the sentences. Leaves escaping and bounds to `slack`.

use crate::SlackMessage;
use crate::slack::{Text, link, plain};
use hookmill_sdk::prelude::*;
use hookmill_sdk::serde::Deserialize;

/// Longest title, of an issue for example.
const TITLE: usize = 200;
/// Longest name, of a branch or a person.
const NAME: usize = 80;

/// Whether there is something to say.
pub(crate) enum Said {
    Yes(Text),
    /// There are no words for it.
    No(&'static str),
    /// The configuration doesn't want it, whatever is done with others.
    Never(&'static str),
}

/// Fields all events have: the repository and who did it.
struct Scene {
    repository: String,
    sender: String,
}

fn scene(event: &Event) -> Result<Scene> {
    let (name, url, sender): (String, String, Option<String>) =
        event.get_many(["/repository/full_name", "/repository/html_url", "/sender/login"])?;
    Ok(Scene {
        repository: link(&url, &name, NAME),
        sender: plain(sender.as_deref().unwrap_or("someone"), NAME),
    })
}

#[derive(Deserialize)]
#[serde(crate = "hookmill_sdk::serde")]
struct Commit {
    id: String,
    url: String,
    message: String,
    author: Author,
}

#[derive(Deserialize)]
#[serde(crate = "hookmill_sdk::serde")]
struct Author {
    name: String,
}

/// Commits pushed, or a branch or tag made or deleted.
pub(crate) fn push(event: &Event, config: &SlackMessage) -> Result<Said> {
    let (full, deleted, forced): (String, Option<bool>, Option<bool>) =
        event.get_many(["/ref", "/deleted", "/forced"])?;
    let (kind, name) = match (full.strip_prefix("refs/heads/"), full.strip_prefix("refs/tags/")) {
        (Some(branch), _) => ("branch", branch),
        (None, Some(tag)) => ("tag", tag),
        (None, None) => ("ref", full.as_str()),
    };
    if let Some(branches) = &config.branches
        && !(kind == "branch" && branches.iter().any(|branch| branch == name))
    {
        return Ok(Said::Never("not one of the announced branches"));
    }
    let Scene { repository, sender } = scene(event)?;
    if deleted == Some(true) {
        let name = plain(name, NAME);
        return Ok(Said::Yes(Text::new(format!(
            "{repository}: {sender} deleted the {kind} `{name}`"
        ))));
    }
    let (commits, compare): (Vec<Commit>, Option<String>) =
        event.get_many(["/commits", "/compare"])?;
    let name = link(compare.as_deref().unwrap_or_default(), name, NAME);
    if commits.is_empty() {
        return Ok(Said::Yes(Text::new(format!(
            "{repository}: {sender} pushed the {kind} {name}"
        ))));
    }
    let how = if forced == Some(true) { "force-pushed" } else { "pushed" };
    let count = commits.len();
    let noun = if count == 1 { "commit" } else { "commits" };
    let mut text = Text::new(format!("{repository}: {sender} {how} {count} {noun} to {name}"));
    let mut listed = 0;
    for commit in commits.iter().take(config.max_commits) {
        let id = link(&commit.url, &format!("`{}`", short(&commit.id)), NAME);
        let first_line = commit.message.lines().next().unwrap_or_default();
        let line =
            format!("• {id} {} — {}", plain(first_line, TITLE), plain(&commit.author.name, NAME));
        if !text.line(&line) {
            break;
        }
        listed += 1;
    }
    if listed > 0 && listed < count {
        text.last_line(&format!("… and {} more", count - listed));
    }
    Ok(Said::Yes(text))
}

/// A commit's short id, as GitHub shows it.
fn short(id: &str) -> &str {
    id.get(..7).unwrap_or(id)
}

/// A pull request opened, closed, merged or made ready.
pub(crate) fn pull_request(event: &Event) -> Result<Said> {
    let (action, merged, draft): (String, Option<bool>, Option<bool>) =
        event.get_many(["/action", "/pull_request/merged", "/pull_request/draft"])?;
    let verb = match action.as_str() {
        "opened" if draft == Some(true) => "drafted",
        "opened" | "reopened" => action.as_str(),
        "closed" if merged == Some(true) => "merged",
        "closed" => "closed",
        "ready_for_review" => "asks for review of",
        _ => return Ok(Said::No("nothing to say about this pull request action")),
    };
    titled(event, verb, "pull request", "/pull_request")
}

/// An issue opened, closed or reopened.
pub(crate) fn issues(event: &Event) -> Result<Said> {
    let action: String = event.get("/action")?;
    match action.as_str() {
        "opened" | "closed" | "reopened" => titled(event, &action, "issue", "/issue"),
        _ => Ok(Said::No("nothing to say about this issue action")),
    }
}

/// What issues and pull requests have in common: a number and a title.
fn titled(event: &Event, verb: &str, noun: &str, at: &str) -> Result<Said> {
    let Scene { repository, sender } = scene(event)?;
    let [number, title, url] = ["number", "title", "html_url"].map(|field| format!("{at}/{field}"));
    let (number, title, url): (u64, String, String) = event.get_many([&number, &title, &url])?;
    let title = link(&url, &format!("#{number} {title}"), TITLE);
    Ok(Said::Yes(Text::new(format!("{repository}: {sender} {verb} {noun} {title}"))))
}

/// A release published.
pub(crate) fn release(event: &Event) -> Result<Said> {
    let action: String = event.get("/action")?;
    if action != "published" {
        return Ok(Said::No("nothing to say about this release action"));
    }
    let Scene { repository, sender } = scene(event)?;
    let (tag, name, url, prerelease, notes): (
        String,
        Option<String>,
        String,
        Option<bool>,
        Option<String>,
    ) = event.get_many([
        "/release/tag_name",
        "/release/name",
        "/release/html_url",
        "/release/prerelease",
        "/release/body",
    ])?;
    let name = name.filter(|name| !name.is_empty()).unwrap_or(tag);
    let noun = if prerelease == Some(true) { "prerelease" } else { "release" };
    let title = link(&url, &name, TITLE);
    let mut text = Text::new(format!("{repository}: {sender} published {noun} {title}"));
    if let Some(first) =
        notes.as_deref().and_then(|notes| notes.lines().find(|line| !line.trim().is_empty()))
    {
        // A line this short always fits.
        let _fits = text.line(&format!("> {}", plain(first, TITLE)));
    }
    Ok(Said::Yes(text))
}

/// Any other event: its type, and whatever of repository and sender there is.
pub(crate) fn anything(event: &Event, event_type: &str) -> Result<Text> {
    let (name, url, sender): (Option<String>, Option<String>, Option<String>) =
        event.get_many(["/repository/full_name", "/repository/html_url", "/sender/login"])?;
    let mut headline = String::new();
    if let Some(name) = name {
        headline.push_str(&link(url.as_deref().unwrap_or_default(), &name, NAME));
        headline.push_str(": ");
    }
    headline.push_str(&format!("`{}`", plain(event_type, NAME)));
    if let Some(sender) = sender {
        headline.push_str(&format!(" by {}", plain(&sender, NAME)));
    }
    Ok(Text::new(headline))
}
