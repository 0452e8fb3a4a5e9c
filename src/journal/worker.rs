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

    /// The state: it shows at least what was answered.
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
            self.publish();
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

    /// Brings [`Handle::stats`] up to date: before an answer, so that it shows what was answered.
    fn publish(&self) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.journal.stats();
    }

    fn finish(self) -> Result<(), Error> {
        let Self { mut journal, stats, .. } = self;
        // The lock of the directory goes with the journal, before anybody is told.
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
        let done = self.journal.sync();
        self.publish();
        match done {
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
        let done = self.journal.write();
        self.publish();
        match done {
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::fs::OpenOptions;

    use futures_util::future::join_all;

    use super::super::Options;
    use super::super::inbox::Round;
    use super::super::tests::numbers;
    use super::super::tests::open;
    use super::*;

    const LARGE: Options = Options { segment_bytes: 1 << 20, limit_bytes: 1 << 30, headroom_bytes: 0 };

    fn start(options: Options) -> (tempfile::TempDir, Handle) {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path(), options).unwrap();
        let handle = spawn(journal, "journal-test", Queue::default()).unwrap();
        (directory, handle)
    }

    #[tokio::test]
    async fn appends_that_wait_share_a_sync() {
        let (_directory, handle) = start(LARGE);
        let sender = async |n: u8| {
            for _ in 0..20 {
                handle.append(n, vec![n; 300], Durability::Synced).await.unwrap();
            }
        };
        join_all((0..64).map(sender)).await;
        let stats = handle.stats();
        assert_eq!((stats.appended, stats.frames), (64 * 20, 64 * 20));
        assert!(stats.syncs <= 64 * 20 / 8, "{} syncs", stats.syncs);
        assert!(stats.writes <= stats.syncs + 1);
    }

    #[tokio::test]
    async fn written_needs_no_sync_and_a_close_syncs() {
        let (_directory, handle) = start(LARGE);
        join_all((0..100).map(|_| handle.append(1, vec![1; 10], Durability::Written))).await;
        assert_eq!(handle.stats().syncs, 0);
        handle.close().await.unwrap();
        assert_eq!(handle.stats().syncs, 1);
        assert!(matches!(handle.close().await, Err(Error::Closed)));
        assert!(matches!(handle.read(Position::new(1)).await, Err(Error::Closed)));
        handle.acknowledge(Position::new(1));
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_nobody_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path(), LARGE).unwrap();
        // Less than one payload: each has the queue to itself.
        let handle = spawn(journal, "journal-test", Queue { bytes: 1000 }).unwrap();
        let sent = join_all((0..50).map(|n| handle.append(n, vec![n; 5000], Durability::Written))).await;
        let positions: Vec<u64> = sent.into_iter().map(|position| position.unwrap().sequence()).collect();
        assert_eq!(positions, (1..=50).collect::<Vec<_>>());
        assert_eq!(handle.stats().writes, 50);
    }

    #[tokio::test]
    async fn each_append_that_does_not_fit_is_refused_alone() {
        let (directory, handle) =
            start(Options { segment_bytes: 4000, limit_bytes: 16_000, headroom_bytes: 0 });
        let lengths = [100, 20_000, 100, 9000, 9000, 100];
        let sent =
            join_all(lengths.map(|length| handle.append(1, vec![1; length], Durability::Synced))).await;
        let is_taken: Vec<bool> = sent.iter().map(Result::is_ok).collect();
        assert_eq!(is_taken, [true, false, true, true, false, true]);
        handle.close().await.unwrap();
        assert_eq!(open(directory.path()).1.frames, 4);
    }

    #[tokio::test]
    async fn dropping_the_last_handle_keeps_what_was_answered_and_ends_the_thread() {
        let (directory, handle) = start(LARGE);
        handle.append(1, vec![1; 10], Durability::Written).await.unwrap();
        let thread = handle.shared.thread.lock().unwrap().take().unwrap();
        let other = handle.clone();
        drop(handle);
        other.append(1, vec![1; 10], Durability::Written).await.unwrap();
        drop(other);
        thread.join().unwrap();
        assert_eq!(open(directory.path()).1.frames, 2);
    }

    /// A journal whose active segment is a device: it can be written and can not be synced.
    fn broken(path: &std::path::Path) -> Journal {
        let (mut journal, _) = Journal::open(path, LARGE).unwrap();
        journal.append(1, &[b"before"]).unwrap();
        journal.commit(Durability::Written).unwrap();
        journal.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/null").unwrap();
        journal
    }

    #[tokio::test]
    async fn a_failed_sync_stops_appends_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let handle = spawn(broken(directory.path()), "journal-test", Queue::default()).unwrap();
        assert!(handle.append(1, vec![1], Durability::Written).await.is_ok());
        let sent = join_all((0..3).map(|_| handle.append(1, vec![1], Durability::Synced))).await;
        assert!(sent.iter().all(|sent| matches!(sent, Err(Error::Poisoned { .. }))), "{sent:?}");
        let error = handle.append(1, vec![1], Durability::Written).await.unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }) && !error.retryable(), "{error}");
        assert!(std::error::Error::source(&error).is_some());
        assert!(handle.stats().poisoned.is_some());
        assert_eq!(handle.read(Position::new(1)).await.unwrap().payload, b"before");
        // Those that were refused are not there.
        assert_eq!(handle.unacknowledged(None, 10).await.unwrap().len(), 2);
        handle.acknowledge(Position::new(1));
        assert_eq!(handle.unacknowledged(None, 10).await.unwrap().len(), 1);
        assert!(matches!(handle.close().await, Err(Error::Poisoned { .. })));
        let (mut journal, _) = open(directory.path());
        journal.append(1, &[b"again"]).unwrap();
        journal.commit(Durability::Synced).unwrap();
    }

    #[test]
    fn a_write_that_can_not_be_taken_back_poisons() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = broken(directory.path());
        journal.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        journal.append(1, &[b"lost"]).unwrap();
        assert!(matches!(journal.commit(Durability::Written), Err(Error::Poisoned { .. })));
        assert!(matches!(journal.append(1, &[b"more"]), Err(Error::Poisoned { .. })));
        assert_eq!(numbers(&journal), [1]);
        assert_eq!(journal.read(Position::new(1)).unwrap().payload, b"before");
    }

    #[tokio::test]
    async fn a_segment_that_can_not_be_made_costs_that_append() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (journal, _) = Journal::open(&path, LARGE).unwrap();
        let handle = spawn(journal, "journal-test", Queue::default()).unwrap();
        let moved = directory.path().join("moved");
        std::fs::rename(&path, &moved).unwrap();
        let error = handle.append(1, vec![1], Durability::Written).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.retryable(), "{error}");
        std::fs::rename(&moved, &path).unwrap();
        handle.append(1, vec![1], Durability::Synced).await.unwrap();
        assert!(File::open(&path).is_ok());
    }

    #[test]
    fn neighbours_that_are_acknowledged_take_no_room() {
        let inbox = Inbox::new(Queue::default());
        inbox.acknowledge((1..1000).chain([5]).map(Position::new));
        let Round { acknowledged, .. } = inbox.take(0, Duration::ZERO);
        assert_eq!(acknowledged, [(1, 999), (5, 5)]);
    }
}
