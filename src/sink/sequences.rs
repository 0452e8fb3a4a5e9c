//! Which records are missing and which came twice: the gap-free numbers of each run, followed, and the ids of records
//! that have no number.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::time::Duration;
use std::time::Instant;

/// How many runs are followed; of further ones nothing is said.
const RUNS_MAX: usize = 1024;

/// How many holes of one run are remembered; the oldest are forgotten first, and what comes for them is repeated.
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

/// What a number is to its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It did not come before.
    New,
    /// It was waited for in vain, and comes after all: it is not missing any more.
    Found,
    /// It came before.
    Repeated,
}

#[derive(Debug)]
struct Run {
    next: u64,
    holes: Vec<Hole>,
}

/// Numbers that have not come.
#[derive(Clone, Copy, Debug)]
struct Hole {
    first: u64,
    last: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What a run wrote before the sink was there; it is not missed.
    Before,
    /// Waited for since then.
    Open(Instant),
    /// Missing, and said so.
    Told,
}

impl Sequences {
    /// Takes note of a number.
    pub(super) fn saw(&mut self, boot_id: &str, number: u64, now: Instant) -> Sight {
        let Some(run) = self.runs.get_mut(boot_id) else {
            if self.runs.len() < RUNS_MAX {
                self.runs.insert(boot_id.to_owned(), Run::new(number));
            }
            return Sight::New;
        };
        if number < run.next {
            return run.fill(number);
        }
        if number > run.next {
            run.holes.push(Hole { first: run.next, last: number - 1, kind: Kind::Open(now) });
            if run.holes.len() > HOLES_MAX {
                let hole = run.holes.remove(0);
                if let Kind::Open(_) = hole.kind {
                    self.missing.push(hole.missing(boot_id));
                }
            }
        }
        run.next = number.saturating_add(1);
        Sight::New
    }

    /// Gives up the numbers that were waited for during `patience`, and returns what is missing since the last call.
    pub(super) fn settle(&mut self, now: Instant, patience: Duration) -> Vec<Missing> {
        for (boot_id, run) in &mut self.runs {
            for hole in &mut run.holes {
                if let Kind::Open(since) = hole.kind
                    && now.saturating_duration_since(since) >= patience
                {
                    hole.kind = Kind::Told;
                    self.missing.push(hole.missing(boot_id));
                }
            }
        }
        std::mem::take(&mut self.missing)
    }
}

impl Run {
    fn new(number: u64) -> Self {
        let before = number.checked_sub(1).map(|last| Hole { first: 0, last, kind: Kind::Before });
        Self { next: number.saturating_add(1), holes: before.into_iter().collect() }
    }

    /// Takes a number that is not new out of its hole.
    fn fill(&mut self, number: u64) -> Sight {
        let Some(at) = self.holes.iter().position(|hole| (hole.first..=hole.last).contains(&number)) else {
            return Sight::Repeated;
        };
        let hole = self.holes.remove(at);
        if number < hole.last {
            self.holes.insert(at, Hole { first: number + 1, ..hole });
        }
        if number > hole.first {
            self.holes.insert(at, Hole { last: number - 1, ..hole });
        }
        if hole.kind == Kind::Told { Sight::Found } else { Sight::New }
    }
}

impl Hole {
    fn missing(&self, boot_id: &str) -> Missing {
        Missing { boot_id: boot_id.to_owned(), first: self.first, last: self.last }
    }
}

/// Remembers the ids of the last [`IDS_MAX`] records that have no number, by their hashes.
#[derive(Debug, Default)]
pub(super) struct Ids {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// How many ids are remembered: about 2 MiB.
const IDS_MAX: usize = 65_536;

impl Ids {
    /// Takes note of an id; false when it is among those that are remembered.
    pub(super) fn saw(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u64], repeated: usize, expected: &[(u64, u64)]) {
        let (mut sequences, now) = (Sequences::default(), crate::clock::now());
        let twice =
            numbers.iter().filter(|&&number| sequences.saw("b", number, now) == Sight::Repeated).count();
        assert_eq!(twice, repeated, "{numbers:?}");
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
        check(&[5, 3, 4, 3, 6], 1, &[]);
    }

    #[test]
    fn what_never_comes_is_missing() {
        check(&[0, 5, 3], 0, &[(1, 2), (4, 4)]);
        check(&[0, u64::MAX], 0, &[(1, u64::MAX - 1)]);
    }

    #[test]
    fn what_was_given_up_is_found_once_when_it_comes_after_all() {
        let (mut sequences, now) = (Sequences::default(), crate::clock::now());
        sequences.saw("b", 0, now);
        sequences.saw("b", 4, now);
        assert_eq!(sequences.settle(now, Duration::ZERO).len(), 1);
        assert_eq!(sequences.saw("b", 2, now), Sight::Found);
        assert_eq!(sequences.saw("b", 2, now), Sight::Repeated);
        assert_eq!(sequences.settle(now, Duration::ZERO), []);
    }

    #[test]
    fn ids_are_remembered_up_to_a_limit() {
        let mut ids = Ids::default();
        assert!(ids.saw("a") && !ids.saw("a"));
        for number in 0..IDS_MAX {
            assert!(ids.saw(&number.to_string()));
        }
        assert_eq!((ids.known.len(), ids.order.len()), (IDS_MAX, IDS_MAX));
        assert!(ids.saw("a"));
    }

    #[test]
    fn runs_are_kept_apart() {
        let (mut sequences, now) = (Sequences::default(), crate::clock::now());
        for (boot_id, number) in [("a", 1), ("b", 7), ("a", 2), ("b", 9)] {
            assert_eq!(sequences.saw(boot_id, number, now), Sight::New);
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
