//! One connection to the log server, of any kind.

pub(super) mod beats;
mod datagram;
pub(super) mod framing;
mod socket;
mod stream;

use std::future::pending;
use std::io;
use std::time::Duration;

use crate::config::Format;
use crate::config::Target;
use crate::logger::parcel::Parcel;
use crate::logger::settings::Destination;
use crate::logger::transport::beats::Beats;
use crate::logger::transport::datagram::Datagram;
use crate::logger::transport::socket::Socket;
use crate::logger::transport::stream::Stream;
use crate::net::dial;

/// An open connection.
#[derive(Debug)]
pub(super) enum Transport {
    Stream(Stream),
    Datagram(Datagram),
    Beats(Box<Beats>),
}

impl Transport {
    /// Connects; lookup, connect and handshake each take at most `timeout`.
    pub(super) async fn connect(to: &Destination, format: &Format, timeout: Duration) -> io::Result<Self> {
        let socket = match &to.target {
            Target::Tcp(address) => {
                let stream = dial::tcp(address, SEND_BUFFER, timeout).await?;
                Socket::tcp(stream, to.tls.as_ref(), timeout).await?
            }
            Target::Unix(path) => {
                let stream = dial::unix(path, timeout).await?;
                Socket::unix(stream, to.tls.as_ref(), timeout).await?
            }
            Target::Udp(address) => {
                return Ok(Self::Datagram(Datagram::Udp(dial::udp(address, timeout).await?)));
            }
            Target::Unixgram(path) => return Ok(Self::Datagram(Datagram::Unix(dial::unixgram(path)?))),
        };
        Ok(match format {
            Format::Beats(beats) => Self::Beats(Box::new(Beats::new(socket, beats.compression))),
            Format::Ndjson | Format::Syslog(_) => Self::Stream(Stream::new(socket)),
        })
    }

    /// True for a stream that acknowledges nothing.
    pub(super) fn is_plain_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Sends some of the parcel, at least one byte or one datagram, waiting at most `timeout` for room.
    ///
    /// The parcel knows what was taken, also after an error. Dropping the future loses nothing: on plain sockets
    /// what was taken is noted, with TLS what is not known to have left is sent again.
    pub(super) async fn send(&mut self, parcel: &mut Parcel, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Stream(stream) => dial::within(timeout, stream.send(parcel)).await,
            Self::Datagram(socket) => dial::within(timeout, socket.send(parcel)).await,
            // Parcels of these go in windows.
            Self::Beats(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Resolves when the server has closed the connection or broken it; never for datagrams.
    pub(super) async fn closed(&mut self) -> io::Error {
        match self {
            Self::Stream(stream) => stream.closed().await,
            Self::Beats(stream) => stream.closed().await,
            Self::Datagram(_) => pending().await,
        }
    }

    /// Says goodbye, so that the server sees a clean end behind the last line.
    pub(super) async fn close(self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => dial::within(timeout, stream.shutdown()).await,
            Self::Beats(mut stream) => dial::within(timeout, stream.shutdown()).await,
            Self::Datagram(_) => Ok(()),
        }
    }
}

/// Bytes the kernel may hold for a TCP connection: they are lost when the other end dies, and more gains no speed.
const SEND_BUFFER: usize = 256 * 1024;
