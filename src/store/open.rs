//! Opening: the journal, the file, and what the one has and the other does not.

use std::fs;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use super::Error;
use super::Options;
use super::Recovery;
use super::Shared;
use super::Store;
use super::base::Base;
use super::base::FILE;
use super::base::Trust;
use super::base::Volume;
use super::batch::Changes;
use super::batch::FRAME;
use super::batch::Unreadable;
use super::marker;
use super::queue::Limits;
use super::queue::Queue;
use super::worker::Worker;
use crate::clock;
use crate::journal;
use crate::journal::Journal;
use crate::journal::Position;

/// The folder of the journal.
pub(super) const JOURNAL: &str = "journal";

/// Files up to this size, 1 GiB, are looked at page by page after an unclean stop, which takes a few seconds. It finds
/// what a disk has lost; what a crash left half done is no danger to larger ones either.
const CHECKED: u64 = 1 << 30;

/// Bytes of batches that are made together when they come from the journal.
const CHUNK: usize = 4 << 20;

/// Opens the store in `directory`, making both when there is none, and gives it a thread.
///
/// This reads and writes the disk: after an unclean stop, all of a file of up to 1 GiB.
///
/// # Errors
///
/// [`Error`] says what to do; nothing was changed then that another try would miss.
pub fn open(directory: &Path, options: Options) -> Result<(Store, Recovery), Error> {
    let begin = clock::now();
    let failed = |error| Error::directory(directory, error);
    DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
    let (mut journal, found) = journal(directory, options)?;
    let state = journal.stats();
    let path = directory.join(FILE);
    let has_file = fs::metadata(&path).is_ok_and(|file| file.len() > 0);
    if !has_file && state.cursor > 1 {
        return Err(Error::Missing { path, batches: state.cursor - 1 });
    }
    let is_clean = marker::is_there(directory);
    let mut recovery =
        Recovery { is_new: !has_file && state.frames == 0, is_clean, journal: found, ..Recovery::default() };
    let is_small = fs::metadata(&path).is_ok_and(|file| file.len() <= CHECKED);
    let trust = if !is_clean && is_small { Trust::Nothing } else { Trust::Pages };
    let base = Base::open(directory, options.cache_bytes, trust)?;
    let mut volume = base.volume()?;
    recovery.behind = state.cursor.saturating_sub(volume.next.max(1));
    let replayed = replay(&mut journal, &mut recovery, |batches| {
        base.apply(batches.iter().map(Vec::as_slice), &mut volume)
    })?;
    volume.next = journal.next().sequence();
    base.checkpoint(volume)?;
    journal.acknowledge_all(replayed)?;
    marker::take(directory).and_then(|_| marker::sync(directory)).map_err(failed)?;
    recovery.time = begin.elapsed();

    let is_clean_start = recovery.is_new || (is_clean && !recovery.is_damaged());
    let store = start((directory, options), journal, (base, volume), is_clean_start)?;
    Ok((store, recovery))
}

/// Gives a journal and a file a thread.
pub(super) fn start(
    (directory, options): (&Path, Options),
    journal: Journal,
    (base, volume): (Base, Volume),
    is_clean_start: bool,
) -> Result<Store, Error> {
    let limits = Limits {
        bytes: options.queue_bytes,
        batches: options.queue_batches,
        stored_bytes: options.limit_bytes,
    };
    let (base, queue) = (Arc::new(base), Arc::new(Queue::new(limits, volume.bytes)));
    let stats = Arc::new(Mutex::default());
    let means = (Arc::clone(&base), Arc::clone(&queue), Arc::clone(&stats));
    let worker = Worker::new(directory, journal, options, volume, means);
    worker.publish();
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || worker.run());
    let thread = Mutex::new(Some(thread.map_err(|error| Error::Thread(Arc::new(error)))?));
    let shared = Shared { base, queue, stats, thread, is_clean_start };
    Ok(Store { shared: Arc::new(shared) })
}

/// Opens the journal in front of the file.
pub(super) fn journal(directory: &Path, options: Options) -> Result<(Journal, journal::Recovery), Error> {
    let options = journal::Options {
        limit_bytes: options.journal_bytes,
        segment_bytes: (options.journal_bytes / 8).min(16 << 20),
        headroom_bytes: options.headroom_bytes,
    };
    Ok(Journal::open(&directory.join(JOURNAL), options)?)
}

/// Hands the batches of all unacknowledged frames to `make`, in their order, and counts them; gives their positions.
pub(super) fn replay(
    journal: &mut Journal,
    recovery: &mut Recovery,
    mut make: impl FnMut(&[Vec<u8>]) -> Result<(), Error>,
) -> Result<Vec<Position>, Error> {
    let positions: Vec<Position> = journal.unacknowledged(None).map(|meta| meta.position).collect();
    let (mut batches, mut bytes) = (Vec::new(), 0);
    for position in &positions {
        let frame = match journal.read(*position) {
            Ok(frame) => frame,
            Err(journal::Error::Rotten(_) | journal::Error::NotFound(_)) => {
                recovery.lost += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match understood(frame.kind, &frame.payload) {
            Ok(()) => {}
            Err(Unreadable::Unknown) => return Err(Error::Future(*position)),
            Err(Unreadable::Torn) => {
                recovery.lost += 1;
                continue;
            }
        }
        recovery.batches += 1;
        recovery.bytes += frame.payload.len() as u64;
        bytes += frame.payload.len();
        batches.push(frame.payload);
        if bytes >= CHUNK {
            make(&batches)?;
            (batches, bytes) = (Vec::new(), 0);
        }
    }
    if !batches.is_empty() {
        make(&batches)?;
    }
    Ok(positions)
}

/// Looks whether a frame can be made.
pub(super) fn understood(kind: u8, payload: &[u8]) -> Result<(), Unreadable> {
    if kind != FRAME {
        return Err(Unreadable::Unknown);
    }
    Changes::new(payload).try_for_each(|change| change.map(|_| ()))
}

impl Recovery {
    /// Tells the operator, in one line, what a start found.
    pub fn tell(&self, directory: &Path) {
        let directory = directory.display();
        let Self { batches, bytes, lost, behind, journal, time, .. } = self;
        if self.is_damaged() {
            tracing::error!(
                %directory, batches, bytes, lost, behind, ?journal, ?time,
                "the store was damaged: batches that were lost or that its file does not have are gone"
            );
        } else if !self.is_clean && !self.is_new {
            tracing::warn!(
                %directory, batches, bytes, ?time,
                "the store was not closed in good order: nothing is lost, these batches came from the journal"
            );
        } else {
            tracing::debug!(%directory, batches, ?time, "the store is open");
        }
    }
}
