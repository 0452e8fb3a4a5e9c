//! What a store says of itself.

use std::time::Duration;

use crate::journal;

/// What an open found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// True when there was no store.
    pub is_new: bool,
    /// True when the former process stopped in good order.
    pub is_clean: bool,
    /// Batches that were made again from the journal.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Batches that the journal could not give back: they are lost.
    pub lost: u64,
    /// Batches that the journal has forgotten because they were on disk, and that the file does not have: it is older
    /// than its journal, as after a backup was brought back. They are lost.
    pub behind: u64,
    /// What the journal found.
    pub journal: journal::Recovery,
    /// How long it took.
    pub time: Duration,
}

impl Recovery {
    /// True when there was damage beyond what the death of a process leaves.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.lost > 0 || self.behind > 0 || self.journal.is_damaged()
    }
}

/// The state of a store.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Keys in all tables.
    pub entries: u64,
    /// Bytes of keys and values, and 16 for each entry: what the limit bounds.
    pub stored_bytes: u64,
    /// Bytes of the file at the last checkpoint.
    pub file_bytes: u64,
    /// Batches that were made since the open.
    pub batches: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Rounds in which they were made together.
    pub rounds: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Time spent in them.
    pub checkpoint_time: Duration,
    /// The longest of them.
    pub checkpoint_time_max: Duration,
    /// Batches that wait or are being written.
    pub queued_batches: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Batches that were refused because too many waited.
    pub refused_busy: u64,
    /// Batches that were refused because the store, its journal or the disk was full.
    pub refused_full: u64,
    /// True when nothing is taken until a restart, or damage was met.
    pub is_failed: bool,
    /// What the journal says of itself.
    pub journal: journal::Stats,
}
