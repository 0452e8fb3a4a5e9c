//! The half of a connection that others may touch: its socket for writing, its queue, its signs of life.
//!
//! Whoever publishes a message writes it here, straight to the socket, without waking the connection's own task.
//! Only what the kernel does not take is queued; then the task is woken to go on when the socket is writable. What
//! others ask of the session ([`Order`]) waits in a mailbox for that task.

mod outbox;
mod queue;

use std::io;
use std::io::IoSlice;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::sync::Notify;

use crate::gateway::CloseReason;
use crate::gateway::budget::Budget;
use crate::gateway::form::Form;
use crate::gateway::frame::Frame;
use crate::gateway::frame::messages;
use crate::gateway::link::queue::Queue;
use crate::gateway::link::queue::lose_frames;
use crate::gateway::order::Order;
use crate::gateway::pulse::Signs;
use crate::gateway::room::publication::Card;
use crate::net::Stream;

/// How many frames one system call writes at the most.
const SLICES: usize = 64;

/// What a session waits by.
#[derive(Debug)]
struct Terms {
    form: Form,
    /// Bytes that may wait.
    limit: usize,
    budget: Arc<Budget>,
}

/// The most orders that wait for one session; more are refused.
const ORDERS_MAX: usize = 1024;

/// The most of them that bring commands, each of `limits.frame` bytes at the most.
const INPUTS_MAX: usize = 64;

/// What is told of messages that were written: their delay, and how many they are.
pub(super) type Done<'a> = &'a mut dyn FnMut(Duration, u32);

/// What became of frames that were handed to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Written, or waiting in the queue, except for so many older messages that made room.
    Accepted {
        /// The messages that were thrown away; the client is told.
        lost: usize,
    },
    /// The queue is full: the session is closed, and so many messages are lost to it.
    Overflow {
        /// The messages that waited, and those that came.
        lost: usize,
    },
    /// The session is closing.
    Closing {
        /// The messages that came too late.
        lost: usize,
    },
}

/// What connection, publishers and heartbeat share of one session.
#[derive(Debug)]
pub(super) struct Link {
    key: u64,
    terms: Terms,
    stream: Stream,
    card: OnceLock<Arc<Card>>,
    state: Mutex<State>,
    wake: Notify,
    heard_nanos: AtomicU64,
    expires_nanos: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// What must wait until the greeting is written.
    held: Option<Box<Held>>,
    closing: Option<CloseReason>,
    orders: Vec<Order>,
    /// The operations that a goim client takes from others than rooms.
    accepts: Option<Box<[i32]>>,
}

#[derive(Debug, Default)]
struct Held {
    frames: Vec<Frame>,
    bytes: usize,
}

impl Held {
    /// Takes frames in; false when they are too much.
    fn take(&mut self, frames: &[Frame], limit: usize) -> bool {
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        let fits = self.bytes + bytes <= limit;
        if fits {
            self.bytes += bytes;
            self.frames.extend_from_slice(frames);
        }
        fits
    }
}

impl Link {
    /// The link of the session `key`; at most `limit` bytes wait in its queue.
    pub(super) fn new(
        key: u64,
        form: Form,
        stream: Stream,
        limit: usize,
        budget: Arc<Budget>,
        now: Duration,
    ) -> Self {
        Self {
            key,
            terms: Terms { form, limit, budget },
            stream,
            card: OnceLock::new(),
            state: Mutex::default(),
            wake: Notify::new(),
            heard_nanos: AtomicU64::new(nanos(now)),
            expires_nanos: AtomicU64::new(u64::MAX),
        }
    }

    /// The number of the session in this process.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The form in which the client gets frames.
    pub(super) fn form(&self) -> Form {
        self.terms.form
    }

    /// Who the session is, after the login.
    pub(super) fn card(&self) -> Option<&Arc<Card>> {
        self.card.get()
    }

