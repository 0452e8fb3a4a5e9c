//! Records from outside, several at a time: one lock of the buffer for all of them.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Trail;
use super::rank;
use super::sampled;
use crate::buffer::Entry;
use crate::record::Action;
use crate::record::Level;
use crate::record::Line;

/// Records from outside that are logged together: one lock and one look at the counters for all of them.
///
/// Whoever fills it hands it in before he waits for anything.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Entry>,
    /// So many records of this action are not counted yet.
    action: Option<Action>,
    count: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Batch {
    const EMPTY: Self = Self { bytes: Vec::new(), records: Vec::new(), action: None, count: 0 };
}

impl Trail {
    /// Adds a record from outside to `batch`: `fill` writes its fields. `at`, action and level are left out when it
    /// brings its own. Nothing is logged before the batch is full, or [`Self::hand_in`] is called.
    pub fn gather(
        &self,
        batch: &mut Batch,
        at: Option<Duration>,
        action: Option<Action>,
        level: Option<Level>,
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        let Some(stands_for) = self.draw(action) else { return };
        if batch.bytes.capacity() == 0 {
            *batch = SPARE.take();
        }
        if batch.action != action {
            self.count(batch);
            batch.action = action;
        }
        batch.count += 1;
        let sequence = self.sequence.fetch_add(1, Relaxed);
        let head = self.head(at, action, level, sequence);
        let start = batch.bytes.len();
        let mut line = Line::begin(&mut batch.bytes, self.max_line(), &head);
        sampled(&mut line, stands_for);
        fill(&mut line);
        line.end();
        self.show(action, batch.bytes.get(start..).unwrap_or_default());
        let (end, rank) = (batch.bytes.len(), rank(action, level));
        batch.records.push(Entry { end, rank, sequence });
        if batch.bytes.len() >= BATCH {
            self.log(batch);
        }
    }

    /// Logs what is in `batch`, which then holds no memory any more.
    pub fn hand_in(&self, batch: &mut Batch) {
        self.log(batch);
        let batch = std::mem::take(batch);
        // A record of unusual length is not worth its memory.
        if batch.bytes.capacity() <= 4 * BATCH {
            SPARE.set(batch);
        }
    }

    fn log(&self, batch: &mut Batch) {
        self.count(batch);
        if !batch.records.is_empty() {
            self.buffer.log_batch(&batch.bytes, &batch.records);
        }
        batch.bytes.clear();
        batch.records.clear();
    }

    fn count(&self, batch: &mut Batch) {
        if batch.count > 0 {
            self.counter(batch.action).inc_by(std::mem::take(&mut batch.count));
        }
    }
}

/// A batch of so many bytes is full: some 16 records. The lock is held for a microsecond then.
const BATCH: usize = 8 * 1024;

thread_local! {
    /// An empty batch that keeps its capacity.
    static SPARE: Cell<Batch> = const { Cell::new(Batch::EMPTY) };
}
