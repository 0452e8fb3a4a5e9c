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
//! whether the record was kept or not. A dropped record is the new one, or, with [`Policy::evict`], the oldest ones
//! that the shipper has not taken; it is dropped whole and counted with its cause. With a [`Policy::shed_limit`] less
//! important records meet their limit earlier ([`Rank`]). An empty record adds nothing to the stream and is not
//! counted.
//!
//! **Limits.** Queued bytes never pass `drop_limit`. Memory is that, plus 4 bytes per queued record, plus what
//! chunks leave unused: less than one record each, so a few parts in a thousand for usual records, and never more
//! than the queued bytes themselves, because two neighbours always hold more than 64 KiB.
//!
//! **Identity.** accepted = sent + dropped + queued + spooled, in records and in bytes, at every moment: all of them
//! change under the lock. The shipper takes the lock once per piece it got rid of, not once per record. Spooled is
//! what the shipper's side has put on disk: it takes no room here.
//!
//! **Loss.** What is dropped also widens a pending [`Gap`], which whoever writes records takes and turns into a
//! record as soon as there is room. A crash of the process loses what is queued.

mod account;
mod chunk;
mod outlet;
mod state;

use std::hint;
use std::mem;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
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
pub use outlet::Outcome;

use state::State;

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

/// Which records go when not all can be kept; it may change while the buffer is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Above this many queued bytes records of [`Rank::Low`] are dropped, and half way from here to `drop_limit` those
    /// of [`Rank::Normal`]. Default `None`: all ranks are equal.
    pub shed_limit: Option<usize>,
    /// The oldest records make room for new ones, as far as the shipper has not taken them. Default false.
    pub evict: bool,
}

/// How important a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Nobody misses one of many.
    Low,
    /// Most records.
    Normal,
    /// What is looked for when something is wrong.
    High,
}

/// One of several records that stand one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The offset behind its last byte.
    pub end: usize,
    /// How important it is.
    pub rank: Rank,
    /// Its number.
    pub sequence: u64,
}

/// The record was not kept; it is counted and belongs to the pending gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log record was dropped: {}", .0.name())]
pub struct Dropped(pub DropCause);

/// The buffer; see the module.
#[derive(Debug)]
pub struct Buffer {
    state: Mutex<State>,
    seal: Sender<Chunk>,
    sealed: Receiver<Chunk>,
    spare: ArrayQueue<Chunk>,
    shipper: AtomicWaker,
}

impl Buffer {
    /// An empty buffer.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let (seal, sealed) = crossbeam_channel::unbounded();
        Self {
            state: Mutex::new(State::new(limits)),
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
        self.log_ranked(record, Rank::High, None)
    }

    /// Like [`Self::log`], for a record of some rank, and with its sequence number, so that a gap can name what is
    /// missing.
    ///
    /// # Errors
    /// When the record was dropped; that is counted already.
    pub fn log_ranked(&self, record: &[u8], rank: Rank, sequence: Option<u64>) -> Result<usize, Dropped> {
        let len = record.len();
        if len == 0 {
            self.nudge();
            return Ok(0);
        }
        let mut state = self.lock();
        let (verdict, size) = self.take_in(&mut state, record, rank, sequence);
        self.leave(state, size);
        verdict.map(|()| len).map_err(Dropped)
    }

    /// Queues a record only if it fits; a refusal is no drop and is not counted.
    ///
    /// For records about losses: they must not count as losses themselves while there is no room.
    pub fn offer(&self, record: &[u8]) -> bool {
        let len = record.len();
        let mut state = self.lock();
        if len == 0 || !state.fits(len) {
            return false;
        }
        let size = state.would_queue(len);
        state.stats.accepted += Tally::one(len);
        self.keep(&mut state, record);
        self.leave(state, size);
        true
    }

