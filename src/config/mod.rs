//! What the configuration says.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::HostPort;

/// The section `[logger]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logger {
    /// Where the lines go.
    pub target: Target,
    /// Bytes that start a flush.
    pub flush_limit: usize,
    /// Bytes that may be queued.
    pub drop_limit: usize,
    /// Bounds connect, handshake and each write.
    pub timeout: Duration,
    /// Further tries of one flush; none: endless.
    pub max_retry_times: Option<u32>,
    /// The first pause between tries.
    pub retry_interval: Duration,
    /// The longest pause between tries.
    pub retry_max_interval: Duration,
    /// The longest wait of a lone line.
    pub periodic_flush: Option<Duration>,
    /// The longest line in bytes.
    pub max_line: usize,
    /// TLS on streams.
    pub tls: Option<Tls>,
}

/// The log server.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A TCP stream.
    Tcp(HostPort),
    /// UDP datagrams.
    Udp(HostPort),
    /// A unix stream socket.
    Unix(PathBuf),
    /// A unix datagram socket.
    Unixgram(PathBuf),
}

/// TLS towards the log server.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Verify the server's certificate.
    pub verify: bool,
    /// The name to ask for and to verify; none: the host.
    pub sni_host: Option<String>,
    /// A file of CA certificates; none: those of the system.
    pub ca: Option<PathBuf>,
    /// A client certificate chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}
