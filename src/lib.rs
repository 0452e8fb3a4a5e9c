//! Pillion is the realtime sidecar that rides behind nginx.

pub mod address;
pub mod backoff;
pub mod buffer;
pub mod clock;
pub mod config;
pub mod logger;
pub mod net;
pub mod tasks;
