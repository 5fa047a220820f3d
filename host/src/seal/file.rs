//! Where a server's master key comes from: a setting, a file, or one beside the database.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{MasterKey, SealError, Vault};

/// Longest key file; one holds 45 bytes.
const MAX_FILE: u64 = 1024;

/// Where the master key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The setting `master_key`.
    Given(MasterKey),
    /// The file that `master_key_file` names.
    File(PathBuf),
    /// `<database>.key`, made at the first start.
    Beside,
}

impl KeySource {
    /// From the two settings, of which one may be given.
    pub fn from_settings(key: Option<&str>, file: Option<&Path>) -> Result<Self, SealError> {
        match (key, file) {
            (Some(key), _) => MasterKey::parse(key, "the setting master_key").map(Self::Given),
            (None, Some(file)) => Ok(Self::File(file.to_owned())),
            (None, None) => Ok(Self::Beside),
        }
    }

    /// The file it is in, if it is in one.
    pub fn path(&self, database: &Path) -> Option<PathBuf> {
        match self {
            Self::Given(_) => None,
            Self::File(path) => Some(path.clone()),
            Self::Beside => Some(with(database, ".key")),
        }
    }

    /// Opens a database's data key.
    pub fn open(&self, database: &Path, wrapped: &[u8]) -> Result<Vault, SealError> {
        let sealed = Vault::master_id(wrapped).ok_or(SealError::Damaged("installation.value"))?;
        let Some(master) = self.find(database)? else {
            let looked = self.path(database).unwrap_or_default().display().to_string();
            return Err(SealError::Missing { sealed, looked });
        };
        if let Some(vault) = Vault::unwrap(&master, wrapped)? {
            return Ok(vault);
        }
        if let Some(vault) = self.successor(database, wrapped)? {
            return Ok(vault);
        }
        let given = match self.path(database) {
            Some(path) => path.display().to_string(),
            None => "the setting master_key".to_owned(),
        };
        Err(SealError::Wrong { sealed, given, found: master.id() })
    }

    /// The key for a database that has no data key yet; a file beside it is made.
    pub fn first(&self, database: &Path) -> Result<MasterKey, SealError> {
        if let Some(key) = self.find(database)? {
            return Ok(key);
        }
        let key = MasterKey::generate()?;
        if let Some(path) = self.path(database) {
            write(&path, &key)?;
            tracing::debug!(path = %path.display(), "made a master key");
        }
        Ok(key)
    }

    /// The key, if it is there. Only the file beside the database may be missing.
    fn find(&self, database: &Path) -> Result<Option<MasterKey>, SealError> {
        match self {
            Self::Given(key) => Ok(Some(key.clone())),
            Self::File(path) => read(path).map(Some),
            Self::Beside => match read(&with(database, ".key")) {
                Err(SealError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    Ok(None)
                }
                read => read.map(Some),
            },
        }
    }

    /// Where a rotation puts the next key until the database is sealed under it.
    pub fn next_path(&self, database: &Path) -> Option<PathBuf> {
        self.path(database).map(|path| with(&path, ".new"))
    }

    /// Finishes a rotation that ended between the database and the file's change of name.
    fn successor(&self, database: &Path, wrapped: &[u8]) -> Result<Option<Vault>, SealError> {
        let (Some(path), Some(next)) = (self.path(database), self.next_path(database)) else {
            return Ok(None);
        };
        let Ok(key) = read(&next) else { return Ok(None) };
        let vault = Vault::unwrap(&key, wrapped)?;
        if vault.is_some()
            && let Err(error) = replace(&next, &path)
        {
            // It opens all the same, now and at the next start.
            tracing::warn!(%error, "the next master key could not take the place of the last");
        }
        Ok(vault)
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> SealError {
    let path = path.display().to_string();
    move |error| SealError::File { path, what, error }
}

/// The key in a file.
fn read(path: &Path) -> Result<MasterKey, SealError> {
    let unreadable = |error| failed(path, "cannot be read")(error);
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(SealError::NoKey(path.display().to_string()));
    }
    let text = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    let text = std::str::from_utf8(&text).unwrap_or_default();
    MasterKey::parse(text, &path.display().to_string())
}

/// Writes a key into a file of its own that only its owner reads, and makes sure that it is on
/// the disk: what is sealed under it may be there a moment later.
fn write(path: &Path, key: &MasterKey) -> Result<(), SealError> {
    let made = File::options().create_new(true).write(true).mode(0o600).open(path);
    let mut file = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SealError::Taken(path.display().to_string()),
        _ => failed(path, "cannot be made")(error),
    })?;
    let text = key.text();
    let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.sync_all()).map_err(failed(path, "cannot be written"))?;
    sync_folder(path)
}

/// Gives a key file the name of the one it follows.
fn replace(next: &Path, path: &Path) -> Result<(), SealError> {
    std::fs::rename(next, path).map_err(failed(next, "cannot be renamed"))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), SealError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|file| file.sync_all()).map_err(failed(path, "is not kept"))
}

impl MasterKey {
    /// The key in a file.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        read(path)
    }

    /// Writes it into a new file that only its owner can read.
    pub fn write(&self, path: &Path) -> Result<(), SealError> {
        write(path, self)
    }

    /// Gives the file `next` the name `path`, in place of what had it.
    pub fn replace(next: &Path, path: &Path) -> Result<(), SealError> {
        replace(next, path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_key_is_made_beside_the_database_for_its_owner_only_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let key = KeySource::Beside.first(&database).unwrap();
        let path = folder.path().join("a.db.key");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeySource::Beside.first(&database).unwrap().id(), key.id());
        assert!(matches!(key.write(&path), Err(SealError::Taken(_))));
        assert_eq!(MasterKey::read(&path).unwrap().id(), key.id());
    }

    #[test]
    fn a_missing_or_wrong_key_is_named_with_the_one_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let (right, wrong) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let wrapped = Vault::generate().unwrap().wrapped(&right).unwrap();
        let open = |source: KeySource| match source.open(&database, &wrapped) {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(open(KeySource::Given(right.clone())), "opened");
        let missing = open(KeySource::Beside);
        assert!(missing.contains(&right.id()) && missing.contains("a.db.key is not there"));
        let other = open(KeySource::Given(wrong.clone()));
        assert!(other.contains(&right.id()) && other.contains(&wrong.id()), "{other}");
        let none = open(KeySource::File(folder.path().join("gone")));
        assert!(none.contains("gone cannot be read"), "{none}");
        std::fs::write(folder.path().join("a.db.key"), "hunter2").unwrap();
        let bad = open(KeySource::Beside);
        assert!(bad.contains("a.db.key is no master key") && !bad.contains("hunter2"), "{bad}");
    }

    #[test]
    fn a_rotation_that_was_cut_off_is_finished_by_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let source = KeySource::Beside;
        source.first(&database).unwrap();
        let next = MasterKey::generate().unwrap();
        next.write(&source.next_path(&database).unwrap()).unwrap();
        let wrapped = Vault::generate().unwrap().wrapped(&next).unwrap();
        source.open(&database, &wrapped).unwrap();
        assert_eq!(MasterKey::read(&source.path(&database).unwrap()).unwrap().id(), next.id());
        assert!(!source.next_path(&database).unwrap().exists());
    }
}
