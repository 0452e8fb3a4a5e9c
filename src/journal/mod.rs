//! The journal: frames of bytes on disk that outlive a crash, appended in order, acknowledged in any order.
//!
//! It is the one durable log of pillion, for whoever needs one: it does not know what a frame means. A frame is a
//! kind (one byte, the caller's) and a payload. It gets a [`Position`], which is its number for ever; numbers grow
//! and may have gaps. It is no index and no store: frames are found by position or read in order.
//!
//! ```text
//! append ──> inbox ──all that wait──> one write ──> segment ──one fdatasync──> answers
//!            (bounded)                             │
//! acknowledge ──> inbox ──> index ──lowest unacknowledged──> cursor file; whole segments go
//! scan, survey (any process) <── segments, cursor file
//! ```
//!
//! A directory holds segments `<base>-<salt>.segment`, the file `cursor` and the file `lock`. Anything else in it is
//! left alone. [`Journal`] is the owner's half for one thread; [`spawn`] gives it a thread and returns a [`Handle`]
//! for everybody. One process at a time may own a directory; any may [`scan`] or [`survey`] it, without a lock and
//! without changing anything.
//!
//! **What an answer means.** `Written`: the kernel has the frames; they survive the death of the process, by SIGKILL
//! too. `Synced`: the disk has them; they survive a power failure. All appends that wait share one write and, when
//! one of them wants it, one fdatasync. A group ([`Handle::append_all`]) is written in one piece: after an error none
//! of it is there. Two things may bring back what nobody was told is there: a crash, and a failed fdatasync.
//!
//! **Acknowledging.** Everything below the lowest unacknowledged frame is forgotten: the cursor is written, unsynced,
//! whenever it moves, and a segment without unacknowledged frames is deleted. What is acknowledged above the cursor
//! is known in memory only: after a crash those frames come again. After a power failure the cursor may be old as
//! well: frames come again, and are never lost. Numbers of frames that were never synced may then be given again,
//! unless they were acknowledged.
//!
//! **Damage.** Header and body of a frame have a CRC each, and the CRC of a header begins with a salt that only its
//! segment has, so no payload can pose as a frame. A length is believed only when its header is whole. A torn or
//! rotten frame costs itself: the next one is found by its marker. The end of the last segment that holds no whole
//! frame is cut off. The header of a segment is also in its name, so a rotten one costs nothing. A segment in which
//! nothing is found is renamed to `….rotten`. [`Recovery`] says what was found. None of this needs a person; only
//! files of a later version stop an open, before anything is changed.
//!
//! **Limits.** A payload has [`PAYLOAD_MAX`] bytes, a group [`GROUP_MAX`] on disk. `limit_bytes` bounds the bytes on
//! disk exactly, reserved ones included; an append beyond it is refused with [`Error::Full`]. So is one that would
//! leave less than `headroom_bytes` on the file system, or finds the disk full, with [`Error::NoSpace`]: nothing of it
//! stays, and a later one may succeed. A frame on disk is [`FRAME_OVERHEAD`] bytes longer than its payload; an
//! unacknowledged frame takes 16 bytes of memory (at most 32 while the index grows). The inbox holds [`Queue`] bytes;
//! beyond them appends wait in the order of asking. With `Written` alone, up to 8 full segments are unsynced.
//!
//! **When the disk errs.** After a failed fdatasync nobody knows what the disk has. The journal is poisoned: every
//! append is refused with the first cause until it is opened anew; reading and acknowledging go on.
//!
//! **Stop.** [`Handle::close`] writes and syncs what waits and ends the thread; so does dropping the last handle,
//! without waiting for it.

mod cursor;
mod frame;
mod inbox;
mod index;
mod recover;
mod room;
mod scan;
mod segment;
mod walk;
mod window;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::frame::OVERHEAD as FRAME_OVERHEAD;
pub use self::frame::PAYLOAD_MAX;
pub use self::inbox::Queue;
pub use self::scan::Scan;
pub use self::scan::Survey;
pub use self::scan::Which;
pub use self::scan::scan;
pub use self::scan::survey;
pub use self::worker::Handle;
pub use self::worker::spawn;
pub use self::writer::GROUP_MAX;
pub use self::writer::Journal;

/// The number of a frame: later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position with this number, such as one that was stored elsewhere.
    #[must_use]
    pub const fn new(sequence: u64) -> Self {
        Self(sequence)
    }

    /// The number.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What is known of a frame without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its number.
    pub position: Position,
    /// What its writer called it.
    pub kind: u8,
    /// Bytes of its payload.
    pub length: u32,
}

/// A frame as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub position: Position,
    /// What its writer called it.
    pub kind: u8,
    /// What its writer put in it.
    pub payload: Vec<u8>,
}

/// What must have happened before an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The kernel has it: it survives the death of the process.
    Written,
    /// The disk has it: it survives a power failure.
    Synced,
}

