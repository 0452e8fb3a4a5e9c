//! From frame to frame through a segment, past whatever is damaged.
//!
//! Where no whole header is, the next frame is looked for: the marker, a header whose CRC fits, a number that can
//! follow, and a body that fits as well. So only frames are found, and a damaged one costs itself.

use std::io;
use std::os::unix::fs::FileExt;

use super::frame;
use super::frame::Header;
use super::frame::MARKER;
use super::segment;
use super::segment::Label;
use super::window::Window;

/// How much of each frame is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The header; the body is leapt over.
    Headers,
    /// The body too.
    Bodies,
}

/// What comes next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A frame, at this offset.
    Frame(u64, Header),
    /// The header of a frame is whole and its body is not.
    Rotten(Header),
    /// Bytes that are no frame; the frames from `first` to before `until` may have been there.
    Gap {
        /// How many.
        bytes: u64,
        /// The lowest number that is missing.
        first: u64,
        /// The number of the frame behind the gap.
        until: u64,
    },
    /// Nothing comes any more; so many bytes before the end of the file are no frame.
    End {
        /// How many; zero when the last frame ends where the file does.
        torn: u64,
        /// The number of a frame that begins there and does not end.
        begun: Option<u64>,
    },
}

/// A walk through one segment.
#[derive(Debug)]
pub(super) struct Walk<F> {
    window: Window<F>,
    depth: Depth,
    salt: u32,
    at: u64,
    /// The lowest number that may come next.
    next: u64,
    /// No number reaches this.
    below: u64,
}

impl<F: FileExt> Walk<F> {
    /// A walk through a segment of `length` bytes; `below` is the base of the segment behind it.
    pub(super) fn new(file: F, length: u64, label: Label, below: u64, depth: Depth) -> Self {
        let at = (segment::HEADER as u64).min(length);
        Self { window: Window::new(file, length), depth, salt: label.salt, at, next: label.base, below }
    }

    /// The next step; after [`Step::End`] it is that for ever.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let length = self.window.length();
        let Some(header) = self.header_at(self.at)? else { return self.resume() };
        let end = self.at + header.total();
        if end > length {
            return Ok(Step::End { torn: length - self.at, begun: Some(header.sequence) });
        }
        let offset = self.at;
        let is_whole = self.depth == Depth::Headers || self.fits(offset, header)?;
        self.at = end;
        self.next = header.sequence + 1;
        Ok(if is_whole { Step::Frame(offset, header) } else { Step::Rotten(header) })
    }

    /// Bytes that the disk could not read so far.
    pub(super) const fn unreadable(&self) -> u64 {
        self.window.unreadable()
    }

    /// The payload of a frame that [`Self::step`] found.
    pub(super) fn payload(&mut self, offset: u64, header: Header) -> io::Result<Option<Vec<u8>>> {
        let mut body = Vec::with_capacity(header.length as usize + frame::TRAILER);
        let end = offset + header.total();
        let mut at = offset + frame::HEADER as u64;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = self.window.at(at, 1)?;
            let part = bytes.get(..wanted).unwrap_or(bytes);
            if part.is_empty() {
                return Ok(None);
            }
            body.extend_from_slice(part);
            at += part.len() as u64;
        }
        Ok(frame::open(&mut body, header.seed(self.salt)).then_some(body))
    }

    fn header_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        let header = Header::decode(self.window.at(at, frame::HEADER)?, self.salt);
        Ok(header.filter(|header| (self.next..self.below).contains(&header.sequence)))
    }

    /// True when the body of the frame at `offset` is whole.
    fn fits(&mut self, offset: u64, header: Header) -> io::Result<bool> {
        let mut crc = header.seed(self.salt);
        let mut at = offset + frame::HEADER as u64;
        let end = at + u64::from(header.length);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = self.window.at(at, 1)?;
            let part = bytes.get(..wanted).unwrap_or(bytes);
            if part.is_empty() {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, part);
            at += part.len() as u64;
        }
        let trailer = self.window.at(end, frame::TRAILER)?;
        Ok(trailer.first_chunk().is_some_and(|bytes| u32::from_le_bytes(*bytes) == crc))
    }

    /// Looks for the next whole frame behind a place where none begins.
    fn resume(&mut self) -> io::Result<Step> {
        let finder = memchr::memmem::Finder::new(&MARKER);
        let length = self.window.length();
        let mut at = self.at + 1;
        while at < length {
            let bytes = self.window.at(at, MARKER.len())?;
            let (seen, found) = (bytes.len() as u64, finder.find(bytes));
            let Some(found) = found else {
                // The last bytes may be the beginning of a marker.
                at += (seen.saturating_sub(MARKER.len() as u64 - 1)).max(1);
                continue;
            };
            at += found as u64;
            if let Some(header) = self.header_at(at)?
                && at + header.total() <= length
                && self.fits(at, header)?
            {
                let gap = Step::Gap { bytes: at - self.at, first: self.next, until: header.sequence };
                self.at = at;
                self.next = header.sequence;
                return Ok(gap);
            }
            at += 1;
        }
        Ok(Step::End { torn: length.saturating_sub(self.at), begun: None })
    }
}
