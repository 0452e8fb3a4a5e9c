//! The half of a connection that others may touch: its socket for writing, its queue, its signs of life.
//!
//! Whoever publishes a message writes it here, straight to the socket, without waking the connection's own task.
//! Only what the kernel does not take is queued; then the task is woken to go on when the socket is writable.

use std::io;
use std::io::IoSlice;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::sync::Notify;

use crate::config::Dialect;
use crate::gateway::CloseReason;
use crate::gateway::outbox::Outbox;
use crate::gateway::pulse::Signs;
use crate::net::Stream;

/// How many frames one system call writes at the most.
const SLICES: usize = 64;

/// A frame on its way to clients.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The bytes, shared by all receivers.
    pub(super) bytes: Bytes,
    /// When the message in it was published, on the gateway's clock; none for what is no message.
    pub(super) published: Option<Duration>,
}

impl Frame {
    /// A frame that carries no message.
    pub(super) fn control(bytes: Bytes) -> Self {
        Self { bytes, published: None }
    }
}

/// What became of frames that were handed to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Written, or waiting in the queue.
    Accepted,
    /// The queue is full: the session is closed, and so many messages are lost to it.
    Overflow {
        /// The messages that waited, and those that came.
        lost: usize,
    },
    /// The session is closing.
    Closing,
}

/// What connection, publishers and heartbeat share of one session.
#[derive(Debug)]
pub(super) struct Link {
    key: u64,
    dialect: Dialect,
    stream: Stream,
    limit: usize,
    state: Mutex<State>,
    wake: Notify,
    logged_in: AtomicBool,
    heard_nanos: AtomicU64,
    expires_nanos: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    outbox: Outbox,
    /// What must wait until the greeting is written.
    held: Option<Held>,
    closing: Option<CloseReason>,
    /// The messages that an overflow threw away.
    lost: usize,
}

#[derive(Debug, Default)]
struct Held {
    frames: Vec<Frame>,
    bytes: usize,
}

impl Link {
    /// The link of the session `key`; at most `limit` bytes wait in its queue.
    pub(super) fn new(key: u64, dialect: Dialect, stream: Stream, limit: usize, now: Duration) -> Self {
        Self {
            key,
            dialect,
            stream,
            limit,
            state: Mutex::default(),
            wake: Notify::new(),
            logged_in: AtomicBool::new(false),
            heard_nanos: AtomicU64::new(nanos(now)),
            expires_nanos: AtomicU64::new(u64::MAX),
        }
    }

