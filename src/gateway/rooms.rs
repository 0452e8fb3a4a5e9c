//! The rooms of this node: who is in them, and one order of events in each.
//!
//! What happens to a room (somebody joins, leaves, publishes) is a [`Step`] in the room's queue. Whoever adds a
//! step when nobody works on the queue becomes its worker and carries out all steps, in their order, until the
//! queue is empty; others just add and go on. So every member sees one order, nobody waits for a lock while a
//! thousand sockets are written, and steps that pile up are delivered together, in one write per member.
//!
//! A worker that finds more and more to do hands over to a task, so that a client that publishes once does not
//! deliver for all others. Limit: [`QUEUE_MAX`] publications wait in a room; more are refused with an answer.
//! Rooms exist while somebody is in them.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::AcqRel;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;

use crate::gateway::link::Link;
use crate::wire::centrifuge::ClientInfo;
use crate::wire::payload::Payload;

/// The sessions in a room, by their number.
pub(super) type Members = BTreeMap<u64, Arc<Link>>;

/// The most publications that wait in one room.
pub(super) const QUEUE_MAX: usize = 4096;

/// How many batches one caller delivers before it hands over.
const BATCHES_MAX: usize = 32;

/// Rooms are spread over so many locks.
const SHARDS: usize = 64;

/// A message that was taken into a room.
#[derive(Debug)]
pub(super) struct Publication {
    /// What it says.
    pub(super) payload: Payload,
    /// Who said it.
    pub(super) publisher: Option<Publisher>,
    /// When it was published, on the gateway's clock.
    pub(super) at: Duration,
}

/// Who published a message, as far as the receivers may know.
#[derive(Debug)]
pub(super) struct Publisher {
    /// The user.
    pub(super) user: String,
    /// The session.
    pub(super) client: String,
    /// What the token says about the user.
    pub(super) info: Option<Payload>,
}

impl Publisher {
    /// As it is told to clients.
    pub(super) fn told(&self) -> ClientInfo<'_> {
        ClientInfo { user: &self.user, client: &self.client, conn_info: self.info.as_ref(), chan_info: None }
    }
}

/// Something that happens to a room.
#[derive(Debug)]
pub(super) enum Step {
    /// A session joins.
    Join(Arc<Link>, Arc<Arrival>),
    /// A session leaves.
    Leave(u64),
    /// A message is published.
    Publish(Publication),
}

/// A session that enters rooms: when the last one is entered, a frame goes out before any message.
#[derive(Debug)]
pub(super) struct Arrival {
    remaining: AtomicUsize,
    welcome: Mutex<Welcome>,
}

/// What a session is sent when it has arrived.
#[derive(Debug)]
pub(super) enum Welcome {
    /// The answer to a login: messages were held back until now.
    Greeting(Option<Bytes>),
    /// The answer to a subscription.
    Answer(Bytes),
}

impl Arrival {
    /// An arrival in `rooms` rooms at once, at least one.
    pub(super) fn new(rooms: usize, welcome: Welcome) -> Arc<Self> {
        Arc::new(Self { remaining: AtomicUsize::new(rooms), welcome: Mutex::new(welcome) })
    }

    /// Notes that one room is entered; gives the welcome when it was the last one.
    pub(super) fn arrived(&self) -> Option<Welcome> {
        let last = self.remaining.fetch_sub(1, AcqRel) == 1;
        let mut welcome = self.welcome.lock().unwrap_or_else(PoisonError::into_inner);
        last.then(|| mem::replace(&mut *welcome, Welcome::Greeting(None)))
    }
}

/// The room has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// What a worker does with a run of steps; floor for tests and for the fan-out.
pub(super) type Work<'a> = &'a (dyn Fn(&str, VecDeque<Step>, &mut Members) + Sync);

/// A room whose worker has handed over: call [`Rooms::resume`] with it.
#[derive(Debug)]
pub(super) struct Unfinished {
    room: Arc<str>,
    members: Members,
}

/// All rooms of this node.
#[derive(Debug)]
pub(super) struct Rooms {
    shards: Vec<Mutex<HashMap<Arc<str>, Room>>>,
    hasher: RandomState,
    count: Gauge,
}

#[derive(Debug, Default)]
struct Room {
    queue: VecDeque<Step>,
    /// None while somebody works on the queue: the worker has them.
    members: Option<Members>,
}

impl Rooms {
    /// No rooms; `count` follows how many there are.
    pub(super) fn new(count: Gauge) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), count }
    }

    /// Adds a step to a room, and works on its queue when nobody else does.
    pub(super) fn submit(&self, room: &str, step: Step, work: Work<'_>) -> Result<Option<Unfinished>, Busy> {
        let mut shard = self.shard(room);
        let (name, members) = match shard.get_mut(room) {
            Some(entry) => {
                if matches!(step, Step::Publish(_)) && entry.queue.len() >= QUEUE_MAX {
                    return Err(Busy);
                }
                entry.queue.push_back(step);
                let Some(members) = entry.members.take() else { return Ok(None) };
                (shard.get_key_value(room).map(|(name, _)| Arc::clone(name)), members)
            }
            None if matches!(step, Step::Join(..)) => {
                let name: Arc<str> = room.into();
                shard.insert(Arc::clone(&name), Room { queue: VecDeque::from([step]), members: None });
                self.count.inc();
                (Some(name), Members::new())
            }
            // Nobody is there to hear it, and nobody is there to leave.
            None => return Ok(None),
        };
        drop(shard);
        let room = name.unwrap_or_else(|| room.into());
        Ok(self.resume(Unfinished { room, members }, work))
    }

    /// Goes on with a room's queue; gives it back when there is more to do than one caller should.
    pub(super) fn resume(&self, unfinished: Unfinished, work: Work<'_>) -> Option<Unfinished> {
        let Unfinished { room, mut members } = unfinished;
        for _ in 0..BATCHES_MAX {
            let mut shard = self.shard(&room);
            let entry = shard.get_mut(&room)?;
            let batch = mem::take(&mut entry.queue);
            if batch.is_empty() {
                if members.is_empty() {
                    shard.remove(&room);
                    self.count.dec();
                } else {
                    entry.members = Some(members);
                }
                return None;
            }
            drop(shard);
            work(&room, batch, &mut members);
        }
        Some(Unfinished { room, members })
    }

    fn shard(&self, room: &str) -> MutexGuard<'_, HashMap<Arc<str>, Room>> {
        let index = usize::try_from(self.hasher.hash_one(room) % SHARDS as u64).unwrap_or(0);
        let shard = self.shards.get(index).expect("the index is below the number of shards");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
