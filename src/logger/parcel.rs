//! A chunk on its way to the log server: which records are through, and where a new connection has to start.

use crate::buffer::Chunk;
use crate::buffer::Tally;

/// A chunk and how far it got.
///
/// A record is through when its last byte was taken. What a broken connection cut is sent again from the start of
/// that record; records before it are not sent twice.
#[derive(Debug)]
pub(super) struct Parcel {
    chunk: Chunk,
    /// Bytes taken on the present connection, always from the start of a record on.
    taken: usize,
    /// Records and bytes that were reported by [`Self::settle`].
    settled: usize,
    settled_bytes: usize,
    /// Part of what is taken but not settled: passed over, not sent.
    skipped: Tally,
}

/// What became of records since the last time it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) sent: Tally,
    pub(super) skipped: Tally,
}

impl Parcel {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self { chunk, taken: 0, settled: 0, settled_bytes: 0, skipped: Tally::default() }
    }

    /// The bytes that were not taken yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.chunk.bytes().get(self.taken..).unwrap_or_default()
    }

    /// The next record as a unit; for datagrams, which are taken whole.
    pub(super) fn next_record(&self) -> Option<&[u8]> {
        self.chunk.record(self.through())
    }

    /// `bytes` more bytes were taken.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.taken = (self.taken + bytes).min(self.chunk.bytes().len());
    }

    /// The next record can not be sent: it is passed over.
    pub(super) fn skip_record(&mut self) {
        let Some(len) = self.next_record().map(<[u8]>::len) else { return };
        self.advance(len);
        self.skipped += Tally::one(len);
    }

    /// The records that are through since the last call.
    pub(super) fn settle(&mut self) -> Settled {
        let through = self.through();
        let end = match through.checked_sub(1).and_then(|last| self.chunk.ends().get(last)) {
            Some(end) => *end as usize,
            None => 0,
        };
        let all = Tally::new(through - self.settled, end - self.settled_bytes);
        let skipped = std::mem::take(&mut self.skipped);
        (self.settled, self.settled_bytes) = (through, end);
        Settled { sent: all.without(skipped), skipped }
    }

    /// The connection is gone: the record that was cut starts again.
    pub(super) fn rewind(&mut self) {
        self.taken = self.settled_bytes;
    }

    /// True when every record is through and settled.
    pub(super) fn is_done(&self) -> bool {
        self.settled == self.chunk.records()
    }

    /// What is not through: all records from the next one to settle.
    pub(super) fn unsettled(&self) -> Tally {
        Tally::new(self.chunk.records() - self.settled, self.chunk.bytes().len() - self.settled_bytes)
    }

    /// The chunk, to be used again.
    pub(super) fn into_chunk(self) -> Chunk {
        self.chunk
    }

    /// How many records ended within the taken bytes.
    fn through(&self) -> usize {
        let later = self.chunk.ends().get(self.settled..).unwrap_or_default();
        self.settled + later.partition_point(|end| *end as usize <= self.taken)
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
        Parcel::new(buffer.take().unwrap())
    }

    fn sent(records: usize, bytes: usize) -> Settled {
        Settled { sent: Tally::new(records, bytes), skipped: Tally::default() }
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
        assert!(parcel.is_done() && parcel.unsettled().is_zero());
    }

    #[test]
    fn a_cut_record_starts_again_and_those_before_it_do_not() {
        let mut parcel = parcel(&["abc", "defg", "h"]);
        parcel.advance(5);
        assert_eq!(parcel.settle(), sent(1, 3));
        parcel.rewind();
        assert_eq!(parcel.rest(), b"defgh");
        assert_eq!(parcel.unsettled(), Tally::new(2, 5));
    }

    #[test]
    fn a_record_that_was_passed_over_is_not_sent() {
        let mut parcel = parcel(&["abc", "defg", "h"]);
        parcel.advance(3);
        parcel.skip_record();
        assert_eq!(parcel.next_record(), Some(&b"h"[..]));
        assert_eq!(parcel.settle(), Settled { sent: Tally::one(3), skipped: Tally::one(4) });
        parcel.advance(1);
        assert_eq!(parcel.settle(), sent(1, 1));
        assert_eq!(parcel.next_record(), None);
    }
}
