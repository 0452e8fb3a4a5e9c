//! What all sessions share, and what happens to rooms and sessions from wherever it is asked for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

use crate::clock;
use crate::gateway::CloseReason;
use crate::gateway::Means;
use crate::gateway::bans::Bans;
use crate::gateway::budget::Budget;
use crate::gateway::emulation::Tokens;
use crate::gateway::frame::Frame;
use crate::gateway::heartbeat::Wheel;
use crate::gateway::inbox::Inbox;
use crate::gateway::link::Sent;
use crate::gateway::order::Order;
use crate::gateway::pulse::Beat;
use crate::gateway::registry::Registry;
use crate::gateway::room::archive::Archive;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::receipt::Receipt;
use crate::gateway::room::receipt::Receipts;
use crate::gateway::room::rooms::Busy;
use crate::gateway::room::rooms::Inside;
use crate::gateway::room::rooms::Next;
use crate::gateway::room::rooms::Rooms;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::Publishing;
use crate::gateway::room::step::Step;
use crate::gateway::room::worker::Worker;
use crate::gateway::settings::Settings;
use crate::gateway::throttle::Throttle;
use crate::ids::Epochs;
use crate::ids::MessageId;
use crate::ids::MessageIds;
use crate::ids::RequestIds;
use crate::ids::SessionIds;
use crate::metrics::ByReason;
use crate::tasks::OnExit;

/// So many rooms on disk are looked at for old messages, once in so many turns of the sweep.
const OLD_ROOMS: usize = 64;
const OLD_TURNS: usize = 10;
/// How soon a session is looked at again that had something to expire.
const EXPIRY_LOOK: Duration = Duration::from_secs(1);

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) node: String,
    pub(super) means: Means,
    pub(super) settings: ArcSwap<Settings>,
    pub(super) session_ids: SessionIds,
    pub(super) message_ids: MessageIds,
    pub(super) request_ids: RequestIds,
    pub(super) epochs: Epochs,
    pub(super) registry: Registry,
    pub(super) rooms: Rooms,
    pub(super) budget: Arc<Budget>,
    pub(super) archive: Archive,
    pub(super) wheel: Wheel,
    /// Places for what clients ask for in chats.
    pub(super) calls: Arc<Semaphore>,
    pub(super) throttle: Throttle,
    pub(super) receipts: Receipts,
    pub(super) bans: Bans,
    pub(super) inbox: Inbox,
    pub(super) tokens: Tokens,
    pub(super) deliveries: Counter,
    pub(super) lost: Lost,
}

/// Messages that sessions did not get, by reason.
#[derive(Debug)]
pub(super) struct Lost {
    /// The session ended because it was slow.
    pub(super) slow: Counter,
    /// They made room for newer ones, and the client was told.
    pub(super) gap: Counter,
    /// The session ended because memory is short.
    pub(super) memory_short: Counter,
    /// They were too old when there was room.
    pub(super) expired: Counter,
    /// The session ended for another reason before they were written.
    pub(super) closed: Counter,
}

impl Lost {
    pub(super) fn new(metrics: &crate::metrics::Metrics) -> Self {
        let of = |reason| metrics.undelivered.get_or_create(&ByReason { reason }).clone();
        Self {
            slow: of("slow"),
            gap: of("gap"),
            memory_short: of("memory_short"),
            expired: of("expired"),
            closed: of("closed"),
        }
    }
}

impl Shared {
    /// Adds a step to a room and carries out what is to be done there; `makes` the room when it does not exist.
    pub(super) fn submit(self: &Arc<Self>, room: &str, step: Step, makes: bool) -> Result<(), Busy> {
        let work = |room: &Arc<str>, steps, inside: &mut Inside| Worker::new(self, room, inside).work(steps);
        match self.rooms.submit(room, step, (makes, clock::uptime()), &work)? {
            Next::Done => {}
            next @ (Next::HandOver(_) | Next::ComeFor(..)) => self.go_on(next),
        }
        Ok(())
    }

    /// Goes on with a room in a task of its own: with one that is busy, or with messages that wait for others.
    fn go_on(self: &Arc<Self>, next: Next) {
        let shared = Arc::clone(self);
        self.means.tasks.spawn("room", OnExit::Ignore, async move {
            let work =
                |room: &Arc<str>, steps, inside: &mut Inside| Worker::new(&shared, room, inside).work(steps);
            let mut next = next;
            loop {
                next = match next {
                    Next::Done => return,
                    Next::HandOver(unfinished) => {
                        tokio::task::yield_now().await;
                        shared.rooms.resume(unfinished, &work)
                    }
                    Next::ComeFor(room, wait) => {
                        tokio::time::sleep(wait).await;
                        shared.rooms.come_for(&room, clock::uptime(), &work)
                    }
                };
            }
        });
    }

