//! Windows of records, as the receiver reads them.

use super::Error;
use super::frames::Frame;
use super::frames::Frames;
use super::inflating::Inflating;
use super::inflating::Piece;

/// The bounds of what a reader takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most records of one window. Default 65 536, 32 times what beats send.
    pub window: u32,
    /// The most bytes of one frame: a record, or a compressed frame as it comes. Default 16 MiB.
    pub frame: u32,
    /// The most bytes that one compressed frame may inflate to. Default 256 MiB: it is inflated in small blocks, so
    /// that this bounds the work and not the memory.
    pub inflated: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window: 65_536, frame: 16 * 1024 * 1024, inflated: 256 * 1024 * 1024 }
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A window begins, and so many records will follow.
    Window(u32),
    /// A record.
    Json {
        /// Its number within the window, as the sender counts.
        sequence: u32,
        /// The record, whatever it is: nobody has looked whether it is JSON.
        json: &'a [u8],
    },
    /// All records of the window have come; the highest number among them is to be acknowledged. 0 if it was empty.
    End(u32),
}

/// Reads windows out of a stream that comes in pieces.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    frames: Frames,
    /// What inflates compressed frames, once there was one.
    inflating: Option<Box<Inflating>>,
    window: Option<Window>,
}

/// A window that has begun.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// How many of its records have not come yet.
    missing: u32,
    /// The highest number among those that have.
    highest: u32,
}

/// An event that does not hold its bytes yet.
enum Step {
    Window(u32),
    Json { sequence: u32, body: Body },
    End(u32),
}

/// Where the bytes of a record are.
enum Body {
    /// The last so many bytes that were taken.
    Taken(usize),
    Held,
    Inflated(Piece),
}

impl Reader {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, frames: Frames::default(), inflating: None, window: None }
    }

    /// Takes the next event off the front of `bytes`; `None` when they are used up before its end.
    ///
    /// # Errors
    /// At the first thing that is no lumberjack of version 2, or beyond the limits. The stream is of no use from
    /// there on.
    pub fn next<'a, 'b: 'a>(&'a mut self, bytes: &mut &'b [u8]) -> Result<Option<Event<'a>>, Error> {
        let before = *bytes;
        let Some(step) = self.step(bytes)? else { return Ok(None) };
        Ok(Some(match step {
            Step::Window(count) => Event::Window(count),
            Step::End(highest) => Event::End(highest),
            Step::Json { sequence, body } => Event::Json {
                sequence,
                json: match body {
                    Body::Taken(length) => {
                        let taken = before.len() - bytes.len();
                        before.get(taken - length..taken).unwrap_or_default()
                    }
                    Body::Held => self.frames.held(),
                    Body::Inflated(piece) => {
                        self.inflating.as_ref().map(|inflating| inflating.json(&piece)).unwrap_or_default()
                    }
                },
            },
        }))
    }

    /// True when a window or a frame has begun and not ended: then the end of the stream tears it.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.window.is_some() || self.frames.is_within()
    }

    fn step(&mut self, bytes: &mut &[u8]) -> Result<Option<Step>, Error> {
        loop {
            if let Some(Window { missing: 0, highest }) = self.window {
                self.window = None;
                return Ok(Some(Step::End(highest)));
            }
            if let Some(inflating) = self.inflating.as_mut().filter(|inflating| inflating.is_active()) {
                let available = bytes.len();
                let found = inflating.next(bytes, &self.limits)?;
                self.frames.skip(available - bytes.len());
                if let Some((sequence, piece)) = found {
                    self.count(sequence)?;
                    return Ok(Some(Step::Json { sequence, body: Body::Inflated(piece) }));
                } else if inflating.is_active() {
                    return Ok(None);
                }
                continue;
            }
            let Some(frame) = self.frames.next(bytes, &self.limits)? else { return Ok(None) };
            match frame {
                Frame::Window(count) => {
                    self.open(count)?;
                    return Ok(Some(Step::Window(count)));
                }
                Frame::Json { sequence, taken } => {
                    self.count(sequence)?;
                    let body = taken.map_or(Body::Held, Body::Taken);
                    return Ok(Some(Step::Json { sequence, body }));
                }
                Frame::Compressed(length) => {
                    if self.window.is_none() {
                        return Err(Error::Outside(self.frames.place()));
                    }
                    self.inflating.get_or_insert_default().begin(self.frames.offset(), length);
                }
            }
        }
    }

    fn open(&mut self, count: u32) -> Result<(), Error> {
        let place = self.frames.place();
        if let Some(Window { missing, .. }) = self.window {
            return Err(Error::Early { place, missing });
        }
        let max = self.limits.window;
        if count > max {
            return Err(Error::Window { place, count, max });
        }
        self.window = Some(Window { missing: count, highest: 0 });
        Ok(())
    }

    fn count(&mut self, sequence: u32) -> Result<(), Error> {
        let place = self
            .inflating
            .as_ref()
            .filter(|inflating| inflating.is_active())
            .map_or_else(|| self.frames.place(), |inflating| inflating.place());
        let window = self.window.as_mut().ok_or(Error::Outside(place))?;
        window.missing -= 1;
        window.highest = window.highest.max(sequence);
        Ok(())
    }
}
