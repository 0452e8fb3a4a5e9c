//! What durable rooms keep on disk: where each stream stands, and its messages by offset.
//!
//! Messages are handed to the store in the order of the stream, before they are delivered. After a stop that was not
//! clean nobody knows how far a room had come: what was delivered in the last moment may not be on disk. Its
//! offsets then leap by [`LEAP`], so that none is ever given twice, and who has seen a lost one is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;

use crate::gateway::room::index;
use crate::gateway::room::publication::Card;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::stream::Position;
use crate::gateway::room::stream::Query;
use crate::gateway::room::stream::Stream;
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
pub(in crate::gateway) struct Archive {
    store: Store,
    /// How many stops so far were not clean.
    crashes: u64,
    /// The key up to which rooms were looked at for old messages.
    looked_at: Mutex<Vec<u8>>,
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
pub(in crate::gateway) enum Content {
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
    pub(in crate::gateway) fn open(store: Store) -> Result<Self, store::Error> {
        let kept = store.read(Table::Rooms, CRASHES)?;
        let mut crashes = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or(0);
        if !store.is_clean_start() {
            crashes += 1;
            let mut batch = Batch::new();
            batch.put(Table::Rooms, CRASHES, crashes.to_string().as_bytes());
            // Whatever is written later comes behind it: nobody needs to wait for it.
            drop(store.submit(batch)?);
        }
        Ok(Self { store, crashes, looked_at: Mutex::default() })
    }

    /// Lets go of messages of a room that is not known any longer: a new stream begins with nothing.
    fn forget_remains(&self, room: &str) {
        if self.read(room, &Span::prefix(room_key(room)), Direction::Up, 1).is_empty() {
            return;
        }
        let mut batch = Batch::new();
        batch.delete_range(Table::Publications, &Span::prefix(room_key(room)));
        index::clear(&mut batch, room);
        if let Err(error) = self.store.submit(batch) {
            tracing::error!(room, %error, "what is left of a former room can not be removed");
        }
    }

