//! Room for what is appended: the limit of the journal, the headroom of the file system, and new segments.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::frame;
use super::index::SEGMENT_MAX;
use super::index::Segment;
use super::segment;
use super::segment::Label;
use super::writer::Active;
use super::writer::GROUP_MAX;
use super::writer::Journal;
use super::writer::UNSYNCED_MAX;

/// Bytes after which the headroom is looked at again where nothing could be reserved.
const CHECK_EVERY: u64 = 1 << 20;

impl Journal {
    /// True when so many more bytes can be staged without another commit.
    #[must_use]
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let Some(segment) = self.index.segments.back().filter(|_| self.active.is_some()) else {
            return false;
        };
        let length = segment.length + self.staged.bytes.len() as u64;
        let is_near = self.next().sequence() - segment.label.base < SEGMENT_MAX / 2;
        let is_unused = length == segment::HEADER as u64;
        is_near && (length + bytes <= self.options.segment_bytes || is_unused)
    }

    /// Makes room for `count` frames of together `bytes` bytes on disk, in one segment, or says why there is none.
    pub(super) fn admit(&mut self, bytes: u64, count: u64) -> Result<(), Error> {
        self.check_poison()?;
        if bytes > GROUP_MAX {
            return Err(Error::TooLarge { length: bytes, limit: GROUP_MAX });
        }
        debug_assert!(count * frame::OVERHEAD <= bytes);
        let limit = self.options.limit_bytes;
        let is_idle = self.index.frames == 0 && self.staged.entries.is_empty();
        if is_idle && (self.index.disk >= self.options.segment_bytes / 4 || self.disk_after(bytes) > limit) {
            self.retire();
        }
        if self.disk_after(bytes) > limit {
            self.counters.refused_full += 1;
            self.counters.full = true;
            return Err(Error::Full { limit });
        }
        if self.fits(bytes) {
            return self.check_headroom(bytes);
        }
        self.write()?;
        self.begin(bytes)
    }

    /// What an error of the kernel means for an append.
    pub(super) fn refusal(&mut self, path: &Path, error: io::Error) -> Error {
        use io::ErrorKind::FileTooLarge;
        use io::ErrorKind::QuotaExceeded;
        use io::ErrorKind::StorageFull;
        if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
            return self.no_space(Some(error));
        }
        Error::io(path, error)
    }

    /// Deletes the segments of which nothing is wanted; the last one only when `last_too`.
    pub(super) fn delete_done(&mut self, last_too: bool) {
        for segment in self.index.take_done(last_too) {
            self.unsynced.directory = true;
            // An open file would keep its room.
            self.reading = self.reading.take().filter(|(label, _)| *label != segment.label);
            self.unsynced.full.retain(|(label, _)| *label != segment.label);
            match std::fs::remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.counters.undeleted += 1,
                _ => {}
            }
        }
    }

    /// Bytes on disk when so many more are appended.
    fn disk_after(&self, bytes: u64) -> u64 {
        let header = if self.fits(bytes) { 0 } else { segment::HEADER as u64 };
        self.index.disk + self.staged.bytes.len() as u64 + header + bytes
    }

    /// Gives up the active segment, of which nothing is wanted.
    fn retire(&mut self) {
        self.active = None;
        self.unsynced.active = false;
        self.delete_done(true);
    }

    /// Begins a segment that has room for `bytes`.
    fn begin(&mut self, bytes: u64) -> Result<(), Error> {
        let need = segment::HEADER as u64 + bytes;
        let free = self.free()?;
        if free < need {
            return Err(self.no_space(None));
        }
        let salt = getrandom::u32().map_err(|error| Error::directory(&self.directory, error.into()))?;
        // A base of its own, whatever the last segment has lost.
        let least = self.index.segments.back().map_or(0, |segment| segment.label.base + 1);
        self.index.next = self.index.next.max(least);
        let label = Label { base: self.index.next, salt };
        let left = self.options.limit_bytes.saturating_sub(self.index.disk);
        let reserve = self.options.segment_bytes.max(need).min(left).min(free);
        let created = segment::create(&self.directory, label, reserve);
        let (file, path, reserved) = created.map_err(|error| {
            let path = self.directory.join(label.name());
            self.refusal(&path, error)
        })?;
        let sealed = self.seal();
        self.index.add(Segment::new(label, path, segment::HEADER as u64));
        self.active = Some(Active { file, reserved, checked: need });
        self.unsynced.active = true;
        self.unsynced.directory = true;
        self.delete_done(false);
        sealed.map_err(|error| self.poison(error))
    }

    /// Takes the active segment out of use; it keeps its bytes and gives up what was reserved behind them.
    fn seal(&mut self) -> io::Result<()> {
        let (Some(active), Some(segment)) = (self.active.take(), self.index.segments.back()) else {
            return Ok(());
        };
        if active.reserved > segment.length {
            // If it fails, the room is given back when the segment is deleted.
            active.file.set_len(segment.length).ok();
        }
        if std::mem::take(&mut self.unsynced.active) {
            self.unsynced.full.push_back((segment.label, active.file));
        }
        if self.unsynced.full.len() <= UNSYNCED_MAX {
            return Ok(());
        }
        self.unsynced.full.pop_front().map_or(Ok(()), |(_, file)| file.sync_data())
    }

    /// Looks whether `bytes` more leave the headroom free; not needed for what is reserved.
    fn check_headroom(&mut self, bytes: u64) -> Result<(), Error> {
        let length = self.index.segments.back().map_or(0, |segment| segment.length);
        let end = length + self.staged.bytes.len() as u64 + bytes;
        if self.active.as_ref().is_some_and(|active| end <= active.reserved.max(active.checked)) {
            return Ok(());
        }
        let free = self.free()?;
        if free < bytes {
            return Err(self.no_space(None));
        }
        if let Some(active) = &mut self.active {
            active.checked = end + CHECK_EVERY.min(free - bytes);
        }
        Ok(())
    }

    /// Bytes that may be taken from the file system.
    fn free(&self) -> Result<u64, Error> {
        let free = available(&self.entries).map_err(|error| Error::directory(&self.directory, error))?;
        Ok(free.saturating_sub(self.options.headroom_bytes))
    }

    fn no_space(&mut self, source: Option<io::Error>) -> Error {
        self.counters.refused_space += 1;
        self.counters.full = true;
        Error::NoSpace { path: self.directory.clone(), source: source.map(Arc::new) }
    }
}

