//! Syslog around a finished record: the header that a log server reads, and the reading of it.
//!
//! ```text
//! RFC 3164, ISO time   <134>2026-11-20T23:40:00.123Z edge-1 pillion[77]: {"action":"login"}
//! RFC 5424             <134>1 2026-11-20T23:40:00.123Z edge-1 pillion 77 login - {"action":"login"}
//! ```
//!
//! The first is what the `syslog` input of Logstash takes in all its modes; the second is for other receivers, that
//! input takes it for no header at all. [`Header`] writes what it takes: no priority 0, no `_` in a host's name.
//! [`read`] says what it would say of a line, for the sink.
//!
//! On streams a line ends with a line break, or its length stands before it (RFC 6587); a datagram is one line.

mod header;
mod line;

pub use header::Ending;
pub use header::Header;
pub use line::Fault;
pub use line::Message;
pub use line::read;

/// Which of the two headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// That of RFC 3164, with a time that has a year and a zone.
    Rfc3164,
    /// That of RFC 5424, without structured data.
    Rfc5424,
}

/// Where a message comes from: 0 is the kernel, 1 a user's program, 3 a daemon, 16 to 23 are local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// The first of those that mean what one likes them to.
    pub const LOCAL0: Self = Self(16);

    /// The facility of this number; `None` beyond 23.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (number <= 23).then_some(Self(number))
    }
}

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing works.
    Emergency,
    /// Somebody must act now.
    Alert,
    /// Something important is broken.
    Critical,
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// Something unusual happened.
    Notice,
    /// Something happened.
    Informational,
    /// For whoever looks closely.
    Debug,
}

impl Severity {
    fn number(self) -> u8 {
        match self {
            Self::Emergency => 0,
            Self::Alert => 1,
            Self::Critical => 2,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Informational => 6,
            Self::Debug => 7,
        }
    }
}

/// Facility and severity in one number, 1 to 191: Logstash does not take 0 for a priority, so that an emergency of
/// the kernel becomes an alert.
fn priority(facility: Facility, severity: Severity) -> u8 {
    (facility.0 * 8 + severity.number()).max(1)
}
