//! What waits for the log server, in its order: in the shipper's hands, on disk, in memory.
//!
//! ```text
//! Buffer ──> live: taken, or waiting in memory ──> shipper ──settled──> forgotten
//!              │ spill: too old, too many            ^
//!              v                                     │
//!            journal ──────── disk, urgent ──────────┘
//! ```
//!
//! Without a spool this only remembers what the shipper has taken. With one, whatever was not delivered in time is
//! copied to disk, the oldest first, what the shipper holds included; what it does not hold leaves memory. So the
//! order is always: what is taken, what is on disk, what is in memory. What is settled is acknowledged on disk.
//!
//! **When the disk errs or is full**, records stay in memory, the buffer's limits count, and that is told. A frame
//! that turns out rotten is dropped with the cause `rotten`.
//!
//! **Stop.** What could not be sent by then is put on disk for the next process, also where nothing goes to disk
//! otherwise. Without a place for it, or when the disk does not take it, it is dropped with the cause `exit`.

mod ages;
mod keeper;
pub(super) mod spool;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::buffer::Buffer;
use crate::buffer::Chunk;
use crate::buffer::DropCause;
use crate::buffer::Outcome;
use crate::buffer::Tally;
use crate::clock;
use crate::config;
use crate::config::Overflow;
use crate::journal;
use crate::journal::Position;
use crate::logger::backlog::ages::Ages;
use crate::logger::backlog::spool::Spool;

/// What the backlog knows a taken chunk by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The line of chunks; see the module.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) buffer: Arc<Buffer>,
    /// What the process began with: it says where the spool is, or would be.
    pub(super) config: config::Logger,
    spool: OnceLock<Spool>,
    /// When the process began.
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Taken by the shipper, or in memory because they could not go to disk; in their order.
    pub(super) live: VecDeque<Item>,
    /// On disk and not taken, the oldest first.
    pub(super) disk: VecDeque<Stored>,
    /// On disk, not taken, and to be sent before all others, the newest last.
    pub(super) urgent: Vec<Stored>,
    /// Payload bytes of the frames among them that an earlier process left.
    pub(super) inherited: u64,
    pub(super) ages: Ages,
    pub(super) ages_in_memory: Ages,
    last: u64,
}

/// A chunk in memory or in the shipper's hands.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) ticket: Ticket,
    /// Until it is on disk.
    pub(super) chunk: Option<Arc<Chunk>>,
    pub(super) position: Option<Position>,
    /// What is not settled of it.
    pub(super) left: Tally,
    pub(super) taken: bool,
}

/// A frame on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) position: Position,
    /// Bytes of its payload.
    pub(super) length: u32,
    /// True when it is to be sent before all others.
    pub(super) urgent: bool,
    /// What is in it; unknown for what an earlier process left, until it is read.
    pub(super) tally: Option<(u32, u32)>,
}

impl State {
    /// A new item at the end of the line.
    pub(super) fn add(&mut self, chunk: Arc<Chunk>, taken: bool) -> Ticket {
        let left = Tally::new(chunk.records(), chunk.bytes().len());
        self.admit(Item { ticket: Ticket::default(), chunk: Some(chunk), position: None, left, taken })
    }

    fn admit(&mut self, item: Item) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.live.push_back(Item { ticket, ..item });
        ticket
    }

    /// A frame is on disk.
    pub(super) fn shelve(&mut self, stored: Stored) {
        if stored.urgent {
            self.urgent.push(stored);
        } else {
            self.disk.push_back(stored);
        }
    }

    /// The place of an item, if it is not settled.
    pub(super) fn find(&self, ticket: Ticket) -> Option<usize> {
        self.live.binary_search_by_key(&ticket, |item| item.ticket).ok()
    }
}

/// What is next: in memory already, or to be read.
enum Next {
    Memory(Arc<Chunk>, Ticket),
    Disk(Stored),
}

