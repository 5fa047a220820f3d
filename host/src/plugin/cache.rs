//! Compiled components on disk: written once, authenticated, renamed into place.
//!
//! An entry that is missing, damaged, foreign or made by another version is a miss, never an
//! error. Never compiles and never loads.

use std::os::unix::fs::DirBuilderExt;
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;
use wasmtime::Engine;

use super::{load::TrustedCode, settings::Class};
use crate::model::Sha256;

const MAGIC: &[u8; 8] = b"hookmil1";
const MAC_BYTES: usize = 32;
/// Larger files are not of our making: no component within the limits compiles to as much.
const MAX_BYTES: u64 = 1 << 30;

/// A folder of compiled components.
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    /// What the engine is compatible with: versions and settings.
    compatibility: String,
    unique: AtomicU64,
}

impl Cache {
    /// Opens the folder; makes it if there is none.
    pub(super) fn open(dir: &Path, key: [u8; 32], engine: &Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let cache = Self {
            dir: dir.into(),
            key,
            compatibility: compatibility(engine),
            unique: AtomicU64::new(0),
        };
        cache.sweep();
        Ok(cache)
    }

    /// Removes what other versions of the server left, and unfinished files. What cannot be
    /// removed does no harm.
    fn sweep(&self) {
        let current = format!("-{}.bin", self.compatibility);
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let old = name.ends_with(".bin") && !name.ends_with(&current);
            if old || (name.starts_with('.') && name.ends_with(".tmp")) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, sha256: &Sha256, class: Class) -> PathBuf {
        self.dir.join(format!("{sha256}-{}-{}.bin", class.as_str(), self.compatibility))
    }

    fn mac(&self, sha256: &Sha256, class: Class, code: &[u8]) -> Option<Hmac<sha2::Sha256>> {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(MAGIC);
        mac.update(&sha256.0);
        // Of different lengths, but neither can be mistaken for part of the other: both
        // alphabets lack the separator.
        mac.update(class.as_str().as_bytes());
        mac.update(b"|");
        mac.update(self.compatibility.as_bytes());
        mac.update(b"|");
        mac.update(code);
        Some(mac)
    }

    /// The compiled component, if it is there and ours.
    pub(super) fn get(&self, sha256: &Sha256, class: Class) -> Option<TrustedCode> {
        let path = self.path(sha256, class);
        let size = fs::metadata(&path).ok()?.len();
        if size > MAX_BYTES {
            return None;
        }
        let mut bytes = fs::read(&path).ok()?;
        let header = MAGIC.len() + MAC_BYTES;
        if bytes.len() < header || !bytes.starts_with(MAGIC) {
            return None;
        }
        let code = &bytes[header..];
        let verified = self
            .mac(sha256, class, code)?
            .verify_slice(&bytes[MAGIC.len()..header])
            .inspect_err(|_| {
                tracing::warn!(path = %path.display(), "a cached component was not written by this installation, or was changed; it is compiled again");
                // Told once, not at every look.
                let _ = fs::remove_file(&path);
            });
        verified.ok()?;
        bytes.drain(..header);
        Some(TrustedCode::vouch(bytes))
    }

    /// Bytes of the compiled component, if it is there.
    pub(super) fn size(&self, sha256: &Sha256, class: Class) -> Option<u64> {
        let file = fs::metadata(self.path(sha256, class)).ok()?.len();
        file.checked_sub((MAGIC.len() + MAC_BYTES) as u64)
    }

    /// Keeps a compiled component.
    pub(super) fn put(&self, sha256: &Sha256, class: Class, code: &TrustedCode) -> io::Result<()> {
        let mac = self
            .mac(sha256, class, code.bytes())
            .ok_or_else(|| io::Error::other("the cache's key is unusable"))?;
        let unique = self.unique.fetch_add(1, Relaxed);
        let temporary = self.dir.join(format!(".{sha256}-{}-{unique}.tmp", std::process::id()));
        let written = (|| {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&mac.finalize().into_bytes())?;
            file.write_all(code.bytes())?;
            file.flush()?;
            fs::rename(&temporary, self.path(sha256, class))
        })();
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Forgets what is kept of components that nobody wants.
    pub(super) fn retain(&self, wanted: impl Fn(&Sha256) -> bool) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let sha256 = name.to_str().and_then(|name| name.split('-').next()?.parse().ok());
            if sha256.is_some_and(|sha256| !wanted(&sha256)) {
                // What cannot be removed does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Forgets what is kept of a component.
    pub(super) fn remove(&self, sha256: &Sha256, class: Class) {
        // Gone already is as good as gone.
        let _ = fs::remove_file(self.path(sha256, class));
    }
}

/// A short digest of what compiled code must match to be loadable.
fn compatibility(engine: &Engine) -> String {
    struct Feed(sha2::Sha256);
    impl std::hash::Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut feed = Feed(sha2::Sha256::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut feed);
    feed.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(dir: &Path, key: u8) -> Cache {
        Cache::open(dir, [key; 32], &super::super::engine::compiling().unwrap()).unwrap()
    }

    #[test]
    fn only_what_this_installation_wrote_is_a_hit() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, id) = (cache(dir.path(), 1), Sha256::of(b"component"));
        assert!(ours.get(&id, Class::Lean).is_none(), "nothing is there yet");
        ours.put(&id, Class::Lean, &TrustedCode::vouch(b"code".to_vec())).unwrap();
        assert_eq!(ours.get(&id, Class::Lean).unwrap().bytes(), b"code");
        assert_eq!(ours.size(&id, Class::Lean), Some(4));
        assert!(ours.get(&id, Class::Engine).is_none(), "another class");

        let path = ours.path(&id, Class::Lean);
        let other = Sha256::of(b"other");
        fs::copy(&path, ours.path(&other, Class::Lean)).unwrap();
        assert!(ours.get(&other, Class::Lean).is_none(), "another component's code");
        assert!(!ours.path(&other, Class::Lean).exists(), "and it is not looked at again");

        let mut bytes = fs::read(&path).unwrap();
        assert!(cache(dir.path(), 2).get(&id, Class::Lean).is_none(), "another key");
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(ours.get(&id, Class::Lean).is_none(), "changed code");
        fs::write(&path, b"hook").unwrap();
        assert!(ours.get(&id, Class::Lean).is_none(), "a torn file");
    }

    #[test]
    fn code_of_components_that_nobody_knows_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1);
        let (known, strange) = (Sha256::of(b"known"), Sha256::of(b"strange"));
        for id in [known, strange] {
            cache.put(&id, Class::Lean, &TrustedCode::vouch(vec![1])).unwrap();
        }
        fs::write(dir.path().join("README"), b"somebody's").unwrap();
        cache.retain(|id| *id == known);
        assert!(cache.get(&known, Class::Lean).is_some());
        assert!(cache.get(&strange, Class::Lean).is_none());
        assert!(dir.path().join("README").exists());
    }

    #[test]
    fn nothing_temporary_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1);
        cache.put(&Sha256::of(b""), Class::Lean, &TrustedCode::vouch(vec![1; 100])).unwrap();
        cache.put(&Sha256::of(b""), Class::Lean, &TrustedCode::vouch(vec![1; 100])).unwrap();
        fs::write(dir.path().join("0000-lean-ffff.bin"), b"of another version").unwrap();
        fs::write(dir.path().join(".0000-1-1.tmp"), b"unfinished").unwrap();
        fs::write(dir.path().join("README"), b"somebody's").unwrap();
        let _ = self::cache(dir.path(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
