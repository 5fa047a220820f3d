//! Uploads: what is taken, what is refused, and in which words.

use super::{guest::*, *};

async fn refused(upload: &[u8]) -> Rejection {
    Lab::new().upload(upload).await.unwrap_err()
}

fn component(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[tokio::test]
async fn a_core_module_becomes_a_component() {
    let lab = Lab::new();
    let inspected = lab.upload(&filter("big-orders", "", "")).await.unwrap();
    assert_eq!(inspected.manifest.name, "big-orders");
    assert_eq!(inspected.kind, crate::model::PluginKind::Filter);
    assert_eq!(inspected.interface, "0.1.0");
    assert!(wasmparser::Parser::is_component(&inspected.component));
    assert!(lab.runtime.is_loaded(&inspected.sha256));
    // The component itself is the same plugin.
    let again = lab.upload(&inspected.component).await.unwrap();
    assert_eq!(again.sha256, inspected.sha256);
    assert_eq!(lab.runtime.stats().compiled, 1);
}

#[tokio::test]
async fn not_wasm() {
    for (upload, words) in [
        (&b""[..], "empty"),
        (b"(module)", "text"),
        (b"PK\x03\x04", "zip"),
        (b"hello", "68, 65"),
        (b"\0asm\x09\0\0\0", "unknown version"),
    ] {
        let rejection = refused(upload).await;
        assert_eq!(rejection.code, "not-wasm");
        assert!(rejection.detail.contains(words), "{rejection}");
    }
    let mut damaged = filter("x", "", "");
    damaged.truncate(damaged.len() / 2);
    assert_eq!(refused(&damaged).await.code, "not-wasm");
}

#[tokio::test]
async fn precompiled_file() {
    let engine = super::super::engine::compiling().unwrap();
    let code = engine.precompile_component(&component("(component)")).unwrap();
    assert_eq!(refused(&code).await.code, "precompiled");
}

#[tokio::test]
async fn forbidden_import() {
    for import in ["wasi:cli/environment@0.3.0", "wasi:nn/graph@0.2.0", "acme:cli/exit@0.2.0"] {
        let wasi = component(&format!(r#"(component (import "{import}" (instance)))"#));
        let rejection = refused(&wasi).await;
        assert_eq!(rejection.code, "forbidden-import");
        assert!(rejection.detail.contains(import), "{rejection}");
        assert_eq!(rejection.detail.contains("--stub-wasi"), import.starts_with("wasi"));
    }
    // The empty WASI is allowed; what is missing then is the interface.
    let empty = component(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#);
    assert_eq!(refused(&empty).await.code, "unknown-world");

    let core = component(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
    );
    let rejection = refused(&core).await;
    assert_eq!(rejection.code, "forbidden-import");
    assert!(rejection.detail.contains("wasi_snapshot_preview1"), "{rejection}");
}

#[tokio::test]
async fn wrong_world() {
    assert_eq!(refused(&component("(module)")).await.code, "unknown-world");
    assert_eq!(refused(&component("(component)")).await.code, "unknown-world");
    let nothing = component(r#"(component (import "hookmill:plugin/types@0.1.0" (instance)))"#);
    let rejection = refused(&nothing).await;
    assert_eq!(rejection.code, "unknown-world");
    assert!(rejection.detail.contains("no functions"), "{rejection}");
    let future = component(r#"(component (import "hookmill:plugin/types@0.2.0" (instance)))"#);
    let rejection = refused(&future).await;
    assert_eq!(rejection.code, "unknown-interface");
    assert!(rejection.detail.contains("0.1.x"), "{rejection}");
}

#[tokio::test]
async fn the_right_names_of_the_wrong_types() {
    let impostor = component(
        r#"(component
            (import "hookmill:plugin/types@0.1.0" (instance))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (export "filter" (func $f))
            (export "describe" (func $f)))"#,
    );
    let rejection = refused(&impostor).await;
    assert_eq!(rejection.code, "unknown-world");
}

#[tokio::test]
async fn too_large() {
    let lab = Lab::with(|settings| {
        settings.lean.component_bytes = 1_000;
        settings.engine.component_bytes = 1_000;
    });
    assert_eq!(lab.upload(&[0; 1_001]).await.unwrap_err().code, "too-large");
    let rejection = lab.upload(&filter("x", "", &"nop ".repeat(1_000))).await.unwrap_err();
    assert_eq!(rejection.code, "too-large");
}

#[tokio::test]
async fn giant_function_count() {
    let functions = "(func)".repeat(200_001);
    let module = component(&format!("(module {functions})"));
    assert_eq!(refused(&module).await.code, "too-complex");
}

#[tokio::test]
async fn an_invalid_function_does_not_compile() {
    // The structure is sound, the body is not: an unknown opcode in a component's module.
    let mut bytes = component("(component (core module (func nop nop nop nop)))");
    let at = bytes.windows(4).position(|w| w == [1, 1, 1, 1]).unwrap();
    bytes[at] = 0xff;
    let code = compile_alone(&bytes).await;
    assert_eq!(code, "uncompilable");
}

async fn compile_alone(bytes: &[u8]) -> &'static str {
    let limits = PluginSettings::new("", [0; 32], Compiler::InProcess).compile;
    let compiled = super::super::compile::compile(&Compiler::InProcess, limits, bytes).await;
    compiled.err().unwrap().code
}

#[tokio::test]
async fn bad_manifest() {
    let rejection = refused(&filter("Not a name", "", "")).await;
    assert_eq!(rejection.code, "bad-manifest");
    assert!(rejection.detail.contains("Not a name"), "{rejection}");
}

#[tokio::test]
async fn a_restart_compiles_nothing() {
    let lab = Lab::new();
    let mut plugins = Vec::new();
    for i in 0..20 {
        plugins.push(lab.upload(&filter(&format!("plugin-{i}"), "", "")).await.unwrap());
    }
    let mut settings = PluginSettings::new(lab.dir.path(), [7; 32], Compiler::InProcess);
    settings.threads = 2;
    let second = Runtime::start(settings).unwrap();
    for plugin in &plugins {
        assert!(second.load_cached(plugin.sha256).await);
        assert!(second.is_loaded(&plugin.sha256));
    }
    assert_eq!((second.stats().compiled, second.stats().cache_hits), (0, 20));

    // With another key nothing of it is taken, and the component is compiled again.
    let settings = PluginSettings::new(lab.dir.path(), [8; 32], Compiler::InProcess);
    let third = Runtime::start(settings).unwrap();
    assert!(!third.load_cached(plugins[0].sha256).await);
    third.load(plugins[0].sha256, plugins[0].component.clone()).await.unwrap();
    assert_eq!(third.stats().compiled, 1);
    let corrupt = third.load(plugins[1].sha256, plugins[0].component.clone()).await;
    assert_eq!(corrupt.unwrap_err().code, "corrupt");

    third.unload(&plugins[0].sha256);
    assert!(!third.is_loaded(&plugins[0].sha256));
    assert!(!third.load_cached(plugins[0].sha256).await);
}

#[tokio::test]
async fn a_plugin_with_a_large_memory_is_of_the_other_class() {
    let lab = Lab::new();
    let lean = lab.upload(&filter("lean", "", "")).await.unwrap();
    assert_eq!(lab.runtime.class(&lean.sha256), Some(super::super::Class::Lean));
    let large = filter("large", "(table 50000 funcref)", "(drop (memory.grow (i32.const 600)))");
    let large = lab.upload(&large).await.unwrap();
    assert_eq!(lab.runtime.class(&large.sha256), Some(super::super::Class::Engine));
    let pipeline = pipeline(1, [step(&large, "{}", OnError::Retry)]);
    let run = lab.runtime.run(&event("{}"), &pipeline).await;
    assert_eq!(run.steps[0].verdict, StepVerdict::Pass);
    assert_eq!(run.steps[0].memory_bytes, 602 << 16);
}
