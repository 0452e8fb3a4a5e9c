//! A stream becomes frames.

use super::COMPRESSED;
use super::Error;
use super::JSON;
use super::Limits;
use super::Place;
use super::VERSION;
use super::WINDOW;

/// What is kept of the room for a record that came in pieces.
const KEPT: usize = 64 * 1024;

/// A frame without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// So many records follow.
    Window(u32),
    /// A record: the last `taken` bytes, or what is held.
    Json { sequence: u32, taken: Option<usize> },
    /// So many compressed bytes follow.
    Compressed(u32),
}

/// The frames of one stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Where the content of the compressed frame begins that the stream was inflated from.
    inside: Option<u64>,
    /// How many bytes were taken.
    offset: u64,
    /// Where the frame began.
    start: u64,
    head: Head,
    /// The beginning of a record, or a whole one that came in pieces.
    held: Vec<u8>,
    /// True when what is held was given away.
    given: bool,
}

/// What is known of the frame.
#[derive(Debug, Default)]
struct Head {
    have: u8,
    kind: u8,
    first: u32,
    second: u32,
}

/// The length of the head of a window and of a compressed frame.
const SHORT: u8 = 6;

/// The length of the head of a record.
const LONG: u8 = 10;

impl Frames {
    /// Begins a stream that is inflated from the compressed frame whose content begins at `offset`.
    pub(super) fn restart_inside(&mut self, offset: u64) {
        let held = std::mem::take(&mut self.held);
        *self = Self { inside: Some(offset), held, given: true, ..Self::default() };
    }

    /// Takes the next frame off the front of `bytes`; `None` when they are used up before its end.
    pub(super) fn next(&mut self, bytes: &mut &[u8], limits: &Limits) -> Result<Option<Frame>, Error> {
        if self.given {
            self.held.clear();
            self.held.shrink_to(KEPT);
            self.given = false;
        }
        while self.head.have < LONG {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            self.take(byte)?;
            *bytes = rest;
            self.offset += 1;
            if self.head.have == SHORT && self.head.kind != JSON {
                return self.short(limits).map(Some);
            }
        }
        let Head { first: sequence, second: length, .. } = self.head;
        self.check(length, limits)?;
        let missing = (length as usize).saturating_sub(self.held.len());
        let (part, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        *bytes = rest;
        self.skip(part.len());
        let whole = part.len() == missing;
        let taken = (whole && self.held.is_empty()).then_some(part.len());
        if taken.is_none() {
            self.held.extend_from_slice(part);
        }
        if !whole {
            return Ok(None);
        }
        self.head = Head::default();
        self.given = true;
        Ok(Some(Frame::Json { sequence, taken }))
    }

    /// The record that came in pieces.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// How many bytes were taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Counts bytes that somebody else took.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.offset += bytes as u64;
    }

    /// Where the frame began that came last.
    pub(super) fn place(&self) -> Place {
        self.at(self.start)
    }

    /// True when a frame has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.head.have > 0
    }

    fn at(&self, offset: u64) -> Place {
        match self.inside {
            None => Place { offset, inflated: None },
            Some(content) => Place { offset: content, inflated: Some(offset) },
        }
    }

    /// Takes a byte of the head.
    fn take(&mut self, byte: u8) -> Result<(), Error> {
        match self.head.have {
            0 if byte != VERSION => return Err(Error::Version { byte, place: self.at(self.offset) }),
            0 => self.start = self.offset,
            1 => {
                let (known, expected): (&[u8], _) = match self.inside {
                    None => (&[WINDOW, JSON, COMPRESSED], "W, J or C"),
                    Some(_) => (&[JSON], "J, the only one that may be compressed"),
                };
                if !known.contains(&byte) {
                    return Err(Error::Kind { byte, place: self.at(self.offset), expected });
                }
                self.head.kind = byte;
            }
            2..SHORT => self.head.first = self.head.first << 8 | u32::from(byte),
            _ => self.head.second = self.head.second << 8 | u32::from(byte),
        }
        self.head.have += 1;
        Ok(())
    }

    /// Ends a frame that has one number.
    fn short(&mut self, limits: &Limits) -> Result<Frame, Error> {
        let Head { kind, first, .. } = std::mem::take(&mut self.head);
        if kind == WINDOW {
            return Ok(Frame::Window(first));
        }
        self.check(first, limits)?;
        Ok(Frame::Compressed(first))
    }

    fn check(&self, length: u32, limits: &Limits) -> Result<(), Error> {
        let (place, max) = (self.place(), limits.frame);
        match length {
            0 => Err(Error::Empty(place)),
            _ if length > max => Err(Error::Length { place, length, max }),
            _ => Ok(()),
        }
    }
}
