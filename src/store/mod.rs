//! The store: ordered tables of keys and values on disk, for state that outlives the process.
//!
//! It is a file of redb with a journal in front. It knows its tables by name and not what is in them, it has no
//! queries, and it runs nothing but its one thread.
//!
//! ```text
//! submit ──> queue ──all that wait──> journal ──one write──> file, in memory ──> tickets resolve
//!          (bounded)                  (fdatasync for Synced)      │
//! read, range (any thread) <──────────────────────────────────────┤
//!                     each checkpoint_interval, or checkpoint_bytes: file, on disk ──> journal forgets
//! ```
//!
//! The directory holds `store.redb`, the folder `journal`, and between a stop in good order and the next start the
//! file `clean`. One process at a time may have it; the lock is the journal's.
//!
//! **What a ticket means.** `Written`: the journal's frame is with the kernel and survives the death of the process,
//! by SIGKILL too. `Synced`: it is on the disk and survives a power failure. In both cases whoever reads from then on
//! sees the batch, whole. Batches are made in the order in which they were submitted, by whomever; each stands for
//! itself, so that one that is refused does not stop the next. A read may see a batch a little before its ticket, and
//! the ticket of a `Written` batch may come before that of an earlier `Synced` one.
//!
//! **After a crash** the file is as its last checkpoint left it, and the batches behind it are made again from the
//! journal. A batch that was never answered may be there or not, but never in part. Batches may be made twice, which
//! is why every change is one that can be.
//!
//! **Limits.** A key has [`KEY_MAX`] bytes, a batch [`BATCH_MAX`]. `queue_bytes` and `queue_batches` bound what is
//! not answered: at more, a submit is refused with [`Error::Busy`]. `limit_bytes` bounds what is stored, exactly, in
//! bytes of keys and values and 16 for each: a batch that could exceed it is refused with [`Error::Full`]; batches
//! that only delete are not. The file is larger than that: up to four times when entries come out of order, and it
//! shrinks in a [`rebuild`] only. The journal has `journal_bytes`. A full disk is noticed before it is full
//! (`headroom_bytes`), and refuses batches until there is room. `cache_bytes` bounds what redb keeps in memory.
//! A read of a range has [`RANGE_ITEMS_MAX`] entries and [`RANGE_BYTES_MAX`].
//!
//! **When something breaks.** After a failed fdatasync, and after any error of the file, nobody knows what the disk
//! has: every submit is refused with the first cause until a restart, [`Store::failure`] says so, and reads go on as
//! far as they can. What was answered is in the journal. A page that the disk has changed is found after an unclean
//! stop, in a file of up to 1 GiB; else when it is met, as far as it makes no sense: redb does not compare checksums in
//! reading. Whoever meets it gets [`Error::Damaged`], others go on. A damaged file is not mended here: [`check`] says
//! what is wrong with it, [`rebuild`] makes a new one of what can be read.
//!
//! **Stop.** [`Store::close`] makes what waits, writes a checkpoint and leaves the marker of a clean stop. Dropping
//! the last handle does the same without waiting for it.

mod base;
mod batch;
mod check;
mod key;
mod marker;
mod open;
mod overlay;
mod queue;
mod rebuild;
mod report;
mod table;
mod ticket;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use self::base::Base;
use self::queue::Queue;
use crate::config;
use crate::journal;

pub use self::base::Direction;
pub use self::base::Limit;
pub use self::base::Page;
pub use self::base::RANGE_BYTES_MAX;
pub use self::base::RANGE_ITEMS_MAX;
pub use self::batch::BATCH_MAX;
pub use self::batch::Batch;
pub use self::batch::KEY_MAX;
pub use self::check::Checked;
pub use self::check::check;
pub use self::key::Key;
pub use self::key::Parts;
pub use self::key::Span;
pub use self::open::open;
pub use self::rebuild::Rebuilt;
pub use self::rebuild::rebuild;
pub use self::report::Recovery;
pub use self::report::Stats;
pub use self::table::Table;
pub use self::ticket::Ticket;
pub use crate::journal::Durability;

/// The directory of the store within that of everything durable, unless another one is configured.
pub const DIRECTORY: &str = "store";

/// How much a store may hold, and how it works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of keys and values, and 16 for each entry; more is refused.
    pub limit_bytes: u64,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes that stay free on the file system; a batch that would use them is refused.
    pub headroom_bytes: u64,
    /// The longest time from a change to the checkpoint that has it.
    pub checkpoint_interval: Duration,
    /// Bytes of batches after which a checkpoint comes earlier.
    pub checkpoint_bytes: u64,
    /// Bytes of batches that wait or are being written.
    pub queue_bytes: usize,
    /// Batches that wait or are being written.
    pub queue_batches: usize,
    /// Bytes of the file that are kept in memory.
    pub cache_bytes: usize,
    /// What must have happened before a ticket resolves, unless a batch says otherwise.
    pub durability: Durability,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limit_bytes: 4 << 30,
            journal_bytes: 256 << 20,
            headroom_bytes: 256 << 20,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 32 << 20,
            queue_bytes: 16 << 20,
            queue_batches: 65_536,
            cache_bytes: 64 << 20,
            durability: Durability::Written,
        }
    }
}

