//! A stream that acknowledges nothing.
//!
//! What the server says is read and ignored. Reading is how its end of the connection is noticed, before a write
//! that the kernel would still take for nobody; and a server may greet or answer as it likes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::ReadBuf;

use crate::logger::parcel::Parcel;
use crate::logger::transport::socket::ReadWrite;
use crate::logger::transport::socket::Socket;

/// An open stream.
#[derive(Debug)]
pub(in crate::logger) struct Stream {
    socket: Socket,
    /// Bytes of the present parcel that TLS has taken and the kernel perhaps not.
    unconfirmed: usize,
}

impl Stream {
    pub(in crate::logger) fn new(socket: Socket) -> Self {
        Self { socket, unconfirmed: 0 }
    }

    /// Writes once, as much as there is room for, and waits for room for at least one byte.
    ///
    /// A dropped future is taken up by the next call with the same parcel.
    pub(in crate::logger) async fn send(&mut self, parcel: &mut Parcel) -> io::Result<()> {
        let Self { socket, unconfirmed } = self;
        let buffers = socket.buffers();
        let stream = socket.stream();
        if *unconfirmed == 0 {
            *unconfirmed = poll_fn(|context| poll_write(stream, context, parcel.rest())).await?;
        }
        if buffers {
            // Plain text that TLS took has not left yet; it counts only when the kernel has it.
            poll_fn(|context| poll_flush(stream, context)).await?;
        }
        parcel.advance(std::mem::take(unconfirmed));
        Ok(())
    }

    /// Resolves when the server has closed the connection or broken it.
    pub(in crate::logger) async fn closed(&mut self) -> io::Error {
        let stream = self.socket.stream();
        poll_fn(|context| poll_closed(stream, context)).await
    }

    /// Ends the writing side.
    pub(in crate::logger) async fn shutdown(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }
}

fn poll_write(
    stream: &mut dyn ReadWrite,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    if let Poll::Ready(error) = poll_closed(stream, context) {
        return Poll::Ready(Err(error));
    }
    match ready!(Pin::new(stream).poll_write(context, bytes)) {
        Ok(0) if !bytes.is_empty() => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        result => Poll::Ready(result),
    }
}

fn poll_flush(stream: &mut dyn ReadWrite, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    if let Poll::Ready(error) = poll_closed(stream, context) {
        return Poll::Ready(Err(error));
    }
    Pin::new(stream).poll_flush(context)
}

/// Reads and ignores what there is; ready at the end of the stream.
fn poll_closed(stream: &mut dyn ReadWrite, context: &mut Context<'_>) -> Poll<io::Error> {
    let mut scratch = [0; 1024];
    for _ in 0..READS_MAX {
        let mut buffer = ReadBuf::new(&mut scratch);
        match ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Ok(()) => {}
            Err(error) => return Poll::Ready(error),
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Reads in one go before others get their turn, so that a server that talks without end stops nothing.
const READS_MAX: usize = 16;
