//! Measures a component without compiling it: what it would need, and which class of plugin
//! that makes it.
//!
//! Reads the binary's structure only, in one pass, nested parts included. Never validates;
//! the compiler does.

use serde::Serialize;
use wasmparser::{
    ComponentExternalKind, ComponentTypeRef, FunctionBody, Instance, KnownCustom, Name, Operator,
    Parser, Payload, TypeBounds,
};

use super::{
    Rejection,
    settings::{Class, Limits, PluginSettings},
};

/// Deepest nesting of components.
const MAX_NESTING: usize = 16;
const PAGE: u64 = 1 << 16;

/// What a component or a core module is made of.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Anatomy {
    /// Its size.
    pub bytes: u64,
    /// Functions in it.
    pub functions: u64,
    /// Names of functions, for backtraces and profiles; imported functions may have one, too.
    pub named_functions: u64,
    /// Size of its largest function.
    pub largest_function: u64,
    /// Core instances it makes.
    pub instances: u64,
    /// Linear memories it declares.
    pub memories: u64,
    /// What they have at the start.
    pub memory_bytes: u64,
    /// Tables it declares.
    pub tables: u64,
    /// What they have at the start.
    pub table_elements: u64,
    /// Names of its imports; of a core module, the modules it imports from.
    pub imports: Vec<String>,
    /// Names of the functions it exports.
    pub exports: Vec<String>,
}

impl Anatomy {
    /// Reads a component or a core module; an error says what is wrong with it.
    pub fn of(wasm: &[u8]) -> Result<Self, Rejection> {
        let needs = Needs::of(wasm)?;
        Ok(Self {
            bytes: needs.bytes,
            functions: needs.functions,
            named_functions: needs.named_functions,
            largest_function: needs.largest_function,
            instances: needs.instances,
            memories: needs.memories,
            memory_bytes: needs.memory_bytes,
            tables: needs.tables,
            table_elements: needs.table_elements,
            imports: needs.imports,
            exports: needs.exports,
        })
    }
}

/// What a component would need, and what it says it takes and gives.
#[derive(Debug, Default)]
pub(super) struct Needs {
    bytes: u64,
    functions: u64,
    named_functions: u64,
    largest_function: u64,
    deepest_block: u64,
    instances: u64,
    memories: u64,
    memory_bytes: u64,
    tables: u64,
    table_elements: u64,
    /// Names of its imports; of a core module, the modules it imports from.
    pub(super) imports: Vec<String>,
    /// Names of the functions it exports.
    pub(super) exports: Vec<String>,
}

