//! What JavaScript and Python projects share: the ignored build folder, and making a component
//! only when something changed.
//!
//! Never knows a language's tools; [`crate::javascript`] and [`crate::python`] do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::fresh::{Fingerprint, is_current};

/// A component made of a project, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Component {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was made now; else it was there already, from the same sources.
    pub is_new: bool,
}

/// A folder with a plugin in it.
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    /// The SDK that the folder was made with, or a link to it.
    pub(crate) sdk: PathBuf,
    /// What git ignores.
    pub(crate) build: PathBuf,
}

impl Project {
    /// The project in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self, BuildError> {
        let folder = std::path::absolute(folder)?;
        let sdk = folder.join(".hookmill/sdk");
        if !sdk.join("wit/plugin.wit").is_file() {
            return Err(BuildError::NoSdk(sdk));
        }
        let build = folder.join(".hookmill/build");
        fs::create_dir_all(&build)?;
        Ok(Self { folder, sdk, build })
    }

    /// Runs `make` with the file to write, unless the last result is of the same sources, SDK
    /// and `way`.
    pub(crate) fn component(
        &self,
        way: &str,
        make: impl FnOnce(&Path) -> Result<(), BuildError>,
    ) -> Result<Component, BuildError> {
        let mut fingerprint = Fingerprint::new(way);
        fingerprint.folder(&self.folder)?;
        fingerprint.folder(&self.sdk)?;
        let fingerprint = fingerprint.finish();
        let (path, mark) = (self.build.join("plugin.wasm"), self.build.join("plugin.made-of"));
        let is_new = !(path.is_file() && is_current(&mark, &fingerprint));
        if is_new {
            // Beside it and renamed: whoever reads it meanwhile sees all of it.
            let beside = self.build.join("plugin.new.wasm");
            make(&beside)?;
            fs::rename(&beside, &path)?;
            fs::write(&mark, fingerprint)?;
        }
        let size = fs::metadata(&path)?.len();
        Ok(Component { path, size, is_new })
    }

    /// Runs `install` unless it was done for the same `lists` of packages and `result` is there.
    pub(crate) fn installed(
        &self,
        lists: &[&str],
        result: &Path,
        install: impl FnOnce() -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let mut fingerprint = Fingerprint::new("");
        for list in lists {
            fingerprint.file(&self.folder.join(list))?;
        }
        let fingerprint = fingerprint.finish();
        let mark = self.build.join("installed.made-of");
        if !(result.exists() && is_current(&mark, &fingerprint)) {
            install()?;
            fs::write(&mark, fingerprint)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Project;
    use crate::BuildError;
    use std::fs;

    #[test]
    fn an_unchanged_project_is_made_once() -> Result<(), BuildError> {
        let folder = std::env::temp_dir().join(format!("hookmill-project-{}", std::process::id()));
        fs::create_dir_all(folder.join(".hookmill/sdk/wit"))?;
        assert!(matches!(Project::open(&folder), Err(BuildError::NoSdk(_))));
        fs::write(folder.join(".hookmill/sdk/wit/plugin.wit"), "package a:b;")?;
        fs::write(folder.join("plugin.py"), "1")?;
        let project = Project::open(&folder)?;
        let make = |way: &str| {
            let component = project.component(way, |path| Ok(fs::write(path, "wasm")?))?;
            assert_eq!(component.size, 4);
            Ok::<_, BuildError>(component.is_new)
        };
        assert!(make("a")?);
        assert!(!make("a")?);
        assert!(make("b")?);
        fs::write(folder.join("plugin.py"), "2")?;
        assert!(make("b")?);
        fs::write(folder.join(".hookmill/sdk/wit/plugin.wit"), "package c:d;")?;
        assert!(make("b")?);

        let failed = project.component("c", |_| Err(BuildError::Refused("plugin.py")));
        assert!(failed.is_err());
        assert!(make("c")?);
        Ok(fs::remove_dir_all(folder)?)
    }

    #[test]
    fn packages_are_installed_when_the_list_changes() -> Result<(), BuildError> {
        let folder = std::env::temp_dir().join(format!("hookmill-install-{}", std::process::id()));
        fs::create_dir_all(folder.join(".hookmill/sdk/wit"))?;
        fs::write(folder.join(".hookmill/sdk/wit/plugin.wit"), "")?;
        let (list, result) = (folder.join("list"), folder.join("result"));
        fs::write(&list, "a")?;
        let project = Project::open(&folder)?;
        let install = || {
            let mut installed = false;
            project.installed(&["list"], &result, || {
                installed = true;
                Ok(fs::write(&result, "")?)
            })?;
            Ok::<_, BuildError>(installed)
        };
        assert!(install()?);
        assert!(!install()?);
        fs::write(&list, "b")?;
        assert!(install()?);
        fs::remove_file(&result)?;
        assert!(install()?);
        Ok(fs::remove_dir_all(folder)?)
    }
}
