//! Binding: an address becomes a listener or a datagram socket.

use std::io;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use socket2::Domain;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::UdpSocket;
use tokio::net::UnixDatagram;
use tokio::net::UnixListener;

use super::Error;
use super::Peer;
use super::SocketFile;
use super::Stream;
use super::UnixStream;
use crate::address::Address;
use crate::address::HostPort;

/// How many connections may wait for an accept; the kernel cuts it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Listens on a `unix:` or `tcp:` address; `mode` is that of the socket file. Called within a runtime.
pub fn bind_stream(address: &Address, mode: u32) -> Result<Listener, Error> {
    let failed = |source| Error::of(address, source);
    match address {
        Address::Unix(path) => {
            let (socket, file) = SocketFile::bind(address, path, Type::STREAM, mode)?;
            socket.listen(BACKLOG).map_err(failed)?;
            Ok(Listener::Unix(Some(file), UnixListener::from_std(socket.into()).map_err(failed)?))
        }
        Address::Tcp(at) => {
            let socket = bind_internet(address, at, Type::STREAM)?;
            socket.listen(BACKLOG).map_err(failed)?;
            Ok(Listener::Tcp(TcpListener::from_std(socket.into()).map_err(failed)?))
        }
        Address::Unixgram(_) | Address::Udp(_) => {
            Err(Error::Kind { address: address.clone(), wanted: "unix:/path and tcp:host:port" })
        }
    }
}

/// Listens on a `unixgram:` or `udp:` address. The kernel is asked for `receive_buffer` bytes of memory for what
/// has arrived and was not read; [`Datagram::receive_buffer`] tells what it gave. Called within a runtime.
pub fn bind_datagram(address: &Address, mode: u32, receive_buffer: usize) -> Result<Datagram, Error> {
    let failed = |source| Error::of(address, source);
    match address {
        Address::Unixgram(path) => {
            let (socket, file) = SocketFile::bind(address, path, Type::DGRAM, mode)?;
            Ok(Datagram::Unix(Some(file), UnixDatagram::from_std(socket.into()).map_err(failed)?))
        }
        Address::Udp(at) => {
            let socket = bind_internet(address, at, Type::DGRAM)?;
            // Only a privileged process may pass the system's limit; the others get what the limit allows.
            if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer).is_err() {
                socket.set_recv_buffer_size(receive_buffer).map_err(failed)?;
            }
            Ok(Datagram::Udp(UdpSocket::from_std(socket.into()).map_err(failed)?))
        }
        Address::Unix(_) | Address::Tcp(_) => {
            Err(Error::Kind { address: address.clone(), wanted: "unixgram:/path and udp:host:port" })
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// On a unix socket; an inherited one has no file of ours. The file goes before the socket closes, so that
    /// nobody takes it for a dead one and puts his own in its place meanwhile.
    Unix(Option<SocketFile>, UnixListener),
    /// On a TCP port.
    Tcp(TcpListener),
}

impl Listener {
    /// Takes over a socket that the service manager already listens on. Called within a runtime.
    pub fn inherit(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        match socket.domain()? {
            Domain::UNIX => Ok(Self::Unix(None, UnixListener::from_std(socket.into())?)),
            _ => Ok(Self::Tcp(TcpListener::from_std(socket.into())?)),
        }
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Unix(_, listener) => {
                let at = listener.local_addr().ok();
                Address::Unix(at.and_then(|at| at.as_pathname().map(Path::to_owned)).unwrap_or_default())
            }
            Self::Tcp(listener) => Address::Tcp(host_port(listener.local_addr().ok())),
        }
    }

    /// Takes no further unix connections; [`Self::accept_waiting`] gives those that wait, and [`Self::accept`] must not
    /// be called any more. TCP connections that wait would be cut, so there nothing happens.
    pub fn refuse(&self) -> io::Result<()> {
        match self {
            Self::Unix(_, listener) => Ok(rustix::net::shutdown(listener, rustix::net::Shutdown::Read)?),
            Self::Tcp(_) => Ok(()),
        }
    }

    /// A unix connection that waited when further ones were refused; `None` when there is none, and for TCP.
    pub fn accept_waiting(&self) -> io::Result<Option<Stream>> {
        let Self::Unix(_, listener) = self else { return Ok(None) };
        // The runtime takes a refusing listener for ready for ever, and would wait in vain without a pause.
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        match rustix::net::accept_with(listener, flags) {
            Ok(socket) => {
                let stream = tokio::net::UnixStream::from_std(socket.into())?;
                Ok(Some(Stream::Unix(UnixStream::new(stream)?)))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next connection. An error concerns one connection, or a want of file descriptors: wait a moment, go on.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept().await?;
                let stream = Stream::Unix(UnixStream::new(stream)?);
                let peer = stream.peer();
                Ok((stream, peer))
            }
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(from)))
            }
        }
    }
}

