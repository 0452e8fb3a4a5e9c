//! Tells of datagrams that the kernel dropped, once per burst.

use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::MissedTickBehavior;

use crate::metrics::KernelDrops;
use crate::net::Datagram;
use crate::net::DropCount;
use crate::tasks::Tasks;

/// How often the count is looked at. A burst is over when it did not grow from one look to the next.
const LOOK: Duration = Duration::from_secs(2);

/// A burst that does not end is told of this often.
const LONG: Duration = Duration::from_secs(60);

/// The drops of one UDP socket.
#[derive(Debug)]
pub(super) struct Drops {
    address: String,
    count: DropCount,
    burst: Mutex<Burst>,
}

impl Drops {
    /// Those of `socket`; `None` when it is none of UDP, or when its drops can not be known, which is said once.
    pub(super) fn of(socket: &Datagram) -> Option<Arc<Self>> {
        let address = socket.address().to_string();
        let count = DropCount::of(socket).unwrap_or_else(|error| {
            tracing::warn!(address, %error, "datagrams that the kernel drops are not counted: its table of sockets can not be read");
            None
        })?;
        Some(Arc::new(Self { address, count, burst: Mutex::default() }))
    }

    /// The drops so far, for the metrics.
    pub(super) fn total(&self) -> Option<KernelDrops> {
        let dropped = self.count.read().ok()?;
        Some(KernelDrops { address: self.address.clone(), dropped })
    }

    /// Looks from time to time until the tasks are stopped.
    pub(super) async fn watch(self: Arc<Self>, tasks: Tasks) {
        let mut stopping = pin!(tasks.stopping());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                now = looks.tick() => self.look(|burst, total| burst.look(total, now)),
            }
        }
    }

    /// Tells what was not told yet.
    pub(super) fn last(&self) {
        self.look(Burst::end);
    }

    fn look(&self, decide: impl FnOnce(&mut Burst, u64) -> Option<u64>) {
        // A table that could be read at the start and can not now is looked at again next time.
        let Ok(total) = self.count.read() else { return };
        let news = decide(&mut self.burst.lock().unwrap_or_else(PoisonError::into_inner), total);
        if let Some(dropped) = news {
            tracing::warn!(
                address = self.address,
                dropped,
                total,
                "the kernel dropped log lines, which came faster than they were read: raise \
                 \"ingest.receive_buffer\" and net.core.rmem_max, or send fewer"
            );
        }
    }
}

/// Decides when to tell of a loss: when it seems over, and when it lasts.
#[derive(Debug, Default)]
struct Burst {
    told: u64,
    seen: u64,
    since: Option<Instant>,
}

impl Burst {
    /// How many drops are to be told of, when `total` is the count at `now`.
    fn look(&mut self, total: u64, now: Instant) -> Option<u64> {
        let grows = total > self.seen;
        self.seen = total;
        let since = *self.since.get_or_insert(now);
        if grows && now.saturating_duration_since(since) < LONG {
            return None;
        }
        self.since = grows.then_some(now);
        self.end(total)
    }

    /// How many are to be told of, however long it has lasted.
    fn end(&mut self, total: u64) -> Option<u64> {
        let news = total.saturating_sub(self.told);
        self.told = total;
        (news > 0).then_some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_of_once_when_it_is_over() {
        let (mut burst, start) = (Burst::default(), Instant::now());
        let mut told = Vec::new();
        for (look, total) in (0..).zip([0, 0, 10, 30, 31, 31, 31, 40, 40, 40]) {
            told.push(burst.look(total, start + look * LOOK).unwrap_or(0));
        }
        assert_eq!(told, [0, 0, 0, 0, 0, 31, 0, 0, 9, 0]);
    }

    #[test]
    fn one_that_does_not_end_is_told_of_each_minute() {
        let (mut burst, start) = (Burst::default(), Instant::now());
        let told: Vec<_> =
            (1..=90_u32).filter_map(|look| burst.look(u64::from(look), start + look * LOOK)).collect();
        assert_eq!(told, [31, 30]);
        assert_eq!(burst.end(90), Some(29));
        assert_eq!(burst.end(90), None);
    }
}
