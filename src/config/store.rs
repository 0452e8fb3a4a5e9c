//! `[store]`: what outlives the process, and how.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::read::Reader;
use crate::units;
use crate::units::Bare;

/// `[store]`: the store in `data_dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory, an absolute path.
    pub path: PathBuf,
    /// Bytes of keys and values that it may hold.
    pub limit: u64,
    /// The longest time from a change to the checkpoint that has it.
    pub checkpoint_interval: Duration,
    /// Bytes of changes that may wait.
    pub queue: usize,
    /// Bytes of the file that are kept in memory.
    pub cache: usize,
    /// What must have happened before a change is answered.
    pub durability: StoreDurability,
}

/// What must have happened before a change is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDurability {
    /// The kernel has it: it survives the death of the process.
    Written,
    /// The disk has it: it survives a power failure.
    Synced,
}

/// The section; `data_dir` is where it lies unless it says otherwise.
pub(super) fn store(read: Reader<'_>, data_dir: &Path) -> Store {
    let key = "store.checkpoint_interval";
    let interval = read.duration(key, Bare::Seconds, "would write the file anew at each change");
    read.relation(
        &[key],
        interval.is_zero() || (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval),
        format!("{} is out of range", units::show_duration(interval)),
        "write a duration from \"10ms\" to \"1m\"",
    );
    let words = [("written", StoreDurability::Written), ("synced", StoreDurability::Synced)];
    Store {
        path: read.path("store.path").unwrap_or_else(|| data_dir.join(DIRECTORY)),
        limit: read.size("store.limit", 1 << 20..=1 << 40) as u64,
        checkpoint_interval: interval,
        queue: read.size("store.queue", 1 << 20..=1 << 30),
        cache: read.size("store.cache", 1 << 20..=1 << 36),
        durability: read.word("store.durability", &words).unwrap_or(StoreDurability::Written),
    }
}

/// The directory of the store within that of everything durable.
const DIRECTORY: &str = "store";

const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(60);
