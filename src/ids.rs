//! Newtypes for the names that travel through the daemon: process, session, message.
//!
//! Rooms and users are named by the operator's own systems and stay plain strings; what pillion names itself is
//! made here. No clock and no random source: both are arguments.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// One run of the daemon: 64 random bits, written as 16 hex digits.
///
/// It makes the ids of two runs differ, and lets a reader of the log tell a restart from a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(u64);

impl BootId {
    /// The id of this run, made of the caller's random bits.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The id of a session: `<node>.<boot>.<worker>.<counter>`, unique across nodes and restarts.
///
/// Like the ids of the original (`session-<worker>-<counter>`, `(worker + 1) * 100000 + counter`) it tells where
/// the session lives: [`SessionId::node`] and [`SessionId::worker`] route to it without a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Reads an id that pillion has given out; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(text.into());
        let complete = id.part(0).is_some_and(|n| u64::from_str_radix(n, 36).is_ok())
            && id.worker().is_some()
            && id.part(2).is_some_and(|boot| boot.len() == 16)
            && id.node().is_some_and(|node| !node.is_empty());
        complete.then_some(id)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The node that carries the session.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.0.rsplitn(4, '.').nth(3)
    }

    /// The worker thread that accepted the session.
    #[must_use]
    pub fn worker(&self) -> Option<u32> {
        self.part(1)?.parse().ok()
    }

    /// The number of the session in the process that carries it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.part(0).and_then(|number| u64::from_str_radix(number, 36).ok()).unwrap_or_default()
    }

    fn part(&self, from_end: usize) -> Option<&str> {
        self.0.rsplitn(4, '.').nth(from_end)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives out session ids of one run of one node.
#[derive(Debug)]
pub struct SessionIds {
    prefix: String,
    next: AtomicU64,
}

impl SessionIds {
    /// Ids of the run `boot` on `node`.
    #[must_use]
    pub fn new(node: &str, boot: BootId) -> Self {
        Self { prefix: format!("{node}.{boot}"), next: AtomicU64::new(1) }
    }

    /// The next id, for a session accepted by `worker`.
    pub fn next(&self, worker: u32) -> SessionId {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        SessionId(format!("{}.{worker}.{}", self.prefix, Base36(n)).into())
    }
}

/// The id of a published message: a decimal number that grows with time, unique across restarts.
///
/// The layout is that of openresty-im's ids, so that new ones sort behind old ones: 41 bits of milliseconds since
/// 2014-12-21, 10 bits that tell the node, 12 bits that count. JavaScript's numbers are too short for it, so it
/// travels as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u64);

impl MessageId {
    /// The id that this number is.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The id as a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The highest id that belongs to a time, in Unix milliseconds, and the one below the lowest of the next one.
    #[must_use]
    pub const fn highest_at(unix_ms: u64) -> Self {
        let next = unix_ms.saturating_sub(MESSAGE_EPOCH_MS).saturating_add(1);
        Self((next << (COUNTER_BITS + NODE_BITS)) - 1)
    }

    /// When it was given out, in Unix milliseconds.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        (self.0 >> (COUNTER_BITS + NODE_BITS)) + MESSAGE_EPOCH_MS
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Milliseconds from 1970 to 2014-12-21, where the time of message ids begins: 45 years of 365 days.
const MESSAGE_EPOCH_MS: u64 = 45 * 365 * 86_400_000;

/// The bits of a message id below its time: 10 for the node, 12 for the counter.
const COUNTER_BITS: u32 = 12;
const NODE_BITS: u32 = 10;

/// Gives out message ids of one node.
#[derive(Debug)]
pub struct MessageIds {
    node: u64,
    /// Time and counter of the last id, without the node.
    last: AtomicU64,
}

impl MessageIds {
    /// Ids of `node`, of whose name ten bits are taken: two names may share them.
    #[must_use]
    pub fn new(node: &str) -> Self {
        // FNV-1a, folded: a fixed function, so that a node has the same bits in every run.
        let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let node = (hash ^ (hash >> 32)) & ((1 << NODE_BITS) - 1);
        Self { node, last: AtomicU64::new(0) }
    }

    /// The next id, at `unix_ms` milliseconds after 1970; greater than all before, whatever the clock does.
    pub fn next(&self, unix_ms: u64) -> MessageId {
        let wanted = unix_ms.saturating_sub(MESSAGE_EPOCH_MS) << COUNTER_BITS;
        let following = |last: u64| wanted.max(last + 1);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(following(last)));
        let own = following(last.unwrap_or_default());
        let (time, count) = (own >> COUNTER_BITS, own & ((1 << COUNTER_BITS) - 1));
        MessageId((((time << NODE_BITS) | self.node) << COUNTER_BITS) | count)
    }
}

/// The id of a request or of a stream's birth: `<boot>-<counter in base 36>`, unique like a session id.
#[derive(Debug)]
pub struct RequestIds {
    boot: BootId,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of the run `boot`.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        Self { boot, next: AtomicU64::new(1) }
    }

    /// The next id.
    pub fn next(&self) -> String {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}", self.boot, Base36(n))
    }
}

