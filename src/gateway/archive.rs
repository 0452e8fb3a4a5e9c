//! What durable rooms keep on disk: where each stream stands, and its messages by offset.
//!
//! Messages are handed to the store in the order of the stream, before they are delivered. After a stop that was not
//! clean nobody knows how far a room had come: what was delivered in the last moment may not be on disk. Its
//! offsets then leap by [`LEAP`], so that none is ever given twice, and who has seen a lost one is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;

use crate::gateway::publication::Card;
use crate::gateway::publication::Publication;
use crate::gateway::stream::Position;
use crate::gateway::stream::Query;
use crate::gateway::stream::Stream;
use crate::ids::Epoch;
use crate::ids::MessageId;
use crate::ids::SessionId;
use crate::store;
use crate::store::Batch;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Store;
use crate::store::Table;
use crate::store::Ticket;
use crate::wire::payload::Kind;
use crate::wire::payload::Payload;

/// By so much the offsets of a room leap after a stop that was not clean: more than a room can have in flight.
const LEAP: u64 = 1_000_000;

/// What is read for one question at the most, in bytes.
const READ_MAX: usize = 16 * 1024 * 1024;

/// Old messages are taken off the disk when there are so many of them, as a part of those that are kept.
const TRIM_PART: u64 = 16;

/// The key under which the number of unclean stops is kept, in the table of rooms. No room has this name.
const CRASHES: &[u8] = b"\0crashes";

/// What durable rooms keep.
#[derive(Debug)]
pub(super) struct Archive {
    store: Store,
    /// How many stops so far were not clean.
    crashes: u64,
}

/// Where a stream stands, as it is kept.
#[derive(Serialize, Deserialize)]
struct Standing {
    epoch: u64,
    top: u64,
    /// The number of unclean stops when it was written.
    crashes: u64,
}

/// A message as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "i")]
    id: u64,
    #[serde(rename = "t")]
    unix_ms: u64,
    #[serde(rename = "p")]
    payload: Content,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Box<str>>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    publisher: Option<Publisher>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    operation: Option<i32>,
    #[serde(rename = "g", default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Publisher {
    #[serde(rename = "u")]
    user: String,
    #[serde(rename = "s")]
    session: String,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    info: Option<Content>,
}

/// A payload as it is kept; bytes in Base64.
#[derive(Serialize, Deserialize)]
enum Content {
    #[serde(rename = "j")]
    Json(String),
    #[serde(rename = "t")]
    Text(String),
    #[serde(rename = "b")]
    Binary(String),
}

impl Archive {
    /// What is kept in `store`, by former runs as well.
    ///
    /// # Errors
    ///
    /// When the store can not be read or written.
    pub(super) fn open(store: Store) -> Result<Self, store::Error> {
        let kept = store.read(Table::Rooms, CRASHES)?;
        let mut crashes = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or(0);
        if !store.is_clean_start() {
            crashes += 1;
            let mut batch = Batch::new();
            batch.put(Table::Rooms, CRASHES, crashes.to_string().as_bytes());
            // Whatever is written later comes behind it: nobody needs to wait for it.
            drop(store.submit(batch)?);
        }
        Ok(Self { store, crashes })
    }

    /// The stream of a room with the last `ring` of its messages; none when nothing is kept, or it can not be read.
    pub(super) fn load(&self, room: &str, ring: usize) -> Option<Stream> {
        let standing = match self.store.read(Table::Rooms, room_key(room).as_ref()) {
            Ok(standing) => serde_json::from_slice::<Standing>(&standing?).ok()?,
            Err(error) => {
                tracing::error!(room, %error, "the history of a room can not be read: it begins anew");
                return None;
            }
        };
        let leap = if standing.crashes == self.crashes { 0 } else { LEAP };
        let position = Position { offset: standing.top + leap, epoch: Epoch::from_number(standing.epoch) };
        let mut tail = self.read(room, &Span::prefix(room_key(room)), Direction::Down, ring);
        tail.reverse();
        Some(Stream::restored(position, tail))
    }

    /// Keeps messages that bring the stream to `position`, and lets go of those beyond `size`.
    pub(super) fn append(
        &self,
        room: &str,
        position: Position,
        publications: &[&Arc<Publication>],
        size: usize,
    ) -> Result<Ticket, store::Error> {
        let mut batch = Batch::new();
        for publication in publications {
            let key = Key::new().text(room).number(publication.offset);
            batch.put(Table::Publications, key.as_ref(), encoded(publication));
        }
        self.stand(&mut batch, room, position);
        let size = size as u64;
        let part = (size / TRIM_PART).max(1);
        let former = position.offset.saturating_sub(publications.len() as u64);
        if position.offset / part != former / part && position.offset > size {
            let span = up_to(room, position.offset - size + 1);
            batch.delete_range(Table::Publications, &span);
        }
        self.store.submit(batch)
    }

    /// Lets go of all messages of a room; the stream goes on from `position`.
    pub(super) fn clear(&self, room: &str, position: Position) {
        let mut batch = Batch::new();
        batch.delete_range(Table::Publications, &Span::prefix(room_key(room)));
        self.stand(&mut batch, room, position);
        if let Err(error) = self.store.submit(batch) {
            tracing::error!(room, %error, "the history of a room can not be removed from disk");
        }
    }

