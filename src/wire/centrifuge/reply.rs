//! What a Centrifuge client is told when it has asked.

use crate::wire::centrifuge::codes::Failure;
use crate::wire::centrifuge::fields::Fields;
use crate::wire::centrifuge::push::ClientInfo;
use crate::wire::centrifuge::push::Publication;
use crate::wire::payload::Payload;

/// The answer to a command.
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// The login is done.
    Connect(&'a ConnectResult<'a>),
    /// The room is joined.
    Subscribe(&'a SubscribeResult<'a>),
    /// The room is left.
    Unsubscribe,
    /// The message was taken.
    Publish,
    /// Who is in the room: by session.
    Presence(&'a [ClientInfo<'a>]),
    /// How many are in the room.
    PresenceStats {
        /// The sessions.
        clients: u32,
        /// The users.
        users: u32,
    },
    /// What was published.
    History(&'a HistoryResult<'a>),
    /// A sign of life.
    Ping,
    /// What the call gave.
    Rpc(Option<&'a Payload>),
    /// The token was renewed.
    Refresh {
        /// The session's id.
        client: &'a str,
        /// The server's version.
        version: &'a str,
        /// Seconds until the token expires; none when it does not.
        ttl: Option<u32>,
    },
    /// The subscription's token was renewed.
    SubRefresh {
        /// Seconds until the token expires; none when it does not.
        ttl: Option<u32>,
    },
    /// The command failed.
    Error(Failure<'a>),
}

impl Reply<'_> {
    /// Writes the reply to the command `id`.
    pub(super) fn write(&self, id: u32, out: &mut impl Fields) {
        out.number(1, "id", u64::from(id));
        match self {
            Self::Error(failure) => out.message(2, "error", |out| {
                out.number(1, "code", u64::from(failure.code));
                out.text(2, "message", &failure.message);
                out.truth(3, "temporary", failure.temporary);
            }),
            Self::Connect(result) => out.message(5, "connect", |out| result.write(out)),
            Self::Subscribe(result) => out.message(6, "subscribe", |out| result.write(out)),
            Self::Unsubscribe => out.message(7, "unsubscribe", |_| ()),
            Self::Publish => out.message(8, "publish", |_| ()),
            Self::Presence(clients) => out.message(9, "presence", |out| {
                let by_session = clients.iter().map(|info| (info.client, info));
                out.map(1, "presence", by_session, |out, info| info.write(out));
            }),
            Self::PresenceStats { clients, users } => out.message(10, "presence_stats", |out| {
                out.number(1, "num_clients", u64::from(*clients));
                out.number(2, "num_users", u64::from(*users));
            }),
            Self::History(result) => out.message(11, "history", |out| result.write(out)),
            Self::Ping => out.message(12, "ping", |_| ()),
            Self::Rpc(data) => out.message(13, "rpc", |out| out.payload(1, "data", *data)),
            Self::Refresh { client, version, ttl } => out.message(14, "refresh", |out| {
                out.text(1, "client", client);
                out.text(2, "version", version);
                expiry(3, *ttl, out);
            }),
            Self::SubRefresh { ttl } => out.message(15, "sub_refresh", |out| expiry(1, *ttl, out)),
        }
    }
}

/// Two fields side by side, everywhere: whether there is an end, and the seconds until then.
fn expiry(field: u8, ttl: Option<u32>, out: &mut impl Fields) {
    out.truth(field, "expires", ttl.is_some());
    out.number(field + 1, "ttl", u64::from(ttl.unwrap_or_default()));
}

/// What a client learns at login.
#[derive(Clone, Debug, Default)]
pub struct ConnectResult<'a> {
    /// The session's id.
    pub client: &'a str,
    /// The server's version.
    pub version: &'a str,
    /// Seconds until the token expires; none when it does not.
    pub ttl: Option<u32>,
    /// What the business API tells the client.
    pub data: Option<&'a Payload>,
    /// The rooms that the server joined for the client.
    pub subs: Vec<(&'a str, SubscribeResult<'a>)>,
    /// Seconds between the server's pings.
    pub ping: u32,
    /// Whether the client is to answer the pings.
    pub pong: bool,
    /// What names the session in [`crate::wire::centrifuge::Emulation`], empty where it is not needed.
    pub session: &'a str,
    /// The node that carries the session.
    pub node: &'a str,
    /// The server's time, in Unix milliseconds.
    pub time: Option<i64>,
}

