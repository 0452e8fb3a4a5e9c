//! What Centrifuge clients are told, however they are spoken to.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::gateway::ChatError;
use crate::gateway::form::speech::Speech;
use crate::gateway::room::publication::Card;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::step::Connected;
use crate::gateway::room::step::Entered;
use crate::gateway::room::step::Present;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Told;
use crate::gateway::room::stream::Position;
use crate::ids::Epoch;
use crate::wire::centrifuge as wire;
use crate::wire::centrifuge::ClientInfo;
use crate::wire::centrifuge::ConnectResult;
use crate::wire::centrifuge::Error;
use crate::wire::centrifuge::HistoryResult;
use crate::wire::centrifuge::Push;
use crate::wire::centrifuge::Reply;
use crate::wire::centrifuge::SubscribeResult;
use crate::wire::payload::Payload;

/// Messages of a room, in one frame where there are frames; `epoch` is that of the room's stream.
pub(super) fn publications(
    speech: Speech,
    room: &str,
    epoch: Option<Epoch>,
    publications: &[Arc<Publication>],
) -> Bytes {
    let pushes = publications.iter().map(|one| {
        let position = epoch.filter(|_| one.offset > 0).map(|epoch| Position { offset: one.offset, epoch });
        (Push::Publication(said(one)), position)
    });
    speech.pushes(room, pushes)
}

/// A message to a user.
pub(super) fn message(speech: Speech, payload: &Payload) -> Bytes {
    speech.push("", &Push::Message(payload))
}

/// Tells a client that can not subscribe again how many messages of a room are missing here.
pub(super) fn gap(speech: Speech, room: &str, missing: usize) -> Bytes {
    let notice = serde_json::json!({ "cid": room, "type": "gap", "missing": missing });
    message(speech, &Payload::from_text(&notice.to_string()))
}

/// Somebody came or went.
pub(super) fn presence_change(speech: Speech, room: &str, card: &Card, came: bool) -> Bytes {
    let session = card.session.as_str();
    let info = info(card, session, None);
    speech.push(room, &if came { Push::Join(info) } else { Push::Leave(info) })
}

/// A subscription was ended by the server.
pub(super) fn unsubscribed(speech: Speech, room: &str, code: u32, reason: &str) -> Bytes {
    speech.push(room, &Push::Unsubscribe { code, reason })
}

/// The answer to a login.
pub(super) fn connected(speech: Speech, connected: &Connected, card: &Card, entered: &[Entered]) -> Bytes {
    let epochs: Vec<String> = entered.iter().map(epoch).collect();
    let subs =
        entered.iter().zip(&epochs).map(|(entered, epoch)| (&*entered.room, subscription(entered, epoch)));
    let result = ConnectResult {
        client: card.session.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        ttl: connected.ttl,
        subs: subs.collect(),
        ping: connected.ping,
        pong: speech.answers(),
        session: &connected.session,
        node: &connected.node,
        ..ConnectResult::default()
    };
    let places = entered.iter().zip(&epochs).filter_map(|(entered, epoch)| {
        entered.position.map(|position| (&*entered.room, epoch.as_str(), position.offset))
    });
    speech.greeting(connected.command, &Reply::Connect(&result), places)
}

/// The answer to a subscription.
pub(super) fn subscribed(speech: Speech, command: u32, entered: &Entered) -> Bytes {
    let epoch = epoch(entered);
    speech.reply(command, &Reply::Subscribe(&subscription(entered, &epoch)))
}

/// The server has subscribed the client.
pub(super) fn told(speech: Speech, entered: &Entered) -> Bytes {
    let epoch = epoch(entered);
    speech.push(&entered.room, &Push::Subscribe(&subscription(entered, &epoch)))
}

/// The answer to what was asked of a room.
pub(super) fn reply(speech: Speech, command: u32, told: Result<Told, RoomError>) -> Bytes {
    match told {
        Ok(Told::Published(_)) => speech.reply(command, &Reply::Publish),
        Ok(Told::Presence(present)) => {
            let infos: Vec<_> = present.iter().map(here).collect();
            speech.reply(command, &Reply::Presence(&infos))
        }
        Ok(Told::PresenceStats { clients, users }) => {
            let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
            speech.reply(command, &Reply::PresenceStats { clients: count(clients), users: count(users) })
        }
        Ok(Told::History(page)) => {
            let epoch = page.position.epoch.to_string();
            let publications = page.publications.iter().map(|one| said(one)).collect();
            let result = HistoryResult { publications, epoch: &epoch, offset: page.position.offset };
            speech.reply(command, &Reply::History(&result))
        }
        // Clients have no command that clears a room.
        Ok(Told::Cleared | Told::Recalled) => Bytes::new(),
        Err(error) => {
            let kind = match error {
                RoomError::Busy => Error::TooManyRequests,
                RoomError::NoHistory | RoomError::NoPresence | RoomError::Recall(_) => Error::NotAvailable,
                RoomError::UnknownPosition => Error::UnrecoverablePosition,
                RoomError::Store(_) | RoomError::Stopping => Error::Internal,
            };
            speech.reply(command, &Reply::Error(kind.because(&error.to_string())))
        }
    }
}

/// The answer to what was asked in a chat.
pub(in crate::gateway) fn called(speech: Speech, command: u32, answer: Result<Value, ChatError>) -> Bytes {
    match answer {
        Ok(answer) => speech.reply(command, &Reply::Rpc(Some(&Payload::from_text(&answer.to_string())))),
        Err(ChatError::Room(error)) => reply(speech, command, Err(error)),
        Err(ChatError::Chat(error)) => {
            let kind = if error.retryable() { Error::TooManyRequests } else { Error::Internal };
            speech.reply(command, &Reply::Error(kind.because(&error.to_string())))
        }
    }
}

fn epoch(entered: &Entered) -> String {
    entered.position.map(|position| position.epoch.to_string()).unwrap_or_default()
}

fn subscription<'a>(entered: &'a Entered, epoch: &'a str) -> SubscribeResult<'a> {
    let keeps = entered.position.is_some();
    SubscribeResult {
        recoverable: keeps,
        positioned: keeps,
        epoch,
        offset: entered.position.map_or(0, |position| position.offset),
        publications: entered.missed.iter().map(|one| said(one)).collect(),
        recovered: entered.recovered == Some(true),
        was_recovering: entered.recovered.is_some(),
        data: entered.data.as_deref(),
        ttl: entered.ttl,
        ..SubscribeResult::default()
    }
}

fn said(publication: &Publication) -> wire::Publication<'_> {
    wire::Publication {
        data: &publication.payload,
        info: publication.publisher.as_ref().map(|card| info(card, card.session.as_str(), None)),
        offset: publication.offset,
        tags: Some(&publication.tags).filter(|tags| !tags.is_empty()),
        time: None,
        delta: false,
    }
}

fn here(present: &Present) -> ClientInfo<'_> {
    info(&present.card, present.card.session.as_str(), present.info.as_deref())
}

fn info<'a>(card: &'a Card, session: &'a str, chan_info: Option<&'a Payload>) -> ClientInfo<'a> {
    ClientInfo { user: &card.user, client: session, conn_info: card.info.as_ref(), chan_info }
}
