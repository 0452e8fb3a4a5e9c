//! Carries out the steps of one room, in their order, for all members.
//!
//! Whoever works has the room for itself: members, stream, everything. Runs of publications go out together, each
//! encoded once per form, written to every member's socket by whoever works. In a durable room they are handed to the
//! store first, so that what it refuses is not delivered; publishers are answered when the store has them.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::Slow;
use crate::gateway::Shared;
use crate::gateway::archive::Archive;
use crate::gateway::form::Encoded;
use crate::gateway::form::Said;
use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;
use crate::gateway::link::Link;
use crate::gateway::order::Order;
use crate::gateway::publication::Publication;
use crate::gateway::recall::Recall;
use crate::gateway::receipt::ID_TAG;
use crate::gateway::rooms::Inside;
use crate::gateway::rooms::Member;
use crate::gateway::rules::RoomRules;
use crate::gateway::session::Pass;
use crate::gateway::step::Asker;
use crate::gateway::step::Entered;
use crate::gateway::step::Greeting;
use crate::gateway::step::HistoryPage;
use crate::gateway::step::Joining;
use crate::gateway::step::Present;
use crate::gateway::step::Published;
use crate::gateway::step::Publishing;
use crate::gateway::step::Question;
use crate::gateway::step::RoomError;
use crate::gateway::step::Step;
use crate::gateway::step::Told;
use crate::gateway::step::Welcome;
use crate::gateway::stream::Missed;
use crate::gateway::stream::Position;
use crate::gateway::stream::Query;
use crate::gateway::stream::SEEN_FOR;
use crate::gateway::stream::Stream;
use crate::ids::Epoch;
use crate::tasks::OnExit;
use crate::wire::centrifuge::Unsubscribed;

/// How long a durable room stays in memory when nobody is in it.
const DURABLE_LINGER: Duration = Duration::from_secs(60);

/// How often a room looks for what is too old, at the most and at the least.
const TRIM_MIN: Duration = Duration::from_secs(1);
const TRIM_MAX: Duration = Duration::from_secs(60);

/// The messages that a durable room keeps in memory; older ones are read from disk.
const DURABLE_RING: usize = 128;

/// The most messages that a client gets when it comes back; when it missed more, it is told so instead.
pub(super) const RECOVERY_MAX: usize = 10_000;

