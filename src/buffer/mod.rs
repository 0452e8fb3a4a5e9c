//! The bounded buffer between everything that logs and the one shipper.
//!
//! Producers copy finished records into the current chunk under one short lock; a full chunk is sealed and goes
//! to the shipper as a whole. Nothing here waits, does I/O, reads a clock or allocates per record: chunks come
//! back from the shipper and are used again.
//!
//! ```text
//! log() ─┐                        sealed chunks                       release()
//! log() ─┼─> current chunk, lock ───────────────> take() ─> shipper ──────────> counters
//! log() ─┘         ^                                           │
//!                  └────────────── spare chunks <──────────────┘ recycle()
//! ```
//!
//! **Rules**, with `size` = bytes queued, those on their way included, and `len` = bytes of the new record:
//! a record is dropped when `size + len > drop_limit`, and a flush is due when `size + len >= flush_limit`,
//! whether the record was kept or not. A dropped record is the new one; it is dropped whole and counted with its
//! cause. An empty record adds nothing to the stream and is not counted.
//!
//! **Limits.** Queued bytes never pass `drop_limit`. Memory is that, plus 4 bytes per queued record, plus what
//! chunks leave unused: less than one record each, so a few parts in a thousand for usual records, and never more
//! than the queued bytes themselves, because two neighbours always hold more than 64 KiB.
//!
//! **Identity.** accepted = sent + dropped + queued, in records and in bytes, at every moment: all four change
//! under the lock. The shipper takes the lock once per piece it got rid of, not once per record.
//!
//! **Loss.** What is dropped also widens a pending [`Gap`], which whoever writes records takes and turns into a
//! record as soon as there is room. A crash of the process loses what is queued.

mod account;
mod chunk;

use std::hint;
use std::mem;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;

pub use account::DropCause;
pub use account::Drops;
pub use account::Gap;
pub use account::Stats;
pub use account::Tally;
pub use chunk::Chunk;

/// The bounds of a [`Buffer`]; all may change while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A flush is due when this many bytes are queued. Default 4 KiB.
    pub flush_limit: usize,
    /// At most this many bytes are queued. Default 64 MiB.
    pub drop_limit: usize,
    /// A longer record is dropped. Default 256 KiB, at most 4 GiB.
    pub max_line: usize,
}

/// The record was not kept; it is counted and belongs to the pending gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log record was dropped: {}", .0.name())]
pub struct Dropped(pub DropCause);

/// How the shipper got rid of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel took the last byte.
    Sent,
    /// They will not be sent.
    Dropped(DropCause),
}

/// The buffer; see the module.
#[derive(Debug)]
pub struct Buffer {
    state: Mutex<State>,
    seal: Sender<Chunk>,
    sealed: Receiver<Chunk>,
    spare: ArrayQueue<Chunk>,
    shipper: AtomicWaker,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    chunk: Chunk,
    stats: Stats,
    due: bool,
    /// Set while the shipper sleeps: it is woken when a record would make the queue this long.
    wake_at: Option<u64>,
    closed: bool,
    gap: Option<Gap>,
}

impl State {
    /// Whether a record of `len` bytes may enter.
    fn judge(&self, len: usize) -> Result<(), DropCause> {
        if len > self.limits.max_line || len > u32::MAX as usize {
            Err(DropCause::TooLong)
        } else if self.closed {
            Err(DropCause::Exit)
        } else if self.would_queue(len) > self.limits.drop_limit as u64 {
            Err(DropCause::Overflow)
        } else {
            Ok(())
        }
    }

    fn would_queue(&self, len: usize) -> u64 {
        self.stats.queued.bytes.saturating_add(len as u64)
    }

    fn lose(&mut self, cause: DropCause, tally: Tally, sequence: Option<u64>) {
        self.stats.dropped.add(cause, tally);
        self.gap.get_or_insert_default().widen(cause, tally, sequence);
    }
}

