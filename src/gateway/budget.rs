//! The memory that messages may take in the whole process: those kept in rooms, and those that wait for clients.
//!
//! Everybody who keeps or lets go says so here. What is done when it is too much is decided elsewhere: first rooms
//! forget older messages, then the slowest readers go.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// What messages take, in bytes.
#[derive(Debug, Default)]
pub(super) struct Budget {
    limit: AtomicUsize,
    history: AtomicUsize,
    waiting: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), ..Self::default() }
    }

    /// Takes a new limit.
    pub(super) fn resize(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// A room that kept `before` bytes keeps `after` now.
    pub(super) fn history_changed(&self, before: usize, after: usize) {
        change(&self.history, before, after);
    }

    /// Where `before` bytes waited for a client, `after` wait now.
    pub(super) fn waiting_changed(&self, before: usize, after: usize) {
        change(&self.waiting, before, after);
    }

    /// What rooms keep.
    pub(super) fn history(&self) -> usize {
        self.history.load(Relaxed)
    }

    /// What waits for clients.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How many bytes it is too much.
    pub(super) fn excess(&self) -> usize {
        (self.history() + self.waiting()).saturating_sub(self.limit.load(Relaxed))
    }
}

fn change(counter: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        counter.fetch_add(after - before, Relaxed);
    } else {
        counter.fetch_sub(before - after, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excess_is_what_both_kinds_take_beyond_the_limit() {
        let budget = Budget::new(100);
        budget.history_changed(0, 70);
        budget.waiting_changed(0, 50);
        assert_eq!(budget.excess(), 20);
        budget.history_changed(70, 40);
        assert_eq!(budget.excess(), 0);
        budget.resize(60);
        assert_eq!(budget.excess(), 30);
    }
}
