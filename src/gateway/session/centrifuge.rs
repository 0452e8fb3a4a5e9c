//! A session that speaks the Centrifuge protocol.

use bytes::Bytes;

use crate::gateway::CloseReason;
use crate::gateway::rules::Denied;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Identity;
use crate::gateway::session::LoggingIn;
use crate::gateway::session::Publishing;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::World;
use crate::gateway::session::ttl;
use crate::gateway::throttle::Act;
use crate::ids::SessionId;
use crate::wire::centrifuge as wire;
use crate::wire::centrifuge::Command;
use crate::wire::centrifuge::ConnectResult;
use crate::wire::centrifuge::Error;
use crate::wire::centrifuge::Method;
use crate::wire::payload::Payload;
use crate::wire::websocket;

/// How much may come while the token is checked: the frames of nobody yet must not fill the memory.
const BACKLOG_BYTES: usize = 64 * 1024;

/// Reads a frame and carries out its commands.
pub(super) fn receive(session: &mut Session, text: &str, world: &World<'_>, effects: &mut Vec<Effect>) {
    if let State::LoggingIn(waiting) = &mut session.state {
        waiting.bytes += text.len();
        if waiting.bytes > BACKLOG_BYTES {
            effects.push(bad_request(format!("more than {BACKLOG_BYTES} bytes before the login is done")));
            return;
        }
    }
    match wire::commands(text) {
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
                let waiting = LoggingIn { login: command.id, ..LoggingIn::default() };
                session.state = State::LoggingIn(Box::new(waiting));
                let token = Some(connect.token).filter(|token| !token.is_empty());
                effects.push(Effect::Login(Credentials { token, rooms: Vec::new() }));
            }
            _ => effects.push(bad_request("the first command must be connect".into())),
        },
        State::LoggingIn(waiting) => waiting.backlog.push(command),
        State::Ready(_) => ready(session, command, world, effects),
    }
}

/// The answer to a login, which must come before any message.
pub(super) fn greeting(session: &Session, number: u32, identity: &Identity, world: &World<'_>) -> Bytes {
    let result = ConnectResult {
        client: session.id.as_str(),
        ttl: ttl(identity, world),
        ping: world.ping_seconds,
        node: world.node,
        rooms: &identity.rooms,
    };
    frame(&wire::connected(number, &result))
}

/// The answer to an expired token: the client gets a new one and comes back.
pub(super) fn token_expired(number: u32) -> Effect {
    failed(number, Error::TokenExpired, "")
}

/// The answer to a renewed token.
pub(super) fn refreshed(number: u32, id: &SessionId, ttl: Option<u32>) -> Effect {
    Effect::Send(frame(&wire::refreshed(number, id.as_str(), ttl)))
}

fn ready(session: &mut Session, command: Command, world: &World<'_>, effects: &mut Vec<Effect>) {
    let Command { id, method } = command;
    let act = match &method {
        Method::Subscribe(_) => Some(Act::Join),
        Method::Publish(_) => Some(Act::Publish),
        _ => None,
    };
    if let Some(Err(why)) = act.map(|act| session.paced(act, world)) {
        effects.push(failed(id, Error::TooManyRequests, &why));
        return;
    }
    match method {
        Method::Connect(_) => effects.push(bad_request("connect a second time".into())),
        Method::Subscribe(subscribe) => join(session, id, subscribe.channel, world, effects),
        Method::Unsubscribe { channel } => {
            if session.rooms.contains(&channel) {
                session.rooms.retain(|room| *room != channel);
                effects.push(Effect::Leave { room: channel });
            }
            effects.push(Effect::Send(frame(&wire::done(id, "unsubscribe"))));
        }
        Method::Publish(publish) => match world.rules.may_publish(&publish.channel, &session.standing()) {
            Ok(()) => effects.push(Effect::Publish(Publishing {
                room: publish.channel,
                payload: Payload::from_json(&publish.data),
                taken: Some(frame(&wire::done(id, "publish"))),
                busy: Some(frame(&wire::failed(id, Error::TooManyRequests, "the room has a backlog"))),
            })),
            Err(denied) => refuse(id, &denied, effects),
        },
        Method::Refresh { token } => {
            session.refreshing = Some(id);
            effects.push(Effect::Refresh(Credentials { token: Some(token), rooms: Vec::new() }));
        }
        Method::Ping => effects.push(Effect::Send(frame(&wire::done(id, "ping")))),
        Method::Pong => {}
        Method::Unavailable(method) => effects.push(failed(id, Error::NotAvailable, method)),
        Method::Unknown => effects.push(failed(id, Error::MethodNotFound, "")),
    }
}

fn join(session: &mut Session, id: u32, room: String, world: &World<'_>, effects: &mut Vec<Effect>) {
    if let Err(denied) = world.rules.may_join(&room, &session.standing()) {
        refuse(id, &denied, effects);
        return;
    }
    // A room that the login joined may be subscribed to as well: its messages then reach that subscription.
    if !session.rooms.contains(&room) {
        session.rooms.push(room.clone());
    }
    effects.push(Effect::Join { room, answer: frame(&wire::done(id, "subscribe")) });
}

fn refuse(id: u32, denied: &Denied, effects: &mut Vec<Effect>) {
    let error = match denied {
        Denied::BadName(_) => Error::BadRequest,
        Denied::Forbidden(_) => Error::PermissionDenied,
        Denied::TooManyRooms { .. } => Error::LimitExceeded,
    };
    effects.push(failed(id, error, &denied.to_string()));
    effects.push(Effect::Refused(denied.to_string()));
}

fn failed(id: u32, error: Error, detail: &str) -> Effect {
    Effect::Send(frame(&wire::failed(id, error, detail)))
}

fn bad_request(why: String) -> Effect {
    Effect::Close(CloseReason::BadRequest(why))
}

fn frame(reply: &str) -> Bytes {
    websocket::text(reply.as_bytes())
}
