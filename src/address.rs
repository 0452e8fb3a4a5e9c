//! Where something listens or is found: `unix:/path`, `unixgram:/path`, `tcp:host:port`, `udp:host:port`.
//!
//! Addresses are written the same way in the configuration, on the command line, in the log and in `/readyz`.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path of a unix socket in bytes: `sun_path` of Linux without its closing zero.
pub const PATH_MAX: usize = 107;

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A stream socket in the file system: `unix:/run/pillion/pillion.sock`.
    Unix(PathBuf),
    /// A datagram socket in the file system: `unixgram:/run/pillion/log.sock`.
    Unixgram(PathBuf),
    /// `tcp:127.0.0.1:8000`; port 0 picks a free one.
    Tcp(HostPort),
    /// `udp:127.0.0.1:5514`; port 0 picks a free one.
    Udp(HostPort),
}

/// A host name or IP address with a port. IPv6 addresses are written in brackets, and kept without them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The name, or the address without brackets.
    pub host: String,
    /// The port; 0 picks a free one when listening.
    pub port: u16,
}

/// Why a text is no address, and what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The kind in front is missing or unknown.
    #[error("\"{text}\": an address starts with unix:, unixgram:, tcp: or udp:{}", did_you_mean(suggestion))]
    Scheme {
        /// What was written.
        text: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A socket path that depends on where the daemon was started.
    #[error(
        "\"{text}\": a socket path starts with /, because a daemon and its clients have no working directory in common{}",
        did_you_mean(suggestion)
    )]
    RelativePath {
        /// What was written.
        text: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The kernel takes no longer path.
    #[error(
        "\"{text}\": a socket path has at most {PATH_MAX} bytes, this one has {length}; choose a shorter one"
    )]
    LongPath {
        /// What was written.
        text: String,
        /// The bytes of the path.
        length: usize,
    },
    /// A path that names a directory, or has characters that no file name should have.
    #[error("\"{0}\": a socket path names a file, without control characters")]
    Path(String),
    /// Host or port is missing.
    #[error("\"{text}\": host and port are needed{}", did_you_mean(suggestion))]
    Incomplete {
        /// What was written.
        text: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The port is no number, or out of range.
    #[error("\"{text}\": \"{port}\" is not a port; ports are 0 to 65535")]
    Port {
        /// What was written.
        text: String,
        /// The part of it that should be a port.
        port: String,
    },
    /// The host is neither a name nor an address.
    #[error("\"{text}\": \"{host}\" is neither a host name nor an IP address{}", did_you_mean(suggestion))]
    Host {
        /// What was written.
        text: String,
        /// The part of it that should be a host.
        host: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// An IPv6 address without brackets, where nobody can tell the port from the address.
    #[error("\"{text}\": an IPv6 address is written in brackets{}", did_you_mean(suggestion))]
    Brackets {
        /// What was written.
        text: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
}

impl Address {
    /// The path of a unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) | Self::Unixgram(path) => Some(path),
            Self::Tcp(_) | Self::Udp(_) => None,
        }
    }

    /// Host and port of a network address.
    #[must_use]
    pub fn host_port(&self) -> Option<&HostPort> {
        match self {
            Self::Tcp(host_port) | Self::Udp(host_port) => Some(host_port),
            Self::Unix(_) | Self::Unixgram(_) => None,
        }
    }

    /// True if only this machine can reach it: a unix socket, a loopback address or `localhost`.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host_port().is_none_or(HostPort::is_local)
    }
}

impl HostPort {
    /// True for loopback addresses and `localhost`.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }
}

/// True for what may stand as a host: an IP address without brackets, or a name of letters, digits, `-`, `_`, `.`.
#[must_use]
pub fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // A name whose last part is a number is read as an IPv4 address everywhere, and this one is none.
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let looks_like_number = last.chars().all(|c| c.is_ascii_digit());
    text.len() <= 253 && text.chars().all(is_name) && !text.starts_with('.') && !looks_like_number
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Unixgram(path) => write!(f, "unixgram:{}", path.display()),
            Self::Tcp(host_port) => write!(f, "tcp:{host_port}"),
            Self::Udp(host_port) => write!(f, "udp:{host_port}"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some((scheme, rest)) = text.split_once(':') {
            match scheme {
                "unix" => return socket_path(text, scheme, rest).map(Self::Unix),
                "unixgram" => return socket_path(text, scheme, rest).map(Self::Unixgram),
                "tcp" => return host_port(text, "tcp:", rest).map(Self::Tcp),
                "udp" => return host_port(text, "udp:", rest).map(Self::Udp),
                _ => {}
            }
        }
        Err(AddressError::Scheme { text: text.to_owned(), suggestion: with_scheme(text) })
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        host_port(text, "", text)
    }
}