impl From<&config::Store> for Options {
    fn from(config: &config::Store) -> Self {
        Self {
            limit_bytes: config.limit,
            checkpoint_interval: config.checkpoint_interval,
            queue_bytes: config.queue,
            cache_bytes: config.cache,
            durability: match config.durability {
                config::StoreDurability::Written => Durability::Written,
                config::StoreDurability::Synced => Durability::Synced,
            },
            ..Self::default()
        }
    }
}

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The directory can not be made, listed or written.
    #[error("store {path}: the directory can not be used: give it to this user, or set store.path", path = .0.display())]
    Directory(PathBuf, #[source] Arc<io::Error>),
    /// Another process has it.
    #[error("{path} is in use by another process: stop that one, or set store.path", path = .0.display())]
    InUse(PathBuf),
    /// The journal in front of the file.
    #[error("the journal of the store")]
    Journal(#[from] journal::Error),
    /// The file can not be read or written.
    #[error("{path} can not be used", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: Arc<redb::Error>,
    },
    /// What the file holds can not be right.
    #[error(
        "{path} is damaged: {what}; \"pillion store check\" says more, and \"pillion store rebuild\" makes a new file \
         of what can be read and of the journal",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file has gone, and the journal knows that it was there.
    #[error(
        "{path} is gone, though {batches} batches were put into it: bring it back from a backup, or \
         \"pillion store rebuild\" begins anew with what the journal still has",
        path = .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Batches that were in it, at most.
        batches: u64,
    },
    /// Another version of redb wrote the file.
    #[error("{path} has the format {version}, which this program can not read: run the one that wrote it", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u8,
    },
    /// A later pillion wrote this batch.
    #[error("batch {0} in the journal of the store was written by a later pillion: run that one")]
    Future(journal::Position),
    /// As much waits as may.
    #[error("the store is busy: {batches} batches of {bytes} bytes wait; try again")]
    Busy {
        /// Batches that wait.
        batches: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// As much is stored as may be.
    #[error("the store is full: it may hold {limit} bytes (store.limit); delete something, or raise it")]
    Full {
        /// `limit_bytes`.
        limit: u64,
    },
    /// The batch, or a key in it, is too long.
    #[error("{length} bytes are too many for the store: {limit} may be in one batch or key")]
    TooLarge {
        /// Bytes that were handed in.
        length: usize,
        /// Bytes that may be.
        limit: usize,
    },
    /// Something broke before, so that nothing is taken.
    #[error("the store takes nothing more until a restart, since it failed")]
    Failed(#[source] Arc<Self>),
    /// There is no thread to be had.
    #[error("the store can not start its thread")]
    Thread(#[source] Arc<io::Error>),
    /// The thread ended by a panic.
    #[error("the thread of the store has died, so that nothing is taken until a restart: see the log")]
    Died,
    /// The store was closed, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// True when the same batch may succeed later without a restart.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Full { .. } => true,
            Self::Journal(error) => error.retryable(),
            _ => false,
        }
    }

    /// The error and its causes, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text
    }

    fn directory(path: &Path, source: io::Error) -> Self {
        Self::Directory(path.to_owned(), Arc::new(source))
    }
}

/// A store: cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: Arc<Base>,
    queue: Arc<Queue>,
    stats: Arc<Mutex<Stats>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_clean_start: bool,
}

impl Store {
    /// Hands in a batch. This never waits.
    ///
    /// The ticket resolves when the batch is as durable as it is to be, and seen by whoever reads. It may be dropped.
    ///
    /// # Errors
    ///
    /// Nothing of the batch will be there; see [`Error::retryable`].
    pub fn submit(&self, batch: Batch) -> Result<Ticket, Error> {
        self.shared.queue.submit(batch).map(Ticket::new)
    }

    /// The value of a key; none when there is no such key.
    ///
    /// # Errors
    ///
    /// The file can not be read, or the store is closed.
    pub fn read(&self, table: Table, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        self.noticed(self.shared.base.read(table, key.as_ref()))
    }

    /// The entries of a range, in the order of `direction`, within `limit`: at least one, when there is one.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn range(
        &self,
        table: Table,
        span: &Span,
        direction: Direction,
        limit: Limit,
    ) -> Result<Page, Error> {
        self.noticed(self.shared.base.range(table, span, direction, limit))
    }

    /// True when nothing that anybody saw of the former process can be missing: it stopped in good order and nothing
    /// was damaged, or there was none.
    #[must_use]
    pub fn is_clean_start(&self) -> bool {
        self.shared.is_clean_start
    }

    /// What is wrong: why nothing is taken until a restart, or what somebody who read found damaged. None while all is
    /// well.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.shared.queue.trouble()
    }

    /// The state: it shows at least what was answered.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = self.shared.queue.counts();
        Stats {
            queued_batches: queue.batches,
            queued_bytes: queue.bytes,
            refused_busy: queue.refused_busy,
            refused_full: stats.refused_full + queue.refused_full,
            is_failed: self.failure().is_some(),
            ..stats
        }
    }

    /// Damage that is met is told once, and shown from then on.
    fn noticed<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ (Error::Damaged { .. } | Error::File { .. })) = &read
            && self.shared.queue.note(error.clone())
        {
            tracing::error!(error = error.told(), "the store can not be read");
        }
        read
    }

    /// Makes what waits, writes everything to disk and ends the thread; another process may have the store then.
    ///
    /// What comes later, on any handle, gets `Closed`.
    ///
    /// # Errors
    ///
    /// Why the stop was not clean; `Closed` when the thread had ended before.
    pub async fn close(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.close(Some(answer));
        let ended = answered.await.unwrap_or(Err(Error::Closed));
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It has answered, so it is gone in a moment; a panic in it has shown as `Closed`.
        thread.map(JoinHandle::join);
        ended
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close(None);
    }
}
