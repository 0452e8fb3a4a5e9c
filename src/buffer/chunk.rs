//! A run of whole records that travels from the producers to the shipper as one piece.

/// Whole records, one after the other, with nothing between them.
///
/// The end of each record is known, so that a record can be resent, dropped, counted and sent as a datagram as a
/// unit, whatever its bytes are.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Records at the front that were evicted; none once the chunk is on its way.
    evicted: usize,
}

impl Chunk {
    /// Room for `bytes` bytes of records before the chunk counts as full.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(ENDS_AT_FIRST), evicted: 0 }
    }

    /// The records that end at `ends` in `bytes`; `None` when these are no ends of whole records.
    #[must_use]
    pub fn of(bytes: Vec<u8>, ends: Vec<u32>) -> Option<Self> {
        let ascending = ends.is_sorted_by(|one, next| one < next) && ends.first() != Some(&0);
        let whole = ends.last().map_or(0, |end| *end as usize) == bytes.len();
        (ascending && whole).then_some(Self { bytes, ends, evicted: 0 })
    }

    /// The records that are `wanted`, and the others.
    #[must_use]
    pub fn split(&self, wanted: impl Fn(&[u8]) -> bool) -> (Self, Self) {
        let (mut picked, mut rest) = (Self::default(), Self::default());
        for record in (0..self.records()).filter_map(|index| self.record(index)) {
            if wanted(record) { picked.push(record) } else { rest.push(record) }
        }
        (picked, rest)
    }

    /// All records, concatenated.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The offset behind the last byte of each record, ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// How many records are inside.
    #[must_use]
    pub fn records(&self) -> usize {
        self.ends.len()
    }

    /// True without a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.len() == self.evicted
    }

    /// The bytes of record `index`.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        self.bytes.get(self.offset(index)..end)
    }

    /// Takes in the records of `other` from record `first` on, if that needs no allocation of bytes.
    #[must_use]
    pub fn absorb(&mut self, other: &Self, first: usize) -> bool {
        let start = other.offset(first);
        let bytes = other.bytes.get(start..).unwrap_or_default();
        if !self.fits(bytes.len()) {
            return false;
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let moved = |end: &u32| u32::try_from(before + *end as usize - start).unwrap_or(u32::MAX);
        self.ends.extend(other.ends.get(first..).unwrap_or_default().iter().map(moved));
        true
    }

    /// Where record `index` begins; the length of the chunk for any behind the last.
    #[must_use]
    pub fn offset(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(self.bytes.len(), |end| *end as usize),
            None => 0,
        }
    }

    /// True when `len` more bytes need no allocation.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= len
    }

    /// Drops the oldest record and returns its length; its bytes stay where they are until the chunk goes on its way.
    pub(super) fn evict_first(&mut self) -> Option<usize> {
        let bytes = self.record(self.evicted)?.len();
        self.evicted += 1;
        Some(bytes)
    }

    /// Without the bytes of evicted records.
    pub(super) fn compacted(mut self) -> Self {
        if self.evicted > 0 {
            let gone = self.offset(self.evicted);
            self.bytes.drain(..gone);
            self.ends.drain(..self.evicted);
            let gone = u32::try_from(gone).unwrap_or(u32::MAX);
            self.ends.iter_mut().for_each(|end| *end -= gone);
            self.evicted = 0;
        }
        self
    }

    pub(super) fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        debug_assert!(self.bytes.len() <= u32::MAX as usize, "the longest line is limited to u32");
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// Empties the chunk for its next journey; `None` when it is larger than worth keeping.
    pub(super) fn emptied(mut self, size_kept_max: usize) -> Option<Self> {
        if self.bytes.capacity() > size_kept_max {
            return None;
        }
        self.bytes.clear();
        self.ends.clear();
        self.evicted = 0;
        Some(self)
    }
}

/// Record ends to make room for at first: 64 KiB of 256-byte records. The list grows once and is kept.
const ENDS_AT_FIRST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_where_each_record_ends() {
        let mut chunk = Chunk::with_capacity(16);
        for record in ["a\n", "bcd", "e"] {
            chunk.push(record.as_bytes());
        }
        assert_eq!(chunk.bytes(), b"a\nbcde");
        assert_eq!(chunk.ends(), [2, 5, 6]);
        let records: Vec<_> = (0..4).map(|n| chunk.record(n)).collect();
        assert_eq!(records, [Some(&b"a\n"[..]), Some(b"bcd"), Some(b"e"), None]);
    }

    #[test]
    fn a_chunk_takes_in_another_as_far_as_it_has_room() {
        let chunk = |capacity, records: &[&str]| {
            let mut chunk = Chunk::with_capacity(capacity);
            records.iter().for_each(|record| chunk.push(record.as_bytes()));
            chunk
        };
        let mut first = chunk(8, &["ab"]);
        assert!(!first.absorb(&chunk(8, &["1234567"]), 0), "it would have to grow");
        assert!(first.absorb(&chunk(8, &["123", "45", "6"]), 1));
        assert_eq!((first.bytes(), first.ends()), (&b"ab456"[..], &[2, 4, 5][..]));
        assert!(first.absorb(&chunk(8, &["x"]), 1), "nothing of it");
        assert_eq!([0, 1, 2, 3, 9].map(|index| first.offset(index)), [0, 2, 4, 5, 5]);
    }

    #[test]
    fn a_chunk_is_made_of_whole_records_only() {
        let chunk = |ends: &[u32]| Chunk::of(b"abcdef".to_vec(), ends.to_vec());
        assert_eq!(chunk(&[2, 6]).unwrap().record(1), Some(&b"cdef"[..]));
        for ends in [&[][..], &[0, 6], &[2, 2, 6], &[4, 2], &[2, 5], &[2, 7]] {
            assert!(chunk(ends).is_none(), "{ends:?}");
        }
        let (short, long) = chunk(&[1, 4, 6]).unwrap().split(|record| record.len() < 3);
        assert_eq!((short.bytes(), short.ends(), long.bytes()), (&b"aef"[..], &[1, 3][..], &b"bcd"[..]));
    }

    #[test]
    fn evicted_records_are_gone_when_the_chunk_leaves() {
        let mut chunk = Chunk::with_capacity(16);
        for record in ["ab", "cde", "f"] {
            chunk.push(record.as_bytes());
        }
        assert_eq!((chunk.evict_first(), chunk.evict_first()), (Some(2), Some(3)));
        let mut chunk = chunk.compacted();
        assert_eq!((chunk.bytes(), chunk.ends()), (&b"f"[..], &[1][..]));
        assert_eq!((chunk.evict_first(), chunk.evict_first()), (Some(1), None));
        assert!(chunk.is_empty());
    }

    #[test]
    fn a_chunk_of_unusual_size_is_not_kept() {
        assert!(Chunk::with_capacity(100).emptied(99).is_none());
        let mut chunk = Chunk::with_capacity(100);
        chunk.push(b"x");
        assert!(chunk.emptied(200).is_some_and(|chunk| chunk.is_empty()));
    }
}
