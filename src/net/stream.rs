//! One connection, over a unix or a TCP socket or within the process, and who is at its other end.

use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use futures_util::future::Either;
use futures_util::future::select;
use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::io::Ready;
use tokio::net::TcpStream;

use super::Pipe;
use super::UnixStream;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine.
    Unix {
        /// Its process id, when the kernel tells it.
        pid: Option<i32>,
    },
    /// A host of the network.
    Tcp(SocketAddr),
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// Into the body of an answer.
    Pipe(Pipe),
}

impl Stream {
    /// Waits until the socket can do one of `interest`, reading among them. One task at a time may wait.
    ///
    /// The usual wait, for reading alone, keeps no state of its own: thousands of idle connections are in it.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let readable = poll_fn(|context| self.poll_readable(context));
        if interest.is_writable() {
            let room = Box::pin(self.room());
            return match select(readable, room).await {
                Either::Left((ready, _)) | Either::Right((ready, _)) => ready,
            };
        }
        readable.await
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match self {
            Self::Unix(stream) => stream.poll_readable(context),
            Self::Tcp(stream) => stream.poll_read_ready(context).map_ok(|()| Ready::READABLE),
            Self::Pipe(pipe) => pipe.poll_readable(context),
        }
    }

    async fn room(&self) -> io::Result<Ready> {
        match self {
            Self::Unix(stream) => stream.room().await,
            Self::Tcp(stream) => stream.ready(Interest::WRITABLE).await,
            Self::Pipe(pipe) => pipe.room().await,
        }
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Pipe(pipe) => pipe.try_read(),
        }
    }

    /// Writes as much as there is room for; `WouldBlock` when there is none.
    pub fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write_vectored(buffers),
            Self::Tcp(stream) => stream.try_write_vectored(buffers),
            Self::Pipe(pipe) => pipe.try_write_vectored(buffers),
        }
    }

    /// Says that nothing further is written where no frame of the peer's protocol says so: in an answer's body.
    pub fn finish(&self) {
        match self {
            Self::Unix(_) | Self::Tcp(_) => {}
            Self::Pipe(pipe) => pipe.finish(),
        }
    }

    /// Has the kernel ask a TCP peer that is silent for `after` whether it still lives; unix peers need no asking.
    pub fn keep_alive(&self, after: Duration) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Pipe(_) => Ok(()),
            Self::Tcp(stream) => SockRef::from(stream)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(after).with_interval(after)),
        }
    }

    /// Takes nothing further from a unix peer: what has arrived can be read, and the next write over there fails, so
    /// that it knows what was not taken. TCP has no way to say so, and nothing happens.
    pub fn refuse(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.refuse(),
            Self::Tcp(_) | Self::Pipe(_) => Ok(()),
        }
    }

    /// Makes the end of a TCP connection a reset: what was not read and not written is thrown away on both sides. A
    /// unix peer sees a reset in any case, when something is left unread.
    pub fn reset_at_end(&self) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Pipe(_) => Ok(()),
            Self::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        match self {
            Self::Unix(stream) => Peer::Unix { pid: stream.peer_process() },
            Self::Pipe(_) => Peer::Unix { pid: None },
            // A connection that is already gone has no address any more; it will not be served either.
            Self::Tcp(stream) => Peer::Tcp(stream.peer_addr().unwrap_or(([0, 0, 0, 0], 0).into())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            // There is nothing to read but the end.
            Self::Pipe(pipe) => pipe.poll_readable(context).map_ok(|_| ()),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, buffer),
            Self::Pipe(pipe) => poll_write(pipe, context, &[IoSlice::new(buffer)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Pipe(pipe) => poll_write(pipe, context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Pipe(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Pipe(pipe) => {
                pipe.finish();
                Poll::Ready(Ok(()))
            }
        }
    }
}

fn poll_write(pipe: &Pipe, context: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    loop {
        match pipe.try_write_vectored(buffers) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(pipe.poll_room(context)),
            done => return Poll::Ready(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pairs() -> [(Stream, Stream); 2] {
        let (one, other) = tokio::net::UnixStream::pair().unwrap();
        let unix = |stream| Stream::Unix(UnixStream::new(stream).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        [(unix(one), unix(other)), (Stream::Tcp(client.unwrap()), Stream::Tcp(server.unwrap().0))]
    }

    /// Writes until there is no room.
    fn fill(stream: &Stream) {
        while stream.try_write_vectored(&[IoSlice::new(&[7; 4096])]).is_ok() {}
    }

    #[tokio::test]
    async fn whoever_waits_for_room_still_hears_the_peer() {
        for (near, far) in pairs().await {
            // The first wait learns that there is room, before it is used up.
            assert!(near.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap().is_writable());
            fill(&near);
            assert_eq!(far.ready(Interest::READABLE).await.unwrap(), Ready::READABLE);
            let mut buffer = vec![0; 64 * 1024];
            let waits = near.ready(Interest::READABLE | Interest::WRITABLE);
            far.room().await.unwrap();
            far.try_write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).unwrap();
            assert!(waits.await.unwrap().is_readable());
            assert_eq!(near.try_read(&mut buffer).unwrap(), 2);
            assert_eq!(near.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
