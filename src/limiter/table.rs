//! Many cells, found by a key, in bounded memory.
//!
//! A key is kept as its 64-bit hash under a secret of this table: an entry has 16 bytes whatever the key is, and nobody
//! can choose keys that meet.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::BuildHasherDefault;
use std::hash::Hash;
use std::hash::Hasher;
use std::hash::RandomState;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::limiter::advance;
use crate::limiter::nanoseconds;
use crate::units::Rate;

/// So many locks keep worker threads out of each other's way.
const SHARDS: usize = 16;

/// The most keys of one shard.
const SHARD_MAX: usize = 4096;

/// The most keys of a table: about 1.5 MiB.
pub const KEYS_MAX: usize = SHARDS * SHARD_MAX;

/// How often a shard is swept, in nanoseconds: a second. A sweep of a full one takes some ten microseconds.
const SWEEP: u64 = 1_000_000_000;

/// Among so many the one that is least behind is forgotten when all are behind.
const CANDIDATES: usize = 8;

/// The limits of many things of one kind.
#[derive(Debug)]
pub struct Table {
    secret: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    even_at: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    swept_at: u64,
}

impl Table {
    /// A table without keys.
    #[must_use]
    pub fn new() -> Self {
        Self { secret: RandomState::new(), shards: Default::default() }
    }

    /// Lets one event of `key` through, or says how long to wait.
    ///
    /// # Errors
    ///
    /// The time after which the next event of this key is let through.
    pub fn check(&self, key: &(impl Hash + ?Sized), rate: Rate, now: Duration) -> Result<(), Duration> {
        let (hash, now) = (self.secret.hash_one(key), nanoseconds(now));
        // The upper bits choose the shard; the map within it uses the lower ones.
        let index = usize::try_from(hash >> 60).unwrap_or_default();
        let Some(shard) = self.shards.get(index) else { return Ok(()) };
        shard.lock().unwrap_or_else(PoisonError::into_inner).check(hash, rate, now)
    }

    /// How many keys are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).even_at.len())
            .sum()
    }

    /// True when no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    fn check(&mut self, key: u64, rate: Rate, now: u64) -> Result<(), Duration> {
        self.sweep(now);
        if let Some(even_at) = self.even_at.get_mut(&key) {
            *even_at = advance(*even_at, rate, now)?;
            return Ok(());
        }
        if self.even_at.len() >= SHARD_MAX {
            self.forget_one();
        }
        self.even_at.insert(key, advance(0, rate, now)?);
        Ok(())
    }

    /// Whoever is even again is as good as new.
    fn sweep(&mut self, now: u64) {
        if now.saturating_sub(self.swept_at) >= SWEEP {
            self.swept_at = now;
            self.even_at.retain(|_, even_at| *even_at > now);
        }
    }

    fn forget_one(&mut self) {
        let few = self.even_at.iter().take(CANDIDATES);
        if let Some(key) = few.min_by_key(|(_, even_at)| **even_at).map(|(key, _)| *key) {
            self.even_at.remove(&key);
        }
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::rate;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn each_key_has_its_own_limit() {
        let (table, rate) = (Table::new(), rate("1/s").unwrap());
        assert_eq!(table.check("a", rate, ms(0)), Ok(()));
        assert_eq!(table.check("b", rate, ms(0)), Ok(()));
        assert_eq!(table.check("a", rate, ms(250)), Err(ms(750)));
        assert_eq!(table.check("a", rate, ms(1000)), Ok(()));
    }

    #[test]
    fn those_that_are_even_again_are_swept_out() {
        let (table, rate) = (Table::new(), rate("10/s").unwrap());
        for key in 0..1000 {
            table.check(&key, rate, ms(0)).unwrap();
        }
        assert_eq!(table.len(), 1000);
        for key in 0..1000 {
            table.check(&key, rate, ms(5000)).unwrap();
        }
        for key in 0..200 {
            table.check(&key, rate, ms(10_000)).unwrap();
        }
        assert!((200..300).contains(&table.len()), "{}", table.len());
    }

    #[test]
    fn a_flood_of_keys_does_not_grow_the_table_and_is_limited_itself() {
        let (table, rate) = (Table::new(), rate("1/h").unwrap());
        for key in 0..2 * KEYS_MAX {
            table.check(&key, rate, ms(0)).unwrap();
        }
        assert!(table.len() <= KEYS_MAX);
        let again = (KEYS_MAX..2 * KEYS_MAX).filter(|key| table.check(key, rate, ms(1)).is_err()).count();
        assert!(again > KEYS_MAX / 4, "{again} of {KEYS_MAX} are still known");
    }
}