    /// The number of the session in this process.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The dialect that the client speaks.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The socket, for reading.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Resolves when the queue begins to fill, or the session is to end.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What the connection waits for at its socket.
    pub(super) fn interest(&self) -> Interest {
        if self.is_flushed() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE }
    }

    /// Sends frames in their order; `now` is on the gateway's clock, `done` gets the delay of each message written.
    pub(super) fn send(&self, frames: &[Frame], now: Duration, done: &mut dyn FnMut(Duration)) -> Sent {
        let mut state = self.state();
        if state.closing.is_some() {
            return Sent::Closing;
        }
        match &mut state.held {
            Some(held) => {
                let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
                if held.bytes + bytes > self.limit {
                    return self.overflow(&mut state, messages(frames));
                }
                held.bytes += bytes;
                held.frames.extend_from_slice(frames);
                Sent::Accepted
            }
            None => self.transmit(&mut state, frames, now, done),
        }
    }

    /// Writes what waits, as far as the socket takes it; `done` gets the delay of each message written.
    pub(super) fn flush(&self, now: Duration, done: &mut dyn FnMut(Duration)) -> io::Result<()> {
        let mut state = self.state();
        while !state.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = state.outbox.fill(&mut slices);
            let written = match self.stream.try_write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut published = Vec::new();
            state.outbox.advance(written, |at| published.push(at));
            for at in published {
                done(state.outbox.written(at, now));
            }
        }
        Ok(())
    }

    /// Holds messages back until [`Self::greet`].
    pub(super) fn hold(&self) {
        self.state().held.get_or_insert_default();
    }

    /// Writes the greeting, then what was held back behind it.
    pub(super) fn greet(
        &self,
        greeting: Option<Bytes>,
        now: Duration,
        done: &mut dyn FnMut(Duration),
    ) -> Sent {
        let mut state = self.state();
        let held = state.held.take().unwrap_or_default().frames;
        let frames: Vec<_> = greeting.map(Frame::control).into_iter().chain(held).collect();
        if state.closing.is_some() {
            return Sent::Closing;
        }
        self.transmit(&mut state, &frames, now, done)
    }

    /// Ends the session; the first reason counts.
    pub(super) fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        self.end(&mut state, reason);
    }

    /// Why the session ends, once it does.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.state().closing.clone()
    }

    /// Queues a last frame behind what waits, whatever the limit.
    pub(super) fn say_goodbye(&self, frame: &Bytes) {
        let mut state = self.state();
        state.held = None;
        let pushed = state.outbox.push(frame, 0, None, usize::MAX);
        debug_assert!(pushed.is_ok(), "the limit does not count for the goodbye");
    }

    /// True when nothing waits.
    pub(super) fn is_flushed(&self) -> bool {
        self.state().outbox.is_empty()
    }

    /// The longest delay of a message so far.
    pub(super) fn slowest(&self) -> Duration {
        self.state().outbox.slowest()
    }

    /// The messages that wait or were thrown away: when the session has ended, those that it did not get.
    pub(super) fn unsent(&self) -> usize {
        let state = self.state();
        let held = state.held.as_ref().map_or(0, |held| messages(&held.frames));
        state.lost + state.outbox.messages() + held
    }

    /// Notes a sign of life.
    pub(super) fn heard(&self, now: Duration) {
        self.heard_nanos.store(nanos(now), Relaxed);
    }

    /// Notes the login, and when it expires.
    pub(super) fn logged_in(&self, expires: Option<Duration>) {
        self.expires_nanos.store(expires.map_or(u64::MAX, nanos), Relaxed);
        self.logged_in.store(true, Relaxed);
    }

    /// What the heartbeat needs to know.
    pub(super) fn signs(&self) -> Signs {
        let expires = self.expires_nanos.load(Relaxed);
        Signs {
            logged_in: self.logged_in.load(Relaxed),
            heard: Duration::from_nanos(self.heard_nanos.load(Relaxed)),
            expires: (expires != u64::MAX).then(|| Duration::from_nanos(expires)),
        }
    }

    /// Writes frames to the socket when nothing waits before them, and queues what it does not take.
    fn transmit(
        &self,
        state: &mut State,
        frames: &[Frame],
        now: Duration,
        done: &mut dyn FnMut(Duration),
    ) -> Sent {
        let mut rest = frames;
        let mut offset = 0;
        let was_empty = state.outbox.is_empty();
        while was_empty && offset == 0 && !rest.is_empty() {
            match self.write(rest) {
                Ok(written) => (rest, offset) = state.skip(rest, written, now, done),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.end(state, CloseReason::PeerGone);
                    return Sent::Closing;
                }
            }
        }
        for (index, frame) in rest.iter().enumerate() {
            let gone = if index == 0 { offset } else { 0 };
            if state.outbox.push(&frame.bytes, gone, frame.published, self.limit).is_err() {
                return self.overflow(state, messages(rest.get(index..).unwrap_or_default()));
            }
        }
        if was_empty && !rest.is_empty() {
            self.wake.notify_one();
        }
        Sent::Accepted
    }

    fn write(&self, frames: &[Frame]) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(&frame.bytes);
            filled += 1;
        }
        self.stream.try_write_vectored(slices.get(..filled).unwrap_or_default())
    }

    /// The queue is full: what waits is thrown away with what came, and the session ends.
    fn overflow(&self, state: &mut State, coming: usize) -> Sent {
        let held = state.held.take().map_or(0, |held| messages(&held.frames));
        let lost = state.outbox.messages() + held + coming;
        state.outbox.clear();
        state.lost += lost;
        self.end(state, CloseReason::Slow { limit: self.limit });
        Sent::Overflow { lost }
    }

    fn end(&self, state: &mut State, reason: CloseReason) {
        state.closing.get_or_insert(reason);
        self.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The frames that remain after `written` bytes, and how much of the first of them is gone.
    fn skip<'a>(
        &mut self,
        frames: &'a [Frame],
        mut written: usize,
        now: Duration,
        done: &mut dyn FnMut(Duration),
    ) -> (&'a [Frame], usize) {
        let mut rest = frames;
        while let Some((first, others)) = rest.split_first() {
            if written < first.bytes.len() {
                break;
            }
            written -= first.bytes.len();
            if let Some(published) = first.published {
                done(self.outbox.written(published, now));
            }
            rest = others;
        }
        (rest, written)
    }
}

/// How many of the frames carry a message.
fn messages(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.published.is_some()).count()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
