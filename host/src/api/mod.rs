//! REST API v1.
