//! A session that speaks the Centrifuge protocol.

use crate::gateway::CloseReason;
use crate::gateway::form::Speech;
use crate::gateway::room::step::Connected;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::Welcome;
use crate::gateway::room::stream::Position;
use crate::gateway::room::stream::Query;
use crate::gateway::rules::Denied;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Entrance;
use crate::gateway::session::Identity;
use crate::gateway::session::LoggingIn;
use crate::gateway::session::Pass;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::Vouching;
use crate::gateway::session::World;
use crate::gateway::session::chat;
use crate::gateway::session::ttl;
use crate::gateway::throttle::Act;
use crate::ids::Epoch;
use crate::ids::SessionId;
use crate::wire::centrifuge as wire;
use crate::wire::centrifuge::Command;
use crate::wire::centrifuge::Error;
use crate::wire::centrifuge::Method;
use crate::wire::centrifuge::Reply;

/// The most messages of one answer about history.
const PAGE_MAX: usize = 1000;

/// Reads a frame and carries out its commands.
pub(super) fn receive(session: &mut Session, bytes: &[u8], world: &World<'_>, effects: &mut Vec<Effect>) {
    if let State::LoggingIn(waiting) = &mut session.state
        && !waiting.takes(bytes.len(), effects)
    {
        return;
    }
    let Some(encoding) = session.form.encoding() else { return };
    match encoding.commands(bytes) {
        Ok(commands) => {
            for one in commands {
                command(session, one, world, effects);
            }
        }
        Err(fault) => effects.push(bad_request(fault.to_string())),
    }
}

/// Carries out one command.
pub(super) fn command(session: &mut Session, command: Command, world: &World<'_>, effects: &mut Vec<Effect>) {
    match &mut session.state {
        State::New => match command.method {
            Method::Connect(connect) => {
                // Who can not subscribe says here where it wants to be.
                let listens = session.form.encoding().is_some_and(|speech| !speech.answers());
                let rooms = if listens { connect.subs.keys().cloned().collect() } else { Vec::new() };
                let left = connect.subs.into_iter().filter(|(_, left)| left.recover);
                let left = left.map(|(room, left)| (room, position(&left.epoch, left.offset))).collect();
                let waiting = LoggingIn { login: command.id, left, ..LoggingIn::default() };
                session.state = State::LoggingIn(Box::new(waiting));
                let token = Some(connect.token).filter(|token| !token.is_empty());
                effects.push(Effect::Login(Credentials { token, rooms, ..Credentials::default() }));
            }
            _ => effects.push(bad_request("the first command must be connect".into())),
        },
        State::LoggingIn(waiting) => waiting.backlog.push(command),
        State::Ready(_) => {
            if let Some(encoding) = session.form.encoding() {
                Ready { session, encoding, world, effects }.carry_out(command);
            }
        }
    }
}

/// The answer to a login, which must come before any message.
pub(super) fn greeting(command: u32, identity: &Identity, world: &World<'_>) -> Greeting {
    Greeting::Connected(Box::new(Connected {
        command,
        ttl: ttl(identity, world),
        ping: world.ping_seconds,
        session: String::new(),
        node: world.node.to_owned(),
    }))
}

/// The answer to an expired token: the client gets a new one and comes back.
pub(super) fn token_expired(encoding: Speech, command: u32) -> Effect {
    send(encoding, command, &Reply::Error(Error::TokenExpired.into()))
}

/// The answer to a token for a room that does not let its bearer in.
pub(super) fn not_vouched(encoding: Speech, command: u32, error: Error, detail: &str) -> Effect {
    send(encoding, command, &Reply::Error(error.because(detail)))
}

/// The answer to a renewed token for a room.
pub(super) fn stays(encoding: Speech, command: u32, ttl: Option<u32>) -> Effect {
    send(encoding, command, &Reply::SubRefresh { ttl })
}

/// The answer to a renewed token.
pub(super) fn refreshed(encoding: Speech, command: u32, id: &SessionId, ttl: Option<u32>) -> Effect {
    let version = env!("CARGO_PKG_VERSION");
    send(encoding, command, &Reply::Refresh { client: id.as_str(), version, ttl })
}

/// A session that is logged in, and what its next command comes to.
struct Ready<'a, 'w> {
    session: &'a mut Session,
    encoding: Speech,
    world: &'a World<'w>,
    effects: &'a mut Vec<Effect>,
}

