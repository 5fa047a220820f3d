//! The wasmtime engines, one for each class of plugin, and the clock that ends runs which
//! are not over in time.
//!
//! Owns every wasmtime setting. Never loads or runs a component.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures,
};

use super::settings::{GUEST_STACK, Limits};

/// How often the clock ticks while something runs.
const TICK: Duration = Duration::from_millis(5);
/// How many ticks with nothing running until the clock stops: starting it again costs a
/// system call, which a steady trickle of events should not pay each time.
const IDLE_TICKS: u32 = 20;

/// Plugins whose memory stays mapped between runs, for each run that may be under way. Costs
/// address space, and at most `keep_resident` of memory each.
const WARM_SLOTS_PER_RUN: u32 = 16;

/// Everything that decides what code is compiled and what it means. The same in the
/// compiling child and here, or the code would not load.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .memory_init_cow(true)
        .cranelift_nan_canonicalization(true)
        // Function names are enough for a plugin's author; the map costs memory.
        .generate_address_map(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false);
    for feature in [
        WasmFeatures::THREADS,
        WasmFeatures::GC,
        WasmFeatures::FUNCTION_REFERENCES,
        WasmFeatures::EXCEPTIONS,
        WasmFeatures::CUSTOM_PAGE_SIZES,
    ] {
        config.wasm_features(feature, false);
    }
    config
}

/// An engine that only compiles: it reserves no memory for instances.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// An engine that runs plugins of one class, at most `runs` of them at once, and keeps so
/// many functions of where a run was stopped.
pub(super) fn running(limits: &Limits, runs: usize, frames: usize) -> wasmtime::Result<Engine> {
    let runs = u32::try_from(runs).unwrap_or(u32::MAX).max(1);
    // A slot keeps the image of the plugin it ran last; running another there means mapping
    // memory, which stops every thread for a moment. So there are more slots than runs.
    let slots = runs.saturating_mul(WARM_SLOTS_PER_RUN);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(runs)
        .max_component_instance_size(16 << 20)
        .max_core_instances_per_component(limits.instances)
        .total_core_instances(runs.saturating_mul(limits.instances))
        .max_core_instance_size(4 << 20)
        .max_memories_per_component(1)
        .total_memories(slots)
        .max_memory_size(limits.memory_bytes)
        .max_tables_per_component(limits.tables)
        .max_tables_per_module(limits.tables)
        .total_tables(runs.saturating_mul(limits.tables))
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(limits.keep_resident)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(slots)
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    config.wasm_backtrace_max_frames(NonZeroUsize::new(frames));
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Advances the engines' epoch while something runs, and sleeps while nothing does.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
    engines: std::sync::Mutex<Vec<Engine>>,
}

/// While it lives, the epoch advances.
pub(super) struct Ticking<'a>(&'a Shared);

impl Ticker {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            engines: std::sync::Mutex::default(),
        });
        let handle = std::thread::Builder::new().name("plugin-clock".into()).spawn({
            let shared = Arc::clone(&shared);
            move || tick(&shared)
        })?;
        Ok(Self { shared, thread: handle.thread().clone(), handle: Some(handle) })
    }

    /// From now on `engine` is ticked too.
    pub(super) fn add(&self, engine: Engine) {
        self.shared.engines.lock().unwrap_or_else(|e| e.into_inner()).push(engine);
    }

    /// Announces a run.
    pub(super) fn running(&self) -> Ticking<'_> {
        // The order matters: the clock looks at `running` after it has set `parked`, and
        // this looks at `parked` after it has raised `running`, so one of them sees the other.
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.parked.load(SeqCst) {
            self.thread.unpark();
        }
        Ticking(&self.shared)
    }

    /// The deadline, in ticks from now, that is at least `wall` away.
    pub(super) fn deadline(wall: Duration) -> u64 {
        // One more, because the current tick may be almost over.
        u64::try_from(wall.as_micros().div_ceil(TICK.as_micros())).unwrap_or(u64::MAX - 1) + 1
    }

    #[cfg(test)]
    fn is_parked(&self) -> bool {
        self.shared.parked.load(SeqCst)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            // It never panics, and if it did there would be nothing to do about it here.
            let _ = handle.join();
        }
    }
}

fn tick(shared: &Shared) {
    let mut idle = 0;
    while !shared.stop.load(SeqCst) {
        if shared.running.load(SeqCst) > 0 {
            idle = 0;
        } else {
            idle += 1;
        }
        if idle > IDLE_TICKS {
            shared.parked.store(true, SeqCst);
            while shared.running.load(SeqCst) == 0 && !shared.stop.load(SeqCst) {
                std::thread::park();
            }
            shared.parked.store(false, SeqCst);
            idle = 0;
        }
        std::thread::sleep(TICK);
        for engine in shared.engines.lock().unwrap_or_else(|e| e.into_inner()).iter() {
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_compiled_apart_fits_both_classes() {
        let hash = |engine: &Engine| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let apart = hash(&compiling().unwrap());
        assert_eq!(apart, hash(&running(&Limits::LEAN, 2, 16).unwrap()));
        assert_eq!(apart, hash(&running(&Limits::ENGINE, 2, 256).unwrap()));
    }

    #[test]
    fn the_clock_stops_when_nothing_runs() {
        let ticker = Ticker::start().unwrap();
        let wait_for = |parked| {
            for _ in 0..500 {
                if ticker.is_parked() == parked {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            panic!("the clock did not become parked = {parked}");
        };
        wait_for(true);
        let run = ticker.running();
        wait_for(false);
        drop(run);
        wait_for(true);
    }
}
