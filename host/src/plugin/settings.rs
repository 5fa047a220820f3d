//! The limits plugins live under and the knobs of the runtime: numbers, their units and their
//! defaults.
//!
//! Never acts on them; [`super::engine`], [`super::inspect`] and [`super::run`] do.

use std::{fmt, path::PathBuf, time::Duration};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Stack a guest may use. The runner threads are given more than this.
pub(super) const GUEST_STACK: usize = 512 * KIB;

/// How the runtime is set up.
#[derive(Clone)]
pub struct PluginSettings {
    /// Where compiled components are kept.
    pub cache_dir: PathBuf,
    /// Authenticates the cache: 32 random bytes of this installation. Code in the cache that
    /// was not written with this key is not loaded.
    pub key: [u8; 32],
    /// Threads that run plugins.
    pub threads: usize,
    /// Runs that may be queued or under way; more of them wait in `Runtime::run`.
    pub queue: usize,
    /// Memory for learned verdicts, in bytes; 0 learns nothing.
    pub learn_bytes: usize,
    /// Functions kept of where a failed run was stopped.
    pub backtrace_frames: usize,
    /// What compiles components.
    pub compiler: Compiler,
    /// Bounds of a compilation.
    pub compile: CompileLimits,
    /// Limits of ordinary plugins.
    pub lean: Limits,
    /// Limits of plugins with a language engine inside.
    pub engine: Limits,
}

/// What compiles components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// This program, called with the argument `compile-component`: a child process that
    /// ends in [`super::compile_child_main`].
    Child(PathBuf),
    /// This very process. Not bounded in time or memory: for tests, and for tools whose
    /// user wrote the plugin.
    InProcess,
}

/// Bounds of a compilation in a child process. One runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// After this the child is killed.
    pub wall: Duration,
    /// Of that, how long at most to try with the time that nobody else wants.
    pub idle: Duration,
    /// Processor time of the child, over all its threads.
    pub cpu: Duration,
    /// Address space of the child, in bytes.
    pub address_space: u64,
}

/// What a plugin needs decides its class; each class has an engine, a pool and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Compiled code only, as Rust gives.
    Lean,
    /// A language engine inside, as JavaScript and Python need.
    Engine,
}

impl Class {
    /// The class's word, in cache keys and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lean => "lean",
            Self::Engine => "engine",
        }
    }
}

/// What one plugin, and one run of it, may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the component.
    pub component_bytes: usize,
    /// Functions in it.
    pub functions: u32,
    /// Size of its largest function.
    pub function_bytes: usize,
    /// Blocks in each other.
    pub nesting: u32,
    /// Core instances it makes.
    pub instances: u32,
    /// Tables it has.
    pub tables: u32,
    /// Elements of all its tables.
    pub table_elements: usize,
    /// Linear memory.
    pub memory_bytes: usize,
    /// Memory kept resident for the next run instead of being given back to the system.
    pub keep_resident: usize,
    /// Fuel of every run.
    pub fuel: u64,
    /// Fuel added for each byte of payload and config.
    pub fuel_per_byte: u64,
    /// Wall clock of a run: the backstop behind the fuel.
    pub wall: Duration,
    /// Size of what it answers.
    pub output_bytes: usize,
    /// Size of all its notes together.
    pub log_bytes: usize,
}

impl Limits {
    /// Limits of ordinary plugins.
    pub const LEAN: Self = Self {
        component_bytes: MIB,
        functions: 20_000,
        function_bytes: 256 * KIB,
        nesting: 1_000,
        instances: 16,
        tables: 8,
        table_elements: 20_000,
        memory_bytes: 16 * MIB,
        keep_resident: 256 * KIB,
        fuel: 10_000_000,
        fuel_per_byte: 100,
        wall: Duration::from_millis(50),
        output_bytes: MIB,
        log_bytes: 16 * KIB,
    };

