//! The thread of a store: takes what waits, writes it to the journal, makes it, answers, and now and then a checkpoint.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::Durability;
use super::Error;
use super::Options;
use super::Stats;
use super::base::Base;
use super::base::Volume;
use super::batch::FRAME;
use super::marker;
use super::queue::Queue;
use super::queue::Waiting;
use crate::clock;
use crate::journal;
use crate::journal::Journal;
use crate::journal::Position;

/// The longest wait for others to share a sync.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

/// The thread.
pub(super) struct Worker {
    directory: PathBuf,
    journal: Journal,
    options: Options,
    volume: Volume,
    base: Arc<Base>,
    queue: Arc<Queue>,
    stats: Arc<Mutex<Stats>>,
    /// Its own half of the statistics.
    counts: Stats,
    /// What was made and is in no checkpoint.
    pending: Pending,
    /// How many shared the last sync, and how long others may wait for the next.
    wanted: usize,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Pending {
    positions: Vec<Position>,
    bytes: u64,
    /// When the first of it was made.
    since: Option<Instant>,
}

/// A batch that is in the journal.
struct Staged {
    position: Position,
    waiting: Waiting,
}

/// Refuses what comes when the thread has ended, by a panic as well.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        drop(self.0.end());
    }
}

/// Bytes of the file; it is for reports only.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map(|file| file.len()).unwrap_or_default()
}

