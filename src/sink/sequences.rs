//! Which records are missing: the gap-free numbers of each run, followed.

use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

/// How many runs are followed; of further ones nothing is said.
const RUNS_MAX: usize = 1024;

/// How many holes of one run are kept open; the oldest are closed as missing first.
const HOLES_MAX: usize = 1024;

/// Follows the numbers of all runs.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    runs: HashMap<String, Run>,
    missing: Vec<Missing>,
}

/// Records that did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The run.
    pub(super) boot_id: String,
    /// The first number that is missing.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: u64,
}

impl Missing {
    /// How many they are.
    pub(super) fn records(&self) -> u64 {
        self.last - self.first + 1
    }
}

#[derive(Debug)]
struct Run {
    next: u64,
    holes: Vec<Hole>,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    first: u64,
    last: u64,
    since: Instant,
}

impl Sequences {
    /// Takes note of a number; false when it came before.
    pub(super) fn saw(&mut self, boot_id: &str, number: u64, now: Instant) -> bool {
        let Some(run) = self.runs.get_mut(boot_id) else {
            if self.runs.len() < RUNS_MAX {
                // What a run wrote before the sink was there is not missing.
                let run = Run { next: number.saturating_add(1), holes: Vec::new() };
                self.runs.insert(boot_id.to_owned(), run);
            }
            return true;
        };
        if number < run.next {
            return run.fill(number);
        }
        if number > run.next {
            run.holes.push(Hole { first: run.next, last: number - 1, since: now });
            if run.holes.len() > HOLES_MAX {
                let hole = run.holes.remove(0);
                self.missing.push(Missing {
                    boot_id: boot_id.to_owned(),
                    first: hole.first,
                    last: hole.last,
                });
            }
        }
        run.next = number.saturating_add(1);
        true
    }

    /// Closes the holes that are older than `patience`, and returns what is missing since the last call.
    pub(super) fn settle(&mut self, now: Instant, patience: Duration) -> Vec<Missing> {
        for (boot_id, run) in &mut self.runs {
            run.holes.retain(|hole| {
                let old = now.saturating_duration_since(hole.since) >= patience;
                if old {
                    self.missing.push(Missing {
                        boot_id: boot_id.clone(),
                        first: hole.first,
                        last: hole.last,
                    });
                }
                !old
            });
        }
        std::mem::take(&mut self.missing)
    }
}

impl Run {
    /// Takes a late number out of its hole; false when there is none for it.
    fn fill(&mut self, number: u64) -> bool {
        let Some(at) = self.holes.iter().position(|hole| (hole.first..=hole.last).contains(&number)) else {
            return false;
        };
        let hole = self.holes.remove(at);
        if number < hole.last {
            self.holes.insert(at, Hole { first: number + 1, ..hole });
        }
        if number > hole.first {
            self.holes.insert(at, Hole { last: number - 1, ..hole });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u64], repeated: usize, expected: &[(u64, u64)]) {
        let (mut sequences, now) = (Sequences::default(), crate::clock::now());
        let seen = numbers.iter().filter(|&&number| sequences.saw("b", number, now)).count();
        assert_eq!(numbers.len() - seen, repeated, "{numbers:?}");
        assert_eq!(sequences.settle(now, Duration::from_secs(1)), []);
        let missing = sequences.settle(now + Duration::from_secs(1), Duration::from_secs(1));
        let missing: Vec<_> = missing.iter().map(|missing| (missing.first, missing.last)).collect();
        assert_eq!(missing, expected, "{numbers:?}");
    }

    #[test]
    fn numbers_in_order_leave_no_hole_wherever_they_begin() {
        check(&[500, 501, 502], 0, &[]);
    }

    #[test]
    fn what_comes_late_is_not_missing_and_what_comes_twice_is_repeated() {
        check(&[0, 3, 2, 1, 4], 0, &[]);
        check(&[0, 1, 1, 0, 2], 2, &[]);
    }

    #[test]
    fn what_never_comes_is_missing() {
        check(&[0, 5, 3], 0, &[(1, 2), (4, 4)]);
        check(&[0, u64::MAX], 0, &[(1, u64::MAX - 1)]);
    }

    #[test]
    fn runs_are_kept_apart() {
        let (mut sequences, now) = (Sequences::default(), crate::clock::now());
        for (boot_id, number) in [("a", 1), ("b", 7), ("a", 2), ("b", 9)] {
            assert!(sequences.saw(boot_id, number, now));
        }
        let expected = Missing { boot_id: "b".to_owned(), first: 8, last: 8 };
        assert_eq!(sequences.settle(now, Duration::ZERO), [expected]);
    }

    #[test]
    fn holes_are_limited() {
        let (mut sequences, now) = (Sequences::default(), crate::clock::now());
        for number in 0..2000 {
            sequences.saw("b", number * 2, now);
        }
        assert_eq!(sequences.runs["b"].holes.len(), HOLES_MAX);
        assert_eq!(sequences.settle(now, Duration::ZERO).len(), 1999);
    }
}
