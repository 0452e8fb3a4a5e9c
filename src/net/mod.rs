//! Streams, listeners and datagram sockets, each as one enum over unix and internet sockets.
//!
//! What it is: the way from an [`Address`] to a bound socket, with errors that tell an
//! operator what to do. What it is not: it knows no protocol, spawns nothing and decides nothing.
//!
//! Sockets are bound at once, so that port 0 has become a real port when the address is asked for. The file of a
//! unix socket is created with the wanted mode, replaces the file of a dead process, is never taken from a living
//! one, and is removed when the listener is dropped, if it is still ours. After a crash the file stays and the next
//! start replaces it.

pub mod dial;
mod drops;
pub mod http;
mod inherit;
mod listen;
mod pipe;
mod slot;
mod socket_file;
mod stream;
pub mod tls;
mod unix_stream;
mod verify;

pub use drops::DropCount;
pub use inherit::inherited;
pub use listen::Datagram;
pub use listen::Listener;
pub use listen::bind_datagram;
pub use listen::bind_stream;
pub use pipe::Pipe;
pub use pipe::PipeReader;
pub use slot::Slot;
pub use slot::Slots;
pub use socket_file::SocketFile;
pub use stream::Peer;
pub use stream::Stream;
pub use unix_stream::UnixStream;

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::address::Address;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something living listens there.
    #[error(
        "{address} is in use by a running process: stop it (`ss -lnp` names it) or choose another address"
    )]
    InUse {
        /// The wanted address.
        address: Address,
    },
    /// The path of a unix socket is taken by something that is no socket.
    #[error("{address}: there is already a file that is not a socket: remove it or choose another path")]
    NotSocket {
        /// The wanted address.
        address: Address,
    },
    /// The kernel has room for 107 bytes only.
    #[error(
        "{address}: the path has {length} bytes, a unix socket can have {PATH_MAX}: choose a shorter one"
    )]
    TooLong {
        /// The wanted address.
        address: Address,
        /// The length of its path in bytes.
        length: usize,
    },
    /// The directory of a unix socket is missing, and so is the one above it.
    #[error("{address}: the directory {directory} does not exist: create it or choose another path")]
    NoDirectory {
        /// The wanted address.
        address: Address,
        /// The directory that is missing.
        directory: String,
    },
    /// The user of the process may not do it.
    #[error("{address}: permission denied: {hint}")]
    Denied {
        /// The wanted address.
        address: Address,
        /// What to change.
        hint: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host name is not known.
    #[error("{address}: the host can not be resolved: check its name, or write its IP address")]
    Unresolved {
        /// The wanted address.
        address: Address,
        /// What the resolver said.
        source: io::Error,
    },
    /// No interface of this machine has the address.
    #[error("{address}: this machine does not have that IP address: listen on one of its own, or on 0.0.0.0")]
    NotLocal {
        /// The wanted address.
        address: Address,
        /// What the kernel said.
        source: io::Error,
    },
    /// A stream is wanted and the address names datagrams, or the other way round.
    #[error("{address}: only {wanted} addresses can be used here")]
    Kind {
        /// The wanted address.
        address: Address,
        /// What would be right.
        wanted: &'static str,
    },
    /// Anything else.
    #[error("{address}: can not listen")]
    Io {
        /// The wanted address.
        address: Address,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The longest path of a unix socket: `sun_path` has 108 bytes, the last of them zero.
const PATH_MAX: usize = 107;

impl Error {
    /// The error that says most about `source`, met while binding `address`.
    fn of(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address, source },
            io::ErrorKind::PermissionDenied => Self::Denied { hint: hint(&address), address, source },
            _ => Self::Io { address, source },
        }
    }
}

/// What helps against a refused permission.
fn hint(address: &Address) -> String {
    match address {
        Address::Unix(path) | Address::Unixgram(path) => {
            let directory = directory_of(path);
            format!("make {} writable for this user, or choose another path", directory.display())
        }
        Address::Tcp(_) | Address::Udp(_) => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port, or grant it".to_owned()
        }
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}
