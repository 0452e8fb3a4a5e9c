//! The index of a durable room's messages by their id: who wrote each, and where it lies in the stream.
//!
//! It is written in one batch with the messages, and goes with them, so that whoever counts in it (what a user has not
//! read) counts exactly. Ids of a room grow in the order of its stream, and with time: what is older than some time is
//! found by its id.

use serde::Deserialize;
use serde::Serialize;

use crate::gateway::room::publication::Publication;
use crate::ids::MessageId;
use crate::store;
use crate::store::Batch;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Store;
use crate::store::Table;

/// One entry is read.
const ONE: Limit = Limit { items: 1, bytes: 4096 };

/// A message in the index.
#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "o")]
    offset: u64,
    #[serde(rename = "u")]
    user: String,
}

/// Puts a message into the index.
pub(in crate::gateway) fn put(batch: &mut Batch, room: &str, publication: &Publication) {
    let user = publication.publisher.as_ref().map(|card| card.user.to_string()).unwrap_or_default();
    let entry = Entry { offset: publication.offset, user };
    let entry = serde_json::to_vec(&entry).expect("a number and a text can be written");
    batch.put(Table::Messages, key(room, publication.id), &entry);
}

/// Takes a message out of the index.
pub(in crate::gateway) fn remove(batch: &mut Batch, room: &str, id: MessageId) {
    batch.delete(Table::Messages, key(room, id));
}

/// Takes all messages before `id` out of the index.
pub(in crate::gateway) fn remove_before(batch: &mut Batch, room: &str, id: MessageId) {
    batch.delete_range(Table::Messages, &Span::between(Key::new().text(room), key(room, id)));
}

/// Takes all messages of a room out of the index.
pub(in crate::gateway) fn clear(batch: &mut Batch, room: &str) {
    batch.delete_range(Table::Messages, &Span::prefix(Key::new().text(room)));
}

/// Where the message with this id lies in the stream.
pub(in crate::gateway) fn offset(
    store: &Store,
    room: &str,
    id: MessageId,
) -> Result<Option<u64>, store::Error> {
    let entry = store.read(Table::Messages, key(room, id))?;
    Ok(entry.and_then(|entry| serde_json::from_slice::<Entry>(&entry).ok()).map(|entry| entry.offset))
}

/// The first message of a room with this id or a later one: its id, and where it lies.
pub(in crate::gateway) fn first_from(
    store: &Store,
    room: &str,
    id: MessageId,
) -> Result<Option<(MessageId, u64)>, store::Error> {
    let end = Key::new().text(room).number(u64::MAX);
    let page = store.range(Table::Messages, &Span::between(key(room, id), end), Direction::Up, ONE)?;
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let mut parts = Parts::new(key);
        parts.text()?;
        let entry: Entry = serde_json::from_slice(value).ok()?;
        Some((MessageId::from_number(parts.number()?), entry.offset))
    };
    Ok(page.entries.first().and_then(read))
}

fn key(room: &str, id: MessageId) -> Key {
    Key::new().text(room).number(id.number())
}