/// How much a journal may hold, and in what pieces.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes after which a segment is full; at most a quarter of `limit_bytes` and 1 GiB. A larger group gets a
    /// segment of its own.
    pub segment_bytes: u64,
    /// Bytes on disk, acknowledged frames in undeleted segments and reserved space included; appends beyond are
    /// refused.
    pub limit_bytes: u64,
    /// Bytes that stay free on the file system; an append that would use them is refused.
    pub headroom_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, limit_bytes: 1 << 30, headroom_bytes: 256 << 20 }
    }
}

/// What an open found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold unacknowledged frames, and the one that is written to.
    pub segments: u64,
    /// Unacknowledged frames. Bodies are checked here in the last segment only; elsewhere when they are read.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Frames that were lost to damage in the middle, as far as the numbers tell.
    pub skipped_frames: u64,
    /// Bytes in the middle that are no frames.
    pub skipped_bytes: u64,
    /// Bytes at the end that held no whole frame and were cut off: what a crash interrupts.
    pub torn_bytes: u64,
    /// Bytes that the disk could not read. Nothing is cut in such a segment; the next open may read more.
    pub unreadable_bytes: u64,
    /// Segments in which nothing was found, and where they are now.
    pub set_aside: Vec<PathBuf>,
    /// True when the cursor could not be read: acknowledged frames that are still there come again.
    pub cursor_lost: bool,
}

impl Recovery {
    /// True when there was damage beyond what the death of a process leaves.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.skipped_bytes > 0 || self.unreadable_bytes > 0 || self.cursor_lost || !self.set_aside.is_empty()
    }
}

/// The state of a journal.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Unacknowledged frames.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bytes of all segments, without reserved space.
    pub disk_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// The lowest unacknowledged position, or the one that comes next.
    pub cursor: u64,
    /// Frames that were appended since the open.
    pub appended: u64,
    /// Frames that were acknowledged since the open.
    pub acknowledged: u64,
    /// Frames that turned out rotten when they were read.
    pub rotten: u64,
    /// Writes to segments.
    pub writes: u64,
    /// Rounds of fdatasync.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// The longest of them.
    pub sync_time_max: Duration,
    /// Times that the cursor could not be written: after a crash, frames would come again.
    pub cursor_errors: u64,
    /// Segments that could not be deleted; the next open tries again.
    pub undeleted: u64,
    /// Appends that were refused for `limit_bytes`.
    pub refused_full: u64,
    /// Appends that were refused for want of disk space.
    pub refused_space: u64,
    /// True when the last append was refused for either.
    pub full: bool,
    /// Why no append is accepted until the journal is opened anew.
    pub poisoned: Option<Arc<io::Error>>,
}

/// Why the journal did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The directory can not be made, listed or written.
    #[error("journal {path}: the directory can not be used: give it to this user, or choose another", path = .0.display())]
    Directory(PathBuf, #[source] Arc<io::Error>),
    /// Another process has it.
    #[error("journal {path} is in use by another process: stop that one, or choose another directory", path = .0.display())]
    InUse(PathBuf),
    /// A later pillion wrote this file.
    #[error("{path} has version {version} and this program knows {known}: run the newer one, or empty the journal with it", path = .path.display())]
    Future {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
        /// The latest version that can be read here.
        known: u32,
    },
    /// The journal holds as much as it may.
    #[error(
        "the journal is full: {limit} bytes may be on disk; what is in it has to be used up, or the limit raised"
    )]
    Full {
        /// `limit_bytes`.
        limit: u64,
    },
    /// The file system has no room.
    #[error("no space for the journal in {path}: free some, or leave less headroom", path = .path.display())]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// What the kernel said; none when the headroom would have been used.
        #[source]
        source: Option<Arc<io::Error>>,
    },
    /// The payload or the group is too long.
    #[error("{length} bytes are too many for the journal: {limit} may be appended at once")]
    TooLarge {
        /// Bytes that were to be written.
        length: u64,
        /// Bytes that may be.
        limit: u64,
    },
    /// An earlier fdatasync failed: nobody knows what the disk has.
    #[error("the journal in {path} takes nothing more since its disk failed: check the disk, then restart", path = .path.display())]
    Poisoned {
        /// The directory.
        path: PathBuf,
        /// The first failure.
        #[source]
        source: Arc<io::Error>,
    },
    /// The frame is damaged.
    #[error("frame {0} is rotten on disk")]
    Rotten(Position),
    /// There is no such unacknowledged frame.
    #[error("frame {0} is not in the journal, or was acknowledged")]
    NotFound(Position),
    /// The kernel refused.
    #[error("journal file {path} can not be read or written", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The journal was closed, or its thread is gone.
    #[error("the journal is closed")]
    Closed,
}

impl Error {
    /// True when the same append may succeed later without a restart.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace { .. } | Self::Io { .. })
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source: Arc::new(source) }
    }

    fn directory(path: &Path, source: io::Error) -> Self {
        Self::Directory(path.to_owned(), Arc::new(source))
    }
}
