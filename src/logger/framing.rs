//! How records travel: as they are, or each behind a header.

use crate::buffer::Chunk;
use crate::config::Format;

/// How records travel over connections that acknowledge nothing.
#[derive(Clone, Debug)]
pub(super) enum Framing {
    /// As they are.
    Plain,
}

impl Framing {
    pub(super) fn new(format: &Format, datagrams: bool) -> Self {
        let _ = (format, datagrams);
        Self::Plain
    }

    /// The records of `chunk` from `start` on as they travel; `None` where that is nothing else than their bytes.
    pub(super) fn frames(&self, chunk: &Chunk, start: usize) -> Option<Frames> {
        let _ = (chunk, start);
        None
    }
}

/// Records in the form in which they travel.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Frames {
    /// All of them, concatenated.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The offset behind each.
    pub(super) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Where frame `index` begins; the length of all for any behind the last.
    pub(super) fn offset(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(self.bytes.len(), |end| *end as usize),
            None => 0,
        }
    }

    /// The bytes of frame `index`.
    pub(super) fn frame(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        self.bytes.get(self.offset(index)..end)
    }
}
