//! When a room's messages leave: at once while there is little to do, a few milliseconds later and together under load.
//! No I/O, no clock.
//!
//! A write costs the same for one message as for five, here and in the proxy in front. So a room that was at work a
//! moment ago waits as long as that work took, [`WAIT_MAX`] at the longest, for more to come; one that works again and
//! again in little time waits [`WAIT_BUSY`]. A room that was quiet never waits.

use std::time::Duration;

/// The longest that a message waits for others.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// How long a message waits in a room that has more than [`BUSY`] times worked within [`SPAN`].
const WAIT_BUSY: Duration = Duration::from_millis(2);
const BUSY: u32 = 16;
const SPAN: Duration = Duration::from_millis(16);

/// Timers have no finer steps than this: a shorter wait is none.
const STEP: Duration = Duration::from_millis(1);

/// What a room has done of late.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateway) struct Rhythm {
    ended: Duration,
    took: Duration,
    span: Duration,
    works: u32,
}

impl Rhythm {
    /// The room was at work from `begun` to `ended`.
    pub(in crate::gateway) fn worked(&mut self, begun: Duration, ended: Duration) {
        self.ended = ended;
        self.took = ended.saturating_sub(begun);
        if ended.saturating_sub(self.span) > SPAN {
            self.span = ended;
            self.works = 0;
        }
        self.works += 1;
    }

    /// How long a message that comes at `now` waits for others; none when it does not.
    pub(in crate::gateway) fn wait(&self, now: Duration) -> Option<Duration> {
        let busy = self.works > BUSY && now.saturating_sub(self.span) <= SPAN;
        let patience = if busy { self.took.max(WAIT_BUSY) } else { self.took };
        let due = self.ended + patience.min(WAIT_MAX);
        Some(due.saturating_sub(now)).filter(|wait| *wait >= STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_quiet_room_never_waits() {
        let mut rhythm = Rhythm::default();
        assert_eq!(rhythm.wait(us(1_000_000)), None);
        rhythm.worked(us(1_000_000), us(1_004_000));
        assert_eq!(rhythm.wait(us(1_020_000)), None);
    }

    #[test]
    fn a_room_whose_work_is_long_waits_as_long_for_more() {
        let mut rhythm = Rhythm::default();
        rhythm.worked(us(1_000_000), us(1_003_000));
        assert_eq!(rhythm.wait(us(1_003_000)), Some(us(3_000)));
        assert_eq!(rhythm.wait(us(1_004_500)), Some(us(1_500)));
        assert_eq!(rhythm.wait(us(1_005_500)), None, "what is left is shorter than a timer's step");
        rhythm.worked(us(2_000_000), us(2_900_000));
        assert_eq!(rhythm.wait(us(2_900_000)), Some(WAIT_MAX));
    }

    #[test]
    fn a_room_that_works_again_and_again_waits_a_little() {
        let mut rhythm = Rhythm::default();
        let mut now = us(1_000_000);
        for _ in 0..=BUSY {
            rhythm.worked(now, now + us(20));
            assert!(rhythm.wait(now + us(20)).is_none() || rhythm.works > BUSY);
            now += us(100);
        }
        assert_eq!(rhythm.wait(now - us(80)), Some(WAIT_BUSY));
        assert_eq!(rhythm.wait(now + SPAN), None);
    }
}
