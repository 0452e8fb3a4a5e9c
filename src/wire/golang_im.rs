//! golang-im, which openresty-im became: goim's packets, operations 12 to 17 for rooms, 18 to 21 for chat.
//!
//! The history is one packet with a JSON array; the answer to a read mark has no body. The original checks of a login
//! that its device is the MD5 of platform and user ([`device`]), which anybody can compute, and believes all the rest.

use serde::Deserialize;
use serde::Serialize;

use crate::wire::goim;
use crate::wire::goim::BadBody;
use crate::wire::goim::Loose;
use crate::wire::goim::Packet;
use crate::wire::goim::object;
use crate::wire::orim;
use crate::wire::orim::Message;

/// The longest body that the original takes from a client, in bytes.
pub const BODY_MAX: usize = goim::BODY_MAX;

/// The body that answers a login.
pub const AUTH_OK: &[u8] = b"ok";

/// The body that answers a client that has joined a room.
pub const SUBSCRIBED: &[u8] = b"subscribed room ok";

/// The body that answers a client that has left its room.
pub const UNSUBSCRIBED: &[u8] = b"unsubscribed room ok";

/// The body that answers a message from a client that is in no room.
pub const NO_ROOM: &[u8] = b"Not subscribing to a room";

/// How many messages the original sends when it is asked for the history: the newest, oldest first.
pub const SYNC_COUNT: usize = 51;

/// The numbers of the operations that are not goim's.
pub mod operation {
    /// A message to a client.
    pub const MESSAGE: i32 = 5;
    /// Ask for the history.
    pub const SYNC: i32 = 18;
    /// The history.
    pub const SYNC_REPLY: i32 = 19;
    /// The client has read up to a message.
    pub const ACK: i32 = 20;
    /// Its answer.
    pub const ACK_REPLY: i32 = 21;
}

/// What a packet of a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A sign of life: the answer has no body.
    Heartbeat,
    /// Log in; the answer is [`AUTH_OK`].
    Auth(Box<Auth>),
    /// Send the packet's body into the client's room.
    Send,
    /// Join the room instead of the one before; the answer has the next operation and [`SUBSCRIBED`].
    Join(String),
    /// Leave the room; the answer has the next operation and [`UNSUBSCRIBED`].
    Leave,
    /// Send the history, as [`history`].
    Sync,
    /// The client has read up to this message.
    Ack(u64),
    /// Nothing: the original ignores such packets.
    Other,
}

/// The body of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user.
    pub user: String,
    /// What should be [`device`] of platform and user.
    pub device: String,
    /// The room, as the client names it.
    pub room: Option<String>,
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
    /// Whether the device is that of the platform and the user: all that the original checks.
    #[must_use]
    pub fn has_its_device(&self) -> bool {
        self.device == device(&self.platform, &self.user)
    }
}

/// The device of a user on a platform, from public values.
#[must_use]
pub fn device(platform: &str, user: &str) -> String {
    orim::hex_md5(&format!("{platform}_{user}"))
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
        goim::operation::SEND => Request::Send,
        goim::operation::SUB | goim::operation::CHANGE_ROOM => match str::from_utf8(packet.body) {
            Ok("") => Request::Leave,
            Ok(room) => Request::Join(room.to_owned()),
            Err(_) => return Err(bad("the name of the room is not UTF-8".to_owned())),
        },
        goim::operation::UNSUB => Request::Leave,
        operation::SYNC => Request::Sync,
        operation::ACK => Request::Ack(orim::message_id(packet.body).map_err(bad)?),
        _ => Request::Other,
    })
}

/// The body of the history: an array of messages, each of them valid JSON.
#[must_use]
pub fn history<'a>(messages: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = vec![b'['];
    for (index, message) in messages.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(message.as_bytes());
    }
    out.push(b']');
    out
}

