//! Outgoing connections.
//!
//! The system's resolver is asked at every connect, never before, so that a target that moved is found again;
//! every address it names is tried in its order. Each lookup and each single attempt is bounded by the timeout of
//! the caller.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::net::UnixDatagram;
use tokio::net::UnixStream;

use crate::address::HostPort;

/// Opens a TCP stream to the first address of `target` that answers.
///
/// `send_buffer` is the size of the kernel's send buffer in bytes: what is in it is lost when the other end dies.
///
/// # Errors
/// The last address's error; `TimedOut` when a lookup or an attempt took longer than `timeout`.
pub async fn tcp(target: &HostPort, send_buffer: usize, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = None;
    for address in resolve(target, timeout).await? {
        match within(timeout, tcp_address(address, send_buffer)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_address(target)))
}

/// Opens a unix stream.
///
/// # Errors
/// The kernel's, or `TimedOut`.
pub async fn unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    within(timeout, UnixStream::connect(path)).await
}

/// Opens a UDP socket that sends to the first address of `target` and reports what comes back as errors.
///
/// # Errors
/// The resolver's or the kernel's, or `TimedOut`.
pub async fn udp(target: &HostPort, timeout: Duration) -> io::Result<UdpSocket> {
    let mut last = None;
    for address in resolve(target, timeout).await? {
        match udp_address(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_address(target)))
}

/// Opens a unix datagram socket that sends to `path`.
///
/// # Errors
/// The kernel's.
pub fn unixgram(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// Runs `work` for at most `timeout`.
///
/// # Errors
/// Its own, or `TimedOut`.
pub async fn within<T>(timeout: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn resolve(target: &HostPort, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
    let addresses = within(timeout, tokio::net::lookup_host((target.host.as_str(), target.port))).await?;
    Ok(addresses.take(ADDRESSES_MAX).collect())
}

async fn tcp_address(address: SocketAddr, send_buffer: usize) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(u32::try_from(send_buffer).unwrap_or(u32::MAX))?;
    socket.set_nodelay(true)?;
    let settings = SockRef::from(&socket);
    settings.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(3),
    )?;
    settings.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let stream = socket.connect(address).await?;
    // Without a listener, a local port that the kernel picks for us can be the very one we call: TCP then connects
    // the socket with itself, and the real target can not come back because its port is taken.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

async fn udp_address(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn no_address(target: &HostPort) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no address found for {}", target.host))
}

/// Addresses of one name that are tried: enough for two families of a small cluster, little enough to end.
const ADDRESSES_MAX: usize = 8;

/// An idle connection is probed after this, so that firewalls keep it and a dead peer is found.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Sent data that stays unacknowledged this long ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn local(port: u16) -> HostPort {
        HostPort { host: "localhost".to_owned(), port }
    }

    #[tokio::test]
    async fn tries_every_address_of_a_name() {
        // "localhost" may name ::1 first; the listener is on the other family only.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tcp(&local(listener.local_addr().unwrap().port()), 65536, SECOND).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = tcp(&local(port), 65536, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_with_the_timeout() {
        let error = within(SECOND, std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