/// A socket that receives datagrams.
#[derive(Debug)]
pub enum Datagram {
    /// On a unix socket; an inherited one has no file of ours.
    Unix(Option<SocketFile>, UnixDatagram),
    /// On a UDP port.
    Udp(UdpSocket),
}

impl Datagram {
    /// Takes over a socket that the service manager has bound. Called within a runtime.
    pub fn inherit(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        match socket.domain()? {
            Domain::UNIX => Ok(Self::Unix(None, UnixDatagram::from_std(socket.into())?)),
            _ => Ok(Self::Udp(UdpSocket::from_std(socket.into())?)),
        }
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Unix(_, socket) => {
                let at = socket.local_addr().ok();
                Address::Unixgram(at.and_then(|at| at.as_pathname().map(Path::to_owned)).unwrap_or_default())
            }
            Self::Udp(socket) => Address::Udp(host_port(socket.local_addr().ok())),
        }
    }

    /// How many bytes of unread datagrams the kernel keeps; `None` for unix sockets, where the sender's memory
    /// and `net.unix.max_dgram_qlen` decide.
    #[must_use]
    pub fn receive_buffer(&self) -> Option<usize> {
        match self {
            Self::Unix(..) => None,
            // The kernel books twice what it was asked for, the other half for its own accounting.
            Self::Udp(socket) => {
                socket2::SockRef::from(socket).recv_buffer_size().ok().map(|booked| booked / 2)
            }
        }
    }

    /// Waits until a datagram is there.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(_, socket) => socket.readable().await,
            Self::Udp(socket) => socket.readable().await,
        }
    }

    /// Lets datagrams gather for `time`, and wakes nobody for those that arrive meanwhile.
    ///
    /// # Errors
    /// When the runtime can not watch the socket again; it is closed then.
    pub async fn gather(self, time: Duration) -> io::Result<Self> {
        // The event loop is woken by whatever it watches, waited for or not.
        match self {
            Self::Unix(file, socket) => {
                let socket = socket.into_std()?;
                tokio::time::sleep(time).await;
                Ok(Self::Unix(file, UnixDatagram::from_std(socket)?))
            }
            Self::Udp(socket) => {
                let socket = socket.into_std()?;
                tokio::time::sleep(time).await;
                Ok(Self::Udp(UdpSocket::from_std(socket)?))
            }
        }
    }

    /// Takes one datagram; what is longer than `buffer` is cut. `WouldBlock` when none is there.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(_, socket) => socket.try_recv(buffer),
            Self::Udp(socket) => socket.try_recv(buffer),
        }
    }
}

