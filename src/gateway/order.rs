//! What others ask of a session: server-side subscriptions, their end, a renewed expiry, the end of everything.
//!
//! The session's own task carries orders out, between its client's commands, so that a session has one order of
//! events.

use std::sync::Arc;

use bytes::Bytes;

use crate::gateway::room::stream::Position;
use crate::gateway::session::Pass;

/// Something that is asked of a session.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Be in a room from now on.
    Subscribe {
        /// The room.
        room: String,
        /// Catch up from here.
        since: Option<Position>,
        /// What is known of the session there.
        pass: Pass,
        /// When it must leave, in Unix seconds.
        expires: Option<u64>,
    },
    /// Be in a room no longer; the client is told why.
    Unsubscribe {
        /// The room.
        room: String,
        /// The code that tells a Centrifuge client why: at 2500 and above it subscribes again.
        code: u32,
        /// The reason in words.
        reason: Arc<str>,
    },
    /// The client has been told that it must subscribe again, because it missed messages.
    Lapse {
        /// The room.
        room: Arc<str>,
    },
    /// The login expires at this Unix time; never without one.
    Expire {
        /// In Unix seconds.
        at: Option<u64>,
    },
    /// The login, or the stay in a room, may have expired.
    Expired,
    /// Commands that came by another way than the connection.
    Input(Bytes),
}
