//! What became of the records: tallies, causes of loss, and the gap that is still to be told.

use std::ops::Add;
use std::ops::AddAssign;

/// A number of records and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole records.
    pub records: u64,
    /// Bytes in these records.
    pub bytes: u64,
}

impl Tally {
    /// `records` records of `bytes` bytes together.
    #[must_use]
    pub fn new(records: usize, bytes: usize) -> Self {
        Self { records: records as u64, bytes: bytes as u64 }
    }

    /// One record of `bytes` bytes.
    #[must_use]
    pub fn one(bytes: usize) -> Self {
        Self::new(1, bytes)
    }

    /// True without a record.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// What remains without `other`, which never holds more than `self`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        debug_assert!(
            self.records >= other.records && self.bytes >= other.bytes,
            "{self:?} without {other:?}"
        );
        Self {
            records: self.records.saturating_sub(other.records),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// It would have raised the queued bytes over the drop limit.
    Overflow,
    /// It was less important than others that still had to fit.
    Shed,
    /// It was the oldest and had to make room.
    Evicted,
    /// It is longer than the longest line.
    TooLong,
    /// It does not fit into one datagram.
    Datagram,
    /// The log server refused it again and again; it was put among the dead letters.
    DeadLetter,
    /// The log server refused it again and again, and there was no place among the dead letters.
    Refused,
    /// It was on disk, and could not be read back.
    Rotten,
    /// It was still queued when the time to drain had passed, or came after that.
    Exit,
}

impl DropCause {
    /// Every cause, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Overflow,
        Self::Shed,
        Self::Evicted,
        Self::TooLong,
        Self::Datagram,
        Self::DeadLetter,
        Self::Refused,
        Self::Rotten,
        Self::Exit,
    ];

    /// The name in records, metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Shed => "shed",
            Self::Evicted => "evicted",
            Self::TooLong => "too_long",
            Self::Datagram => "datagram",
            Self::DeadLetter => "dead_letter",
            Self::Refused => "refused",
            Self::Rotten => "rotten",
            Self::Exit => "exit",
        }
    }
}

/// Dropped records by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([Tally; DropCause::ALL.len()]);

impl Drops {
    /// The records dropped for `cause`.
    #[must_use]
    pub fn of(&self, cause: DropCause) -> Tally {
        self.0.get(cause as usize).copied().unwrap_or_default()
    }

    /// Every cause with at least one record.
    pub fn iter(&self) -> impl Iterator<Item = (DropCause, Tally)> + '_ {
        DropCause::ALL.into_iter().map(|cause| (cause, self.of(cause))).filter(|(_, tally)| !tally.is_zero())
    }

    /// All causes together.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.0.iter().fold(Tally::default(), |sum, tally| sum + *tally)
    }

    /// Counts more records dropped for `cause`.
    pub fn add(&mut self, cause: DropCause, tally: Tally) {
        if let Some(slot) = self.0.get_mut(cause as usize) {
            *slot += tally;
        }
    }
}

/// Records that were dropped and of which the receiver has not been told yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// What is missing, by cause.
    pub drops: Drops,
    /// The lowest sequence number among the missing records that had one.
    pub first_sequence: Option<u64>,
    /// The highest such number.
    pub last_sequence: Option<u64>,
}

impl Gap {
    /// One more loss, with the sequence number of the record if it is known.
    pub(super) fn widen(&mut self, cause: DropCause, tally: Tally, sequence: Option<u64>) {
        self.drops.add(cause, tally);
        self.note(sequence);
    }

    /// Takes in another gap, in either order.
    pub(super) fn merge(&mut self, other: &Self) {
        for (cause, tally) in other.drops.iter() {
            self.drops.add(cause, tally);
        }
        self.note(other.first_sequence);
        self.note(other.last_sequence);
    }

    /// How many records and bytes are missing.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.drops.total()
    }

    /// The cause of most of the missing records.
    #[must_use]
    pub fn main_cause(&self) -> Option<DropCause> {
        self.drops.iter().max_by_key(|(_, tally)| tally.records).map(|(cause, _)| cause)
    }

    fn note(&mut self, sequence: Option<u64>) {
        let Some(number) = sequence else { return };
        self.first_sequence = Some(self.first_sequence.map_or(number, |first| first.min(number)));
        self.last_sequence = Some(self.last_sequence.map_or(number, |last| last.max(number)));
    }
}

/// Everything the buffer knows about its records at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Every record handed in, the dropped ones included.
    pub accepted: Tally,
    /// Records whose last byte the kernel took, or that were acknowledged where the protocol does that.
    pub sent: Tally,
    /// Records that were dropped, by cause.
    pub dropped: Drops,
    /// Records that wait in memory, those on their way included.
    pub queued: Tally,
    /// Records that wait on disk.
    pub spooled: Tally,
}

impl Stats {
    /// The identity that holds at every moment: accepted = sent + dropped + queued + spooled.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.accepted == self.sent + self.dropped.total() + self.queued + self.spooled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_sit_at_the_place_of_their_declaration() {
        let mut drops = Drops::default();
        for (n, cause) in DropCause::ALL.into_iter().enumerate() {
            drops.add(cause, Tally::new(n + 1, 10));
        }
        let records: Vec<_> = drops.iter().map(|(cause, tally)| (cause.name(), tally.records)).collect();
        let expected = [
            ("overflow", 1),
            ("shed", 2),
            ("evicted", 3),
            ("too_long", 4),
            ("datagram", 5),
            ("dead_letter", 6),
            ("refused", 7),
            ("rotten", 8),
            ("exit", 9),
        ];
        assert_eq!(records, expected);
        assert_eq!(drops.total(), Tally::new(45, 90));
    }

    #[test]
    fn a_gap_spans_all_numbers_it_has_seen() {
        let mut gap = Gap::default();
        gap.widen(DropCause::Overflow, Tally::one(5), Some(7));
        gap.widen(DropCause::Overflow, Tally::one(5), None);
        let mut earlier = Gap::default();
        earlier.widen(DropCause::TooLong, Tally::one(9), Some(3));
        gap.merge(&earlier);
        assert_eq!((gap.first_sequence, gap.last_sequence), (Some(3), Some(7)));
        assert_eq!(gap.total(), Tally::new(3, 19));
        assert_eq!(gap.main_cause(), Some(DropCause::Overflow));
    }
}
