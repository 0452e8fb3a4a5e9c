//! openresty-im: goim's packets with operations of its own for chat, between a shop and its customers.
//!
//! A room is the two numbers of shop and customer, the smaller first, with nothing between them (`live://8000202405211`).
//! Operations 14 to 17 mean other things than goim's, and the two cannot be told apart by their packets: the dialect
//! must be known from the address. Messages are JSON objects ([`Message`]) and travel one in a packet.
//!
//! The original checks of a login that its key is the MD5 of its user and room ([`key`]), which anybody can compute, and
//! believes all the rest.

mod message;

pub use message::Message;

use md5::Digest as _;
use md5::Md5;
use serde::Deserialize;

use crate::wire::goim;
use crate::wire::goim::BadBody;
use crate::wire::goim::List;
use crate::wire::goim::Loose;
use crate::wire::goim::Packet;
use crate::wire::goim::object;

/// The longest body that the original takes from a client, in bytes: a websocket frame of 65 535 less the header.
pub const BODY_MAX: usize = 65_535 - goim::HEADER;

/// The body that answers a login.
pub const AUTH_OK: &[u8] = b"ok";

/// The reason of the close frame that answers a login with a wrong key; its code is 1000.
pub const AUTH_ERROR: &str = "auth error";

/// The type of all rooms.
pub const ROOM_TYPE: &str = "live://";

/// How many messages the original sends when it is asked for the history: the newest, oldest first.
pub const SYNC_COUNT: usize = 26;

/// The numbers of the operations that are not goim's.
pub mod operation {
    /// A message to a client.
    pub const MESSAGE: i32 = 5;
    /// Ask for the history.
    pub const SYNC: i32 = 14;
    /// A message of the history.
    pub const SYNC_REPLY: i32 = 15;
    /// The client has read up to a message.
    pub const ACK: i32 = 16;
    /// Its answer, with the same body.
    pub const ACK_REPLY: i32 = 17;
}

/// What a packet of a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A sign of life: the answer has no body.
    Heartbeat,
    /// Log in; the answer is [`AUTH_OK`].
    Auth(Box<Auth>),
    /// Send the history.
    Sync,
    /// The client has read up to this message.
    Ack(u64),
    /// Nothing: the original ignores such packets.
    Other,
}

/// The body of a login: the configuration of the chat page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user.
    pub user: String,
    /// The room, always with its type.
    pub room: String,
    /// What should be [`key`] of the two.
    pub key: String,
    /// The rooms whose messages the client wants, always with their type.
    pub accepts: Vec<String>,
    /// The user's name.
    pub nickname: String,
    /// The address of the user's picture.
    pub face: String,
    /// The other side of the room.
    pub shop_id: String,
    /// Its name.
    pub shop_name: String,
    /// The address of its picture.
    pub shop_face: String,
    /// What the client runs on.
    pub platform: String,
    /// The token, when the client brings one.
    pub token: Option<String>,
}

impl Auth {
    /// Whether the key is that of the user and the room: all that the original checks.
    #[must_use]
    pub fn has_its_key(&self) -> bool {
        self.key == key(&self.user, &self.room)
    }
}

/// The key of a user in a room, from public values.
#[must_use]
pub fn key(user: &str, room: &str) -> String {
    hex_md5(&format!("{user}-web-{room}"))
}

/// The room of that name, with its type.
#[must_use]
pub fn room(name: &str) -> String {
    if name.contains("://") { name.to_owned() } else { format!("{ROOM_TYPE}{name}") }
}

/// Reads what a client asks for.
///
/// # Errors
///
/// [`BadBody`] says what is wrong with the packet's body.
pub fn request(packet: &Packet<'_>) -> Result<Request, BadBody> {
    let bad = |why: String| BadBody { operation: packet.operation, why };
    Ok(match packet.operation {
        goim::operation::HEARTBEAT => Request::Heartbeat,
        goim::operation::AUTH => Request::Auth(Box::new(auth(packet.body).map_err(bad)?)),
        operation::SYNC => Request::Sync,
        operation::ACK => Request::Ack(message_id(packet.body).map_err(bad)?),
        _ => Request::Other,
    })
}

/// Reads the id of a message: decimal digits.
pub(in crate::wire) fn message_id(body: &[u8]) -> Result<u64, String> {
    let id = str::from_utf8(body).ok().map(str::trim).and_then(|text| text.parse().ok());
    id.filter(|id| *id > 0).ok_or_else(|| "the decimal id of a message is expected".to_owned())
}

/// The MD5 of a text, in hex.
pub(in crate::wire) fn hex_md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn auth(body: &[u8]) -> Result<Auth, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Members {
        room_id: Loose,
        accepts: List,
        key: Loose,
        mid: Loose,
        nickname: Loose,
        face: Loose,
        shop_id: Loose,
        shop_name: Loose,
        shop_face: Loose,
        platform: Loose,
        token: Loose,
    }
    let members: Members = object("a login", body, r#"{"mid":"1","room_id":"live://18000","key":"…"}"#)?;
    Ok(Auth {
        user: members.mid.0,
        room: room(&members.room_id.0),
        key: members.key.0,
        accepts: members.accepts.0.iter().map(|name| room(name)).collect(),
        nickname: members.nickname.0,
        face: members.face.0,
        shop_id: members.shop_id.0,
        shop_name: members.shop_name.0,
        shop_face: members.shop_face.0,
        platform: members.platform.0,
        token: Some(members.token.0).filter(|token| !token.is_empty()),
    })
}

#[cfg(test)]
mod tests;
