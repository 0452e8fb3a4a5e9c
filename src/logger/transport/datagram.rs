//! A datagram socket to the log server: each record is one datagram, with its final newline if it has one.

use std::io;

use rustix::io::Errno;
use tokio::net::UdpSocket;
use tokio::net::UnixDatagram;

use crate::logger::parcel::Parcel;

/// A connected datagram socket.
#[derive(Debug)]
pub(in crate::logger) enum Datagram {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagram {
    /// Sends records until the socket has no more room, and waits for room for at least one.
    ///
    /// A record that is too large for a datagram is passed over.
    pub(in crate::logger) async fn send(&self, parcel: &mut Parcel) -> io::Result<()> {
        let mut sent = false;
        while let Some(record) = parcel.next_record() {
            let len = record.len();
            let result = match self.try_send(record) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.send_one(record).await,
                result => result,
            };
            match result {
                Ok(_) => parcel.advance(len),
                Err(error) if is_too_large(&error) => parcel.skip_record(),
                Err(error) => return Err(error),
            }
            sent = true;
        }
        Ok(())
    }

    fn try_send(&self, record: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(_) if record.len() > UDP_MAX => Err(Errno::MSGSIZE.into()),
            Self::Udp(socket) => socket.try_send(record),
            Self::Unix(socket) => socket.try_send(record),
        }
    }

    async fn send_one(&self, record: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.send(record).await,
            Self::Unix(socket) => socket.send(record).await,
        }
    }
}

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

/// Bytes in one UDP datagram over IPv4: 65535 less the headers of IP (20) and UDP (8).
const UDP_MAX: usize = 65_507;
