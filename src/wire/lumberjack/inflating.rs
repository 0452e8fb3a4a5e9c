//! A compressed frame becomes the records in it, a block at a time: whatever it inflates to, memory is bounded.

use std::ops::Range;

use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

use super::Error;
use super::Limits;
use super::Place;
use super::frames::Frame;
use super::frames::Frames;

/// How much is inflated at once.
const BLOCK: usize = 64 * 1024;

/// What inflates one compressed frame after another.
#[derive(Debug)]
pub(super) struct Inflating {
    state: Decompress,
    /// Where the content of the frame begins.
    start: u64,
    /// How many of its bytes have not come yet.
    missing: u32,
    progress: Progress,
    block: Vec<u8>,
    /// The part of the block that has not been read.
    unread: Range<usize>,
    frames: Frames,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There is no frame.
    Idle,
    /// Within a frame.
    Active,
    /// The stream in the frame has ended.
    Ended,
}

/// Where a record is.
#[derive(Debug)]
pub(super) enum Piece {
    /// In the block.
    Block(Range<usize>),
    /// Put together from two blocks or more.
    Held,
}

impl Default for Inflating {
    fn default() -> Self {
        Self {
            state: Decompress::new(true),
            start: 0,
            missing: 0,
            progress: Progress::Idle,
            block: vec![0; BLOCK],
            unread: 0..0,
            frames: Frames::default(),
        }
    }
}

impl Inflating {
    /// Begins a frame of `length` bytes whose content begins at `start`.
    pub(super) fn begin(&mut self, start: u64, length: u32) {
        self.state.reset(true);
        (self.start, self.missing, self.progress, self.unread) = (start, length, Progress::Active, 0..0);
        self.frames.restart_inside(start);
    }

    /// True until the frame has been read to its end.
    pub(super) fn is_active(&self) -> bool {
        self.progress != Progress::Idle
    }

    /// Where the record began that came last.
    pub(super) fn place(&self) -> Place {
        self.frames.place()
    }

    /// The bytes of a record that came last.
    pub(super) fn json(&self, piece: &Piece) -> &[u8] {
        match piece {
            Piece::Block(range) => self.block.get(range.clone()).unwrap_or_default(),
            Piece::Held => self.frames.held(),
        }
    }

    /// The next record of the frame; `None` when `bytes` are used up before its end, or when the frame has ended.
    pub(super) fn next(&mut self, bytes: &mut &[u8], limits: &Limits) -> Result<Option<(u32, Piece)>, Error> {
        loop {
            if let Some(found) = self.unread(limits)? {
                return Ok(Some(found));
            }
            if self.progress == Progress::Ended {
                if self.frames.is_within() {
                    return Err(self.broken("it ends within a record"));
                }
                if self.missing > 0 {
                    return Err(self.broken("its content ends before the frame does"));
                }
                self.progress = Progress::Idle;
                return Ok(None);
            }
            if !self.inflate(bytes, limits)? {
                return Ok(None);
            }
        }
    }

    /// The next record of what has been inflated.
    fn unread(&mut self, limits: &Limits) -> Result<Option<(u32, Piece)>, Error> {
        let mut rest = self.block.get(self.unread.clone()).unwrap_or_default();
        let found = self.frames.next(&mut rest, limits)?;
        self.unread.start = self.unread.end - rest.len();
        // Frames of other kinds are refused where they are read.
        let Some(Frame::Json { sequence, taken }) = found else { return Ok(None) };
        let end = self.unread.start;
        Ok(Some((sequence, taken.map_or(Piece::Held, |length| Piece::Block(end - length..end)))))
    }

    /// Inflates another block; false when there are no bytes for it.
    fn inflate(&mut self, bytes: &mut &[u8], limits: &Limits) -> Result<bool, Error> {
        let source = bytes.get(..self.missing as usize).unwrap_or(bytes);
        let (taken, given) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(source, &mut self.block, FlushDecompress::None);
        let status = status.map_err(|_| self.broken("it is no zlib stream, or a damaged one"))?;
        let taken = usize::try_from(self.state.total_in() - taken).unwrap_or(source.len());
        let given = usize::try_from(self.state.total_out() - given).unwrap_or(BLOCK);
        *bytes = bytes.get(taken..).unwrap_or_default();
        self.missing = self.missing.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        self.unread = 0..given;
        if self.state.total_out() > limits.inflated {
            return Err(Error::Inflated { place: self.content(), max: limits.inflated });
        }
        if status == Status::StreamEnd {
            self.progress = Progress::Ended;
        } else if taken == 0 && given == 0 {
            if self.missing == 0 {
                return Err(self.broken("the frame ends before its content does"));
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn content(&self) -> Place {
        Place { offset: self.start, inflated: None }
    }

    fn broken(&self, why: &'static str) -> Error {
        Error::Zlib { place: self.content(), why }
    }
}
