//! What the handle asks of the shipper: flush, reload, stop.
//!
//! One slot per kind, so nothing here grows: a newer reload replaces one that was not seen yet, and any number of
//! flush requests are one flush. Only callers that wait for an answer take a place each, for as long as they wait.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::oneshot;

use crate::buffer::Tally;
use crate::logger::FlushError;
use crate::logger::settings::Settings;

/// The answer to a flush: bytes sent by it.
pub(super) type Answer = Result<u64, FlushError>;

/// Where the handle leaves its wishes.
#[derive(Debug, Default)]
pub(super) struct Orders {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    flush: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
    reload: Option<Box<Settings>>,
    stop: Option<Duration>,
    stopped: Vec<oneshot::Sender<Tally>>,
    ended: bool,
}

/// One wish.
#[derive(Debug)]
pub(super) enum Order {
    /// Send what can be sent within this time, then end.
    Stop(Duration),
    /// Work by these settings from now on.
    Reload(Box<Settings>),
    /// Send what is queued.
    Flush,
}

/// How urgent a wish must be to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A stop.
    Stop,
    /// Also a reload.
    Urgent,
    /// Also a flush that somebody waits for.
    Awaited,
    /// Everything.
    Any,
}

impl Orders {
    // === The handle's side ===

    pub(super) fn request_flush(&self) {
        self.lock().flush = true;
        self.changed.notify_one();
    }

    /// Asks for a flush and for its answer; the receiver errs when the shipper has ended.
    pub(super) fn await_flush(&self) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if !state.ended {
            state.waiting.retain(|sender| !sender.is_closed());
            state.waiting.push(sender);
        }
        drop(state);
        self.changed.notify_one();
        receiver
    }

    pub(super) fn reload(&self, settings: Box<Settings>) {
        self.lock().reload = Some(settings);
        self.changed.notify_one();
    }

    /// Asks for the end and for what was dropped then; the receiver errs when the shipper has ended already.
    pub(super) fn stop(&self, within: Duration) -> oneshot::Receiver<Tally> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if !state.ended {
            state.stop = Some(within);
            state.stopped.push(sender);
        }
        drop(state);
        self.changed.notify_one();
        receiver
    }

    // === The shipper's side ===

    /// The next wish of at least this rank. Nothing is lost when the future is dropped.
    pub(super) async fn next(&self, rank: Rank) -> Order {
        loop {
            if let Some(order) = self.look(rank) {
                return order;
            }
            self.changed.notified().await;
        }
    }

    /// Resolves when there is a wish of at least this rank, and leaves it where it is.
    pub(super) async fn wait(&self, rank: Rank) {
        while !self.lock().holds(rank) {
            self.changed.notified().await;
        }
    }

    /// True when a stop or a reload waits.
    pub(super) fn urgent(&self) -> bool {
        self.lock().holds(Rank::Urgent)
    }

    /// Those who wait for the flush that starts now.
    pub(super) fn take_waiting(&self) -> Vec<oneshot::Sender<Answer>> {
        let mut state = self.lock();
        state.flush = false;
        std::mem::take(&mut state.waiting)
    }

    /// Their flush was interrupted: they wait for the next one.
    pub(super) fn put_back(&self, waiting: Vec<oneshot::Sender<Answer>>) {
        let mut state = self.lock();
        state.flush = true;
        state.waiting.extend(waiting);
    }

    /// The shipper has ended and dropped this much.
    pub(super) fn end(&self, dropped: Tally) {
        let mut state = self.lock();
        state.ended = true;
        let (waiting, stopped) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.stopped));
        drop(state);
        drop(waiting);
        for sender in stopped {
            // Whoever asked may have gone.
            sender.send(dropped).ok();
        }
    }

    fn look(&self, rank: Rank) -> Option<Order> {
        let mut state = self.lock();
        if !state.holds(rank) {
            return None;
        }
        // A reload goes first: the last records belong to the new target.
        if let Some(settings) = state.reload.take() {
            return Some(Order::Reload(settings));
        }
        if let Some(within) = state.stop.take() {
            return Some(Order::Stop(within));
        }
        Some(Order::Flush)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holds(&self, rank: Rank) -> bool {
        self.stop.is_some()
            || (rank >= Rank::Urgent && self.reload.is_some())
            || (rank >= Rank::Awaited && !self.waiting.is_empty())
            || (rank >= Rank::Any && self.flush)
    }
}

/// Tells everybody who waits that nobody works any more, however the shipper ended.
#[derive(Debug)]
pub(super) struct Ended(pub(super) Arc<Orders>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end(Tally::default());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_wishes_of_the_rank_are_heard() {
        let orders = Orders::default();
        orders.request_flush();
        assert!(orders.wait(Rank::Awaited).now_or_never().is_none());
        assert!(orders.wait(Rank::Any).now_or_never().is_some());
        let _answer = orders.await_flush();
        assert!(orders.wait(Rank::Awaited).now_or_never().is_some());
        assert!(!orders.urgent());
        let _stopped = orders.stop(Duration::ZERO);
        assert!(orders.urgent());
        assert!(orders.wait(Rank::Stop).now_or_never().is_some());
    }

    #[test]
    fn an_interrupted_flush_is_asked_for_again_with_those_who_wait() {
        let orders = Orders::default();
        let mut answer = orders.await_flush();
        let waiting = orders.take_waiting();
        assert!(orders.next(Rank::Any).now_or_never().is_none());
        orders.put_back(waiting);
        assert!(matches!(orders.next(Rank::Any).now_or_never(), Some(Order::Flush)));
        for sender in orders.take_waiting() {
            sender.send(Ok(7)).unwrap();
        }
        assert_eq!(answer.try_recv(), Ok(Ok(7)));
    }

    #[test]
    fn the_end_of_the_shipper_is_told_to_all_who_wait_and_who_come_later() {
        let orders = Arc::new(Orders::default());
        let (mut flush, mut stop) = (orders.await_flush(), orders.stop(Duration::ZERO));
        orders.end(Tally::one(5));
        assert_eq!(stop.try_recv(), Ok(Tally::one(5)));
        flush.try_recv().unwrap_err();
        orders.await_flush().try_recv().unwrap_err();
        orders.stop(Duration::ZERO).try_recv().unwrap_err();
    }

    #[test]
    fn callers_that_no_longer_wait_take_no_place() {
        let orders = Orders::default();
        for _ in 0..100 {
            drop(orders.await_flush());
        }
        assert!(orders.lock().waiting.len() <= 1);
    }
}
