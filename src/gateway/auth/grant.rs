//! What a token grants in one room.

use serde_json::value::RawValue;

/// What a token says about one room.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Grant {
    /// What others learn about the user in this room.
    pub info: Option<Box<RawValue>>,
    /// What the client gets with the news that it is in the room.
    pub data: Option<Box<RawValue>>,
    /// When the session must leave the room unless the grant is renewed, in Unix seconds.
    pub expires: Option<u64>,
    /// Where the token departs from the rules of the room.
    pub overrides: Overrides,
}

/// Rules of a room that a token may set for its session; `None`: as the room has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Overrides {
    /// The session shows among those who are there.
    pub presence: Option<bool>,
    /// Others are told when it comes and goes.
    pub join_leave: Option<bool>,
    /// It is told when others come and go, without asking for that.
    pub force_push_join_leave: Option<bool>,
    /// It gets what it missed, without asking for that.
    pub force_recovery: Option<bool>,
    /// It is told its position in the stream, without asking for that.
    pub force_positioning: Option<bool>,
}

/// Why a token for a room does not let its bearer in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum GrantRefusal {
    /// It counted once: the client should get a new one.
    Expired,
    /// It is no token for this, and why: for the log.
    Invalid(String),
    /// It belongs to another user, session or room: the session must end. Why: for the log.
    Foreign(String),
    /// It can not be checked now. Why: for the log.
    Unavailable(String),
}
