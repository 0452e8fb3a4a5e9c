//! What Centrifuge clients are told, in either encoding.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::gateway::ChatError;
use crate::gateway::publication::Card;
use crate::gateway::publication::Publication;
use crate::gateway::step::Connected;
use crate::gateway::step::Entered;
use crate::gateway::step::Present;
use crate::gateway::step::RoomError;
use crate::gateway::step::Told;
use crate::wire::centrifuge as wire;
use crate::wire::centrifuge::ClientInfo;
use crate::wire::centrifuge::ConnectResult;
use crate::wire::centrifuge::Encoding;
use crate::wire::centrifuge::Error;
use crate::wire::centrifuge::HistoryResult;
use crate::wire::centrifuge::Push;
use crate::wire::centrifuge::Reply;
use crate::wire::centrifuge::SubscribeResult;
use crate::wire::payload::Payload;
use crate::wire::websocket;

/// A frame around what is encoded.
pub(in crate::gateway) fn frame(encoding: Encoding, encoded: &[u8]) -> Bytes {
    match encoding {
        Encoding::Json => websocket::text(encoded),
        Encoding::Protobuf => websocket::binary(encoded),
    }
}

/// Messages of a room in one frame.
pub(super) fn publications(encoding: Encoding, room: &str, publications: &[Arc<Publication>]) -> Bytes {
    let mut all = Vec::new();
    for (index, one) in publications.iter().enumerate() {
        if index > 0 && encoding == Encoding::Json {
            all.push(b'\n');
        }
        let push = encoding.push(room, &Push::Publication(said(one)));
        if publications.len() == 1 {
            all = push;
        } else {
            all.extend_from_slice(&push);
        }
    }
    frame(encoding, &all)
}

/// A message to a user.
pub(super) fn message(encoding: Encoding, payload: &Payload) -> Bytes {
    frame(encoding, &encoding.push("", &Push::Message(payload)))
}

/// Somebody came or went.
pub(super) fn presence_change(encoding: Encoding, room: &str, card: &Card, came: bool) -> Bytes {
    let session = card.session.as_str();
    let info = info(card, session, None);
    let push = if came { Push::Join(info) } else { Push::Leave(info) };
    frame(encoding, &encoding.push(room, &push))
}

/// A subscription was ended by the server.
pub(super) fn unsubscribed(encoding: Encoding, room: &str, code: u32, reason: &str) -> Bytes {
    frame(encoding, &encoding.push(room, &Push::Unsubscribe { code, reason }))
}

/// The answer to a login.
pub(super) fn connected(
    encoding: Encoding,
    connected: &Connected,
    card: &Card,
    entered: &[Entered],
) -> Bytes {
    let epochs: Vec<String> = entered.iter().map(epoch).collect();
    let subs =
        entered.iter().zip(&epochs).map(|(entered, epoch)| (&*entered.room, subscription(entered, epoch)));
    let result = ConnectResult {
        client: card.session.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        ttl: connected.ttl,
        subs: subs.collect(),
        ping: connected.ping,
        pong: true,
        node: &connected.node,
        ..ConnectResult::default()
    };
    frame(encoding, &encoding.reply(connected.command, &Reply::Connect(&result)))
}

/// The answer to a subscription.
pub(super) fn subscribed(encoding: Encoding, command: u32, entered: &Entered) -> Bytes {
    let epoch = epoch(entered);
    frame(encoding, &encoding.reply(command, &Reply::Subscribe(&subscription(entered, &epoch))))
}

/// The server has subscribed the client.
pub(super) fn told(encoding: Encoding, entered: &Entered) -> Bytes {
    let epoch = epoch(entered);
    frame(encoding, &encoding.push(&entered.room, &Push::Subscribe(&subscription(entered, &epoch))))
}

/// The answer to what was asked of a room.
pub(super) fn reply(encoding: Encoding, command: u32, told: Result<Told, RoomError>) -> Bytes {
    let encoded = match told {
        Ok(Told::Published(_)) => encoding.reply(command, &Reply::Publish),
        Ok(Told::Presence(present)) => {
            let infos: Vec<_> = present.iter().map(here).collect();
            encoding.reply(command, &Reply::Presence(&infos))
        }
        Ok(Told::PresenceStats { clients, users }) => {
            let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
            encoding.reply(command, &Reply::PresenceStats { clients: count(clients), users: count(users) })
        }
        Ok(Told::History(page)) => {
            let epoch = page.position.epoch.to_string();
            let publications = page.publications.iter().map(|one| said(one)).collect();
            let result = HistoryResult { publications, epoch: &epoch, offset: page.position.offset };
            encoding.reply(command, &Reply::History(&result))
        }
        // Clients have no command that clears a room.
        Ok(Told::Cleared | Told::Recalled) => return Bytes::new(),
        Err(error) => {
            let kind = match error {
                RoomError::Busy => Error::TooManyRequests,
                RoomError::NoHistory | RoomError::NoPresence | RoomError::Recall(_) => Error::NotAvailable,
                RoomError::UnknownPosition => Error::UnrecoverablePosition,
                RoomError::Store(_) | RoomError::Stopping => Error::Internal,
            };
            encoding.reply(command, &Reply::Error(kind.because(&error.to_string())))
        }
    };
    frame(encoding, &encoded)
}

/// The answer to what was asked in a chat.
pub(in crate::gateway) fn called(
    encoding: Encoding,
    command: u32,
    answer: Result<Value, ChatError>,
) -> Bytes {
    let encoded = match answer {
        Ok(answer) => encoding.reply(command, &Reply::Rpc(Some(&Payload::from_text(&answer.to_string())))),
        Err(ChatError::Room(error)) => return reply(encoding, command, Err(error)),
        Err(ChatError::Chat(error)) => {
            let kind = if error.retryable() { Error::TooManyRequests } else { Error::Internal };
            encoding.reply(command, &Reply::Error(kind.because(&error.to_string())))
        }
    };
    frame(encoding, &encoded)
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
