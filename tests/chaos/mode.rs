//! The columns: how the log travels, and what happens to what does not fit.

use std::path::Path;

use super::Scale;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Tcp,
    TcpWithoutTail,
    TcpSpool,
    Syslog,
    Unix,
    Udp,
    Beats,
    BeatsSpool,
}

/// How lines lie on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Lines,
    Syslog,
    Beats,
}

/// Where the receiver listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Address<'a> {
    Port(u16),
    Path(&'a Path),
}

impl Mode {
    pub(crate) const ALL: [Self; 8] = [
        Self::Tcp,
        Self::TcpWithoutTail,
        Self::TcpSpool,
        Self::Syslog,
        Self::Unix,
        Self::Udp,
        Self::Beats,
        Self::BeatsSpool,
    ];

    /// The name of the column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::TcpWithoutTail => "tcp, no replay tail",
            Self::TcpSpool => "tcp, spool",
            Self::Syslog => "syslog3164",
            Self::Unix => "unix stream",
            Self::Udp => "udp",
            Self::Beats => "beats",
            Self::BeatsSpool => "beats, spool",
        }
    }

    pub(super) const fn wire(self) -> Wire {
        match self {
            Self::Tcp | Self::TcpWithoutTail | Self::TcpSpool | Self::Unix | Self::Udp => Wire::Lines,
            Self::Syslog => Wire::Syslog,
            Self::Beats | Self::BeatsSpool => Wire::Beats,
        }
    }

    pub(crate) const fn acknowledges(self) -> bool {
        matches!(self.wire(), Wire::Beats)
    }

    pub(crate) const fn spools(self) -> bool {
        matches!(self, Self::TcpSpool | Self::BeatsSpool)
    }

    /// The settings of the daemon.
    pub(super) fn settings(self, address: Address<'_>, scale: &Scale) -> Vec<String> {
        let mut sets = match address {
            Address::Port(port) => vec!["logger.host=127.0.0.1".to_owned(), format!("logger.port={port}")],
            Address::Path(path) => vec![format!("logger.path={}", path.display())],
        };
        let format = match self.wire() {
            Wire::Lines => "ndjson",
            Wire::Syslog => "syslog3164",
            Wire::Beats => "beats",
        };
        sets.push(format!("logger.format={format}"));
        if self.spools() {
            // Little memory, so that much goes through the disk.
            sets.push("logger.overflow=spool".to_owned());
            sets.push("logger.drop_limit=8MiB".to_owned());
            sets.push(format!("logger.spool_interval={}ms", scale.spool_interval.as_millis()));
            sets.push("logger.periodic_flush=0.05".to_owned());
        } else {
            // Enough for the outage, so that nothing is lost for want of room.
            sets.push("logger.drop_limit=256MiB".to_owned());
        }
        match self {
            Self::TcpWithoutTail => sets.push("logger.replay_tail=off".to_owned()),
            Self::Udp => sets.push("logger.sock_type=udp".to_owned()),
            _ => {}
        }
        sets
    }
}
