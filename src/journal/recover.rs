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
    unreadable_bytes: u64,
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
        recovery.unreadable_bytes += walked.unreadable_bytes;
        // What can not be read now may be read later, so it is neither cut nor written behind.
        let is_last = is_last && walked.unreadable_bytes == 0;
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

/// The lock of a directory.
///
/// It is given back by word and not by closing the file: a child that somebody is starting has the file open as well
/// until it becomes another program.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // What can not be given back goes with the process.
        flock(&self.0, FlockOperation::Unlock).unwrap_or_default();
    }
}

/// Makes the directory and takes its lock.
fn take(directory: &Path) -> Result<(File, Lock), Error> {
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
    Ok((File::open(directory).map_err(failed)?, Lock(lock)))
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
                walked.unreadable_bytes = walk.unreadable();
                return Ok(walked);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::super::Durability;
    use super::super::Position;
    use super::super::tests::SMALL;
    use super::super::tests::check_frames;
    use super::super::tests::copied;
    use super::super::tests::filled;
    use super::super::tests::numbers;
    use super::super::tests::open;
    use super::super::tests::payload;
    use super::super::tests::segments;
    use super::*;

    const FRAMES: u64 = 24;

    /// The numbers whose frames can be read, all of them right.
    fn readable(journal: &mut Journal) -> Vec<u64> {
        let mut found = Vec::new();
        for number in numbers(journal) {
            match journal.read(Position::new(number)) {
                Ok(frame) => {
                    assert_eq!((frame.kind, frame.payload), (number as u8, payload(number)));
                    found.push(number);
                }
                Err(Error::Rotten(position)) => assert_eq!(position.sequence(), number),
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    /// A damaged journal takes frames again and keeps them.
    fn check_goes_on(mut journal: Journal, path: &Path) {
        let before = readable(&mut journal);
        let number = journal.append(9, &[b"after"]).unwrap().sequence();
        journal.commit(Durability::Written).unwrap();
        drop(journal);
        let (mut journal, recovery) = open(path);
        assert_eq!(recovery.torn_bytes, 0);
        assert_eq!(journal.read(Position::new(number)).unwrap().payload, b"after");
        assert!(journal.acknowledge(Position::new(number)).unwrap());
        assert_eq!(readable(&mut journal), before);
    }

    #[test]
    fn a_changed_byte_costs_one_frame_at_most() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), FRAMES));
        let files = segments(directory.path());
        assert!(files.len() >= 4);
        let mut lost = 0;
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            for (at, byte) in bytes.iter().enumerate() {
                let mask = if at % 2 == 0 { 0x01 } else { 0xFF };
                let copy = copied(directory.path());
                let target = copy.path().join(file.file_name().unwrap());
                let target = OpenOptions::new().write(true).open(target).unwrap();
                target.write_all_at(&[byte ^ mask], at as u64).unwrap();
                let (mut journal, recovery) = open(copy.path());
                let found = readable(&mut journal);
                assert!(found.len() as u64 >= FRAMES - 1, "{file:?} byte {at}: {found:?}");
                // The header of a segment is also in its name.
                assert!(at >= segment::HEADER || found.len() as u64 == FRAMES, "{file:?} byte {at}");
                assert!(recovery.set_aside.is_empty() && !recovery.cursor_lost, "{recovery:?}");
                lost += FRAMES - found.len() as u64;
                if at % 16 == 0 {
                    check_goes_on(journal, copy.path());
                }
            }
        }
        assert!(lost > FRAMES * 14, "only {lost} frames were hit");
    }

    #[test]
    fn a_changed_byte_of_the_cursor_brings_frames_again_and_loses_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = filled(directory.path(), FRAMES);
        for number in 1..=10 {
            journal.acknowledge(Position::new(number)).unwrap();
        }
        drop(journal);
        let bytes = std::fs::read(directory.path().join(cursor::NAME)).unwrap();
        for at in 0..bytes.len() {
            let copy = copied(directory.path());
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            std::fs::write(copy.path().join(cursor::NAME), changed).unwrap();
            let (mut journal, recovery) = open(copy.path());
            let found = readable(&mut journal);
            assert!(found == (11..=FRAMES).collect::<Vec<_>>() || found == (10..=FRAMES).collect::<Vec<_>>());
            assert!(!recovery.cursor_lost);
        }
        std::fs::write(directory.path().join(cursor::NAME), "rubbish").unwrap();
        let (journal, recovery) = open(directory.path());
        assert!(recovery.cursor_lost && recovery.is_damaged());
        assert!(numbers(&journal).ends_with(&(11..=FRAMES).collect::<Vec<_>>()));
    }

    #[test]
    fn a_cut_anywhere_costs_the_frames_behind_it_in_that_segment() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), FRAMES));
        let files = segments(directory.path());
        let first_of_last = segment::list(directory.path()).unwrap().last().unwrap().0.base;
        for file in &files {
            let is_last = Some(file) == files.last();
            let length = file.metadata().unwrap().len();
            let mut most = 0;
            for cut in 0..length {
                let copy = copied(directory.path());
                let target = copy.path().join(file.file_name().unwrap());
                OpenOptions::new().write(true).open(target).unwrap().set_len(cut).unwrap();
                let (mut journal, recovery) = open(copy.path());
                let found = readable(&mut journal);
                assert!(found.len() >= most, "{file:?} at {cut}");
                most = found.len();
                assert_eq!(recovery.frames, found.len() as u64);
                if is_last {
                    assert!(found.iter().copied().eq(1..=found.len() as u64), "{found:?}");
                    assert!(found.len() as u64 >= first_of_last - 1);
                    assert!(!recovery.is_damaged() || cut < segment::HEADER as u64, "{recovery:?}");
                    // A number that was given is not given again when its header is still there.
                    assert!(journal.next().sequence() > found.len() as u64);
                } else {
                    assert!(found.ends_with(&(first_of_last..=FRAMES).collect::<Vec<_>>()));
                }
                if cut % 8 == 0 {
                    check_goes_on(journal, copy.path());
                }
            }
            assert!(most as u64 == FRAMES - 1, "{file:?}: {most}");
        }
    }

    #[test]
    fn rubbish_between_and_behind_frames_is_passed_over_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), FRAMES));
        for (at, file) in segments(directory.path()).iter().enumerate() {
            let mut bytes = std::fs::read(file).unwrap();
            // Markers without a header, and the copy of a frame of this very segment.
            bytes.extend(frame_markers(100));
            bytes.extend(bytes[segment::HEADER..segment::HEADER + 60].to_vec());
            bytes.push(at as u8);
            std::fs::write(file, bytes).unwrap();
        }
        let (mut journal, recovery) = open(directory.path());
        check_frames(&mut journal, 1..=FRAMES);
        assert!(recovery.torn_bytes > 400 && recovery.skipped_bytes > 400, "{recovery:?}");
        assert_eq!(recovery.skipped_frames, 0);
        check_goes_on(journal, directory.path());
    }

    fn frame_markers(count: usize) -> Vec<u8> {
        super::super::frame::MARKER.repeat(count)
    }

    #[test]
    fn lost_pages_in_the_middle_cost_the_frames_that_lay_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 1 << 20, limit_bytes: 1 << 30, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(directory.path(), options).unwrap();
        for number in 1..=100 {
            journal.append(number, &[&[number; 1000]]).unwrap();
        }
        journal.commit(Durability::Written).unwrap();
        drop(journal);
        let file = segments(directory.path()).remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[8192..16384].fill(0);
        std::fs::write(&file, bytes).unwrap();
        let (journal, recovery) = Journal::open(directory.path(), options).unwrap();
        assert_eq!(recovery.skipped_frames, 9, "{recovery:?}");
        assert_eq!(numbers(&journal).len(), 91);
    }

    #[test]
    fn a_segment_without_frames_is_put_aside_and_strangers_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), FRAMES));
        let files = segments(directory.path());
        std::fs::write(&files[1], [7; 300]).unwrap();
        std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        std::fs::create_dir(directory.path().join("folder")).unwrap();
        // What is left when the process dies between making a segment and writing its header.
        let begun = Label { base: FRAMES + 1, salt: 5 };
        std::fs::write(directory.path().join(begun.name()), "").unwrap();
        let (mut journal, recovery) = open(directory.path());
        assert_eq!(recovery.set_aside.len(), 1);
        assert!(recovery.set_aside[0].exists() && !files[1].exists());
        assert_eq!(std::fs::read_to_string(directory.path().join("notes.txt")).unwrap(), "mine");
        assert!(directory.path().join("folder").exists());
        assert!(!directory.path().join(begun.name()).exists());
        let found = readable(&mut journal);
        assert!(found.len() > 15 && found.contains(&1) && found.contains(&FRAMES), "{found:?}");
        check_goes_on(journal, directory.path());
    }

    #[test]
    fn a_later_version_stops_the_open_before_anything_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), FRAMES));
        let file = segments(directory.path()).remove(1);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..28]).to_le_bytes();
        bytes[28..32].copy_from_slice(&crc);
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&file, &bytes).unwrap();
        let last = segments(directory.path()).pop().unwrap();
        let torn = std::fs::read(&last).unwrap();
        std::fs::write(&last, &torn[..torn.len() - 1]).unwrap();
        let error = Journal::open(directory.path(), SMALL).unwrap_err();
        assert!(matches!(error, Error::Future { version: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("run the newer one"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        assert_eq!(std::fs::read(&last).unwrap(), torn[..torn.len() - 1]);
        assert!(matches!(
            super::super::scan(directory.path(), super::super::Which::All),
            Err(Error::Future { .. })
        ));
    }

    #[test]
    fn one_process_has_it_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = open(directory.path());
        let error = Journal::open(directory.path(), SMALL).unwrap_err();
        assert!(matches!(error, Error::InUse(_)), "{error}");
        drop(journal);
        open(directory.path());
    }

    #[test]
    fn a_cursor_that_outlived_its_frames_does_not_hide_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = filled(directory.path(), FRAMES);
        journal.acknowledge_all((1..=FRAMES).map(Position::new)).unwrap();
        drop(journal);
        // A power failure: the cursor was written back, the frames were not.
        for file in segments(directory.path()) {
            OpenOptions::new().write(true).open(file).unwrap().set_len(32).unwrap();
        }
        let (mut journal, _) = open(directory.path());
        let number = journal.append(1, &[b"new"]).unwrap();
        assert!(number.sequence() > FRAMES);
        journal.commit(Durability::Synced).unwrap();
        drop(journal);
        assert_eq!(numbers(&open(directory.path()).0), [number.sequence()]);
    }

    #[test]
    fn a_directory_that_can_not_be_made_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Journal::open(&file.join("journal"), SMALL).unwrap_err();
        assert!(matches!(error, Error::Directory(..)), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
