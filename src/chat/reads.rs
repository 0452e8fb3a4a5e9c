//! How far users have read, and what they have not read.
//!
//! An offset is the id of the last message read; it only grows. What is unread is counted in the index of the room's
//! messages, which is written in one batch with the message itself, so that the count is exact at every moment.

use serde::Deserialize;
use serde::Serialize;

use crate::chat::Error;
use crate::chat::ledger::Desk;
use crate::ids::MessageId;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Store;
use crate::store::Table;

/// So many unread messages are counted; of more it is only said that there are more.
pub const UNREAD_MAX: usize = 9_999;

/// The most messages that are looked at for one count: those of others and the user's own.
const LOOK_MAX: usize = 20_000;

/// The most bytes that are looked at for one count.
const LOOK_BYTES: usize = 4 * 1024 * 1024;

/// Ids may be ahead of the clock by so much: those of other nodes, or of many messages at once.
const AHEAD_MS: u64 = 10_000;

/// How many messages a user has not read in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// So many.
    pub count: usize,
    /// True when there are more than that.
    pub more: bool,
}

/// How far somebody has read, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "i")]
    id: u64,
    #[serde(rename = "t")]
    unix_ms: u64,
}

/// A message in the index of its room, as the gateway writes it.
#[derive(Deserialize)]
struct Indexed {
    #[serde(rename = "u", default)]
    user: String,
}

/// A user has read up to a message: true when that is news.
pub(super) fn ack(
    desk: &mut Desk<'_>,
    user: &str,
    room: &str,
    id: MessageId,
    unix_ms: u64,
) -> Result<bool, Error> {
    let former = read(desk, user, room)?;
    // Nobody has read what will only be written: an offset in the future would hide it for ever.
    let is_known = id <= MessageId::highest_at(unix_ms.saturating_add(AHEAD_MS));
    let moved = is_known && former.is_none_or(|former| former < id);
    if moved {
        desk.put(Table::Reads, key(user, room), &Kept { id: id.number(), unix_ms });
    }
    Ok(moved)
}

/// How far a user has read.
pub(super) fn read(desk: &mut Desk<'_>, user: &str, room: &str) -> Result<Option<MessageId>, Error> {
    let kept = desk.value::<Kept>(Table::Reads, key(user, room))?;
    Ok(kept.map(|kept| MessageId::from_number(kept.id)))
}

/// When the offset with this value was last moved, in Unix milliseconds.
pub(super) fn time(value: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Kept>(value).ok().map(|kept| kept.unix_ms)
}

/// The messages in a room behind `read` that `user` did not write: exact up to [`UNREAD_MAX`].
///
/// # Errors
///
/// [`Error`] when the store can not be read.
pub fn unread(store: &Store, room: &str, user: &str, read: Option<MessageId>) -> Result<Unread, Error> {
    let first = read.map_or(0, |read| read.number().saturating_add(1));
    let span = Span::between(key_of(room).number(first), key_of(room).number(u64::MAX));
    let limit = Limit { items: LOOK_MAX, bytes: LOOK_BYTES };
    let page = store.range(Table::Messages, &span, Direction::Up, limit)?;
    let by_others =
        |value: &[u8]| serde_json::from_slice::<Indexed>(value).is_ok_and(|indexed| indexed.user != user);
    let count = page.entries.iter().filter(|(_, value)| by_others(value)).count();
    Ok(Unread { count: count.min(UNREAD_MAX), more: page.more || count > UNREAD_MAX })
}

/// The id of the last message in a room; none when there is none.
///
/// # Errors
///
/// [`Error`] when the store can not be read.
pub fn last(store: &Store, room: &str) -> Result<Option<MessageId>, Error> {
    let limit = Limit { items: 1, bytes: LOOK_BYTES };
    let page = store.range(Table::Messages, &Span::prefix(key_of(room)), Direction::Down, limit)?;
    let id = page.entries.first().and_then(|(key, _)| {
        let mut parts = Parts::new(key);
        parts.text()?;
        parts.number()
    });
    Ok(id.map(MessageId::from_number))
}

fn key(user: &str, room: &str) -> Key {
    Key::new().text(user).text(room)
}

fn key_of(room: &str) -> Key {
    Key::new().text(room)
}
