//! A session that speaks the dialect of golang-im.

use crate::chat::Profile;
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
use crate::wire::golang_im;
use crate::wire::golang_im::Request;
use crate::wire::golang_im::operation;
use crate::wire::orim;

/// Reads a packet.
pub(super) fn receive(
    session: &mut Session,
    packet: &Packet<'_>,
    world: &World<'_>,
    effects: &mut Vec<Effect>,
) {
    let request = match golang_im::request(packet) {
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
            let holds = auth.has_its_device();
            let profile = auth.room.as_ref().map(|_| Box::new(Profile::of_golang_im(&auth)));
            let device = Device { key: Some(auth.device), profile, ..Device::default() };
            let room = auth.room.map(|room| orim::room(&room));
            let claim = Claim { user: auth.user, token: auth.token, room, holds, ..Claim::default() };
            packets::login(session, packet, claim, device, effects);
        }
        _ if !matches!(session.state, State::Ready(_)) => {}
        Request::Send => packets::publish(session, packet, world, effects),
        Request::Join(room) => {
            let reply = packets::reply(session, packet, packet.operation + 1, golang_im::SUBSCRIBED);
            packets::change_room(session, Some(orim::room(&room)), reply, world, effects);
        }
        Request::Leave => {
            let reply = packets::reply(session, packet, packet.operation + 1, golang_im::UNSUBSCRIBED);
            packets::change_room(session, None, reply, world, effects);
        }
        Request::Sync => match session.device.as_ref().and_then(|device| device.room.clone()) {
            Some(room) => {
                let query = Query { limit: golang_im::SYNC_COUNT, since: None, reverse: true };
                let command = u32::try_from(packet.sequence).unwrap_or_default();
                effects.push(Effect::Ask {
                    room,
                    question: Question::History { query, epoch: None },
                    command,
                });
            }
            None => {
                let reply = packets::reply(session, packet, operation::SYNC_REPLY, golang_im::NO_ROOM);
                effects.push(Effect::Send(reply));
            }
        },
        Request::Ack(message) => {
            let reply = packets::reply(session, packet, operation::ACK_REPLY, &[]);
            let room = session.device.as_ref().and_then(|device| device.room.clone());
            effects.push(Effect::Read { room, message, reply });
        }
        Request::Other => {}
    }
}
