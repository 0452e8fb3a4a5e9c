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
            self.reading = self.reading.take().filter(|(label, _)| *label != segment.label);
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
        self.seal();
        self.index.add(Segment::new(label, path, segment::HEADER as u64));
        self.active = Some(Active { file, reserved, checked: need });
        self.unsynced.active = true;
        self.unsynced.directory = true;
        self.delete_done(false);
        Ok(())
    }

    /// Takes the active segment out of use; it keeps its bytes and gives up what was reserved behind them.
    fn seal(&mut self) {
        let (Some(active), Some(segment)) = (self.active.take(), self.index.segments.back()) else { return };
        if active.reserved > segment.length {
            // If it fails, the room is given back when the segment is deleted.
            active.file.set_len(segment.length).ok();
        }
        if std::mem::take(&mut self.unsynced.active) {
            self.unsynced.full.push(active.file);
        }
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
