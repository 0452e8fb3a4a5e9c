//! What clients of goim and its relatives are told: packets, in websocket frames or on a bare stream.

use std::sync::Arc;

use bytes::Bytes;

use crate::gateway::CloseReason;
use crate::gateway::form::Form;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::step::HistoryPage;
use crate::wire::goim;
use crate::wire::goim::Packet;
use crate::wire::golang_im;
use crate::wire::orim;
use crate::wire::websocket;

/// The operation of a push for which none is named: that of a message in all relatives.
const MESSAGE: i32 = goim::operation::SEND_REPLY;

/// The operation that tells of missing messages. None of the originals has one; their clients pass it over.
const GAP: i32 = 22;

/// The answer to a client's packet.
pub(in crate::gateway) fn answer(form: Form, packet: Packet<'_>) -> Bytes {
    // openresty-im writes 1 whatever the client wrote.
    let packet =
        if form == Form::Orim { Packet { version: goim::VERSION, sequence: 1, ..packet } } else { packet };
    sent(form, packet.to_vec())
}

/// Messages of a room, in one packet around them.
pub(super) fn publications(form: Form, publications: &[Arc<Publication>]) -> Bytes {
    let mut packets = Vec::new();
    for one in publications {
        Packet::push(one.operation.unwrap_or(MESSAGE), one.payload.bytes()).write(&mut packets);
    }
    pushed(form, packets)
}

/// Messages of a chat's room, one frame each.
pub(super) fn chat(form: Form, room: &str, publications: &[Arc<Publication>]) -> Bytes {
    // A signal would be shown as a message.
    super::joined(publications.iter().filter(|one| !one.is_signal()).map(|one| {
        let message = one.chat_message(room);
        match form {
            Form::Orim => of_orim(orim::operation::MESSAGE, &message.json()),
            _ => sent(
                form,
                Packet::push(golang_im::operation::MESSAGE, golang_im::message(&message).as_bytes()).to_vec(),
            ),
        }
    }))
}

/// A message to a user or session.
pub(super) fn message(form: Form, message: &Outgoing) -> Bytes {
    let operation = message.operation.unwrap_or(MESSAGE);
    let body = message.payload.bytes();
    match form {
        Form::Orim => sent(form, Packet { sequence: 1, ..Packet::push(operation, body) }.to_vec()),
        Form::GolangIm => sent(form, Packet::push(operation, body).to_vec()),
        _ => pushed(form, Packet::push(operation, body).to_vec()),
    }
}

/// The latest messages of a room, the oldest first; none where there are none, or the dialect has no history.
pub(super) fn history(form: Form, sequence: u32, page: &HistoryPage) -> Option<Bytes> {
    let messages = page.publications.iter().rev().map(|one| one.chat_message(&page.room));
    match form {
        Form::Orim => {
            let frames = super::joined(messages.map(|one| of_orim(orim::operation::SYNC_REPLY, &one.json())));
            (!frames.is_empty()).then_some(frames)
        }
        Form::GolangIm => {
            let texts: Vec<String> = messages.map(|one| golang_im::message(&one)).collect();
            let body = golang_im::history(texts.iter().map(String::as_str));
            let sequence = i32::try_from(sequence).unwrap_or_default();
            let packet = Packet { sequence, ..Packet::push(golang_im::operation::SYNC_REPLY, &body) };
            Some(sent(form, packet.to_vec()))
        }
        _ => None,
    }
}

/// So many messages of a room are missing here.
pub(super) fn gap(form: Form, room: &str, missing: usize) -> Bytes {
    let body = serde_json::json!({ "room_id": room, "missing": missing }).to_string();
    sent(form, Packet::push(GAP, body.as_bytes()).to_vec())
}

/// The session ends, and why: goim has an operation for it that no version ever sent.
pub(super) fn farewell(form: Form, reason: &CloseReason) -> Bytes {
    let body = serde_json::json!({ "reason": reason.name() }).to_string();
    sent(form, Packet::push(goim::operation::DISCONNECT_REPLY, body.as_bytes()).to_vec())
}

fn of_orim(operation: i32, json: &str) -> Bytes {
    sent(Form::Orim, Packet { sequence: 1, ..Packet::push(operation, json.as_bytes()) }.to_vec())
}

/// Packets that nobody asked for: on a websocket within another one.
fn pushed(form: Form, packets: Vec<u8>) -> Bytes {
    match form {
        Form::GoimStream => packets.into(),
        _ => websocket::binary(&goim::batch(&packets)),
    }
}

fn sent(form: Form, packet: Vec<u8>) -> Bytes {
    match form {
        Form::GoimStream => packet.into(),
        _ => websocket::binary(&packet),
    }
}
