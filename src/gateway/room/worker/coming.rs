//! Who comes into a room and who leaves it, what they are told, and what the others are.

use crate::clock;
use crate::config::Slow;
use crate::gateway::form::Encoded;
use crate::gateway::frame::Frame;
use crate::gateway::link::Link;
use crate::gateway::order::Order;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::rooms::Member;
use crate::gateway::room::step::Entered;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::Joining;
use crate::gateway::room::step::Publishing;
use crate::gateway::room::step::Welcome;
use crate::gateway::room::stream::Missed;
use crate::gateway::room::stream::Position;
use crate::gateway::room::stream::Query;
use crate::gateway::room::worker::Worker;
use crate::gateway::session::Pass;
use crate::wire::centrifuge::Unsubscribed;
use std::sync::Arc;

/// The most messages that a client gets when it comes back; when it missed more, it is told so instead.
const RECOVERY_MAX: usize = 10_000;

impl Worker<'_> {
    pub(super) fn join(&mut self, joining: Joining) {
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

    pub(super) fn leave(&mut self, link: &Link, notice: Option<Frame>) {
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

    pub(super) fn dissolve(&mut self, notice: Option<Box<Publishing>>, why: &Arc<str>) {
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
}