impl Ready<'_, '_> {
    fn carry_out(&mut self, command: Command) {
        let Command { id, method } = command;
        let act = match &method {
            Method::Subscribe(_) => Some(Act::Join),
            Method::Publish(_) => Some(Act::Publish),
            _ => None,
        };
        if let Some(Err(why)) = act.map(|act| self.session.paced(act, self.world)) {
            self.fail(id, Error::TooManyRequests, &why);
            return;
        }
        match method {
            Method::Connect(_) => self.effects.push(bad_request("connect a second time".into())),
            Method::Subscribe(subscribe) => self.subscribe(id, *subscribe),
            Method::Unsubscribe { channel } => self.unsubscribe(id, channel),
            Method::Publish(publish) => self.publish(id, publish),
            Method::History(history) => self.history(id, history),
            Method::Presence { channel } => self.ask(id, channel, Question::Presence),
            Method::PresenceStats { channel } => self.ask(id, channel, Question::PresenceStats),
            Method::Refresh { token } => {
                self.session.refreshing = Some(id);
                self.effects
                    .push(Effect::Refresh(Credentials { token: Some(token), ..Credentials::default() }));
            }
            Method::Ping => self.reply(id, &Reply::Ping),
            Method::Pong => {}
            Method::Rpc { method, data } => {
                match chat::call(self.session, &method, data.as_ref(), self.world) {
                    Ok(call) => self.effects.push(Effect::Call { call, command: id }),
                    Err((error, why)) => self.fail(id, error, &why),
                }
            }
            Method::Send { .. } => self.fail(id, Error::NotAvailable, "publish into a room, or call rpc"),
            Method::SubRefresh { channel, token, .. } => self.renew(id, channel, token),
            Method::Unknown => self.fail(id, Error::MethodNotFound, ""),
        }
    }

    fn subscribe(&mut self, id: u32, subscribe: wire::Subscribe) {
        let room = subscribe.channel;
        if let Some(beyond) = subscribe.beyond {
            self.fail(id, Error::NotAvailable, beyond);
            return;
        }
        let standing = self.session.standing();
        let allowed = if subscribe.token.is_empty() {
            self.world.rules.may_join(&room, &standing)
        } else {
            self.world.rules.may_join_with_token(&room, &standing)
        };
        if let Err(denied) = allowed {
            self.refuse(id, &denied);
            return;
        }
        let entrance = Entrance {
            room,
            since: position(&subscribe.epoch, subscribe.offset),
            recovers: subscribe.recover,
            join_leave: subscribe.join_leave,
            pass: Pass::default(),
        };
        if subscribe.token.is_empty() {
            self.session.join(entrance, Welcome::Subscribed(id), self.effects);
        } else {
            let vouching = Vouching { command: id, token: subscribe.token, entrance, renews: false };
            self.effects.push(Effect::Vouch(Box::new(vouching)));
        }
    }

    fn renew(&mut self, id: u32, room: String, token: String) {
        if !self.session.rooms.contains(&room) {
            self.fail(id, Error::BadRequest, &format!("not in the room {room:?}"));
            return;
        }
        let vouching = Vouching { command: id, token, entrance: Entrance::of(room), renews: true };
        self.effects.push(Effect::Vouch(Box::new(vouching)));
    }

    fn unsubscribe(&mut self, id: u32, room: String) {
        if self.session.rooms.contains(&room) {
            self.session.rooms.retain(|joined| *joined != room);
            self.effects.push(Effect::Leave { room, notice: None });
        }
        self.reply(id, &Reply::Unsubscribe);
    }

    fn publish(&mut self, id: u32, publish: wire::Publish) {
        let Some(payload) = publish.data else {
            self.fail(id, Error::BadRequest, "publish needs data");
            return;
        };
        if let Some(beyond) = publish.beyond {
            self.fail(id, Error::NotAvailable, beyond);
            return;
        }
        let room = publish.channel;
        match self.world.rules.may_publish(&room, &self.session.standing()) {
            Ok(()) => self.effects.push(Effect::Publish { room, payload, command: Some(id) }),
            Err(denied) => self.refuse(id, &denied),
        }
    }

    fn history(&mut self, id: u32, history: wire::History) {
        let limit = match usize::try_from(history.limit) {
            Ok(limit) => limit.min(PAGE_MAX),
            // A negative limit asks for as much as there may be.
            Err(_) => PAGE_MAX,
        };
        let (since, epoch) = match history.since {
            None => (None, None),
            Some(since) => (Some(since.offset), Epoch::parse(&since.epoch)),
        };
        let query = Query { limit, since, reverse: history.reverse };
        self.ask(id, history.channel, Question::History { query, epoch });
    }

    fn ask(&mut self, id: u32, room: String, question: Question) {
        match self.world.rules.may_ask(&room, &self.session.standing()) {
            Ok(()) => self.effects.push(Effect::Ask { room, question, command: id }),
            Err(denied) => self.refuse(id, &denied),
        }
    }

    fn refuse(&mut self, id: u32, denied: &Denied) {
        let error = match denied {
            Denied::BadName(_) => Error::BadRequest,
            Denied::Forbidden(_) => Error::PermissionDenied,
            Denied::TooManyRooms { .. } => Error::LimitExceeded,
        };
        self.fail(id, error, &denied.to_string());
        self.effects.push(Effect::Refused(denied.to_string()));
    }

    fn fail(&mut self, id: u32, error: Error, detail: &str) {
        self.reply(id, &Reply::Error(error.because(detail)));
    }

    fn reply(&mut self, id: u32, reply: &Reply<'_>) {
        self.effects.push(send(self.encoding, id, reply));
    }
}

fn send(encoding: Speech, id: u32, reply: &Reply<'_>) -> Effect {
    Effect::Send(encoding.reply(id, reply))
}

/// A place in a stream as a client names it; none when it is not one of ours.
fn position(epoch: &str, offset: u64) -> Option<Position> {
    Epoch::parse(epoch).map(|epoch| Position { offset, epoch })
}

fn bad_request(why: String) -> Effect {
    Effect::Close(CloseReason::BadRequest(why))
}
