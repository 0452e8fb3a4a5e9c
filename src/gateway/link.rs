//! The half of a connection that others may touch: its socket for writing, its queue, its signs of life.
//!
//! Whoever publishes a message writes it here, straight to the socket, without waking the connection's own task.
//! Only what the kernel does not take is queued; then the task is woken to go on when the socket is writable. What
//! others ask of the session ([`Order`]) waits in a mailbox for that task.

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

use crate::config::Slow;
use crate::gateway::CloseReason;
use crate::gateway::budget::Budget;
use crate::gateway::form::Form;
use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;
use crate::gateway::frame::messages;
use crate::gateway::order::Order;
use crate::gateway::outbox::Outbox;
use crate::gateway::publication::Card;
use crate::gateway::pulse::Signs;
use crate::net::Stream;

/// How many frames one system call writes at the most.
const SLICES: usize = 64;

/// The most orders that wait for one session; more are refused.
const ORDERS_MAX: usize = 1024;

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
    Closing,
}

/// What connection, publishers and heartbeat share of one session.
#[derive(Debug)]
pub(super) struct Link {
    key: u64,
    form: Form,
    stream: Stream,
    limit: usize,
    budget: Arc<Budget>,
    card: OnceLock<Arc<Card>>,
    state: Mutex<State>,
    wake: Notify,
    heard_nanos: AtomicU64,
    expires_nanos: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    outbox: Outbox,
    /// What must wait until the greeting is written.
    held: Option<Box<Held>>,
    closing: Option<CloseReason>,
    /// The messages that were thrown away.
    lost: usize,
    orders: Vec<Order>,
    /// Rooms whose messages are not sent until the client has subscribed again.
    lapsed: Vec<Arc<str>>,
    /// The operations that a goim client takes from others than rooms.
    accepts: Option<Box<[i32]>>,
}

