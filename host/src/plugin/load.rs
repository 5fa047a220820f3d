//! Turns compiled code into a component: the one place that needs `unsafe`.
//!
//! Owns [`TrustedCode`], the proof that code is our own compiler's. Never reads files and
//! never takes bytes from an upload.

use wasmtime::{Engine, component::Component};

/// Machine code that our own compiler made: it came from it just now, or from the cache
/// with a valid authentication code.
pub(super) struct TrustedCode(Vec<u8>);

impl TrustedCode {
    /// The caller vouches that `code` is the output of this installation's compiler.
    pub(super) const fn vouch(code: Vec<u8>) -> Self {
        Self(code)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Loads it. An error means it was made by another version or with other settings.
#[expect(unsafe_code, reason = "the code's origin is what `TrustedCode` stands for")]
pub(super) fn component(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` needs bytes that `Engine::precompile_component` produced and
    // nobody changed. `TrustedCode` is only made in `compile` from the compiler's output and in
    // `cache` after the authentication code was verified. Other versions and other settings
    // are found by wasmtime itself and are an error.
    unsafe { Component::deserialize(engine, &code.0) }
}
