//! A message that is taken back: a tombstone with its offset and id stands in its place in the history.
//!
//! Who saw the message keeps what it saw; who comes later, or comes back, finds the tombstone.

use std::sync::Arc;

use serde_json::json;

use crate::gateway::room::archive::Archive;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Told;
use crate::gateway::room::stream::Stream;
use crate::ids::MessageId;
use crate::store::Ticket;
use crate::tasks::OnExit;
use crate::tasks::Tasks;
use crate::wire::payload::Payload;

/// Which message is taken back, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Recall {
    /// The message.
    pub(in crate::gateway) id: MessageId,
    /// Who takes it back: its author; none when anybody's may be, for the staff.
    pub(in crate::gateway) author: Option<Arc<str>>,
    /// It may not be older than this, in Unix milliseconds.
    pub(in crate::gateway) oldest: u64,
}

/// Why a message is not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    /// The room has none with this id.
    #[error("the room has no message with this id, or has it no longer")]
    Unknown,
    /// Somebody else wrote it.
    #[error("somebody else wrote the message")]
    NotYours,
    /// It is too old.
    #[error("the message is older than chat.recall_window")]
    TooOld,
}

/// Puts a tombstone in the place of a message; gives what resolves when that is kept.
pub(in crate::gateway) fn recall(
    recall: &Recall,
    (archive, room): (Option<&Archive>, &str),
    stream: &mut Stream,
) -> Result<Option<Ticket>, RoomError> {
    let kept = stream.find(recall.id);
    let kept = kept.or_else(|| archive.and_then(|archive| archive.find(room, recall.id)).map(Arc::new));
    let message = kept.ok_or(RoomError::Recall(RecallError::Unknown))?;
    let author = message.publisher.as_ref().map(|card| &card.user);
    if recall.author.as_ref().is_some_and(|by| Some(by) != author) {
        return Err(RoomError::Recall(RecallError::NotYours));
    }
    if message.unix_ms < recall.oldest {
        return Err(RoomError::Recall(RecallError::TooOld));
    }
    let tombstone = tombstone(room, &message);
    let ticket = archive.map(|archive| archive.bury(room, &tombstone)).transpose();
    let ticket = ticket.map_err(|error| {
        if error.retryable() { RoomError::Busy } else { RoomError::Store(error.to_string()) }
    })?;
    stream.replace(tombstone);
    Ok(ticket)
}

/// Answers when the tombstone is kept, where it is.
pub(in crate::gateway) fn answer(recalled: Result<Option<Ticket>, RoomError>, asker: Asker, tasks: &Tasks) {
    match recalled {
        Ok(None) => asker.tell(Ok(Told::Recalled)),
        Err(error) => asker.tell(Err(error)),
        Ok(Some(ticket)) => tasks.spawn("kept", OnExit::Ignore, async move {
            let kept = ticket.await.map_err(|error| RoomError::Store(error.to_string()));
            asker.tell(kept.map(|()| Told::Recalled));
        }),
    }
}

/// What stands in the place of a message: a message of a chat without content.
fn tombstone(room: &str, message: &Publication) -> Publication {
    let author = message.publisher.as_ref().map(|card| card.user.to_string()).unwrap_or_default();
    let payload = json!({
        "type": "recall",
        "msg": "",
        "mid": author,
        "shop_id": "",
        "room_id": room,
        "id": message.id.to_string(),
        "dateline": message.unix_ms / 1000,
    });
    Publication { payload: Payload::from_text(&payload.to_string()), ..message.clone() }
}
