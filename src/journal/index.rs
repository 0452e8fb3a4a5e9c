//! The unacknowledged frames of all segments, in memory: 16 bytes each, no payload.

use std::collections::VecDeque;
use std::path::Path;
use std::path::PathBuf;

use super::Meta;
use super::Position;
use super::frame;
use super::frame::Header;
use super::segment::Label;

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number, counted from the base of its segment.
    delta: u32,
    /// Where it begins in its segment.
    offset: u32,
    length: u32,
    kind: u8,
    is_acknowledged: bool,
}

/// One segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub label: Label,
    pub path: PathBuf,
    /// Bytes of the file.
    pub length: u64,
    /// Its frames from the first unacknowledged one on.
    entries: VecDeque<Entry>,
    unacknowledged: usize,
}

/// All segments, the one that is written to last.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub segments: VecDeque<Segment>,
    /// The number of the next frame.
    pub next: u64,
    /// Unacknowledged frames.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bytes of all segments.
    pub disk: u64,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub label: Label,
    pub path: &'a Path,
    pub offset: u64,
    pub header: Header,
}

impl Entry {
    /// The entry of a frame; none when it lies too far from the start of its segment.
    pub(super) fn new(label: Label, offset: u64, header: Header) -> Option<Self> {
        Some(Self {
            delta: u32::try_from(header.sequence.checked_sub(label.base)?).ok()?,
            offset: u32::try_from(offset).ok()?,
            length: header.length,
            kind: header.kind,
            is_acknowledged: false,
        })
    }

    fn header(self, label: Label) -> Header {
        Header { kind: self.kind, length: self.length, sequence: label.base + u64::from(self.delta) }
    }

    fn meta(self, label: Label) -> Meta {
        let position = Position::new(label.base + u64::from(self.delta));
        Meta { position, kind: self.kind, length: self.length }
    }
}

impl Segment {
    /// A segment of `length` bytes without frames.
    pub(super) const fn new(label: Label, path: PathBuf, length: u64) -> Self {
        Self { label, path, length, entries: VecDeque::new(), unacknowledged: 0 }
    }

    /// True when nothing in it is wanted any more.
    pub(super) const fn is_done(&self) -> bool {
        self.unacknowledged == 0
    }

    fn find(&self, position: Position) -> Option<usize> {
        let delta = u32::try_from(position.sequence().checked_sub(self.label.base)?).ok()?;
        self.entries.binary_search_by_key(&delta, |entry| entry.delta).ok()
    }
}

impl Index {
    /// Puts a segment behind the others.
    pub(super) fn add(&mut self, segment: Segment) {
        self.disk += segment.length;
        self.segments.push_back(segment);
    }

    /// Puts a frame behind the others of the last segment.
    pub(super) fn push(&mut self, entry: Entry) {
        let Some(segment) = self.segments.back_mut() else { return };
        segment.entries.push_back(entry);
        segment.unacknowledged += 1;
        self.frames += 1;
        self.bytes += u64::from(entry.length);
    }

    /// Says that the last segment has grown.
    pub(super) fn grow(&mut self, bytes: u64) {
        if let Some(segment) = self.segments.back_mut() {
            segment.length += bytes;
            self.disk += bytes;
        }
    }

    /// The lowest unacknowledged number, or the next one.
    pub(super) fn cursor(&self) -> u64 {
        let first = self.segments.iter().find(|segment| !segment.is_done());
        let entry = first.and_then(|segment| Some(segment.entries.front()?.meta(segment.label)));
        entry.map_or(self.next, |meta| meta.position.sequence())
    }

