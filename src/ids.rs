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

/// The id of a published message: `<boot>-<counter in base 36>`, unique like a session id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives out message ids of one run.
#[derive(Debug)]
pub struct MessageIds {
    boot: BootId,
    next: AtomicU64,
}

impl MessageIds {
    /// Ids of the run `boot`.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        Self { boot, next: AtomicU64::new(1) }
    }

    /// The next id.
    pub fn next(&self) -> MessageId {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        MessageId(format!("{}-{}", self.boot, Base36(n)).into())
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
    fn counters_are_written_in_base_36() {
        assert_eq!(Base36(0).to_string(), "0");
        assert_eq!(Base36(35).to_string(), "z");
        assert_eq!(Base36(36).to_string(), "10");
        assert_eq!(Base36(u64::MAX).to_string(), "3w5e11264sgsf");
    }
}
