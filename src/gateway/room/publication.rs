//! What is said in a room or to a user: the message itself, and who said it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::room::stamp::stamp;
use crate::ids::MessageId;
use crate::ids::SessionId;
use crate::wire::orim;
use crate::wire::payload::Payload;

/// Who a session is, for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The user; empty when anonymous.
    pub user: Arc<str>,
    /// The session.
    pub session: SessionId,
    /// What the login says about the user.
    pub info: Option<Payload>,
}

/// A message as it is handed to the gateway.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What it says.
    pub payload: Payload,
    /// Who says it; none when a backend does.
    pub publisher: Option<Arc<Card>>,
    /// The publisher's own name for it: a second message with the same name is not published again, for five minutes.
    pub idempotency_key: Option<String>,
    /// The operation that goim clients see; 5 for the others, where nothing is said.
    pub operation: Option<i32>,
    /// Words beside the payload, for Centrifuge clients.
    pub tags: BTreeMap<String, String>,
    /// Not kept in the room's history.
    pub skip_history: bool,
    /// A message of a chat: its payload, a JSON object, gets the members `mid`, `room_id`, `id` and `dateline`.
    pub is_chat: bool,
    /// Of the waiting messages with the same key a slow reader gets the newest only, where the room's rules say so.
    pub conflation_key: Option<Arc<str>>,
    /// Not delivered when it is older than this.
    pub ttl: Option<Duration>,
}

impl Outgoing {
    /// A message that a backend says, without anything special.
    #[must_use]
    pub fn new(payload: Payload) -> Self {
        Self {
            payload,
            publisher: None,
            idempotency_key: None,
            operation: None,
            tags: BTreeMap::new(),
            skip_history: false,
            is_chat: false,
            conflation_key: None,
            ttl: None,
        }
    }
}

/// A message in a room's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its place in the stream, from 1; 0 in a room that keeps no stream.
    pub offset: u64,
    /// Its id.
    pub id: MessageId,
    /// The publisher's own name for it.
    pub idempotency_key: Option<Box<str>>,
    /// What it says.
    pub payload: Payload,
    /// Who said it.
    pub publisher: Option<Arc<Card>>,
    /// The operation that goim clients see.
    pub operation: Option<i32>,
    /// Words beside the payload.
    pub tags: BTreeMap<String, String>,
    /// When it was published, in Unix milliseconds.
    pub unix_ms: u64,
    /// When it is no longer worth delivering, in Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// The tag of a publication that is no message but tells of one, or of a user: somebody types, has read, takes back.
pub(in crate::gateway) const SIGNAL: &str = "signal";

/// What a publication takes beside its texts: the structure, its place in a ring, the allocations.
const OVERHEAD: usize = 256;

impl Publication {
    /// A message that a room takes in, with its id and time; it has no place in the stream yet.
    pub(in crate::gateway) fn of(message: Outgoing, id: MessageId, (room, unix_ms): (&str, u64)) -> Self {
        let ttl_ms = message.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let mut publication = Self {
            offset: 0,
            id,
            idempotency_key: message.idempotency_key.map(Into::into),
            payload: message.payload,
            publisher: message.publisher,
            operation: message.operation,
            tags: message.tags,
            unix_ms,
            expires_ms: ttl_ms.map(|ttl| unix_ms.saturating_add(ttl)),
        };
        if message.is_chat {
            stamp(room, &mut publication);
        }
        publication
    }

    /// The memory that it takes, about, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        OVERHEAD
            + self.payload.bytes().len()
            + tags
            + self.idempotency_key.as_ref().map_or(0, |key| key.len())
    }

    /// As a message of the chat: what it does not say of itself is filled in.
    #[must_use]
    pub fn chat_message(&self, room: &str) -> orim::Message {
        let id = self.id.to_string();
        let user = self.publisher.as_ref().map(|card| card.user.to_string());
        let dateline = self.unix_ms / 1000;
        match orim::Message::read(self.payload.bytes()) {
            Ok(message) => orim::Message {
                id,
                mid: user.unwrap_or(message.mid),
                kind: Some(message.kind).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "text".to_owned()),
                room_id: room.to_owned(),
                dateline: if message.dateline == 0 { dateline } else { message.dateline },
                ..message
            },
            Err(_) => orim::Message {
                shop_id: String::new(),
                kind: "text".to_owned(),
                msg: self.payload.text().into_owned(),
                room_id: room.to_owned(),
                id,
                dateline,
                mid: user.unwrap_or_default(),
            },
        }
    }

    /// True when it tells of something and is no message itself: clients of chat dialects do not know such.
    #[must_use]
    pub fn is_signal(&self) -> bool {
        self.tags.contains_key(SIGNAL)
    }

    /// True when it is too late to deliver it.
    #[must_use]
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| unix_ms >= expires)
    }
}
