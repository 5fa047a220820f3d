//! Whether what was made before is still what would be made now: by content, never by date.
//!
//! Owns the digest of a project's sources and the file beside a result that keeps it. Making a
//! component of JavaScript or Python takes many seconds, so an unchanged plugin is not made again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// What is installed, built, or only for people and tests.
const SKIPPED: [&str; 5] = ["node_modules", "tests", "target", "__pycache__", "README.md"];

/// Most files and folders of a project, and most bytes of its files. A link to a home folder has
/// more, and it is better to say so than to read it all.
const MAX_ENTRIES: usize = 20_000;
const MAX_BYTES: u64 = 256 << 20;

/// A digest over names and contents.
pub(crate) struct Fingerprint {
    digest: Sha256,
    /// Folders that were looked through, in this order, by where they really are.
    folders: Vec<PathBuf>,
    entries: usize,
    bytes: u64,
}

impl Fingerprint {
    /// One that begins with the way things are made: another way, another result.
    pub(crate) fn new(way: &str) -> Self {
        let mut fingerprint =
            Self { digest: Sha256::new(), folders: Vec::new(), entries: 0, bytes: 0 };
        fingerprint.add(way.as_bytes());
        fingerprint
    }

    /// Adds one piece, so that no two sequences of pieces look the same.
    fn add(&mut self, bytes: &[u8]) {
        self.digest.update((bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    /// Adds a file; one that is missing counts as empty.
    pub(crate) fn file(&mut self, path: &Path) -> io::Result<()> {
        match fs::metadata(path) {
            Ok(found) => self.contents(path, &found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.add(b"");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Adds what a file has now, and no more than it says it has: a device has no end, and
    /// whoever opens a pipe waits for somebody to write.
    fn contents(&mut self, path: &Path, found: &fs::Metadata) -> io::Result<()> {
        if !found.is_file() {
            return Err(refused(
                path,
                "is neither a file nor a folder; take it out of the project",
            ));
        }
        self.bytes += found.len();
        if self.bytes > MAX_BYTES {
            let limit = MAX_BYTES >> 20;
            let words =
                format!("has what makes the project larger than {limit} MiB; is it part of it?");
            return Err(refused(path, &words));
        }
        let mut bytes = Vec::new();
        if found.len() > 0 {
            fs::File::open(path)?.take(found.len()).read_to_end(&mut bytes)?;
        }
        self.add(&bytes);
        Ok(())
    }

    /// Adds a folder's files, in the order of their names, without what is hidden or not a
    /// source.
    pub(crate) fn folder(&mut self, folder: &Path) -> io::Result<()> {
        let place = fs::canonicalize(folder)?;
        // By another link it was here before: around in circles, or twice the same.
        if let Some(known) = self.folders.iter().position(|known| *known == place) {
            self.add(&known.to_le_bytes());
            return Ok(());
        }
        self.folders.push(place);
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.starts_with('.') || SKIPPED.contains(&&*text) {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let words = format!("has more than {MAX_ENTRIES} files; are they the project's?");
                return Err(refused(folder, &words));
            }
            self.add(name.as_encoded_bytes());
            // Follows links: the SDK's interface is one, in the source tree.
            let path = entry.path();
            if path.is_dir() {
                self.folder(&path)?;
            } else {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// In hexadecimal.
    pub(crate) fn finish(self) -> String {
        self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn refused(path: &Path, words: &str) -> io::Error {
    io::Error::other(format!("{} {words}", path.display()))
}

/// Whether `mark` was left by the same sources.
pub(crate) fn is_current(mark: &Path, fingerprint: &str) -> bool {
    // A mark is the project's too, and may be anything.
    fs::metadata(mark).is_ok_and(|found| found.is_file() && found.len() == fingerprint.len() as u64)
        && fs::read_to_string(mark).is_ok_and(|text| text == fingerprint)
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, MAX_BYTES, is_current};
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    fn of(folder: &Path) -> io::Result<String> {
        let mut fingerprint = Fingerprint::new("a");
        fingerprint.folder(folder)?;
        Ok(fingerprint.finish())
    }

    /// An empty folder of this test's own.
    fn folder(test: &str) -> io::Result<PathBuf> {
        let name = format!("hookmill-fresh-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    #[test]
    fn a_change_is_seen_and_a_date_is_not() -> io::Result<()> {
        let folder = folder("change")?;
        let of = || of(&folder);
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

    #[cfg(unix)]
    #[test]
    fn links_in_circles_come_to_an_end_and_still_say_what_changed() -> io::Result<()> {
        use std::os::unix::fs::symlink;
        let folder = folder("links")?;
        for name in ["a", "b", "c"] {
            fs::create_dir_all(folder.join(name))?;
            // Each into the next twice and back to the top: followed every time, 2^n folders.
            symlink("..", folder.join(name).join("up"))?;
            for link in ["x", "y"] {
                symlink("../c", folder.join(name).join(link))?;
            }
        }
        symlink("nowhere", folder.join("dangling"))?;
        fs::write(folder.join("c/code.js"), "1")?;
        let first = of(&folder)?;
        assert_eq!(of(&folder)?, first);
        fs::remove_file(folder.join("b/x"))?;
        symlink("../a", folder.join("b/x"))?;
        let other = of(&folder)?;
        assert_ne!(other, first, "the link leads elsewhere now");
        fs::write(folder.join("c/code.js"), "2")?;
        assert_ne!(of(&folder)?, other);
        fs::remove_dir_all(folder)
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_refused_and_never_read() -> io::Result<()> {
        use std::os::unix::{fs::symlink, net::UnixListener};
        let folder = folder("special")?;
        symlink("/dev/zero", folder.join("zero"))?;
        let refused = of(&folder).map_err(|error| error.to_string()).expect_err("a device");
        assert!(refused.contains("zero is neither a file nor a folder"), "{refused}");
        fs::remove_file(folder.join("zero"))?;
        let pipe = folder.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success());
        assert!(of(&folder).is_err());
        fs::remove_file(pipe)?;
        let _socket = UnixListener::bind(folder.join("socket"))?;
        assert!(of(&folder).is_err());
        fs::remove_dir_all(folder)
    }

    #[test]
    fn a_project_has_a_size() -> io::Result<()> {
        let folder = folder("size")?;
        // Sparse: it takes no room, and is not read.
        fs::File::create(folder.join("huge"))?.set_len(MAX_BYTES + 1)?;
        let refused = of(&folder).map_err(|error| error.to_string()).expect_err("it is huge");
        assert!(refused.contains("larger than 256 MiB"), "{refused}");
        fs::remove_dir_all(folder)
    }
}
