//! Pillion is the realtime sidecar that rides behind nginx.

pub mod address;
pub mod api;
pub mod app;
pub mod backoff;
pub mod buffer;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod diagnostics;
pub mod gateway;
pub mod host;
pub mod ids;
pub mod ingest;
pub mod journal;
pub mod logger;
pub mod metrics;
pub mod net;
pub mod record;
pub mod sink;
pub mod status;
pub mod tasks;
pub mod trail;
pub mod units;
pub mod wire;
