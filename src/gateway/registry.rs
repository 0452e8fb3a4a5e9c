//! All sessions of this node by their number, so that they can be counted and ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::gateway::link::Link;

/// The sessions of this node.
#[derive(Debug, Default)]
pub(super) struct Registry {
    next: AtomicU64,
    links: Mutex<HashMap<u64, Weak<Link>>>,
}

impl Registry {
    /// A number that no other session of this process has.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// Adds a session.
    pub(super) fn add(&self, link: &Arc<Link>) {
        self.links().insert(link.key(), Arc::downgrade(link));
    }

    /// Removes a session.
    pub(super) fn remove(&self, key: u64) {
        self.links().remove(&key);
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.links().len()
    }

    /// The sessions as of now.
    pub(super) fn all(&self) -> Vec<Arc<Link>> {
        self.links().values().filter_map(Weak::upgrade).collect()
    }

    fn links(&self) -> MutexGuard<'_, HashMap<u64, Weak<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
