//! Compiles JSON Schemas once and runs them over payloads and configs.
//!
//! Owns drafts, formats, bounds on patterns and depth, and what a violation looks like.
//! Never fetches anything: a remote `$ref` is an error.

use serde_json::Value;

use crate::model::Violation;

/// A compiled schema.
#[derive(Debug)]
pub struct Validator(jsonschema::Validator);

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// JSON pointer into the schema.
    pub at: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Validator {
    /// Most violations reported of one payload.
    pub const MAX_VIOLATIONS: usize = 20;

    /// Compiles `schema`.
    pub fn compile(_schema: &Value) -> Result<Self, SchemaError> {
        todo!()
    }

    /// Where `instance` does not satisfy the schema, at most [`Self::MAX_VIOLATIONS`] of them.
    pub fn violations(&self, _instance: &Value) -> Vec<Violation> {
        todo!()
    }
}
