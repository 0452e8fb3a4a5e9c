//! A session that speaks goim, on a websocket or a bare stream.

use crate::gateway::session::Effect;
use crate::gateway::session::Heartbeat;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::World;
use crate::gateway::session::packets;
use crate::gateway::session::packets::Claim;
use crate::gateway::session::packets::Device;
use crate::wire::goim::Packet;
use crate::wire::goim::Request;
use crate::wire::goim::operation;
use crate::wire::goim::request;

/// The most operations that a client may accept.
const ACCEPTS_MAX: usize = 1024;

/// Reads a packet.
pub(super) fn receive(
    session: &mut Session,
    packet: &Packet<'_>,
    world: &World<'_>,
    effects: &mut Vec<Effect>,
) {
    let request = match request(packet) {
        Ok(request) => request,
        Err(bad) => {
            effects.push(packets::bad_body(&bad));
            return;
        }
    };
    match request {
        Request::Heartbeat => {
            let room = session.device.as_ref().and_then(|device| device.room.clone());
            let heartbeat = Heartbeat { version: packet.version, sequence: packet.sequence };
            effects.push(Effect::Count { room, heartbeat });
        }
        Request::Auth(auth) => {
            let device = Device {
                key: Some(auth.key).filter(|key| !key.is_empty()),
                accepts: auth.accepts,
                ..Device::default()
            };
            let claim = Claim {
                user: auth.user,
                token: auth.token,
                room: auth.room,
                holds: true,
                ..Claim::default()
            };
            packets::login(session, packet, claim, device, effects);
        }
        // The original passes over what comes before the login.
        _ if !matches!(session.state, State::Ready(_)) => {}
        Request::ChangeRoom(room) => {
            let reply = packets::reply(session, packet, operation::CHANGE_ROOM_REPLY, packet.body);
            packets::change_room(session, room, reply, world, effects);
        }
        Request::Sub(operations) => {
            accept(session, operation::SUB_REPLY, packet, effects, |accepts| {
                for one in operations {
                    if !accepts.contains(&one) && accepts.len() < ACCEPTS_MAX {
                        accepts.push(one);
                    }
                }
            });
        }
        Request::Unsub(operations) => {
            accept(session, operation::UNSUB_REPLY, packet, effects, |accepts| {
                accepts.retain(|one| !operations.contains(one));
            });
        }
        Request::Other => {
            if packet.operation == operation::SEND {
                packets::publish(session, packet, world, effects);
            }
            effects.push(Effect::Send(packets::reply(session, packet, packet.operation, &[])));
        }
    }
}

/// Changes what the client accepts, and answers with the packet's own body.
fn accept(
    session: &mut Session,
    operation: i32,
    packet: &Packet<'_>,
    effects: &mut Vec<Effect>,
    change: impl FnOnce(&mut Vec<i32>),
) {
    if let Some(device) = &mut session.device {
        change(&mut device.accepts);
        effects.push(Effect::Accept(device.accepts.clone().into()));
    }
    effects.push(Effect::Send(packets::reply(session, packet, operation, packet.body)));
}
