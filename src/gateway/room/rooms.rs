//! The rooms of this node: who is in them, what they keep, and one order of events in each.
//!
//! What happens to a room (somebody joins, leaves, publishes, asks) is a [`Step`] in the room's queue. Whoever adds a
//! step when nobody works on the queue becomes its worker and carries out all steps, in their order, until the
//! queue is empty; others just add and go on. So every member sees one order, nobody waits for a lock while a
//! thousand sockets are written, and steps that pile up are delivered together, in one write per member.
//!
//! A worker that finds more and more to do hands over to a task, so that a client that publishes once does not
//! deliver for all others. Limits: [`QUEUE_MAX`] steps wait in a room, those of leaving aside, and there are
//! `limits.rooms` rooms; more are refused with an answer. A room exists while somebody is in it or it keeps something.

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
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::gateway::link::Link;
use crate::gateway::room::rhythm::Rhythm;
use crate::gateway::room::step::Step;
use crate::gateway::room::stream::Stream;
use crate::wire::payload::Payload;

/// The sessions in a room, by their number.
pub(in crate::gateway) type Members = BTreeMap<u64, Member>;

/// The most steps that wait in one room.
pub(in crate::gateway) const QUEUE_MAX: usize = 4096;

/// How many batches one caller delivers before it hands over.
const BATCHES_MAX: usize = 32;

/// Rooms are spread over so many locks.
pub(in crate::gateway) const SHARDS: usize = 64;

/// A session in a room.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Member {
    /// Its link.
    pub(in crate::gateway) link: Arc<Link>,
    /// True when it wants to hear who comes and goes.
    pub(in crate::gateway) join_leave: bool,
    /// What a token says about it, for others in the room.
    pub(in crate::gateway) info: Option<Arc<Payload>>,
    /// True when it does not show among those who are there.
    pub(in crate::gateway) hidden: bool,
}

/// What is in a room.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Inside {
    /// Who.
    pub(in crate::gateway) members: Members,
    /// What was said; none while nothing is kept.
    pub(in crate::gateway) stream: Option<Box<Stream>>,
    /// When the last work on it ended, on the gateway's clock.
    pub(in crate::gateway) ended: Duration,
    /// When somebody last came, went or spoke, on the gateway's clock.
    pub(in crate::gateway) touched: Duration,
    /// When there is something to forget, on the gateway's clock.
    pub(in crate::gateway) until: Duration,
}

/// The room has too much to do, or there are too many rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Busy;

/// What a worker does with a run of steps; false when the room need not be remembered.
pub(in crate::gateway) type Work<'a> = &'a (dyn Fn(&Arc<str>, VecDeque<Step>, &mut Inside) -> bool + Sync);

/// What is left to do for whoever added a step.
#[derive(Debug)]
pub(in crate::gateway) enum Next {
    /// Nothing.
    Done,
    /// Go on with the room, elsewhere.
    HandOver(Unfinished),
    /// Call [`Rooms::come_for`] when so much time has passed.
    ComeFor(Arc<str>, Duration),
}

/// A room whose worker has handed over: call [`Rooms::resume`] with it.
#[derive(Debug)]
pub(in crate::gateway) struct Unfinished {
    room: Arc<str>,
    inside: Box<Inside>,
    begun: Duration,
}

/// All rooms of this node.
#[derive(Debug)]
pub(in crate::gateway) struct Rooms {
    shards: Vec<Mutex<HashMap<Arc<str>, Room>>>,
    hasher: RandomState,
    count: Gauge,
    rooms_max: AtomicUsize,
}

#[derive(Debug, Default)]
struct Room {
    queue: VecDeque<Step>,
    /// None while somebody works on the queue: the worker has it.
    inside: Option<Box<Inside>>,
    /// True while messages wait for others to come, and somebody will come for all of them.
    awaits: bool,
    rhythm: Rhythm,
    /// As of the last work.
    members: usize,
    bytes: usize,
    until: Duration,
}