    /// The stream of a room with the last `ring` of its messages; none when nothing is kept, or it can not be read.
    pub(in crate::gateway) fn load(&self, room: &str, ring: usize) -> Option<Stream> {
        let standing = match self.store.read(Table::Rooms, room_key(room).as_ref()) {
            Ok(Some(standing)) => serde_json::from_slice::<Standing>(&standing).ok()?,
            Ok(None) => {
                self.forget_remains(room);
                return None;
            }
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
    pub(in crate::gateway) fn append(
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
            index::put(&mut batch, room, publication);
        }
        self.stand(&mut batch, room, position);
        let size = size as u64;
        let part = (size / TRIM_PART).max(1);
        let former = position.offset.saturating_sub(publications.len() as u64);
        if position.offset / part != former / part && position.offset > size {
            // Where offsets have leapt there are fewer messages than offsets: then nothing is at the edge, and nothing goes.
            let edge = position.offset - size + 1;
            if let Some(id) = self.id_at(room, edge, publications) {
                batch.delete_range(Table::Publications, &up_to(room, edge));
                index::remove_before(&mut batch, room, id);
            }
        }
        self.store.submit(batch)
    }

    /// Lets go of all messages of a room; the stream goes on from `position`.
    pub(in crate::gateway) fn clear(&self, room: &str, position: Position) {
        let mut batch = Batch::new();
        batch.delete_range(Table::Publications, &Span::prefix(room_key(room)));
        index::clear(&mut batch, room);
        self.stand(&mut batch, room, position);
        if let Err(error) = self.store.submit(batch) {
            tracing::error!(room, %error, "the history of a room can not be removed from disk");
        }
    }

    /// Lets go of what is older than `oldest`, in Unix milliseconds, and of the room itself when nothing is left and nobody
    /// has it in memory.
    pub(in crate::gateway) fn expire(&self, room: &str, oldest: u64, in_memory: bool) {
        if let Err(error) = self.try_expire(room, oldest, in_memory) {
            tracing::warn!(room, %error, "old messages of a room can not be let go now");
        }
    }

    fn try_expire(&self, room: &str, oldest: u64, in_memory: bool) -> Result<(), store::Error> {
        let mut batch = Batch::new();
        let Some(first) = self.read(room, &Span::prefix(room_key(room)), Direction::Up, 1).pop() else {
            if !in_memory && self.store.read(Table::Rooms, room_key(room).as_ref())?.is_some() {
                batch.delete(Table::Rooms, room_key(room).as_ref());
                drop(self.store.submit(batch)?);
            }
            return Ok(());
        };
        if first.unix_ms >= oldest {
            return Ok(());
        }
        let edge = MessageId::highest_at(oldest.saturating_sub(1));
        match index::first_from(&self.store, room, edge)? {
            Some((id, offset)) => {
                batch.delete_range(Table::Publications, &up_to(room, offset));
                index::remove_before(&mut batch, room, id);
            }
            None => {
                // Tombstones are not in the index: the newest message tells whether all of it is old.
                let newest = self.read(room, &Span::prefix(room_key(room)), Direction::Down, 1).pop();
                let Some(newest) = newest.filter(|newest| newest.unix_ms < oldest) else { return Ok(()) };
                batch.delete_range(Table::Publications, &up_to(room, newest.offset + 1));
                index::remove_before(&mut batch, room, edge);
            }
        }
        drop(self.store.submit(batch)?);
        Ok(())
    }

    /// The next rooms of which something is kept, round after round.
    pub(in crate::gateway) fn next_rooms(&self, items: usize) -> Vec<String> {
        let mut from = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = Limit { items, bytes: READ_MAX };
        let page = self.store.range(Table::Rooms, &Span::from(&*from), Direction::Up, limit);
        let entries = page.map(|page| page.entries).unwrap_or_default();
        *from = match entries.last() {
            Some((last, _)) if entries.len() == items => [last.as_slice(), &[0]].concat(),
            _ => Vec::new(),
        };
        entries.iter().filter_map(|(key, _)| Parts::new(key).text()).collect()
    }

    /// The message with this id, when it is kept.
    pub(in crate::gateway) fn find(&self, room: &str, id: MessageId) -> Option<Publication> {
        let offset = index::offset(&self.store, room, id).ok()??;
        let key = Key::new().text(room).number(offset);
        decoded(offset, &self.store.read(Table::Publications, key.as_ref()).ok()??)
    }

    /// Puts a tombstone into the place of a message; nobody counts it as unread any longer.
    pub(in crate::gateway) fn bury(
        &self,
        room: &str,
        tombstone: &Publication,
    ) -> Result<Ticket, store::Error> {
        let mut batch = Batch::new();
        let key = Key::new().text(room).number(tombstone.offset);
        batch.put(Table::Publications, key.as_ref(), encoded(tombstone));
        index::remove(&mut batch, room, tombstone.id);
        self.store.submit(batch)
    }

    /// The id of the message at `offset`, which is in the store or among the new ones.
    fn id_at(&self, room: &str, offset: u64, new: &[&Arc<Publication>]) -> Option<MessageId> {
        if let Some(found) = new.iter().find(|publication| publication.offset == offset) {
            return Some(found.id);
        }
        let found = self.read(room, &between(room, offset, offset + 1), Direction::Up, 1).pop()?;
        Some(found.id)
    }

    /// What came behind `offset` and before `before`: all of it, or none when some of it is gone.
    pub(in crate::gateway) fn behind(
        &self,
        room: &str,
        offset: u64,
        before: u64,
        limit: usize,
    ) -> Option<Vec<Arc<Publication>>> {
        // Offsets leap after a crash: what counts is how many there are, not how far they lie apart.
        let span = between(room, offset, before);
        let (mut found, all) = self.read_some(room, &span, Direction::Up, limit.saturating_add(1));
        let first = found.first()?.offset;
        let whole = all && (first == offset || first == offset + 1);
        found.retain(|publication| publication.offset > offset);
        (whole && found.len() <= limit).then_some(found)
    }

    /// A page of a room's history, of which `newer` gives what is in memory: everything from `in_memory` on.
    pub(in crate::gateway) fn page(
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
            let mut all = true;
            if since.saturating_add(1) < in_memory {
                let span = between(room, since + 1, in_memory);
                (page, all) = self.read_some(room, &span, Direction::Up, query.limit);
            }
            // A page that had to end early is followed by another one, not by a gap.
            let left = if all { query.limit.saturating_sub(page.len()) } else { 0 };
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
        self.read_some(room, span, direction, items).0
    }

    /// The messages in `span`, and whether they are all that are there.
    fn read_some(
        &self,
        room: &str,
        span: &Span,
        direction: Direction,
        items: usize,
    ) -> (Vec<Arc<Publication>>, bool) {
        if items == 0 {
            return (Vec::new(), false);
        }
        let limit = Limit { items, bytes: READ_MAX };
        let page = match self.store.range(Table::Publications, span, direction, limit) {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(room, %error, "the history of a room can not be read");
                return (Vec::new(), false);
            }
        };
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let mut parts = Parts::new(key);
            parts.text()?;
            decoded(parts.number()?, value)
        };
        (page.entries.iter().filter_map(read).map(Arc::new).collect(), !page.more)
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
    /// A payload, to be kept.
    pub(in crate::gateway) fn of(payload: &Payload) -> Self {
        let text = || String::from_utf8_lossy(payload.bytes()).into_owned();
        match payload.kind() {
            Kind::Json => Self::Json(text()),
            Kind::Text => Self::Text(text()),
            Kind::Binary => Self::Binary(STANDARD.encode(payload.bytes())),
        }
    }

