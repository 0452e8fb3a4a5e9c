//! What a Centrifuge client is told without having asked.

use std::collections::BTreeMap;

use crate::wire::centrifuge::fields::Fields;
use crate::wire::centrifuge::reply::ConnectResult;
use crate::wire::centrifuge::reply::SubscribeResult;
use crate::wire::payload::Payload;

/// Who published a message, joined or left, as far as the others may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo<'a> {
    /// The user.
    pub user: &'a str,
    /// The session.
    pub client: &'a str,
    /// What is known of the connection.
    pub conn_info: Option<&'a Payload>,
    /// What is known of the subscription.
    pub chan_info: Option<&'a Payload>,
}

impl ClientInfo<'_> {
    pub(super) fn write(&self, out: &mut impl Fields) {
        out.always_text(1, "user", self.user);
        out.always_text(2, "client", self.client);
        out.payload(3, "conn_info", self.conn_info);
        out.payload(4, "chan_info", self.chan_info);
    }
}

/// One message in a room.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The message.
    pub data: &'a Payload,
    /// Who published it, when it was a client.
    pub info: Option<ClientInfo<'a>>,
    /// Its number in the room's stream; 0 when the room keeps none.
    pub offset: u64,
    /// What is told beside it.
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// When it was published, in Unix milliseconds.
    pub time: Option<i64>,
    /// Whether the data is the difference to the message before it.
    pub delta: bool,
}

impl<'a> Publication<'a> {
    /// A publication that is nothing but its data.
    #[must_use]
    pub fn new(data: &'a Payload) -> Self {
        Self { data, info: None, offset: 0, tags: None, time: None, delta: false }
    }

    pub(super) fn write(&self, out: &mut impl Fields) {
        out.payload(4, "data", Some(self.data));
        if let Some(info) = self.info {
            out.message(5, "info", |out| info.write(out));
        }
        out.number(6, "offset", self.offset);
        if let Some(tags) = self.tags {
            out.tags(7, "tags", tags);
        }
        out.truth(8, "delta", self.delta);
        out.signed(9, "time", self.time.unwrap_or_default());
    }

    /// How long it is about, for a buffer of the right size.
    fn size(&self) -> usize {
        self.data.bytes().len()
            + self.info.and_then(|info| info.conn_info).map_or(0, |info| info.bytes().len())
    }
}

/// What is told without a question.
#[derive(Clone, Copy, Debug)]
pub enum Push<'a> {
    /// A message in the room.
    Publication(Publication<'a>),
    /// Somebody has joined the room.
    Join(ClientInfo<'a>),
    /// Somebody has left the room.
    Leave(ClientInfo<'a>),
    /// The server has ended the subscription: see [`crate::wire::centrifuge::Unsubscribed`].
    Unsubscribe {
        /// The number.
        code: u32,
        /// Why.
        reason: &'a str,
    },
    /// A message to this client, in no room.
    Message(&'a Payload),
    /// The server has joined the client to the room.
    Subscribe(&'a SubscribeResult<'a>),
    /// The login is done, on connections that lead to the client only.
    Connect(&'a ConnectResult<'a>),
    /// The server is about to close: see [`crate::wire::centrifuge::Disconnected`].
    Disconnect {
        /// The number.
        code: u32,
        /// Why.
        reason: &'a str,
        /// Whether the client should come back.
        reconnect: bool,
    },
    /// The connection's time was changed.
    Refresh {
        /// Seconds until it expires; none when it does not.
        ttl: Option<u32>,
    },
}

impl Push<'_> {
    /// Writes the push; `channel` is empty where it is about no room.
    pub(super) fn write(&self, channel: &str, out: &mut impl Fields) {
        out.text(2, "channel", channel);
        match self {
            Self::Publication(publication) => out.message(4, "pub", |out| publication.write(out)),
            Self::Join(info) => out.message(5, "join", |out| out.message(1, "info", |out| info.write(out))),
            Self::Leave(info) => out.message(6, "leave", |out| out.message(1, "info", |out| info.write(out))),
            Self::Unsubscribe { code, reason } => out.message(7, "unsubscribe", |out| {
                out.number(2, "code", u64::from(*code));
                out.text(3, "reason", reason);
            }),
            Self::Message(data) => out.message(8, "message", |out| out.payload(1, "data", Some(data))),
            Self::Subscribe(result) => out.message(9, "subscribe", |out| result.write_as_push(out)),
            Self::Connect(result) => out.message(10, "connect", |out| result.write_as_push(out)),
            Self::Disconnect { code, reason, reconnect } => out.message(11, "disconnect", |out| {
                out.number(1, "code", u64::from(*code));
                out.text(2, "reason", reason);
                out.truth(3, "reconnect", *reconnect);
            }),
            Self::Refresh { ttl } => out.message(12, "refresh", |out| {
                out.truth(1, "expires", ttl.is_some());
                out.number(2, "ttl", u64::from(ttl.unwrap_or_default()));
            }),
        }
    }

    /// How long it is about, for a buffer of the right size.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.size(),
            Self::Message(data) => data.bytes().len(),
            _ => 0,
        }
    }
}