impl Rooms {
    /// No rooms, and room for `rooms_max`; `count` follows how many there are.
    pub(in crate::gateway) fn new(rooms_max: usize, count: Gauge) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), count, rooms_max: AtomicUsize::new(rooms_max) }
    }

    /// Takes a new limit.
    pub(in crate::gateway) fn resize(&self, rooms_max: usize) {
        self.rooms_max.store(rooms_max, Relaxed);
    }

    /// Adds a step to a room, and works on its queue when nobody else does. A room that does not exist is made for the
    /// step when `makes`; else there is nothing to do. At `now` messages may wait for others to come.
    pub(in crate::gateway) fn submit(
        &self,
        room: &str,
        step: Step,
        (makes, now): (bool, Duration),
        work: Work<'_>,
    ) -> Result<Next, Busy> {
        let mut shard = self.shard(room);
        let (name, inside) = match shard.get_mut(room) {
            Some(entry) => {
                if step.may_be_refused() && entry.queue.len() >= QUEUE_MAX {
                    return Err(Busy);
                }
                let waits = matches!(step, Step::Publish(_)).then(|| entry.rhythm.wait(now)).flatten();
                entry.queue.push_back(step);
                if entry.inside.is_some()
                    && let Some(wait) = waits
                {
                    if mem::replace(&mut entry.awaits, true) {
                        return Ok(Next::Done);
                    }
                    return Ok(Next::ComeFor(room.into(), wait));
                }
                let Some(inside) = entry.inside.take() else { return Ok(Next::Done) };
                (shard.get_key_value(room).map(|(name, _)| Arc::clone(name)), inside)
            }
            None if !makes => return Ok(Next::Done),
            None => {
                let rooms = usize::try_from(self.count.get()).unwrap_or(0);
                if rooms >= self.rooms_max.load(Relaxed) {
                    return Err(Busy);
                }
                let name: Arc<str> = room.into();
                shard.insert(Arc::clone(&name), Room { queue: VecDeque::from([step]), ..Room::default() });
                self.count.inc();
                (Some(name), Box::default())
            }
        };
        drop(shard);
        let room = name.unwrap_or_else(|| room.into());
        Ok(self.resume(Unfinished { room, inside, begun: now }, work))
    }

    /// Works on messages that have waited for others until `now`.
    pub(in crate::gateway) fn come_for(&self, room: &Arc<str>, now: Duration, work: Work<'_>) -> Next {
        let mut shard = self.shard(room);
        let Some(entry) = shard.get_mut(room) else { return Next::Done };
        entry.awaits = false;
        let Some(inside) = entry.inside.take() else { return Next::Done };
        drop(shard);
        self.resume(Unfinished { room: Arc::clone(room), inside, begun: now }, work)
    }

    /// Goes on with a room's queue; gives it back when there is more to do than one caller should.
    pub(in crate::gateway) fn resume(&self, unfinished: Unfinished, work: Work<'_>) -> Next {
        let Unfinished { room, mut inside, begun } = unfinished;
        let mut keep = true;
        for _ in 0..BATCHES_MAX {
            let mut shard = self.shard(&room);
            let Some(entry) = shard.get_mut(&room) else { return Next::Done };
            let batch = mem::take(&mut entry.queue);
            if batch.is_empty() {
                if keep {
                    entry.members = inside.members.len();
                    entry.bytes = inside.stream.as_ref().map_or(0, |stream| stream.bytes());
                    entry.until = inside.until;
                    entry.rhythm.worked(begun, inside.ended);
                    entry.inside = Some(inside);
                } else {
                    shard.remove(&room);
                    self.count.dec();
                }
                return Next::Done;
            }
            drop(shard);
            keep = work(&room, batch, &mut inside);
        }
        let begun = inside.ended;
        Next::HandOver(Unfinished { room, inside, begun })
    }

    /// How many sessions are in a room, as of its last work.
    pub(in crate::gateway) fn members(&self, room: &str) -> usize {
        self.shard(room).get(room).map_or(0, |entry| entry.members)
    }

    /// The rooms with somebody in them whose name is `wanted`, and how many are in each.
    pub(in crate::gateway) fn list(&self, wanted: impl Fn(&str) -> bool) -> Vec<(Arc<str>, usize)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let here = shard.iter().filter(|(name, entry)| entry.members > 0 && wanted(name));
            found.extend(here.map(|(name, entry)| (Arc::clone(name), entry.members)));
        }
        found
    }

    /// The rooms of one of the [`SHARDS`] that have something to forget at `now`.
    pub(in crate::gateway) fn due(&self, turn: usize, now: Duration) -> Vec<Arc<str>> {
        self.of_turn(turn, |entry| entry.until <= now)
    }

    /// The rooms of one of the [`SHARDS`] that keep messages.
    pub(in crate::gateway) fn keeping(&self, turn: usize) -> Vec<Arc<str>> {
        self.of_turn(turn, |entry| entry.bytes > 0)
    }

    fn of_turn(&self, turn: usize, wanted: impl Fn(&Room) -> bool) -> Vec<Arc<str>> {
        let Some(shard) = self.shards.get(turn % SHARDS) else { return Vec::new() };
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = shard.iter().filter(|(_, entry)| entry.inside.is_some() && wanted(entry));
        idle.map(|(name, _)| Arc::clone(name)).collect()
    }

    fn shard(&self, room: &str) -> MutexGuard<'_, HashMap<Arc<str>, Room>> {
        let index = usize::try_from(self.hasher.hash_one(room) % SHARDS as u64).unwrap_or(0);
        let shard = self.shards.get(index).expect("the index is below the number of shards");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
