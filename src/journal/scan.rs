//! Reading a journal that another process may be writing: no lock is taken and nothing is changed.
//!
//! A scan sees the segments that were there when it began, each as long as it is when its turn comes. A segment that
//! was deleted since is passed over, as its frames were acknowledged; a frame that is being written is not seen.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::Error;
use super::Frame;
use super::Position;
use super::cursor::Reading;
use super::recover::Found;
use super::recover::look;
use super::segment::HEADER;
use super::walk::Depth;
use super::walk::Step;
use super::walk::Walk;

/// Which frames a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that are still there.
    All,
    /// From the cursor on; some of them may have been acknowledged.
    Unacknowledged,
    /// Those behind a position.
    After(Position),
}

/// The frames of a journal, lowest first.
#[derive(Debug)]
pub struct Scan {
    found: VecDeque<Found>,
    walk: Option<(PathBuf, Walk<File>)>,
    from: u64,
    damage: Damage,
}

/// What was passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Damage {
    frames: u64,
    bytes: u64,
    torn: u64,
}

/// What is in a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Segments.
    pub segments: u64,
    /// Bytes of their files.
    pub disk_bytes: u64,
    /// Whole frames.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Whole frames from the cursor on.
    pub unacknowledged_frames: u64,
    /// Bytes of their payloads.
    pub unacknowledged_bytes: u64,
    /// The lowest unacknowledged position; none when the cursor can not be read.
    pub cursor: Option<Position>,
    /// The first whole frame.
    pub oldest: Option<Position>,
    /// The last whole frame.
    pub newest: Option<Position>,
    /// Frames that are damaged or missing amid others.
    pub rotten_frames: u64,
    /// Bytes amid frames that are none.
    pub rotten_bytes: u64,
    /// Bytes behind the last whole frame of a segment: torn, or being written.
    pub torn_bytes: u64,
}

/// Reads the frames of the journal in `directory`.
///
/// # Errors
///
/// The directory or the cursor can not be read, or is of a later version. An error from the iterator concerns one
/// segment; it goes on with the next.
pub fn scan(directory: &Path, which: Which) -> Result<Scan, Error> {
    let (found, reading) = look(directory)?;
    let from = match (which, reading) {
        (Which::Unacknowledged, Reading::Cursor(cursor, _)) => cursor,
        (Which::After(position), _) => position.sequence().saturating_add(1),
        _ => 0,
    };
    let found = found.into_iter().filter(|found| found.below > from).collect();
    Ok(Scan { found, walk: None, from, damage: Damage::default() })
}

/// Looks at every frame of the journal in `directory`, bodies too.
///
/// # Errors
///
/// As [`scan`], and when a segment can not be read.
pub fn survey(directory: &Path) -> Result<Survey, Error> {
    let (found, reading) = look(directory)?;
    let cursor = if let Reading::Cursor(cursor, _) = reading { Some(Position::new(cursor)) } else { None };
    let mut survey = Survey { cursor, ..Survey::default() };
    for found in found {
        let Some((file, length)) = open(&found.path)? else { continue };
        survey.segments += 1;
        survey.disk_bytes += length;
        let mut walk = Walk::new(file, length, found.label, found.below, Depth::Bodies);
        loop {
            match walk.step().map_err(|error| Error::io(&found.path, error))? {
                Step::Frame(_, header) => {
                    let (position, bytes) = (Position::new(header.sequence), u64::from(header.length));
                    survey.frames += 1;
                    survey.bytes += bytes;
                    if cursor.is_none_or(|cursor| position >= cursor) {
                        survey.unacknowledged_frames += 1;
                        survey.unacknowledged_bytes += bytes;
                    }
                    survey.oldest = survey.oldest.or(Some(position));
                    survey.newest = Some(position);
                }
                Step::Rotten(header) => {
                    survey.rotten_frames += 1;
                    survey.rotten_bytes += header.total();
                }
                Step::Gap { bytes, first, until } => {
                    survey.rotten_frames += until - first;
                    survey.rotten_bytes += bytes;
                }
                Step::End { torn, .. } => {
                    survey.torn_bytes += torn;
                    break;
                }
            }
        }
    }
    Ok(survey)
}

impl Scan {
    /// Frames that were passed over so far because they are damaged.
    #[must_use]
    pub const fn skipped_frames(&self) -> u64 {
        self.damage.frames
    }

    /// Bytes that were passed over so far because they are no whole frame.
    #[must_use]
    pub const fn skipped_bytes(&self) -> u64 {
        self.damage.bytes + self.damage.torn
    }