    /// Publishes into a room; nobody in it is no error.
    pub(super) fn publish(
        self: &Arc<Self>,
        room: &str,
        message: Outgoing,
        receipt: Option<Arc<Receipt>>,
        asker: Asker,
    ) -> Result<MessageId, Busy> {
        let (id, publishing) = self.publishing(message, receipt, asker);
        // Where nothing is kept and nobody is there, there is nothing to do but to answer.
        self.submit(room, Step::Publish(Box::new(publishing)), true)?;
        self.means.metrics.publications.inc();
        Ok(id)
    }

    /// A message as a room takes it.
    pub(super) fn publishing(
        &self,
        message: Outgoing,
        receipt: Option<Arc<Receipt>>,
        asker: Asker,
    ) -> (MessageId, Publishing) {
        let unix_ms = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
        let id = self.message_ids.next(unix_ms);
        (id, Publishing { message, id, at: clock::uptime(), unix_ms, receipt, asker })
    }

    /// An id that is greater than `newest`.
    pub(super) fn id_behind(&self, newest: MessageId) -> MessageId {
        let unix_ms = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
        // A clock that went back far would give ids below those of before its last stop.
        self.message_ids.next(unix_ms).max(MessageId::from_number(newest.number() + 1))
    }

    /// A function that counts messages written, and their delay.
    pub(super) fn observer(&self) -> impl FnMut(Duration, u32) {
        |delay, messages| {
            self.deliveries.inc_by(messages.into());
            for _ in 0..messages {
                self.means.metrics.send_delay.observe(delay.as_secs_f64());
            }
        }
    }

    /// Counts what became of frames.
    pub(super) fn count(&self, sent: Sent) {
        match sent {
            Sent::Accepted { lost: 0 } | Sent::Closing { lost: 0 } => {}
            Sent::Closing { lost } => {
                self.lost.closed.inc_by(lost as u64);
            }
            Sent::Accepted { lost } => {
                self.lost.gap.inc_by(lost as u64);
            }
            Sent::Overflow { lost } => {
                self.lost.slow.inc_by(lost as u64);
            }
        }
    }

    /// Looks after heartbeats, old messages and memory; `turn` counts the calls.
    pub(super) fn sweep(self: &Arc<Self>, now: Duration, turn: usize) {
        for mut entry in self.wheel.take(now) {
            let Some(link) = entry.link.upgrade() else { continue };
            match entry.pulse.beat(now, &link.signs(), &entry.rhythm) {
                Beat::WaitUntil(due) => self.wheel.put(entry, due),
                Beat::Ping(due) => {
                    link.send(&[Frame::control(link.form().ping())], now, &mut |_, _| {});
                    self.wheel.put(entry, due);
                }
                Beat::LoginTimeout => link.close(CloseReason::LoginTimeout),
                Beat::Dead => link.close(CloseReason::HeartbeatTimeout),
                Beat::Expired => {
                    // The session knows what has expired, and when something will next.
                    link.order(Order::Expired);
                    self.wheel.put(entry, now + EXPIRY_LOOK);
                }
            }
        }
        for room in self.rooms.due(turn, now) {
            // A room that has too much to do looks by itself.
            self.submit(&room, Step::Trim, false).ok();
        }
        if turn.is_multiple_of(OLD_TURNS) {
            // A room of which nothing is in memory lets go of old messages as well.
            for room in self.archive.next_rooms(OLD_ROOMS) {
                self.submit(&room, Step::Trim, true).ok();
            }
        }
        if self.budget.excess() > 0 {
            self.make_room(turn);
        }
    }

    /// Messages take too much memory: rooms forget older ones; when that is not enough, the slowest readers go.
    fn make_room(self: &Arc<Self>, turn: usize) {
        for shard in turn..turn.saturating_add(crate::gateway::room::rooms::SHARDS) {
            for room in self.rooms.keeping(shard) {
                if self.budget.excess() == 0 {
                    return;
                }
                self.submit(&room, Step::Shed, false).ok();
            }
        }
        let mut slowest: Vec<_> = self
            .registry
            .all()
            .into_iter()
            .map(|link| (link.waiting(), link))
            .filter(|(waiting, _)| *waiting > 0)
            .collect();
        slowest.sort_unstable_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        let mut excess = self.budget.excess();
        for (waiting, link) in slowest {
            if excess == 0 {
                return;
            }
            excess = excess.saturating_sub(waiting);
            self.lost.memory_short.inc_by(link.shed(waiting) as u64);
        }
    }
}