/// What a stream is called at its birth, so that a later one is not taken for it: 64 bits in base 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Reads an epoch as it was written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 36).ok().map(Self)
    }

    /// The epoch that this number is.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The epoch as a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Base36(self.0))
    }
}

/// Gives out the epochs of one run.
#[derive(Debug)]
pub struct Epochs {
    boot: BootId,
    next: AtomicU64,
}

impl Epochs {
    /// Epochs of the run `boot`.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        Self { boot, next: AtomicU64::new(1) }
    }

    /// The next epoch: different for each stream of a run, and between runs but for one case in 2^64.
    pub fn next(&self) -> Epoch {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Epoch(self.boot.0 ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// A number in base 36, lower case.
struct Base36(u64);

impl fmt::Display for Base36 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let high = self.0 / 36;
        if high > 0 {
            write!(f, "{}", Self(high))?;
        }
        let digit = u32::try_from(self.0 % 36).ok().and_then(|digit| char::from_digit(digit, 36));
        write!(f, "{}", digit.unwrap_or('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_tells_its_node_and_worker() {
        let ids = SessionIds::new("edge-1.example.org", BootId::new(0x9f86));
        let id = ids.next(3);
        assert_eq!(id.as_str(), "edge-1.example.org.0000000000009f86.3.1");
        assert_eq!(id.node(), Some("edge-1.example.org"));
        assert_eq!(id.worker(), Some(3));
        assert_eq!(id.number(), 1);
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
    }

    #[test]
    fn foreign_texts_are_no_session_ids() {
        for text in ["", "a", "session-0-1", "n.0000000000009f86.x.1", ".0000000000009f86.0.1", "n.9f86.0.1"]
        {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ids_never_repeat_within_a_run_and_differ_between_runs() {
        let (first, second) = (SessionIds::new("n", BootId::new(1)), SessionIds::new("n", BootId::new(2)));
        let ids: std::collections::HashSet<_> =
            (0..1000).flat_map(|_| [first.next(0), second.next(0)]).collect();
        assert_eq!(ids.len(), 2000);
    }

    #[test]
    fn message_ids_grow_whatever_the_clock_does() {
        let ids = MessageIds::new("n");
        let given: Vec<MessageId> =
            [1_795_217_939_404, 1_795_217_939_404, 1_795_217_000_000, 1_795_217_939_405]
                .map(|ms| ids.next(ms))
                .into();
        assert!(given.is_sorted_by(|one, next| one < next), "{given:?}");
        let times = given.iter().map(|id| (id.number() >> 22) + MESSAGE_EPOCH_MS).collect::<Vec<_>>();
        assert_eq!(times, [1_795_217_939_404, 1_795_217_939_404, 1_795_217_939_404, 1_795_217_939_405]);
    }

    #[test]
    fn message_ids_have_the_layout_of_openresty_im() {
        // Its own id of the millisecond 376097939404, machine 99, counter 1.
        assert_eq!(MESSAGE_EPOCH_MS, 1_419_120_000_000);
        let number = 1_577_469_091_634_360_321_u64;
        assert_eq!((number >> 22, number >> 12 & 1023, number & 4095), (376_097_939_404, 99, 1));
        let theirs = MessageId::from_number(number);
        let ours = MessageIds::new("n").next(1_419_120_000_000 + 376_097_939_404);
        assert_eq!(ours.number() >> 22, theirs.number() >> 22);
        assert_eq!(theirs.unix_ms(), 1_795_217_939_404);
        let highest = MessageId::highest_at(theirs.unix_ms());
        assert!(theirs < highest && highest.unix_ms() == theirs.unix_ms());
        assert_eq!(MessageId::from_number(highest.number() + 1).unix_ms(), theirs.unix_ms() + 1);
    }

    #[test]
    fn epochs_differ_and_are_read_as_they_are_written() {
        let epochs = Epochs::new(BootId::new(7));
        let (one, other) = (epochs.next(), epochs.next());
        assert_ne!(one, other);
        assert_eq!(Epoch::parse(&one.to_string()), Some(one));
        assert_eq!(Epoch::parse("no epoch"), None);
    }

    #[test]
    fn counters_are_written_in_base_36() {
        assert_eq!(Base36(0).to_string(), "0");
        assert_eq!(Base36(35).to_string(), "z");
        assert_eq!(Base36(36).to_string(), "10");
        assert_eq!(Base36(u64::MAX).to_string(), "3w5e11264sgsf");
    }
}