    /// The payload that was kept.
    pub(in crate::gateway) fn payload(self) -> Option<Payload> {
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

    fn said(offset: u64, text: &str) -> Arc<Publication> {
        Arc::new(Publication {
            offset,
            id: MessageId::from_number(offset),
            idempotency_key: None,
            payload: Payload::from_text(text),
            publisher: None,
            operation: None,
            tags: BTreeMap::new(),
            unix_ms: 1,
            expires_ms: None,
        })
    }

    fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
        publications.iter().map(|publication| publication.offset).collect()
    }

    async fn archive(directory: &tempfile::TempDir, publications: &[Arc<Publication>]) -> Archive {
        let options = store::Options { headroom_bytes: 0, ..store::Options::default() };
        let (store, _) = store::open(directory.path(), options).unwrap();
        let archive = Archive::open(store).unwrap();
        for publication in publications {
            let position = Position { offset: publication.offset, epoch: Epoch::from_number(7) };
            archive.append("r", position, &[publication], usize::MAX).unwrap().await.unwrap();
        }
        archive
    }

    #[tokio::test]
    async fn what_somebody_missed_is_all_of_it_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let kept: Vec<_> = [3, 4, 5, 1_000_006, 1_000_007].map(|offset| said(offset, "x")).into();
        let archive = archive(&directory, &kept).await;
        let behind = |offset, limit| {
            archive.behind("r", offset, 1_000_007, limit).map(|publications| offsets(&publications))
        };
        assert_eq!(behind(2, 9), Some(vec![3, 4, 5, 1_000_006]));
        assert_eq!(behind(5, 9), Some(vec![1_000_006]), "offsets leap after a crash, and nothing is missing");
        assert_eq!(behind(1, 9), None, "2 is gone");
        assert_eq!(behind(6, 9), None, "6 was lost in the crash");
        assert_eq!(behind(3, 2), None, "three are more than two");
        assert_eq!(behind(3, 3), Some(vec![4, 5, 1_000_006]));
    }

    #[tokio::test]
    async fn what_is_too_long_to_be_read_at_once_leaves_no_gap() {
        let directory = tempfile::tempdir().unwrap();
        let text = "x".repeat(READ_MAX / 4);
        let kept: Vec<_> = (1..=6).map(|offset| said(offset, &text)).collect();
        let archive = archive(&directory, &kept).await;
        assert_eq!(archive.behind("r", 1, 7, 100), None, "a part of it would look like all");
        let newest = |query: Query| if query.limit > 0 { vec![said(7, "y")] } else { Vec::new() };
        let query = Query { limit: 100, since: Some(0), reverse: false };
        let page = offsets(&archive.page("r", query, 7, newest));
        assert!(page.len() > 1 && page.len() < 6, "{page:?}");
        assert_eq!(page, (1..=page.len() as u64).collect::<Vec<_>>(), "the page ends early");
        let query = Query { since: page.last().copied(), ..query };
        let next = offsets(&archive.page("r", query, 7, newest));
        assert_eq!(next, (page.len() as u64 + 1..=7).collect::<Vec<_>>());
    }

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

    struct Shelf {
        archive: Archive,
        store: Store,
        _directory: tempfile::TempDir,
    }

    fn shelf() -> Shelf {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = store::open(directory.path(), store::Options::default()).unwrap();
        Shelf { archive: Archive::open(store.clone()).unwrap(), store, _directory: directory }
    }