impl Buffer {
    /// An empty buffer.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (seal, sealed) = crossbeam_channel::unbounded();
        let state = State {
            limits,
            chunk: Chunk::default(),
            stats: Stats::default(),
            due: false,
            wake_at: None,
            closed: false,
            gap: None,
        };
        Self {
            state: Mutex::new(state),
            seal,
            sealed,
            spare: ArrayQueue::new(SPARE_CHUNKS),
            shipper: AtomicWaker::new(),
        }
    }

    // === What producers call ===

    /// Queues a record exactly as given and returns its length.
    ///
    /// # Errors
    /// When the record was dropped; that is counted already.
    pub fn log(&self, record: &[u8]) -> Result<usize, Dropped> {
        self.log_numbered(record, None)
    }

    /// Like [`Self::log`], for a record that carries a sequence number, so that a gap can name what is missing.
    ///
    /// # Errors
    /// When the record was dropped; that is counted already.
    pub fn log_numbered(&self, record: &[u8], sequence: Option<u64>) -> Result<usize, Dropped> {
        let len = record.len();
        if len == 0 {
            self.nudge();
            return Ok(0);
        }
        let mut state = self.lock();
        let (verdict, size) = (state.judge(len), state.would_queue(len));
        state.stats.accepted += Tally::one(len);
        match verdict {
            Ok(()) => self.keep(&mut state, record),
            Err(cause) => state.lose(cause, Tally::one(len), sequence),
        }
        self.leave(state, size);
        verdict.map(|()| len).map_err(Dropped)
    }

    /// Queues a record only if it fits; a refusal is no drop and is not counted.
    ///
    /// For records about losses: they must not count as losses themselves while there is no room.
    pub fn offer(&self, record: &[u8]) -> bool {
        let len = record.len();
        let mut state = self.lock();
        if len == 0 || state.judge(len).is_err() {
            return false;
        }
        let size = state.would_queue(len);
        state.stats.accepted += Tally::one(len);
        self.keep(&mut state, record);
        self.leave(state, size);
        true
    }

    /// Queues several records, as [`Self::log_numbered`] would do it one by one, under one lock; returns how many were
    /// dropped. They stand one after the other in `bytes`; of each, its end and its sequence number are given.
    pub fn log_batch(&self, bytes: &[u8], records: &[(usize, u64)]) -> usize {
        let mut state = self.lock();
        let (mut start, mut largest, mut dropped) = (0, 0, 0);
        for (end, sequence) in records {
            let record = bytes.get(start..*end).unwrap_or_default();
            start = *end;
            let len = record.len();
            if len == 0 {
                continue;
            }
            let (verdict, size) = (state.judge(len), state.would_queue(len));
            state.stats.accepted += Tally::one(len);
            largest = size.max(largest);
            match verdict {
                Ok(()) => self.keep(&mut state, record),
                Err(cause) => {
                    state.lose(cause, Tally::one(len), Some(*sequence));
                    dropped += 1;
                }
            }
        }
        self.leave(state, largest);
        dropped
    }

    /// Takes the losses that nobody was told of yet.
    #[must_use]
    pub fn take_gap(&self) -> Option<Gap> {
        self.lock().gap.take()
    }

    /// Gives back a gap that could not be told.
    pub fn restore_gap(&self, gap: &Gap) {
        self.lock().gap.get_or_insert_default().merge(gap);
    }

    // === What anybody may call ===

    /// All counters at one instant.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Puts other limits in force. What is queued stays, even above a lower drop limit.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.lock();
        state.limits = limits;
        let size = state.stats.queued.bytes;
        self.leave(state, size);
    }

    // === What the shipper calls; there is one ===

    /// The oldest chunk; the one being filled when no other is left.
    ///
    /// Its records stay queued until they are released.
    #[must_use]
    pub fn take(&self) -> Option<Chunk> {
        if let Ok(chunk) = self.sealed.try_recv() {
            return Some(chunk);
        }
        let mut state = self.lock();
        // A chunk may have been sealed between the look above and the lock.
        if let Ok(chunk) = self.sealed.try_recv() {
            return Some(chunk);
        }
        if state.chunk.is_empty() {
            return None;
        }
        Some(mem::replace(&mut state.chunk, self.spare.pop().unwrap_or_default()))
    }

    /// Counts taken records as gone.
    pub fn release(&self, outcome: Outcome, tally: Tally) {
        if tally.is_zero() {
            return;
        }
        let mut state = self.lock();
        state.stats.queued = state.stats.queued.without(tally);
        // With nothing left there is no reason left either.
        state.due &= !state.stats.queued.is_zero();
        match outcome {
            Outcome::Sent => state.stats.sent += tally,
            Outcome::Dropped(cause) => state.lose(cause, tally, None),
        }
    }

    /// Gives a chunk back when all its records are released.
    pub fn recycle(&self, chunk: Chunk) {
        if let Some(chunk) = chunk.emptied(2 * CHUNK_BYTES) {
            // A full store of spares frees this one.
            drop(self.spare.push(chunk));
        }
    }

    /// Starts a flush: forgets why it was due and returns the bytes it has to get rid of.
    pub fn begin_flush(&self) -> u64 {
        let mut state = self.lock();
        state.due = false;
        state.stats.queued.bytes
    }

    /// Ready when a flush is due. One task may wait, and it may be woken without need.
    pub fn poll_due(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(context, |state| {
            let flush_limit = state.limits.flush_limit as u64;
            (state.due || state.stats.queued.bytes >= flush_limit, flush_limit)
        })
    }

    /// Ready when so much is queued that nothing is gained by letting more come together.
    ///
    /// That is one full chunk, or less where the limits are so narrow that waiting could cost records.
    pub fn poll_full(&self, context: &Context<'_>) -> Poll<()> {
        self.poll(context, |state| {
            let full = CHUNK_BYTES.min(state.limits.drop_limit / 2).max(state.limits.flush_limit) as u64;
            (state.stats.queued.bytes >= full, full)
        })
    }

    /// Ends the intake and drops what was not taken, both with the cause `exit`; returns what was dropped now.
    pub fn close(&self) -> Tally {
        let mut state = self.lock();
        state.closed = true;
        let rest = mem::take(&mut state.chunk);
        let dropped = self
            .sealed
            .try_iter()
            .chain([rest])
            .fold(Tally::default(), |sum, chunk| sum + Tally::new(chunk.records(), chunk.bytes().len()));
        if !dropped.is_zero() {
            state.stats.queued = state.stats.queued.without(dropped);
            state.lose(DropCause::Exit, dropped, None);
        }
        dropped
    }

    // === Inside ===

    /// Takes the lock; it is free again within some 30 ns, so going to sleep for it is the last resort.
    ///
    /// A thread that sleeps makes each unlock a system call until it runs again, which under pressure more than
    /// doubles what a record costs everybody. Giving way lets a holder go on that was interrupted.
    fn lock(&self) -> MutexGuard<'_, State> {
        for round in 0..SPIN_ROUNDS + YIELDS {
            if let Ok(state) = self.state.try_lock() {
                return state;
            }
            if round < SPIN_ROUNDS {
                (0..2_u32 << round).for_each(|_| hint::spin_loop());
            } else {
                thread::yield_now();
            }
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, state: &mut State, record: &[u8]) {
        if !state.chunk.fits(record.len()) {
            self.seal(state, record.len());
        }
        state.chunk.push(record);
        state.stats.queued += Tally::one(record.len());
    }

    /// Sends the full chunk on its way and puts an empty one, with room for `len` bytes, in its place.
    fn seal(&self, state: &mut State, len: usize) {
        let spare = if len > CHUNK_BYTES { None } else { self.spare.pop() };
        let empty = spare.unwrap_or_else(|| Chunk::with_capacity(len.max(CHUNK_BYTES)));
        let full = mem::replace(&mut state.chunk, empty);
        if !full.is_empty() {
            self.seal.send(full).expect("the buffer itself holds the receiving end");
        }
    }

    /// Leaves the lock after a record that would make the queue `size` bytes long, and wakes the shipper if it
    /// sleeps and waits for that.
    fn leave(&self, mut state: MutexGuard<'_, State>, size: u64) {
        state.due |= size >= state.limits.flush_limit as u64;
        let wake = state.wake_at.take_if(|level| size >= *level).is_some();
        drop(state);
        if wake {
            self.shipper.wake();
        }
    }

    /// The part of an empty record that is left: it can make a flush due, and nothing else.
    fn nudge(&self) {
        let state = self.lock();
        let size = state.stats.queued.bytes;
        self.leave(state, size);
    }

    fn poll(&self, context: &Context<'_>, condition: impl FnOnce(&State) -> (bool, u64)) -> Poll<()> {
        self.shipper.register(context.waker());
        let mut state = self.lock();
        let (met, wake_at) = condition(&state);
        if met && !state.stats.queued.is_zero() {
            Poll::Ready(())
        } else {
            state.wake_at = Some(wake_at);
            Poll::Pending
        }
    }
}

