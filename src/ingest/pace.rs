//! Tells when lines come one by one in quick succession, so that it pays to let several gather.
//!
//! Waking up for a line costs ten times what the line itself costs. So when a socket brings little each time, and does
//! so again and again within [`BUSY`], the next look comes [`GATHER`] later; whoever sends seldom is served at once. What
//! arrives meanwhile lies in the kernel's receive buffer, which must have room for it: that is for the caller to know.
//! A line without a time of its own gets the time at which it was read, up to two milliseconds late.

use std::time::Duration;

/// How long lines may gather. The runtime's timers make it up to a millisecond longer.
pub(super) const GATHER: Duration = Duration::from_millis(1);

/// Two looks that are closer together than this, a wait included, belong to a busy sender.
const BUSY: Duration = Duration::from_millis(4);

/// When the last look was.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Duration>,
}

impl Pace {
    /// Takes note of a look at `now`, the time since 1970; true when it soon follows another.
    pub(super) fn is_busy(&mut self, now: Duration) -> bool {
        let last = self.last.replace(now);
        // A clock that was set back says nothing.
        last.and_then(|last| now.checked_sub(last)).is_some_and(|between| between < BUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_in_quick_succession_are_worth_a_wait() {
        let mut pace = Pace::default();
        let looks = [0, 1, 3, 7, 20, 10, 11].map(|millis| pace.is_busy(Duration::from_millis(millis)));
        assert_eq!(looks, [false, true, true, false, false, false, true]);
    }
}
