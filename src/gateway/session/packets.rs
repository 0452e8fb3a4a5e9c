//! What sessions of goim, openresty-im and golang-im have in common: a login by packet, and one room at a time.

use bytes::Bytes;

use crate::chat::Profile;
use crate::gateway::CloseReason;
use crate::gateway::form::answer;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::Welcome;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Entrance;
use crate::gateway::session::Identity;
use crate::gateway::session::LoggingIn;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::World;
use crate::gateway::session::standing;
use crate::gateway::throttle::Act;
use crate::wire::goim;
use crate::wire::goim::BadBody;
use crate::wire::goim::Packet;
use crate::wire::payload::Payload;

/// What only these dialects know of a session.
#[derive(Debug, Default)]
pub(super) struct Device {
    /// The key under which backends know it.
    pub(super) key: Option<String>,
    /// The room it is in, among those that others have put it in.
    pub(super) room: Option<String>,
    /// What its login says about its user, for chats.
    pub(super) profile: Option<Box<Profile>>,
    /// The operations that it takes from others than rooms.
    pub(super) accepts: Vec<i32>,
}

/// What a login packet says.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// Who it says it is.
    pub(super) user: String,
    /// What can be checked.
    pub(super) token: Option<String>,
    /// The room that the client wants to be in, where it names one.
    pub(super) room: Option<String>,
    /// Other rooms that it wants to hear.
    pub(super) accepts: Vec<String>,
    /// True when the claim holds by the original's own check.
    pub(super) holds: bool,
}

/// Begins a login; a second one ends the session.
pub(super) fn login(
    session: &mut Session,
    packet: &Packet<'_>,
    claim: Claim,
    device: Device,
    effects: &mut Vec<Effect>,
) {
    if !matches!(session.state, State::New) {
        effects.push(bad_request("log in a second time".to_owned()));
        return;
    }
    if claim.token.is_none() && !claim.holds {
        effects.push(Effect::Close(CloseReason::TokenInvalid(
            "its key is not that of user and room".to_owned(),
        )));
        return;
    }
    let sequence = u32::from_be_bytes(packet.sequence.to_be_bytes());
    let mut rooms: Vec<String> = claim.room.clone().into_iter().chain(claim.accepts).collect();
    rooms.sort_unstable();
    rooms.dedup();
    session.device = Some(Box::new(Device { room: claim.room, ..device }));
    let asked = rooms.clone();
    let waiting = LoggingIn { login: sequence, version: packet.version, asked, ..LoggingIn::default() };
    session.state = State::LoggingIn(Box::new(waiting));
    let user = Some(claim.user).filter(|user| !user.is_empty());
    effects.push(Effect::Login(Credentials { token: claim.token, rooms, user }));
}

/// The rooms that a login enters, of those that it asked for: the room itself must be open to it, others are passed
/// over, because pages ask for more than they use. Gives none when the login must end.
pub(super) fn entrances(
    session: &mut Session,
    identity: &Identity,
    asked: &[String],
    world: &World<'_>,
    effects: &mut Vec<Effect>,
) -> Option<Vec<Entrance>> {
    let wanted = session.device.as_ref().and_then(|device| device.room.clone());
    let mut entrances = Vec::new();
    for room in wanted.iter().chain(asked.iter().filter(|room| Some(*room) != wanted.as_ref())) {
        match world.rules.may_join(room, &standing(identity, &session.rooms)) {
            Ok(()) => {
                session.rooms.push(room.clone());
                entrances.push(Entrance::of(room.clone()));
            }
            Err(denied) if Some(room) == wanted.as_ref() => {
                effects.push(Effect::Close(CloseReason::TokenInvalid(denied.to_string())));
                return None;
            }
            Err(_) => {}
        }
    }
    Some(entrances)
}

/// The answer to a login.
pub(super) fn greeting(session: &Session, waiting: &LoggingIn, body: &[u8]) -> Greeting {
    let sequence = i32::from_be_bytes(waiting.login.to_be_bytes());
    let packet = Packet { version: waiting.version, operation: goim::operation::AUTH_REPLY, sequence, body };
    Greeting::Frame(answer(session.form, packet))
}

/// Goes to another room, or to none, and answers with `reply`.
pub(super) fn change_room(
    session: &mut Session,
    room: Option<String>,
    reply: Bytes,
    world: &World<'_>,
    effects: &mut Vec<Effect>,
) {
    let paced = session.paced(Act::Join, world);
    let Some(device) = &mut session.device else { return };
    if let Err(why) = paced {
        effects.push(Effect::Refused(why));
        return;
    }
    if device.room == room {
        effects.push(Effect::Send(reply));
        return;
    }
    let former = device.room.take();
    if let Some(former) = former {
        session.rooms.retain(|joined| *joined != former);
        effects.push(Effect::Leave { room: former, notice: None });
    }
    if let Some(room) = room {
        if let Err(denied) = world.rules.may_join(&room, &session.standing()) {
            effects.push(Effect::Refused(denied.to_string()));
            return;
        }
        if !session.rooms.contains(&room) {
            session.rooms.push(room.clone());
        }
        if let Some(device) = &mut session.device {
            device.room = Some(room.clone());
        }
        effects.push(Effect::Join { entrance: Entrance::of(room), welcome: Welcome::Silence });
    }
    effects.push(Effect::Send(reply));
}

/// Publishes a packet's body into the client's room, where the rules let it.
pub(super) fn publish(session: &Session, packet: &Packet<'_>, world: &World<'_>, effects: &mut Vec<Effect>) {
    let room = session.device.as_ref().and_then(|device| device.room.clone());
    let Some(room) = room.filter(|_| !packet.body.is_empty()) else { return };
    if let Err(why) = session.paced(Act::Publish, world) {
        effects.push(Effect::Refused(why));
        return;
    }
    match world.rules.may_publish(&room, &session.standing()) {
        Ok(()) => {
            let payload = Payload::from_body(packet.body);
            effects.push(Effect::Publish { room, payload, command: None });
        }
        Err(denied) => effects.push(Effect::Refused(denied.to_string())),
    }
}

/// The frame that answers a packet.
pub(super) fn reply(session: &Session, packet: &Packet<'_>, operation: i32, body: &[u8]) -> Bytes {
    answer(session.form, packet.answer(operation, body))
}

/// The client broke the rules of its dialect.
pub(super) fn bad_request(why: String) -> Effect {
    Effect::Close(CloseReason::BadRequest(why))
}

/// The body of a packet can not be read.
pub(super) fn bad_body(bad: &BadBody) -> Effect {
    bad_request(bad.to_string())
}
