//! What a Centrifuge client asks for, however it was encoded.
//!
//! As in the protocol, a member that is missing has its default: an empty name of a room is for whoever carries the
//! command out to refuse.

use std::collections::BTreeMap;

use crate::wire::payload::Payload;

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The number that the reply repeats.
    pub id: u32,
    /// What is asked.
    pub method: Method,
}

/// The methods of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Log in; must come first.
    Connect(Box<Connect>),
    /// Join a room.
    Subscribe(Box<Subscribe>),
    /// Leave a room.
    Unsubscribe {
        /// The room.
        channel: String,
    },
    /// Publish into a room.
    Publish(Publish),
    /// Who is in a room.
    Presence {
        /// The room.
        channel: String,
    },
    /// How many are in a room.
    PresenceStats {
        /// The room.
        channel: String,
    },
    /// What was published in a room.
    History(History),
    /// Ask for a sign of life.
    Ping,
    /// An empty command: the answer to the server's ping.
    Pong,
    /// A message to the server, without a reply.
    Send {
        /// The message; none when there is nothing in it.
        data: Option<Payload>,
    },
    /// Call the server.
    Rpc {
        /// The name of what is called, may be empty.
        method: String,
        /// The arguments.
        data: Option<Payload>,
    },
    /// Renew the token before it expires.
    Refresh {
        /// The new token.
        token: String,
    },
    /// Renew the token of a subscription before it expires.
    SubRefresh {
        /// The room.
        channel: String,
        /// The new token.
        token: String,
        /// What is asked beyond renewing, and not offered.
        beyond: Option<&'static str>,
    },
    /// No method, or one that the protocol does not have.
    Unknown,
}

/// The parameters of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// The token, empty when there is none.
    pub token: String,
    /// The name of the client's library.
    pub name: String,
    /// The version of the client's library.
    pub version: String,
    /// What the client tells the business API.
    pub data: Option<Payload>,
    /// Where the client stands in the rooms that the server joined it to before.
    pub subs: BTreeMap<String, Subscribe>,
    /// What would stand in the request's headers, from clients that cannot set those.
    pub headers: BTreeMap<String, String>,
}

/// The parameters of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// The room; empty in [`Connect::subs`], where it is the key.
    pub channel: String,
    /// The subscription's own token, empty when there is none.
    pub token: String,
    /// Whether to send what came after the position below.
    pub recover: bool,
    /// The epoch of the last publication that the client has.
    pub epoch: String,
    /// The offset of the last publication that the client has.
    pub offset: u64,
    /// What the client tells the business API.
    pub data: Option<Payload>,
    /// Whether the client wants to be told when its position is lost.
    pub positioned: bool,
    /// Whether the client wants to be able to recover.
    pub recoverable: bool,
    /// Whether the client wants to be told who joins and leaves.
    pub join_leave: bool,
    /// The kind of differences that the client can put together, empty for none.
    pub delta: String,
    /// Whether an error is to be the answer when not all can be recovered.
    pub reject_unrecovered: bool,
    /// What is asked beyond this, and not offered.
    pub beyond: Option<&'static str>,
}

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The room.
    pub channel: String,
    /// The message; none when there is nothing in it.
    pub data: Option<Payload>,
    /// What is asked beyond this, and not offered.
    pub beyond: Option<&'static str>,
}

/// A place in a room's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPosition {
    /// The number of the publication.
    pub offset: u64,
    /// The stream's epoch.
    pub epoch: String,
}

/// Which part of a room's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The room.
    pub channel: String,
    /// How many publications; 0 for the position only, less for all.
    pub limit: i32,
    /// Where to begin, exclusively.
    pub since: Option<StreamPosition>,
    /// Whether the newest come first.
    pub reverse: bool,
}

/// Commands that came by HTTP for a session whose own connection only leads to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulation {
    /// The node that the client was told at its login.
    pub node: String,
    /// The session that the client was told at its login.
    pub session: String,
    /// A frame of commands.
    pub frame: Vec<u8>,
}

/// Why a frame could not be read; nothing of it was carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line is not a JSON object.
    #[error("line {line} is no JSON object: {why}")]
    NotJson {
        /// The line in the frame, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// A method's parameters are not what the protocol says.
    #[error("line {line}: bad parameters of {method}: {why}")]
    BadParameters {
        /// The line in the frame, from 1.
        line: usize,
        /// The method.
        method: &'static str,
        /// What the parser says.
        why: String,
    },
    /// A command's length is cut, or more than a frame can have.
    #[error("command {command} does not begin with its length")]
    NoLength {
        /// The command in the frame, from 1.
        command: usize,
    },
    /// A command claims to be longer than its frame.
    #[error("command {command} claims {claimed} bytes, and {left} are left in the frame")]
    Short {
        /// The command in the frame, from 1.
        command: usize,
        /// The length that it claims.
        claimed: u64,
        /// What follows the length.
        left: usize,
    },
    /// A command is not what the protocol says.
    #[error("command {command}: bad {message}: {why}")]
    NotProtobuf {
        /// The command in the frame, from 1.
        command: usize,
        /// The message of the protocol.
        message: &'static str,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// The frame holds no command.
    #[error("the frame is empty")]
    Empty,
    /// The frame holds too many commands.
    #[error("the frame holds more than {max} commands")]
    TooMany {
        /// How many a frame may hold.
        max: usize,
    },
}

/// What is wrong with a Protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The message ends within a field.
    #[error("it ends within a field")]
    Cut,
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    TooLong,
    /// A field has the number 0 or one that Protobuf does not have.
    #[error("field number {0} is none of 1 to 536870911")]
    Field(u64),
    /// A field is of a kind that Protobuf does not have any more.
    #[error("field {field} has the wire type {kind}, and only 0, 1, 2 and 5 are in use")]
    Kind {
        /// The field's number.
        field: u32,
        /// The wire type.
        kind: u8,
    },
    /// A field is of another kind than the protocol says.
    #[error("field {0} has another wire type than the protocol says")]
    Mismatch(u32),
    /// A text is not UTF-8.
    #[error("field {0} is not UTF-8")]
    NotUtf8(u32),
}

/// The most commands in one frame: a client that joins all its rooms at once sends one for each.
pub(super) const COMMANDS_MAX: usize = 1024;

/// The bit of a subscription's flags that asks for [`Subscribe::reject_unrecovered`].
pub(super) const REJECT_UNRECOVERED: i64 = 2;

/// What a subscription can ask beyond what is offered.
pub(super) const FILTER: &str = "a filter by tags (tf)";

/// What a subscription, a publication or a renewal can ask beyond what is offered.
pub(super) const TYPE: &str = "a type other than 0";
