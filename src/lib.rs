//! Pillion is the realtime sidecar that rides behind nginx.

pub mod address;
pub mod backoff;
pub mod buffer;
pub mod clock;
pub mod config;
pub mod diagnostics;
pub mod ids;
pub mod ingest;
pub mod metrics;
pub mod net;
pub mod record;
pub mod sink;
pub mod tasks;
pub mod trail;
