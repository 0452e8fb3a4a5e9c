//! What waits for the thread of the store: batches, within a bound. Nobody waits to put one in.
//!
//! The thread takes what waits, up to [`ROUND_BYTES`] and [`ROUND_BATCHES`], so that all of it shares a write. A batch counts against the
//! bound until it is answered.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Error;
use super::batch::BATCH_MAX;
use super::batch::Batch;
use super::batch::KEY_MAX;

/// Bytes that are written together.
const ROUND_BYTES: usize = 4 << 20;

/// Batches that are made together: more gain nothing, and the first of them waits for the last.
const ROUND_BATCHES: usize = 1024;

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<(), Error>>;

/// A batch that waits, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub batch: Batch,
    pub answer: Answer,
}

/// What may wait, and what may be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub bytes: usize,
    pub batches: usize,
    pub stored_bytes: u64,
}

/// What the thread takes at once.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub batches: Vec<Waiting>,
    /// True when nothing comes after this.
    pub is_last: bool,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Of all that is not answered.
    held: Held,
    /// What is in the store.
    stored_bytes: u64,
    refused_busy: u64,
    refused_full: u64,
    failure: Option<Error>,
    /// Damage that somebody met who read.
    damage: Option<Error>,
    closing: Vec<Answer>,
    is_closing: bool,
    has_ended: bool,
    /// True while the thread waits, and for how many.
    sleeper: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    batches: usize,
    bytes: usize,
    growth: u64,
}

/// What a queue says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub batches: usize,
    pub bytes: usize,
    pub refused_busy: u64,
    pub refused_full: u64,
}

impl Queue {
    pub(super) fn new(limits: Limits, stored_bytes: u64) -> Self {
        let state = State { stored_bytes, ..State::default() };
        Self { limits, state: Mutex::new(state), bell: Condvar::new() }
    }

    /// Puts in a batch, or says why not.
    pub(super) fn submit(&self, batch: Batch) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let most = BATCH_MAX.min(self.limits.bytes);
        if batch.len() > most {
            return Err(Error::TooLarge { length: batch.len(), limit: most });
        }
        if batch.longest_key() > KEY_MAX {
            return Err(Error::TooLarge { length: batch.longest_key(), limit: KEY_MAX });
        }
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        if state.is_closing || state.has_ended {
            return Err(Error::Closed);
        }
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let Held { batches, bytes, growth } = state.held;
        if batches >= self.limits.batches || bytes + batch.len() > self.limits.bytes {
            state.refused_busy += 1;
            return Err(Error::Busy { batches, bytes });
        }
        let limit = self.limits.stored_bytes;
        if batch.growth() > 0 && state.stored_bytes + growth + batch.growth() > limit {
            state.refused_full += 1;
            return Err(Error::Full { limit });
        }
        let (bytes, growth) = (bytes + batch.len(), growth + batch.growth());
        state.held = Held { batches: batches + 1, bytes, growth };
        state.waiting.push_back(Waiting { batch, answer });
        if state.sleeper.is_some_and(|wanted| state.waiting.len() >= wanted) {
            self.bell.notify_one();
        }
        Ok(answered)
    }

    /// Takes what waits. Waits for it until `due`, when there is a time; then up to `patience` for `wanted` batches.
    pub(super) fn take(&self, wanted: usize, patience: Duration, due: Option<Duration>) -> Round {
        let mut state = self.lock();
        if state.waiting.is_empty() && !state.is_closing {
            state = self.sleep(state, 1, due);
        }
        if !state.waiting.is_empty() && state.waiting.len() < wanted && !patience.is_zero() {
            state = self.sleep(state, wanted, Some(patience));
        }
        let mut batches = Vec::new();
        let mut bytes = 0;
        while bytes < ROUND_BYTES && batches.len() < ROUND_BATCHES {
            let Some(waiting) = state.waiting.pop_front() else { break };
            bytes += waiting.batch.len();
            batches.push(waiting);
        }
        Round { batches, is_last: state.is_closing && state.waiting.is_empty() }
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        wanted: usize,
        most: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.sleeper = Some(wanted);
        let goes_on = |state: &mut State| state.waiting.len() < wanted && !state.is_closing;
        let mut state = match most {
            None => self.bell.wait_while(state, goes_on).unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                let woken = self.bell.wait_timeout_while(state, most, goes_on);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.sleeper = None;
        state
    }

    /// Batches were answered, and this much is in the store now.
    pub(super) fn release<'a>(&self, batches: impl Iterator<Item = &'a Batch>, stored_bytes: u64) {
        let mut state = self.lock();
        for batch in batches {
            state.held.batches = state.held.batches.saturating_sub(1);
            state.held.bytes = state.held.bytes.saturating_sub(batch.len());
            state.held.growth = state.held.growth.saturating_sub(batch.growth());
        }
        state.stored_bytes = stored_bytes;
    }

    /// Refuses everything from now on, for a reason; the first one counts.
    pub(super) fn fail(&self, failure: Error) {
        self.lock().failure.get_or_insert(failure);
    }

    /// Notes damage, which stops nothing; the first one counts.
    pub(super) fn note(&self, damage: Error) -> bool {
        let mut state = self.lock();
        let is_first = state.damage.is_none();
        state.damage.get_or_insert(damage);
        is_first
    }

    /// Why nothing is taken, when something is broken.
    pub(super) fn failure(&self) -> Option<Error> {
        self.lock().failure.clone()
    }

    /// What an operator should know: why nothing is taken, or what is damaged.
    pub(super) fn trouble(&self) -> Option<Error> {
        let state = self.lock();
        let has_died = state.has_ended && !state.is_closing;
        let known = state.failure.clone().or_else(|| state.damage.clone());
        known.or_else(|| has_died.then_some(Error::Died))
    }

    /// Says that nothing more comes.
    pub(super) fn close(&self, answer: Option<Answer>) {
        let mut state = self.lock();
        if state.has_ended {
            // The answer is dropped, which says so.
            return;
        }
        state.is_closing = true;
        state.closing.extend(answer);
        self.bell.notify_one();
    }

    /// The thread has gone: gives those who wait for that, and drops what waits, which tells its owners.
    pub(super) fn end(&self) -> Vec<Answer> {
        let mut state = self.lock();
        state.has_ended = true;
        state.waiting.clear();
        std::mem::take(&mut state.closing)
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            batches: state.held.batches,
            bytes: state.held.bytes,
            refused_busy: state.refused_busy,
            refused_full: state.refused_full,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
