//! Streams and datagram sockets: how they are opened, and with which settings.

pub mod dial;
pub mod tls;
