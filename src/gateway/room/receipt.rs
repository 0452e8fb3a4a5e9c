//! What became of one message: to how many sessions it was written, and how many users have acknowledged it.
//!
//! The publisher who asked for it waits until everybody has it or its time is up, and then gets the counts. Users
//! acknowledge by the message's id, which such a message carries as the tag `msg_id`, or by its offset.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::Notify;

use crate::ids::MessageId;

/// The most users whose acknowledgements one receipt counts.
const USERS_MAX: usize = 65_536;

/// The most receipts that are open at the same time.
const OPEN_MAX: usize = 65_536;

/// The tag with the id of a message whose publisher waits for acknowledgements.
pub(in crate::gateway) const ID_TAG: &str = "msg_id";

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
pub(in crate::gateway) struct Receipt {
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
    /// The message: its id, and its offset where it has one.
    message: Option<(MessageId, u64)>,
}

/// The receipts that are waited for, by room.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Receipts {
    open: Mutex<HashMap<Box<str>, Vec<Weak<Receipt>>>>,
}

impl Receipts {
    /// A receipt for a message in `room` that waits for `wanted` acknowledgements beside the writing, if for any; none
    /// when too many are open.
    pub(in crate::gateway) fn open(&self, room: &str, wanted: Option<usize>) -> Option<Arc<Receipt>> {
        let mut open = self.lock();
        if open.values().map(Vec::len).sum::<usize>() >= OPEN_MAX {
            open.retain(|_, receipts| {
                receipts.retain(|receipt| receipt.strong_count() > 0);
                !receipts.is_empty()
            });
        }
        let full = open.values().map(Vec::len).sum::<usize>() >= OPEN_MAX;
        let receipt = (!full).then(|| Receipt::new(wanted))?;
        open.entry(room.into()).or_default().push(Arc::downgrade(&receipt));
        Some(receipt)
    }

    /// Nobody waits for this receipt any longer.
    pub(in crate::gateway) fn close(&self, room: &str, receipt: &Arc<Receipt>) {
        let mut open = self.lock();
        let Some(receipts) = open.get_mut(room) else { return };
        receipts.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(receipt)));
        if receipts.is_empty() {
            open.remove(room);
        }
    }

    /// A user has acknowledged a message of a room: by its id, or by its offset. False when nobody waits for it.
    pub(in crate::gateway) fn acknowledged(
        &self,
        room: &str,
        message: Acknowledged,
        user: &Arc<str>,
    ) -> bool {
        let receipts = self.lock().get(room).cloned().unwrap_or_default();
        let open = receipts.iter().filter_map(Weak::upgrade).filter(|receipt| receipt.is_of(message));
        open.map(|receipt| receipt.acknowledged(user)).count() > 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Weak<Receipt>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which message a user acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Acknowledged {
    /// The one with this id.
    Id(MessageId),
    /// The one at this offset.
    Offset(u64),
}

impl Receipt {
    /// A receipt that waits for `wanted` acknowledgements beside the writing, if for any.
    fn new(wanted: Option<usize>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { wanted, ..State::default() }), change: Notify::new() })
    }

    /// A receipt for one session that was sent the message already.
    pub(in crate::gateway) fn alone() -> Arc<Self> {
        let receipt = Self::new(None);
        receipt.queued();
        receipt.complete();
        receipt
    }

    /// The message was taken in.
    pub(in crate::gateway) fn is_for(&self, id: MessageId, offset: u64) {
        self.change(|state| state.message = Some((id, offset)));
    }

    fn is_of(&self, message: Acknowledged) -> bool {
        let own = self.state().message;
        own.is_some_and(|(id, offset)| match message {
            Acknowledged::Id(other) => id == other,
            Acknowledged::Offset(other) => offset == other && other > 0,
        })
    }

    /// The message is on its way to one more session.
    pub(in crate::gateway) fn queued(&self) {
        self.change(|state| state.counts.queued += 1);
    }

    /// A session's socket has taken it.
    pub(in crate::gateway) fn written(&self) {
        self.change(|state| state.counts.written += 1);
    }

    /// A session will not get it.
    pub(in crate::gateway) fn lost(&self) {
        self.change(|state| state.counts.lost += 1);
    }

    /// A user has acknowledged it.
    pub(in crate::gateway) fn acknowledged(&self, user: &Arc<str>) {
        self.change(|state| {
            if state.users.len() < USERS_MAX && state.users.insert(Arc::clone(user)) {
                state.counts.acknowledged += 1;
            }
        });
    }

    /// Everybody who is to get it is counted.
    pub(in crate::gateway) fn complete(&self) {
        self.change(|state| state.complete = true);
    }

    /// Waits until all is done that is waited for, `patience` at the longest; gives the counts as they are then.
    pub(in crate::gateway) async fn wait(&self, patience: Duration) -> Counts {
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
        self.state().counts
    }

    fn is_done(&self) -> bool {
        let state = self.state();
        let Counts { queued, written, lost, acknowledged } = state.counts;
        state.complete && written + lost >= queued && state.wanted.is_none_or(|wanted| acknowledged >= wanted)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.change.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn users_acknowledge_the_messages_that_somebody_waits_for() {
        let receipts = Receipts::default();
        let receipt = receipts.open("r", Some(2)).unwrap();
        receipt.is_for(MessageId::from_number(7), 3);
        let ack = |room: &str, message, user: &str| receipts.acknowledged(room, message, &user.into());
        assert!(ack("r", Acknowledged::Id(MessageId::from_number(7)), "u"));
        assert!(ack("r", Acknowledged::Offset(3), "v"));
        assert!(!ack("r", Acknowledged::Offset(0), "v"));
        assert!(!ack("r", Acknowledged::Offset(4), "v"));
        assert!(!ack("s", Acknowledged::Offset(3), "v"));
        assert_eq!(receipt.state().counts.acknowledged, 2);
        receipts.close("r", &receipt);
        assert!(!ack("r", Acknowledged::Offset(3), "w"));
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
