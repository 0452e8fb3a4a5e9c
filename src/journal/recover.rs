//! Opening a journal: what is in the directory, whatever state it was left in.
//!
//! First everything is looked at and nothing is changed: a file of a later version ends the open there. Then the
//! cursor, then each segment in order, the last one with the bodies of its frames; its end is cut behind the last
//! whole frame.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::fs::flock;

use super::Error;
use super::Options;
use super::Recovery;
use super::Stats;
use super::cursor;
use super::cursor::CursorFile;
use super::cursor::Reading;
use super::index::Entry;
use super::index::Index;
use super::index::Segment;
use super::segment;
use super::segment::Head;
use super::segment::Label;
use super::walk::Depth;
use super::walk::Step;
use super::walk::Walk;
use super::writer::Active;
use super::writer::Journal;
use super::writer::Staged;
use super::writer::Unsynced;

const LOCK: &str = "lock";
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// A segment on disk.
#[derive(Debug)]
pub(super) struct Found {
    pub label: Label,
    pub path: PathBuf,
    /// No frame in it reaches this number.
    pub below: u64,
    is_whole: bool,
}

/// What a walk through one segment found.
#[derive(Debug, Default)]
struct Walked {
    entries: Vec<Entry>,
    /// Where the last whole frame ends; zero when there is none.
    end: u64,
    /// The number behind the highest one that was seen.
    next: u64,
    /// Damage before `end`.
    skipped_frames: u64,
    skipped_bytes: u64,
}

impl Journal {
    /// Takes the journal in `directory`, which is made when it is missing.
    ///
    /// # Errors
    ///
    /// `InUse`, `Future`, `Directory`, or `Io` when a file can not be opened. Damage is no error: see [`Recovery`].
    pub fn open(directory: &Path, options: Options) -> Result<(Self, Recovery), Error> {
        let (entries, lock) = take(directory)?;
        let (found, reading) = look(directory)?;
        let mut recovery = Recovery::default();
        let (cursor, turn) = match reading {
            Reading::Cursor(cursor, turn) => (cursor, turn),
            Reading::Missing if found.is_empty() => (1, 0),
            _ => {
                recovery.cursor_lost = true;
                (found.first().map_or(1, |first| first.label.base), 0)
            }
        };
        let failed = |error| Error::io(&directory.join(cursor::NAME), error);
        let mut cursor_file = CursorFile::open(directory, turn).map_err(failed)?;
        if !matches!(reading, Reading::Cursor(..)) {
            cursor_file.write(cursor).and_then(|()| cursor_file.sync()).map_err(failed)?;
            entries.sync_all().map_err(|error| Error::directory(directory, error))?;
        }
        let limit = options.limit_bytes;
        let segment_bytes = options.segment_bytes.min(limit / 4).min(SEGMENT_BYTES_MAX);
        let mut journal = Self {
            directory: directory.to_owned(),
            options: Options { segment_bytes, ..options },
            index: Index { next: cursor.max(1), ..Index::default() },
            active: None,
            staged: Staged::default(),
            unsynced: Unsynced::default(),
            cursor: cursor_file,
            cursor_written: cursor,
            poison: None,
            reading: None,
            counters: Stats::default(),
            entries,
            _lock: lock,
        };
        let last = found.len().saturating_sub(1);
        for (at, found) in found.into_iter().enumerate() {
            journal.recover(found, at == last, cursor, &mut recovery)?;
        }
        journal.delete_done(false);
        recovery.segments = journal.index.segments.len() as u64;
        recovery.frames = journal.index.frames;
        recovery.bytes = journal.index.bytes;
        Ok((journal, recovery))
    }

