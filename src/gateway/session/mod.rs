//! One session as a state machine: what a client's frames ask for, and what is to be done. No I/O, no clock.
//!
//! A session begins when its connection is open and lives through three states: [`State::New`], where only a login
//! is welcome; [`State::LoggingIn`], while the token is checked, where commands wait; [`State::Ready`]. Whatever
//! it decides comes out as [`Effect`]s, in the order in which the connection must carry them out. What others ask of
//! it comes in as an [`Order`].

mod centrifuge;
mod chat;
mod effect;
mod goim;
mod golang_im;
mod openresty_push;
mod orim;
mod packets;
mod passes;

pub(super) use effect::Effect;
pub(super) use effect::Entrance;
pub(super) use effect::Heartbeat;
pub(super) use effect::Pass;
pub(super) use effect::Vouching;
pub(super) use passes::GRACE_SECONDS;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::chat::Profile;
use crate::config::Dialect;
use crate::gateway::CloseReason;
use crate::gateway::auth::Grant;
use crate::gateway::form::Form;
use crate::gateway::frame::Frame;
use crate::gateway::order::Order;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::Welcome;
use crate::gateway::room::stream::Position;
use crate::gateway::rules::Rules;
use crate::gateway::rules::Standing;
use crate::gateway::session::packets::Device;
use crate::gateway::throttle::Act;
use crate::gateway::throttle::Pace;
use crate::gateway::throttle::seconds;
use crate::ids::SessionId;
use crate::wire::centrifuge::Command;
use crate::wire::centrifuge::Connect;
use crate::wire::centrifuge::Method;
use crate::wire::goim as wire_goim;
use crate::wire::goim::Packet;
use crate::wire::orim as wire_orim;
use crate::wire::payload::Payload;

/// What a client shows to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The token; none when the client brought none.
    pub token: Option<String>,
    /// Rooms asked for in the address or in the login: honoured only where anybody may enter any room.
    pub rooms: Vec<String>,
    /// The user that the client says it is: believed only where anybody is.
    pub user: Option<String>,
}

/// Who a client is, once its credentials are accepted.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Identity {
    /// The user; empty when anonymous.
    pub user: Arc<str>,
    /// The rooms that the login grants; they are joined at once.
    pub rooms: Vec<String>,
    /// When the token expires, in Unix seconds.
    pub expires: Option<u64>,
    /// What the token says about the user, for receivers of the user's messages.
    pub info: Option<Payload>,
    /// What the token says about the user for backends only.
    #[allow(dead_code, reason = "for whoever answers backends")]
    pub meta: Option<Payload>,
    /// What the token says about single rooms of those above.
    pub grants: BTreeMap<String, Grant>,
    /// The number of the token, for logs.
    #[allow(dead_code, reason = "for the record of the login")]
    pub token_id: Option<String>,
}

/// Why credentials were not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Refusal {
    /// The token was valid once: the client should get a new one.
    Expired,
    /// The session must end.
    Close(CloseReason),
}

/// A frame from the client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
    /// A packet of a bare stream.
    Packet(Packet<'a>),
}

/// What a session needs to know of the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    /// The rules in force.
    pub(super) rules: &'a Rules,
    /// The node's name.
    pub(super) node: &'a str,
    /// Seconds between pings, as the client is told.
    pub(super) ping_seconds: u32,
    /// The Unix time in seconds.
    pub(super) unix: u64,
    /// How often it may do things.
    pub(super) pace: Pace<'a>,
}

/// Where a session stands.
#[derive(Debug)]
enum State {
    /// No login yet.
    New,
    /// The token is being checked; commands that come meanwhile wait.
    LoggingIn(Box<LoggingIn>),
    /// Logged in.
    Ready(Box<Identity>),
}

/// A login under way.
#[derive(Debug, Default)]
struct LoggingIn {
    /// The number of the command or packet to answer.
    login: u32,
    /// The version of that packet.
    version: i16,
    /// The rooms that the client wants to be in, where it says so.
    asked: Vec<String>,
    /// Where the client left rooms that the login may grant.
    left: Vec<(String, Option<Position>)>,
    /// What came since, and how long the frames were that brought it.
    backlog: Vec<Command>,
    packets: Vec<Vec<u8>>,
    bytes: usize,
}

/// How much may come while the token is checked: the frames of nobody yet must not fill the memory.
const BACKLOG_BYTES: usize = 64 * 1024;

