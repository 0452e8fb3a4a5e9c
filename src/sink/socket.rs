//! A connection of the sink: it is read until it ends, is silent for too long, or the sink stops.

use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::server::TlsStream;

use super::intake::Intake;
use super::intake::LAST_CALL;
use super::intake::LAST_READS;
use super::intake::READ;
use crate::net::Stream;

/// How long an answer may take: a peer that does not read answers of six bytes has gone wrong.
const ANSWER: Duration = Duration::from_secs(5);

/// A stream with a socket below it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket.
    fn stream(&self) -> &Stream;
}

impl Socket for Stream {
    fn stream(&self) -> &Stream {
        self
    }
}

impl Socket for TlsStream<Stream> {
    fn stream(&self) -> &Stream {
        self.get_ref().0
    }
}

/// What came of listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Bytes.
    Bytes,
    /// The peer has closed.
    Closed,
    /// Nothing, for longer than a peer may be silent.
    Silence,
    /// Nothing any more, at the end.
    Stopped,
}

/// Listens to a connection, and answers.
#[derive(Debug)]
pub(super) struct Ear<S> {
    socket: S,
    last: usize,
}

impl<S: Socket> Ear<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, last: 0 }
    }

    /// Appends what comes to `bytes`.
    pub(super) async fn hear(&mut self, bytes: &mut Vec<u8>, intake: &Intake) -> Heard {
        bytes.reserve(READ);
        loop {
            let stopping = intake.tasks.is_stopping();
            let read = tokio::select! {
                biased;
                read = self.socket.read_buf(bytes) => read,
                () = intake.tasks.stopping(), if !stopping => continue,
                // At the end a silence closes the connection; what is unfinished then is not the sender's fault.
                () = tokio::time::sleep(LAST_CALL), if stopping => return Heard::Stopped,
                () = silence(intake.idle) => return Heard::Silence,
            };
            if stopping {
                self.last += 1;
                if self.last > LAST_READS {
                    return Heard::Stopped;
                }
            }
            // A peer that resets the connection, or leaves TLS without a word, has closed it too.
            return if read.unwrap_or(0) == 0 { Heard::Closed } else { Heard::Bytes };
        }
    }

    /// Answers; false when the peer does not take it.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> bool {
        let said = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        matches!(tokio::time::timeout(ANSWER, said).await, Ok(Ok(())))
    }

    /// Makes the end of the connection a reset.
    pub(super) fn reset_at_end(&self) {
        // A socket that can not be told is one that has ended already.
        self.socket.stream().reset_at_end().unwrap_or_default();
    }
}

/// Ends when a peer was silent for too long.
async fn silence(idle: Option<Duration>) {
    match idle {
        Some(idle) => tokio::time::sleep(idle).await,
        None => std::future::pending().await,
    }
}
