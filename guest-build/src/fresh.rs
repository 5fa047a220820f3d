//! Whether what was made before is still what would be made now: by content, never by date.
//!
//! Owns the digest of a project's sources and the file beside a result that keeps it. Making a
//! component of JavaScript or Python takes many seconds, so an unchanged plugin is not made again.

use std::path::Path;
use std::{fs, io};

use sha2::{Digest, Sha256};

/// What is installed, built, or only for people and tests.
const SKIPPED: [&str; 5] = ["node_modules", "tests", "target", "__pycache__", "README.md"];

/// A digest over names and contents.
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// One that begins with the way things are made: another way, another result.
    pub(crate) fn new(way: &str) -> Self {
        let mut fingerprint = Self(Sha256::new());
        fingerprint.add(way.as_bytes());
        fingerprint
    }

    /// Adds one piece, so that no two sequences of pieces look the same.
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a file; one that is missing counts as empty.
    pub(crate) fn file(&mut self, path: &Path) -> io::Result<()> {
        match fs::read(path) {
            Ok(bytes) => self.add(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.add(b""),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Adds a folder's files, in the order of their names, without what is hidden or not a
    /// source.
    pub(crate) fn folder(&mut self, folder: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.starts_with('.') || SKIPPED.contains(&&*text) {
                continue;
            }
            self.add(name.as_encoded_bytes());
            // Follows links: the SDK's interface is one, in the source tree.
            if fs::metadata(entry.path())?.is_dir() {
                self.folder(&entry.path())?;
            } else {
                self.file(&entry.path())?;
            }
        }
        Ok(())
    }

    /// In hexadecimal.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether `mark` was left by the same sources.
pub(crate) fn is_current(mark: &Path, fingerprint: &str) -> bool {
    fs::read_to_string(mark).is_ok_and(|text| text == fingerprint)
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, is_current};
    use std::{fs, io};

    #[test]
    fn a_change_is_seen_and_a_date_is_not() -> io::Result<()> {
        let folder = std::env::temp_dir().join(format!("hookmill-fresh-{}", std::process::id()));
        let of = || {
            let mut fingerprint = Fingerprint::new("a");
            fingerprint.folder(&folder)?;
            io::Result::Ok(fingerprint.finish())
        };
        fs::create_dir_all(folder.join("src"))?;
        fs::create_dir_all(folder.join("tests"))?;
        fs::write(folder.join("src/a.js"), "1")?;
        let first = of()?;
        fs::write(folder.join("src/a.js"), "1")?;
        fs::write(folder.join("tests/case.json"), "{}")?;
        fs::write(folder.join(".hidden"), "x")?;
        assert_eq!(of()?, first);
        fs::write(folder.join("src/a.js"), "2")?;
        assert_ne!(of()?, first);
        fs::write(folder.join("src/a.js"), "1")?;
        fs::rename(folder.join("src/a.js"), folder.join("src/b.js"))?;
        assert_ne!(of()?, first);
        let mark = folder.join("mark");
        assert!(!is_current(&mark, &first));
        fs::write(&mark, &first)?;
        assert!(is_current(&mark, &first));
        fs::remove_dir_all(folder)
    }
}
