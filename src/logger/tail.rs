//! The replay tail: what was sent last on a stream, kept for the case that the log server died with it unread.
//!
//! A line counts as sent when the kernel took it, and a log server that dies takes with it what the two kernels and
//! its own memory held. Nobody says what that was, so the newest lines are sent again, at most `replay_tail` bytes
//! of whole records, in their order and before anything new. The receiver tells duplicates by their `event.id`.
//!
//! ```text
//! Buffer ──> parcel on its way ──all through──> kept (on this connection) ──too many, too old──> recycled
//!                  ^     │ the connection is lost    │
//!                  │     v                           v
//!                  └──── due: first thing on the next connection
//! ```
//!
//! **Which end leaves doubt.** None does that we chose: a reload of the target, a shutdown. A reset, a failed write
//! and a timeout always do. A close in good order is between the two. A kernel that holds unread bytes for a process
//! that ends says so with a reset, so a quiet close means that the process had taken everything out of its kernel;
//! but not that it had used it, and what is still under way crosses the close. So it leaves doubt, except after
//! [`SILENCE`]: who closes an idle connection has had time to use what it took, and must not get it a second time.
//!
//! **What is never sent again.** Lines that were sent longer than [`AGE_MAX`] ago, counted from the end of the
//! connection or from the moment on which it took nothing more. Lines that [`CLOSES_MAX`] connections in a row took
//! before they closed in good order: that is not a death but a habit.
//!
//! **Memory.** Chunks are kept as they are; a chunk that fits into the one before it is copied there, so that small
//! ones do not fill the memory with empty room. Two neighbours thus hold more than one chunk's 64 KiB, or lie
//! [`AGE_STEP`] apart: the tail takes at most twice `replay_tail` and half a MiB.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use std::time::Instant;

use crate::buffer::Chunk;
use crate::buffer::Tally;
use crate::logger::parcel::Parcel;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// We ended it, and nothing was wrong.
    Ours,
    /// The log server closed it in good order.
    Closed,
    /// Anything else: a reset, a failed write, a timeout.
    Broken,
}

impl Ending {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Broken,
        }
    }
}

/// What was sent last, and what is to be sent again.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The most bytes of records that may be sent again; 0 is none.
    limit: u64,
    /// True on a stream. Datagrams are not kept.
    keeps: bool,
    kept: VecDeque<Kept>,
    kept_bytes: u64,
    /// Not on any connection yet. Only the last one can hold records that were never sent.
    due: VecDeque<Parcel>,
}

/// A parcel whose records are all through on the present connection.
#[derive(Debug)]
struct Kept {
    parcel: Parcel,
    /// When its first and its last record were through, as far as is known.
    since: Instant,
    until: Instant,
}

/// Where parcels go that nobody needs any more.
type Freed<'a> = &'a mut dyn FnMut(Parcel);