    /// Where an unacknowledged frame lies.
    pub(super) fn place(&self, position: Position) -> Option<Place<'_>> {
        let segment = self.segments.get(self.segment_of(position)?)?;
        let entry = segment.entries.get(segment.find(position)?)?;
        let (label, path) = (segment.label, segment.path.as_path());
        let place = Place { label, path, offset: u64::from(entry.offset), header: entry.header(label) };
        (!entry.is_acknowledged).then_some(place)
    }

    /// Marks a frame; false when it was not there or was marked before.
    pub(super) fn acknowledge(&mut self, position: Position) -> bool {
        let segment = self.segment_of(position).and_then(|at| self.segments.get_mut(at));
        let Some(segment) = segment else { return false };
        let Some(entry) = segment.find(position).and_then(|at| segment.entries.get_mut(at)) else {
            return false;
        };
        if entry.is_acknowledged {
            return false;
        }
        entry.is_acknowledged = true;
        self.frames -= 1;
        self.bytes -= u64::from(entry.length);
        segment.unacknowledged -= 1;
        while segment.entries.front().is_some_and(|entry| entry.is_acknowledged) {
            segment.entries.pop_front();
        }
        true
    }

    /// Takes out the segments that nothing is wanted of; the last one only when `last_too`.
    pub(super) fn take_done(&mut self, last_too: bool) -> Vec<Segment> {
        let last = self.segments.len().saturating_sub(1);
        let is_done = |at: usize, segment: &Segment| segment.is_done() && (last_too || at < last);
        if !self.segments.iter().enumerate().any(|(at, segment)| is_done(at, segment)) {
            return Vec::new();
        }
        let mut done = Vec::new();
        for (at, segment) in std::mem::take(&mut self.segments).into_iter().enumerate() {
            if is_done(at, &segment) {
                self.disk -= segment.length;
                done.push(segment);
            } else {
                self.segments.push_back(segment);
            }
        }
        done
    }

    /// The unacknowledged frames behind `after`, lowest first.
    pub(super) fn iter(&self, after: Option<Position>) -> impl Iterator<Item = Meta> + '_ {
        let from = after.map_or(0, |position| position.sequence().saturating_add(1));
        let first = self.segment_of(Position::new(from)).unwrap_or(0);
        self.segments.range(first..).flat_map(move |segment| {
            let delta = from.saturating_sub(segment.label.base);
            let skip = segment.entries.partition_point(|entry| u64::from(entry.delta) < delta);
            let entries = segment.entries.range(skip..).filter(|entry| !entry.is_acknowledged);
            entries.map(|entry| entry.meta(segment.label))
        })
    }

    fn segment_of(&self, position: Position) -> Option<usize> {
        let behind = self.segments.partition_point(|segment| segment.label.base <= position.sequence());
        behind.checked_sub(1)
    }
}

/// Bytes that a segment may have: offsets of frames are 32 bits wide.
pub(super) const SEGMENT_MAX: u64 = u32::MAX as u64;

const _: () = assert!(size_of::<Entry>() == 16);
const _: () = assert!(frame::PAYLOAD_MAX as u64 * 2 < SEGMENT_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn index(segments: u64, frames: u64) -> Index {
        let mut index = Index { next: 1, ..Index::default() };
        for _ in 0..segments {
            let label = Label { base: index.next, salt: 0 };
            index.add(Segment::new(label, PathBuf::new(), 32));
            for n in 0..frames {
                let header = Header { kind: n as u8, length: 10, sequence: index.next };
                index.push(Entry::new(label, 32 + n * 38, header).unwrap());
                index.grow(38);
                index.next += 1;
            }
        }
        index
    }

    fn numbers(index: &Index, after: Option<u64>) -> Vec<u64> {
        index.iter(after.map(Position::new)).map(|meta| meta.position.sequence()).collect()
    }

    #[test]
    fn the_cursor_is_the_lowest_that_is_not_acknowledged() {
        let mut index = index(2, 3);
        assert_eq!(index.cursor(), 1);
        for (position, cursor) in [(2, 1), (1, 3), (6, 3), (4, 3), (3, 5), (5, 7)] {
            assert!(index.acknowledge(Position::new(position)));
            assert!(!index.acknowledge(Position::new(position)));
            assert_eq!(index.cursor(), cursor, "after {position}");
        }
        assert_eq!((index.frames, index.bytes), (0, 0));
    }

    #[test]
    fn segments_go_when_nothing_in_them_is_wanted() {
        let mut index = index(3, 2);
        for position in [3, 4] {
            index.acknowledge(Position::new(position));
        }
        assert_eq!(index.take_done(false).iter().map(|segment| segment.label.base).collect::<Vec<_>>(), [3]);
        assert_eq!(index.disk, 2 * (32 + 2 * 38));
        assert_eq!(numbers(&index, None), [1, 2, 5, 6]);
        for position in [5, 6] {
            index.acknowledge(Position::new(position));
        }
        assert!(index.take_done(false).is_empty());
        assert_eq!(index.take_done(true).len(), 1);
    }

    #[test]
    fn frames_are_listed_from_anywhere() {
        let mut index = index(3, 2);
        index.acknowledge(Position::new(4));
        assert_eq!(numbers(&index, None), [1, 2, 3, 5, 6]);
        assert_eq!(numbers(&index, Some(2)), [3, 5, 6]);
        assert_eq!(numbers(&index, Some(3)), [5, 6]);
        assert!(numbers(&index, Some(6)).is_empty());
        assert!(numbers(&index, Some(u64::MAX)).is_empty());
        assert!(index.place(Position::new(4)).is_none());
        assert!(index.place(Position::new(7)).is_none());
        assert!(index.place(Position::new(0)).is_none());
    }
}