impl Worker {
    pub(super) fn new(
        directory: &Path,
        journal: Journal,
        options: Options,
        volume: Volume,
        (base, queue, stats): (Arc<Base>, Arc<Queue>, Arc<Mutex<Stats>>),
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            counts: Stats { file_bytes: length(base.path()), ..Stats::default() },
            journal,
            options,
            volume,
            base,
            queue,
            stats,
            pending: Pending::default(),
            wanted: 0,
            patience: Duration::ZERO,
        }
    }

    /// Works until the store is closed.
    pub(super) fn run(mut self) {
        let end = End(Arc::clone(&self.queue));
        loop {
            let interval = self.options.checkpoint_interval;
            let due = self.pending.since.map(|since| interval.saturating_sub(since.elapsed()));
            let round = self.queue.take(self.wanted, self.patience, due);
            self.make(round.batches);
            let is_late = self.pending.since.is_some_and(|since| since.elapsed() >= interval);
            if is_late || self.pending.bytes >= self.options.checkpoint_bytes {
                self.checkpoint();
            }
            self.publish();
            if round.is_last {
                let queue = Arc::clone(&self.queue);
                let ended = self.finish();
                for answer in queue.end() {
                    // Whoever asked may have gone.
                    answer.send(ended.clone()).ok();
                }
                drop(end);
                return;
            }
        }
    }

    /// Brings [`super::Store::stats`] up to date: before an answer, so that it shows what was answered.
    pub(super) fn publish(&self) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = Stats {
            entries: self.volume.entries,
            stored_bytes: self.volume.bytes,
            journal: self.journal.stats(),
            ..self.counts.clone()
        };
    }

    /// Writes batches to the journal, makes them, and answers.
    fn make(&mut self, batches: Vec<Waiting>) {
        (self.wanted, self.patience) = (0, Duration::ZERO);
        if batches.is_empty() {
            return;
        }
        if let Some(failure) = self.queue.failure() {
            self.refuse(batches, &failure);
            return;
        }
        let mut staged = Vec::with_capacity(batches.len());
        for waiting in batches {
            if let Err(waiting) = self.stage(&mut staged, waiting) {
                // The journal is full of what is in no checkpoint: make room, and try once more.
                self.finish_round(&mut staged);
                self.checkpoint();
                if let Err(waiting) = self.stage(&mut staged, waiting) {
                    let full = journal::Error::Full { limit: self.options.journal_bytes };
                    self.refuse([waiting], &full.into());
                }
            }
        }
        self.finish_round(&mut staged);
    }

    /// Puts a batch into the journal's stage, or answers it; gives it back when the journal is full.
    fn stage(&mut self, staged: &mut Vec<Staged>, waiting: Waiting) -> Result<(), Waiting> {
        match self.journal.append(FRAME, &[waiting.batch.bytes()]) {
            Ok(position) => staged.push(Staged { position, waiting }),
            Err(error) => {
                // Beginning a new segment writes what is staged; where that failed, it is gone.
                let next = self.journal.next();
                let gone: Vec<_> = staged.extract_if(.., |staged| staged.position >= next).collect();
                self.refuse(gone.into_iter().map(|staged| staged.waiting), &error.clone().into());
                if matches!(error, journal::Error::Full { .. }) {
                    return Err(waiting);
                }
                self.broken_when_poisoned(&error);
                self.refuse([waiting], &error.into());
            }
        }
        Ok(())
    }

    /// Writes, makes and answers what is staged.
    fn finish_round(&mut self, staged: &mut Vec<Staged>) {
        let staged = std::mem::take(staged);
        if staged.is_empty() {
            return;
        }
        if let Err(error) = self.journal.commit(Durability::Written) {
            self.broken_when_poisoned(&error);
            self.refuse(staged.into_iter().map(|staged| staged.waiting), &error.into());
            return;
        }
        let batches = staged.iter().map(|staged| staged.waiting.batch.bytes());
        if let Err(error) = self.base.apply(batches, &mut self.volume) {
            let failure = self.fail(error);
            self.refuse(staged.into_iter().map(|staged| staged.waiting), &failure);
            return;
        }
        self.pending.since.get_or_insert_with(clock::now);
        self.counts.rounds += 1;
        for Staged { position, waiting } in &staged {
            self.pending.positions.push(*position);
            self.pending.bytes += waiting.batch.len() as u64;
            self.counts.batches += 1;
            self.counts.changes += waiting.batch.changes() as u64;
            self.counts.bytes += waiting.batch.len() as u64;
        }
        self.publish();
        let (synced, written): (Vec<_>, Vec<_>) = staged
            .into_iter()
            .map(|staged| staged.waiting)
            .partition(|waiting| self.durability(waiting) == Durability::Synced);
        self.answer(written, &Ok(()));
        if !synced.is_empty() {
            self.sync(synced);
        }
    }

    fn sync(&mut self, synced: Vec<Waiting>) {
        let before = self.journal.stats().sync_time;
        let done = self.journal.commit(Durability::Synced);
        self.wanted = synced.len();
        self.patience = (self.journal.stats().sync_time.saturating_sub(before) / 4).min(PATIENCE_MAX);
        if let Err(error) = &done {
            self.broken_when_poisoned(error);
        }
        self.publish();
        self.answer(synced, &done.map_err(Error::from));
    }

    fn durability(&self, waiting: &Waiting) -> Durability {
        waiting.batch.wanted().unwrap_or(self.options.durability)
    }

    /// Puts on disk what was made, and lets the journal forget it.
    fn checkpoint(&mut self) {
        if self.pending.since.is_none() {
            return;
        }
        self.volume.next = self.journal.next().sequence();
        let begin = clock::now();
        if let Err(error) = self.base.checkpoint(self.volume) {
            self.fail(error);
            // What is in no checkpoint stays in the journal, for the next start.
            self.pending = Pending::default();
            return;
        }
        let time = begin.elapsed();
        self.counts.file_bytes = length(self.base.path());
        self.counts.checkpoints += 1;
        self.counts.checkpoint_time += time;
        self.counts.checkpoint_time_max = self.counts.checkpoint_time_max.max(time);
        let pending = std::mem::take(&mut self.pending);
        // A frame that is not forgotten comes again after a crash, which harms nothing.
        self.journal.acknowledge_all(pending.positions).ok();
    }

    /// Nothing is taken from now on.
    fn fail(&mut self, error: Error) -> Error {
        let failure = Error::Failed(Arc::new(error));
        if self.queue.failure().is_none() {
            tracing::error!(error = failure.told(), "the store takes nothing more until a restart");
        }
        self.queue.fail(failure.clone());
        failure
    }

    fn broken_when_poisoned(&mut self, error: &journal::Error) {
        if matches!(error, journal::Error::Poisoned { .. }) {
            self.fail(error.clone().into());
        }
    }

    fn refuse(&mut self, batches: impl IntoIterator<Item = Waiting>, error: &Error) {
        let batches: Vec<_> = batches.into_iter().collect();
        if let Error::Journal(journal::Error::Full { .. } | journal::Error::NoSpace { .. }) = error {
            self.counts.refused_full += batches.len() as u64;
        }
        self.publish();
        self.answer(batches, &Err(error.clone()));
    }

    fn answer(&self, batches: Vec<Waiting>, answer: &Result<(), Error>) {
        self.queue.release(batches.iter().map(|waiting| &waiting.batch), self.volume.bytes);
        for waiting in batches {
            // Whoever asked may have gone.
            waiting.answer.send(answer.clone()).ok();
        }
    }

    /// Puts everything on disk and gives the directory back.
    fn finish(mut self) -> Result<(), Error> {
        self.checkpoint();
        let synced = self.journal.commit(Durability::Synced);
        let closed = self.base.close();
        self.publish();
        if let Some(failure) = self.queue.failure() {
            return Err(failure);
        }
        synced?;
        closed?;
        // The lock of the directory goes with the journal, after this.
        marker::leave(&self.directory).map_err(|error| Error::directory(&self.directory, error))
    }
}
