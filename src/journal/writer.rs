//! The owner's half of a journal: append, commit, read, acknowledge. Synchronous, for one thread.
//!
//! `room.rs` decides whether there is room and begins new segments; `recover.rs` opens.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::Durability;
use super::Error;
use super::Frame;
use super::Meta;
use super::Options;
use super::PAYLOAD_MAX;
use super::Position;
use super::Stats;
use super::cursor::CursorFile;
use super::frame;
use super::frame::Header;
use super::index::Entry;
use super::index::Index;
use super::recover::Lock;
use super::segment::Label;
use crate::clock;

/// Bytes that a group may have on disk: 64 MiB. A longer one is refused.
pub const GROUP_MAX: u64 = 64 << 20;

/// Full segments that may be unsynced: the oldest is synced when there are more, though nobody waits for it.
pub(super) const UNSYNCED_MAX: usize = 8;

/// Bytes of memory that are kept for the next commit.
const KEPT: usize = 4 << 20;

/// A journal that this process owns.
///
/// What is appended is staged; [`Self::commit`] writes it. What is staged and not committed is gone when the journal
/// is dropped.
#[derive(Debug)]
pub struct Journal {
    pub(super) directory: PathBuf,
    pub(super) options: Options,
    pub(super) index: Index,
    pub(super) active: Option<Active>,
    pub(super) staged: Staged,
    pub(super) unsynced: Unsynced,
    pub(super) cursor: CursorFile,
    /// What the cursor file says.
    pub(super) cursor_written: u64,
    pub(super) poison: Option<Arc<io::Error>>,
    /// The segment that was read from last.
    pub(super) reading: Option<(Label, File)>,
    /// Counters; the state is filled in by [`Self::stats`].
    pub(super) counters: Stats,
    /// The directory itself, to sync it.
    pub(super) entries: File,
    /// Keeps other processes out.
    pub(super) _lock: Lock,
}

/// The segment that is written to: the last one of the index.
#[derive(Debug)]
pub(super) struct Active {
    pub file: File,
    /// The end of what the file system has promised.
    pub reserved: u64,
    /// The end of what was seen to leave the headroom free.
    pub checked: u64,
}

/// What waits for the next commit, all of it for the active segment.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub bytes: Vec<u8>,
    pub entries: Vec<Entry>,
}

/// What was written and not synced.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Segments that are full: at most [`UNSYNCED_MAX`].
    pub full: VecDeque<(Label, File)>,
    /// The active segment.
    pub active: bool,
    /// The directory: segments were made or deleted.
    pub directory: bool,
}

impl Journal {
    /// Stages one frame, whose payload is all `pieces` together.
    ///
    /// When the active segment is full, what is staged is written first and a new segment begins.
    ///
    /// # Errors
    ///
    /// The frame is not staged. Earlier ones stay, unless writing them was what failed: what has a position from
    /// [`Self::next`] on is not in the journal.
    pub fn append(&mut self, kind: u8, pieces: &[&[u8]]) -> Result<Position, Error> {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let length = check_length(length)?;
        self.admit(u64::from(length) + frame::OVERHEAD, 1)?;
        Ok(self.stage(kind, length, pieces))
    }

    /// Stages frames that are written in one piece, and returns their positions, which follow each other.
    ///
    /// # Errors
    ///
    /// None of the frames is staged; otherwise as [`Self::append`].
    pub fn append_all<P: AsRef<[u8]>>(&mut self, frames: &[(u8, P)]) -> Result<Vec<Position>, Error> {
        let first = self.append_group(frames)?.sequence();
        Ok((first..).take(frames.len()).map(Position::new).collect())
    }

