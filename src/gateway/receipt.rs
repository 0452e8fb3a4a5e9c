//! What became of one message: to how many sessions it was written, and how many users have acknowledged it.
//!
//! The publisher who asked for it waits until everybody has it or its time is up, and then gets the counts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;

/// The most users whose acknowledgements one receipt counts.
const USERS_MAX: usize = 65_536;

/// The counts of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions that were to get it.
    pub queued: usize,
    /// Sessions whose socket has taken it.
    pub written: usize,
    /// Sessions that will not get it.
    pub lost: usize,
    /// Users who have acknowledged it.
    pub acknowledged: usize,
}

/// Collects what becomes of one message.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    state: Mutex<State>,
    change: Notify,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    users: HashSet<Arc<str>>,
    /// How many acknowledgements are enough; none when they are not waited for.
    wanted: Option<usize>,
    /// True once everybody who is to get it is counted.
    complete: bool,
}

impl Receipt {
    /// A receipt that waits for `wanted` acknowledgements beside the writing, if for any.
    pub(super) fn new(wanted: Option<usize>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { wanted, ..State::default() }), change: Notify::new() })
    }

    /// The message is on its way to one more session.
    pub(super) fn queued(&self) {
        self.change(|state| state.counts.queued += 1);
    }

    /// A session's socket has taken it.
    pub(super) fn written(&self) {
        self.change(|state| state.counts.written += 1);
    }

    /// A session will not get it.
    pub(super) fn lost(&self) {
        self.change(|state| state.counts.lost += 1);
    }

    /// A user has acknowledged it.
    pub(super) fn acknowledged(&self, user: &Arc<str>) {
        self.change(|state| {
            if state.users.len() < USERS_MAX && state.users.insert(Arc::clone(user)) {
                state.counts.acknowledged += 1;
            }
        });
    }

    /// Everybody who is to get it is counted.
    pub(super) fn complete(&self) {
        self.change(|state| state.complete = true);
    }

    /// Waits until all is done that is waited for, `patience` at the longest; gives the counts as they are then.
    pub(super) async fn wait(&self, patience: Duration) -> Counts {
        let done = async {
            loop {
                let change = self.change.notified();
                if self.is_done() {
                    return;
                }
                change.await;
            }
        };
        // Whoever waits gets what is known by then.
        drop(tokio::time::timeout(patience, done).await);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    fn is_done(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { queued, written, lost, acknowledged } = state.counts;
        state.complete && written + lost >= queued && state.wanted.is_none_or(|wanted| acknowledged >= wanted)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.change.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_is_done_when_everybody_has_it() {
        let receipt = Receipt::new(None);
        receipt.queued();
        receipt.queued();
        receipt.written();
        receipt.complete();
        receipt.lost();
        let counts = receipt.wait(Duration::from_secs(600)).await;
        assert_eq!(counts, Counts { queued: 2, written: 1, lost: 1, acknowledged: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_acknowledgements_gets_what_came_in_time() {
        let receipt = Receipt::new(Some(2));
        let user: Arc<str> = "u".into();
        receipt.acknowledged(&user);
        receipt.acknowledged(&user);
        receipt.complete();
        assert_eq!(receipt.wait(Duration::from_secs(5)).await.acknowledged, 1);
        receipt.acknowledged(&"v".into());
        assert_eq!(receipt.wait(Duration::MAX).await.acknowledged, 2);
    }
}