/// Binds the first of the host's addresses that can be bound.
fn bind_internet(address: &Address, at: &HostPort, kind: Type) -> Result<Socket, Error> {
    let host = at.host.trim_start_matches('[').trim_end_matches(']');
    let unresolved = |source| Error::Unresolved { address: address.clone(), source };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut found = false;
    for at in (host, at.port).to_socket_addrs().map_err(unresolved)? {
        found = true;
        match bind_one(at, kind) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(if found { Error::of(address, failure) } else { unresolved(failure) })
}

fn bind_one(at: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind.nonblocking(), None)?;
    if kind == Type::STREAM {
        // Old connections in TIME_WAIT must not hold up a restart; a living listener still does.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&at.into())?;
    Ok(socket)
}

fn host_port(at: Option<SocketAddr>) -> HostPort {
    let (host, port) = at.map(|at| (at.ip().to_string(), at.port())).unwrap_or_default();
    HostPort { host, port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::Interest;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn internet(address: &Address) -> HostPort {
        address.to_string().split_once(':').unwrap().1.parse().unwrap()
    }

    #[tokio::test]
    async fn port_0_becomes_a_real_port_and_a_second_bind_names_the_conflict() {
        let listener = bind_stream(&address("tcp:127.0.0.1:0"), 0o660).unwrap();
        let HostPort { host, port } = internet(&listener.address());
        assert_eq!(host, "127.0.0.1");
        assert_ne!(port, 0);
        let error = bind_stream(&listener.address(), 0o660).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "tcp:127.0.0.1:{port} is in use by a running process: stop it (`ss -lnp` names it) or choose \
                 another address"
            )
        );
    }

    #[tokio::test]
    async fn a_unix_connection_tells_its_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let listener = bind_stream(&Address::Unix(path.clone()), 0o600).unwrap();
        assert_eq!(listener.address(), Address::Unix(path.clone()));
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, Peer::Unix { pid: i32::try_from(std::process::id()).ok() });
        let slices = [io::IoSlice::new(b"he"), io::IoSlice::new(b"llo")];
        assert_eq!(stream.try_write_vectored(&slices).unwrap(), 5);
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        assert_eq!(stream.try_read(&mut answer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"bye").await.unwrap();
        stream.ready(Interest::READABLE).await.unwrap();
        assert_eq!(stream.try_read(&mut answer).unwrap(), 3);
        stream.shutdown().await.unwrap();
        assert_eq!(client.read(&mut answer).await.unwrap(), 0);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn datagrams_arrive_whole_on_both_kinds_of_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let unix = bind_datagram(&Address::Unixgram(path.clone()), 0o600, 4096).unwrap();
        let udp = bind_datagram(&address("udp:127.0.0.1:0"), 0, 65_536).unwrap();
        let HostPort { host, port } = internet(&udp.address());
        UnixDatagram::unbound().unwrap().send_to(b"one", &path).await.unwrap();
        UdpSocket::bind("127.0.0.1:0").await.unwrap().send_to(b"two", (host.as_str(), port)).await.unwrap();
        let mut buffer = [0; 16];
        for (socket, expected) in [(&unix, b"one"), (&udp, b"two")] {
            let length = loop {
                socket.readable().await.unwrap();
                match socket.try_recv(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => break result.unwrap(),
                }
            };
            assert_eq!(&buffer[..length], expected);
        }
        assert!(udp.receive_buffer().unwrap() >= 65_536);
        assert_eq!(unix.receive_buffer(), None);
    }

    #[tokio::test]
    async fn what_gathers_is_there_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let unix = bind_datagram(&Address::Unixgram(path.clone()), 0o600, 4096).unwrap();
        let udp = bind_datagram(&address("udp:127.0.0.1:0"), 0, 65_536).unwrap();
        let to = internet(&udp.address());
        UnixDatagram::unbound().unwrap().send_to(b"one", &path).await.unwrap();
        UdpSocket::bind("127.0.0.1:0")
            .await
            .unwrap()
            .send_to(b"two", (to.host.as_str(), to.port))
            .await
            .unwrap();
        for (socket, expected) in [(unix, b"one"), (udp, b"two")] {
            let at = socket.address();
            let socket = socket.gather(Duration::from_millis(1)).await.unwrap();
            assert_eq!(socket.address(), at);
            let mut buffer = [0; 16];
            socket.readable().await.unwrap();
            assert_eq!(socket.try_recv(&mut buffer).unwrap(), 3);
            assert_eq!(&buffer[..3], expected);
        }
        assert!(!path.exists(), "the file goes with the socket");
    }

    #[tokio::test]
    async fn what_can_not_be_bound_is_explained() {
        let check = |text: &str, expected: &str| {
            let error = bind_stream(&address(text), 0o660).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("udp:127.0.0.1:0", "only unix:/path and tcp:host:port addresses can be used here");
        check("tcp:192.0.2.1:0", "this machine does not have that IP address");
        check("tcp:host.invalid:1", "can not be resolved");
    }

    #[tokio::test]
    async fn an_inherited_listener_serves_and_leaves_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let given = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = Listener::inherit(given.into()).unwrap();
        let _client = tokio::net::UnixStream::connect(&path).await.unwrap();
        assert!(matches!(listener.accept().await.unwrap(), (Stream::Unix(_), Peer::Unix { .. })));
        drop(listener);
        assert!(path.exists());
    }
}
