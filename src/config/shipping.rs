//! The validated `[logger]`: where records go, in which form, and what happens when they can not.
//!
//! Every field is explained once, in the manual (`default.toml`), with its unit, default and limit.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::HostPort;

/// `[logger]`: the way to the log server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logger {
    /// Where lines go; the first of several.
    pub target: Target,
    /// Where they go when that one does not work, or in turn with it; of the same kind, streams or datagrams.
    pub alternatives: Vec<Target>,
    /// Which of several targets is used.
    pub target_order: TargetOrder,
    /// A stream older than this is replaced; `None` is never.
    pub max_connection_age: Option<Duration>,
    /// Send as soon as this many bytes wait; below `drop_limit`.
    pub flush_limit: usize,
    /// At most these bytes wait in memory.
    pub drop_limit: usize,
    /// Above these waiting bytes less important records are dropped; `None` when all are equal.
    pub shed_limit: Option<usize>,
    /// For connecting, for the TLS handshake and for each write.
    pub timeout: Duration,
    /// Tries after the first one before an error is reported; `None` is endless. The lines are kept in any case.
    pub max_retry_times: Option<u32>,
    /// The pause after the first failed try.
    pub retry_interval: Duration,
    /// The longest pause, to which the first one grows.
    pub retry_max_interval: Duration,
    /// Send what waits at least this often; `None` is never.
    pub periodic_flush: Option<Duration>,
    /// The longest line; what is longer is cut and marked. Never more than `drop_limit`.
    pub max_line: usize,
    /// How many of the bytes sent last are kept, to be sent again when a stream breaks; 0 is none. Not below
    /// `max_line` otherwise.
    pub replay_tail: usize,
    /// How records become bytes on the way.
    pub format: Format,
    /// What happens at `drop_limit`.
    pub overflow: Overflow,
    /// How the spool works, where there is one.
    pub spool: Spool,
    /// Bytes of dead letters that are kept.
    pub dead_letter_limit: usize,
    /// Where spool and dead letters lie; without it there are none.
    pub data_dir: Option<PathBuf>,
    /// The age of the oldest undelivered line at which the daemon no longer calls itself ready; `None` is never.
    pub ready_max_age: Option<Duration>,
    /// TLS to the log server, if it is on.
    pub tls: Option<Tls>,
}

/// Where lines go: from `targets`, or from `host`, `port`, `path` and `sock_type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Lines on a TCP stream.
    Tcp(HostPort),
    /// Whole lines in datagrams.
    Udp(HostPort),
    /// Lines on a stream of a unix socket.
    Unix(PathBuf),
    /// Whole lines in datagrams of a unix socket.
    Unixgram(PathBuf),
}

impl Target {
    /// True where records travel in datagrams.
    #[must_use]
    pub fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Unixgram(_))
    }
}

/// Which of several targets is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetOrder {
    /// The first that works.
    Failover,
    /// One at random.
    Balanced,
}

/// How records become bytes on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are, one JSON object per line.
    Ndjson,
    /// Behind a syslog header.
    Syslog(Syslog),
    /// In windows that the log server acknowledges.
    Beats(Beats),
}

/// A syslog header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Which header.
    pub dialect: SyslogDialect,
    /// The facility's number, 0 to 23.
    pub facility: u8,
    /// The host in the header: the node.
    pub host: String,
    /// The tag, or the application's name.
    pub tag: String,
    /// The length before a record instead of a newline after it.
    pub octet_counting: bool,
}

/// Which syslog header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogDialect {
    /// RFC 3164, with an ISO 8601 time.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
}

/// The acknowledged protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beats {
    /// zlib's level, 1 to 9; 0 is uncompressed.
    pub compression: u32,
    /// How long the log server may be silent while something waits for its acknowledgement.
    pub ack_timeout: Duration,
}

/// What happens at `drop_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The new record is dropped.
    DropNewest,
    /// The oldest records that are not on their way are dropped.
    DropOldest,
    /// Records go to disk before it is reached.
    Spool,
}

/// The spool of records on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The most bytes on disk.
    pub limit: u64,
    /// What was not delivered within this time is on disk.
    pub interval: Duration,
    /// What is sent first.
    pub order: SpoolOrder,
}

/// What of a spool is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolOrder {
    /// Everything in its order.
    OldestFirst,
    /// Errors first, the newest of them first; then the rest in its order.
    ErrorsFirst,
}

/// TLS to the log server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// False accepts any certificate.
    pub verify: bool,
    /// The name to ask for and to verify; without it, that is the host.
    pub sni_host: Option<String>,
    /// A PEM file with the trusted authorities; without it, those of the system.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate that pillion shows; always together with `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate.
    pub key: Option<PathBuf>,
}