impl Tail {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit as u64, ..Self::default() }
    }

    // === On a connection ===

    /// There is a new connection.
    pub(super) fn begin(&mut self, stream: bool) {
        self.keeps = stream;
    }

    /// The next parcel that is to be sent before anything new.
    pub(super) fn next(&mut self, now: Instant) -> Option<Parcel> {
        let mut parcel = self.due.pop_front()?;
        parcel.offer(now);
        Some(parcel)
    }

    /// True while there is something to send again that is on no connection.
    pub(super) fn owes(&self) -> bool {
        self.due.front().is_some_and(Parcel::repeats)
    }

    /// Takes a parcel that is done, and gives up what is too much or too old.
    pub(super) fn keep(&mut self, parcel: Parcel, now: Instant, freed: Freed<'_>) {
        if self.limit == 0 || !self.keeps {
            return freed(parcel);
        }
        let mut parcel = parcel;
        parcel.rest_in_the_tail();
        self.kept_bytes += parcel.repeatable().bytes;
        self.join(parcel, now, freed);
        self.trim(self.limit, freed);
        self.expire(now, freed);
    }

    /// Gives up what is too old.
    pub(super) fn expire(&mut self, now: Instant, freed: Freed<'_>) {
        while let Some(old) = self.kept.pop_front_if(|kept| is_old(kept, now)) {
            self.kept_bytes -= old.parcel.repeatable().bytes;
            freed(old.parcel);
        }
    }

    fn join(&mut self, parcel: Parcel, now: Instant, freed: Freed<'_>) {
        if let Some(last) = self.kept.back_mut()
            && now.saturating_duration_since(last.since) < AGE_STEP
            && last.parcel.absorb(&parcel)
        {
            last.until = now;
            freed(parcel);
        } else {
            self.kept.push_back(Kept { parcel, since: now, until: now });
        }
    }

    fn trim(&mut self, most: u64, freed: Freed<'_>) {
        while self.kept_bytes > most {
            let over = self.kept_bytes - most;
            let Some(first) = self.kept.front_mut() else { return };
            self.kept_bytes -= first.parcel.shed(over).bytes;
            if let Some(spent) = self.kept.pop_front_if(|kept| kept.parcel.is_spent()) {
                freed(spent.parcel);
            }
        }
    }

    // === Between two connections ===

    /// The connection is gone, with `current` on its way: what is in doubt becomes due, and `current` with it.
    pub(super) fn end(&mut self, current: Option<Parcel>, how: Ending, now: Instant, freed: Freed<'_>) {
        // Nothing was taken any more since the present parcel was offered, so that is when time stood still.
        let stopped = current.as_ref().map_or(now, Parcel::offered);
        let doubt = self.limit > 0 && self.keeps && self.leaves_doubt(current.as_ref(), how, stopped);
        let mut kept = std::mem::take(&mut self.kept);
        self.kept_bytes = 0;
        let parts = kept.drain(..).map(|kept| {
            let lost = doubt && !is_old(&kept, stopped);
            (kept.parcel, lost)
        });
        let mut again: VecDeque<Parcel> = VecDeque::new();
        for (mut parcel, lost) in parts.chain(current.map(|parcel| (parcel, doubt))) {
            if !lost || (how == Ending::Closed && parcel.is_begun() && parcel.note_close() > CLOSES_MAX) {
                parcel.forget_taken();
            } else {
                parcel.rewind();
            }
            again.push_back(parcel);
        }
        again.append(&mut self.due);
        self.due = again;
        self.bound_due(freed);
    }

    /// The connection is gone, and it was one that acknowledges: what was not acknowledged is due, and nothing else.
    pub(super) fn put_back(&mut self, unacknowledged: impl Iterator<Item = Parcel>, freed: Freed<'_>) {
        let mut again = VecDeque::new();
        for mut parcel in unacknowledged {
            parcel.forget_taken();
            if parcel.is_spent() { freed(parcel) } else { again.push_back(parcel) }
        }
        again.append(&mut self.due);
        self.due = again;
    }

    /// Puts another limit in force.
    pub(super) fn set_limit(&mut self, limit: usize, freed: Freed<'_>) {
        let lower = (limit as u64) < self.limit;
        self.limit = limit as u64;
        self.trim(self.limit, freed);
        if lower {
            self.bound_due(freed);
        }
    }

    /// The same records as they were logged, in their order.
    pub(super) fn due_again(&self) -> Vec<Chunk> {
        self.due.iter().filter_map(Parcel::repeatable_records).collect()
    }

    /// What is due and was sent before.
    pub(super) fn owed(&self) -> Tally {
        self.due.iter().fold(Tally::default(), |sum, parcel| sum + parcel.repeatable())
    }

    fn leaves_doubt(&self, current: Option<&Parcel>, how: Ending, stopped: Instant) -> bool {
        match how {
            Ending::Ours => false,
            Ending::Broken => true,
            Ending::Closed => {
                current.is_some_and(Parcel::is_begun)
                    || self
                        .kept
                        .back()
                        .is_some_and(|last| stopped.saturating_duration_since(last.until) < SILENCE)
            }
        }
    }

    /// Holds what is due to the limit, and frees what has become empty.
    fn bound_due(&mut self, freed: Freed<'_>) {
        let mut over = self.owed().bytes.saturating_sub(self.limit);
        for parcel in &mut self.due {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(parcel.shed(over).bytes);
            parcel.rewind();
        }
        for parcel in std::mem::take(&mut self.due) {
            if parcel.is_spent() {
                freed(parcel);
            } else {
                self.due.push_back(parcel);
            }
        }
    }
}

fn is_old(kept: &Kept, now: Instant) -> bool {
    now.saturating_duration_since(kept.until) > AGE_MAX
}

