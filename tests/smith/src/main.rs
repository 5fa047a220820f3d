//! Writes WebAssembly that nobody would write: `hookmill-smith DIR COUNT` makes so many modules
//! and as many components, the same ones each time.

use std::{fs, path::PathBuf};

use arbitrary::Unstructured;
use wasm_smith::{Component, Config, Module};

/// Bytes of chance for each file.
const CHANCE: usize = 16 << 10;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (folder, count) = match (arguments.next(), arguments.next().map(|n| n.parse::<u64>())) {
        (Some(folder), Some(Ok(count))) => (PathBuf::from(folder), count),
        _ => {
            eprintln!("usage: hookmill-smith DIR COUNT");
            std::process::exit(2);
        }
    };
    fs::create_dir_all(&folder).expect("the folder can be made");
    for seed in 0..count {
        let bytes = chance(seed);
        let module = Module::new(config(seed), &mut Unstructured::new(&bytes));
        if let Ok(module) = module {
            write(&folder, &format!("module-{seed}"), &module.to_bytes());
        }
        let component = Component::new(config(seed), &mut Unstructured::new(&bytes));
        if let Ok(component) = component {
            write(&folder, &format!("component-{seed}"), &component.to_bytes());
        }
    }
}

fn write(folder: &std::path::Path, name: &str, wasm: &[u8]) {
    let path = folder.join(format!("{name}.wasm"));
    fs::write(&path, wasm).expect("the folder can be written");
}

/// Every other one may use what the server does not take.
fn config(seed: u64) -> Config {
    let more = seed % 2 == 1;
    Config {
        max_memories: if more { 4 } else { 1 },
        max_tables: if more { 8 } else { 1 },
        max_nesting_depth: if more { 1_000 } else { 50 },
        memory64_enabled: more,
        multi_value_enabled: true,
        gc_enabled: more,
        exceptions_enabled: more,
        threads_enabled: more,
        simd_enabled: true,
        tail_call_enabled: more,
        ..Config::default()
    }
}

/// Numbers without a pattern, from Marsaglia's xorshift.
fn chance(seed: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(CHANCE);
    while bytes.len() < CHANCE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