    /// What came behind `offset` and before `before`: all of it, or none when some of it is gone.
    pub(super) fn behind(
        &self,
        room: &str,
        offset: u64,
        before: u64,
        limit: usize,
    ) -> Option<Vec<Arc<Publication>>> {
        let wanted = usize::try_from(before - offset).ok().filter(|wanted| *wanted <= limit)?;
        let found = self.read(room, &between(room, offset, before), Direction::Up, wanted + 1);
        let first = found.first()?.offset;
        let whole = first == offset || first == offset + 1;
        whole.then(|| found.into_iter().filter(|publication| publication.offset > offset).collect())
    }

    /// A page of a room's history, of which `newer` gives what is in memory: everything from `in_memory` on.
    pub(super) fn page(
        &self,
        room: &str,
        query: Query,
        in_memory: u64,
        mut newer: impl FnMut(Query) -> Vec<Arc<Publication>>,
    ) -> Vec<Arc<Publication>> {
        let mut page;
        if query.reverse {
            page = newer(query);
            let before = in_memory.min(query.since.unwrap_or(u64::MAX));
            let left = query.limit.saturating_sub(page.len());
            page.extend(self.read(room, &up_to(room, before), Direction::Down, left));
        } else {
            let since = query.since.unwrap_or(0);
            page = Vec::new();
            if since + 1 < in_memory {
                page = self.read(room, &between(room, since + 1, in_memory), Direction::Up, query.limit);
            }
            let left = query.limit.saturating_sub(page.len());
            page.extend(newer(Query { limit: left, ..query }));
        }
        page
    }

    fn stand(&self, batch: &mut Batch, room: &str, position: Position) {
        let standing =
            Standing { epoch: position.epoch.number(), top: position.offset, crashes: self.crashes };
        let standing = serde_json::to_vec(&standing).unwrap_or_default();
        batch.put(Table::Rooms, room_key(room).as_ref(), &standing);
    }

    fn read(&self, room: &str, span: &Span, direction: Direction, items: usize) -> Vec<Arc<Publication>> {
        if items == 0 {
            return Vec::new();
        }
        let limit = Limit { items, bytes: READ_MAX };
        let page = match self.store.range(Table::Publications, span, direction, limit) {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(room, %error, "the history of a room can not be read");
                return Vec::new();
            }
        };
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let mut parts = Parts::new(key);
            parts.text()?;
            decoded(parts.number()?, value)
        };
        page.entries.iter().filter_map(read).map(Arc::new).collect()
    }
}

fn room_key(room: &str) -> Key {
    Key::new().text(room)
}

fn between(room: &str, from: u64, to: u64) -> Span {
    Span::between(room_key(room).number(from), room_key(room).number(to))
}

fn up_to(room: &str, to: u64) -> Span {
    between(room, 0, to)
}

fn encoded(publication: &Publication) -> Vec<u8> {
    let publisher = publication.publisher.as_ref().map(|card| Publisher {
        user: card.user.to_string(),
        session: card.session.to_string(),
        info: card.info.as_ref().map(Content::of),
    });
    let kept = Kept {
        id: publication.id.number(),
        unix_ms: publication.unix_ms,
        payload: Content::of(&publication.payload),
        idempotency_key: publication.idempotency_key.clone(),
        publisher,
        operation: publication.operation,
        tags: publication.tags.clone(),
        expires_ms: publication.expires_ms,
    };
    serde_json::to_vec(&kept).unwrap_or_default()
}

fn decoded(offset: u64, value: &[u8]) -> Option<Publication> {
    let kept: Kept = serde_json::from_slice(value).ok()?;
    let publisher = kept.publisher.and_then(|publisher| {
        let session = SessionId::parse(&publisher.session)?;
        let info = publisher.info.and_then(Content::payload);
        Some(Arc::new(Card { user: publisher.user.into(), session, info }))
    });
    Some(Publication {
        offset,
        id: MessageId::from_number(kept.id),
        idempotency_key: kept.idempotency_key,
        payload: kept.payload.payload()?,
        publisher,
        operation: kept.operation,
        tags: kept.tags,
        unix_ms: kept.unix_ms,
        expires_ms: kept.expires_ms,
    })
}

impl Content {
    fn of(payload: &Payload) -> Self {
        let text = || String::from_utf8_lossy(payload.bytes()).into_owned();
        match payload.kind() {
            Kind::Json => Self::Json(text()),
            Kind::Text => Self::Text(text()),
            Kind::Binary => Self::Binary(STANDARD.encode(payload.bytes())),
        }
    }

    fn payload(self) -> Option<Payload> {
        match self {
            Self::Json(json) => Payload::restore(Kind::Json, json.as_bytes()),
            Self::Text(text) => Payload::restore(Kind::Text, text.as_bytes()),
            Self::Binary(bytes) => Payload::restore(Kind::Binary, &STANDARD.decode(bytes).ok()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_kept() {
        for payload in [
            Payload::from_text("hello \"you\""),
            Payload::from_text(r#"{"a":1}"#),
            Payload::binary(&[0, 159, 146, 150]),
        ] {
            let card = Card {
                user: "u".into(),
                session: SessionId::parse("n.0000000000009f86.0.1").unwrap(),
                info: Some(Payload::from_text("{}")),
            };
            let publication = Publication {
                offset: 7,
                id: MessageId::from_number(99),
                idempotency_key: Some("k".into()),
                payload,
                publisher: Some(Arc::new(card)),
                operation: Some(1000),
                tags: BTreeMap::from([("a".into(), "b".into())]),
                unix_ms: 1_795_217_939_404,
                expires_ms: Some(1_795_217_939_405),
            };
            assert_eq!(decoded(7, &encoded(&publication)), Some(publication));
        }
        assert_eq!(decoded(7, b"nonsense"), None);
    }
}
