//! A chunk on its way to the log server: which records are through, and where a new connection has to start.

use std::sync::Arc;
use std::time::Instant;

use crate::buffer::Buffer;
use crate::buffer::Chunk;
use crate::buffer::Tally;
use crate::clock;
use crate::logger::backlog::Ticket;
use crate::logger::transport::framing::Frames;
use crate::logger::transport::framing::Framing;

/// A chunk and how far it got.
///
/// A record is through when its last byte was taken, or, where the protocol says so, when it was acknowledged. What a
/// broken connection cut is sent again from the start of that record. Records before it are sent again only as far as
/// they belong to the replay tail.
#[derive(Debug)]
pub(super) struct Parcel {
    chunk: Arc<Chunk>,
    ticket: Ticket,
    /// The records as they travel, from `start` on; the bytes of the chunk where that is nothing else.
    frames: Option<Frames>,
    /// The first record that is this connection's business.
    start: usize,
    /// Travelling bytes that were taken on the present connection, counted from the start of record `start`.
    taken: usize,
    /// Records that were reported by [`Self::settle`], on the present connection.
    settled: usize,
    /// Records that were ever reported: any of them that is sent from now on is sent again.
    counted: usize,
    /// Records that were ever put into a window.
    windowed: usize,
    /// Part of what is taken but not settled: passed over, not sent.
    skipped: Tally,
    /// The same among the records that are sent again.
    skipped_again: Tally,
    /// When the present connection was first offered it.
    offered: Instant,
    /// Connections that took some of it and were then closed in good order.
    closes: u32,
}

/// What became of records since the last time it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Sent for the first time.
    pub(super) sent: Tally,
    /// Sent before, and now on another connection.
    pub(super) resent: Tally,
    /// Passed over.
    pub(super) skipped: Tally,
}

impl Parcel {
    pub(super) fn new(chunk: Arc<Chunk>, ticket: Ticket, now: Instant) -> Self {
        Self {
            chunk,
            ticket,
            frames: None,
            start: 0,
            taken: 0,
            settled: 0,
            counted: 0,
            windowed: 0,
            skipped: Tally::default(),
            skipped_again: Tally::default(),
            offered: now,
            closes: 0,
        }
    }

    /// What the backlog knows it by.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    // === On a connection ===

    /// Gives the records the form in which they travel.
    pub(super) fn frame(&mut self, framing: &Framing) {
        if self.frames.is_none() {
            self.frames = framing.frames(&self.chunk, self.start, clock::wall);
        }
    }

    /// The bytes that were not taken yet.
    pub(super) fn rest(&self) -> &[u8] {
        let (bytes, from) = match &self.frames {
            Some(frames) => (frames.bytes(), self.taken),
            None => (self.chunk.bytes(), self.chunk.offset(self.start) + self.taken),
        };
        bytes.get(from..).unwrap_or_default()
    }

    /// The next record as a unit; for datagrams, which are taken whole.
    pub(super) fn next_record(&self) -> Option<&[u8]> {
        let index = self.through();
        match &self.frames {
            Some(frames) => frames.frame(index - self.start),
            None => self.chunk.record(index),
        }
    }

