//! Reads lines from connections and datagrams, and hands them on in batches.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use super::CONNECTIONS;
use super::tls::Acceptor;
use crate::net::Datagram;
use crate::net::Listener;
use crate::net::Stream;
use crate::tasks::OnExit;
use crate::tasks::Tasks;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// The longest datagram.
const DATAGRAM_MAX: usize = 256 * 1024;

/// How long a socket must be silent at the end before it is closed.
const LAST_CALL: Duration = Duration::from_millis(20);

/// How often a socket is read at the end, against senders that never fall silent.
const LAST_READS: usize = 1024;

/// The pause after a failed accept or receive.
const PAUSE: Duration = Duration::from_millis(100);

/// Some lines, separated by line breaks.
#[derive(Debug)]
pub(super) struct Batch {
    /// The lines.
    pub(super) bytes: Vec<u8>,
    /// How the last of them ended.
    pub(super) ending: Ending,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it should.
    Whole,
    /// With its connection.
    Torn,
    /// At the limit; the rest was skipped.
    TooLong,
}

/// What every reader has.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// Where lines go.
    pub(super) batches: mpsc::Sender<Batch>,
    /// The readers, and when they stop.
    pub(super) tasks: Tasks,
    /// The longest line.
    pub(super) max_line: usize,
}

impl Intake {
    /// Hands lines on; false when nobody takes them any more.
    async fn give(&self, bytes: Vec<u8>, ending: Ending) -> bool {
        self.batches.send(Batch { bytes, ending }).await.is_ok()
    }
}

/// Accepts connections until the tasks are stopped.
pub(super) async fn accept(listener: Listener, acceptor: Option<Acceptor>, intake: Intake) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stopping = pin!(intake.tasks.stopping());
    let mut last = false;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut stopping, if !last => {
                last = true;
                continue;
            }
            () = tokio::time::sleep(LAST_CALL), if last => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, own) = (acceptor.clone(), intake.clone());
                intake.tasks.spawn("sink connection", OnExit::Ignore, async move {
                    serve(stream, acceptor, &own).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the sink could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: Stream, acceptor: Option<Acceptor>, intake: &Intake) {
    let Some(acceptor) = acceptor else {
        read(stream, intake).await;
        return;
    };
    match acceptor.accept(stream).await {
        Ok(stream) => read(stream, intake).await,
        Err(error) => tracing::warn!(%error, "the sink could not agree on TLS"),
    }
}

/// Reads lines until the connection ends or the tasks are stopped.
async fn read(stream: impl AsyncRead + Unpin, intake: &Intake) {
    let mut stream = stream;
    let mut lines = Lines::default();
    let mut stopping = pin!(intake.tasks.stopping());
    let mut last = 0;
    loop {
        lines.held.reserve(READ);
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut lines.held) => read,
            () = &mut stopping, if last == 0 => {
                last = 1;
                continue;
            }
            // At the end a silence closes the connection; what is unfinished then is not the sender's fault.
            () = tokio::time::sleep(LAST_CALL), if last > 0 => return,
        };
        // A peer that resets the connection, or leaves TLS without a word, has closed it too.
        if read.unwrap_or(0) == 0 {
            if !lines.held.is_empty() && !lines.skipping {
                intake.give(lines.held, Ending::Torn).await;
            }
            return;
        }
        for (bytes, ending) in lines.ready(intake.max_line).into_iter().flatten() {
            if !intake.give(bytes, ending).await {
                return;
            }
        }
        if last > 0 {
            last += 1;
            if last > LAST_READS {
                return;
            }
        }
    }
}

/// The bytes of a stream that are not handed on yet.
#[derive(Default)]
struct Lines {
    held: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// Takes out what is ready: whole lines, and the beginning of one that is too long.
    fn ready(&mut self, max: usize) -> [Option<(Vec<u8>, Ending)>; 2] {
        if self.skipping {
            let Some(end) = self.held.iter().position(|&byte| byte == b'\n') else {
                self.held.clear();
                return [None, None];
            };
            self.held.drain(..=end);
            self.skipping = false;
        }
        let whole = self.held.iter().rposition(|&byte| byte == b'\n').map(|end| {
            let rest = self.held.split_off(end + 1);
            (std::mem::replace(&mut self.held, rest), Ending::Whole)
        });
        let long = (self.held.len() > max).then(|| {
            self.skipping = true;
            self.held.truncate(max);
            (std::mem::take(&mut self.held), Ending::TooLong)
        });
        [whole, long]
    }
}

/// Receives datagrams until the tasks are stopped; each holds one line or more.
pub(super) async fn receive(socket: Datagram, intake: Intake) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut stopping = pin!(intake.tasks.stopping());
    let mut last = 0;
    while last <= LAST_READS {
        tokio::select! {
            biased;
            ready = socket.readable() => match ready.and_then(|()| drain(&socket, &mut buffer)) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    if !intake.give(bytes, Ending::Whole).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the sink could not receive");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            () = &mut stopping, if last == 0 => {}
            () = tokio::time::sleep(LAST_CALL), if last > 0 => return,
        }
        if intake.tasks.is_stopping() {
            last += 1;
        }
    }
}

/// What is there of datagrams, as lines.
fn drain(socket: &Datagram, buffer: &mut [u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        match socket.try_recv(buffer) {
            Ok(length) => {
                bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
                if bytes.last() != Some(&b'\n') {
                    bytes.push(b'\n');
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_on_whole_and_long_ones_cut() {
        let mut lines = Lines::default();
        let mut feed = |bytes: &[u8]| {
            lines.held.extend_from_slice(bytes);
            let ready = lines.ready(5).into_iter().flatten();
            ready.map(|(bytes, ending)| (String::from_utf8(bytes).unwrap(), ending)).collect::<Vec<_>>()
        };
        let line = |text: &str, ending| (text.to_owned(), ending);
        assert_eq!(feed(b"ab"), []);
        assert_eq!(feed(b"c\nde\nf"), [line("abc\nde\n", Ending::Whole)]);
        assert_eq!(feed(b"ghijklmn"), [line("fghij", Ending::TooLong)]);
        assert_eq!(feed(b"opq"), []);
        assert_eq!(feed(b"r\ns\nt"), [line("s\n", Ending::Whole)]);
    }
}
