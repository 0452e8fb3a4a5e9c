//! The thread that owns a journal, and the handle for everybody else.
//!
//! A round: forget what was acknowledged, answer questions, then write all appends that wait. Those that want
//! `Written` are answered after the write; for the others there is one fdatasync, and their answers. After it, the
//! thread gives those whom it has answered a moment to append again, so that they share the next one: at most a
//! quarter of the time that the last fdatasync took, and one millisecond.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Durability;
use super::Error;
use super::Frame;
use super::Journal;
use super::Meta;
use super::Position;
use super::Stats;
use super::inbox::Answer;
use super::inbox::Append;
use super::inbox::Group;
use super::inbox::Inbox;
use super::inbox::Question;
use super::inbox::Queue;

/// Bytes that are staged before a write: more gains nothing and takes memory.
const BATCH: usize = 4 << 20;

/// The longest wait for others to share a sync.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

/// Positions that one question may list.
const LIST_MAX: usize = 65_536;

/// A journal that a thread looks after: cheap to clone, for any thread.
///
/// When the last one is dropped, what waits is written and synced, and the thread ends.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inbox: Arc<Inbox>,
    stats: Arc<Mutex<Stats>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Gives `journal` a thread called `name`, and returns the handle.
///
/// # Errors
///
/// There is no thread to be had.
pub fn spawn(journal: Journal, name: &str, queue: Queue) -> io::Result<Handle> {
    let inbox = Arc::new(Inbox::new(queue));
    let stats = Arc::new(Mutex::new(journal.stats()));
    let worker = Worker { journal, inbox: Arc::clone(&inbox), stats: Arc::clone(&stats) };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || worker.run())?;
    Ok(Handle { shared: Arc::new(Shared { inbox, stats, thread: Mutex::new(Some(thread)) }) })
}

impl Handle {
    /// Appends one frame.
    ///
    /// When the future is dropped before the answer, the frame may be in the journal or not.
    ///
    /// # Errors
    ///
    /// The frame is not in the journal; see [`Error::retryable`].
    pub async fn append(
        &self,
        kind: u8,
        payload: Vec<u8>,
        durability: Durability,
    ) -> Result<Position, Error> {
        self.send(Group::One([(kind, payload)]), durability).await
    }

    /// Appends frames in one piece: they follow each other, and after an error none of them is there.
    ///
    /// When the future is dropped before the answer, all may be in the journal or none.
    ///
    /// # Errors
    ///
    /// None of the frames is in the journal; see [`Error::retryable`].
    pub async fn append_all(
        &self,
        frames: Vec<(u8, Vec<u8>)>,
        durability: Durability,
    ) -> Result<Vec<Position>, Error> {
        let count = frames.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let first = self.send(Group::Many(frames), durability).await?;
        Ok((first.sequence()..).take(count).map(Position::new).collect())
    }

    /// Reads an unacknowledged frame.
    ///
    /// # Errors
    ///
    /// As [`Journal::read`]; `Closed` as well.
    pub async fn read(&self, position: Position) -> Result<Frame, Error> {
        self.ask(|answer| Question::Read(position, answer)).await
    }

    /// Lists up to `count` (65 536 at most) unacknowledged frames behind `after`, lowest first.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub async fn unacknowledged(&self, after: Option<Position>, count: usize) -> Result<Vec<Meta>, Error> {
        self.ask(|answer| Question::List(after, count, answer)).await
    }

    /// Forgets a frame, soon: in any order, without waiting. Once is enough.
    pub fn acknowledge(&self, position: Position) {
        self.acknowledge_all([position]);
    }

    /// Forgets frames, as [`Self::acknowledge`] does.
    pub fn acknowledge_all(&self, positions: impl IntoIterator<Item = Position>) {
        self.shared.inbox.acknowledge(positions.into_iter());
    }

    /// The state after the last round.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes and syncs what waits, and ends the thread; another process may have the journal then.
    ///
    /// Appends that come later, on any handle, get `Closed`.
    ///
    /// # Errors
    ///
    /// Why the last sync failed; `Closed` when the thread had ended before.
    pub async fn close(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.close(Some(answer));
        let ended = answered.await.unwrap_or(Err(Error::Closed));
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It has answered, so it is gone in a moment; a panic in it has shown as `Closed`.
        thread.map(JoinHandle::join);
        ended
    }

    async fn send(&self, group: Group, durability: Durability) -> Result<Position, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.append(group, durability, answer).await?;
        answered.await.unwrap_or(Err(Error::Closed))
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Question) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.ask(question(answer)).await?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inbox.close(None);
    }
}

