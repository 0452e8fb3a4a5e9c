//! How often the logger may complain: one line per cause in a while, with a count of what was held back.

use std::time::Duration;
use std::time::Instant;

use crate::buffer::DropCause;

/// What there is to complain about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// No connection to the log server.
    Unreachable,
    /// A connection broke, or took nothing for too long.
    Broken,
    /// The server closed the connection.
    Closed,
    /// Records were dropped.
    Dropped(DropCause),
    /// Records were sent again.
    Resent,
    /// A record that the log server refused could not be kept.
    Buried,
    /// The spool does not work.
    Spool,
    /// The spool begins to fill.
    Filling,
    /// Not a complaint but its end: the spool is empty again.
    Emptied,
    /// Not a complaint but its end: lines flow again.
    Recovered,
}

/// The memory of what was said when.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    said: Option<Instant>,
    held_back: u64,
}

impl Complaint {
    /// Every complaint that is still true when it is told later.
    fn lasting() -> impl Iterator<Item = Self> {
        let dropped = DropCause::ALL.into_iter().map(Self::Dropped);
        [Self::Unreachable, Self::Broken, Self::Closed, Self::Resent, Self::Buried].into_iter().chain(dropped)
    }

    fn slot(self) -> usize {
        match self {
            Self::Unreachable => 0,
            Self::Broken => 1,
            Self::Closed => 2,
            Self::Recovered => 3,
            Self::Resent => 4,
            Self::Buried => 5,
            Self::Spool => 6,
            Self::Filling => 7,
            Self::Emptied => 8,
            Self::Dropped(cause) => 9 + cause as usize,
        }
    }
}

impl Complaints {
    /// `count` more of one kind: how many to speak of now, those held back included, or `None` to keep quiet.
    pub(super) fn raise(&mut self, complaint: Complaint, count: u64, now: Instant) -> Option<u64> {
        let slot = self.slots.get_mut(complaint.slot())?;
        slot.held_back += count;
        slot.speak(now)
    }

    /// What was held back long enough, so that the last ones of a series are told as well.
    pub(super) fn overdue(&mut self, now: Instant) -> impl Iterator<Item = (Complaint, u64)> + '_ {
        Complaint::lasting().filter_map(move |complaint| {
            let count = self.slots.get_mut(complaint.slot())?.speak(now)?;
            Some((complaint, count))
        })
    }
}

impl Slot {
    fn speak(&mut self, now: Instant) -> Option<u64> {
        let quiet = self.said.is_some_and(|said| now.saturating_duration_since(said) < QUIET);
        if quiet || self.held_back == 0 {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// The least time between two lines about one cause.
const QUIET: Duration = Duration::from_secs(10);

const SLOTS: usize = 9 + DropCause::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_at_once_and_then_once_in_ten_seconds_with_the_sum() {
        let mut complaints = Complaints::default();
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let overflow = Complaint::Dropped(DropCause::Overflow);
        assert_eq!(complaints.raise(overflow, 3, at(0)), Some(3));
        assert_eq!(complaints.raise(overflow, 1, at(1)), None);
        assert_eq!(complaints.raise(overflow, 1, at(9)), None);
        assert_eq!(complaints.raise(Complaint::Broken, 1, at(9)), Some(1), "each cause has its own time");
        assert_eq!(complaints.raise(overflow, 1, at(10)), Some(3));
    }

    #[test]
    fn the_last_of_a_series_is_told_later() {
        let mut complaints = Complaints::default();
        let start = crate::clock::now();
        assert_eq!(complaints.raise(Complaint::Closed, 1, start), Some(1));
        assert_eq!(complaints.raise(Complaint::Closed, 1, start), None);
        let mut overdue =
            |seconds| complaints.overdue(start + Duration::from_secs(seconds)).collect::<Vec<_>>();
        assert_eq!(overdue(9), []);
        assert_eq!(overdue(10), [(Complaint::Closed, 1)]);
        assert_eq!(overdue(30), []);
    }
}
