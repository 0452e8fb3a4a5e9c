//! Pillion is the realtime sidecar that rides behind nginx.

pub mod backoff;
pub mod clock;
pub mod tasks;