#[derive(Debug, Default)]
struct Held {
    frames: Vec<Frame>,
    bytes: usize,
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
            form,
            stream,
            limit,
            budget,
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
        self.form
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
            return Sent::Closing;
        }
        match &mut state.held {
            Some(held) => {
                let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
                if held.bytes + bytes > self.limit {
                    lose_frames(frames);
                    return self.overflow(&mut state, messages(frames));
                }
                held.bytes += bytes;
                held.frames.extend_from_slice(frames);
                Sent::Accepted { lost: 0 }
            }
            None => self.transmit(&mut state, frames, now, done),
        }
    }

    /// Writes what waits, as far as the socket takes it; `done` learns of each message written.
    pub(super) fn flush(&self, now: Duration, done: Done<'_>) -> io::Result<()> {
        let mut state = self.state();
        self.discard(&mut state, |origin| origin.is_expired(now));
        while !state.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = state.outbox.fill(&mut slices);
            let written = match self.stream.try_write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut origins = Vec::new();
            self.accounted(&mut state, |state| state.outbox.advance(written, |origin| origins.push(origin)));
            for origin in origins {
                state.delivered(&origin, now, done);
            }
        }
        Ok(())
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
            return Sent::Closing;
        }
        self.transmit(&mut state, &frames, now, done)
    }

    /// Ends the session; the first reason counts.
    pub(super) fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        self.end(&mut state, reason);
    }

    /// Ends the session because memory is short: what waits for it is thrown away at once.
    pub(super) fn shed(&self, waiting: usize) {
        let mut state = self.state();
        state.lost += state.outbox.messages();
        self.accounted(&mut state, |state| state.outbox.clear(lose));
        self.end(&mut state, CloseReason::MemoryShort { waiting });
    }

    /// Why the session ends, once it does.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.state().closing.clone()
    }

    /// Queues a last frame behind what waits, whatever the limit.
    pub(super) fn say_goodbye(&self, frame: &Bytes) {
        let mut state = self.state();
        state.held = None;
        let frame = Frame::control(frame.clone());
        let pushed = self.accounted(&mut state, |state| state.outbox.push(&frame, 0, usize::MAX));
        debug_assert!(pushed.is_ok(), "the limit does not count for the goodbye");
    }

    /// Asks something of the session; false when too much is asked of it already.
    pub(super) fn order(&self, order: Order) -> bool {
        let mut state = self.state();
        let fits = state.orders.len() < ORDERS_MAX;
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
        self.state().lapsed.retain(|lapsed| **lapsed != *room);
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
        self.state().outbox.is_empty()
    }

    /// The bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().outbox.bytes()
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
        let was_empty = state.outbox.is_empty();
        while was_empty && state.lapsed.is_empty() && offset == 0 && !rest.is_empty() {
            match self.write(rest) {
                Ok(written) => (rest, offset) = state.skip(rest, written, now, done),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    lose_frames(rest);
                    self.end(state, CloseReason::PeerGone);
                    return Sent::Closing;
                }
            }
        }
        let mut lost = 0;
        for (index, frame) in rest.iter().enumerate() {
            let gone = if index == 0 { offset } else { 0 };
            match self.queue(state, frame, gone) {
                Ok(fewer) => lost += fewer,
                Err(()) => {
                    let coming = rest.get(index..).unwrap_or_default();
                    lose_frames(coming);
                    return self.overflow(state, messages(coming));
                }
            }
        }
        if was_empty && !state.outbox.is_empty() {
            self.wake.notify_one();
        }
        state.lost += lost;
        Sent::Accepted { lost }
    }

    /// Lets a frame wait, of which `gone` bytes are written; gives how many messages made room for it, or are not
    /// sent because their room has lapsed.
    fn queue(&self, state: &mut State, frame: &Frame, gone: usize) -> Result<usize, ()> {
        let Some(origin) = &frame.origin else {
            return self.accounted(state, |state| state.outbox.push(frame, gone, self.limit)).map_or(Err(()), |()| Ok(0));
        };
        if state.lapsed.contains(&origin.room) && gone == 0 {
            lose(origin);
            return Ok(origin.messages());
        }
        let mut lost = 0;
        if origin.slow == Slow::Conflate && origin.key.is_some() {
            lost += self.discard(state, |older| older.key == origin.key && older.room == origin.room);
        }
        loop {
            if self.accounted(state, |state| state.outbox.push(frame, gone, self.limit)).is_ok() {
                return Ok(lost);
            }
            match origin.slow {
                Slow::DropOldest if self.form.refills() => return Ok(lost + self.lapse(state, origin)),
                Slow::DropOldest => match self.drop_oldest(state) {
                    Some(dropped) => lost += dropped,
                    None => return Err(()),
                },
                Slow::Conflate | Slow::Disconnect => return Err(()),
            }
        }
    }

    /// The client has to subscribe to the room again, and gets then what it missed: nothing of it waits any longer.
    fn lapse(&self, state: &mut State, origin: &Arc<Origin>) -> usize {
        lose(origin);
        let lost = self.discard(state, |older| older.room == origin.room) + origin.messages();
        let notice = Frame::control(self.form.lapsed(&origin.room));
        // What was thrown away is longer than the notice; where it is not, the client learns it from the next one.
        drop(self.accounted(state, |state| state.outbox.push(&notice, 0, self.limit)));
        state.lapsed.push(Arc::clone(&origin.room));
        state.orders.push(Order::Lapse { room: Arc::clone(&origin.room) });
        self.wake.notify_one();
        lost
    }

    fn drop_oldest(&self, state: &mut State) -> Option<usize> {
        let mut lost = 0;
        let dropped = self.accounted(state, |state| {
            let droppable = |origin: &Origin| origin.slow == Slow::DropOldest;
            let notice = |room: &str, missing| self.form.gap(room, missing);
            state.outbox.drop_oldest(droppable, notice, |origin| {
                lose(origin);
                lost += origin.messages();
            })
        });
        dropped.then_some(lost)
    }

    fn discard(&self, state: &mut State, unwanted: impl Fn(&Origin) -> bool) -> usize {
        let mut lost = 0;
        self.accounted(state, |state| {
            state.outbox.discard(unwanted, |origin| {
                lose(origin);
                lost += origin.messages();
            });
        });
        lost
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
        let held = state.held.take().map_or(0, |held| {
            lose_frames(&held.frames);
            messages(&held.frames)
        });
        let lost = state.outbox.messages() + held + coming;
        self.accounted(state, |state| state.outbox.clear(lose));
        state.lost += lost;
        self.end(state, CloseReason::Slow { limit: self.limit });
        Sent::Overflow { lost }
    }

    fn end(&self, state: &mut State, reason: CloseReason) {
        state.closing.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// Changes what waits, and tells the budget.
    fn accounted<T>(&self, state: &mut State, change: impl FnOnce(&mut State) -> T) -> T {
        let before = state.outbox.bytes();
        let outcome = change(state);
        let after = state.outbox.bytes();
        if before != after {
            self.budget.waiting_changed(before, after);
        }
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.waiting_changed(state.outbox.bytes(), 0);
        state.outbox.clear(lose);
    }
}

impl State {
    /// The frames that remain after `written` bytes, and how much of the first of them is gone.
    fn skip<'a>(
        &mut self,
        frames: &'a [Frame],
        mut written: usize,
        now: Duration,
        done: Done<'_>,
    ) -> (&'a [Frame], usize) {
        let mut rest = frames;
        while let Some((first, others)) = rest.split_first() {
            if written < first.bytes.len() {
                break;
            }
            written -= first.bytes.len();
            if let Some(origin) = &first.origin {
                self.delivered(origin, now, done);
            }
            rest = others;
        }
        (rest, written)
    }

    fn delivered(&mut self, origin: &Origin, now: Duration, done: Done<'_>) {
        done(self.outbox.written(origin.at, now), origin.messages);
        if let Some(receipt) = &origin.receipt {
            receipt.written();
        }
    }
}

/// These messages will not reach the client.
fn lose(origin: &Origin) {
    if let Some(receipt) = &origin.receipt {
        receipt.lost();
    }
}

fn lose_frames(frames: &[Frame]) {
    for origin in frames.iter().filter_map(|frame| frame.origin.as_ref()) {
        lose(origin);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