    /// Stages frames that are written in one piece, and returns the position of the first.
    pub(super) fn append_group<P: AsRef<[u8]>>(&mut self, frames: &[(u8, P)]) -> Result<Position, Error> {
        let mut total = 0;
        for (_, payload) in frames {
            total += u64::from(check_length(payload.as_ref().len() as u64)?) + frame::OVERHEAD;
        }
        self.admit(total, frames.len() as u64)?;
        let first = self.next();
        for (kind, payload) in frames {
            let payload = payload.as_ref();
            self.stage(*kind, u32::try_from(payload.len()).unwrap_or(PAYLOAD_MAX), &[payload]);
        }
        Ok(first)
    }

    /// Bytes that wait for the next commit.
    pub(super) const fn staged_bytes(&self) -> usize {
        self.staged.bytes.len()
    }

    /// The position that the next appended frame will have.
    #[must_use]
    pub fn next(&self) -> Position {
        Position::new(self.index.next + self.staged.entries.len() as u64)
    }

    /// Writes what is staged, in one write, and with `Synced` everything that was written before to the disk.
    ///
    /// # Errors
    ///
    /// Nothing of what was staged is in the journal. After a failed sync the journal is poisoned, and what was
    /// staged is acknowledged; should that be lost as well, it comes again at the next open.
    pub fn commit(&mut self, durability: Durability) -> Result<(), Error> {
        let first = self.index.next;
        self.write()?;
        if durability == Durability::Synced
            && let Err(error) = self.sync()
        {
            // The error says that they are not there, whatever the disk has; a cursor that can not be written
            // is counted.
            self.acknowledge_all((first..self.index.next).map(Position::new)).ok();
            return Err(error);
        }
        Ok(())
    }