/// How deep blocks stand in each other in a function: a compiler's time grows faster than that.
fn nesting(body: &FunctionBody<'_>) -> wasmparser::Result<u64> {
    let (mut depth, mut deepest) = (0_u64, 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => depth += 1,
            // The last one ends the function itself.
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    Ok(deepest)
}

/// A limit, and what goes beyond it.
struct Excess {
    what: &'static str,
    found: u64,
    limit: u64,
}

impl Needs {
    /// Reads `wasm`, a component or a core module.
    pub(super) fn of(wasm: &[u8]) -> Result<Self, Rejection> {
        let damaged = |error: wasmparser::BinaryReaderError| Rejection {
            code: "not-wasm",
            detail: format!("this is WebAssembly, but damaged: {error}"),
        };
        let mut needs = Self { bytes: wasm.len() as u64, ..Self::default() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            needs.add(&payload.map_err(damaged)?, &mut depth).map_err(damaged)?;
            if depth > MAX_NESTING {
                let detail = format!("components are nested more deeply than {MAX_NESTING}");
                return Err(Rejection { code: "too-complex", detail });
            }
        }
        needs.imports.sort();
        needs.imports.dedup();
        Ok(needs)
    }

    fn add(&mut self, payload: &Payload<'_>, depth: &mut usize) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { .. } => *depth += 1,
            Payload::End(_) => *depth -= 1,
            Payload::CodeSectionStart { count, .. } => self.functions += u64::from(*count),
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                self.largest_function = self.largest_function.max(range.end - range.start);
                self.deepest_block = self.deepest_block.max(nesting(body)?);
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.named_functions += named(names);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories.clone() {
                    self.memories += 1;
                    let bytes = memory?.initial.saturating_mul(PAGE);
                    self.memory_bytes = self.memory_bytes.saturating_add(bytes);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables.clone() {
                    self.tables += 1;
                    self.table_elements = self.table_elements.saturating_add(table?.ty.initial);
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    if let Instance::Instantiate { .. } = instance? {
                        self.instances += 1;
                    }
                }
            }
            Payload::ImportSection(imports) if *depth == 1 => {
                for import in imports.clone().into_imports() {
                    self.imports.push(import?.module.into());
                }
            }
            Payload::ComponentImportSection(imports) if *depth == 1 => {
                for import in imports.clone() {
                    let import = import?;
                    // Another name for a type of an import that is listed itself.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        self.imports.push(import.name.full_name().into_owned());
                    }
                }
            }
            Payload::ComponentExportSection(exports) if *depth == 1 => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Func {
                        self.exports.push(export.name.name.into());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The first limit it is beyond.
    fn excess(&self, limits: &Limits) -> Option<Excess> {
        [
            ("bytes", self.bytes, limits.component_bytes as u64),
            ("functions", self.functions, limits.functions.into()),
            ("bytes in one function", self.largest_function, limits.function_bytes as u64),
            ("blocks in each other", self.deepest_block, limits.nesting.into()),
            ("core instances", self.instances, limits.instances.into()),
            ("memories", self.memories, 1),
            ("bytes of memory at the start", self.memory_bytes, limits.memory_bytes as u64),
            ("tables", self.tables, limits.tables.into()),
            ("table elements", self.table_elements, limits.table_elements as u64),
        ]
        .into_iter()
        .find(|&(_, found, limit)| found > limit)
        .map(|(what, found, limit)| Excess { what, found, limit })
    }

    /// The smallest class it fits in.
    pub(super) fn class(&self, settings: &PluginSettings) -> Result<Class, Rejection> {
        for class in [Class::Lean, Class::Engine] {
            if self.excess(settings.limits(class)).is_none() {
                return Ok(class);
            }
        }
        match self.excess(&settings.engine) {
            None => Ok(Class::Engine),
            Some(Excess { what, found, limit }) => Err(Rejection {
                code: if what == "bytes" { "too-large" } else { "too-complex" },
                detail: format!("the component has {found} {what}; the limit is {limit}"),
            }),
        }
    }
}

/// How many functions a name section names. One that is damaged names none: the engine takes
/// it for absent, too.
fn named(names: wasmparser::NameSectionReader<'_>) -> u64 {
    let functions = names.into_iter().find_map(|part| match part {
        Ok(Name::Function(functions)) => u64::try_from(functions.count()).ok(),
        _ => None,
    });
    functions.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(wat: &str) -> Result<Class, &'static str> {
        let settings = PluginSettings::new("", [0; 32], super::super::Compiler::InProcess);
        let needs = Needs::of(&wat::parse_str(wat).unwrap()).unwrap();
        needs.class(&settings).map_err(|rejection| rejection.code)
    }

    #[test]
    fn needs_decide_the_class() {
        assert_eq!(class("(component)"), Ok(Class::Lean));
        assert_eq!(class("(component (core module (memory 256)))"), Ok(Class::Lean));
        assert_eq!(class("(component (core module (memory 257)))"), Ok(Class::Engine));
        assert_eq!(class("(component (core module (memory 1025)))"), Err("too-complex"));
        assert_eq!(class("(component (core module (table 50000 funcref)))"), Ok(Class::Engine));
        // Sums that do not fit are not small.
        let huge = "(core module (table i64 0xffffffffffffffff funcref))".repeat(2);
        assert_eq!(class(&format!("(component {huge})")), Err("too-complex"));
        let two = "(core module (memory 1))".repeat(2);
        assert_eq!(class(&format!("(component {two})")), Err("too-complex"));
    }

    #[test]
    fn anatomy_counts_what_is_there() {
        let text = "(component (core module (import \"env\" \"f\" (func)) (memory 2) \
                    (table 3 funcref) (func $a) (func $b) (func)))";
        let found = Anatomy::of(&wat::parse_str(text).unwrap()).unwrap();
        assert_eq!((found.functions, found.named_functions), (3, 2));
        assert_eq!((found.memory_bytes, found.table_elements), (2 * PAGE, 3));
        assert!(Anatomy::of(b"hello").is_err());
    }

    #[test]
    fn giant_function_count() {
        let functions = "(func)".repeat(200_001);
        assert_eq!(class(&format!("(component (core module {functions}))")), Err("too-complex"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = format!("{}{}", "(component ".repeat(40), ")".repeat(40));
        let rejection = Needs::of(&wat::parse_str(nested).unwrap()).unwrap_err();
        assert_eq!(rejection.code, "too-complex");
    }
}