/// Bytes that the file system of `directory` has for this user.
fn available(directory: &File) -> io::Result<u64> {
    let found = rustix::fs::fstatvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::Durability;
    use super::super::Options;
    use super::super::PAYLOAD_MAX;
    use super::super::Position;
    use super::super::tests::numbers;
    use super::super::tests::open;
    use super::super::tests::segments;
    use super::*;

    /// A file system of its own; gone when dropped.
    struct Small(tempfile::TempDir);

    impl Small {
        /// None, with a line that says so, where nothing may be mounted.
        fn new(size: &str) -> Option<Self> {
            let directory = tempfile::tempdir().unwrap();
            let mount = ["-t", "tmpfs", "-o", &format!("size={size}"), "pillion-test"];
            let done = Command::new("mount").args(mount).arg(directory.path()).output();
            if done.is_ok_and(|output| output.status.success()) {
                return Some(Self(directory));
            }
            #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
            {
                eprintln!("skipped: mounting a tmpfs needs root");
            }
            None
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("journal")
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            Command::new("umount").arg("-l").arg(self.0.path()).status().unwrap();
        }
    }

    fn append(journal: &mut Journal, bytes: usize) -> Result<Position, Error> {
        let position = journal.append(1, &[&vec![7; bytes]])?;
        journal.commit(Durability::Written)?;
        Ok(position)
    }

    /// Appends until it is refused.
    fn fill(journal: &mut Journal, bytes: usize) -> (u64, Error) {
        for count in 0.. {
            if let Err(error) = append(journal, bytes) {
                return (count, error);
            }
        }
        unreachable!("a journal that takes everything")
    }

    #[test]
    fn the_limit_is_exact_and_room_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 1000, limit_bytes: 10_000, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(directory.path(), options).unwrap();
        let (count, error) = fill(&mut journal, 72);
        assert!(matches!(error, Error::Full { limit: 10_000 }), "{error}");
        // 9 frames of 100 bytes and a header of 32 in each segment, then what is left.
        assert_eq!((count, journal.stats().disk_bytes), (96, 10 * 32 + 96 * 100 + 32));
        assert!(journal.stats().full && journal.stats().refused_full == 1);
        assert!(error.retryable());
        let used: u64 = segments(directory.path()).iter().map(|path| blocks(path)).sum();
        assert!(used <= 11 * 4096, "{used} bytes are reserved");
        for number in 1..=9 {
            journal.acknowledge(Position::new(number)).unwrap();
        }
        append(&mut journal, 72).unwrap();
        assert!(!journal.stats().full);
        assert_eq!(numbers(&journal), (10..=97).collect::<Vec<_>>());
    }

    fn blocks(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        path.metadata().unwrap().blocks() * 512
    }

    #[test]
    fn reserved_bytes_stay_within_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 1 << 20, limit_bytes: 4 << 20, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(directory.path(), options).unwrap();
        append(&mut journal, 10).unwrap();
        let all = || segments(directory.path()).iter().map(|path| blocks(path)).sum::<u64>();
        assert_eq!(all(), 1 << 20);
        fill(&mut journal, 100_000);
        assert!(all() <= (4 << 20) + 4096 * journal.stats().segments, "{}", all());
    }

    #[test]
    fn a_journal_that_was_emptied_takes_as_much_as_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 1000, limit_bytes: 3000, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(directory.path(), options).unwrap();
        let (first, _) = fill(&mut journal, 72);
        for _ in 0..5 {
            let all: Vec<_> = numbers(&journal).into_iter().map(Position::new).collect();
            journal.acknowledge_all(all).unwrap();
            assert!(fill(&mut journal, 72).0 >= first - 1);
        }
    }

    #[test]
    fn what_is_too_large_is_refused_and_the_largest_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path(), Options::default()).unwrap();
        let most = vec![1; PAYLOAD_MAX as usize];
        let position = journal.append(1, &[&most]).unwrap();
        let error = journal.append(1, &[&most, b"x"]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { length: 17_825_793, limit: 17_825_792 }), "{error}");
        let four = [(0, &most), (0, &most), (0, &most), (0, &most)];
        assert!(matches!(journal.append_all(&four).unwrap_err(), Error::TooLarge { .. }));
        journal.append_all(&four[..3]).unwrap();
        journal.commit(Durability::Written).unwrap();
        assert_eq!(journal.read(position).unwrap().payload, most);
        drop(journal);
        assert_eq!(open(directory.path()).1.frames, 4);
    }

    #[test]
    fn a_group_is_in_one_segment_and_refused_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 500, limit_bytes: 4000, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(directory.path(), options).unwrap();
        append(&mut journal, 10).unwrap();
        // Larger than a segment: it gets one of its own.
        let positions = journal.append_all(&vec![(2, [0; 72]); 10]).unwrap();
        assert_eq!(positions, (2..=11).map(Position::new).collect::<Vec<_>>());
        journal.commit(Durability::Written).unwrap();
        assert_eq!(segments(directory.path()).len(), 2);
        assert!(matches!(journal.append_all(&vec![(2, [0; 72]); 30]), Err(Error::Full { .. })));
        assert_eq!(journal.next(), Position::new(12));
        assert_eq!(numbers(&journal).len(), 11);
    }

    #[test]
    fn the_headroom_stays_free() {
        let Some(small) = Small::new("4m") else { return };
        let options = Options { segment_bytes: 256 << 10, limit_bytes: 1 << 30, headroom_bytes: 1 << 20 };
        let (mut journal, _) = Journal::open(&small.path(), options).unwrap();
        let (count, error) = fill(&mut journal, 10_000);
        assert!(matches!(error, Error::NoSpace { source: None, .. }), "{error}");
        assert!(count > 250, "{count}");
        let left = available(&File::open(small.path()).unwrap()).unwrap();
        assert!(left >= 1 << 20, "{left}");
        // What is smaller than the rest of the segment would be fits again once something was acknowledged.
        for number in 1..=30 {
            journal.acknowledge(Position::new(number)).unwrap();
        }
        append(&mut journal, 10_000).unwrap();
        assert_eq!(numbers(&journal).len() as u64, count - 30 + 1);
    }

    #[test]
    fn a_full_disk_refuses_what_does_not_fit_and_goes_on_when_there_is_room() {
        let Some(small) = Small::new("1m") else { return };
        let options = Options { segment_bytes: 256 << 10, limit_bytes: 1 << 30, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(&small.path(), options).unwrap();
        append(&mut journal, 1000).unwrap();
        // Somebody else takes the rest, and what was reserved is given up as on a file system that can not reserve.
        let length = segments(&small.path())[0].metadata().unwrap().len();
        let active = journal.active.as_mut().unwrap();
        active.file.set_len(length).unwrap();
        active.checked = u64::MAX;
        let other = small.0.path().join("other");
        let mut bytes = 1 << 20;
        while bytes > 4096 {
            bytes -= 4096;
            if std::fs::write(&other, vec![1; bytes]).is_ok() {
                break;
            }
        }
        let (count, error) = fill(&mut journal, 3000);
        assert!(matches!(error, Error::NoSpace { source: Some(_), .. }), "{error}");
        assert!(journal.stats().refused_space == 1 && journal.stats().full);
        assert_eq!(segments(&small.path())[0].metadata().unwrap().len(), journal.stats().disk_bytes);
        assert!(matches!(append(&mut journal, 9000), Err(Error::NoSpace { .. })));
        std::fs::remove_file(&other).unwrap();
        append(&mut journal, 3000).unwrap();
        assert!(!journal.stats().full);
        drop(journal);
        let (journal, recovery) = open(&small.path());
        assert_eq!((recovery.frames, recovery.torn_bytes), (count + 2, 0));
        assert_eq!(numbers(&journal).len() as u64, count + 2);
    }
}