/// A room, and whoever works on it.
pub(super) struct Worker<'a> {
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
    pub(super) fn new(shared: &'a Arc<Shared>, room: &'a Arc<str>, inside: &'a mut Inside) -> Self {
        let rules = shared.settings.load().rules.room(room);
        let unix_ms = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
        let now = clock::uptime();
        Self { shared, room, rules, inside, now, unix_ms, run: Vec::new(), answers: Vec::new() }
    }

    /// Carries out steps; false when the room need not be remembered.
    pub(super) fn work(mut self, steps: VecDeque<Step>) -> bool {
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

    // === join and leave ===

    fn join(&mut self, joining: Joining) {
        let Joining { link, since, recovers, join_leave, pass, arrival } = joining;
        let Pass { info, data, ttl, hidden } = pass;
        let entered = Entered { data, ttl, ..self.entered(since, recovers) };
        let member =
            Member { link: Arc::clone(&link), join_leave: join_leave && self.rules.join_leave, info, hidden };
        let is_new = self.inside.members.insert(link.key(), member).is_none();
        link.resumes(self.room);
        if self.rules.slow == Slow::DropOldest {
            link.is_led_into(self.room, arrival.is_led());
        }
        if let Some((welcome, entered)) = arrival.arrived(entered) {
            self.welcome(&link, &welcome, &entered);
        }
        if is_new && !hidden && self.rules.join_leave {
            self.tell_members(&link, true);
        }
    }

    fn entered(&mut self, since: Option<Position>, recovers: bool) -> Entered {
        let room = Arc::clone(self.room);
        if !self.rules.keeps() {
            let recovered = recovers.then_some(false);
            return Entered { room, position: None, recovered, missed: Vec::new(), data: None, ttl: None };
        }
        let position = self.stream().position();
        let missed = since.filter(|_| recovers).and_then(|since| self.missed(since));
        let recovered = recovers.then_some(missed.is_some());
        let unix_ms = self.unix_ms;
        let mut missed = missed.unwrap_or_default();
        missed.retain(|publication| !publication.is_expired(unix_ms));
        Entered { room, position: Some(position), recovered, missed, data: None, ttl: None }
    }

    /// Everything since, or nothing.
    fn missed(&mut self, since: Position) -> Option<Vec<Arc<Publication>>> {
        let missed = match self.stream().missed(since) {
            Missed::All(publications) => publications,
            Missed::Older { kept_from } => {
                let mut older = self.archive()?.behind(self.room, since.offset, kept_from, RECOVERY_MAX)?;
                let all = Query { limit: usize::MAX, since: None, reverse: false };
                older.extend(self.stream().page(all));
                older
            }
            Missed::Unknown => return None,
        };
        (missed.len() <= RECOVERY_MAX).then_some(missed)
    }

    fn welcome(&self, link: &Link, welcome: &Welcome, entered: &[Entered]) {
        let now = clock::uptime();
        let frame = link.form().welcome(welcome, link.card(), entered);
        // What a dialect does not answer with comes behind the answer, as any message does.
        let missed = link.form().missed_frames(entered);
        let sent = match welcome {
            Welcome::Greeting(Greeting::None | Greeting::Frame(_) | Greeting::Connected(_)) => {
                link.greet(frame, now, &mut self.shared.observer())
            }
            Welcome::Subscribed(_) | Welcome::Told | Welcome::Silence => {
                let frames: Vec<Frame> = frame.map(Frame::control).into_iter().collect();
                link.send(&frames, now, &mut self.shared.observer())
            }
        };
        self.shared.count(sent);
        if !missed.is_empty() {
            self.shared.count(link.send(&missed, now, &mut self.shared.observer()));
        }
    }

    fn leave(&mut self, link: &Link, notice: Option<Frame>) {
        if let Some(notice) = notice {
            self.shared.count(link.send(&[notice], self.now, &mut self.shared.observer()));
        }
        let member = self.inside.members.remove(&link.key());
        if self.rules.slow == Slow::DropOldest {
            link.is_led_into(self.room, false);
        }
        if member.is_some_and(|member| !member.hidden) && self.rules.join_leave {
            self.tell_members(link, false);
        }
    }

    /// Tells the members who want to know that somebody came or went.
    fn tell_members(&self, who: &Link, came: bool) {
        let Some(card) = who.card() else { return };
        let mut encoded = Encoded::default();
        let others =
            self.inside.members.values().filter(|member| member.join_leave && member.link.key() != who.key());
        for member in others {
            let form = member.link.form();
            let frames =
                encoded.frames(form, || form.presence_change(self.room, card, came).into_iter().collect());
            if !frames.is_empty() {
                self.shared.count(member.link.send(frames, self.now, &mut self.shared.observer()));
            }
        }
    }

    fn dissolve(&mut self, notice: Option<Box<Publishing>>, why: &Arc<str>) {
        if let Some(notice) = notice {
            self.take_in(*notice);
            self.deliver();
        }
        for member in std::mem::take(&mut self.inside.members).into_values() {
            let code = Unsubscribed::Server.code();
            let order = Order::Unsubscribe { room: self.room.to_string(), code, reason: Arc::clone(why) };
            member.link.order(order);
        }
        self.clear();
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

    // === messages ===

    fn take_in(&mut self, publishing: Publishing) {
        let Publishing { mut message, id, at, unix_ms, receipt, asker } = publishing;
        let keeps = self.rules.keeps() && !message.skip_history;
        if let Some(key) = &message.idempotency_key
            && let Some(offset) = self.stream().seen(key)
        {
            let position = self.rules.keeps().then(|| Position { offset, ..self.stream().position() });
            self.answers.push((asker, Published { id, position, duplicate: true }));
            return;
        }
        // An id that was overtaken on its way here is replaced: in a room ids are in the order of the stream.
        let newest = if keeps { self.stream().newest() } else { None };
        let id = newest.filter(|newest| *newest >= id).map_or(id, |newest| self.shared.id_behind(newest));
        if receipt.is_some() {
            message.tags.insert(ID_TAG.to_owned(), id.to_string());
        }
        let key = message.conflation_key.clone();
        let expires = message.ttl.map(|ttl| at.saturating_add(ttl));
        let publication = Publication::of(message, id, (self.room, unix_ms));
        let needs_stream = keeps || publication.idempotency_key.is_some();
        let publication =
            if needs_stream { self.stream().append(publication, keeps) } else { Arc::new(publication) };
        if let Some(receipt) = &receipt {
            receipt.is_for(id, publication.offset);
        }
        let position = self.rules.keeps().then(|| self.stream().position());
        self.answers.push((asker, Published { id, position, duplicate: false }));
        let origin = Origin {
            room: Arc::clone(self.room),
            at,
            messages: 1,
            slow: self.rules.slow,
            key,
            expires,
            receipt,
        };
        self.run.push(Said { publication, origin });
    }

    /// Sends what was taken in to all members, and answers the publishers.
    fn deliver(&mut self) {
        let run = std::mem::take(&mut self.run);
        let answers = std::mem::take(&mut self.answers);
        if run.is_empty() {
            answer(answers);
            return;
        }
        let ticket = match self.keep(&run) {
            Ok(ticket) => ticket,
            Err(error) => {
                refuse(answers, &error);
                return;
            }
        };
        let mut encoded = Encoded::default();
        let receipts: Vec<_> = run.iter().filter_map(|said| said.origin.receipt.clone()).collect();
        let grouped = crate::gateway::form::grouped(run);
        let epoch = self.inside.stream.as_ref().map(|stream| stream.position().epoch);
        for member in self.inside.members.values() {
            let form = member.link.form();
            let frames = encoded.frames(form, || form.run(self.room, epoch, &grouped));
            receipts.iter().for_each(|receipt| receipt.queued());
            self.hand_over(&member.link, frames);
        }
        receipts.iter().for_each(|receipt| receipt.complete());
        match ticket {
            None => answer(answers),
            Some(ticket) => self.shared.means.tasks.spawn("kept", OnExit::Ignore, async move {
                match ticket.await {
                    Ok(()) => answer(answers),
                    Err(error) => refuse(answers, &RoomError::Store(error.to_string())),
                }
            }),
        }
    }

    /// Hands what a durable room keeps to the store; when that refuses, it was never said.
    fn keep(&mut self, run: &[Said]) -> Result<Option<crate::store::Ticket>, RoomError> {
        let Some(archive) = self.archive() else { return Ok(None) };
        let kept: Vec<_> =
            run.iter().map(|said| &said.publication).filter(|publication| publication.offset > 0).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let position = self.stream().position();
        match archive.append(self.room, position, &kept, self.rules.keeping.size) {
            Ok(ticket) => Ok(Some(ticket)),
            Err(error) => {
                self.stream().retract(kept.len());
                Err(if error.retryable() { RoomError::Busy } else { RoomError::Store(error.to_string()) })
            }
        }
    }

    fn hand_over(&self, link: &Link, frames: &[Frame]) {
        let sent = link.send(frames, clock::uptime(), &mut self.shared.observer());
        self.shared.count(sent);
    }

    // === questions ===

    fn recall(&mut self, recall: &Recall, asker: Asker) {
        let recalled = crate::gateway::recall::recall(recall, (self.archive(), self.room), self.stream());
        crate::gateway::recall::answer(recalled, asker, &self.shared.means.tasks);
    }

    fn answer(&mut self, question: &Question) -> Result<Told, RoomError> {
        match question {
            Question::History { query, epoch } => self.history(*query, *epoch).map(Told::History),
            Question::Presence if !self.rules.presence => Err(RoomError::NoPresence),
            Question::PresenceStats if !self.rules.presence => Err(RoomError::NoPresence),
            Question::Presence => Ok(Told::Presence(self.present())),
            Question::PresenceStats => {
                let shown = self.inside.members.values().filter(|member| !member.hidden);
                let cards: Vec<_> = shown.filter_map(|member| member.link.card()).collect();
                let users: HashSet<&str> = cards.iter().map(|card| &*card.user).collect();
                Ok(Told::PresenceStats { clients: cards.len(), users: users.len() })
            }
            Question::Recall(_) => Err(RoomError::NoHistory),
            Question::Clear if !self.rules.keeps() => Err(RoomError::NoHistory),
            Question::Clear => {
                self.clear();
                Ok(Told::Cleared)
            }
        }
    }

    fn present(&self) -> Vec<Present> {
        let present = |member: &Member| {
            if member.hidden {
                return None;
            }
            let card = Arc::clone(member.link.card()?);
            Some(Present { card, info: member.info.clone() })
        };
        self.inside.members.values().filter_map(present).collect()
    }

    fn history(&mut self, query: Query, epoch: Option<Epoch>) -> Result<HistoryPage, RoomError> {
        if !self.rules.keeps() {
            return Err(RoomError::NoHistory);
        }
        let position = self.stream().position();
        if epoch.is_some_and(|epoch| epoch != position.epoch) {
            return Err(RoomError::UnknownPosition);
        }
        let in_memory = self.stream().kept_from();
        let publications = match self.archive() {
            None => self.stream().page(query),
            Some(archive) => archive.page(self.room, query, in_memory, |query| self.stream().page(query)),
        };
        Ok(HistoryPage { room: Arc::clone(self.room), publications, position })
    }

    // === what comes later ===

    /// Forgets what is too old, and says when to look again; false when the room need not be remembered.
    fn look_ahead(&mut self) -> bool {
        let keeping = self.rules.keeping;
        let Some(stream) = &mut self.inside.stream else {
            self.inside.until = Duration::MAX;
            return !self.inside.members.is_empty();
        };
        let in_memory = if self.rules.durable { keeping.size.min(DURABLE_RING) } else { keeping.size };
        let in_memory = crate::gateway::stream::Keeping { size: in_memory, ..keeping };
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

fn answer(answers: Vec<(Asker, Published)>) {
    for (asker, published) in answers {
        asker.tell(Ok(Told::Published(published)));
    }
}

fn refuse(answers: Vec<(Asker, Published)>, error: &RoomError) {
    answers.into_iter().for_each(|(asker, _)| asker.tell(Err(error.clone())));
}
