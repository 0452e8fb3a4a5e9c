//! Growing delays between tries, with full jitter. No clock and no random source: both are arguments.

use std::time::Duration;

/// How long to wait before try `n`: `base * 2^n`, at most `max`, scaled by a random fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    /// Delays that start at `base` and never pass `max`; a `max` below `base` is raised to it.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max: max.max(base) }
    }

    /// The upper edge of the delay after `failures` failed tries (0 gives the base).
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        self.base.saturating_mul(1_u32.checked_shl(failures.min(30)).unwrap_or(u32::MAX)).min(self.max)
    }

    /// The delay after `failures` failed tries, between half the ceiling and the ceiling.
    ///
    /// `random` is uniform in 0..=1: it spreads the returns of many clients, so that a target that comes back is
    /// not hit by all of them at once, and the lower half keeps a loop from spinning.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        self.ceiling(failures).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff::new(ms(100), ms(1000));
        let ceilings: Vec<_> = (0..6).map(|n| backoff.ceiling(n)).collect();
        assert_eq!(ceilings, [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]);
        assert_eq!(backoff.ceiling(u32::MAX), ms(1000));
    }

    #[test]
    fn stays_between_half_the_ceiling_and_the_ceiling() {
        let backoff = Backoff::new(ms(100), ms(1000));
        assert_eq!(backoff.delay(1, 0.0), ms(100));
        assert_eq!(backoff.delay(1, 1.0), ms(200));
        assert_eq!(backoff.delay(1, f64::MAX), ms(200));
    }
}
