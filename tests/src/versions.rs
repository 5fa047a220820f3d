//! Small transforms of which a test makes as many versions as it needs, written as
//! WebAssembly text: no compiler, and each does one thing.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::tools::repository;

/// What a version does with every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Sends it with the header `x-made-by` and the version in it.
    Mark,
    /// The same, after so many rounds of a loop: it costs fuel.
    Spin(u32),
    /// Replaces `/n` by a text.
    Text,
    /// Drops it for the reason `not wanted`.
    Drop,
    /// Traps.
    Trap,
    /// Says that it failed: `out of ideas`.
    Fail,
}

/// A version of a plugin.
#[derive(Debug, Clone)]
pub struct Version {
    name: String,
    version: String,
    schema: String,
    act: Act,
}

/// Text in the module's memory.
struct Texts {
    data: String,
    next: usize,
}

impl Texts {
    /// Where it is, as two constants.
    fn put(&mut self, text: &str) -> (usize, usize) {
        let at = self.next;
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        self.data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")\n"));
        self.next += text.len();
        (at, text.len())
    }
}

fn store(at: usize, (pointer, length): (usize, usize)) -> String {
    format!(
        "(i32.store (i32.const {at}) (i32.const {pointer})) (i32.store (i32.const {}) (i32.const {length}))",
        at + 4
    )
}

impl Version {
    /// A version of the plugin `name` that takes any config.
    pub fn new(name: &str, version: &str, act: Act) -> Self {
        Self { name: name.into(), version: version.into(), schema: "{}".into(), act }
    }

    /// The same, with this schema for its config.
    #[must_use]
    pub fn with_schema(self, schema: &str) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// The core module, carrying the transform's world.
    pub fn module(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).expect("the text is WebAssembly");
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(repository().join("wit")).expect("the WIT is valid");
        let world = resolve.select_world(&[package], Some("transform")).expect("there is one");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .expect("the world can be embedded");
        module
    }

    /// The answer is written at 0, one edit at 64.
    fn body(&self, texts: &mut Texts) -> String {
        let edit = |kind: u8, first: (usize, usize), second: (usize, usize)| {
            format!(
                "(i32.store8 (i32.const 4) (i32.const 1)) {} (i32.store8 (i32.const 64) (i32.const {kind})) {} {}",
                store(8, (64, 1)),
                store(68, first),
                store(76, second)
            )
        };
        let mark = |texts: &mut Texts| {
            let name = texts.put("x-made-by");
            let version = texts.put(&self.version);
            edit(2, name, version)
        };
        match self.act {
            Act::Mark => mark(texts),
            Act::Spin(rounds) => format!(
                "(local.set $n (i32.const {rounds}))
                 (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                 {}",
                mark(texts)
            ),
            Act::Text => {
                let (pointer, value) = (texts.put("/n"), texts.put("\"one\""));
                edit(0, pointer, value)
            }
            Act::Drop => {
                let reason = texts.put("not wanted");
                format!("(i32.store8 (i32.const 4) (i32.const 2)) {}", store(8, reason))
            }
            Act::Trap => "unreachable".into(),
            Act::Fail => {
                let words = texts.put("out of ideas");
                format!(
                    "(i32.store8 (i32.const 0) (i32.const 1)) (i32.store8 (i32.const 4) (i32.const 2)) {}",
                    store(8, words)
                )
            }
        }
    }

    fn text(&self) -> String {
        let mut texts = Texts { data: String::new(), next: 1024 };
        let body = self.body(&mut texts);
        let said = [&self.name, &self.version, &"for a test".to_owned(), &self.schema];
        let manifest: String = said
            .into_iter()
            .enumerate()
            .map(|(index, text)| store(256 + 8 * index, texts.put(text)))
            .collect();
        let data = texts.data;
        format!(
            r#"(module
              (import "hookmill:plugin/types@0.1.0" "[resource-drop]event" (func $forget (param i32)))
              (memory (export "memory") 3)
              (global $free (mut i32) (i32.const 131072))
              {data}
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
              (func $decide (export "transform") (param $event i32) (param i32 i32) (result i32)
                (local $n i32)
                (call $forget (local.get $event))
                {body}
                (i32.const 0))
              (func (export "describe") (result i32)
                {manifest}
                (i32.store (i32.const 288) (i32.const 0)) (i32.store (i32.const 292) (i32.const 0))
                (i32.const 256)))"#
        )
    }
}
