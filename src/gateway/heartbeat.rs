//! One sweep over all sessions instead of one timer each.
//!
//! A wheel of slots, a tenth of a second apart: a session lies in the slot of its next look. Each tick takes out
//! one slot and looks at what lies in it. A look beyond the wheel's horizon comes early and is put off again.

use std::mem;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use crate::gateway::link::Link;
use crate::gateway::pulse::Pulse;
use crate::gateway::pulse::Rhythm;

/// The time between two slots.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// The slots: the horizon is 51 seconds, twice the usual interval.
const SLOTS: usize = 512;

/// A session on the wheel.
#[derive(Debug)]
pub(super) struct Entry {
    /// The session, unless it has ended.
    pub(super) link: Weak<Link>,
    /// Its heartbeat.
    pub(super) pulse: Pulse,
    /// The times it goes by.
    pub(super) rhythm: Rhythm,
}

/// All sessions, by the time of their next look.
#[derive(Debug)]
pub(super) struct Wheel {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Vec<Entry>>,
    /// The number of the last tick.
    tick: usize,
}

impl Wheel {
    /// An empty wheel.
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { inner: Mutex::new(Inner { slots, tick: 0 }) }
    }

    /// Puts a session on the wheel, to be looked at when `due` has come (on the gateway's clock).
    pub(super) fn put(&self, entry: Entry, due: Duration) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Never in the slot being swept, never a whole turn away.
        let wanted = ticks(due.saturating_add(TICK));
        let slot = wanted.clamp(inner.tick + 1, inner.tick + SLOTS - 1) % SLOTS;
        if let Some(slot) = inner.slots.get_mut(slot) {
            slot.push(entry);
        }
    }

    /// Takes out all sessions whose slots have come up to `now`.
    pub(super) fn take(&self, now: Duration) -> Vec<Entry> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        let until = ticks(now);
        while inner.tick < until {
            // A clock that leapt over a whole turn empties each slot once.
            inner.tick = (inner.tick + 1).max(until.saturating_sub(SLOTS));
            let slot = inner.tick % SLOTS;
            if let Some(slot) = inner.slots.get_mut(slot) {
                due.append(&mut mem::take(slot));
            }
        }
        due
    }
}

fn ticks(time: Duration) -> usize {
    usize::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mark: u64) -> Entry {
        let s = Duration::from_secs(mark);
        let rhythm = Rhythm { interval: s, patience: s, login: s, pings: true };
        Entry { link: Weak::new(), pulse: Pulse::new(Duration::ZERO, &rhythm), rhythm }
    }

    fn taken(wheel: &Wheel, now: u64) -> Vec<u64> {
        let marks = |entry: &Entry| entry.rhythm.interval.as_secs();
        wheel.take(Duration::from_millis(now)).iter().map(marks).collect()
    }

    #[test]
    fn a_session_is_looked_at_when_its_time_has_come_and_not_before() {
        let wheel = Wheel::new();
        wheel.put(entry(1), Duration::from_millis(250));
        assert_eq!(taken(&wheel, 250), [0; 0]);
        assert_eq!(taken(&wheel, 350), [1]);
        assert_eq!(taken(&wheel, 10_000), [0; 0]);
    }

    #[test]
    fn a_look_beyond_the_horizon_comes_early() {
        let wheel = Wheel::new();
        wheel.put(entry(1), Duration::from_secs(480));
        assert_eq!(taken(&wheel, 51_000), [0; 0]);
        assert_eq!(taken(&wheel, 51_100), [1]);
    }

    #[test]
    fn a_clock_that_leaps_finds_everybody_once() {
        let wheel = Wheel::new();
        for mark in 1..=3 {
            wheel.put(entry(mark), Duration::from_secs(mark * 10));
        }
        let mut marks = taken(&wheel, 10_000_000);
        marks.sort_unstable();
        assert_eq!(marks, [1, 2, 3]);
    }

    #[test]
    fn a_time_that_has_passed_is_looked_at_on_the_next_tick() {
        let wheel = Wheel::new();
        wheel.take(Duration::from_secs(100));
        wheel.put(entry(1), Duration::from_secs(5));
        assert_eq!(taken(&wheel, 100_100), [1]);
    }
}
