//! The only reader of the time.
//!
//! Everything that decides takes `now` as an argument; everything that acts asks here. Two clocks are kept
//! apart: [`now`] never goes backwards and measures waits and delays, [`wall`] is what operators read in logs.

use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The monotonic time: for waits, deadlines and measured delays.
#[expect(clippy::disallowed_methods, reason = "this module is where the time is read")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall-clock time since 1970-01-01 UTC: for time stamps only, it may jump.
///
/// A clock set before 1970 reads as zero.
#[expect(clippy::disallowed_methods, reason = "this module is where the time is read")]
#[must_use]
pub fn wall() -> Duration {
    #[cfg(test)]
    if let Some(hands) = hands::shown() {
        return hands.wall;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The monotonic time since the first call in this process: compact, and easy to compare and to store.
#[must_use]
pub fn uptime() -> Duration {
    #[cfg(test)]
    if let Some(hands) = hands::shown() {
        return hands.uptime;
    }
    static START: LazyLock<Instant> = LazyLock::new(now);
    now().saturating_duration_since(*START)
}

/// A clock whose hands a test moves, for whatever runs on the test's own thread.
#[cfg(test)]
pub(crate) mod hands {
    use std::cell::Cell;
    use std::time::Duration;

    /// What [`super::uptime`] and [`super::wall`] show.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Hands {
        pub(crate) uptime: Duration,
        pub(crate) wall: Duration,
    }

    thread_local! {
        static HANDS: Cell<Option<Hands>> = const { Cell::new(None) };
    }

    /// Moves the hands, whether or not they were moved before.
    pub(crate) fn set(hands: Hands) {
        HANDS.set(Some(hands));
    }

    pub(super) fn shown() -> Option<Hands> {
        HANDS.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_moves_the_hands_of_its_own_thread() {
        let hands = hands::Hands { uptime: Duration::from_secs(7), wall: Duration::from_secs(9) };
        hands::set(hands);
        assert_eq!((uptime(), wall()), (hands.uptime, hands.wall));
        let elsewhere = std::thread::spawn(wall).join().unwrap();
        assert_ne!(elsewhere, hands.wall);
    }
}
