//! Compiled components of this user's own plugins, kept between commands: a component with a
//! language engine inside takes many seconds to compile, and an unchanged one need not be.
//!
//! Owns the folder, its key and its bound. What is in it counts only with that key, which no one
//! else can read; so a project folder from elsewhere can bring no machine code with it.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::cli::{output::Failure, scratch::random};

/// Compiled components that are kept: the newest.
const MOST: usize = 16;

/// Where compiled components are kept, and the key that vouches for them.
pub(super) struct Kept {
    pub(super) folder: PathBuf,
    pub(super) key: [u8; 32],
}

/// The user's own, where the system keeps such; nothing if this user has no home or it cannot be written.
#[expect(clippy::disallowed_methods, reason = "where caches are kept is no setting of Hookmill's")]
pub(super) fn open() -> Option<Kept> {
    let caches = match std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => std::env::home_dir()?.join(".cache"),
    };
    at(&caches.join("hookmill")).ok()
}

fn at(home: &Path) -> io::Result<Kept> {
    let folder = home.join("compiled");
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(&folder)?;
    let key = key(&home.join("compiled.key"))?;
    prune(&folder)?;
    Ok(Kept { folder, key })
}

/// Reads the key, or makes one. Two commands at once agree on what was linked first.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    if !path.exists() {
        let random = random::<32>().map_err(|failure: Failure| io::Error::other(failure.text()))?;
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let mut options = fs::OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.write(true).create(true).truncate(true).open(&beside)?.write_all(&random)?;
        let linked = fs::hard_link(&beside, path);
        fs::remove_file(&beside)?;
        if let Err(error) = linked
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    fs::read(path)?.try_into().map_err(|_| io::Error::other("the key is damaged"))
}

/// Removes all but the newest.
fn prune(folder: &Path) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    let mut files: Vec<_> =
        entries.filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(MOST) {
        // Another command may have removed it already.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_and_the_oldest_go() {
        let home = tempfile::tempdir().unwrap();
        let first = at(home.path()).unwrap();
        for n in 0..MOST + 4 {
            fs::write(first.folder.join(format!("{n}.bin")), "x").unwrap();
        }
        let second = at(home.path()).unwrap();
        assert_eq!(second.key, first.key);
        assert_eq!(fs::read_dir(&second.folder).unwrap().count(), MOST);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&home.path().join("compiled.key")), 0o600);
            assert_eq!(mode(&second.folder), 0o700);
        }
        fs::write(home.path().join("compiled.key"), "short").unwrap();
        assert!(at(home.path()).is_err());
    }
}
