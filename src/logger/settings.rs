//! The part of the configuration that the shipper works by, with its files read.

use std::fmt;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::buffer::Limits;
use crate::config::Logger;
use crate::config::Target;
use crate::config::Tls;
use crate::logger::Error;
use crate::net::tls;

/// Where lines go and how long things may take.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) destination: Destination,
    /// Bounds connect, TLS handshake and each write, separately.
    pub(super) timeout: Duration,
    /// Tries of one flush after the first; `None`: endless.
    pub(super) retries_max: Option<u32>,
    pub(super) backoff: Backoff,
    pub(super) periodic: Option<Duration>,
    /// Bytes that are kept to be sent again.
    pub(super) replay_tail: usize,
}

/// A log server.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) tls: Option<tls::Client>,
    /// What the TLS settings were built from.
    source: Option<Tls>,
}

impl Settings {
    pub(super) fn new(config: &Logger) -> Result<Self, Error> {
        if config.flush_limit >= config.drop_limit {
            return Err(Error::Limits);
        }
        Ok(Self {
            destination: Destination::new(config)?,
            timeout: config.timeout.max(PAUSE_MIN),
            retries_max: config.max_retry_times,
            backoff: Backoff::new(config.retry_interval.max(PAUSE_MIN), config.retry_max_interval),
            periodic: config.periodic_flush.map(|period| period.max(PAUSE_MIN)),
            replay_tail: config.replay_tail,
        })
    }
}

impl Destination {
    fn new(config: &Logger) -> Result<Self, Error> {
        let host = match &config.target {
            Target::Tcp(address) => Some(address.host.as_str()),
            Target::Unix(_) => None,
            Target::Udp(_) | Target::Unixgram(_) if config.tls.is_some() => {
                return Err(Error::TlsOnDatagrams);
            }
            Target::Udp(_) | Target::Unixgram(_) => None,
        };
        let tls = config.tls.as_ref().map(|settings| tls::client(settings, host)).transpose()?;
        Ok(Self { target: config.target.clone(), tls, source: config.tls.clone() })
    }

    /// True when a connection to `other` serves this one as well. With TLS it never does: the certificates on
    /// disk may be new ones.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.source.is_none() && other.source.is_none()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tcp(address) => write!(out, "tcp:{}:{}", address.host, address.port),
            Target::Udp(address) => write!(out, "udp:{}:{}", address.host, address.port),
            Target::Unix(path) => write!(out, "unix:{}", path.display()),
            Target::Unixgram(path) => write!(out, "unixgram:{}", path.display()),
        }
    }
}

/// The limits that the buffer works by.
pub(super) fn limits(config: &Logger) -> Limits {
    Limits { flush_limit: config.flush_limit, drop_limit: config.drop_limit, max_line: config.max_line }
}

/// The shortest pause, period and timeout: a zero in the configuration must not make a loop spin.
const PAUSE_MIN: Duration = Duration::from_millis(1);