impl ConnectResult<'_> {
    fn write(&self, out: &mut impl Fields) {
        self.write_head(out);
        expiry(3, self.ttl, out);
        out.payload(5, "data", self.data);
        self.write_subs(6, out);
        self.write_tail(out);
    }

    /// The same in a push, which has three of the fields in another place.
    pub(super) fn write_as_push(&self, out: &mut impl Fields) {
        self.write_head(out);
        out.payload(3, "data", self.data);
        self.write_subs(4, out);
        expiry(5, self.ttl, out);
        self.write_tail(out);
    }

    fn write_head(&self, out: &mut impl Fields) {
        out.text(1, "client", self.client);
        out.text(2, "version", self.version);
    }

    fn write_subs(&self, field: u8, out: &mut impl Fields) {
        let subs = self.subs.iter().map(|(channel, result)| (*channel, result));
        out.map(field, "subs", subs, |out, result| result.write(out));
    }

    fn write_tail(&self, out: &mut impl Fields) {
        out.number(7, "ping", u64::from(self.ping));
        out.truth(8, "pong", self.pong);
        out.text(9, "session", self.session);
        out.text(10, "node", self.node);
        out.signed(11, "time", self.time.unwrap_or_default());
    }
}

/// What a client learns when it joins a room.
#[derive(Clone, Debug, Default)]
pub struct SubscribeResult<'a> {
    /// Seconds until the subscription expires; none when it does not.
    pub ttl: Option<u32>,
    /// Whether the client can recover what it misses.
    pub recoverable: bool,
    /// The stream's epoch.
    pub epoch: &'a str,
    /// What was published after the client's position, oldest first.
    pub publications: Vec<Publication<'a>>,
    /// Whether that is all that the client missed.
    pub recovered: bool,
    /// The stream's newest offset.
    pub offset: u64,
    /// Whether the client will be told when its position is lost.
    pub positioned: bool,
    /// What the business API tells the client.
    pub data: Option<&'a Payload>,
    /// Whether the client had asked to recover.
    pub was_recovering: bool,
    /// Whether publications may come as differences.
    pub delta: bool,
}

impl SubscribeResult<'_> {
    fn write(&self, out: &mut impl Fields) {
        expiry(1, self.ttl, out);
        out.truth(3, "recoverable", self.recoverable);
        out.text(6, "epoch", self.epoch);
        out.list(7, "publications", self.publications.iter(), |out, publication| publication.write(out));
        out.truth(8, "recovered", self.recovered);
        out.number(9, "offset", self.offset);
        out.truth(10, "positioned", self.positioned);
        out.payload(11, "data", self.data);
        out.truth(12, "was_recovering", self.was_recovering);
        out.truth(13, "delta", self.delta);
    }

    /// What of it a push can say.
    pub(super) fn write_as_push(&self, out: &mut impl Fields) {
        out.truth(1, "recoverable", self.recoverable);
        out.text(4, "epoch", self.epoch);
        out.number(5, "offset", self.offset);
        out.truth(6, "positioned", self.positioned);
        out.payload(7, "data", self.data);
    }
}

/// A part of a room's history, and where its stream stands.
#[derive(Clone, Debug, Default)]
pub struct HistoryResult<'a> {
    /// The publications.
    pub publications: Vec<Publication<'a>>,
    /// The stream's epoch.
    pub epoch: &'a str,
    /// The stream's newest offset.
    pub offset: u64,
}

impl HistoryResult<'_> {
    fn write(&self, out: &mut impl Fields) {
        out.list(1, "publications", self.publications.iter(), |out, publication| publication.write(out));
        out.text(2, "epoch", self.epoch);
        out.number(3, "offset", self.offset);
    }
}
