//! Who may say that it is typing: each user once a second in a room.
//!
//! What is remembered is one second's worth, at most [`TYPERS_MAX`] of it; beyond that nobody else may.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The pause between two of one user in one room.
const PAUSE: Duration = Duration::from_secs(1);

/// The most users who type at the same time.
const TYPERS_MAX: usize = 65_536;

/// Who typed of late.
#[derive(Debug, Default)]
pub(super) struct Typing {
    hasher: RandomState,
    last: Mutex<HashMap<u64, Duration>>,
}

impl Typing {
    /// True when the user has not typed in the room for a second.
    pub(super) fn may(&self, user: &str, room: &str, now: Duration) -> bool {
        let who = self.hasher.hash_one((user, room));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&who).is_some_and(|last| now < last.saturating_add(PAUSE)) {
            return false;
        }
        if last.len() >= TYPERS_MAX {
            last.retain(|_, last| now < last.saturating_add(PAUSE));
            if last.len() >= TYPERS_MAX {
                return false;
            }
        }
        last.insert(who, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_types_once_a_second_in_each_room() {
        let typing = Typing::default();
        let at = Duration::from_millis;
        assert!(typing.may("u", "r", at(5000)));
        assert!(!typing.may("u", "r", at(5999)));
        assert!(typing.may("u", "s", at(5999)) && typing.may("v", "r", at(5999)));
        assert!(typing.may("u", "r", at(6000)));
    }
}
