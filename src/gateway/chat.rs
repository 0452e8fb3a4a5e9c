//! What people do in a chat besides saying something: type, read, take back, ask what is unread.
//!
//! Others in the room are told by a signal: a publication that is not kept, with the tag `signal`. Clients of the chat
//! dialects, which would show it as a message, do not get it; they find a message that was taken back gone when they
//! read the history again.
//!
//! Limits: [`CALLS_MAX`] of these at the same time, [`ROOMS_MAX`] rooms in one question. More are refused with an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::sync::oneshot;

use crate::chat;
use crate::chat::Chat;
use crate::chat::Unread;
use crate::clock;
use crate::config::AuthMode;
use crate::gateway::Credentials;
use crate::gateway::Gateway;
use crate::gateway::Outgoing;
use crate::gateway::Published;
use crate::gateway::room::publication::Card;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::publication::SIGNAL;
use crate::gateway::room::recall::Recall;
use crate::gateway::room::recall::RecallError;
use crate::gateway::room::receipt::Acknowledged;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Step;
use crate::gateway::room::stream::Query;
use crate::gateway::session::Refusal;
use crate::gateway::throttle::Act;
use crate::gateway::throttle::Pace;
use crate::gateway::throttle::seconds;
use crate::ids::MessageId;
use crate::wire::payload::Payload;

/// The most calls at the same time.
pub(super) const CALLS_MAX: usize = 256;

/// The most rooms in one question.
pub const ROOMS_MAX: usize = 100;

/// How long it is worth knowing that somebody types.
const TYPING_TTL: Duration = Duration::from_secs(5);

/// Why something was not done in a chat.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The room.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The chat's memory.
    #[error(transparent)]
    Chat(#[from] chat::Error),
}

/// What a client asks for in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// It types in a room.
    Typing(String),
    /// It has read a room up to a message.
    Read(String, Place),
    /// It takes a message back.
    Recall(String, Place),
    /// It asks what it has not read in these rooms.
    Unread(Vec<String>),
    /// It acknowledges a message whose publisher waits for that.
    Acknowledge(String, Place),
}

/// Which message is meant: clients of the chat dialects know ids, others offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The one with this id.
    Id(MessageId),
    /// The one at this offset.
    Offset(u64),
}

/// Who shows a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: Arc<str>,
    /// The rooms that the token grants.
    pub rooms: Vec<String>,
}

/// What a user has not read in a room.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The room.
    pub room: String,
    /// How far the user has read.
    pub read: Option<MessageId>,
    /// How many messages by others came since.
    pub unread: Unread,
    /// The last message.
    pub last: Option<Arc<Publication>>,
}

impl Gateway {
    /// The memory of chats.
    #[must_use]
    pub fn chat(&self) -> &Chat {
        &self.shared.means.chat
    }

