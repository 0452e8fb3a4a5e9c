//! A stream to the log server: TCP or unix, plain or with TLS.
//!
//! What the server says is read and ignored. Reading is how its end of the connection is noticed, before a write
//! that the kernel would still take for nobody; and a server may greet or answer as it likes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::logger::parcel::Parcel;
use crate::net::dial::within;
use crate::net::tls;

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    io: Io,
    /// Bytes of the present parcel that TLS has taken and the kernel perhaps not.
    unconfirmed: usize,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    TcpTls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    UnixTls(Box<TlsStream<UnixStream>>),
}

/// What all of them can do.
trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for S {}

impl Stream {
    /// Puts TLS on a TCP stream if it is wanted; the handshake takes at most `timeout`.
    pub(super) async fn tcp(
        stream: TcpStream,
        tls: Option<&tls::Client>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let io = match tls {
            Some(client) => Io::TcpTls(Box::new(handshake(client, stream, timeout).await?)),
            None => Io::Tcp(stream),
        };
        Ok(Self { io, unconfirmed: 0 })
    }

    /// Puts TLS on a unix stream if it is wanted; the handshake takes at most `timeout`.
    pub(super) async fn unix(
        stream: UnixStream,
        tls: Option<&tls::Client>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let io = match tls {
            Some(client) => Io::UnixTls(Box::new(handshake(client, stream, timeout).await?)),
            None => Io::Unix(stream),
        };
        Ok(Self { io, unconfirmed: 0 })
    }

    /// Writes once, as much as there is room for, and waits for room for at least one byte.
    ///
    /// A dropped future is taken up by the next call with the same parcel.
    pub(super) async fn send(&mut self, parcel: &mut Parcel) -> io::Result<()> {
        let Self { io, unconfirmed } = self;
        let buffers = matches!(io, Io::TcpTls(_) | Io::UnixTls(_));
        let stream = io.stream();
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
    pub(super) async fn closed(&mut self) -> io::Error {
        let stream = self.io.stream();
        poll_fn(|context| poll_closed(stream, context)).await
    }

    /// Ends the writing side.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.io.stream().shutdown().await
    }
}

impl Io {
    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            Self::TcpTls(stream) => stream.as_mut(),
            Self::Unix(stream) => stream,
            Self::UnixTls(stream) => stream.as_mut(),
        }
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

async fn handshake<S>(client: &tls::Client, stream: S, timeout: Duration) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = TlsConnector::from(client.config.clone());
    let mut stream = within(timeout, connector.connect(client.name.clone(), stream)).await?;
    if client.identified {
        let patience = timeout.min(VERDICT_MAX);
        match within(patience, poll_fn(|context| poll_verdict(&mut stream, context))).await {
            // A server that says nothing has nothing against us, as far as can be known.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            verdict => verdict?,
        }
    }
    Ok(stream)
}

/// Ready when the server has judged the client certificate.
///
/// With TLS 1.3 the client has finished before the server has looked at the certificate. A refusal comes as an
/// alert with the first read, and what was written until then is lost; a session ticket means that all is well.
fn poll_verdict<S>(stream: &mut TlsStream<S>, context: &mut Context<'_>) -> Poll<io::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut scratch = [0; 16];
    let mut buffer = ReadBuf::new(&mut scratch);
    let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
    let session = stream.get_ref().1;
    match read {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
        }
        Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
        Poll::Pending if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) => Poll::Ready(Ok(())),
        Poll::Pending if session.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads in one go before others get their turn, so that a server that talks without end stops nothing.
const READS_MAX: usize = 16;

/// How long a server may take to judge a client certificate before it is believed to be content.
const VERDICT_MAX: Duration = Duration::from_millis(250);
