//! What a shop's console has not heard of yet: customers who said something since it asked last.
//!
//! In memory only: a console reads the whole list now and then, so a notice that is lost costs a few seconds. A customer
//! is in line once, however much it says; the line of a shop has [`NOTICES_MAX`] places, and the oldest goes when it is
//! full. A line that nobody has asked for in [`IDLE`] goes, and there are [`SHOPS_MAX`] of them.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The most customers in the line of a shop.
pub(super) const NOTICES_MAX: usize = 1_000;

/// The most lines.
pub(super) const SHOPS_MAX: usize = 10_000;

/// A line that nobody asks for is given up after this time.
const IDLE: Duration = Duration::from_secs(3600);

/// The lines of all shops.
#[derive(Debug, Default)]
pub(super) struct Notices {
    lines: Mutex<HashMap<Box<str>, Line>>,
}

#[derive(Debug)]
struct Line {
    order: VecDeque<Box<str>>,
    members: HashSet<Box<str>>,
    /// When it was last asked for, or begun.
    asked: Duration,
}

impl Notices {
    /// Puts a customer into the line of its shop; gives how many notices went for it.
    pub(super) fn add(&self, shop: &str, customer: &str, now: Duration) -> usize {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.contains_key(shop) && lines.len() >= SHOPS_MAX {
            return 1;
        }
        let line = lines.entry(shop.into()).or_insert_with(|| Line::new(now));
        if !line.members.insert(customer.into()) {
            return 0;
        }
        line.order.push_back(customer.into());
        let surplus = line.order.len() > NOTICES_MAX;
        if surplus && let Some(oldest) = line.order.pop_front() {
            line.members.remove(&oldest);
        }
        usize::from(surplus)
    }

    /// The customer who is longest in the line of a shop; it leaves the line.
    pub(super) fn take(&self, shop: &str, now: Duration) -> Option<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.get_mut(shop)?;
        line.asked = now;
        let customer = line.order.pop_front()?;
        line.members.remove(&customer);
        Some(customer.into_string())
    }

    /// Gives up lines that nobody asks for; gives how many notices went.
    pub(super) fn forget(&self, now: Duration) -> usize {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = 0;
        lines.retain(|_, line| {
            let keep = now.saturating_sub(line.asked) < IDLE;
            gone += if keep { 0 } else { line.order.len() };
            keep
        });
        gone
    }
}

impl Line {
    fn new(now: Duration) -> Self {
        Self { order: VecDeque::new(), members: HashSet::new(), asked: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_customer_is_in_line_once_and_the_first_comes_first() {
        let notices = Notices::default();
        for customer in ["1", "2", "1", "3"] {
            assert_eq!(notices.add("8000", customer, NOW), 0);
        }
        let taken: Vec<_> = std::iter::from_fn(|| notices.take("8000", NOW)).collect();
        assert_eq!(taken, ["1", "2", "3"]);
        assert_eq!(notices.take("other", NOW), None);
        notices.add("8000", "1", NOW);
        assert_eq!(notices.take("8000", NOW).as_deref(), Some("1"), "and again when it speaks again");
    }

    #[test]
    fn a_line_has_an_end_and_goes_when_nobody_asks() {
        let notices = Notices::default();
        let lost: usize = (0..NOTICES_MAX + 5).map(|n| notices.add("8000", &n.to_string(), NOW)).sum();
        assert_eq!(lost, 5);
        assert_eq!(notices.take("8000", NOW).as_deref(), Some("5"));
        assert_eq!(notices.forget(NOW + IDLE - Duration::from_secs(1)), 0);
        assert_eq!(notices.forget(NOW + IDLE), NOTICES_MAX - 1);
        assert_eq!(notices.take("8000", NOW + IDLE), None);
    }
}
