//! A stream to the log server: TCP or unix, plain or with TLS. It decides nothing about what travels on it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
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

use crate::net::dial::within;
use crate::net::tls;

/// An open stream.
#[derive(Debug)]
pub(in crate::logger) enum Socket {
    Tcp(TcpStream),
    TcpTls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    UnixTls(Box<TlsStream<UnixStream>>),
}

/// What all of them can do.
pub(in crate::logger) trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for S {}

impl Socket {
    /// Puts TLS on a TCP stream if it is wanted; the handshake takes at most `timeout`.
    pub(in crate::logger) async fn tcp(
        stream: TcpStream,
        tls: Option<&tls::Client>,
        timeout: Duration,
    ) -> io::Result<Self> {
        Ok(match tls {
            Some(client) => Self::TcpTls(Box::new(handshake(client, stream, timeout).await?)),
            None => Self::Tcp(stream),
        })
    }

    /// Puts TLS on a unix stream if it is wanted; the handshake takes at most `timeout`.
    pub(in crate::logger) async fn unix(
        stream: UnixStream,
        tls: Option<&tls::Client>,
        timeout: Duration,
    ) -> io::Result<Self> {
        Ok(match tls {
            Some(client) => Self::UnixTls(Box::new(handshake(client, stream, timeout).await?)),
            None => Self::Unix(stream),
        })
    }

    /// True when it takes bytes before the kernel does.
    pub(in crate::logger) fn buffers(&self) -> bool {
        matches!(self, Self::TcpTls(_) | Self::UnixTls(_))
    }

    /// Ends the writing side.
    pub(in crate::logger) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream().shutdown().await
    }

    pub(in crate::logger) fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            Self::TcpTls(stream) => stream.as_mut(),
            Self::Unix(stream) => stream,
            Self::UnixTls(stream) => stream.as_mut(),
        }
    }
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

/// How long a server may take to judge a client certificate before it is believed to be content.
const VERDICT_MAX: Duration = Duration::from_millis(250);
