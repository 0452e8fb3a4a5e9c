//! What waits for one watcher: whole lines, up to a limit, and how many did not fit.

use std::mem;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use futures_util::task::AtomicWaker;

use super::QUEUE;
use super::SKIPPED;
use crate::filter::Filter;

#[derive(Debug)]
pub(super) struct Queue {
    filter: Filter,
    waiting: Mutex<Waiting>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    /// Records that did not fit since the bytes were taken; as long as there are any, no other one may enter.
    skipped: u64,
    closed: bool,
}

impl Queue {
    /// An empty queue for records that fit `filter`.
    pub(super) fn new(filter: Filter) -> Self {
        let waiting = Waiting { bytes: Vec::new(), skipped: 0, closed: false };
        Self { filter, waiting: Mutex::new(waiting), reader: AtomicWaker::new() }
    }

    pub(super) fn wants(&self, record: &[u8]) -> bool {
        self.filter.fits(record)
    }

    /// Takes a record when it is wanted and there is room.
    pub(super) fn offer(&self, record: &[u8]) {
        if !self.wants(record) {
            return;
        }
        {
            let mut waiting = self.lock();
            if waiting.closed {
                return;
            }
            if waiting.skipped > 0 || waiting.bytes.len() + record.len() > QUEUE {
                waiting.skipped += 1;
                // Whoever reads was woken by what waits already.
                return;
            }
            waiting.bytes.extend_from_slice(record);
        }
        self.reader.wake();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.reader.wake();
    }

    /// Everything that waits, with a line about what is missing behind it; `None` at the end.
    pub(super) fn poll_piece(&self, context: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        // Registered before the look, so that nothing can come between the two.
        self.reader.register(context.waker());
        let mut waiting = self.lock();
        let mut piece = mem::take(&mut waiting.bytes);
        let skipped = mem::take(&mut waiting.skipped);
        let closed = waiting.closed;
        drop(waiting);
        if skipped > 0 {
            piece.extend_from_slice(format!("{SKIPPED}{skipped}}}\n").as_bytes());
        }
        match (piece.is_empty(), closed) {
            (false, _) => Poll::Ready(Some(piece)),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