impl Backlog {
    /// A backlog that begins with what an earlier process left on disk.
    ///
    /// # Errors
    /// When the spool is wanted and can not be used.
    pub(super) fn new(buffer: Arc<Buffer>, config: config::Logger) -> Result<Self, journal::Error> {
        let (spool, inherited) = Spool::open(&config, config.overflow == Overflow::Spool)?.unzip();
        let mut state = State::default();
        for stored in inherited.into_iter().flatten() {
            state.inherited += u64::from(stored.length);
            state.shelve(stored);
        }
        let spool = spool.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self { buffer, config, spool, begun: clock::now(), state: Mutex::new(state) })
    }

    /// The spool, where there is one.
    pub(super) fn spool(&self) -> Option<&Spool> {
        self.spool.get()
    }

    /// The spool; made for the end of the process where there was none.
    pub(super) fn spool_for_the_end(&self) -> Result<Option<&Spool>, journal::Error> {
        if self.spool.get().is_none()
            && let Some((spool, _)) = Spool::open(&self.config, true)?
        {
            return Ok(Some(self.spool.get_or_init(|| spool)));
        }
        Ok(self.spool.get())
    }

    /// Starts a flush: at least the bytes that it has to get rid of.
    pub(super) fn begin_flush(&self) -> u64 {
        self.buffer.begin_flush() + self.lock().inherited
    }

    /// True while frames of an earlier process wait.
    pub(super) fn inherits(&self) -> bool {
        self.lock().inherited > 0
    }

    /// True with nothing to send, in memory or on disk.
    pub(super) fn is_empty(&self) -> bool {
        let stats = self.buffer.stats();
        stats.queued.is_zero() && stats.spooled.is_zero() && !self.inherits()
    }

    /// The age of the oldest record that is not delivered.
    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        let stats = self.buffer.stats();
        let mut state = self.lock();
        // What an earlier process left is as old as this one at least.
        let inherited = (state.inherited > 0).then(|| now.saturating_duration_since(self.begun));
        state.ages.oldest(&stats, now).max(inherited)
    }

    /// Takes the next chunk.
    ///
    /// A dropped future may have taken a frame from disk: it stays there, and comes again in the next process.
    pub(super) async fn next(&self) -> Option<(Arc<Chunk>, Ticket)> {
        loop {
            match self.pick()? {
                Next::Memory(chunk, ticket) => return Some((chunk, ticket)),
                Next::Disk(stored) => {
                    let spool = self.spool()?;
                    match spool.load(stored.position).await {
                        Some(chunk) => return Some(self.take_up(stored, chunk)),
                        None => self.lose(stored),
                    }
                }
            }
        }
    }

    /// Counts records of a taken chunk as gone.
    pub(super) fn release(&self, ticket: Ticket, outcome: Outcome, tally: Tally) {
        if tally.is_zero() {
            return;
        }
        let mut state = self.lock();
        let Some(index) = state.find(ticket) else { return };
        let Some(item) = state.live.get_mut(index) else { return };
        item.left = item.left.without(tally);
        let position = item.position;
        let gone = item.left.is_zero();
        if gone {
            state.live.remove(index);
        }
        match position {
            Some(_) => self.buffer.release_spooled(outcome, tally),
            None => self.buffer.release(outcome, tally),
        }
        drop(state);
        if let (true, Some(position), Some(spool)) = (gone, position, self.spool()) {
            spool.acknowledge(position);
        }
    }

    /// Gives up what is in memory alone; returns what that is.
    pub(super) fn abandon(&self) -> Tally {
        let mut state = self.lock();
        let lost = state
            .live
            .drain(..)
            .filter(|item| item.position.is_none())
            .fold(Tally::default(), |sum, item| sum + item.left);
        self.buffer.release(Outcome::Dropped(DropCause::Exit), lost);
        lost
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under one lock, so that nothing can pass what is on its way to disk.
    fn pick(&self) -> Option<Next> {
        let mut state = self.lock();
        if let Some(stored) = state.urgent.pop().or_else(|| state.disk.pop_front()) {
            return Some(Next::Disk(stored));
        }
        if let Some(item) = state.live.iter_mut().find(|item| !item.taken)
            && let Some(chunk) = &item.chunk
        {
            item.taken = true;
            return Some(Next::Memory(Arc::clone(chunk), item.ticket));
        }
        let chunk = Arc::new(self.buffer.take()?);
        let ticket = state.add(Arc::clone(&chunk), true);
        Some(Next::Memory(chunk, ticket))
    }

    /// A frame was read: from now on it is in the shipper's hands.
    fn take_up(&self, stored: Stored, chunk: Chunk) -> (Arc<Chunk>, Ticket) {
        let left = Tally::new(chunk.records(), chunk.bytes().len());
        let mut state = self.lock();
        if stored.tally.is_none() {
            state.inherited = state.inherited.saturating_sub(u64::from(stored.length));
            self.buffer.adopt(left);
        }
        let position = Some(stored.position);
        let item = Item { ticket: Ticket::default(), chunk: None, position, left, taken: true };
        let ticket = state.admit(item);
        (Arc::new(chunk), ticket)
    }

    /// A frame can not be read: what was in it is lost, as far as that is known.
    fn lose(&self, stored: Stored) {
        let mut state = self.lock();
        match stored.tally {
            Some((records, bytes)) => {
                let tally = Tally::new(records as usize, bytes as usize);
                self.buffer.release_spooled(Outcome::Dropped(DropCause::Rotten), tally);
            }
            None => {
                // How many records that were is not known: at least one.
                state.inherited = state.inherited.saturating_sub(u64::from(stored.length));
                let tally = Tally::new(1, stored.length as usize);
                self.buffer.adopt(tally);
                self.buffer.release_spooled(Outcome::Dropped(DropCause::Rotten), tally);
            }
        }
        drop(state);
        if let Some(spool) = self.spool() {
            spool.acknowledge(stored.position);
        }
    }
}
