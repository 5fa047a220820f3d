//! Where things are, and what other languages' tools need to be there.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository")
}

/// A plugin of `plugins/`, built if need be.
pub fn plugin(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = repository().join("build/plugins").join(format!("{name}.wasm"));
    BUILT.get_or_init(|| {
        if !path.exists() {
            run(Command::new(env!("CARGO")).args(["xtask", "plugins"]), "the plugins do not build");
        }
    });
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder of `tests/` with a `package.json`, its packages installed.
pub fn npm_folder(name: &str) -> PathBuf {
    // Tests of one process ask for it side by side.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = repository().join("tests").join(name);
    let done = folder.join("node_modules/.installed.json");
    let wanted = std::fs::read(folder.join("package-lock.json")).expect("the folder has its lock");
    if !std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        run(&mut npm, "npm ci fails");
        std::fs::write(done, wanted).expect("the folder can be written");
    }
    folder
}

/// The folder of GitHub's own example payloads, the ones that the demo sends.
pub fn github_payloads() -> PathBuf {
    let (demo, folder) = (repository().join("demo"), repository().join("build/npm"));
    let packages = folder.join("node_modules");
    if !packages.join(".package-lock.json").exists() {
        std::fs::create_dir_all(&folder).expect("the build folder can be written");
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(demo.join(name), folder.join(name)).expect("the demo names its packages");
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        run(&mut npm, "npm ci fails");
    }
    packages.join("@octokit/webhooks-examples")
}

/// A Python with the packages of `tests/python/requirements.txt`.
pub fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| python_with("python")).clone()
}

/// A Python with the packages of `requirements.txt` in a folder of `tests/`.
pub fn python_with(name: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = repository().join("build").join(name);
    let requirements = repository().join("tests").join(name).join("requirements.txt");
    let python = folder.join("bin/python");
    let done = folder.join("installed.txt");
    let wanted = std::fs::read(&requirements).expect("the requirements are there");
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    if !virtual_environment(&folder) {
        // Debian splits it off; whatever else is missing, the second try will say.
        let install = "apt-get update && apt-get install -y python3 python3-venv";
        run(Command::new("sh").args(["-c", install]), "python3 cannot be installed");
        assert!(virtual_environment(&folder), "python3 -m venv fails");
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    run(pip.arg(&requirements), "pip install fails");
    std::fs::write(done, wanted).expect("the build folder can be written");
    python
}

fn virtual_environment(folder: &Path) -> bool {
    let made = Command::new("python3").args(["-m", "venv"]).arg(folder).status();
    made.is_ok_and(|status| status.success())
}

fn run(command: &mut Command, failure: &str) {
    if command.get_current_dir().is_none() {
        command.current_dir(repository());
    }
    let done = command.status();
    assert!(done.as_ref().is_ok_and(|status| status.success()), "{failure}: {done:?}");
}