    /// Limits of plugins with a language engine inside.
    pub const ENGINE: Self = Self {
        component_bytes: 64 * MIB,
        functions: 200_000,
        function_bytes: 2 * MIB,
        nesting: 5_000,
        instances: 256,
        tables: 64,
        table_elements: 100_000,
        memory_bytes: 64 * MIB,
        // Helps Python and hurts JavaScript when large; this much pleases both.
        keep_resident: MIB,
        fuel: 200_000_000,
        fuel_per_byte: 1_000,
        wall: Duration::from_millis(500),
        output_bytes: MIB,
        log_bytes: 16 * KIB,
    };

    /// Fuel of a run over `input` bytes of payload and config.
    pub fn fuel_for(&self, input: usize) -> u64 {
        self.fuel.saturating_add(self.fuel_per_byte.saturating_mul(input as u64))
    }
}

impl PluginSettings {
    /// The defaults: the cache in `cache_dir`, a thread for each processor, and this program
    /// as its own compiler.
    pub fn new(cache_dir: impl Into<PathBuf>, key: [u8; 32], compiler: Compiler) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get()).min(16);
        Self {
            cache_dir: cache_dir.into(),
            key,
            threads,
            queue: threads * 64,
            // Whoever tries or measures a plugin wants it to run; the server has a setting.
            learn_bytes: 0,
            backtrace_frames: 16,
            compiler,
            compile: CompileLimits {
                // A language engine takes 20 s of an idle machine, and machines are not idle.
                wall: Duration::from_secs(300),
                // It has to begin again after that, so there must be enough left.
                idle: Duration::from_secs(60),
                cpu: Duration::from_secs(120),
                address_space: 4 << 30,
            },
            lean: Limits::LEAN,
            engine: Limits::ENGINE,
        }
    }

    /// The limits of a class.
    pub const fn limits(&self, class: Class) -> &Limits {
        match class {
            Class::Lean => &self.lean,
            Class::Engine => &self.engine,
        }
    }

    /// The largest upload worth looking at.
    pub fn max_upload_bytes(&self) -> usize {
        self.lean.component_bytes.max(self.engine.component_bytes)
    }
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is left out: settings end up in logs.
        f.debug_struct("PluginSettings")
            .field("cache_dir", &self.cache_dir)
            .field("threads", &self.threads)
            .field("queue", &self.queue)
            .field("learn_bytes", &self.learn_bytes)
            .field("backtrace_frames", &self.backtrace_frames)
            .field("compiler", &self.compiler)
            .field("compile", &self.compile)
            .field("lean", &self.lean)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: u64) -> String {
        let digits = number.to_string();
        let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
        groups.collect::<Vec<_>>().join(",")
    }

    fn bytes(number: usize) -> String {
        if number.is_multiple_of(MIB) {
            format!("{} MiB", number / MIB)
        } else {
            format!("{} KiB", number / KIB)
        }
    }

    #[test]
    fn the_documented_limits_are_the_limits() {
        let documented = include_str!("../../../docs/plugin-interface.md");
        let row = |name: &str, shown: &dyn Fn(&Limits) -> String| {
            let row = format!("| {name} | {} | {} |", shown(&Limits::LEAN), shown(&Limits::ENGINE));
            assert!(documented.contains(&row), "docs/plugin-interface.md lacks the row\n{row}");
        };
        row("size of the component", &|l| bytes(l.component_bytes));
        row("functions", &|l| count(l.functions.into()));
        row("the largest function", &|l| bytes(l.function_bytes));
        row("core instances", &|l| count(l.instances.into()));
        row("tables", &|l| count(l.tables.into()));
        row("elements of all tables", &|l| count(l.table_elements as u64));
        row("memory", &|l| bytes(l.memory_bytes));
        row("fuel of a run", &|l| count(l.fuel));
        row("and for each byte of payload and config", &|l| count(l.fuel_per_byte));
        row("time of a run", &|l| format!("{} ms", l.wall.as_millis()));
        row("output", &|l| bytes(l.output_bytes));
        row("notes", &|l| bytes(l.log_bytes));
        row("call stack", &|_| bytes(GUEST_STACK));
    }
}
