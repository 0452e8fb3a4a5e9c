//! A stream to a log server that acknowledges: lumberjack, version 2, the protocol of Logstash's beats input.
//!
//! Records go out in windows, and the log server says by number which of them it has taken. Windows are written one
//! after the other without waiting; the shipper decides how many may be unacknowledged.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::ReadBuf;

use crate::logger::transport::socket::Socket;
use crate::wire::lumberjack::Acks;
use crate::wire::lumberjack::Windows;

/// An open stream.
#[derive(Debug)]
pub(in crate::logger) struct Beats {
    socket: Socket,
    windows: Windows,
    /// Framed windows that the kernel, or TLS, has not taken whole.
    out: Vec<u8>,
    written: usize,
    /// True while TLS may hold what it has taken.
    unflushed: bool,
    acks: Acks,
    /// Acknowledgements that were read and not handed on.
    read: VecDeque<u32>,
}

/// What happened on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logger) enum Event {
    /// All windows have left.
    Written,
    /// The log server has taken the records of the oldest window up to this number; 0: it is at work.
    Acknowledged(u32),
}

impl Beats {
    pub(in crate::logger) fn new(socket: Socket, compression: u32) -> Self {
        let level = u8::try_from(compression).unwrap_or(9);
        Self {
            socket,
            windows: Windows::new(level),
            out: Vec::new(),
            written: 0,
            unflushed: false,
            acks: Acks::default(),
            read: VecDeque::new(),
        }
    }

    /// Frames a window, to be written by [`Self::work`]. None of the records may be empty; a window without any asks
    /// the log server whether it is there.
    pub(in crate::logger) fn open_window<'r>(&mut self, records: impl IntoIterator<Item = &'r [u8]>) {
        self.windows.write(&mut self.out, records);
    }

    /// True while framed windows have not left.
    pub(in crate::logger) fn is_writing(&self) -> bool {
        self.written < self.out.len() || self.unflushed
    }

    /// Writes what is to be written and reads what the log server says, until something has happened.
    ///
    /// A dropped future loses nothing.
    pub(in crate::logger) async fn work(&mut self) -> io::Result<Event> {
        poll_fn(|context| self.poll_work(context)).await
    }

    /// Resolves when the server has closed the connection or broken it, or says something out of turn.
    pub(in crate::logger) async fn closed(&mut self) -> io::Error {
        loop {
            match self.work().await {
                Ok(Event::Written | Event::Acknowledged(0)) => {}
                Ok(Event::Acknowledged(number)) => return unasked(number),
                Err(error) => return error,
            }
        }
    }

    /// Ends the writing side.
    pub(in crate::logger) async fn shutdown(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }

    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        // Reading goes first: an answer that came before the end of the connection counts.
        if let Poll::Ready(result) = self.poll_read(context) {
            return Poll::Ready(result.map(Event::Acknowledged));
        }
        if self.is_writing() {
            return self.poll_write(context).map_ok(|()| Event::Written);
        }
        Poll::Pending
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<u32>> {
        loop {
            if let Some(number) = self.read.pop_front() {
                return Poll::Ready(Ok(number));
            }
            let mut scratch = [0; 1024];
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(self.socket.stream()).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            let mut bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            while let Some(number) = self.acks.next(&mut bytes).map_err(invalid)? {
                self.read.push_back(number);
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(self.socket.stream()).poll_write(context, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.written += written,
            }
        }
        self.out.clear();
        self.out.shrink_to(OUT_KEPT);
        self.written = 0;
        self.unflushed = self.socket.buffers();
        if self.unflushed {
            match Pin::new(self.socket.stream()).poll_flush(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => self.unflushed = false,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The error of an acknowledgement for which there is no record.
pub(in crate::logger) fn unasked(number: u32) -> io::Error {
    let text = format!("the log server acknowledged record {number} of a window that has no such record");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Memory for framed windows that is kept: a chunk with its frames.
const OUT_KEPT: usize = 128 * 1024;
