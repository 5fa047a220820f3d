//! Uploads that mean harm to whoever reads or compiles them.
//!
//! Most are dressed up as plugins, so that the cheap checks let them through to the compiler.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use crate::tools::{plugin, repository};

/// A component with a plugin's imports and exports, and these items beside them.
fn dressed(items: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "hookmill:plugin/types@0.1.0" (instance))
            {items}
            (core module $plugin (func (export "f")))
            (core instance $plugged (instantiate $plugin))
            (func $f (canon lift (core func $plugged "f")))
            (export "filter" (func $f))
            (export "describe" (func $f)))"#
    );
    wat::parse_str(text).expect("the text is WebAssembly")
}

/// A section's bytes: its id, its length, what is in it.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// The dressed component with one more core module, however strange.
fn carrying(module: &[u8]) -> Vec<u8> {
    let mut component = dressed("");
    component.extend(section(1, module));
    component
}

/// Flat text, for the text parser itself is recursive.
fn function(locals: &str, body: &str) -> Vec<u8> {
    dressed(&format!("(core module (func (param i32) {locals} {body}))"))
}

/// Components within components.
fn nested(depth: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    let mut component = HEADER.to_vec();
    for _ in 0..depth {
        component = [HEADER, &section(4, &component)].concat();
    }
    component
}

fn repeat(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect()
}

/// Each with a name for messages.
pub fn pathologies() -> Vec<(&'static str, Vec<u8>)> {
    let long = "n".repeat(1_000);
    let blocks = |count: usize| format!("{} {}", "block ".repeat(count), "end ".repeat(count));
    let branches = "0 ".repeat(100_000);
    let data = "x".repeat(20 << 20);
    let mut all = vec![
        ("100,000 blocks in each other", function("", &blocks(100_000))),
        ("100,000 loops in each other", function("", &blocks(100_000).replace("block", "loop"))),
        ("4,900 loops in each other", function("", &blocks(4_900).replace("block", "loop"))),
        ("100,000 functions", dressed(&format!("(core module {})", "(func)".repeat(100_000)))),
        ("300,000 functions", dressed(&format!("(core module {})", "(func)".repeat(300_000)))),
        (
            "50,000 locals",
            function(
                &"(local i64)".repeat(49_000),
                &repeat(49_000, |n| format!("(local.set {} (i64.const {n}))", n + 1)),
            ),
        ),
        (
            "a branch table of 100,000",
            function("", &format!("block local.get 0 br_table {branches} end")),
        ),
        (
            "20 MiB of data",
            dressed(&format!("(core module (memory 512) (data (i32.const 0) \"{data}\"))")),
        ),
        (
            "50,000 data segments",
            dressed(&format!(
                "(core module (memory 1) {})",
                "(data (i32.const 0) \"x\")".repeat(50_000)
            )),
        ),
        (
            "10,000 imports with long names",
            wat::parse_str(format!(
                "(component {})",
                repeat(10_000, |n| format!("(import \"{long}{n}\" (func))"))
            ))
            .expect("the text is WebAssembly"),
        ),
        (
            "10,000 exports with long names",
            dressed(&format!(
                "(core module (func) {})",
                repeat(10_000, |n| format!("(export \"{long}{n}\" (func 0))"))
            )),
        ),
        (
            "types in each other",
            dressed(&format!(
                "(type (list u8)) {}",
                repeat(5_000, |n| format!("(type (list {n}))"))
            )),
        ),
        (
            "types that double",
            dressed(&format!(
                "(type (tuple u8 u8)) {}",
                repeat(60, |n| format!("(type (tuple {n} {n}))"))
            )),
        ),
        (
            "5,000 instances",
            dressed(&format!(
                "(core module $m) {}",
                "(core instance (instantiate $m))".repeat(5_000)
            )),
        ),
        (
            "tables larger than numbers",
            dressed(&"(core module (table i64 0xffffffffffffffff funcref))".repeat(2)),
        ),
        ("components in each other", nested(2_000)),
        ("components in each other, a few", nested(12)),
        ("a megabyte of nothing", section(0, &vec![0; 1 << 20])),
        ("nothing but a header", b"\0asm\x0d\0\x01\0".to_vec()),
        ("a section longer than the file", b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\x0f".to_vec()),
        ("a name section of noise", {
            let noise = [b"\x04name".as_slice(), &scrambled(1, 1 << 20)].concat();
            carrying(&[b"\0asm\x01\0\0\0".as_slice(), &section(0, &noise)].concat())
        }),
    ];
    let real = plugin("cloudevents");
    for part in 1..=16 {
        all.push(("part of a plugin", real[..real.len() * part / 17].to_vec()));
    }
    for seed in 0..24 {
        let mut damaged = real.clone();
        for chunk in scrambled(seed, 64).chunks_exact(4) {
            let number = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) as usize;
            let at = number % damaged.len();
            damaged[at] ^= chunk[0] | 1;
        }
        all.push(("a plugin with damage", damaged));
        all.push(("noise", scrambled(seed, 4 << 10)));
        let header: &[u8] = if seed % 2 == 0 { b"\0asm\x01\0\0\0" } else { b"\0asm\x0d\0\x01\0" };
        all.push(("noise behind a header", [header, &scrambled(seed, 4 << 10)].concat()));
    }
    all
}

/// What wasm-smith makes of `count` seeds: as it is, and in a component that gets as far as the
/// compiler.
pub fn smithed(count: usize) -> Vec<(String, Vec<u8>)> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = repository().join("build/smithed").join(count.to_string());
        let made = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--manifest-path", "tests/smith/Cargo.toml"])
            .args(["--target-dir", "build/smith", "--"])
            .arg(&folder)
            .arg(count.to_string())
            .current_dir(repository())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "tests/smith does not run");
        folder
    });
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wasm = std::fs::read(&path).expect("the file is there");
        if name.starts_with("module") {
            all.push((format!("{name}, carried"), carrying(&wasm)));
        }
        all.push((name, wasm));
    }
    all.sort();
    all
}

/// Numbers without a pattern, the same for the same seed: Marsaglia's xorshift.
fn scrambled(seed: u64, length: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A plugin that is what it seems but takes the compiler a while: one function of many blocks
/// whose values all live to its end.
pub fn slow_to_compile() -> Vec<u8> {
    let locals = "(local i64)".repeat(400);
    let body = repeat(12_000, |n| {
        let (a, b, c) = (n % 400 + 1, n * 7 % 400 + 1, n * 13 % 400 + 1);
        format!(
            "(if (local.get 0) (then (local.set {a} (i64.add (local.get {b}) (local.get {c})))))"
        )
    });
    let functions = repeat(40, |_| format!("(func (param i32) {locals} {body})"));
    dressed(&format!("(core module {functions})"))
}