    /// Who shows a token: a signed one, or one that the business API knows.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub async fn bearer(&self, token: &str) -> Result<Bearer, String> {
        let auth = Arc::clone(&self.shared.settings.load().auth);
        // What looks like a signed token is one, whatever other clients log in with.
        let mode = (token.matches('.').count() == 2).then_some(AuthMode::Jwt);
        let credentials = Credentials { token: Some(token.to_owned()), ..Credentials::default() };
        match auth.check(credentials, mode, clock::wall().as_secs()).await {
            Ok(identity) => Ok(Bearer { user: identity.user, rooms: identity.rooms }),
            Err(Refusal::Expired) => Err("the token has expired: open the chat again".to_owned()),
            Err(Refusal::Close(reason)) => Err(reason.detail().into_owned()),
        }
    }

    /// May this user say or do something in a chat now, as often as `limits.publish_rate` lets its sessions publish?
    ///
    /// # Errors
    ///
    /// The seconds until it may.
    pub fn check_pace(&self, user: &str) -> Result<(), u64> {
        let settings = self.shared.settings.load();
        let pace = Pace { throttle: &self.shared.throttle, rates: &settings.rates, now: clock::uptime() };
        pace.check(Act::Publish, user, user).map_err(seconds)
    }

    /// Says something in a chat for a user without a session, and has the chat remember that it spoke.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; the message was not published.
    pub async fn say(&self, user: &str, room: &str, payload: Payload) -> Result<Published, ChatError> {
        let card = Card { user: user.into(), session: self.session_id(0), info: None };
        let publisher = Some(Arc::new(card));
        let message = Outgoing { publisher, is_chat: true, ..Outgoing::new(payload) };
        let published = self.publish(room, message).await?;
        // The message is out: that the list of customers does not show it is no reason to say that it is not.
        if let Err(error) = self.chat().said(user, room, unix_ms(), clock::uptime()) {
            tracing::warn!(room, %error, "a chat could not remember that somebody spoke");
        }
        Ok(published)
    }

    /// Tells a room that a user types, once a second at the most; false when that was too often.
    ///
    /// # Errors
    ///
    /// [`ChatError`] when the room has too much to do.
    pub fn tell_typing(&self, user: &str, room: &str) -> Result<bool, ChatError> {
        let may = self.chat().may_type(user, room, clock::uptime());
        if may {
            let signal = Outgoing {
                ttl: Some(TYPING_TTL),
                conflation_key: Some(format!("typing {user}").into()),
                ..signal("typing", &json!({ "type": "typing", "mid": user }))
            };
            self.signal(room, signal)?;
        }
        Ok(may)
    }

    /// Notes that a user has read a room up to a message, and tells the room; false when it had before.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; then the offset is where it was.
    pub fn mark_read(&self, user: &str, room: &str, id: MessageId) -> Result<bool, ChatError> {
        self.shared.receipts.acknowledged(room, Acknowledged::Id(id), &user.into());
        let moved = self.chat().ack(user, room, id, unix_ms())?;
        if moved {
            let said = json!({ "type": "read", "mid": user, "id": id.to_string() });
            // The receipt is worth less than the offset: a busy room does without it.
            self.signal(room, signal("read", &said)).ok();
        }
        Ok(moved)
    }

    /// Takes a message back for its author, or for the staff of the room's shop, and tells the room.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; then the message is as it was.
    pub async fn recall(&self, user: &str, room: &str, id: MessageId) -> Result<(), ChatError> {
        let window = u64::try_from(self.chat().recall_window().as_millis()).unwrap_or(u64::MAX);
        let author = (!self.chat().is_staff(user, room)?).then(|| user.into());
        let recall = Recall { id, author, oldest: unix_ms().saturating_sub(window) };
        let (asker, answer) = oneshot::channel();
        let step = Step::Ask(Question::Recall(recall), Asker::Caller(asker));
        self.shared.submit(room, step, true).map_err(|_| RoomError::Busy)?;
        answer.await.unwrap_or(Err(RoomError::Stopping))?;
        let said = json!({ "type": "recall", "id": id.to_string(), "mid": user });
        self.signal(room, signal("recall", &said))?;
        Ok(())
    }

    /// What a user has not read in rooms, and what was said there last; of [`ROOMS_MAX`] rooms at the most.
    ///
    /// # Errors
    ///
    /// [`ChatError`] when it can not be read.
    pub async fn unread(&self, user: &str, rooms: &[String]) -> Result<Vec<Standing>, ChatError> {
        let mut standings = Vec::new();
        for room in rooms.iter().take(ROOMS_MAX) {
            let read = self.chat().read(user, room)?;
            let unread = self.chat().unread(user, room)?;
            let query = Query { limit: 1, since: None, reverse: true };
            let last = match self.history(room, query, None).await {
                Ok(page) => page.publications.into_iter().next(),
                Err(RoomError::NoHistory) => None,
                Err(error) => return Err(error.into()),
            };
            standings.push(Standing { room: room.clone(), read, unread, last });
            // A count may look at many messages: others come in between.
            tokio::task::yield_now().await;
        }
        Ok(standings)
    }

    /// Carries out what a client asks for; gives the answer.
    pub(super) async fn call(&self, user: &Arc<str>, call: Call) -> Result<Value, ChatError> {
        Ok(match call {
            Call::Typing(room) => json!({ "told": self.tell_typing(user, &room)? }),
            Call::Read(room, place) => {
                let id = self.message_at(&room, place).await?;
                json!({ "moved": self.mark_read(user, &room, id)? })
            }
            Call::Recall(room, place) => {
                let id = self.message_at(&room, place).await?;
                self.recall(user, &room, id).await?;
                json!({})
            }
            Call::Acknowledge(room, place) => {
                let message = match place {
                    Place::Id(id) => Acknowledged::Id(id),
                    Place::Offset(offset) => Acknowledged::Offset(offset),
                };
                json!({ "awaited": self.shared.receipts.acknowledged(&room, message, user) })
            }
            Call::Unread(rooms) => {
                let standings = self.unread(user, &rooms).await?;
                json!({ "rooms": standings.iter().map(Standing::json).collect::<Vec<_>>() })
            }
        })
    }

    async fn message_at(&self, room: &str, place: Place) -> Result<MessageId, RoomError> {
        let offset = match place {
            Place::Id(id) => return Ok(id),
            Place::Offset(offset) => offset,
        };
        let query = Query { limit: 1, since: Some(offset.saturating_sub(1)), reverse: false };
        let found = self.history(room, query, None).await?.publications.into_iter().next();
        let found = found.filter(|found| found.offset == offset);
        found.map(|found| found.id).ok_or(RoomError::Recall(RecallError::Unknown))
    }

    fn signal(&self, room: &str, signal: Outgoing) -> Result<(), RoomError> {
        self.shared.publish(room, signal, None, Asker::Nobody).map(drop).map_err(|_| RoomError::Busy)
    }
}

impl Standing {
    /// As clients are told: `{"room","read","unread","more","last"}`.
    #[must_use]
    pub fn json(&self) -> Value {
        let last = self.last.as_ref().map(|last| {
            let data = serde_json::from_str(&last.payload.json()).unwrap_or(Value::Null);
            json!({ "id": last.id.to_string(), "offset": last.offset, "data": data })
        });
        json!({
            "room": self.room,
            "read": self.read.map(|read| read.to_string()),
            "unread": self.unread.count,
            "more": self.unread.more,
            "last": last,
        })
    }
}

fn signal(kind: &str, said: &Value) -> Outgoing {
    Outgoing {
        skip_history: true,
        tags: BTreeMap::from([(SIGNAL.to_owned(), kind.to_owned())]),
        ..Outgoing::new(Payload::from_text(&said.to_string()))
    }
}

pub(super) fn unix_ms() -> u64 {
    u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX)
}
