//! Plugins that mean harm, written as WebAssembly text and given the filter's world.

use std::fmt::Write;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::tools::repository;

/// What a hostile filter does when it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// Nothing bad: passes. Shows that the rest of the module is sound.
    Harmless,
    /// Never returns.
    EndlessLoop,
    /// Calls itself for ever.
    Recursion,
    /// Grows its memory until it may not, then traps.
    MemoryBomb,
    /// Grows its table until it may not, then traps.
    TableBomb,
    /// Gives a reason of six million bytes.
    HugeOutput,
    /// Logs for ever.
    EndlessLogging,
    /// Traps as soon as it is instantiated.
    TrapInStart,
    /// Has 300,000 functions.
    ManyFunctions,
    /// Traps when called.
    Trap,
}

impl Hostile {
    /// The core module, carrying the filter's world.
    pub fn module(self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).expect("the text is WebAssembly");
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(repository().join("wit")).expect("the WIT is valid");
        let world = resolve.select_world(&[package], Some("filter")).expect("there is a filter");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .expect("the world can be embedded");
        module
    }

    /// The plugin's name, as it describes itself: 8 letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::EndlessLoop => "hos-loop",
            Self::Recursion => "hos-recu",
            Self::MemoryBomb => "hos-memo",
            Self::TableBomb => "hos-tabl",
            Self::HugeOutput => "hos-outp",
            Self::EndlessLogging => "hos-logs",
            Self::TrapInStart => "hos-star",
            Self::ManyFunctions => "hos-many",
            Self::Trap => "hos-trap",
        }
    }

    fn body(self) -> &'static str {
        match self {
            Self::Harmless | Self::ManyFunctions | Self::TrapInStart => "",
            Self::EndlessLoop => "(loop $again (br $again))",
            Self::Recursion => "(drop (call $recurse (i32.const 0)))",
            Self::MemoryBomb => {
                "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"
            }
            Self::TableBomb => {
                "(loop $more (br_if $more (i32.ne
                   (table.grow $table (ref.null func) (i32.const 4096)) (i32.const -1)))) unreachable"
            }
            Self::HugeOutput => {
                "(drop (memory.grow (i32.const 100)))
                 (i32.store8 (i32.const 4) (i32.const 1))
                 (i32.store (i32.const 8) (i32.const 65536))
                 (i32.store (i32.const 12) (i32.const 6000000))"
            }
            Self::EndlessLogging => {
                "(loop $again (call $log (i32.const 1) (i32.const 1024) (i32.const 1000)) (br $again))"
            }
            Self::Trap => "unreachable",
        }
    }

    fn text(self) -> String {
        let mut extra = String::new();
        if self == Self::TrapInStart {
            extra.push_str("(func $start unreachable) (start $start)");
        }
        if self == Self::ManyFunctions {
            for index in 0..300_000 {
                // Writing to a string cannot fail.
                let _written = write!(extra, "(func (result i32) (i32.const {index}))");
            }
        }
        format!(
            r#"(module
              (import "hookmill:plugin/types@0.1.0" "[resource-drop]event" (func $forget (param i32)))
              (import "hookmill:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))
              (memory (export "memory") 3)
              (table $table 1 funcref)
              (global $free (mut i32) (i32.const 131072))
              (data (i32.const 512) "{name}0.1.0hostile{{}}")
              (func $recurse (param i32) (result i32)
                (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
              (func (export "filter") (param $event i32) (param i32 i32) (result i32)
                (call $forget (local.get $event))
                (i64.store (i32.const 0) (i64.const 0))
                (i64.store (i32.const 8) (i64.const 0))
                {body}
                (i32.const 0))
              (func (export "describe") (result i32)
                (i32.store (i32.const 256) (i32.const 512)) (i32.store (i32.const 260) (i32.const 8))
                (i32.store (i32.const 264) (i32.const 520)) (i32.store (i32.const 268) (i32.const 5))
                (i32.store (i32.const 272) (i32.const 525)) (i32.store (i32.const 276) (i32.const 7))
                (i32.store (i32.const 280) (i32.const 532)) (i32.store (i32.const 284) (i32.const 2))
                (i32.store (i32.const 288) (i32.const 0)) (i32.store (i32.const 292) (i32.const 0))
                (i32.const 256))
              {extra})"#,
            name = self.name(),
            body = self.body(),
        )
    }
}