    /// Queues several records, as [`Self::log_ranked`] would do it one by one, under one lock; returns how many were
    /// dropped. They stand one after the other in `bytes`.
    pub fn log_batch(&self, bytes: &[u8], records: &[Entry]) -> usize {
        let mut state = self.lock();
        let (mut start, mut largest, mut dropped) = (0, 0, 0);
        for entry in records {
            let record = bytes.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            if !record.is_empty() {
                let (verdict, size) = self.take_in(&mut state, record, entry.rank, Some(entry.sequence));
                largest = size.max(largest);
                dropped += usize::from(verdict.is_err());
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

    /// Puts another policy in force.
    pub fn set_policy(&self, policy: Policy) {
        self.lock().policy = policy;
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

    /// Counts a record and keeps or drops it; how it was judged, and how long the queue would be with it.
    fn take_in(
        &self,
        state: &mut State,
        record: &[u8],
        rank: Rank,
        sequence: Option<u64>,
    ) -> (Result<(), DropCause>, u64) {
        let len = record.len();
        state.stats.accepted += Tally::one(len);
        let verdict = state.judge(len, rank, &self.sealed);
        let size = state.would_queue(len);
        match verdict {
            Ok(()) => self.keep(state, record),
            Err(cause) => state.lose(cause, Tally::one(len), sequence),
        }
        (verdict, size)
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
}

/// Growing rounds of waiting in place for the lock: 62 pauses together, about a microsecond.
const SPIN_ROUNDS: u32 = 5;

/// Then the processor is offered to others this often before the thread goes to sleep.
const YIELDS: u32 = 4;

/// Bytes of records in one chunk. At 64 KiB a write call costs least per byte; a longer record gets its own chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Empty chunks kept for reuse: 4 MiB, enough for the swing between producers and shipper in steady state.
const SPARE_CHUNKS: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::task::Context;
    use std::task::Poll;
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
                records.push(Entry { end: bytes.len(), rank: Rank::High, sequence });
                if *length > 0 {
                    dropped += usize::from(single.log_ranked(&record, Rank::High, Some(sequence)).is_err());
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
        buffer.log_ranked(b"kept", Rank::High, Some(1)).unwrap();
        for sequence in 2..5 {
            buffer.log_ranked(b"lost", Rank::High, Some(sequence)).unwrap_err();
        }
        let gap = buffer.take_gap().unwrap();
        assert_eq!(
            (gap.first_sequence, gap.last_sequence, gap.total()),
            (Some(2), Some(4), Tally::new(3, 12))
        );
        assert_eq!(buffer.take_gap(), None);
        buffer.log_ranked(b"more", Rank::High, Some(5)).unwrap_err();
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

    fn kept_lines(buffer: &Buffer) -> String {
        String::from_utf8(release_all(buffer)).unwrap()
    }

    #[test]
    fn with_eviction_the_oldest_records_make_room_and_are_counted_whole() {
        let buffer = buffer(1, 10);
        buffer.set_policy(Policy { evict: true, shed_limit: None });
        for record in ["aa", "bbb", "cccc"] {
            buffer.log(record.as_bytes()).unwrap();
        }
        buffer.log(b"dddd").unwrap();
        assert_eq!(buffer.stats().dropped.of(DropCause::Evicted), Tally::new(2, 5));
        assert_eq!(
            buffer.log(&[b'e'; 11]),
            Err(Dropped(DropCause::Overflow)),
            "nothing could make room for it"
        );
        assert_eq!(kept_lines(&buffer), "ccccdddd");
        assert!(buffer.stats().balanced());
    }

    #[test]
    fn with_eviction_what_the_shipper_has_taken_stays() {
        let buffer = buffer(1, 10);
        buffer.set_policy(Policy { evict: true, shed_limit: None });
        buffer.log(b"aaaaaa").unwrap();
        let taken = buffer.take().unwrap();
        buffer.log(b"bbbb").unwrap();
        buffer.log(b"cccc").unwrap();
        assert_eq!(buffer.log(b"ddddd"), Err(Dropped(DropCause::Overflow)));
        assert_eq!(taken.bytes(), b"aaaaaa");
        buffer.release(Outcome::Sent, Tally::one(6));
        assert_eq!(kept_lines(&buffer), "cccc");
        assert_eq!(buffer.stats().dropped.of(DropCause::Evicted), Tally::one(4));
    }

    #[test]
    fn eviction_goes_through_sealed_chunks_in_their_order() {
        let buffer = buffer(1, 3 * CHUNK_BYTES);
        buffer.set_policy(Policy { evict: true, shed_limit: None });
        for n in 0..1000 {
            buffer.log(format!("{n:01024}").as_bytes()).unwrap();
        }
        let stats = buffer.stats();
        assert_eq!((stats.queued.records, stats.dropped.of(DropCause::Evicted).records), (192, 808));
        let kept = kept_lines(&buffer);
        let numbers: Vec<usize> =
            kept.as_bytes().chunks(1024).map(|line| str::from_utf8(line).unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (808..1000).collect::<Vec<_>>());
        assert!(buffer.stats().balanced());
    }

    #[test]
    fn less_important_records_are_shed_before_important_ones() {
        let buffer = buffer(1, 100);
        buffer.set_policy(Policy { shed_limit: Some(40), evict: false });
        let fill = |rank| std::iter::from_fn(|| buffer.log_ranked(b"0123456789", rank, None).ok()).count();
        assert_eq!((fill(Rank::Low), fill(Rank::Normal), fill(Rank::High)), (4, 3, 3));
        let dropped = buffer.stats().dropped;
        assert_eq!((dropped.of(DropCause::Shed).records, dropped.of(DropCause::Overflow).records), (2, 1));
    }

    #[test]
    fn what_is_spooled_makes_room_and_is_counted_apart() {
        let buffer = buffer(1, 10);
        buffer.adopt(Tally::new(2, 7));
        buffer.log(b"0123456789").unwrap();
        let chunk = buffer.take().unwrap();
        buffer.spooled(Tally::one(chunk.bytes().len()));
        buffer.log(b"abc").unwrap();
        assert_eq!(buffer.stats().spooled, Tally::new(3, 17));
        assert_eq!(buffer.begin_flush(), 20);
        buffer.release_spooled(Outcome::Sent, Tally::new(3, 17));
        assert_eq!((buffer.stats().sent, buffer.stats().queued), (Tally::new(3, 17), Tally::one(3)));
        assert!(buffer.stats().balanced());
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
                            buffer.log_ranked(line.as_bytes(), Rank::High, Some(n as u64)).ok();
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
