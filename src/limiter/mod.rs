//! How often something may happen: one cell for one thing, a table for many.
//!
//! What it is: the generic cell rate algorithm. A cell holds the moment at which its owner would be even, had each
//! event taken its share of time; an event is refused while that moment lies further ahead than the burst allows. So
//! one number, moved on by each event, limits both the mean rate and the burst, and nothing has to be filled up
//! again by a timer.
//!
//! What it is not: it reads no clock (`now` is an argument, on any clock that does not go backwards), it knows no
//! configuration (the rate is an argument too, so a new one counts at once and nobody's past is forgotten), and it
//! decides nothing about what a refusal means.
//!
//! Limits: a cell is 8 bytes. A table has [`KEYS_MAX`] keys; those that are even again are swept out, and when all are
//! behind, the one of a few that is least behind is forgotten: memory is bounded, and a flood from many addresses costs the
//! most patient of them their past. In a crash the past is lost: everybody may have one burst more.

mod table;

pub use table::KEYS_MAX;
pub use table::Table;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::units::Rate;

/// The limit of one thing; safe to share.
#[derive(Debug, Default)]
pub struct Cell {
    even_at: AtomicU64,
}

impl Cell {
    /// Lets one event through, or says how long to wait.
    ///
    /// # Errors
    ///
    /// The time after which the next event is let through.
    pub fn check(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanoseconds(now);
        let mut even_at = self.even_at.load(Relaxed);
        loop {
            let next = advance(even_at, rate, now)?;
            match self.even_at.compare_exchange_weak(even_at, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(moved) => even_at = moved,
            }
        }
    }
}

/// The moment at which an owner is even after one more event, or how long it has to wait for that event.
fn advance(even_at: u64, rate: Rate, now: u64) -> Result<u64, Duration> {
    let pace = rate.pace();
    let slack = pace.saturating_mul(u64::from(rate.burst()).saturating_sub(1));
    // Nobody is further behind than the present rate allows, whatever the rate was before.
    let behind = even_at.saturating_sub(now).min(slack.saturating_add(pace));
    if behind > slack {
        return Err(Duration::from_nanos(behind - slack));
    }
    Ok(now.saturating_add(behind).saturating_add(pace))
}

/// Five centuries fit.
fn nanoseconds(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::rate;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_burst_passes_and_then_one_per_pace() {
        let (cell, rate) = (Cell::default(), rate("10/s burst 3").unwrap());
        let passes = |at: u64| cell.check(rate, ms(at));
        assert_eq!([passes(5), passes(5), passes(5)], [Ok(()); 3]);
        assert_eq!(passes(5), Err(ms(100)), "the wait is told exactly");
        assert_eq!(passes(104), Err(ms(1)));
        assert_eq!(passes(105), Ok(()));
        assert_eq!(passes(105), Err(ms(100)), "one refusal costs nothing, one event one pace");
        assert_eq!(
            [passes(5000), passes(5000), passes(5000)],
            [Ok(()); 3],
            "a quiet time gives the burst back"
        );
        assert_eq!(passes(5000), Err(ms(100)), "and no more than that");
    }

    #[test]
    fn a_new_rate_counts_at_once() {
        let cell = Cell::default();
        let (slow, fast) = (rate("1/d").unwrap(), rate("10/s").unwrap());
        cell.check(slow, ms(0)).unwrap();
        assert_eq!(cell.check(slow, ms(0)), Err(Duration::from_secs(86_400)));
        assert_eq!(cell.check(fast, ms(0)), Err(ms(100)), "the day is not waited out under the new rate");
    }

    proptest! {
        #[test]
        fn in_no_time_more_pass_than_the_rate_and_one_burst(
            count in 1_u32..50, burst in 1_u32..50, pauses in proptest::collection::vec(0_u64..200, 1..300)
        ) {
            let rate = rate(&format!("{count}/s burst {burst}")).unwrap();
            let cell = Cell::default();
            let (mut now, mut passed) = (0, 0_u64);
            for pause in pauses {
                now += pause;
                passed += u64::from(cell.check(rate, ms(now)).is_ok());
                prop_assert!(passed <= u64::from(burst) + now * 1_000_000 / rate.pace());
            }
        }
    }
}