    /// `bytes` more bytes were taken.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.length(self.chunk.records()));
    }

    /// The next record can not be sent: it is passed over.
    pub(super) fn skip_record(&mut self) {
        let index = self.through();
        let Some(len) = self.chunk.record(index).map(<[u8]>::len) else { return };
        self.taken = self.length(index + 1);
        let skipped = if index < self.counted { &mut self.skipped_again } else { &mut self.skipped };
        *skipped += Tally::one(len);
    }

    /// The records that are through since the last call.
    pub(super) fn settle(&mut self) -> Settled {
        let (from, to) = (self.settled, self.through());
        let known = self.counted.clamp(from, to);
        let skipped = std::mem::take(&mut self.skipped);
        let resent = self.span(from, known).without(std::mem::take(&mut self.skipped_again));
        let sent = self.span(known, to).without(skipped);
        self.settled = to;
        self.counted = self.counted.max(to);
        Settled { sent, resent, skipped }
    }

    /// True when every record is through and settled.
    pub(super) fn is_done(&self) -> bool {
        self.settled == self.chunk.records()
    }

    /// True while the next record is one that is sent again.
    pub(super) fn repeats(&self) -> bool {
        self.settled < self.counted
    }

    /// True when the present connection took some of it.
    pub(super) fn is_begun(&self) -> bool {
        self.taken > 0
    }

    pub(super) fn offered(&self) -> Instant {
        self.offered
    }

    // === In windows ===

    /// The records that are not settled.
    pub(super) fn pending(&self) -> impl Iterator<Item = &[u8]> {
        (self.settled..self.chunk.records()).map_while(|index| self.chunk.record(index))
    }

    /// How many records that is.
    pub(super) fn pending_count(&self) -> usize {
        self.chunk.records() - self.settled
    }

    /// The next `count` records, to be put into a window; and what of them was in one before.
    pub(super) fn open_window(&mut self, count: usize) -> (impl Iterator<Item = &[u8]>, Tally) {
        let (from, to) = (self.settled, (self.settled + count).min(self.chunk.records()));
        let again = self.span(from, self.windowed.clamp(from, to));
        self.windowed = self.windowed.max(to);
        (self.pending().take(count), again)
    }

    /// The next `count` records were acknowledged.
    pub(super) fn acknowledge(&mut self, count: usize) {
        self.taken = self.length((self.settled + count).min(self.chunk.records()));
    }

    // === Between two connections ===

    /// What was through on this connection or before it, and is sent again by the next one after a rewind.
    pub(super) fn repeatable(&self) -> Tally {
        self.span(self.start, self.counted)
    }

    /// The records of that; none where there are none.
    pub(super) fn repeatable_records(&self) -> Option<Chunk> {
        let from = self.chunk.offset(self.start);
        let bytes = self.chunk.bytes().get(from..self.chunk.offset(self.counted))?;
        let ends = self.chunk.ends().get(self.start..self.counted).filter(|ends| !ends.is_empty())?;
        let ends = ends.iter().map(|end| end - u32::try_from(from).unwrap_or(*end)).collect();
        Chunk::of(bytes.to_vec(), ends)
    }

    /// The connection is gone: the next one starts with the first record that is its business.
    pub(super) fn rewind(&mut self) {
        self.settled = self.start;
        self.taken = 0;
        self.frames = None;
        (self.skipped, self.skipped_again) = (Tally::default(), Tally::default());
    }

    /// What the connection took is not sent again: the next one starts with the record that was cut.
    pub(super) fn forget_taken(&mut self) {
        self.start = self.settled;
        self.closes = 0;
        self.rewind();
    }

    /// Gives up the repetition of its first records, of at least `bytes` bytes or all that are repeatable.
    pub(super) fn shed(&mut self, bytes: u64) -> Tally {
        let goal = (self.chunk.offset(self.start) as u64).saturating_add(bytes);
        let repeatable = self.chunk.ends().get(self.start..self.counted).unwrap_or_default();
        let shed = repeatable.partition_point(|end| u64::from(*end) < goal) + 1;
        let start = (self.start + shed).min(self.counted);
        let tally = self.span(self.start, start);
        self.start = start;
        tally
    }

    /// True when there is nothing in it for any connection.
    pub(super) fn is_spent(&self) -> bool {
        self.start == self.chunk.records()
    }

    /// One more connection closed in good order after it took some of this; how many that makes.
    pub(super) fn note_close(&mut self) -> u32 {
        self.closes = self.closes.saturating_add(1);
        self.closes
    }

    /// Offers it to another connection.
    pub(super) fn offer(&mut self, now: Instant) {
        self.offered = now;
    }

    /// Lets go of what only its way over the present connection needed; for a parcel that is done.
    pub(super) fn rest_in_the_tail(&mut self) {
        self.frames = None;
        self.taken = self.length(self.chunk.records());
    }

    /// Takes in another parcel whose records are all through as well, if it has the room and the same past.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        let Some(chunk) = Arc::get_mut(&mut self.chunk).filter(|_| self.closes == other.closes) else {
            return false;
        };
        chunk.absorb(&other.chunk, other.start) && {
            self.counted = self.chunk.records();
            self.settled = self.counted;
            self.rest_in_the_tail();
            true
        }
    }

    /// Gives the chunk back, to be used again.
    pub(super) fn recycle(self, buffer: &Buffer) {
        // While it is being written to disk it is shared, and goes when that is done.
        if let Some(chunk) = Arc::into_inner(self.chunk) {
            buffer.recycle(chunk);
        }
    }

    /// How many records ended within the taken bytes.
    fn through(&self) -> usize {
        let (ends, base) = match &self.frames {
            Some(frames) => (frames.ends().get(self.settled - self.start..), 0),
            None => (self.chunk.ends().get(self.settled..), self.chunk.offset(self.start)),
        };
        let later = ends.unwrap_or_default();
        self.settled + later.partition_point(|end| *end as usize <= base + self.taken)
    }

    /// Travelling bytes from record `start` to the end of the record before `index`.
    fn length(&self, index: usize) -> usize {
        match &self.frames {
            Some(frames) => frames.offset(index.saturating_sub(self.start)),
            None => self.chunk.offset(index).saturating_sub(self.chunk.offset(self.start)),
        }
    }

    fn span(&self, from: usize, to: usize) -> Tally {
        Tally::new(to - from, self.chunk.offset(to) - self.chunk.offset(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use crate::buffer::Limits;

    fn parcel(records: &[&str]) -> Parcel {
        let buffer = Buffer::new(Limits { flush_limit: 1, drop_limit: 1000, max_line: 1000 });
        for record in records {
            buffer.log(record.as_bytes()).unwrap();
        }
        Parcel::new(Arc::new(buffer.take().unwrap()), Ticket::default(), clock::now())
    }

    fn sent(records: usize, bytes: usize) -> Settled {
        Settled { sent: Tally::new(records, bytes), ..Settled::default() }
    }

    #[test]
    fn a_record_is_through_with_its_last_byte() {
        let mut parcel = parcel(&["abc", "defg", "h"]);
        parcel.advance(2);
        assert_eq!(parcel.settle(), sent(0, 0));
        parcel.advance(2);
        assert_eq!(parcel.settle(), sent(1, 3));
        assert_eq!(parcel.rest(), b"efgh");
        parcel.advance(4);
        assert_eq!(parcel.settle(), sent(2, 5));
        assert!(parcel.is_done() && parcel.pending().count() == 0);
    }

    #[test]
    fn a_cut_record_starts_again_and_those_before_it_do_not() {
        let mut parcel = parcel(&["abc", "defg", "h"]);
        parcel.advance(5);
        assert_eq!(parcel.settle(), sent(1, 3));
        parcel.forget_taken();
        assert_eq!(parcel.rest(), b"defgh");
        assert_eq!(parcel.pending().count(), 2);
        assert!(!parcel.repeats());
    }

    #[test]
    fn what_is_sent_once_more_is_counted_as_resent_up_to_where_it_was_cut() {
        let mut parcel = parcel(&["abc", "defg", "h"]);
        parcel.advance(5);
        parcel.settle();
        parcel.rewind();
        assert_eq!(parcel.rest(), b"abcdefgh");
        assert!(parcel.repeats() && !parcel.is_begun());
        parcel.advance(8);
        let resent = Tally::one(3);
        assert_eq!(parcel.settle(), Settled { resent, ..sent(2, 5) });
        assert!(parcel.is_done() && parcel.is_begun());
    }

    #[test]
    fn records_are_given_up_whole_and_from_the_front() {
        let mut parcel = parcel(&["abc", "defg", "h", "ij"]);
        parcel.advance(8);
        parcel.settle();
        assert_eq!(parcel.shed(4), Tally::new(2, 7));
        assert_eq!(parcel.repeatable(), Tally::one(1));
        parcel.rewind();
        assert_eq!(parcel.rest(), b"hij");
        assert_eq!(parcel.shed(100), Tally::one(1), "what was never through is not given up");
        parcel.rewind();
        assert_eq!(parcel.rest(), b"ij");
        assert!(!parcel.is_spent());
    }

    #[test]
    fn a_record_that_was_passed_over_is_not_sent() {
        let mut parcel = parcel(&["abc", "defg", "h"]);
        parcel.advance(3);
        parcel.skip_record();
        assert_eq!(parcel.next_record(), Some(&b"h"[..]));
        assert_eq!(
            parcel.settle(),
            Settled { sent: Tally::one(3), skipped: Tally::one(4), ..Settled::default() }
        );
        parcel.advance(1);
        assert_eq!(parcel.settle(), sent(1, 1));
        assert_eq!(parcel.next_record(), None);
    }
}
