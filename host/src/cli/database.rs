//! `hookmill backup`, `restore`, `check` and `compact`: the database as a file.
//!
//! Owns how a file is put in its place: never half-written, never over another. With `serve`,
//! the only commands that open a database; never one that a server has open.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    Global,
    output::{self, Failure, count, file_size},
};
use crate::store::sqlite::{
    backup,
    check::{self, Checked},
    log,
};

/// Copy the whole database to a file
///
/// Of a server that runs, over REST, while it works on; with --database, of one that is stopped.
/// The copy holds signing secrets and payloads: keep it as you keep them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill backup hookmill-$(date +%F).db\n  hookmill backup --database /var/lib/hookmill/hookmill.db copy.db"
)]
pub(super) struct Backup {
    /// The file to make; must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Copy this database, which no server has open
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
}

/// Make a database of a backup
///
/// Checks the backup first, and overwrites nothing. Start the server on it afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookmill restore hookmill-2026-11-23.db --database /var/lib/hookmill/hookmill.db"
)]
pub(super) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The database to make; must not be there yet
    #[arg(long, value_name = "FILE", default_value = "hookmill.db")]
    database: PathBuf,
}

/// Check that a database, or a backup, is whole and consistent
///
/// Of a server that is stopped. Ends with exit code 1 if something is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookmill check --database /var/lib/hookmill/hookmill.db\n  hookmill check --database hookmill-2026-11-23.db"
)]
pub(super) struct Check {
    /// The database
    #[arg(long, value_name = "FILE", default_value = "hookmill.db")]
    database: PathBuf,
    /// Cut a damaged log after its last whole change; what it was is kept beside it
    #[arg(long)]
    cut_log: bool,
}

/// Rewrite a database without free room and what nothing refers to
///
/// Of a server that is stopped. Takes as much room again while it works.
#[derive(Debug, Args)]
pub(super) struct Compact {
    /// The database
    #[arg(long, value_name = "FILE", default_value = "hookmill.db")]
    database: PathBuf,
}

fn cannot(what: &str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let text = format!("cannot {what} {}", path.display());
    move |error| Failure::failed(format!("{text}: {error}"))
}

fn refuse_if_there(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        let failure = Failure::usage(format!("{} is there already", path.display()));
        return Err(failure.hint("name another file, or move that one away first"));
    }
    Ok(())
}

/// A file that is written beside its place, under another name until it is whole. It goes
/// away with this if it did not get that far.
struct Partial {
    path: PathBuf,
    target: PathBuf,
}

impl Partial {
    fn beside(target: &Path) -> Self {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        Self { path: name.into(), target: target.to_owned() }
    }

    /// For its owner only: it holds secrets.
    fn create(&self) -> Result<File, Failure> {
        use std::os::unix::fs::OpenOptionsExt;

        let mut options = File::options();
        options.create_new(true).write(true).mode(0o600);
        options.open(&self.path).map_err(cannot("make", &self.path))
    }

    /// Puts it in its place for good, if that is still free.
    fn finish(self) -> Result<u64, Failure> {
        let failed = cannot("write", &self.target);
        let file = File::open(&self.path).map_err(&failed)?;
        file.sync_all().map_err(&failed)?;
        let size = file.metadata().map_err(&failed)?.len();
        // Unlike a renaming, a link does not replace what came there meanwhile.
        fs::hard_link(&self.path, &self.target).map_err(&failed)?;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(&failed)?;
        folder.sync_all().map_err(&failed)?;
        Ok(size)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Neither may ever have been made: the file, and the lock of a check of it.
        let _gone = fs::remove_file(&self.path);
        let mut lock = self.path.as_os_str().to_owned();
        lock.push("-lock");
        let _gone = fs::remove_file(lock);
    }
}

impl Backup {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        refuse_if_there(&self.file)?;
        let partial = Partial::beside(&self.file);
        match &self.database {
            Some(database) => backup::copy(database, &partial.path).await.map_err(|error| {
                Failure::failed(format!("cannot copy {}: {error}", database.display()))
                    .hint("of a server that runs, leave --database out")
            })?,
            None => download(global, &partial).await?,
        }
        let size = partial.finish()?;
        if global.json {
            output::json(&json!({"file": self.file, "bytes": size}));
        } else {
            output::data(format_args!("{}  {}", self.file.display(), file_size(size)));
        }
        Ok(())
    }
}

/// Writes what the server sends, and compares it with the digest that it names.
async fn download(global: &Global, partial: &Partial) -> Result<(), Failure> {
    let client = global.client()?;
    let mut answer = client.stream(&["backup"]).await?;
    let digest = answer.headers().get("repr-digest").and_then(|value| value.to_str().ok());
    let expected = digest.unwrap_or_default().to_owned();
    let mut file = partial.create()?;
    let mut hash = Sha256::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| {
        Failure::failed(format!("the backup broke off: {error}"))
            .hint("nothing was kept; try again")
    })? {
        hash.update(&chunk);
        file.write_all(&chunk).map_err(cannot("write", &partial.path))?;
    }
    let found = format!("sha-256=:{}:", STANDARD.encode(hash.finalize()));
    if found != expected {
        return Err(Failure::failed("what arrived is not what was sent")
            .line(format!("expected {expected}, found {found}"))
            .hint("nothing was kept; try again"));
    }
    Ok(())
}

