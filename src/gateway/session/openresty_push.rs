//! A session that speaks the text dialect of the OpenResty push gateway.

use crate::gateway::CloseReason;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::World;
use crate::gateway::throttle::Act;
use crate::wire::openresty_push::Request;
use crate::wire::openresty_push::read;
use crate::wire::websocket;

/// The token came with the address: check it. The websocket is open already, so a refusal has a close code.
pub(super) fn start(session: &mut Session, credentials: Credentials, effects: &mut Vec<Effect>) {
    if credentials.token.is_none() {
        effects.push(Effect::Close(CloseReason::TokenMissing));
        return;
    }
    session.state = State::LoggingIn(Box::default());
    effects.push(Effect::Login(credentials));
}

/// Reads a text.
pub(super) fn receive(session: &mut Session, text: &str, world: &World<'_>, effects: &mut Vec<Effect>) {
    match read(text) {
        Request::Echo => effects.push(Effect::Send(websocket::text(text.as_bytes()))),
        Request::Ignore => {}
        Request::Publish { .. } if let Err(why) = session.paced(Act::Publish, world) => {
            effects.push(Effect::Refused(why));
        }
        Request::Publish { room, payload } => match world.rules.may_publish(&room, &session.standing()) {
            Ok(()) => effects.push(Effect::Publish { room, payload, command: None }),
            Err(denied) => effects.push(Effect::Refused(denied.to_string())),
        },
    }
}
