//! A session that speaks the dialect of openresty-im.

use crate::chat;
use crate::gateway::room::step::Question;
use crate::gateway::room::stream::Query;
use crate::gateway::session::Effect;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::World;
use crate::gateway::session::packets;
use crate::gateway::session::packets::Claim;
use crate::gateway::session::packets::Device;
use crate::wire::goim;
use crate::wire::goim::Packet;
use crate::wire::orim;
use crate::wire::orim::Request;
use crate::wire::orim::operation;

/// Reads a packet.
pub(super) fn receive(
    session: &mut Session,
    packet: &Packet<'_>,
    world: &World<'_>,
    effects: &mut Vec<Effect>,
) {
    let request = match orim::request(packet) {
        Ok(request) => request,
        Err(bad) => {
            effects.push(packets::bad_body(&bad));
            return;
        }
    };
    match request {
        Request::Heartbeat => {
            effects.push(Effect::Send(packets::reply(
                session,
                packet,
                goim::operation::HEARTBEAT_REPLY,
                &[],
            )));
        }
        Request::Auth(auth) => {
            let holds = auth.has_its_key();
            // The original's page knows no token: the one that it was given stands in the place of its key.
            let token = auth.token.clone().or_else(|| Some(auth.key.clone()).filter(|key| is_signed(key)));
            let profile = Some(Box::new(chat::Profile::of(&auth)));
            let device = Device { key: Some(auth.key), profile, ..Device::default() };
            let claim = Claim { user: auth.user, token, room: Some(auth.room), accepts: auth.accepts, holds };
            packets::login(session, packet, claim, device, effects);
        }
        _ if !matches!(session.state, State::Ready(_)) => {}
        Request::Sync => {
            let room = session.device.as_ref().and_then(|device| device.room.clone());
            if let Some(room) = room {
                let query = Query { limit: orim::SYNC_COUNT, since: None, reverse: true };
                effects.push(Effect::Ask {
                    room,
                    question: Question::History { query, epoch: None },
                    command: 0,
                });
            }
        }
        Request::Ack(message) => {
            let reply = packets::reply(session, packet, operation::ACK_REPLY, packet.body);
            let room = session.device.as_ref().and_then(|device| device.room.clone());
            effects.push(Effect::Read { room, message, reply });
        }
        Request::Other => {
            if packet.operation == goim::operation::SEND {
                packets::publish(session, packet, world, effects);
            }
        }
    }
}

/// True if this looks like a signed token and not like a key.
fn is_signed(key: &str) -> bool {
    key.matches('.').count() == 2
}
