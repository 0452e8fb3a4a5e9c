//! What the lock of the buffer guards, and what it decides.

use crossbeam_channel::Receiver;

use super::Limits;
use super::Policy;
use super::Rank;
use super::account::DropCause;
use super::account::Gap;
use super::account::Stats;
use super::account::Tally;
use super::chunk::Chunk;

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) policy: Policy,
    /// A sealed chunk that has lost records to eviction: the oldest that the shipper has not taken.
    pub(super) front: Option<Chunk>,
    /// The chunk that is being filled.
    pub(super) chunk: Chunk,
    pub(super) stats: Stats,
    /// Queued bytes that the shipper has taken and not released.
    pub(super) taken: u64,
    pub(super) due: bool,
    /// Set while the shipper sleeps: it is woken when a record would make the queue this long.
    pub(super) wake_at: Option<u64>,
    pub(super) closed: bool,
    pub(super) gap: Option<Gap>,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            policy: Policy::default(),
            front: None,
            chunk: Chunk::default(),
            stats: Stats::default(),
            taken: 0,
            due: false,
            wake_at: None,
            closed: false,
            gap: None,
        }
    }

    /// Whether a record of `len` bytes may enter; makes room for it where the policy says so.
    pub(super) fn judge(
        &mut self,
        len: usize,
        rank: Rank,
        sealed: &Receiver<Chunk>,
    ) -> Result<(), DropCause> {
        if len > self.limits.max_line || len > u32::MAX as usize {
            return Err(DropCause::TooLong);
        }
        if self.closed {
            return Err(DropCause::Exit);
        }
        let size = self.would_queue(len);
        let drop_limit = self.limits.drop_limit as u64;
        if let Some(shed_limit) = self.policy.shed_limit {
            let shed_limit = (shed_limit as u64).min(drop_limit);
            let limit = match rank {
                Rank::Low => shed_limit,
                Rank::Normal => shed_limit + (drop_limit - shed_limit) / 2,
                Rank::High => drop_limit,
            };
            if size > limit && size <= drop_limit {
                return Err(DropCause::Shed);
            }
        }
        if size <= drop_limit || (self.policy.evict && self.make_room(len, sealed)) {
            Ok(())
        } else {
            Err(DropCause::Overflow)
        }
    }

    /// Whether a record of `len` bytes may enter as things are.
    pub(super) fn fits(&self, len: usize) -> bool {
        len <= self.limits.max_line && !self.closed && self.would_queue(len) <= self.limits.drop_limit as u64
    }

    pub(super) fn would_queue(&self, len: usize) -> u64 {
        self.stats.queued.bytes.saturating_add(len as u64)
    }

    pub(super) fn lose(&mut self, cause: DropCause, tally: Tally, sequence: Option<u64>) {
        self.stats.dropped.add(cause, tally);
        self.gap.get_or_insert_default().widen(cause, tally, sequence);
    }

    /// Drops the oldest records that the shipper has not taken until `len` bytes fit; false when they can not.
    fn make_room(&mut self, len: usize, sealed: &Receiver<Chunk>) -> bool {
        let drop_limit = self.limits.drop_limit as u64;
        // Nothing goes for a record that would not fit even then.
        if self.taken.saturating_add(len as u64) > drop_limit {
            return false;
        }
        while self.would_queue(len) > drop_limit {
            if self.front.is_none() {
                self.front = sealed.try_recv().ok();
            }
            let chunk = self.front.as_mut().unwrap_or(&mut self.chunk);
            match chunk.evict_first() {
                Some(bytes) => {
                    self.stats.queued = self.stats.queued.without(Tally::one(bytes));
                    self.lose(DropCause::Evicted, Tally::one(bytes), None);
                }
                // An emptied chunk gives way to the next one; after the last there is nothing left.
                None if self.front.take().is_some() => {}
                None => return false,
            }
        }
        true
    }
}
