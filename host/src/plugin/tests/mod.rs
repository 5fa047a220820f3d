//! Components that mean harm, and the outcomes that have names.
