//! Places for connections: so many at the same time, and a count of those taken.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// The places of a process. When all are taken, the next connection waits in the kernel's queue.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    taken: Gauge,
}

impl Slots {
    /// So many places; `taken` follows how many are in use.
    #[must_use]
    pub fn new(places: usize, taken: Gauge) -> Self {
        Self { free: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))), taken }
    }

    /// Waits for a free place.
    pub async fn take(&self) -> Slot {
        // The semaphore is never closed, so the permit is always there.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        self.taken.inc();
        Slot { _permit: permit, taken: self.taken.clone() }
    }
}

/// A place, taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    taken: Gauge,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_is_gone() {
        let taken = Gauge::default();
        let slots = Slots::new(1, taken.clone());
        let slot = slots.take().await;
        assert!(slots.take().now_or_never().is_none());
        assert_eq!(taken.get(), 1);
        drop(slot);
        assert!(slots.take().now_or_never().is_some());
        assert_eq!(taken.get(), 0);
    }
}
