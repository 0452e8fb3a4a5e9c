//! What waits for the thread of a journal: appends within a bound, reads, and what was acknowledged.
//!
//! The thread takes everything at once, so that all appends that wait share a write. An append holds its share of
//! the bound until it is answered: its payload, and 1 KiB for each frame. One that finds no room waits its turn; one
//! that is larger than the bound waits until it has all of it to itself.

use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::oneshot;

use super::Durability;
use super::Error;
use super::Frame;
use super::Meta;
use super::Position;
use super::frame;

/// Reads and lists that may wait at once; more wait their turn.
const READS: usize = 64;

/// What each frame weighs beside its payload.
const FRAME_WEIGHT: u64 = 1024;

/// How much may wait for the thread.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Bytes of payloads, and 1 KiB for each frame, that wait or are being written.
    pub bytes: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { bytes: 16 << 20 }
    }
}

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Frames that are written in one piece.
#[derive(Debug)]
pub(super) enum Group {
    One([(u8, Vec<u8>); 1]),
    Many(Vec<(u8, Vec<u8>)>),
}

impl Group {
    pub(super) const fn frames(&self) -> &[(u8, Vec<u8>)] {
        match self {
            Self::One(frame) => frame,
            Self::Many(frames) => frames.as_slice(),
        }
    }

    fn payload(&self) -> u64 {
        self.frames().iter().map(|(_, payload)| payload.len() as u64).sum()
    }

    /// Bytes on disk.
    pub(super) fn total(&self) -> u64 {
        self.payload() + self.frames().len() as u64 * frame::OVERHEAD
    }
}

/// An append that waits.
#[derive(Debug)]
pub(super) struct Append {
    pub group: Group,
    pub durability: Durability,
    pub answer: Answer<Position>,
    pub weight: u32,
}

/// A question that waits.
#[derive(Debug)]
pub(super) enum Question {
    Read(Position, Answer<Frame>),
    List(Option<Position>, usize, Answer<Vec<Meta>>),
}

/// Everything that waited.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub appends: Vec<Append>,
    pub questions: Vec<Question>,
    /// First and last of positions that were acknowledged one after the other.
    pub acknowledged: Vec<(u64, u64)>,
    /// True when nothing comes after this.
    pub is_last: bool,
    /// Who waits for the end.
    pub closing: Vec<Answer<()>>,
}

/// The inbox.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    bell: Condvar,
    room: Semaphore,
    capacity: u32,
    questions: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    round: Round,
    /// True while the thread waits.
    is_waiting: bool,
    /// Appends that the thread waits for.
    wanted: usize,
    /// True when the thread has gone.
    has_ended: bool,
}

impl Inbox {
    pub(super) fn new(queue: Queue) -> Self {
        let capacity = queue.bytes.max(1);
        Self {
            state: Mutex::new(State::default()),
            bell: Condvar::new(),
            room: Semaphore::new(capacity as usize),
            capacity,
            questions: Semaphore::new(READS),
        }
    }

    /// Puts in an append when there is room for it.
    pub(super) async fn append(
        &self,
        group: Group,
        durability: Durability,
        answer: Answer<Position>,
    ) -> Result<(), Error> {
        let weight = group.payload() + group.frames().len() as u64 * FRAME_WEIGHT;
        let weight = u32::try_from(weight).unwrap_or(u32::MAX).min(self.capacity);
        let permit = self.room.acquire_many(weight).await.map_err(|_| Error::Closed)?;
        let mut state = self.open()?;
        // The thread gives it back with the answer.
        permit.forget();
        state.round.appends.push(Append { group, durability, answer, weight });
        if state.is_waiting && state.round.appends.len() >= state.wanted {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Puts in a question when not too many wait.
    pub(super) async fn ask(&self, question: Question) -> Result<(), Error> {
        let permit = self.questions.acquire().await.map_err(|_| Error::Closed)?;
        let mut state = self.open()?;
        permit.forget();
        state.round.questions.push(question);
        self.ring(&state);
        Ok(())
    }

    /// Puts in positions that were acknowledged; nothing happens when the journal is closed.
    pub(super) fn acknowledge(&self, positions: impl Iterator<Item = Position>) {
        // The iterator is not ours, so it does not run under the lock.
        let mut ranges = Vec::new();
        for position in positions {
            join(&mut ranges, (position.sequence(), position.sequence()));
        }
        let Ok(mut state) = self.open() else { return };
        for range in ranges {
            join(&mut state.round.acknowledged, range);
        }
        self.ring(&state);
    }

    /// Says that nothing more comes.
    pub(super) fn close(&self, answer: Option<Answer<()>>) {
        let mut state = self.lock();
        if state.has_ended {
            // The answer is dropped, which says so.
            return;
        }
        state.round.is_last = true;
        state.round.closing.extend(answer);
        self.ring(&state);
    }

    /// Takes all there is, waiting until there is something; then up to `patience` for `wanted` appends.
    pub(super) fn take(&self, wanted: usize, patience: Duration) -> Round {
        let mut state = self.lock();
        state.wanted = 1;
        while state.round.is_empty() {
            state.is_waiting = true;
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let is_short =
            |state: &mut State| state.round.is_only_appends() && state.round.appends.len() < wanted;
        if !patience.is_zero() && is_short(&mut state) {
            state.is_waiting = true;
            state.wanted = wanted;
            let waited = self.bell.wait_timeout_while(state, patience, is_short);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_waiting = false;
        let next = Round { is_last: state.round.is_last, ..Round::default() };
        std::mem::replace(&mut state.round, next)
    }

    /// Makes room for others.
    pub(super) fn release(&self, weight: usize, questions: usize) {
        self.room.add_permits(weight);
        self.questions.add_permits(questions);
    }

    /// Refuses everything from now on and drops what waits, which answers it.
    pub(super) fn end(&self) {
        self.room.close();
        self.questions.close();
        let mut state = self.lock();
        let round = std::mem::take(&mut state.round);
        state.round.is_last = true;
        state.has_ended = true;
        drop(state);
        drop(round);
    }

    fn ring(&self, state: &State) {
        if state.is_waiting {
            self.bell.notify_one();
        }
    }

    /// The state, unless nothing more may come.
    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.lock();
        if state.round.is_last { Err(Error::Closed) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    const fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.is_only_appends()
    }

    const fn is_only_appends(&self) -> bool {
        self.questions.is_empty() && self.acknowledged.is_empty() && !self.is_last
    }
}

/// Puts a range behind others, as part of the last one when it goes on from there.
fn join(ranges: &mut Vec<(u64, u64)>, (first, last): (u64, u64)) {
    match ranges.last_mut() {
        Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
        _ => ranges.push((first, last)),
    }
}