fn socket_path(text: &str, scheme: &str, rest: &str) -> Result<PathBuf, AddressError> {
    let text = text.to_owned();
    if !rest.starts_with('/') {
        // Only a path through a folder looks like one that lost its first slash.
        let suggestion = (rest.contains('/') && !rest.starts_with('.')).then(|| format!("{scheme}:/{rest}"));
        return Err(AddressError::RelativePath { text, suggestion });
    }
    // unix:///run/x is a common way of writing; with one slash an address has one spelling only.
    let path = format!("/{}", rest.trim_start_matches('/'));
    if path.len() > PATH_MAX {
        return Err(AddressError::LongPath { text, length: path.len() });
    }
    if path.ends_with('/') || path.chars().any(char::is_control) {
        return Err(AddressError::Path(text));
    }
    Ok(PathBuf::from(path))
}

/// Reads `host:port`. `text` is the whole address for messages and `prefix` what stands before `rest` in it.
fn host_port(text: &str, prefix: &str, rest: &str) -> Result<HostPort, AddressError> {
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, after)) if host.parse::<Ipv6Addr>().is_ok() => {
            (host, after.strip_prefix(':').unwrap_or(""))
        }
        Some((host, _)) => {
            return Err(AddressError::Host {
                text: text.to_owned(),
                host: host.to_owned(),
                suggestion: None,
            });
        }
        None if rest.parse::<Ipv6Addr>().is_ok() || rest.matches(':').count() > 1 => {
            let suggestion = match rest.rsplit_once(':') {
                Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => {
                    Some(format!("{prefix}[{host}]:{port}"))
                }
                _ => None,
            };
            return Err(AddressError::Brackets { text: text.to_owned(), suggestion });
        }
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    if port.is_empty() || host.is_empty() {
        let suggestion = completed(host, port).map(|address| format!("{prefix}{address}"));
        return Err(AddressError::Incomplete { text: text.to_owned(), suggestion });
    }
    let Some(number) = port_number(port) else {
        return Err(AddressError::Port { text: text.to_owned(), port: port.to_owned() });
    };
    if !is_host(host) {
        let suggestion = host.strip_prefix("//").filter(|host| is_host(host));
        let suggestion = suggestion.map(|host| format!("{prefix}{host}:{number}"));
        return Err(AddressError::Host { text: text.to_owned(), host: host.to_owned(), suggestion });
    }
    Ok(HostPort { host: host.to_owned(), port: number })
}

/// Only digits: `+80` is a number for Rust, but not a port.
fn port_number(text: &str) -> Option<u16> {
    if text.chars().all(|c| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A whole `host:port` from one of the two, where that can be guessed.
fn completed(host: &str, port: &str) -> Option<String> {
    match (port_number(host), port_number(port)) {
        (Some(port), _) if !host.is_empty() => Some(format!("{}:{port}", Ipv4Addr::LOCALHOST)),
        (_, Some(port)) if host.is_empty() => Some(format!("{}:{port}", Ipv4Addr::UNSPECIFIED)),
        _ => None,
    }
}

/// The address that an operator probably meant who wrote no scheme, or a foreign one.
fn with_scheme(text: &str) -> Option<String> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest.trim_end_matches('/'));
    let candidates = [
        text.starts_with('/').then(|| format!("unix:{text}")),
        text.split_once(':').map(|(scheme, rest)| format!("{}:{rest}", scheme.to_ascii_lowercase())),
        Some(format!("tcp:{bare}")),
        completed(bare, "")
            .or_else(|| completed("", bare.trim_start_matches(':')))
            .map(|rest| format!("tcp:{rest}")),
    ];
    candidates.into_iter().flatten().find(|candidate| is_address(candidate))
}

