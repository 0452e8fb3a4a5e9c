//! Whether the business API is worth asking: after failures in a row it is left alone for a while.
//!
//! Closed, everybody asks. After `limit` failures in a row it opens: nobody asks until a pause is over, then one may try
//! (half open). That one's success closes it; its failure opens it again for a longer pause. Pauses grow from
//! [`PAUSE_MIN`] to [`PAUSE_MAX`], with jitter, so that many nodes do not come back at once. No clock: `now` is given.

use std::time::Duration;

use crate::backoff::Backoff;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What whoever wants to ask may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Ask, and try again if it fails.
    Ask,
    /// Ask once, to see if the API is back.
    Probe,
    /// Do not ask.
    Away {
        /// When the next one may try.
        pause: Duration,
    },
}

/// A change that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Too many failures in a row: it is left alone.
    Opened,
    /// It is back.
    Closed,
}

/// The state.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: u32,
    /// A probe that has not told its end by then is given up: its client may have gone.
    patience: Duration,
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// When the next one may try.
    next: Duration,
    /// Pauses so far, which make the next one longer.
    pauses: u32,
    /// One is trying.
    probing: bool,
}

impl Breaker {
    /// Closed; `limit` failures in a row open it, a probe takes `patience` at the longest.
    pub(super) fn new(limit: u32, patience: Duration) -> Self {
        Self { limit, patience, failures: 0, open: None }
    }

    /// May somebody ask now?
    pub(super) fn admit(&mut self, now: Duration) -> Admission {
        match &mut self.open {
            None => Admission::Ask,
            Some(open) if now >= open.next => {
                open.next = now + self.patience;
                open.probing = true;
                Admission::Probe
            }
            Some(open) => Admission::Away { pause: open.next - now },
        }
    }

    /// True while it is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The API answered.
    pub(super) fn succeeded(&mut self) -> Option<Change> {
        self.failures = 0;
        self.open.take().map(|_| Change::Closed)
    }

    /// The API failed; `random` is uniform in 0..=1.
    pub(super) fn failed(&mut self, now: Duration, random: f64) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        let pause = |pauses| Backoff::new(PAUSE_MIN, PAUSE_MAX).delay(pauses, random);
        match &mut self.open {
            Some(open) if open.probing => {
                open.probing = false;
                open.pauses = open.pauses.saturating_add(1);
                open.next = now + pause(open.pauses);
                None
            }
            // Those that asked before it opened fail late, and do not make the pause longer.
            Some(_) => None,
            None if self.failures >= self.limit => {
                self.open = Some(Open { next: now + pause(0), pauses: 0, probing: false });
                Some(Change::Opened)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(3, ms(500));
        assert_eq!([breaker.failed(ms(0), 1.0), breaker.failed(ms(0), 1.0)], [None; 2]);
        assert_eq!(breaker.admit(ms(0)), Admission::Ask);
        assert_eq!(breaker.failed(ms(0), 1.0), Some(Change::Opened));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let mut breaker = Breaker::new(2, ms(500));
        assert_eq!(breaker.failed(ms(0), 1.0), None);
        assert_eq!(breaker.succeeded(), None);
        assert_eq!(breaker.failed(ms(0), 1.0), None);
        assert!(!breaker.is_open());
        let breaker = opened();
        assert!(breaker.is_open());
    }

    #[test]
    fn one_at_a_time_probes_after_the_pause_and_its_success_closes_it() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(ms(400)), Admission::Away { pause: ms(600) });
        assert_eq!(breaker.admit(ms(1000)), Admission::Probe);
        assert_eq!(breaker.admit(ms(1000)), Admission::Away { pause: ms(500) });
        assert_eq!(breaker.succeeded(), Some(Change::Closed));
        assert_eq!(breaker.admit(ms(1001)), Admission::Ask);
        assert_eq!(breaker.failed(ms(1001), 1.0), None, "the count begins anew");
    }

    #[test]
    fn failed_probes_make_the_pause_longer_and_late_failures_do_not() {
        let mut breaker = opened();
        assert_eq!(breaker.failed(ms(900), 1.0), None);
        assert_eq!(breaker.admit(ms(1000)), Admission::Probe);
        assert_eq!(breaker.failed(ms(1100), 1.0), None);
        assert_eq!(breaker.admit(ms(1100)), Admission::Away { pause: ms(2000) });
        assert_eq!(breaker.admit(ms(3100)), Admission::Probe);
        assert_eq!(breaker.failed(ms(3100), 0.0), None);
        assert_eq!(breaker.admit(ms(3100)), Admission::Away { pause: ms(2000) }, "half of four seconds");
    }

    #[test]
    fn a_probe_whose_client_has_gone_does_not_close_the_door_for_ever() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(ms(1000)), Admission::Probe);
        assert_eq!(breaker.admit(ms(1499)), Admission::Away { pause: ms(1) });
        assert_eq!(breaker.admit(ms(1500)), Admission::Probe);
    }
}
