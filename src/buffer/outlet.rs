//! The shipper's side of the buffer: taking chunks, and saying what became of them.

use std::mem;
use std::task::Context;
use std::task::Poll;

use super::Buffer;
use super::CHUNK_BYTES;
use super::account::DropCause;
use super::account::Tally;
use super::chunk::Chunk;
use super::state::State;

/// How the shipper got rid of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel took the last byte, or the log server acknowledged it where its protocol does.
    Sent,
    /// They will not be sent.
    Dropped(DropCause),
}

impl Buffer {
    /// The oldest chunk; the one being filled when no other is left.
    ///
    /// Its records stay queued until they are released.
    #[must_use]
    pub fn take(&self) -> Option<Chunk> {
        let mut state = self.lock();
        let front = state.front.take().filter(|chunk| !chunk.is_empty());
        let oldest = front.or_else(|| self.sealed.try_recv().ok());
        let chunk = match oldest {
            Some(chunk) => chunk,
            None if state.chunk.is_empty() => return None,
            None => mem::replace(&mut state.chunk, self.spare.pop().unwrap_or_default()),
        };
        let chunk = chunk.compacted();
        state.taken += chunk.bytes().len() as u64;
        Some(chunk)
    }

    /// Counts taken records as gone.
    pub fn release(&self, outcome: Outcome, tally: Tally) {
        if tally.is_zero() {
            return;
        }
        let mut state = self.lock();
        state.leave_memory(tally);
        state.settle(outcome, tally);
    }

    /// Counts taken records as being on disk: they take no room here any more.
    pub fn spooled(&self, tally: Tally) {
        let mut state = self.lock();
        state.leave_memory(tally);
        state.stats.spooled += tally;
    }

    /// Counts records that were on disk as gone.
    pub fn release_spooled(&self, outcome: Outcome, tally: Tally) {
        let mut state = self.lock();
        state.stats.spooled = state.stats.spooled.without(tally);
        state.settle(outcome, tally);
    }

    /// Counts records that an earlier process left on disk as accepted by this one.
    pub fn adopt(&self, tally: Tally) {
        let mut state = self.lock();
        state.stats.accepted += tally;
        state.stats.spooled += tally;
    }

    /// Gives a chunk back when all its records are released.
    pub fn recycle(&self, chunk: Chunk) {
        if let Some(chunk) = chunk.emptied(2 * CHUNK_BYTES) {
            // A full store of spares frees this one.
            drop(self.spare.push(chunk));
        }
    }

    /// Starts a flush: forgets why it was due and returns the bytes it has to get rid of, in memory and on disk.
    pub fn begin_flush(&self) -> u64 {
        let mut state = self.lock();
        state.due = false;
        state.stats.queued.bytes + state.stats.spooled.bytes
    }

    /// Ready when a flush is due. One task may wait, for any of these conditions, and it may be woken without need.
    pub fn poll_due(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(context, |state| {
            let flush_limit = state.limits.flush_limit as u64;
            let due = state.due || state.stats.queued.bytes >= flush_limit;
            ((due && !state.stats.queued.is_zero()) || !state.stats.spooled.is_zero(), flush_limit)
        })
    }

    /// Ready when so much waits to be taken that nothing is gained by letting more come together.
    ///
    /// That is one full chunk, or less where the limits are so narrow that waiting could cost records.
    pub fn poll_full(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(context, |state| {
            let full = CHUNK_BYTES.min(state.limits.drop_limit / 2).max(state.limits.flush_limit) as u64;
            (state.waiting() >= full, full + state.taken)
        })
    }

    /// Ready when anything waits to be taken.
    pub fn poll_waiting(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(context, |state| (state.waiting() > 0, 1 + state.taken))
    }

    /// Ready when half of what may be queued is queued: the time to put something on disk.
    pub fn poll_pressed(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(context, |state| {
            let pressed = (state.limits.drop_limit as u64 / 2).max(1);
            (state.stats.queued.bytes >= pressed, pressed)
        })
    }

    /// Ends the intake: what comes from now on is dropped with the cause `exit`.
    pub fn shut(&self) {
        self.lock().closed = true;
    }

    /// Ends the intake and drops what was not taken, both with the cause `exit`; returns what was dropped now.
    pub fn close(&self) -> Tally {
        let mut state = self.lock();
        state.closed = true;
        let rest = mem::take(&mut state.chunk);
        let dropped = state
            .front
            .take()
            .into_iter()
            .chain(self.sealed.try_iter())
            .chain([rest])
            .map(Chunk::compacted)
            .fold(Tally::default(), |sum, chunk| sum + Tally::new(chunk.records(), chunk.bytes().len()));
        if !dropped.is_zero() {
            state.stats.queued = state.stats.queued.without(dropped);
            state.lose(DropCause::Exit, dropped, None);
        }
        dropped
    }

    /// Ready when `condition` holds; else the shipper is woken when the queue is as long as it says.
    fn poll(&self, context: &Context<'_>, condition: impl FnOnce(&State) -> (bool, u64)) -> Poll<()> {
        self.shipper.register(context.waker());
        let mut state = self.lock();
        let (met, wake_at) = condition(&state);
        if met {
            Poll::Ready(())
        } else {
            // Several conditions may be waited for at once: the first to be met counts.
            state.wake_at = Some(state.wake_at.map_or(wake_at, |level| level.min(wake_at)));
            Poll::Pending
        }
    }
}

impl State {
    /// Bytes that the shipper has not taken.
    fn waiting(&self) -> u64 {
        self.stats.queued.bytes.saturating_sub(self.taken)
    }

    /// Taken records take no room in memory any more.
    fn leave_memory(&mut self, tally: Tally) {
        self.stats.queued = self.stats.queued.without(tally);
        self.taken = self.taken.saturating_sub(tally.bytes);
        // With nothing left there is no reason left either.
        self.due &= !self.stats.queued.is_zero();
    }

    fn settle(&mut self, outcome: Outcome, tally: Tally) {
        match outcome {
            Outcome::Sent => self.stats.sent += tally,
            Outcome::Dropped(cause) => self.lose(cause, tally, None),
        }
    }
}
