//! The integration tests: one binary, one module per part.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod ingest;
mod sink;
