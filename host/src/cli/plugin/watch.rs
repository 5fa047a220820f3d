//! Waits until somebody saves a file.
//!
//! Owns which files count: not what a build writes. Never runs anything itself.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::Notify, time::timeout};

use crate::cli::output::Failure;

/// Editors save in several steps, and people save several files: quiet for this long means that
/// it is done.
const QUIET: Duration = Duration::from_millis(100);

/// What builds write, and tools keep beside sources.
const NOT_SOURCES: [&str; 8] =
    ["target", ".git", ".hookmill", "node_modules", "dist", "build", "__pycache__", "Cargo.lock"];

/// Watches files until it is dropped.
pub(super) struct Watch {
    saved: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches folders with all that is in them, and single files.
    pub(super) fn on(paths: &[PathBuf]) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("files cannot be watched: {error}"))
        };
        let saved = Arc::new(Notify::new());
        let paths: Vec<PathBuf> =
            paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
        let (tell, watched) = (Arc::clone(&saved), paths.clone());
        let seen = move |event: notify::Result<notify::Event>| {
            // An overflow of the system's queue says no paths: something was saved.
            let counts = match &event {
                Ok(event) => is_save(event, &watched),
                Err(_) => true,
            };
            if counts {
                tell.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(seen).map_err(|error| failed(&error))?;
        for path in &paths {
            // Editors replace files; a file's folder sees the new one, the old file does not.
            let (place, mode) = if path.is_dir() {
                (path.as_path(), RecursiveMode::Recursive)
            } else {
                (path.parent().unwrap_or(path), RecursiveMode::NonRecursive)
            };
            watcher.watch(place, mode).map_err(|error| failed(&error))?;
        }
        Ok(Self { saved, _watcher: watcher })
    }

    /// Waits for a save, and until no more follow. One that came since the last time counts.
    pub(super) async fn next(&self) {
        self.saved.notified().await;
        while timeout(QUIET, self.saved.notified()).await.is_ok() {}
    }
}

fn is_save(event: &notify::Event, watched: &[PathBuf]) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.need_rescan() || event.paths.iter().any(|path| is_source(path, watched))
}

fn is_source(path: &Path, watched: &[PathBuf]) -> bool {
    watched.iter().any(|root| {
        match path.strip_prefix(root) {
        Ok(rest) => !rest.components().any(|part| {
            matches!(part, Component::Normal(name) if NOT_SOURCES.iter().any(|not| name == *not))
        }),
        Err(_) => false,
    }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_not_a_save() {
        let watched = [PathBuf::from("/p"), PathBuf::from("/target/x.wasm")];
        for source in ["/p/src/lib.rs", "/p/tests/a.json", "/p/Cargo.toml", "/target/x.wasm"] {
            assert!(is_source(Path::new(source), &watched), "{source}");
        }
        for other in ["/p/target/a", "/p/.git/HEAD", "/p/Cargo.lock", "/q/a", "/target/y.wasm"] {
            assert!(!is_source(Path::new(other), &watched), "{other}");
        }
    }

    #[tokio::test]
    async fn a_save_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::on(&[folder.path().to_path_buf()]).unwrap();
        std::fs::write(folder.path().join("a.json"), "1").unwrap();
        watch.next().await;
    }
}
