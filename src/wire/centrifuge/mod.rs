//! The Centrifuge client protocol, version 2, in its two encodings.
//!
//! A client sends commands, several per frame; each has an `id` and one method ([`Command`]). The server answers with
//! replies that carry the same `id` ([`Reply`]), and sends pushes without one ([`Push`]). An empty reply is a ping
//! from the server, and an empty command the client's pong. The model is one; [`Encoding`] turns it into what goes
//! over the wire:
//!
//! | | JSON | Protobuf |
//! |--|--|--|
//! | a frame of commands | one JSON object per line | each with its length before it |
//! | a reply or push | a JSON object; several are joined by line breaks | with its length before it; several follow each other |
//! | a message's data | any JSON value | bytes |
//! | websocket frames | text | binary |
//!
//! Source: `client.proto` of the protocol's published definitions. Of what it has gained in 2026, maps, filters by tags
//! and polls are asked for by a member `type` or `tf`: [`Subscribe::beyond`] names it, so that it can be refused;
//! compression by a dictionary and numbers in place of room names are asked for by flags, which the server may leave
//! unanswered.

mod codes;
mod command;
mod fields;
mod json;
mod protobuf;
mod push;
mod reply;
mod scan;

pub use codes::Disconnected;
pub use codes::Error;
pub use codes::Failure;
pub use codes::Unsubscribed;
pub use codes::comes_back;
pub use command::Command;
pub use command::Connect;
pub use command::Emulation;
pub use command::Fault;
pub use command::History;
pub use command::Method;
pub use command::Publish;
pub use command::StreamPosition;
pub use command::Subscribe;
pub use command::Unreadable;
pub use push::ClientInfo;
pub use push::Publication;
pub use push::Push;
pub use reply::ConnectResult;
pub use reply::HistoryResult;
pub use reply::Reply;
pub use reply::SubscribeResult;

use crate::wire::centrifuge::fields::Fields as _;
use crate::wire::centrifuge::fields::Json;
use crate::wire::centrifuge::fields::Protobuf;

/// How a client's connection is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Text.
    Json,
    /// Bytes.
    Protobuf,
}

/// Room for what stands around the data of a push, and for most replies.
const OVERHEAD: usize = 192;

impl Encoding {
    /// Reads the commands of one frame: at least one, at most 1024.
    ///
    /// # Errors
    ///
    /// [`Fault`] names the command and what is wrong with it.
    pub fn commands(self, frame: &[u8]) -> Result<Vec<Command>, Fault> {
        match self {
            Self::Json => json::commands(frame),
            Self::Protobuf => protobuf::commands(frame),
        }
    }

    /// Reads the body of a request that brings commands for a session whose connection leads to the client only.
    ///
    /// # Errors
    ///
    /// [`Fault`] says what is wrong with it.
    pub fn emulation(self, body: &[u8]) -> Result<Emulation, Fault> {
        match self {
            Self::Json => json::emulation(body),
            Self::Protobuf => protobuf::emulation(body),
        }
    }

    /// Reads the login that opens a connection which leads to the client only: no command is around it.
    ///
    /// # Errors
    ///
    /// [`Fault`] says what is wrong with it.
    pub fn connect(body: &[u8]) -> Result<Connect, Fault> {
        json::connect(body)
    }

    /// The reply to the command `id`.
    #[must_use]
    pub fn reply(self, id: u32, reply: &Reply<'_>) -> Vec<u8> {
        match self {
            Self::Json => Json::object(OVERHEAD, |out| reply.write(id, out)),
            Self::Protobuf => Protobuf::delimited(OVERHEAD, |out| reply.write(id, out)),
        }
    }

    /// A push about the room `channel`, which is empty where it is about none.
    #[must_use]
    pub fn push(self, channel: &str, push: &Push<'_>) -> Vec<u8> {
        let capacity = OVERHEAD + channel.len() + push.size();
        match self {
            Self::Json => {
                Json::object(capacity, |out| out.message(4, "push", |out| push.write(channel, out)))
            }
            Self::Protobuf => {
                Protobuf::delimited(capacity, |out| out.message(4, "push", |out| push.write(channel, out)))
            }
        }
    }

    /// A push as it goes over a connection that leads to the client only: no reply is around it, and no length before.
    #[must_use]
    pub fn bare_push(self, channel: &str, push: &Push<'_>) -> Vec<u8> {
        let capacity = OVERHEAD + channel.len() + push.size();
        match self {
            Self::Json => Json::object(capacity, |out| push.write(channel, out)),
            Self::Protobuf => Protobuf::bare(capacity, |out| push.write(channel, out)),
        }
    }

    /// A ping from the server: an empty reply.
    #[must_use]
    pub const fn ping(self) -> &'static [u8] {
        match self {
            Self::Json => b"{}",
            Self::Protobuf => &[0],
        }
    }
}

#[cfg(test)]
mod tests;
