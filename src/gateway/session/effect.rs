//! What a session decides, for the connection to carry out.

use std::sync::Arc;

use bytes::Bytes;

use crate::gateway::CloseReason;
use crate::gateway::chat::Call;
use crate::gateway::form::Form;
use crate::gateway::form::answer;
use crate::gateway::frame::Frame;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::Welcome;
use crate::gateway::room::stream::Position;
use crate::gateway::session::Credentials;
use crate::wire::goim;
use crate::wire::goim::Packet;
use crate::wire::payload::Payload;

/// What the connection must do for the session.
#[derive(Debug)]
pub(in crate::gateway) enum Effect {
    /// Write a frame.
    Send(Bytes),
    /// Check credentials, then call [`super::Session::login`].
    Login(Credentials),
    /// The login succeeded: enter the rooms, then write the greeting, with no message in between lost.
    Enter {
        /// The rooms that the login grants.
        rooms: Vec<Entrance>,
        /// What must come before any message.
        greeting: Greeting,
    },
    /// Enter a room; the welcome must come before the room's first message.
    Join {
        /// The room, and what is known of it.
        entrance: Entrance,
        /// What the client is told.
        welcome: Welcome,
    },
    /// Leave a room.
    Leave {
        /// The room.
        room: String,
        /// What the client is told behind the last message.
        notice: Option<Frame>,
    },
    /// Publish into a room.
    Publish {
        /// The room.
        room: String,
        /// The message.
        payload: Payload,
        /// The command to answer, where the dialect has answers.
        command: Option<u32>,
    },
    /// Ask something of a room, and answer the command with what it says.
    Ask {
        /// The room.
        room: String,
        /// The question.
        question: Question,
        /// The command.
        command: u32,
    },
    /// A token for one room is to be checked, then call [`super::Session::vouched`].
    Vouch(Box<Vouching>),
    /// A renewed token is to be checked, then call [`super::Session::refreshed`].
    Refresh(Credentials),
    /// The time when the login expires has changed.
    Renewed,
    /// Take pushes of these operations from others than rooms.
    Accept(Box<[i32]>),
    /// Answer a heartbeat with the number of sessions in this room.
    Count {
        /// The room, if the client is in one.
        room: Option<String>,
        /// What to answer.
        heartbeat: Heartbeat,
    },
    /// The client has read a room up to a message; then write the reply.
    Read {
        /// The room, if the client is in one.
        room: Option<String>,
        /// The id of the message.
        message: u64,
        /// The reply.
        reply: Bytes,
    },
    /// Do something in a chat, and answer the command.
    Call {
        /// What.
        call: Call,
        /// The command.
        command: u32,
    },
    /// The rules say no: for the log, the client has its answer.
    Refused(String),
    /// End the session.
    Close(CloseReason),
}

/// A heartbeat of goim, whose answer repeats its version and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Heartbeat {
    /// The packet's version.
    pub(in crate::gateway) version: i16,
    /// Its number.
    pub(in crate::gateway) sequence: i32,
}

impl Heartbeat {
    /// The answer, when so many sessions are in the room.
    pub(in crate::gateway) fn answer(self, form: Form, count: usize) -> Bytes {
        let Self { version, sequence } = self;
        let operation = goim::operation::HEARTBEAT_REPLY;
        answer(form, Packet { version, operation, sequence, body: &goim::online(count) })
    }
}

/// A token for one room, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Vouching {
    /// The command to answer.
    pub(in crate::gateway) command: u32,
    /// The token.
    pub(in crate::gateway) token: String,
    /// The room, and what is known of it.
    pub(in crate::gateway) entrance: Entrance,
    /// True when the session is in the room and the token renews its stay.
    pub(in crate::gateway) renews: bool,
}

/// A room on the way into it, and what the client knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Entrance {
    /// The room.
    pub(in crate::gateway) room: String,
    /// Where the client left the room's stream.
    pub(in crate::gateway) since: Option<Position>,
    /// True when it wants what it missed.
    pub(in crate::gateway) recovers: bool,
    /// True when it wants to hear who comes and goes.
    pub(in crate::gateway) join_leave: bool,
    /// What a token says about the session in this room.
    pub(in crate::gateway) pass: Pass,
}

/// What a token says about a session in one room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Pass {
    /// For others in the room.
    pub(in crate::gateway) info: Option<Arc<Payload>>,
    /// For the client, with the news that it is in the room.
    pub(in crate::gateway) data: Option<Arc<Payload>>,
    /// Seconds until it must leave, unless the token is renewed.
    pub(in crate::gateway) ttl: Option<u32>,
    /// True when it does not show among those who are there.
    pub(in crate::gateway) hidden: bool,
}

impl Entrance {
    /// Into a room of which nothing is known.
    pub(in crate::gateway) fn of(room: String) -> Self {
        Self { room, ..Self::default() }
    }
}
