//! The tap: whoever wants to can watch the records go by, live.
//!
//! ```text
//! trail ──> show(record) ──> filter of each watcher ──> its queue ──> poll_piece() ──> /tail ──> pillion tail
//!       └─> show_and_keep: also into the last records
//! ```
//!
//! What it is: a copy of what the trail hands to the buffer, before the buffer keeps or drops it. What it is not: it
//! changes nothing for the log. A record costs one relaxed load when nobody watches.
//!
//! **Limits.** [`WATCHERS`] at once, further ones are refused. Each has a queue of [`QUEUE`] bytes; a watcher that does
//! not keep up loses records and is told how many by a line of its own, `{"tail.skipped":N}`, at the place where they
//! are missing. [`RECENT`] bytes of the last records are kept for those who come later; not of those actions that
//! come in masses, because they would push out what explains them within a second.
//!
//! **Loss and stop.** Nothing here is kept over the end of the process. [`Watcher::close`] ends the flow; what is
//! queued by then is still given out.

mod queue;
mod recent;

use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;

use arc_swap::ArcSwap;

use crate::filter::Filter;
use queue::Queue;
use recent::Recent;

/// How many may watch at once.
pub const WATCHERS: usize = 16;

/// How many bytes may wait for one watcher; it then misses records until it has taken them.
pub const QUEUE: usize = 1024 * 1024;

/// How many bytes of the last records are kept.
pub const RECENT: usize = 1024 * 1024;

/// What the line begins with that tells a watcher of records which it has missed.
pub const SKIPPED: &str = "{\"tail.skipped\":";

/// There are [`WATCHERS`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{WATCHERS} others watch already, which is the most: end one of them, then try again")]
pub struct TooMany;

/// What a watcher wants to see.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Which records.
    pub filter: Filter,
    /// How many of the last records that were kept come first.
    pub last: usize,
    /// Whether new records follow.
    pub follow: bool,
}

/// Shows records to watchers; see the module.
#[derive(Debug, Default)]
pub struct Tap {
    /// The number of watchers: all that is read as long as it is 0.
    watching: AtomicUsize,
    watchers: ArcSwap<Vec<Arc<Queue>>>,
    /// Its lock also orders the changes of `watchers`.
    recent: Mutex<Recent>,
}

impl Tap {
    /// A tap without watchers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a record to whoever watches.
    pub fn show(&self, record: &[u8]) {
        if self.watching.load(Relaxed) > 0 {
            self.hand_out(record);
        }
    }

