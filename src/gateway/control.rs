//! What the rest of the program asks of the gateway: messages, rooms, users and sessions from outside.
//!
//! It publishes into rooms that live in this process, and knows no history, no presence and no users yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::clock;
use crate::config::Namespace;
use crate::gateway::Gateway;
use crate::gateway::rooms;
use crate::wire::centrifuge::Publisher;
use crate::wire::payload::Payload;

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What it says.
    pub payload: Payload,
    /// The sender's own id for it: a second one with the same id is not published again.
    pub id: Option<String>,
    /// The operation of goim clients.
    pub operation: Option<i32>,
    /// Labels for receivers.
    pub tags: BTreeMap<String, String>,
    /// True if it does not go into the room's history.
    pub skip_history: bool,
    /// A newer message with the same key takes its place where it still waits.
    pub key: Option<String>,
    /// How long it is worth delivering.
    pub ttl: Option<Duration>,
    /// Who says it.
    pub publisher: Option<Publisher>,
}

impl Outgoing {
    /// A message with nothing but its content.
    #[must_use]
    pub fn new(payload: Payload) -> Self {
        Self {
            payload,
            id: None,
            operation: None,
            tags: BTreeMap::new(),
            skip_history: false,
            key: None,
            ttl: None,
            publisher: None,
        }
    }
}

/// Where a message stands in its room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Its number; 0 in a room without history.
    pub offset: u64,
    /// The life of the room's stream.
    pub epoch: String,
    /// True if a message with the same id was published before.
    pub duplicate: bool,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The name is no name for a room.
    #[error("{0}")]
    BadRoom(String),
    /// Too much waits in the room.
    #[error("too many messages wait in the room")]
    Busy,
    /// It could not be kept.
    #[error("the message could not be stored: {0}")]
    Store(String),
}

/// Why a question about a room has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The name is no name for a room.
    #[error("{0}")]
    BadRoom(String),
    /// The namespace does not have it.
    #[error("the namespace of the room has it turned off")]
    Off,
    /// The stream does not have what comes behind the position any more.
    #[error("the room's history does not reach back to that position")]
    Unrecoverable,
    /// The store failed.
    #[error("the room's history can not be read: {0}")]
    Store(String),
}

/// A part of a room's history.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// The most messages; -1 for all, 0 for the position alone.
    pub limit: i64,
    /// Only what came behind this position.
    pub since: Option<(u64, String)>,
    /// The newest first.
    pub reverse: bool,
}

/// A message in a room's history.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it says.
    pub payload: Payload,
    /// Who said it.
    pub publisher: Option<Publisher>,
    /// Its number.
    pub offset: u64,
    /// Labels.
    pub tags: BTreeMap<String, String>,
}

/// An answer to a [`HistoryQuery`].
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// The messages.
    pub publications: Vec<Arc<Kept>>,
    /// The number of the room's newest message.
    pub offset: u64,
    /// The life of the stream.
    pub epoch: String,
}

/// Who a session is, for others.
#[derive(Clone, Debug)]
pub struct Card {
    /// The session.
    pub session: String,
    /// Its user.
    pub user: String,
    /// What the login says about the user.
    pub info: Option<Box<RawValue>>,
}

/// Sessions that are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Those of a user.
    pub user: Option<String>,
    /// This one.
    pub session: Option<String>,
    /// But not these.
    pub except: Vec<String>,
}

/// How a session is subscribed from outside.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    /// What the room is told about the session.
    pub info: Option<Box<RawValue>>,
    /// What the session is told with the subscription.
    pub data: Option<Payload>,
    /// When the subscription ends, in Unix seconds.
    pub expires: Option<u64>,
    /// The session gets what came behind this position.
    pub since: Option<(u64, String)>,
    /// Overrides the namespace: the session shows up in the room's presence.
    pub presence: Option<bool>,
    /// Overrides the namespace: others hear of its coming and going.
    pub join_leave: Option<bool>,
    /// Overrides the namespace: the session is told its position.
    pub positioned: Option<bool>,
    /// Overrides the namespace: the session may recover.
    pub recoverable: Option<bool>,
}