/// Growing rounds of waiting in place for the lock: 62 pauses together, about a microsecond.
const SPIN_ROUNDS: u32 = 5;

/// Then the processor is offered to others this often before the thread goes to sleep.
const YIELDS: u32 = 4;

/// Bytes of records in one chunk. At 64 KiB a write call costs least per byte; a longer record gets its own chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Empty chunks kept for reuse: 1 MiB, enough for the swing between producers and shipper in steady state.
const SPARE_CHUNKS: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::task::Wake;
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    fn buffer(flush_limit: usize, drop_limit: usize) -> Buffer {
        Buffer::new(Limits { flush_limit, drop_limit, max_line: 256 * 1024 })
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn release_all(buffer: &Buffer) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(chunk) = buffer.take() {
            bytes.extend_from_slice(chunk.bytes());
            buffer.release(Outcome::Sent, Tally::new(chunk.records(), chunk.bytes().len()));
            buffer.recycle(chunk);
        }
        bytes
    }

    #[test]
    fn a_record_of_exactly_the_drop_limit_is_kept_and_one_more_byte_is_not() {
        let buffer = buffer(10, 100);
        assert_eq!(buffer.log(&[b'x'; 101]), Err(Dropped(DropCause::Overflow)));
        assert_eq!(buffer.log(&[b'x'; 100]), Ok(100));
        assert_eq!(buffer.log(b"y"), Err(Dropped(DropCause::Overflow)));
        assert_eq!(release_all(&buffer), [b'x'; 100]);
        assert_eq!(buffer.stats().dropped.of(DropCause::Overflow), Tally::new(2, 102));
    }

    #[test]
    fn what_is_on_its_way_still_counts_as_queued() {
        let buffer = buffer(10, 20);
        assert_eq!(buffer.log(b"0123456789"), Ok(10));
        let chunk = buffer.take().unwrap();
        assert_eq!(buffer.log(b"0123456789a"), Err(Dropped(DropCause::Overflow)));
        assert_eq!(buffer.stats().queued, Tally::one(10));
        buffer.release(Outcome::Sent, Tally::one(chunk.bytes().len()));
        assert_eq!(buffer.log(b"0123456789a"), Ok(11));
    }

    #[test]
    fn a_record_over_the_longest_line_is_dropped_for_that() {
        let buffer = Buffer::new(Limits { flush_limit: 1, drop_limit: 100, max_line: 5 });
        assert_eq!(buffer.log(b"123456"), Err(Dropped(DropCause::TooLong)));
        assert_eq!(buffer.log(b"12345"), Ok(5));
    }

    proptest! {
        #[test]
        fn a_batch_is_what_its_records_are_one_by_one(
            lengths in proptest::collection::vec(0_usize..60, 0..40),
            flush_limit in 0_usize..600,
            drop_limit in 1_usize..900,
        ) {
            let limits = Limits { flush_limit, drop_limit, max_line: 55 };
            let (batch, single) = (Buffer::new(limits), Buffer::new(limits));
            let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
            let wakers = woken.clone().map(Waker::from);
            for (buffer, waker) in [&batch, &single].into_iter().zip(&wakers) {
                prop_assert_eq!(buffer.poll_due(&Context::from_waker(waker)), Poll::Pending);
            }
            let (mut bytes, mut records, mut dropped) = (Vec::new(), Vec::new(), 0);
            for (sequence, length) in (7..).zip(&lengths) {
                let record = vec![b'x'; *length];
                bytes.extend_from_slice(&record);
                records.push((bytes.len(), sequence));
                if *length > 0 {
                    dropped += usize::from(single.log_numbered(&record, Some(sequence)).is_err());
                }
            }
            prop_assert_eq!(batch.log_batch(&bytes, &records), dropped);
            prop_assert_eq!(batch.stats(), single.stats());
            prop_assert_eq!(batch.take_gap(), single.take_gap());
            let [woken_batch, woken_single] = woken.map(|woken| woken.0.load(Ordering::SeqCst));
            prop_assert_eq!(woken_batch, woken_single);
            let ends = |buffer: &Buffer| buffer.take().map(|chunk| (chunk.bytes().to_vec(), chunk.ends().to_vec()));
            prop_assert_eq!(ends(&batch), ends(&single));
        }
    }

    #[test]
    fn an_empty_record_adds_nothing() {
        let buffer = buffer(0, 100);
        assert_eq!(buffer.log(b""), Ok(0));
        assert!(buffer.take().is_none());
        assert_eq!(buffer.stats(), Stats::default());
    }

    #[test]
    fn a_record_longer_than_a_chunk_travels_alone_and_in_order() {
        let long = vec![b'l'; CHUNK_BYTES + 1];
        let buffer = buffer(1, 10 * CHUNK_BYTES);
        for record in [&b"before"[..], &long, b"after"] {
            buffer.log(record).unwrap();
        }
        let sizes: Vec<_> = std::iter::from_fn(|| buffer.take()).map(|chunk| chunk.bytes().len()).collect();
        assert_eq!(sizes, [6, CHUNK_BYTES + 1, 5]);
    }

    #[test]
    fn the_shipper_is_woken_once_and_only_with_a_reason() {
        let buffer = buffer(10, 100);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        assert_eq!(buffer.poll_due(&context), Poll::Pending);
        buffer.log(b"123456789").unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "below the flush limit");
        buffer.log(b"0").unwrap();
        buffer.log(b"1").unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "it was awake already at the second one");
        assert_eq!(buffer.poll_due(&context), Poll::Ready(()));
    }

    #[test]
    fn a_shipper_that_lets_records_gather_is_woken_by_a_full_chunk_or_narrow_limits() {
        for (flush_limit, drop_limit, full) in [(10, 1 << 20, CHUNK_BYTES), (10, 100, 50), (80, 100, 80)] {
            let buffer = buffer(flush_limit, drop_limit);
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            buffer.log(b"x").unwrap();
            assert_eq!(buffer.poll_full(&Context::from_waker(&waker)), Poll::Pending);
            buffer.log(&vec![b'x'; full - 2]).unwrap();
            assert_eq!(woken.0.load(Ordering::SeqCst), 0);
            buffer.log(b"x").unwrap();
            assert_eq!(woken.0.load(Ordering::SeqCst), 1);
            assert_eq!(buffer.poll_full(&Context::from_waker(&waker)), Poll::Ready(()));
        }
    }

    #[test]
    fn a_record_that_came_during_a_flush_makes_the_next_one_due() {
        let buffer = buffer(10, 100);
        let context = Context::from_waker(Waker::noop());
        buffer.log(b"0123456789").unwrap();
        assert_eq!(buffer.begin_flush(), 10);
        let chunk = buffer.take().unwrap();
        buffer.log(b"late").unwrap();
        buffer.release(Outcome::Sent, Tally::one(chunk.bytes().len()));
        assert_eq!(buffer.poll_due(&context), Poll::Ready(()));
        assert_eq!(buffer.poll_full(&context), Poll::Pending);
        assert_eq!(buffer.begin_flush(), 4);
        assert_eq!(release_all(&buffer), b"late");
        assert_eq!(buffer.poll_due(&context), Poll::Pending);
    }

    #[test]
    fn a_gap_is_taken_once_and_grows_when_given_back() {
        let buffer = buffer(1, 4);
        assert_eq!(buffer.take_gap(), None);
        buffer.log_numbered(b"kept", Some(1)).unwrap();
        for sequence in 2..5 {
            buffer.log_numbered(b"lost", Some(sequence)).unwrap_err();
        }
        let gap = buffer.take_gap().unwrap();
        assert_eq!(
            (gap.first_sequence, gap.last_sequence, gap.total()),
            (Some(2), Some(4), Tally::new(3, 12))
        );
        assert_eq!(buffer.take_gap(), None);
        buffer.log_numbered(b"more", Some(5)).unwrap_err();
        buffer.restore_gap(&gap);
        let gap = buffer.take_gap().unwrap();
        assert_eq!(
            (gap.first_sequence, gap.last_sequence, gap.total()),
            (Some(2), Some(5), Tally::new(4, 16))
        );
    }

    #[test]
    fn an_offer_that_is_refused_is_no_drop() {
        let buffer = buffer(1, 4);
        buffer.log(b"kept").unwrap();
        assert!(!buffer.offer(b"x"));
        assert!(buffer.stats().dropped.total().is_zero());
        release_all(&buffer);
        assert!(buffer.offer(b"x"));
        assert_eq!(buffer.stats().accepted, Tally::new(2, 5));
    }

    #[test]
    fn after_the_close_everything_is_dropped_for_the_exit() {
        let buffer = buffer(1, 1000);
        buffer.log(b"one").unwrap();
        buffer.log(b"two").unwrap();
        assert_eq!(buffer.close(), Tally::new(2, 6));
        assert_eq!(buffer.log(b"three"), Err(Dropped(DropCause::Exit)));
        assert_eq!(buffer.stats().dropped.of(DropCause::Exit), Tally::new(3, 11));
        assert!(buffer.stats().balanced());
        assert!(buffer.take().is_none());
    }

    #[test]
    fn lower_limits_keep_what_is_queued() {
        let buffer = buffer(50, 100);
        buffer.log(&[b'x'; 40]).unwrap();
        buffer.set_limits(Limits { flush_limit: 5, drop_limit: 10, max_line: 100 });
        assert_eq!(buffer.poll_due(&Context::from_waker(Waker::noop())), Poll::Ready(()));
        assert_eq!(buffer.log(b"y"), Err(Dropped(DropCause::Overflow)));
        assert_eq!(release_all(&buffer).len(), 40);
    }

    /// What a caller can do, for the comparison with a model that knows only the rules.
    #[derive(Clone, Debug)]
    enum Step {
        Log(usize),
        Take,
        ReleaseSent,
        ReleaseDropped,
        Limits { flush: usize, drop: usize, line: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => prop_oneof![0..40_usize, 30_000..70_000_usize].prop_map(Step::Log),
            2 => Just(Step::Take),
            2 => Just(Step::ReleaseSent),
            1 => Just(Step::ReleaseDropped),
            1 => (0..100_usize, 100..200_000_usize, 20..70_000_usize)
                .prop_map(|(flush, drop, line)| Step::Limits { flush, drop, line }),
        ]
    }

    proptest! {
        #[test]
        fn decides_and_counts_as_the_rules_say(steps in proptest::collection::vec(step(), 1..200)) {
            let (mut flush, mut drop, mut line) = (10, 150_000, 65_536);
            let buffer = Buffer::new(Limits { flush_limit: flush, drop_limit: drop, max_line: line });
            let context = Context::from_waker(Waker::noop());
            let mut queued: VecDeque<(u8, usize)> = VecDeque::new();
            let (mut taken, mut model) = (VecDeque::new(), Stats::default());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Log(len) => {
                        let size = model.queued.bytes as usize;
                        let expected = if len == 0 { Ok(0) }
                            else if len > line { Err(Dropped(DropCause::TooLong)) }
                            else if size + len > drop { Err(Dropped(DropCause::Overflow)) }
                            else { Ok(len) };
                        prop_assert_eq!(buffer.log(&vec![n as u8; len]), expected);
                        if len > 0 { model.accepted += Tally::one(len); }
                        match expected {
                            Err(Dropped(cause)) => model.dropped.add(cause, Tally::one(len)),
                            Ok(0) => {}
                            Ok(_) => { model.queued += Tally::one(len); queued.push_back((n as u8, len)); }
                        }
                        let due = size + len >= flush && model.queued.bytes > 0;
                        prop_assert!(!due || buffer.poll_due(&context).is_ready());
                    }
                    Step::Take => taken.extend(buffer.take()),
                    Step::ReleaseSent | Step::ReleaseDropped => {
                        let Some(chunk) = taken.pop_front() else { continue };
                        for index in 0..chunk.records() {
                            let record = chunk.record(index).unwrap();
                            let (byte, len) = queued.pop_front().unwrap();
                            prop_assert_eq!(record.len(), len);
                            prop_assert!(record.iter().all(|b| *b == byte));
                        }
                        let tally = Tally::new(chunk.records(), chunk.bytes().len());
                        model.queued = model.queued.without(tally);
                        if matches!(step, Step::ReleaseSent) {
                            model.sent += tally;
                            buffer.release(Outcome::Sent, tally);
                        } else {
                            model.dropped.add(DropCause::Datagram, tally);
                            buffer.release(Outcome::Dropped(DropCause::Datagram), tally);
                        }
                        buffer.recycle(chunk);
                    }
                    Step::Limits { flush: f, drop: d, line: l } => {
                        (flush, drop, line) = (f, d, l);
                        buffer.set_limits(Limits { flush_limit: f, drop_limit: d, max_line: l });
                    }
                }
                prop_assert_eq!(buffer.stats(), model);
                prop_assert!(buffer.stats().balanced());
            }
        }
    }

    /// Producers on threads against a shipper on another, while a fourth party watches the identity.
    fn stress(drop_limit: usize, producers: usize, records: usize) -> (Stats, Vec<u8>) {
        let buffer = buffer(4096, drop_limit);
        let finished = AtomicBool::new(false);
        let received = thread::scope(|scope| {
            let shipper = scope.spawn(|| {
                let mut bytes = Vec::new();
                loop {
                    let last = finished.load(Ordering::SeqCst);
                    bytes.extend(release_all(&buffer));
                    if last {
                        return bytes;
                    }
                    thread::yield_now();
                }
            });
            scope.spawn(|| {
                while !finished.load(Ordering::SeqCst) {
                    let stats = buffer.stats();
                    assert!(stats.balanced(), "{stats:?}");
                    assert!(stats.queued.bytes <= drop_limit as u64);
                }
            });
            let writers: Vec<_> = (0..producers)
                .map(|producer| {
                    let buffer = &buffer;
                    scope.spawn(move || {
                        for n in 0..records {
                            // A drop is expected where the limit is low.
                            let line = format!("{producer} {n} {}\n", "x".repeat(n % 200));
                            buffer.log_numbered(line.as_bytes(), Some(n as u64)).ok();
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            finished.store(true, Ordering::SeqCst);
            shipper.join().unwrap()
        });
        (buffer.stats(), received)
    }

    fn check_order(received: &[u8], producers: usize) -> u64 {
        let mut last = vec![None; producers];
        let mut lines = 0;
        for line in std::str::from_utf8(received).unwrap().lines() {
            let mut words = line.split(' ');
            let producer: usize = words.next().unwrap().parse().unwrap();
            let n: usize = words.next().unwrap().parse().unwrap();
            assert_eq!(words.next().unwrap().len(), n % 200, "a record is whole");
            assert!(last[producer] < Some(n), "the order of one producer is kept");
            last[producer] = Some(n);
            lines += 1;
        }
        lines
    }

    #[test]
    fn nothing_is_lost_or_reordered_while_no_limit_is_hit() {
        let (stats, received) = stress(usize::MAX, 8, 5000);
        assert_eq!(check_order(&received, 8), 40_000);
        assert_eq!((stats.accepted.records, stats.sent.records), (40_000, 40_000));
        assert_eq!(stats.sent.bytes, received.len() as u64);
    }

    #[test]
    fn what_overflows_is_counted_and_the_rest_is_whole_and_in_order() {
        let (stats, received) = stress(8 * 1024, 8, 5000);
        assert_eq!(check_order(&received, 8), stats.sent.records);
        assert_eq!(stats.accepted.records, 40_000);
        assert!(stats.balanced() && stats.queued.is_zero());
    }
}