    /// Shows a record and keeps it among the last ones.
    pub fn show_and_keep(&self, record: &[u8]) {
        // Under one lock, so that a watcher who comes now gets it once: as one of the last, or as a new one.
        let mut recent = self.recent();
        recent.push(record);
        self.show(record);
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// When there are [`WATCHERS`] already.
    pub fn watch(self: &Arc<Self>, wish: Wish) -> Result<Watcher, TooMany> {
        let Wish { filter, last, follow } = wish;
        let queue = Arc::new(Queue::new(filter));
        if !follow {
            queue.close();
        }
        let recent = self.recent();
        let watchers = self.watchers.load();
        if watchers.len() >= WATCHERS {
            return Err(TooMany);
        }
        // Looked through after the lock is free: whoever logs must not wait for that.
        let former = if last > 0 { recent.clone() } else { Recent::default() };
        let mut more = Vec::clone(&watchers);
        more.push(Arc::clone(&queue));
        self.replace(more);
        drop(recent);
        let former = former.last(last, |record| queue.wants(record));
        Ok(Watcher { tap: Arc::clone(self), queue, former })
    }

    #[cold]
    fn hand_out(&self, record: &[u8]) {
        for queue in self.watchers.load().iter() {
            queue.offer(record);
        }
    }

    fn leave(&self, gone: &Arc<Queue>) {
        let _changes = self.recent();
        let mut rest = Vec::clone(&self.watchers.load());
        rest.retain(|queue| !Arc::ptr_eq(queue, gone));
        self.replace(rest);
    }

    /// Called under the lock of `recent`.
    fn replace(&self, watchers: Vec<Arc<Queue>>) {
        let count = watchers.len();
        self.watchers.store(Arc::new(watchers));
        self.watching.store(count, Relaxed);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who watches; dropping it ends that.
#[derive(Debug)]
pub struct Watcher {
    tap: Arc<Tap>,
    queue: Arc<Queue>,
    /// What came before it; given out first.
    former: Vec<u8>,
}

impl Watcher {
    /// Whole lines, as many as wait, or `None` after the last one; wakes the task when there is something new.
    pub fn poll_piece(&mut self, context: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        if !self.former.is_empty() {
            return Poll::Ready(Some(mem::take(&mut self.former)));
        }
        self.queue.poll_piece(context)
    }

    /// Takes nothing new; what waits is still given out.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.tap.leave(&self.queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Terms;
    use std::task::Wake;
    use std::task::Waker;

    fn wish(room: &str, last: usize, follow: bool) -> Wish {
        let terms = Terms { rooms: vec![room.to_owned()], ..Terms::default() };
        Wish { filter: Filter::new(&terms).unwrap(), last, follow }
    }

    fn all() -> Wish {
        Wish { follow: true, ..Wish::default() }
    }

    fn record(room: &str, number: usize) -> Vec<u8> {
        format!("{{\"room_id\":\"{room}\",\"n\":{number}}}\n").into_bytes()
    }

    fn poll(watcher: &mut Watcher) -> Poll<Option<String>> {
        let piece = watcher.poll_piece(&Context::from_waker(Waker::noop()));
        piece.map(|piece| piece.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    fn taken(watcher: &mut Watcher) -> String {
        let mut all = String::new();
        while let Poll::Ready(Some(piece)) = poll(watcher) {
            all.push_str(&piece);
        }
        all
    }

    #[test]
    fn a_watcher_sees_what_it_asked_for_from_then_on() {
        let tap = Arc::new(Tap::new());
        tap.show(&record("a", 1));
        let mut watcher = tap.watch(wish("a", 9, true)).unwrap();
        tap.show(&record("a", 2));
        tap.show(&record("b", 3));
        tap.show_and_keep(&record("a", 4));
        assert_eq!(taken(&mut watcher), "{\"room_id\":\"a\",\"n\":2}\n{\"room_id\":\"a\",\"n\":4}\n");
        assert_eq!(poll(&mut watcher), Poll::Pending);
    }

    #[test]
    fn the_last_records_that_were_kept_come_first() {
        let tap = Arc::new(Tap::new());
        for number in 0..5 {
            tap.show_and_keep(&record("a", number));
            tap.show_and_keep(&record("b", number));
        }
        let mut watcher = tap.watch(wish("a", 2, true)).unwrap();
        tap.show(&record("a", 9));
        let numbers: Vec<_> = taken(&mut watcher).lines().map(|line| line[19..20].to_owned()).collect();
        assert_eq!(numbers, ["3", "4", "9"]);
        let mut once = tap.watch(wish("b", 1, false)).unwrap();
        tap.show(&record("b", 9));
        assert_eq!(taken(&mut once), "{\"room_id\":\"b\",\"n\":4}\n");
        assert_eq!(poll(&mut once), Poll::Ready(None));
    }

    #[test]
    fn a_slow_watcher_misses_records_and_is_told_how_many_and_where() {
        let tap = Arc::new(Tap::new());
        let (mut slow, mut quick) = (tap.watch(all()).unwrap(), tap.watch(all()).unwrap());
        let line = record("a", 1);
        let (fit, mut seen) = (QUEUE / line.len(), 0);
        for _ in 0..fit + 7 {
            tap.show(&line);
            seen += taken(&mut quick).lines().count();
        }
        assert_eq!(seen, fit + 7);
        let piece = taken(&mut slow);
        assert_eq!(piece.lines().count(), fit + 1);
        assert!(piece.len() <= QUEUE + 40);
        assert_eq!(piece.lines().last().unwrap(), format!("{SKIPPED}7}}"));
        tap.show(&line);
        assert_eq!(taken(&mut slow).into_bytes(), line, "what follows is whole again");
    }

    #[test]
    fn there_is_a_place_again_when_one_leaves() {
        let tap = Arc::new(Tap::new());
        let mut watchers: Vec<_> = (0..WATCHERS).map(|_| tap.watch(all()).unwrap()).collect();
        assert_eq!(tap.watch(all()).unwrap_err(), TooMany);
        watchers.pop();
        watchers.push(tap.watch(all()).unwrap());
        drop(watchers);
        assert_eq!(tap.watching.load(Relaxed), 0);
    }

    #[test]
    fn a_closed_watcher_gives_out_what_waits_and_ends() {
        let tap = Arc::new(Tap::new());
        let mut watcher = tap.watch(all()).unwrap();
        tap.show(b"1\n");
        watcher.close();
        tap.show(b"2\n");
        assert_eq!(poll(&mut watcher), Poll::Ready(Some("1\n".to_owned())));
        assert_eq!(poll(&mut watcher), Poll::Ready(None));
    }

    #[test]
    fn whoever_comes_in_between_sees_each_record_once() {
        const COUNT: usize = 5000;
        let tap = Arc::new(Tap::new());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..COUNT).for_each(|number| tap.show_and_keep(format!("{number}\n").as_bytes())));
            let mut newest = 0;
            while newest + 1 < COUNT {
                let mut watcher = tap.watch(Wish { last: 3, follow: true, ..Wish::default() }).unwrap();
                std::thread::yield_now();
                let seen: Vec<usize> =
                    taken(&mut watcher).lines().map(|line| line.parse().unwrap()).collect();
                let Some((&first, &last)) = seen.first().zip(seen.last()) else { continue };
                assert_eq!(seen, (first..=last).collect::<Vec<_>>());
                newest = last;
            }
        });
    }

    #[test]
    fn a_task_that_waits_is_woken_by_a_record_and_by_the_end() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let tap = Arc::new(Tap::new());
        let mut watcher = tap.watch(wish("a", 0, true)).unwrap();
        assert!(watcher.poll_piece(&Context::from_waker(&waker)).is_pending());
        tap.show(&record("b", 1));
        assert_eq!(count.0.load(Relaxed), 0, "a record for others wakes nobody");
        tap.show(&record("a", 1));
        assert_eq!(count.0.load(Relaxed), 1);
        assert!(watcher.poll_piece(&Context::from_waker(&waker)).is_ready());
        assert!(watcher.poll_piece(&Context::from_waker(&waker)).is_pending());
        watcher.close();
        assert_eq!(count.0.load(Relaxed), 2);
    }
}
