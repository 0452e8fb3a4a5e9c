//! Pillion is the realtime sidecar that rides behind nginx.

pub mod address;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod host;
pub mod ids;
pub mod metrics;
pub mod net;
pub mod record;
pub mod tasks;
pub mod trail;
pub mod units;
pub mod wire;
