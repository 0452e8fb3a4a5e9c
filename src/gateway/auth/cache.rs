//! Good answers of the business API, kept for the next login with the same token.
//!
//! A token is known by its SHA-256 only, so that a dump of the memory shows none. Answers are forgotten when they
//! count for nothing any more, and the oldest first when there is no room. No clock: `now` is given.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::gateway::session::Identity;

/// What an entry takes beside the texts in it: keys, nodes, the identity itself.
const OVERHEAD: usize = 400;

/// What a room takes beside its name.
const ROOM_OVERHEAD: usize = 40;

/// A token, as it is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub(super) fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        Self(digest.as_ref().first_chunk().copied().expect("a SHA-256 has 32 bytes"))
    }
}

/// The answers.
#[derive(Debug)]
pub(super) struct Cache {
    /// How long an answer counts while the API is there.
    fresh: Duration,
    /// How long one counts while it is away.
    stale: Duration,
    /// The most bytes.
    limit: usize,
    bytes: usize,
    entries: HashMap<TokenHash, Entry>,
    /// The tokens by the order in which their answers came.
    order: BTreeMap<u64, TokenHash>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    identity: Arc<Identity>,
    came: Duration,
    number: u64,
    bytes: usize,
}

impl Cache {
    /// An empty cache; where neither time is given it stays empty.
    pub(super) fn new(fresh: Option<Duration>, stale: Option<Duration>, limit: usize) -> Self {
        let (fresh, stale) = (fresh.unwrap_or_default(), stale.unwrap_or_default());
        let (entries, order) = (HashMap::new(), BTreeMap::new());
        Self { fresh, stale, limit, bytes: 0, entries, order, next: 0 }
    }

    /// The answer that makes a question unnecessary.
    pub(super) fn fresh(&self, token: &TokenHash, now: Duration) -> Option<Arc<Identity>> {
        self.younger(token, now, self.fresh)
    }

    /// The answer that is better than none.
    pub(super) fn stale(&self, token: &TokenHash, now: Duration) -> Option<Arc<Identity>> {
        self.younger(token, now, self.fresh.max(self.stale))
    }

    fn younger(&self, token: &TokenHash, now: Duration, age: Duration) -> Option<Arc<Identity>> {
        let entry = self.entries.get(token).filter(|entry| now.saturating_sub(entry.came) < age)?;
        Some(Arc::clone(&entry.identity))
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, token: TokenHash, identity: &Arc<Identity>, now: Duration) {
        let kept = self.fresh.max(self.stale);
        let bytes = weight(identity);
        if kept.is_zero() || bytes > self.limit {
            return;
        }
        self.forget(&token);
        while let Some((_, oldest)) = self.order.first_key_value() {
            let oldest = *oldest;
            let over = self.entries.get(&oldest).is_none_or(|entry| now.saturating_sub(entry.came) >= kept);
            if !over && self.bytes + bytes <= self.limit {
                break;
            }
            self.forget(&oldest);
        }
        self.bytes += bytes;
        self.order.insert(self.next, token);
        let entry = Entry { identity: Arc::clone(identity), came: now, number: self.next, bytes };
        self.entries.insert(token, entry);
        self.next += 1;
    }

    /// Forgets an answer: the API has said otherwise since.
    pub(super) fn forget(&mut self, token: &TokenHash) {
        if let Some(entry) = self.entries.remove(token) {
            self.order.remove(&entry.number);
            self.bytes -= entry.bytes;
        }
    }
}

fn weight(identity: &Identity) -> usize {
    let rooms: usize = identity.rooms.iter().map(|room| room.capacity() + ROOM_OVERHEAD).sum();
    OVERHEAD + identity.user.len() + rooms
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn identity(user: &str) -> Arc<Identity> {
        Arc::new(Identity { user: user.into(), ..Identity::default() })
    }

    fn cache(limit: usize) -> Cache {
        Cache::new(Some(MINUTE), Some(3 * MINUTE), limit)
    }

    fn user(found: Option<Arc<Identity>>) -> Option<String> {
        found.map(|identity| identity.user.to_string())
    }

    #[test]
    fn an_answer_counts_for_a_while_and_longer_while_the_api_is_away() {
        let (mut cache, token) = (cache(10_000), TokenHash::of("t"));
        cache.keep(token, &identity("u1"), MINUTE);
        let at = |minutes: u32| MINUTE + minutes * MINUTE;
        assert_eq!(user(cache.fresh(&token, at(1) - Duration::from_nanos(1))).as_deref(), Some("u1"));
        assert_eq!(user(cache.fresh(&token, at(1))), None);
        assert_eq!(user(cache.stale(&token, at(2))).as_deref(), Some("u1"));
        assert_eq!(user(cache.stale(&token, at(3))), None);
        assert_eq!(user(cache.fresh(&TokenHash::of("T"), at(0))), None);
    }

    #[test]
    fn a_refusal_ends_it() {
        let (mut cache, token) = (cache(10_000), TokenHash::of("t"));
        cache.keep(token, &identity("u1"), MINUTE);
        cache.forget(&token);
        assert_eq!(user(cache.stale(&token, MINUTE)), None);
        assert_eq!((cache.bytes, cache.order.len()), (0, 0));
    }

    #[test]
    fn without_room_the_oldest_goes_and_what_is_over_goes_first() {
        let mut cache = cache(3 * (OVERHEAD + 2));
        let tokens: Vec<TokenHash> = (0..5).map(|n| TokenHash::of(&n.to_string())).collect();
        for token in &tokens[..4] {
            cache.keep(*token, &identity("u1"), MINUTE);
        }
        cache.keep(tokens[1], &identity("u2"), MINUTE);
        cache.keep(tokens[4], &identity("u5"), MINUTE);
        let known: Vec<bool> = tokens.iter().map(|token| cache.fresh(token, MINUTE).is_some()).collect();
        assert_eq!(known, [false, true, false, true, true]);
        assert!(cache.bytes <= cache.limit);
        cache.keep(tokens[0], &identity("u0"), 9 * MINUTE);
        assert_eq!(cache.entries.len(), 1, "what counts for nothing any more is not kept");
        let huge = Arc::new(Identity { rooms: vec!["r".repeat(2000)], ..Identity::default() });
        cache.keep(tokens[1], &huge, 9 * MINUTE);
        assert_eq!(cache.entries.len(), 1, "an answer larger than all the room is not kept");
    }

    #[test]
    fn without_times_nothing_is_kept() {
        let mut cache = Cache::new(None, None, 10_000);
        cache.keep(TokenHash::of("t"), &identity("u1"), MINUTE);
        assert_eq!(cache.entries.len(), 0);
    }
}