/// The longest time after which a line is sent again. A busy receiver that hangs is noticed much sooner, by `timeout`;
/// and balancers that close idle connections wait longer, so that a lone line does not come twice each time.
const AGE_MAX: Duration = Duration::from_secs(30);

/// How exactly ages are known: lines that were sent within this time may share a chunk.
const AGE_STEP: Duration = Duration::from_secs(5);

/// A close this long after the last line is the end of an idle connection: the way there and back, and the log
/// server's work on what it read, take much less.
const SILENCE: Duration = Duration::from_secs(5);

/// Closes in good order after which a line is not sent once more: a log server that takes everything and closes at
/// once, again and again, does not die each time.
const CLOSES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffer::Buffer;
    use crate::buffer::Limits;
    use crate::logger::backlog::Ticket;

    /// A tail, and a clock that the test moves.
    struct Bench {
        tail: Tail,
        now: Instant,
        freed: usize,
    }

    fn parcel(records: &[&str], now: Instant) -> Parcel {
        let buffer = Buffer::new(Limits { flush_limit: 1, drop_limit: 1 << 20, max_line: 1 << 20 });
        for record in records {
            buffer.log(record.as_bytes()).unwrap();
        }
        Parcel::new(Arc::new(buffer.take().unwrap()), Ticket::default(), now)
    }

    impl Bench {
        fn new(limit: usize) -> Self {
            let mut bench = Self { tail: Tail::new(limit), now: crate::clock::now(), freed: 0 };
            bench.tail.begin(true);
            bench
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn keep(&mut self, mut parcel: Parcel) {
            parcel.advance(usize::MAX / 2);
            parcel.settle();
            assert!(parcel.is_done());
            self.tail.keep(parcel, self.now, &mut |_| self.freed += 1);
        }

        fn send(&mut self, records: &[&str]) {
            self.keep(parcel(records, self.now));
        }

        fn end(&mut self, current: Option<Parcel>, how: Ending) {
            self.tail.end(current, how, self.now, &mut |_| self.freed += 1);
        }

        /// Sends all that is due, and says what that was.
        fn resend(&mut self) -> String {
            let mut bytes = Vec::new();
            while let Some(parcel) = self.tail.next(self.now) {
                bytes.extend_from_slice(parcel.rest());
                self.keep(parcel);
            }
            String::from_utf8(bytes).unwrap()
        }
    }

    #[test]
    fn the_newest_records_are_sent_again_whole_and_in_their_order() {
        let mut bench = Bench::new(7);
        for records in [&["a1", "a2"][..], &["b1", "b2"], &["c1"]] {
            bench.send(records);
        }
        bench.end(None, Ending::Broken);
        assert_eq!(bench.tail.owed(), Tally::new(3, 6));
        assert!(bench.tail.owes());
        assert_eq!(bench.resend(), "b1b2c1");
        assert!(!bench.tail.owes());
        bench.end(None, Ending::Broken);
        assert_eq!(bench.resend(), "b1b2c1", "the next death costs the same lines again");
    }

    #[test]
    fn what_was_cut_follows_the_tail_and_is_counted_within_it() {
        let mut bench = Bench::new(5);
        bench.send(&["a1", "a2"]);
        let mut cut = parcel(&["b1", "b2", "b3"], bench.now);
        cut.advance(3);
        cut.settle();
        bench.end(Some(cut), Ending::Broken);
        assert_eq!(bench.tail.owed(), Tally::new(2, 4));
        assert_eq!(bench.resend(), "a2b1b2b3");
    }

    #[test]
    fn a_death_during_the_replay_changes_neither_order_nor_bound() {
        let mut bench = Bench::new(100);
        for records in [&["a1", "a2"][..], &["b1", "b2"], &["c1", "c2"]] {
            bench.send(records);
            bench.pass(6);
        }
        bench.end(None, Ending::Broken);
        let first = bench.tail.next(bench.now).unwrap();
        bench.keep(first);
        let mut cut = bench.tail.next(bench.now).unwrap();
        cut.advance(3);
        cut.settle();
        bench.end(Some(cut), Ending::Broken);
        assert_eq!(bench.tail.owed(), Tally::new(6, 12));
        assert_eq!(bench.resend(), "a1a2b1b2c1c2");
    }

    #[test]
    fn an_end_of_our_own_leaves_nothing_but_what_was_due_before() {
        let mut bench = Bench::new(100);
        bench.send(&["a1"]);
        bench.end(None, Ending::Ours);
        assert_eq!((bench.resend().as_str(), bench.freed), ("", 1));
        bench.send(&["b1"]);
        bench.pass(6);
        bench.send(&["c1"]);
        bench.end(None, Ending::Broken);
        let first = bench.tail.next(bench.now).unwrap();
        bench.keep(first);
        bench.end(None, Ending::Ours);
        assert_eq!(bench.resend(), "c1");
    }

    #[test]
    fn a_close_in_good_order_leaves_doubt_only_soon_after_the_last_line() {
        for (seconds, expected) in [(4, "a1"), (5, "")] {
            let mut bench = Bench::new(100);
            bench.send(&["a1"]);
            bench.pass(seconds);
            bench.end(None, Ending::Closed);
            assert_eq!(bench.resend(), expected, "after {seconds} seconds");
        }
        let mut bench = Bench::new(100);
        bench.send(&["a1"]);
        bench.pass(20);
        let mut begun = parcel(&["b1"], bench.now);
        begun.advance(1);
        bench.end(Some(begun), Ending::Closed);
        assert_eq!(bench.resend(), "a1b1", "it was not idle");
    }

    #[test]
    fn who_takes_all_and_closes_each_time_gets_it_three_times_more() {
        let mut bench = Bench::new(100);
        bench.send(&["a1"]);
        let mut turns = 0;
        loop {
            bench.end(None, Ending::Closed);
            if bench.resend().is_empty() {
                break;
            }
            turns += 1;
        }
        assert_eq!(turns, CLOSES_MAX);
        bench.send(&["b1"]);
        for _ in 0..10 {
            bench.end(None, Ending::Broken);
            assert_eq!(bench.resend(), "b1", "a reset is always a death");
        }
    }

    #[test]
    fn old_lines_are_not_sent_again_unless_the_connection_had_stood_still_since() {
        let mut bench = Bench::new(100);
        bench.send(&["a1"]);
        bench.pass(20);
        bench.send(&["b1"]);
        bench.pass(11);
        bench.end(None, Ending::Broken);
        assert_eq!(bench.resend(), "b1");

        let mut bench = Bench::new(100);
        bench.send(&["a1"]);
        let waiting = parcel(&["b1"], bench.now);
        bench.pass(3600);
        bench.end(Some(waiting), Ending::Broken);
        bench.pass(3600);
        assert_eq!(bench.resend(), "a1b1", "nobody had read for an hour, and nobody was there for another");
    }

    #[test]
    fn lone_lines_share_chunks_and_leave_with_their_time() {
        let mut bench = Bench::new(1 << 20);
        for _ in 0..1000 {
            bench.send(&["line\n"]);
            bench.pass(1);
        }
        assert!(bench.tail.kept.len() <= 7, "{} chunks", bench.tail.kept.len());
        assert!(bench.tail.kept_bytes <= 36 * 5);
        bench.pass(AGE_MAX.as_secs() + 1);
        bench.tail.expire(bench.now, &mut |_| {});
        assert_eq!((bench.tail.kept.len(), bench.tail.kept_bytes), (0, 0));
    }

    #[test]
    fn off_and_datagrams_keep_nothing() {
        for (limit, stream) in [(0, true), (100, false)] {
            let mut bench = Bench::new(limit);
            bench.tail.begin(stream);
            bench.send(&["a1"]);
            assert_eq!(bench.freed, 1);
            let mut cut = parcel(&["b1", "b2"], bench.now);
            cut.advance(3);
            cut.settle();
            bench.end(Some(cut), Ending::Broken);
            assert!(!bench.tail.owes());
            assert_eq!(bench.resend(), "b2");
        }
    }

    #[test]
    fn a_lower_limit_counts_at_once_and_takes_nothing_that_was_never_sent() {
        let mut bench = Bench::new(100);
        bench.send(&["a1", "a2"]);
        bench.tail.set_limit(2, &mut |_| {});
        let mut cut = parcel(&["b1"], bench.now);
        cut.advance(1);
        bench.end(Some(cut), Ending::Broken);
        assert_eq!(bench.tail.owed(), Tally::one(2));
        bench.tail.set_limit(0, &mut |_| {});
        assert_eq!(bench.resend(), "b1");
    }
}