/// Like parsing, but without a suggestion, which would ask back.
fn is_address(text: &str) -> bool {
    match text.split_once(':') {
        Some(("unix" | "unixgram", rest)) => socket_path(text, "unix", rest).is_ok(),
        Some(("tcp" | "udp", rest)) => host_port(text, "", rest).is_ok(),
        _ => false,
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |suggestion| format!("; did you mean {suggestion}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(text: &str, expected: &str) {
        let error = text.parse::<Address>().unwrap_err();
        assert_eq!(error.to_string(), format!("\"{text}\": {expected}"));
    }

    #[test]
    fn every_kind_is_read_and_written_the_same_way() {
        for text in [
            "unix:/run/pillion/pillion.sock",
            "unixgram:/run/pillion/log.sock",
            "tcp:127.0.0.1:8000",
            "tcp:localhost:0",
            "tcp:[::1]:8000",
            "udp:[fe80::1]:5514",
            "udp:logstash.example.org:65535",
            "tcp:log_server:1",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn three_slashes_are_the_same_as_one() {
        assert_eq!("unix:///run/a.sock".parse(), Ok(Address::Unix(PathBuf::from("/run/a.sock"))));
    }

    #[test]
    fn brackets_are_not_kept() {
        assert_eq!("[::1]:80".parse(), Ok(HostPort { host: "::1".to_owned(), port: 80 }));
    }

    #[test]
    fn a_missing_scheme_is_guessed() {
        let rule = "an address starts with unix:, unixgram:, tcp: or udp:";
        for (text, meant) in [
            ("127.0.0.1:80", "tcp:127.0.0.1:80"),
            ("localhost:8000", "tcp:localhost:8000"),
            ("[::1]:80", "tcp:[::1]:80"),
            ("8000", "tcp:127.0.0.1:8000"),
            (":8000", "tcp:0.0.0.0:8000"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("TCP:127.0.0.1:80", "tcp:127.0.0.1:80"),
            ("UNIX:/run/A.sock", "unix:/run/A.sock"),
            ("http://localhost:8000/", "tcp:localhost:8000"),
        ] {
            check_refused(text, &format!("{rule}; did you mean {meant}?"));
        }
        for text in ["", "hello", "run/a.sock", "http://localhost"] {
            check_refused(text, rule);
        }
    }

    #[test]
    fn paths_are_absolute_short_and_name_a_file() {
        let rule = "a socket path starts with /, because a daemon and its clients have no working directory in common";
        check_refused("unix:run/a.sock", &format!("{rule}; did you mean unix:/run/a.sock?"));
        check_refused("unixgram:./run/a.sock", rule);
        check_refused("unix:a.sock", rule);
        check_refused("unix:", rule);
        check_refused("unix:/run/", "a socket path names a file, without control characters");
        assert!(format!("unix:/{}", "a".repeat(PATH_MAX - 1)).parse::<Address>().is_ok());
        let long = "a".repeat(PATH_MAX);
        check_refused(
            &format!("unix:/{long}"),
            "a socket path has at most 107 bytes, this one has 108; choose a shorter one",
        );
    }

    #[test]
    fn host_and_port_are_both_needed() {
        let rule = "host and port are needed";
        check_refused("tcp:8000", &format!("{rule}; did you mean tcp:127.0.0.1:8000?"));
        check_refused("udp::5514", &format!("{rule}; did you mean udp:0.0.0.0:5514?"));
        check_refused("tcp:localhost", rule);
        check_refused("tcp:[::1]", rule);
        check_refused("tcp:", rule);
    }

    #[test]
    fn ports_and_hosts_are_checked() {
        check_refused("tcp:localhost:65536", "\"65536\" is not a port; ports are 0 to 65535");
        check_refused("tcp:localhost:+80", "\"+80\" is not a port; ports are 0 to 65535");
        check_refused("tcp:localhost:http", "\"http\" is not a port; ports are 0 to 65535");
        check_refused("tcp:300.0.0.1:80", "\"300.0.0.1\" is neither a host name nor an IP address");
        check_refused(
            "tcp://localhost:80",
            "\"//localhost\" is neither a host name nor an IP address; did you mean tcp:localhost:80?",
        );
        check_refused("tcp:[nonsense]:80", "\"nonsense\" is neither a host name nor an IP address");
        check_refused("tcp:::1:80", "an IPv6 address is written in brackets; did you mean tcp:[::1]:80?");
        check_refused("tcp:a:b:c", "an IPv6 address is written in brackets");
    }

    #[test]
    fn local_is_what_only_this_machine_reaches() {
        for text in ["unix:/a", "tcp:127.0.0.1:1", "tcp:127.9.9.9:1", "tcp:[::1]:1", "tcp:localhost:1"] {
            assert!(text.parse::<Address>().unwrap().is_local(), "{text}");
        }
        for text in ["tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:10.0.0.1:1", "tcp:example.org:1"] {
            assert!(!text.parse::<Address>().unwrap().is_local(), "{text}");
        }
    }
}