/// How much is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Online {
    /// Sessions.
    pub connections: usize,
    /// Different users.
    pub users: usize,
    /// Different addresses.
    pub addresses: usize,
}

impl Gateway {
    /// Publishes into a room.
    ///
    /// # Errors
    ///
    /// [`PublishError`] says why not.
    pub async fn publish(&self, room: &str, outgoing: Outgoing) -> Result<Published, PublishError> {
        self.check_room(room).map_err(PublishError::BadRoom)?;
        let Outgoing { payload, publisher, .. } = outgoing;
        let publication = rooms::Publication { payload, publisher, at: clock::uptime() };
        self.shared.publish(room, publication).map_err(|_| PublishError::Busy)?;
        std::future::ready(Ok(Published::default())).await
    }

    /// A part of a room's history.
    ///
    /// # Errors
    ///
    /// [`RoomError`] says why there is none.
    pub async fn history(&self, room: &str, _query: HistoryQuery) -> Result<HistoryPage, RoomError> {
        std::future::ready(self.without(room)).await
    }

    /// Forgets a room's history.
    ///
    /// # Errors
    ///
    /// [`RoomError`] says why not.
    pub async fn history_remove(&self, room: &str) -> Result<(), RoomError> {
        std::future::ready(self.without(room)).await
    }

    /// Who is in a room.
    ///
    /// # Errors
    ///
    /// [`RoomError`] says why nobody knows.
    pub async fn presence(&self, room: &str) -> Result<Vec<Arc<Card>>, RoomError> {
        std::future::ready(self.without(room)).await
    }

    /// How many sessions and users are in a room.
    ///
    /// # Errors
    ///
    /// [`RoomError`] says why nobody knows.
    pub async fn presence_stats(&self, room: &str) -> Result<(usize, usize), RoomError> {
        std::future::ready(self.without(room)).await
    }

    /// The rooms with somebody in them whose name is `wanted`, and how many sessions are in each.
    #[must_use]
    pub fn rooms(&self, _wanted: impl Fn(&str) -> bool) -> Vec<(Arc<str>, usize)> {
        Vec::new()
    }

    /// How many sessions are in a room.
    #[must_use]
    pub fn room_count(&self, _room: &str) -> usize {
        0
    }

    /// Lets sessions enter a room; gives how many were told to.
    #[must_use]
    pub fn subscribe(&self, _target: &Target, _room: &str, _options: &SubscribeOptions) -> usize {
        0
    }

    /// Lets sessions leave a room; gives how many were told to.
    #[must_use]
    pub fn unsubscribe(&self, _target: &Target, _room: &str) -> usize {
        0
    }

    /// Ends sessions; gives how many.
    #[must_use]
    pub fn disconnect(&self, _target: &Target, _code: u16, _reason: &str) -> usize {
        0
    }

    /// Moves the end of sessions, or ends them as expired; gives how many.
    #[must_use]
    pub fn refresh(&self, _target: &Target, _expires: Option<u64>, _expired: bool) -> usize {
        0
    }

    /// Sends to all sessions of a user; gives how many.
    #[must_use]
    pub fn send_to_user(&self, _user: &str, _outgoing: &Outgoing) -> usize {
        0
    }

    /// Sends to the session with a key; false if there is none.
    #[must_use]
    pub fn send_to_session(&self, _key: &str, _outgoing: &Outgoing) -> bool {
        false
    }

    /// Sends to all sessions, so many a second; 0 is as fast as it goes.
    pub fn send_to_all(&self, _outgoing: Outgoing, _speed: u32) {}

    /// How much is going on.
    #[must_use]
    pub fn online(&self) -> Online {
        Online { connections: self.sessions(), ..Online::default() }
    }

    /// Puts other rules of rooms in force.
    pub fn change_namespaces(&self, namespaces: &[Namespace]) {
        self.shared.settings.rcu(|settings| settings.with_namespaces(namespaces));
    }

    fn check_room(&self, room: &str) -> Result<(), String> {
        self.shared.settings.load().rules.check_name(room).map_err(|denied| denied.to_string())
    }

    fn without<T>(&self, room: &str) -> Result<T, RoomError> {
        self.check_room(room).map_err(RoomError::BadRoom)?;
        Err(RoomError::Off)
    }
}