    /// A message of the second `offset`, with an id of that time.
    fn message(offset: u64, user: &str) -> Arc<Publication> {
        let unix_ms = 1_795_217_939_000 + offset * 1000;
        let session = SessionId::parse("n.0000000000009f86.0.1").unwrap();
        Arc::new(Publication {
            offset,
            id: MessageId::highest_at(unix_ms),
            idempotency_key: None,
            payload: Payload::from_text(r#"{"msg":"hi"}"#),
            publisher: Some(Arc::new(Card { user: user.into(), session, info: None })),
            operation: None,
            tags: BTreeMap::new(),
            unix_ms,
            expires_ms: None,
        })
    }

    impl Shelf {
        async fn append(&self, offset: u64, size: usize) {
            let position = Position { offset, epoch: Epoch::from_number(7) };
            let message = message(offset, "u");
            self.archive.append("r", position, &[&message], size).unwrap().await.unwrap();
        }

        fn kept(&self) -> (Vec<u64>, Vec<u64>) {
            let all = Span::prefix(room_key("r"));
            let messages = self.archive.read("r", &all, Direction::Up, 1000);
            let limit = Limit { items: 1000, bytes: READ_MAX };
            let page = self.store.range(Table::Messages, &all, Direction::Up, limit).unwrap();
            let indexed = page.entries.iter().map(|(_, value)| {
                serde_json::from_slice::<serde_json::Value>(value).unwrap()["o"].as_u64().unwrap()
            });
            (messages.iter().map(|message| message.offset).collect(), indexed.collect())
        }

        async fn settle(&self) {
            let mut batch = Batch::new();
            batch.put(Table::Bans, b"settle", b"");
            self.store.submit(batch).unwrap().await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_index_has_the_messages_that_are_kept_and_no_others() {
        let shelf = shelf();
        for offset in 1..=40 {
            shelf.append(offset, 16).await;
            let (kept, indexed) = shelf.kept();
            assert_eq!(kept, indexed);
            assert!(kept.len() <= 17, "{kept:?}");
        }
        assert_eq!(shelf.kept().0, (25..=40).collect::<Vec<_>>());
        shelf.archive.clear("r", Position { offset: 40, epoch: Epoch::from_number(7) });
        shelf.settle().await;
        assert_eq!(shelf.kept(), (vec![], vec![]));
    }

    #[tokio::test]
    async fn a_leap_of_the_offsets_costs_no_history() {
        let shelf = shelf();
        for offset in (1..=10).chain(LEAP + 1..=LEAP + 12) {
            shelf.append(offset, 16).await;
        }
        assert_eq!(shelf.kept().0.len(), 22, "more rather than less");
        for offset in LEAP + 13..=LEAP + 16 {
            shelf.append(offset, 16).await;
        }
        assert_eq!(shelf.kept().0, (LEAP + 1..=LEAP + 16).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_tombstone_takes_the_place_of_a_message_and_is_not_counted() {
        let shelf = shelf();
        for offset in 1..=3 {
            shelf.append(offset, 16).await;
        }
        let second = message(2, "u");
        let found = shelf.archive.find("r", second.id).unwrap();
        assert_eq!(found, *second);
        let tombstone = Publication { payload: Payload::from_text("gone"), ..found };
        shelf.archive.bury("r", &tombstone).unwrap().await.unwrap();
        assert_eq!(shelf.kept(), (vec![1, 2, 3], vec![1, 3]));
        let page = shelf.archive.read("r", &between("r", 2, 3), Direction::Up, 9);
        assert_eq!(page[0].payload, Payload::from_text("gone"));
        assert_eq!(shelf.archive.find("r", second.id), None, "nothing to take back any more");
    }

    #[tokio::test]
    async fn what_is_too_old_goes_and_in_the_end_the_room_itself() {
        let shelf = shelf();
        for offset in 1..=4 {
            shelf.append(offset, 16).await;
        }
        let at = |offset| message(offset, "u").unix_ms;
        shelf.archive.expire("r", at(3), true);
        shelf.settle().await;
        assert_eq!(shelf.kept(), (vec![3, 4], vec![3, 4]));
        shelf.archive.expire("r", at(9), true);
        shelf.archive.expire("r", at(9), true);
        shelf.settle().await;
        assert_eq!(shelf.kept(), (vec![], vec![]));
        shelf.archive.expire("r", at(9), true);
        shelf.settle().await;
        assert_eq!(shelf.archive.load("r", 9).unwrap().position().offset, 4, "it is in memory");
        assert_eq!(shelf.archive.next_rooms(10), ["r"]);
        shelf.archive.expire("r", at(9), false);
        shelf.settle().await;
        assert!(shelf.archive.load("r", 9).is_none());
        assert!(shelf.archive.next_rooms(10).is_empty());
    }
}