impl LoggingIn {
    /// Makes room for a frame of this length; false, and the end of the session, when there is none.
    fn takes(&mut self, length: usize, effects: &mut Vec<Effect>) -> bool {
        self.bytes += length;
        let fits = self.bytes <= BACKLOG_BYTES;
        if !fits {
            let why = format!("more than {BACKLOG_BYTES} bytes before the login is done");
            effects.push(Effect::Close(CloseReason::BadRequest(why)));
        }
        fits
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    form: Form,
    state: State,
    rooms: Vec<String>,
    refreshing: Option<u32>,
    /// The rooms that must be left at a Unix time.
    stays: Vec<(String, u64)>,
    /// What only goim and its relatives know.
    device: Option<Box<Device>>,
}

impl Session {
    /// A session that has just connected.
    pub(super) fn new(id: SessionId, form: Form) -> Self {
        Self {
            id,
            form,
            state: State::New,
            rooms: Vec::new(),
            refreshing: None,
            stays: Vec::new(),
            device: None,
        }
    }

    /// The session's id.
    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }

    /// The user, after the login.
    pub(super) fn user(&self) -> Option<&Arc<str>> {
        self.identity().map(|identity| &identity.user)
    }

    /// Who the client is, after the login.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.state {
            State::Ready(identity) => Some(identity),
            State::New | State::LoggingIn(_) => None,
        }
    }

    /// The key under which backends know the client's device.
    pub(super) fn device(&self) -> Option<&str> {
        self.device.as_ref()?.key.as_deref()
    }

    /// What the login said about the user, for chats; what the login checked counts.
    pub(super) fn profile(&mut self) -> Option<Profile> {
        let profile = *self.device.as_mut()?.profile.take()?;
        let user = self.user()?.to_string();
        Some(Profile { user, ..profile })
    }

    /// The rooms that the session is in.
    pub(super) fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// A room did not let the session in.
    pub(super) fn forget(&mut self, room: &str) {
        self.rooms.retain(|joined| joined != room);
    }

    /// The connection is open: a client that brought its token in the address logs in now.
    pub(super) fn start(&mut self, credentials: Credentials, effects: &mut Vec<Effect>) {
        match self.form.dialect() {
            Dialect::Centrifuge | Dialect::Goim | Dialect::Orim | Dialect::GolangIm => {}
            Dialect::OpenrestyPush => openresty_push::start(self, credentials, effects),
        }
    }

    /// A client whose connection leads to it only has said with its request who it is.
    pub(super) fn connect(&mut self, connect: Connect, world: &World<'_>, effects: &mut Vec<Effect>) {
        let command = Command { id: 0, method: Method::Connect(Box::new(connect)) };
        centrifuge::command(self, command, world, effects);
    }

    /// A frame came.
    pub(super) fn receive(&mut self, input: Input<'_>, world: &World<'_>, effects: &mut Vec<Effect>) {
        match (self.form, input) {
            (Form::Json | Form::Events | Form::Lines, Input::Text(text)) => {
                centrifuge::receive(self, text.as_bytes(), world, effects);
            }
            (Form::Protobuf | Form::ProtobufStream, Input::Binary(bytes)) => {
                centrifuge::receive(self, bytes, world, effects);
            }
            (Form::Text, Input::Text(text)) => openresty_push::receive(self, text, world, effects),
            // goim takes packets in text frames as well; the relatives' servers do not.
            (Form::Goim, Input::Text(text)) => self.receive_packet(text.as_bytes(), world, effects),
            (Form::Goim | Form::Orim | Form::GolangIm, Input::Binary(bytes)) => {
                self.receive_packet(bytes, world, effects);
            }
            (_, Input::Packet(packet)) => self.packet(&packet, world, effects),
            (Form::Json | Form::Events | Form::Lines | Form::Text, Input::Binary(_)) => {
                effects.push(packets::bad_request("a binary frame; this dialect speaks text".to_owned()));
            }
            (Form::UniEvents | Form::UniLines, _) => {
                effects.push(packets::bad_request("commands, on a connection without".to_owned()));
            }
            (Form::Protobuf | Form::ProtobufStream | Form::Orim | Form::GolangIm | Form::GoimStream, _) => {
                effects.push(packets::bad_request("a text frame; this dialect speaks binary".to_owned()));
            }
        }
    }

    fn receive_packet(&mut self, frame: &[u8], world: &World<'_>, effects: &mut Vec<Effect>) {
        let body_max = match self.form {
            Form::Orim => wire_orim::BODY_MAX,
            _ => wire_goim::BODY_MAX,
        };
        match Packet::read(frame, body_max) {
            Ok(packet) => self.packet(&packet, world, effects),
            Err(fault) => effects.push(Effect::Close(CloseReason::BadPacket(fault))),
        }
    }

    /// A packet came; one that comes during the login waits for its end.
    fn packet(&mut self, packet: &Packet<'_>, world: &World<'_>, effects: &mut Vec<Effect>) {
        if let State::LoggingIn(waiting) = &mut self.state {
            let packet = packet.to_vec();
            if waiting.takes(packet.len(), effects) {
                waiting.packets.push(packet);
            }
            return;
        }
        match self.form {
            Form::Orim => orim::receive(self, packet, world, effects),
            Form::GolangIm => golang_im::receive(self, packet, world, effects),
            _ => goim::receive(self, packet, world, effects),
        }
    }

    /// The credentials were checked.
    pub(super) fn login(
        &mut self,
        outcome: Result<Identity, Refusal>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let State::LoggingIn(waiting) = mem::replace(&mut self.state, State::New) else { return };
        match outcome {
            Ok(identity) if identity.rooms.len() > world.rules.rooms_max() => {
                let why = format!(
                    "it names {} rooms, and limits.rooms_per_session is {}",
                    identity.rooms.len(),
                    world.rules.rooms_max()
                );
                effects.push(Effect::Close(CloseReason::TokenInvalid(why)));
            }
            Ok(identity)
                if let Err(wait) = world.pace.check(Act::Login, &identity.user, self.id.as_str()) =>
            {
                effects.push(Effect::Close(CloseReason::TooManyRequests { retry_after: seconds(wait) }));
            }
            Ok(identity) => self.enter(identity, *waiting, world, effects),
            Err(Refusal::Close(reason)) => effects.push(Effect::Close(reason)),
            Err(Refusal::Expired) => match self.form.encoding().filter(|speech| speech.answers()) {
                Some(encoding) => effects.push(centrifuge::token_expired(encoding, waiting.login)),
                None => effects.push(Effect::Close(CloseReason::Expired)),
            },
        }
    }

    /// The login succeeded.
    fn enter(
        &mut self,
        identity: Identity,
        waiting: LoggingIn,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let (rooms, greeting) = match self.form.dialect() {
            Dialect::Centrifuge | Dialect::OpenrestyPush => {
                self.rooms.clone_from(&identity.rooms);
                for (room, grant) in &identity.grants {
                    self.stay_until(room, grant.expires);
                }
                let rooms = identity.rooms.iter().map(|room| entrance(room, &waiting.left, &identity, world));
                let rooms = rooms.collect();
                let greeting = match self.form.encoding() {
                    Some(_) => centrifuge::greeting(waiting.login, &identity, world),
                    None => Greeting::None,
                };
                (rooms, greeting)
            }
            dialect @ (Dialect::Goim | Dialect::Orim | Dialect::GolangIm) => {
                let asked = &waiting.asked;
                let Some(rooms) = packets::entrances(self, &identity, asked, world, effects) else { return };
                let body = if dialect == Dialect::Goim { &[] } else { wire_orim::AUTH_OK };
                (rooms, packets::greeting(self, &waiting, body))
            }
        };
        if let Some(device) = &self.device
            && self.form.dialect() == Dialect::Goim
        {
            effects.push(Effect::Accept(device.accepts.clone().into()));
        }
        effects.push(Effect::Enter { rooms, greeting });
        self.state = State::Ready(Box::new(identity));
        for command in waiting.backlog {
            centrifuge::command(self, command, world, effects);
        }
        for packet in waiting.packets {
            self.receive_packet(&packet, world, effects);
        }
    }

    /// A renewed token was checked; gives its new expiry when it was accepted.
    pub(super) fn refreshed(
        &mut self,
        outcome: Result<Identity, Refusal>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(number), State::Ready(identity)) = (self.refreshing.take(), &mut self.state) else {
            return;
        };
        let Some(encoding) = self.form.encoding() else { return };
        match outcome {
            Ok(renewed) if renewed.user == identity.user => {
                identity.expires = renewed.expires;
                let ttl = ttl(&renewed, world);
                effects.push(centrifuge::refreshed(encoding, number, &self.id, ttl));
                effects.push(Effect::Renewed);
            }
            Ok(_) => {
                let why = "the new token names another user".to_owned();
                effects.push(Effect::Close(CloseReason::TokenInvalid(why)));
            }
            Err(Refusal::Expired) => effects.push(centrifuge::token_expired(encoding, number)),
            Err(Refusal::Close(reason)) => effects.push(Effect::Close(reason)),
        }
    }

    /// Others ask something of the session. Before the login there is nothing that they could ask.
    pub(super) fn order(&mut self, order: Order, world: &World<'_>, effects: &mut Vec<Effect>) {
        let State::Ready(identity) = &mut self.state else { return };
        match order {
            Order::Subscribe { room, since, mut pass, expires } => {
                if self.rooms.contains(&room) {
                    return;
                }
                if self.rooms.len() >= world.rules.rooms_max() {
                    effects.push(Effect::Refused(format!("{room:?}: limits.rooms_per_session is reached")));
                    return;
                }
                self.stay_until(&room, expires);
                pass.ttl = expires.map(|expires| passes::ttl(expires, world));
                let recovers = since.is_some();
                let entrance = Entrance { recovers, since, pass, ..Entrance::of(room) };
                self.join(entrance, Welcome::Told, effects);
                effects.push(Effect::Renewed);
            }
            Order::Unsubscribe { room, code, reason } => {
                if let Some(index) = self.rooms.iter().position(|joined| *joined == room) {
                    self.rooms.swap_remove(index);
                    let notice = self.form.unsubscribed(&room, code, &reason).map(Frame::control);
                    effects.push(Effect::Leave { room, notice });
                }
            }
            Order::Expired => self.expire(world, effects),
            Order::Lapse { room } => {
                self.rooms.retain(|joined| **joined != *room);
                effects.push(Effect::Leave { room: room.to_string(), notice: None });
            }
            Order::Expire { at } => {
                identity.expires = at;
                effects.push(Effect::Renewed);
            }
            Order::Input(bytes) => match (self.form, std::str::from_utf8(&bytes)) {
                (Form::Protobuf | Form::ProtobufStream, _) => {
                    self.receive(Input::Binary(&bytes), world, effects);
                }
                (_, Ok(text)) => self.receive(Input::Text(text), world, effects),
                (_, Err(_)) => effects.push(Effect::Close(CloseReason::NotUtf8)),
            },
        }
    }

    /// May the session do this now? If not, the words that say when.
    fn paced(&self, act: Act, world: &World<'_>) -> Result<(), String> {
        let user = self.user().map_or("", |user| &**user);
        let wait = |wait| format!("this often is too often; try again in {} s", seconds(wait));
        world.pace.check(act, user, self.id.as_str()).map_err(wait)
    }

    fn standing(&self) -> Standing<'_> {
        match &self.state {
            State::Ready(identity) => standing(identity, &self.rooms),
            State::New | State::LoggingIn(_) => {
                Standing { granted: &[], anonymous: true, joined: &self.rooms }
            }
        }
    }
}

/// What the rules need to know of a session that is logged in.
fn standing<'a>(identity: &'a Identity, joined: &'a [String]) -> Standing<'a> {
    Standing { granted: &identity.rooms, anonymous: identity.user.is_empty(), joined }
}

/// Into a room that the login grants, from where the client left it.
fn entrance(
    room: &str,
    left: &[(String, Option<Position>)],
    identity: &Identity,
    world: &World<'_>,
) -> Entrance {
    let left = left.iter().find(|(name, _)| name == room);
    let since = left.and_then(|(_, since)| *since);
    let grant = identity.grants.get(room);
    let join_leave = grant.is_some_and(|grant| grant.overrides.force_push_join_leave == Some(true));
    let pass = grant.map(|grant| passes::pass(grant, world)).unwrap_or_default();
    Entrance { room: room.to_owned(), since, recovers: left.is_some(), join_leave, pass }
}

/// Seconds until an identity expires, at least one.
fn ttl(identity: &Identity, world: &World<'_>) -> Option<u32> {
    let left = identity.expires?.saturating_sub(world.unix).max(1);
    Some(u32::try_from(left).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
