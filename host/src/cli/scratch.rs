//! A folder for one command's lifetime.

use std::path::{Path, PathBuf};

use super::output::Failure;

/// Removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder that only this user can enter.
    pub(super) fn new(purpose: &str) -> Result<Self, Failure> {
        let name = format!("hookmill-{purpose}-{}", hex(&random::<8>()?));
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&path)
            .map_err(|error| Failure::failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's temporary folder, which is cleaned.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes from the system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("the system has no random numbers: {error}")))?;
    Ok(bytes)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_with_its_contents() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path().to_path_buf();
        std::fs::write(path.join("a"), "b").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
