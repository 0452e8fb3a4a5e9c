//! A unix stream that is told when there is something to read, and asks about writing only when it must.
//!
//! The kernel calls a unix socket writable again whenever its peer has read something. A socket that waits for both
//! directions all the time, as sockets of an event loop usually do, is therefore woken once for every message that
//! it has ever written. Here the event loop watches for reading; a writer just tries, and only when there is no room
//! a second handle of the socket watches for writing, as long as somebody waits for it.

use std::io;
use std::io::IoSlice;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as Socket;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;

/// How long to wait before trying to write again when the socket can not be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One end of a connection over a unix socket.
#[derive(Debug)]
pub struct UnixStream {
    socket: AsyncFd<Socket>,
    /// Watches for writing; there only after a write through [`AsyncWrite`] has found no room.
    writer: Option<Box<AsyncFd<Socket>>>,
}

impl UnixStream {
    /// Takes over a connection. Called within a runtime.
    pub(crate) fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { socket: watch(stream.into_std()?, Interest::READABLE)?, writer: None })
    }

    /// Looks whether there is something to read; only the last task that asked is woken.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.socket.poll_read_ready(context).map_ok(|guard| guard.ready())
    }

    /// Waits until there is room to write.
    ///
    /// When the process has no descriptor left to watch with, it is time to look again after a pause: being slow at a
    /// bad moment must not cost a client its connection.
    pub(super) async fn room(&self) -> io::Result<Ready> {
        let Ok(writer) = self.writer() else {
            tokio::time::sleep(LOOK_AGAIN).await;
            return Ok(Ready::WRITABLE);
        };
        Ok(writer.writable().await?.ready())
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_io(Interest::READABLE, |mut socket| socket.read(buffer))
    }

    /// Writes as much as there is room for; `WouldBlock` when there is none.
    pub(super) fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut socket = self.socket.get_ref();
        match buffers {
            // The usual case, and the cheaper call.
            [one] => socket.write(one),
            _ => socket.write_vectored(buffers),
        }
    }

    /// Takes nothing further: what has arrived can be read, and the peer's next write fails.
    pub(super) fn refuse(&self) -> io::Result<()> {
        self.socket.get_ref().shutdown(Shutdown::Read)
    }

    /// The process at the other end, when the kernel tells it.
    pub(super) fn peer_process(&self) -> Option<i32> {
        let peer = socket_peercred(self.socket.get_ref()).ok()?;
        Some(peer.pid.as_raw_nonzero().get())
    }

    /// A second handle, that watches for writing.
    fn writer(&self) -> io::Result<AsyncFd<Socket>> {
        watch(self.socket.get_ref().try_clone()?, Interest::WRITABLE)
    }
}

/// Has the event loop watch `socket`.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that may change their descriptor; a socket of the standard library \
              keeps its own until it is dropped"
)]
fn watch(socket: Socket, interest: Interest) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            if let Ok(read) = guard.try_io(|socket| socket.get_ref().read(unfilled)) {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.try_write_vectored(buffers) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            let writer = match &this.writer {
                Some(writer) => writer,
                None => this.writer.insert(Box::new(this.writer()?)),
            };
            // Cleared before the next try: room that comes after it is news again.
            ready!(writer.poll_write_ready(context))?.clear_ready();
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (one, other) = tokio::net::UnixStream::pair().unwrap();
        (UnixStream::new(one).unwrap(), UnixStream::new(other).unwrap())
    }

    /// Writes until there is no room; gives how many bytes went in.
    fn fill(stream: &UnixStream) -> usize {
        let block = [7; 4096];
        let mut filled = 0;
        loop {
            match stream.try_write_vectored(&[IoSlice::new(&block)]) {
                Ok(written) => filled += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return filled,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_room_is_woken_when_the_peer_has_read() {
        let (near, far) = pair();
        let filled = fill(&near);
        let waits = near.room();
        let reads = async {
            let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
            while read < filled {
                poll_fn(|context| far.poll_readable(context)).await.unwrap();
                while let Ok(some) = far.try_read(&mut buffer) {
                    read += some;
                }
            }
        };
        let (ready, ()) = tokio::join!(waits, reads);
        assert!(ready.unwrap().is_writable());
        assert_eq!(fill(&near), filled);
    }

    #[tokio::test]
    async fn the_end_of_the_peer_can_be_read() {
        let (near, far) = pair();
        drop(far);
        let ready = poll_fn(|context| near.poll_readable(context)).await.unwrap();
        assert!(ready.is_read_closed(), "{ready:?}");
        assert_eq!(near.try_read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(
            near.try_write_vectored(&[IoSlice::new(b"x")]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[tokio::test]
    async fn more_than_the_kernel_holds_comes_through_whole_and_in_order() {
        let (mut near, mut far) = pair();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut read = Vec::new();
        let writes = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let ((), got) = tokio::join!(writes, far.read_to_end(&mut read));
        got.unwrap();
        assert!(read == sent, "{} bytes of {}", read.len(), sent.len());
    }

    #[tokio::test]
    async fn the_kernel_names_the_process_at_the_other_end() {
        let (near, _far) = pair();
        assert_eq!(near.peer_process(), i32::try_from(std::process::id()).ok());
    }
}
