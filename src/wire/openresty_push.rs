//! The text dialect of the OpenResty push gateway (`/ws?token=`).
//!
//! Messages go to the client as text frames, as they are. Of what clients send, the original echoes texts of less
//! than ten bytes (its clients use them as heartbeats) and ignores the rest. Pillion does the same, with one
//! addition: a text in the form of the original's own room message, `{"cid":ROOM,"d":BASE64}`, which the
//! original's backends publish over Redis, publishes when a client sends it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::wire::payload::Payload;

/// The length in bytes from which on a client's text is no heartbeat.
pub const ECHO_BELOW: usize = 10;

/// What a client's text asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send it back.
    Echo,
    /// Publish into a room.
    Publish {
        /// The room.
        room: String,
        /// What to publish.
        payload: Payload,
    },
    /// Nothing: the original ignores such texts.
    Ignore,
}

#[derive(Deserialize)]
struct RoomMessage {
    cid: String,
    d: String,
}

/// Reads a client's text.
#[must_use]
pub fn read(text: &str) -> Request {
    if text.len() < ECHO_BELOW {
        return Request::Echo;
    }
    let Ok(message) = serde_json::from_str::<RoomMessage>(text) else { return Request::Ignore };
    let Some(content) = STANDARD.decode(&message.d).ok().and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return Request::Ignore;
    };
    Request::Publish { room: message.cid, payload: Payload::from_text(&content) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_texts_are_echoed_and_long_ones_ignored() {
        assert_eq!(read("ping"), Request::Echo);
        assert_eq!(read("123456789"), Request::Echo);
        assert_eq!(read("1234567890"), Request::Ignore);
        assert_eq!(read(r#"{"p":"anything else"}"#), Request::Ignore);
    }

    #[test]
    fn a_room_message_publishes_its_decoded_content() {
        let expected = Request::Publish { room: "r1".into(), payload: Payload::from_text("hello") };
        assert_eq!(read(r#"{"cid":"r1","type":"default","d":"aGVsbG8="}"#), expected);
    }

    #[test]
    fn content_that_is_no_base64_or_no_text_is_ignored() {
        assert_eq!(read(r#"{"cid":"r1","d":"***"}"#), Request::Ignore);
        assert_eq!(read(r#"{"cid":"r1","d":"//79"}"#), Request::Ignore);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_only_short_ones_are_echoed(text: String, room: String, content: Vec<u8>) {
            prop_assert_eq!(read(&text) == Request::Echo, text.len() < ECHO_BELOW);
            let message = serde_json::json!({ "cid": room, "d": STANDARD.encode(&content) }).to_string();
            match (read(&message), str::from_utf8(&content)) {
                (Request::Publish { room: read, payload }, Ok(text)) => {
                    prop_assert_eq!((read, payload.text().into_owned()), (room, text.to_owned()));
                }
                (request, text) => prop_assert!(request == Request::Ignore && text.is_err()),
            }
        }
    }
}