/// The thread.
struct Worker {
    journal: Journal,
    inbox: Arc<Inbox>,
    stats: Arc<Mutex<Stats>>,
}

/// An append that was staged or written, and not answered.
struct Pending {
    first: Position,
    count: u64,
    durability: Durability,
    answer: Answer<Position>,
}

/// Refuses what comes when the thread has ended, by a panic as well.
struct End(Arc<Inbox>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Worker {
    fn run(mut self) {
        let end = End(Arc::clone(&self.inbox));
        let (mut wanted, mut patience) = (0, Duration::ZERO);
        loop {
            let round = self.inbox.take(wanted, patience);
            if !round.acknowledged.is_empty() {
                let ranges = round.acknowledged.into_iter();
                let positions = ranges.flat_map(|(first, last)| first..=last).map(Position::new);
                // What fails is counted, and costs nothing before the next open.
                self.journal.acknowledge_all(positions).ok();
            }
            let questions = round.questions.len();
            for question in round.questions {
                self.answer(question);
            }
            let weight = round.appends.iter().map(|append| append.weight as usize).sum();
            let before = self.journal.stats().sync_time;
            if !round.appends.is_empty() {
                wanted = self.append(round.appends);
                patience = (self.journal.stats().sync_time.saturating_sub(before) / 4).min(PATIENCE_MAX);
            }
            self.inbox.release(weight, questions);
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.journal.stats();
            if round.is_last {
                let ended = self.finish();
                drop(end);
                for answer in round.closing {
                    // Whoever asked may have gone.
                    answer.send(ended.clone()).ok();
                }
                return;
            }
        }
    }

    fn finish(self) -> Result<(), Error> {
        let Self { mut journal, stats, .. } = self;
        let ended = journal.commit(Durability::Synced);
        // Without it frames come again, which is what the disk is asked to spare us.
        journal.sync_cursor().ok();
        *stats.lock().unwrap_or_else(PoisonError::into_inner) = journal.stats();
        ended
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Read(position, answer) => {
                answer.send(self.journal.read(position)).ok();
            }
            Question::List(after, count, answer) => {
                let found = self.journal.unacknowledged(after).take(count.min(LIST_MAX)).collect();
                answer.send(Ok(found)).ok();
            }
        }
    }

    /// Writes, syncs when wanted, and answers; returns how many waited for a sync.
    fn append(&mut self, appends: Vec<Append>) -> usize {
        let mut staged = Vec::with_capacity(appends.len());
        let mut unsynced = Vec::new();
        for Append { group, durability, answer, .. } in appends {
            if self.journal.staged_bytes() >= BATCH || !self.journal.fits(group.total()) {
                self.write(&mut staged, &mut unsynced);
            }
            let count = group.frames().len() as u64;
            match self.journal.append_group(group.frames()) {
                Ok(first) => staged.push(Pending { first, count, durability, answer }),
                Err(error) => answer_all([answer], &error),
            }
        }
        self.write(&mut staged, &mut unsynced);
        if unsynced.is_empty() {
            return 0;
        }
        let synced = unsynced.len();
        match self.journal.sync() {
            Ok(()) => {
                for Pending { first, answer, .. } in unsynced {
                    answer.send(Ok(first)).ok();
                }
            }
            Err(error) => {
                let groups = unsynced.iter().map(|pending| (pending.first.sequence(), pending.count));
                let positions = groups.flat_map(|(first, count)| first..first + count).map(Position::new);
                // Their owners are told that they are not there, so they must not come again.
                self.journal.acknowledge_all(positions.collect::<Vec<_>>()).ok();
                answer_all(unsynced.into_iter().map(|pending| pending.answer), &error);
            }
        }
        synced
    }

    fn write(&mut self, staged: &mut Vec<Pending>, unsynced: &mut Vec<Pending>) {
        match self.journal.write() {
            Ok(()) => {
                for pending in staged.drain(..) {
                    if pending.durability == Durability::Synced {
                        unsynced.push(pending);
                    } else {
                        pending.answer.send(Ok(pending.first)).ok();
                    }
                }
            }
            Err(error) => answer_all(staged.drain(..).map(|pending| pending.answer), &error),
        }
    }
}

/// Whoever asked may have gone, so nothing is made of an answer that nobody takes.
fn answer_all(answers: impl IntoIterator<Item = Answer<Position>>, error: &Error) {
    for answer in answers {
        answer.send(Err(error.clone())).ok();
    }
}
