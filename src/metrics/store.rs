//! The store's counters, read from it at each scrape.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::log::counter;
use super::log::gauge;
use super::log::real_counter;
use super::log::real_gauge;

/// What the store did and holds, as far as it is a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storing {
    /// Keys in it.
    pub entries: u64,
    /// Bytes that its limit bounds.
    pub stored_bytes: u64,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes of its journal.
    pub journal_bytes: u64,
    /// Batches that were made.
    pub batches: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Time spent in them.
    pub checkpoint_time: Duration,
    /// The longest of them.
    pub checkpoint_time_max: Duration,
    /// Rounds of fdatasync of the journal.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Batches that wait.
    pub queued_batches: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Batches that were refused because too many waited.
    pub refused_busy: u64,
    /// Batches that were refused because something was full.
    pub refused_full: u64,
    /// True when nothing is taken until a restart, or damage was met.
    pub is_failed: bool,
}

/// Reads the store.
pub(super) struct StoreCollector {
    pub(super) storing: Box<dyn Fn() -> Storing + Send + Sync>,
}

impl fmt::Debug for StoreCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreCollector")
    }
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = (self.storing)();
        let (out, bytes) = (&mut encoder, Some(&Unit::Bytes));
        for (name, help, unit, value) in [
            ("entries", "Keys in the store", None, now.entries),
            ("stored", "Keys and values in the store", bytes, now.stored_bytes),
            ("file", "The file of the store", bytes, now.file_bytes),
            ("journal", "The journal of the store", bytes, now.journal_bytes),
            ("queued_batches", "Batches that wait", None, now.queued_batches),
            ("queued_size", "Batches that wait", bytes, now.queued_bytes),
            ("failed", "1 when it takes nothing, or is damaged", None, now.is_failed.into()),
        ] {
            gauge(out, &format!("pillion_store_{name}"), help, unit, value)?;
        }
        for (name, help, unit, value) in [
            ("batches", "Batches that were made", None, now.batches),
            ("changes", "Changes in batches that were made", None, now.changes),
            ("size", "Batches that were made", bytes, now.bytes),
            ("checkpoints", "Checkpoints of the file", None, now.checkpoints),
            ("syncs", "Rounds of fdatasync of the journal", None, now.syncs),
            ("refused_busy", "Batches refused because too many waited", None, now.refused_busy),
            ("refused_full", "Batches refused because store or disk was full", None, now.refused_full),
        ] {
            counter(out, &format!("pillion_store_{name}"), help, unit, value)?;
        }
        real_counter(out, "pillion_store_checkpoint_time", "Time in checkpoints", now.checkpoint_time)?;
        real_counter(out, "pillion_store_sync_time", "Time in fdatasync of the journal", now.sync_time)?;
        let help = "The longest checkpoint since the start";
        real_gauge(out, "pillion_store_checkpoint_time_max", help, now.checkpoint_time_max)
    }
}