impl Restore {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        refuse_if_there(&self.database)?;
        let left = log::log_of(&self.database);
        if left.exists() {
            return Err(Failure::usage(format!("{} is there already", left.display()))
                .line("It belongs to another database, and would be read as part of this one.")
                .hint("move it away first"));
        }
        let partial = Partial::beside(&self.database);
        let failed =
            |error| Failure::failed(format!("cannot restore {}: {error}", self.file.display()));
        backup::copy(&self.file, &partial.path).await.map_err(failed)?;
        // The copy, not the backup: what is checked is what will be used.
        let checked = check::check(&partial.path).await.map_err(failed)?;
        if !checked.broken.is_empty() {
            return Err(broken(&self.file, &checked));
        }
        let size = partial.finish()?;
        if global.json {
            output::json(
                &json!({"database": self.database, "bytes": size, "events": checked.events}),
            );
        } else {
            output::data(format_args!("{}  {}", self.database.display(), summary(size, &checked)));
        }
        Ok(())
    }
}

fn summary(size: u64, checked: &Checked) -> String {
    format!(
        "{}: {} events, {} deliveries, {} attempts",
        file_size(size),
        count(checked.events),
        count(checked.deliveries),
        count(checked.attempts)
    )
}

fn broken(path: &Path, checked: &Checked) -> Failure {
    let rules = checked.broken.len();
    let mut failure = Failure::failed(format!("{} breaks {rules} rules", path.display()));
    for broken in &checked.broken {
        failure = failure.line(format!("{}: not so {} times", broken.rule, count(broken.count)));
        for example in &broken.examples {
            failure = failure.line(format!("  {example}"));
        }
    }
    failure
}

impl Check {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let path = &self.database;
        if self.cut_log {
            return self.cut();
        }
        let checked = check::check(path).await.map_err(|error| {
            Failure::failed(format!("cannot check {}: {error}", path.display()))
        })?;
        if global.json {
            let rules: Vec<_> = checked
                .broken
                .iter()
                .map(|b| json!({"rule": b.rule, "count": b.count, "examples": b.examples}))
                .collect();
            output::json(
                &json!({"ok": rules.is_empty(), "broken": rules, "events": checked.events,
                "deliveries": checked.deliveries, "attempts": checked.attempts,
                "log_transactions": checked.log.transactions}),
            );
        }
        if !checked.broken.is_empty() {
            let failure = broken(path, &checked);
            let hint = if checked.log.damaged.is_some() {
                "restore a backup, or go on without what is lost: --cut-log"
            } else if checked.broken.iter().all(|broken| broken.rule == check::COUNTED) {
                "hookmill compact counts anew"
            } else {
                "restore a backup, and keep this file: it shows what happened"
            };
            return Err(failure.hint(hint));
        }
        if !global.json {
            let size = fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
            let rules = checked.rules;
            output::data(format_args!("ok, {rules} rules  {}", summary(size, &checked)));
            if checked.log.transactions > 0 {
                let changes = count(checked.log.transactions);
                output::say(format_args!(
                    "{changes} changes are in the log beside it: keep both together"
                ));
            }
        }
        Ok(())
    }

    fn cut(&self) -> Result<(), Failure> {
        let path = &self.database;
        let failed =
            |error| Failure::failed(format!("cannot cut the log of {}: {error}", path.display()));
        let kept = log::cut(path).map_err(failed)?;
        match kept {
            Some(kept) => output::data(format_args!(
                "the log ends with its last whole change; what it was: {}",
                kept.display()
            )),
            None => output::data("the log is whole: nothing was changed"),
        }
        Ok(())
    }
}

impl Compact {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let path = &self.database;
        let done = backup::compact(path).await.map_err(|error| {
            Failure::failed(format!("cannot compact {}: {error}", path.display()))
        })?;
        if global.json {
            output::json(&json!({"before": done.before, "after": done.after,
                "pipelines": done.pipelines, "components": done.components,
                "recounted": done.recounted}));
        } else {
            output::data(format_args!(
                "{} → {}; {} pipelines and {} components that nothing names are gone",
                file_size(done.before),
                file_size(done.after),
                count(done.pipelines),
                count(done.components)
            ));
            if done.recounted > 0 {
                output::say(format_args!(
                    "what the events of {} applications take was counted wrong, and is counted anew",
                    count(done.recounted)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy.db");
        let partial = Partial::beside(&target);
        partial.create().unwrap().write_all(b"whole").unwrap();
        drop(partial);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half-written stays");

        let partial = Partial::beside(&target);
        partial.create().unwrap().write_all(b"whole").unwrap();
        assert_eq!(partial.finish().unwrap(), 5);
        assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let partial = Partial::beside(&target);
        partial.create().unwrap().write_all(b"other").unwrap();
        assert!(partial.finish().is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
    }
}