    fn advance(&mut self) -> io::Result<Option<Frame>> {
        let Some((_, walk)) = &mut self.walk else { return Ok(None) };
        loop {
            match walk.step()? {
                Step::Frame(_, header) if header.sequence < self.from => {}
                Step::Frame(offset, header) => {
                    if let Some(payload) = walk.payload(offset, header)? {
                        let position = Position::new(header.sequence);
                        return Ok(Some(Frame { position, kind: header.kind, payload }));
                    }
                    self.damage.frames += 1;
                    self.damage.bytes += header.total();
                }
                Step::Rotten(_) => {}
                Step::Gap { bytes, first, until } => {
                    self.damage.frames += until - first;
                    self.damage.bytes += bytes;
                }
                Step::End { torn, .. } => {
                    self.damage.torn += torn;
                    return Ok(None);
                }
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(frame)) => return Some(Ok(frame)),
                // What has ended is not counted again.
                Ok(None) => self.walk = None,
                Err(error) => {
                    let (path, _) = self.walk.take()?;
                    return Some(Err(Error::io(&path, error)));
                }
            }
            let found = self.found.pop_front()?;
            match open(&found.path) {
                Ok(Some((file, length))) => {
                    let walk = Walk::new(file, length, found.label, found.below, Depth::Headers);
                    self.walk = Some((found.path, walk));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A segment and its length; none when its owner has deleted it.
fn open(path: &Path) -> Result<Option<(File, u64)>, Error> {
    let failed = |error| Error::io(path, error);
    match File::open(path) {
        Ok(file) => {
            let length = file.metadata().map_err(failed)?.len();
            Ok((length >= HEADER as u64).then_some((file, length)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Durability;
    use super::super::tests::filled;
    use super::super::tests::open;
    use super::super::tests::payload;
    use super::super::tests::segments;
    use super::*;

    fn check_scan(path: &Path, which: Which, expected: impl IntoIterator<Item = u64>) -> Scan {
        let mut scan = scan(path, which).unwrap();
        for number in expected {
            let frame = scan.next().unwrap().unwrap();
            assert_eq!((frame.position, frame.payload), (Position::new(number), payload(number)));
        }
        assert!(scan.next().is_none() && scan.next().is_none());
        scan
    }

    #[test]
    fn frames_are_read_beside_the_owner() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = filled(directory.path(), 30);
        for number in (1..=10).chain([12]) {
            journal.acknowledge(Position::new(number)).unwrap();
        }
        check_scan(directory.path(), Which::Unacknowledged, 11..=30);
        check_scan(directory.path(), Which::After(Position::new(25)), 26..=30);
        check_scan(directory.path(), Which::After(Position::new(u64::MAX)), []);
        let all = scan(directory.path(), Which::All).unwrap().count();
        assert!((20..30).contains(&all), "{all}");
    }

    #[test]
    fn segments_that_are_deleted_meanwhile_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = filled(directory.path(), 30);
        let mut scan = scan(directory.path(), Which::Unacknowledged).unwrap();
        assert_eq!(scan.next().unwrap().unwrap().position, Position::new(1));
        for number in 1..=25 {
            journal.acknowledge(Position::new(number)).unwrap();
        }
        let rest: Vec<u64> = scan.map(|frame| frame.unwrap().position.sequence()).collect();
        assert!(rest.contains(&26) && rest.last() == Some(&30), "{rest:?}");
    }

    #[test]
    fn a_frame_that_is_being_written_is_not_seen_yet() {
        let directory = tempfile::tempdir().unwrap();
        drop(filled(directory.path(), 30));
        let last = segments(directory.path()).pop().unwrap();
        let bytes = std::fs::read(&last).unwrap();
        std::fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
        let scan = check_scan(directory.path(), Which::All, 1..=29);
        assert!(scan.skipped_frames() == 0 && scan.skipped_bytes() > 0);
        let survey = survey(directory.path()).unwrap();
        assert_eq!((survey.frames, survey.torn_bytes), (29, scan.skipped_bytes()));
        assert_eq!(std::fs::read(&last).unwrap().len(), bytes.len() - 1, "a scan changes nothing");
    }

    #[test]
    fn a_survey_counts_what_is_whole_and_what_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = filled(directory.path(), 30);
        journal.acknowledge(Position::new(1)).unwrap();
        let files = segments(directory.path());
        let mut bytes = std::fs::read(&files[1]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&files[1], bytes).unwrap();
        let survey = survey(directory.path()).unwrap();
        assert_eq!(survey.segments as usize, files.len());
        assert_eq!((survey.frames, survey.rotten_frames, survey.unacknowledged_frames), (29, 1, 28));
        assert_eq!((survey.oldest, survey.newest), (Some(Position::new(1)), Some(Position::new(30))));
        assert_eq!(survey.cursor, Some(Position::new(2)));
        assert_eq!(survey.disk_bytes, journal.stats().disk_bytes);
        let mut scan = scan(directory.path(), Which::All).unwrap();
        assert_eq!((&mut scan).filter(Result::is_ok).count(), 29);
        assert_eq!(scan.skipped_frames(), 1);
    }

    #[test]
    fn a_directory_without_a_journal_is_told_and_an_empty_one_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let error = scan(&directory.path().join("none"), Which::All).unwrap_err();
        assert!(matches!(error, Error::Directory(..)), "{error}");
        drop(open(directory.path()));
        assert_eq!(scan(directory.path(), Which::All).unwrap().count(), 0);
        assert_eq!(survey(directory.path()).unwrap().frames, 0);
    }

    #[test]
    fn a_scan_while_the_owner_works_sees_only_whole_frames_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let (mut journal, _) = open(&path);
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                for number in 1..=3000 {
                    journal.append(number as u8, &[&payload(number)]).unwrap();
                    journal.commit(Durability::Written).unwrap();
                    if number > 40 {
                        journal.acknowledge(Position::new(number - 40)).unwrap();
                    }
                }
            });
            while !writer.is_finished() {
                let mut last = 0;
                for frame in scan(&path, Which::All).unwrap() {
                    let frame = frame.unwrap();
                    let number = frame.position.sequence();
                    assert!(number > last && frame.payload == payload(number));
                    last = number;
                }
            }
        });
    }
}
