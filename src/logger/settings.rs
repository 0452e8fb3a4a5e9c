//! The part of the configuration that the shipper works by, with its files read.

use std::fmt;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::buffer::Limits;
use crate::buffer::Policy;
use crate::config::Format;
use crate::config::Logger;
use crate::config::Overflow;
use crate::config::Target;
use crate::config::TargetOrder;
use crate::config::Tls;
use crate::logger::Error;
use crate::logger::transport::framing::Framing;
use crate::net::tls;

/// Where lines go and how long things may take.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// At least one.
    pub(super) destinations: Vec<Destination>,
    pub(super) order: TargetOrder,
    pub(super) max_connection_age: Option<Duration>,
    pub(super) format: Format,
    pub(super) framing: Framing,
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
        let targets = [&config.target].into_iter().chain(&config.alternatives);
        Ok(Self {
            destinations: targets
                .map(|target| Destination::new(target, config.tls.as_ref()))
                .collect::<Result<_, _>>()?,
            order: config.target_order,
            max_connection_age: config.max_connection_age,
            format: config.format.clone(),
            framing: Framing::new(&config.format, config.target.is_datagram()),
            timeout: config.timeout.max(PAUSE_MIN),
            retries_max: config.max_retry_times,
            backoff: Backoff::new(config.retry_interval.max(PAUSE_MIN), config.retry_max_interval),
            periodic: config.periodic_flush.map(|period| period.max(PAUSE_MIN)),
            replay_tail: config.replay_tail,
        })
    }
}

impl Settings {
    /// True when a connection that was made by `other` serves these as well.
    pub(super) fn same_line(&self, other: &Self) -> bool {
        self.order == other.order
            && self.format == other.format
            && self.max_connection_age == other.max_connection_age
            && self.destinations.len() == other.destinations.len()
            && self.destinations.iter().zip(&other.destinations).all(|(one, other)| one.is_same(other))
    }
}

impl Destination {
    fn new(target: &Target, tls: Option<&Tls>) -> Result<Self, Error> {
        if target.is_datagram() && tls.is_some() {
            return Err(Error::TlsOnDatagrams);
        }
        let host = match target {
            Target::Tcp(address) => Some(address.host.as_str()),
            Target::Unix(_) | Target::Udp(_) | Target::Unixgram(_) => None,
        };
        let client = tls.map(|settings| tls::client(settings, host)).transpose()?;
        Ok(Self { target: target.clone(), tls: client, source: tls.cloned() })
    }

    /// True when a connection to `other` serves this one as well. With TLS it never does: the certificates on
    /// disk may be new ones.
    fn is_same(&self, other: &Self) -> bool {
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

/// What goes first when not all can be kept.
pub(super) fn policy(shed_limit: Option<usize>, overflow: Overflow) -> Policy {
    Policy { shed_limit, evict: overflow == Overflow::DropOldest }
}

/// The limits that the buffer works by.
pub(super) fn limits(config: &Logger) -> Limits {
    Limits { flush_limit: config.flush_limit, drop_limit: config.drop_limit, max_line: config.max_line }
}

/// The shortest pause, period and timeout: a zero in the configuration must not make a loop spin.
const PAUSE_MIN: Duration = Duration::from_millis(1);