    /// The socket, for reading.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Resolves when the queue begins to fill, an order comes, or the session is to end.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What the connection waits for at its socket.
    pub(super) fn interest(&self) -> Interest {
        if self.is_flushed() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE }
    }

    /// Sends frames in their order; `now` is on the gateway's clock, `done` learns of each message written.
    pub(super) fn send(&self, frames: &[Frame], now: Duration, done: Done<'_>) -> Sent {
        let mut state = self.state();
        if state.closing.is_some() {
            lose_frames(frames);
            return Sent::Closing { lost: messages(frames) };
        }
        match &mut state.held {
            Some(held) => {
                if held.take(frames, self.terms.limit) {
                    return Sent::Accepted { lost: 0 };
                }
                lose_frames(frames);
                self.overflow(&mut state, messages(frames))
            }
            None => self.transmit(&mut state, frames, now, done),
        }
    }

    /// Writes what waits, as far as the socket takes it; `done` learns of each message written. Gives how many messages
    /// have expired while they waited.
    pub(super) fn flush(&self, now: Duration, done: Done<'_>) -> io::Result<usize> {
        let mut state = self.state();
        let expired = state.queue.discard(&self.terms, |origin| origin.is_expired(now));
        while !state.queue.outbox().is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = state.queue.outbox().fill(&mut slices);
            let written = match self.stream.try_write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            state.queue.advance(&self.terms, written, now, done);
        }
        Ok(expired)
    }

    /// Holds messages back until [`Self::greet`].
    pub(super) fn hold(&self) {
        self.state().held.get_or_insert_default();
    }

    /// Writes the greeting, then what was held back behind it.
    pub(super) fn greet(&self, greeting: Option<Bytes>, now: Duration, done: Done<'_>) -> Sent {
        let mut state = self.state();
        let held = state.held.take().map(|held| held.frames).unwrap_or_default();
        let frames: Vec<_> = greeting.map(Frame::control).into_iter().chain(held).collect();
        if state.closing.is_some() {
            lose_frames(&frames);
            return Sent::Closing { lost: messages(&frames) };
        }
        self.transmit(&mut state, &frames, now, done)
    }

    /// Ends the session; the first reason counts.
    pub(super) fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        self.end(&mut state, reason);
    }

    /// Ends the session because memory is short: what waits for it is thrown away at once. Gives how many messages.
    pub(super) fn shed(&self, waiting: usize) -> usize {
        let mut state = self.state();
        let lost = state.queue.clear(&self.terms);
        self.end(&mut state, CloseReason::MemoryShort { waiting });
        lost
    }

    /// Throws away what still waits at the end of the session; gives how many messages.
    pub(super) fn give_up(&self) -> usize {
        let mut state = self.state();
        let held = state.held.take().map_or(0, |held| {
            lose_frames(&held.frames);
            messages(&held.frames)
        });
        state.queue.clear(&self.terms) + state.queue.lose(held)
    }

    /// Why the session ends, once it does.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.state().closing.clone()
    }

    /// Queues a last frame behind what waits, whatever the limit.
    pub(super) fn say_goodbye(&self, frame: &Bytes) {
        let mut state = self.state();
        state.queue.push_last(&self.terms, &Frame::control(frame.clone()));
    }

    /// Asks something of the session; false when too much is asked of it already.
    pub(super) fn order(&self, order: Order) -> bool {
        let mut state = self.state();
        let inputs = || state.orders.iter().filter(|order| matches!(order, Order::Input(_))).count();
        let fits =
            state.orders.len() < ORDERS_MAX && !(matches!(order, Order::Input(_)) && inputs() >= INPUTS_MAX);
        if fits {
            state.orders.push(order);
            self.wake.notify_one();
        }
        fits
    }

    /// What was asked of the session since.
    pub(super) fn orders(&self) -> Vec<Order> {
        mem::take(&mut self.state().orders)
    }

    /// A room that had lapsed is subscribed to again.
    pub(super) fn resumes(&self, room: &str) {
        self.state().queue.resumes(room);
    }

    /// Notes whether the client is in a room without having asked for it: then it can not subscribe again by itself.
    pub(super) fn is_led_into(&self, room: &Arc<str>, led: bool) {
        self.state().queue.is_led_into(room, led);
    }

    /// Names the operations that the client takes from others than rooms.
    pub(super) fn accept(&self, operations: Box<[i32]>) {
        self.state().accepts = Some(operations);
    }

    /// True when the client takes this operation from others than rooms.
    pub(super) fn accepts(&self, operation: i32) -> bool {
        self.state().accepts.as_ref().is_none_or(|accepts| accepts.contains(&operation))
    }

    /// True when nothing waits.
    pub(super) fn is_flushed(&self) -> bool {
        self.state().queue.outbox().is_empty()
    }

    /// The bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().queue.outbox().bytes()
    }

    /// The longest delay of a message so far.
    pub(super) fn slowest(&self) -> Duration {
        self.state().queue.outbox().slowest()
    }

    /// The messages that were thrown away: when the session has given up, those that it did not get.
    pub(super) fn unsent(&self) -> usize {
        self.state().queue.lost()
    }

    /// Notes a sign of life.
    pub(super) fn heard(&self, now: Duration) {
        self.heard_nanos.store(nanos(now), Relaxed);
    }

    /// Notes who has logged in.
    pub(super) fn logged_in(&self, card: Arc<Card>) {
        // A session logs in once; a second card would be a fault of the session, and the first one counts.
        drop(self.card.set(card));
    }

    /// Notes when the session expires.
    pub(super) fn expires(&self, at: Option<Duration>) {
        self.expires_nanos.store(at.map_or(u64::MAX, nanos), Relaxed);
    }

    /// What the heartbeat needs to know.
    pub(super) fn signs(&self) -> Signs {
        let expires = self.expires_nanos.load(Relaxed);
        Signs {
            logged_in: self.card.get().is_some(),
            heard: Duration::from_nanos(self.heard_nanos.load(Relaxed)),
            expires: (expires != u64::MAX).then(|| Duration::from_nanos(expires)),
        }
    }

    /// Writes frames to the socket when nothing waits before them, and queues what it does not take.
    fn transmit(&self, state: &mut State, frames: &[Frame], now: Duration, done: Done<'_>) -> Sent {
        let mut rest = frames;
        let mut offset = 0;
        let was_empty = state.queue.outbox().is_empty();
        while was_empty && state.queue.is_direct() && offset == 0 && !rest.is_empty() {
            match self.write(rest) {
                Ok(written) => (rest, offset) = state.queue.skip(rest, written, now, done),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    lose_frames(rest);
                    self.end(state, CloseReason::PeerGone);
                    return Sent::Closing { lost: state.queue.lose(messages(rest)) };
                }
            }
        }
        let outcome = state.queue.wait(&self.terms, rest, offset);
        let lapsed = state.queue.take_lapsed();
        let orders = lapsed.len();
        state.orders.extend(lapsed.into_iter().map(|room| Order::Lapse { room }));
        if orders > 0 || (was_empty && !state.queue.outbox().is_empty()) {
            self.wake.notify_one();
        }
        match outcome {
            Ok(lost) => Sent::Accepted { lost },
            Err(coming) => self.overflow(state, coming),
        }
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

    /// The queue is full: what waits is thrown away with the messages that came, and the session ends.
    fn overflow(&self, state: &mut State, coming: usize) -> Sent {
        let held = state.held.take().map_or(0, |held| {
            lose_frames(&held.frames);
            messages(&held.frames)
        });
        let lost = state.queue.clear(&self.terms) + state.queue.lose(held + coming);
        self.end(state, CloseReason::Slow { limit: self.terms.limit });
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

impl Drop for Link {
    fn drop(&mut self) {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).queue.clear(&self.terms);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
