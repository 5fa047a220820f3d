//! `cargo xtask bench`: builds everything optimised and measures it.
//!
//! Owns where things are. What is measured, and how, is the package `bench`'s.

use crate::{
    plugins,
    shell::{self, root},
};

/// Measures the figures named, or all.
pub(crate) fn run(figures: &[String]) -> Result<(), String> {
    plugins::run()?;
    let packages = ["--package", "hookmill", "--package", "hookmill-bench"];
    shell::run(shell::cargo().args(["build", "--release"]).args(packages))?;
    let mut bench = std::process::Command::new(root().join("target/release/hookmill-bench"));
    bench.arg("--binary").arg(root().join("target/release/hookmill"));
    bench.arg("--plugins").arg(root().join("build/plugins"));
    shell::run(bench.args(figures))
}