    /// Writes what is staged.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        if self.staged.entries.is_empty() {
            return Ok(());
        }
        self.check_poison()?;
        let (Some(active), Some(segment)) = (&mut self.active, self.index.segments.back()) else {
            self.staged.clear();
            return Ok(());
        };
        let start = segment.length;
        if let Err(error) = active.file.write_all_at(&self.staged.bytes, start) {
            let path = segment.path.clone();
            self.staged.clear();
            // Cutting the file also gives up what was reserved behind its end.
            (active.reserved, active.checked) = (start, start);
            if let Err(error) = active.file.set_len(start) {
                return Err(self.poison(error));
            }
            return Err(self.refusal(&path, error));
        }
        let count = self.staged.entries.len() as u64;
        self.index.grow(self.staged.bytes.len() as u64);
        for entry in self.staged.entries.drain(..) {
            self.index.push(entry);
        }
        self.staged.clear();
        self.index.next += count;
        self.counters.appended += count;
        self.counters.writes += 1;
        self.counters.full = false;
        self.unsynced.active = true;
        Ok(())
    }

    /// Brings everything that was written to the disk.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.check_poison()?;
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let begin = clock::now();
        if let Err(error) = self.sync_files() {
            return Err(self.poison(error));
        }
        let time = clock::now().saturating_duration_since(begin);
        self.unsynced = Unsynced::default();
        self.counters.syncs += 1;
        self.counters.sync_time += time;
        self.counters.sync_time_max = self.counters.sync_time_max.max(time);
        Ok(())
    }

    fn sync_files(&self) -> io::Result<()> {
        for (_, file) in &self.unsynced.full {
            file.sync_data()?;
        }
        if let Some(active) = self.active.as_ref().filter(|_| self.unsynced.active) {
            active.file.sync_data()?;
        }
        if self.unsynced.directory {
            self.entries.sync_all()?;
        }
        Ok(())
    }

    /// Reads an unacknowledged frame that was committed.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Rotten`, or `Io` when the file can not be read; each concerns this frame alone.
    pub fn read(&mut self, position: Position) -> Result<Frame, Error> {
        let place = self.index.place(position).ok_or(Error::NotFound(position))?;
        let failed = |error| Error::io(place.path, error);
        if self.reading.as_ref().is_none_or(|(label, _)| *label != place.label) {
            let file = File::open(place.path).map_err(failed)?;
            self.reading = Some((place.label, file));
        }
        let Some((_, file)) = &self.reading else { return Err(Error::NotFound(position)) };
        let Header { kind, length, .. } = place.header;
        // The index knows the header, so only what follows it is read.
        let mut body = vec![0; length as usize + frame::TRAILER];
        match file.read_exact_at(&mut body, place.offset + frame::HEADER as u64) {
            Ok(()) if frame::open(&mut body, place.header.seed(place.label.salt)) => {
                Ok(Frame { position, kind, payload: body })
            }
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(failed(error)),
            _ => {
                self.counters.rotten += 1;
                Err(Error::Rotten(position))
            }
        }
    }

    /// The unacknowledged frames behind `after`, or all, lowest first; no payload is read.
    pub fn unacknowledged(&self, after: Option<Position>) -> impl Iterator<Item = Meta> + '_ {
        self.index.iter(after)
    }

    /// Forgets a frame; false when it was not there.
    ///
    /// # Errors
    ///
    /// The cursor could not be written: the frame is forgotten until the next open.
    pub fn acknowledge(&mut self, position: Position) -> Result<bool, Error> {
        Ok(self.acknowledge_all([position])? > 0)
    }

    /// Forgets frames in any order, and returns how many were there.
    ///
    /// # Errors
    ///
    /// As [`Self::acknowledge`].
    pub fn acknowledge_all(&mut self, positions: impl IntoIterator<Item = Position>) -> Result<u64, Error> {
        let mut count = 0;
        for position in positions {
            count += u64::from(self.index.acknowledge(position));
        }
        self.counters.acknowledged += count;
        let cursor = self.index.cursor();
        let mut written = Ok(());
        if cursor != self.cursor_written {
            written = self.cursor.write(cursor).map_err(|error| {
                self.counters.cursor_errors += 1;
                Error::io(&self.directory.join(super::cursor::NAME), error)
            });
            if written.is_ok() {
                self.cursor_written = cursor;
            }
        }
        self.delete_done(false);
        written.map(|()| count)
    }

    /// The state and the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            frames: self.index.frames,
            bytes: self.index.bytes,
            disk_bytes: self.index.disk,
            segments: self.index.segments.len() as u64,
            cursor: self.index.cursor(),
            poisoned: self.poison.clone(),
            ..self.counters.clone()
        }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Brings the cursor to the disk as well: nothing comes again after this.
    pub(super) fn sync_cursor(&self) -> io::Result<()> {
        self.cursor.sync()
    }

    fn stage(&mut self, kind: u8, length: u32, pieces: &[&[u8]]) -> Position {
        let position = self.next();
        let header = Header { kind, length, sequence: position.sequence() };
        let segment = self.index.segments.back().expect("admit has begun a segment");
        let offset = segment.length + self.staged.bytes.len() as u64;
        let entry = Entry::new(segment.label, offset, header).expect("admit bounds segments and numbers");
        frame::encode(&mut self.staged.bytes, header, segment.label.salt, pieces);
        self.staged.entries.push(entry);
        position
    }

    pub(super) fn check_poison(&self) -> Result<(), Error> {
        self.poison.as_ref().map_or(Ok(()), |source| {
            Err(Error::Poisoned { path: self.directory.clone(), source: Arc::clone(source) })
        })
    }

    /// Refuses every append from now on; the first cause stays.
    pub(super) fn poison(&mut self, error: io::Error) -> Error {
        self.staged.clear();
        let source = Arc::clone(self.poison.get_or_insert_with(|| Arc::new(error)));
        Error::Poisoned { path: self.directory.clone(), source }
    }
}

impl Staged {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / size_of::<Entry>());
    }
}

impl Unsynced {
    fn is_empty(&self) -> bool {
        self.full.is_empty() && !self.active && !self.directory
    }
}

fn check_length(length: u64) -> Result<u32, Error> {
    match u32::try_from(length) {
        Ok(short) if short <= PAYLOAD_MAX => Ok(short),
        _ => Err(Error::TooLarge { length, limit: u64::from(PAYLOAD_MAX) }),
    }
}