/// A message as golang-im writes it: user and shop are numbers where they can be.
#[must_use]
pub fn message(message: &Message) -> String {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Id<'a> {
        Number(u64),
        Text(&'a str),
    }
    #[derive(Serialize)]
    struct Members<'a> {
        user_id: Id<'a>,
        shop_id: Id<'a>,
        #[serde(rename = "type")]
        kind: &'a str,
        msg: &'a str,
        room_id: &'a str,
        dateline: u64,
        id: &'a str,
    }
    fn id(text: &str) -> Id<'_> {
        match text.parse() {
            Ok(number) if !text.starts_with(['0', '+']) || text == "0" => Id::Number(number),
            _ => Id::Text(text),
        }
    }
    let members = Members {
        user_id: id(&message.mid),
        shop_id: id(&message.shop_id),
        kind: &message.kind,
        msg: &message.msg,
        room_id: &message.room_id,
        dateline: message.dateline,
        id: &message.id,
    };
    serde_json::to_string(&members).expect("texts and numbers can be written")
}

fn auth(body: &[u8]) -> Result<Auth, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Members {
        user_id: Loose,
        device_id: Loose,
        nickname: Loose,
        face: Loose,
        room_id: Loose,
        shop_id: Loose,
        shop_name: Loose,
        shop_face: Loose,
        platform: Loose,
        token: Loose,
    }
    let members: Members = object("a login", body, r#"{"user_id":"1","platform":"web","device_id":"…"}"#)?;
    Ok(Auth {
        user: members.user_id.0,
        device: members.device_id.0,
        room: Some(members.room_id.0).filter(|room| !room.is_empty()),
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(operation: i32, body: &[u8]) -> Result<Request, BadBody> {
        request(&Packet { version: 1, operation, sequence: 1, body })
    }

    #[test]
    fn a_login_names_user_device_and_room() {
        let body = br#"{"user_id":"7","device_id":"d","room_id":"78000","platform":"web","unread":3,"last_message":[],"is_online":true}"#;
        let Ok(Request::Auth(auth)) = read(7, body) else { panic!("no login") };
        assert_eq!((auth.user.as_str(), auth.room.as_deref()), ("7", Some("78000")));
        assert!(!auth.has_its_device());
        assert!(Auth { device: "115a905de0133fd3b4109784c991ca5d".into(), ..*auth }.has_its_device());
    }

    #[test]
    fn rooms_are_joined_changed_and_left() {
        assert_eq!(read(14, b"78000"), Ok(Request::Join("78000".into())));
        assert_eq!(read(12, b"78001"), Ok(Request::Join("78001".into())));
        assert_eq!(read(12, b""), Ok(Request::Leave));
        assert_eq!(read(16, b"anything"), Ok(Request::Leave));
        assert_eq!(
            read(14, b"\xff").unwrap_err().to_string(),
            "bad body of operation 14: the name of the room is not UTF-8"
        );
    }

    #[test]
    fn the_history_is_one_array_and_a_read_mark_a_number() {
        assert_eq!(read(18, b""), Ok(Request::Sync));
        assert_eq!(read(20, b"1577469091634360321"), Ok(Request::Ack(1_577_469_091_634_360_321)));
        assert_eq!(history([]), b"[]");
        assert_eq!(history([r#"{"id":"1"}"#, r#"{"id":"2"}"#]), br#"[{"id":"1"},{"id":"2"}]"#);
    }

    #[test]
    fn a_message_has_numbers_where_the_original_has_them() {
        let example = Message {
            shop_id: "8000".into(),
            kind: "text".into(),
            msg: "a\"b".into(),
            room_id: "78000".into(),
            id: "9".into(),
            dateline: 1,
            mid: "visitor-7".into(),
        };
        let json = message(&example);
        assert_eq!(
            json,
            r#"{"user_id":"visitor-7","shop_id":8000,"type":"text","msg":"a\"b","room_id":"78000","dateline":1,"id":"9"}"#
        );
        assert_eq!(Message::read(json.as_bytes()), Ok(example));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(operation in 0..22_i32, body: Vec<u8>) {
            drop(read(operation, &body));
        }
    }
}