    /// Takes in one segment.
    fn recover(
        &mut self,
        found: Found,
        is_last: bool,
        cursor: u64,
        recovery: &mut Recovery,
    ) -> Result<(), Error> {
        let failed = |error| Error::io(&found.path, error);
        self.index.next = self.index.next.max(found.label.base);
        if found.below <= cursor {
            self.index.add(Segment::new(found.label, found.path, 0));
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(&found.path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let depth = if is_last { Depth::Bodies } else { Depth::Headers };
        let walked = walk(&file, length, &found, depth, cursor).map_err(failed)?;
        self.index.next = self.index.next.max(walked.next);
        recovery.skipped_bytes += walked.skipped_bytes;
        recovery.skipped_frames += walked.skipped_frames;
        let is_empty = walked.end == 0;
        if is_empty && !(is_last && found.is_whole) {
            return self.set_aside(&found, length, recovery);
        }
        let end = walked.end.max(segment::HEADER as u64);
        let rest = length.saturating_sub(end);
        if is_last {
            recovery.torn_bytes += rest;
        } else if rest > 0 {
            recovery.skipped_bytes += rest;
            recovery.skipped_frames += found.below - walked.next.max(cursor).min(found.below);
        }
        self.index.add(Segment::new(found.label, found.path.clone(), if is_last { end } else { length }));
        for entry in walked.entries {
            self.index.push(entry);
        }
        if is_last && rest > 0 {
            file.set_len(end).map_err(failed)?;
        }
        if is_last && found.is_whole {
            self.active = Some(Active { file, reserved: 0, checked: 0 });
            self.unsynced.active = true;
        }
        Ok(())
    }

    /// Puts a segment without frames out of the way: deletes it when it was only begun, renames it otherwise.
    fn set_aside(&mut self, found: &Found, length: u64, recovery: &mut Recovery) -> Result<(), Error> {
        self.unsynced.directory = true;
        let done = if length <= segment::HEADER as u64 {
            std::fs::remove_file(&found.path)
        } else {
            let mut name = found.path.clone().into_os_string();
            name.push(".rotten");
            let target = PathBuf::from(name);
            recovery.skipped_bytes += length;
            std::fs::rename(&found.path, &target).map(|()| recovery.set_aside.push(target))
        };
        done.map_err(|error| Error::io(&found.path, error))
    }
}

/// Makes the directory and takes its lock.
fn take(directory: &Path) -> Result<(File, File), Error> {
    let failed = |error| Error::directory(directory, error);
    DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o640);
    let lock = options.open(directory.join(LOCK)).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse(directory.to_owned())),
        Err(error) => return Err(failed(error.into())),
    }
    Ok((File::open(directory).map_err(failed)?, lock))
}

/// The segments and the cursor of a journal, in order; nothing is changed.
pub(super) fn look(directory: &Path) -> Result<(Vec<Found>, Reading), Error> {
    let reading = cursor::read(directory).map_err(|error| Error::io(&directory.join(cursor::NAME), error))?;
    if let Reading::Future(version) = reading {
        let path = directory.join(cursor::NAME);
        return Err(Error::Future { path, version, known: cursor::VERSION });
    }
    let mut found = Vec::new();
    for (name, path) in segment::list(directory).map_err(|error| Error::directory(directory, error))? {
        let file = match File::open(&path) {
            Ok(file) => file,
            // Its owner has deleted it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(&path, error)),
        };
        let head = Head::read(&file);
        let label = match head {
            Head::Future(version) => return Err(Error::Future { path, version, known: segment::VERSION }),
            Head::Whole(label) => label,
            Head::Rotten => name,
        };
        found.push(Found { label, path, below: u64::MAX, is_whole: head != Head::Rotten });
    }
    found.sort_by_key(|found| found.label);
    let mut below = u64::MAX;
    let mut base = u64::MAX;
    for found in found.iter_mut().rev() {
        if found.label.base < base {
            (below, base) = (base, found.label.base);
        }
        found.below = below;
    }
    Ok((found, reading))
}

/// Walks through a segment; frames below `cursor` are seen and not kept.
fn walk(file: &File, length: u64, found: &Found, depth: Depth, cursor: u64) -> io::Result<Walked> {
    let mut walk = Walk::new(file.try_clone()?, length, found.label, found.below, depth);
    let mut walked = Walked { next: found.label.base, ..Walked::default() };
    // Damage that no whole frame has followed yet: it may be the end that is cut.
    let (mut frames, mut bytes) = (0, 0);
    loop {
        match walk.step()? {
            Step::Frame(offset, header) => {
                walked.skipped_frames += std::mem::take(&mut frames);
                walked.skipped_bytes += std::mem::take(&mut bytes);
                walked.end = offset + header.total();
                walked.next = header.sequence + 1;
                if header.sequence >= cursor {
                    walked.entries.extend(Entry::new(found.label, offset, header));
                }
            }
            Step::Rotten(header) => {
                walked.next = header.sequence + 1;
                if header.sequence >= cursor {
                    frames += 1;
                    bytes += header.total();
                }
            }
            Step::Gap { bytes: gap, first, until } => {
                if until > cursor {
                    frames += until - first.max(cursor);
                    bytes += gap;
                }
            }
            Step::End { begun, .. } => {
                walked.next = walked.next.max(begun.map_or(0, |sequence| sequence + 1));
                return Ok(walked);
            }
        }
    }
}
