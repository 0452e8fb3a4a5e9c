//! Which of several log servers is asked first. It knows no sockets and no clock.

use std::time::Duration;
use std::time::Instant;

use crate::config::TargetOrder;

/// The order of the targets, and which of them did not work lately.
#[derive(Debug)]
pub(super) struct Targets {
    order: TargetOrder,
    /// When each of them last failed.
    failed: Vec<Option<Instant>>,
}

impl Targets {
    pub(super) fn new(order: TargetOrder, count: usize) -> Self {
        Self { order, failed: vec![None; count] }
    }

    /// All targets, in the order in which they are to be tried; `random` is in 0..=1.
    ///
    /// Those that failed within [`DEMOTION`] come last, the longest ago first.
    pub(super) fn sequence(&self, now: Instant, random: f64) -> Vec<usize> {
        let count = self.failed.len();
        // Where this loses digits, it still is a number below the count.
        let first = match self.order {
            TargetOrder::Failover => 0,
            TargetOrder::Balanced => ((random * count as f64) as usize).min(count.saturating_sub(1)),
        };
        let mut sequence: Vec<usize> = (0..count).map(|n| (first + n) % count).collect();
        sequence.sort_by_key(|index| self.demoted(*index, now));
        sequence
    }

    /// This target failed.
    pub(super) fn demote(&mut self, index: usize, now: Instant) {
        if let Some(failed) = self.failed.get_mut(index) {
            *failed = Some(now);
        }
    }

    /// This target works.
    pub(super) fn restore(&mut self, index: usize) {
        if let Some(failed) = self.failed.get_mut(index) {
            *failed = None;
        }
    }

    /// How long a connection to this target may last because a better one should be tried again.
    pub(super) fn patience(&self, index: usize) -> Option<Duration> {
        (self.order == TargetOrder::Failover && index > 0).then_some(DEMOTION)
    }

    fn demoted(&self, index: usize, now: Instant) -> Option<Instant> {
        let failed = self.failed.get(index).copied().flatten()?;
        (now.saturating_duration_since(failed) < DEMOTION).then_some(failed)
    }
}

/// How long a target that failed is tried after the others, and how long a worse one is used before the better ones
/// are tried again.
const DEMOTION: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_works_is_asked_first_again_after_a_while() {
        let start = crate::clock::now();
        let mut targets = Targets::new(TargetOrder::Failover, 3);
        assert_eq!(targets.sequence(start, 0.9), [0, 1, 2]);
        targets.demote(0, start);
        assert_eq!(targets.sequence(start, 0.9), [1, 2, 0]);
        targets.demote(1, start + Duration::from_secs(1));
        assert_eq!(targets.sequence(start + Duration::from_secs(2), 0.0), [2, 0, 1], "the longest ago first");
        assert_eq!(targets.sequence(start + DEMOTION, 0.0), [0, 2, 1]);
        targets.restore(1);
        assert_eq!(targets.sequence(start + DEMOTION, 0.0), [0, 1, 2]);
        assert_eq!((targets.patience(0), targets.patience(2)), (None, Some(DEMOTION)));
    }

    #[test]
    fn balanced_targets_are_entered_anywhere_and_all_are_tried() {
        let now = crate::clock::now();
        let targets = Targets::new(TargetOrder::Balanced, 3);
        let sequences = [0.0, 0.4, 0.99, 1.0].map(|random| targets.sequence(now, random));
        assert_eq!(sequences, [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1], vec![2, 0, 1]]);
        assert_eq!(targets.patience(2), None);
    }
}
