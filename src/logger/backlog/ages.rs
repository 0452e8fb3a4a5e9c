//! How long the oldest undelivered record has been waiting, told from counters alone.
//!
//! Records carry no time: reading a clock for each would cost more than queueing it. Now and then the number of
//! records that have ever entered the queue is noted with the time; as long as fewer are settled, something from before
//! that note waits.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::buffer::DropCause;
use crate::buffer::Stats;

/// Notes of how many records had entered when.
#[derive(Debug, Default)]
pub(in crate::logger) struct Ages {
    notes: VecDeque<(u64, Instant)>,
}

impl Ages {
    /// Takes note of the counters at `now`.
    pub(in crate::logger) fn note(&mut self, stats: &Stats, now: Instant) {
        self.forget(stats);
        let entered = entered(stats);
        if stats.queued.is_zero() && stats.spooled.is_zero() {
            return;
        }
        if self.notes.back().is_none_or(|(last, _)| *last < entered) {
            if self.notes.len() >= NOTES_MAX {
                self.thin_out();
            }
            self.notes.push_back((entered, now));
        }
    }

    /// The age of the oldest record that waits, up to the distance of two notes too young; `None` when none waits.
    pub(in crate::logger) fn oldest(&mut self, stats: &Stats, now: Instant) -> Option<Duration> {
        self.forget(stats);
        self.notes.front().map(|(_, noted)| now.saturating_duration_since(*noted))
    }

    /// Forgets notes from before the oldest record that waits.
    fn forget(&mut self, stats: &Stats) {
        let waiting = stats.queued.records + stats.spooled.records;
        let settled = entered(stats).saturating_sub(waiting);
        while self.notes.pop_front_if(|(entered, _)| waiting == 0 || *entered <= settled).is_some() {}
    }

    /// Forgets every second note, but neither the first nor the last.
    fn thin_out(&mut self) {
        let last = self.notes.len().saturating_sub(1);
        let mut index = 0;
        self.notes.retain(|_| {
            index += 1;
            index % 2 == 1 || index - 1 == last
        });
    }
}

/// Records that have entered the queue. Those that were dropped at its door have not: they are newer than all that
/// wait, and counting them as settled would make the oldest seem young for as long as lines are dropped.
fn entered(stats: &Stats) -> u64 {
    let refused = [DropCause::Overflow, DropCause::Shed, DropCause::TooLong];
    let refused: u64 = refused.into_iter().map(|cause| stats.dropped.of(cause).records).sum();
    stats.accepted.records.saturating_sub(refused)
}

/// Notes that are kept: at four a second, those of the last two minutes are exact.
const NOTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Tally;

    fn stats(accepted: u64, waiting: u64) -> Stats {
        let tally = |records| Tally { records, bytes: records };
        Stats {
            accepted: tally(accepted),
            sent: tally(accepted - waiting),
            queued: tally(waiting),
            ..Stats::default()
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_record_that_waits() {
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut ages = Ages::default();
        ages.note(&stats(10, 10), at(0));
        ages.note(&stats(20, 15), at(1));
        assert_eq!(ages.oldest(&stats(20, 15), at(5)), Some(Duration::from_secs(5)));
        assert_eq!(ages.oldest(&stats(20, 10), at(5)), Some(Duration::from_secs(4)));
        ages.note(&stats(20, 5), at(6));
        assert_eq!(ages.oldest(&stats(20, 0), at(7)), None);
        ages.note(&stats(21, 1), at(8));
        assert_eq!(ages.oldest(&stats(21, 1), at(9)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn lines_that_are_dropped_at_the_door_do_not_make_the_oldest_young() {
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut ages = Ages::default();
        ages.note(&stats(10, 10), at(0));
        let mut full = stats(10, 10);
        for seconds in 1..100 {
            full.accepted += Tally { records: 10, bytes: 10 };
            full.dropped.add(DropCause::Overflow, Tally { records: 10, bytes: 10 });
            ages.note(&full, at(seconds));
            assert_eq!(ages.oldest(&full, at(seconds)), Some(Duration::from_secs(seconds)));
        }
        full.queued = Tally::default();
        assert_eq!(ages.oldest(&full, at(100)), None);
    }

    #[test]
    fn an_outage_of_days_takes_no_more_notes_and_keeps_its_beginning() {
        let start = crate::clock::now();
        let mut ages = Ages::default();
        for n in 1..100_000 {
            ages.note(&stats(n, n), start + Duration::from_secs(n));
        }
        assert!(ages.notes.len() <= NOTES_MAX);
        let now = start + Duration::from_secs(100_000);
        assert_eq!(ages.oldest(&stats(100_000, 100_000), now), Some(Duration::from_secs(99_999)));
    }
}
