//! Carries out the steps of one room, in their order, for all members.
//!
//! Whoever works has the room for itself: members, stream, everything. Runs of publications go out together, each
//! encoded once per form, written to every member's socket by whoever works. In a durable room they are handed to the
//! store first, so that what it refuses is not delivered; publishers are answered when the store has them.

mod asking;
mod coming;
mod saying;

use crate::clock;
use crate::gateway::Shared;
use crate::gateway::form::Said;
use crate::gateway::room::archive::Archive;
use crate::gateway::room::rooms::Inside;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::Published;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::Step;
use crate::gateway::room::stream::SEEN_FOR;
use crate::gateway::room::stream::Stream;
use crate::gateway::rules::RoomRules;
use crate::ids::Epoch;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long a durable room stays in memory when nobody is in it.
const DURABLE_LINGER: Duration = Duration::from_secs(60);

/// How often a room looks for what is too old, at the most and at the least.
const TRIM_MIN: Duration = Duration::from_secs(1);
const TRIM_MAX: Duration = Duration::from_secs(60);

/// The messages that a durable room keeps in memory; older ones are read from disk.
const DURABLE_RING: usize = 128;

/// A room, and whoever works on it.
pub(in crate::gateway) struct Worker<'a> {
    shared: &'a Arc<Shared>,
    room: &'a Arc<str>,
    rules: RoomRules,
    inside: &'a mut Inside,
    now: Duration,
    unix_ms: u64,
    run: Vec<Said>,
    answers: Vec<(Asker, Published)>,
}

impl<'a> Worker<'a> {
    /// A worker for `room`.
    pub(in crate::gateway) fn new(
        shared: &'a Arc<Shared>,
        room: &'a Arc<str>,
        inside: &'a mut Inside,
    ) -> Self {
        let rules = shared.settings.load().rules.room(room);
        let unix_ms = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
        let now = clock::uptime();
        Self { shared, room, rules, inside, now, unix_ms, run: Vec::new(), answers: Vec::new() }
    }

    /// Carries out steps; false when the room need not be remembered.
    pub(in crate::gateway) fn work(mut self, steps: VecDeque<Step>) -> bool {
        let before = self.inside.stream.as_ref().map_or(0, |stream| stream.bytes());
        for step in steps {
            if !matches!(step, Step::Publish(_)) {
                self.deliver();
            }
            self.step(step);
        }
        self.deliver();
        let keep = self.look_ahead();
        self.inside.ended = clock::uptime();
        if !keep {
            self.inside.stream = None;
        }
        let after = self.inside.stream.as_ref().map_or(0, |stream| stream.bytes());
        if before != after {
            self.shared.budget.history_changed(before, after);
        }
        keep
    }

    fn step(&mut self, step: Step) {
        if !matches!(step, Step::Trim | Step::Shed) {
            self.inside.touched = self.now;
        }
        match step {
            Step::Join(joining) => self.join(*joining),
            Step::Leave(link, notice) => self.leave(&link, notice),
            Step::Publish(publishing) => self.take_in(*publishing),
            Step::Ask(Question::Recall(recall), asker) if self.rules.keeps() => {
                self.recall(&recall, asker);
            }
            Step::Ask(question, asker) => {
                let told = self.answer(&question);
                asker.tell(told);
            }
            Step::Dissolve(notice, why) => self.dissolve(notice, &why),
            Step::Trim => {
                if let Some(archive) = self.archive() {
                    let oldest = self.rules.keeping.oldest(self.unix_ms);
                    archive.expire(self.room, oldest, self.inside.stream.is_some());
                }
            }
            Step::Shed => {
                if let Some(stream) = &mut self.inside.stream {
                    stream.shed();
                }
            }
        }
    }

    /// The stream, made or read from disk where it is not in memory.
    fn stream(&mut self) -> &mut Stream {
        if self.inside.stream.is_none() {
            let stored = self.archive().and_then(|archive| archive.load(self.room, DURABLE_RING));
            let stream = stored.unwrap_or_else(|| Stream::new(self.shared.epochs.next()));
            self.inside.stream = Some(Box::new(stream));
        }
        self.inside.stream.get_or_insert_with(|| Box::new(Stream::new(Epoch::from_number(0))))
    }

    fn archive(&self) -> Option<&'a Archive> {
        self.rules.durable.then_some(&self.shared.archive)
    }

    fn clear(&mut self) {
        if self.rules.keeps() {
            self.stream().clear();
            let position = self.stream().position();
            if let Some(archive) = self.archive() {
                archive.clear(self.room, position);
            }
        }
    }

    /// Forgets what is too old, and says when to look again; false when the room need not be remembered.
    fn look_ahead(&mut self) -> bool {
        let keeping = self.rules.keeping;
        let Some(stream) = &mut self.inside.stream else {
            self.inside.until = Duration::MAX;
            return !self.inside.members.is_empty();
        };
        let in_memory = if self.rules.durable { keeping.size.min(DURABLE_RING) } else { keeping.size };
        let in_memory = crate::gateway::room::stream::Keeping { size: in_memory, ..keeping };
        stream.trim(in_memory, self.unix_ms);
        let linger = match (self.rules.durable, stream.knows_keys()) {
            (true, false) => DURABLE_LINGER,
            (true, true) => SEEN_FOR,
            (false, _) => keeping.ttl.max(SEEN_FOR),
        };
        if self.inside.members.is_empty() && self.now >= self.inside.touched.saturating_add(linger) {
            return false;
        }
        self.inside.until = self.now + (keeping.ttl / 4).clamp(TRIM_MIN, TRIM_MAX);
        true
    }
}
