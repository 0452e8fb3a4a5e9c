//! WebSocket frames from a server (RFC 6455, section 5): final, unmasked, in one piece.
//!
//! Reading frames is the library's work (`tungstenite`); writing them is ours, because a message that goes to a
//! thousand clients must be framed once and shared.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

/// The most bytes that a close frame's reason can have: a control frame carries 125, two of them the code.
pub const REASON_MAX: usize = 123;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// A text frame around `payload`.
#[must_use]
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// A binary frame around `payload`.
#[must_use]
pub fn binary(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// A ping frame without payload.
#[must_use]
pub fn ping() -> Bytes {
    frame(PING, &[])
}

/// A close frame; a reason that is too long is cut at a character.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let reason = reason.get(..reason.floor_char_boundary(REASON_MAX)).unwrap_or_default();
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    frame(CLOSE, &payload)
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(first);
    // The three lengths of RFC 6455, 5.2: 7 bits, or 126 and 16 bits, or 127 and 64 bits.
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ 0..=125), _) => out.put_u8(len),
        (_, Ok(len)) => {
            out.put_u8(126);
            out.put_u16(len);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload.len() as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tungstenite::Message;
    use tungstenite::WebSocket;
    use tungstenite::protocol::Role;

    fn read_back(frame: &Bytes) -> Message {
        WebSocket::from_raw_socket(Cursor::new(frame.to_vec()), Role::Client, None).read().unwrap()
    }

    #[test]
    fn a_client_reads_what_was_framed_at_every_length() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let payload = "x".repeat(len);
            assert_eq!(read_back(&binary(payload.as_bytes())), Message::binary(payload.clone()), "{len}");
            assert_eq!(read_back(&text(payload.as_bytes())), Message::text(payload), "{len}");
            assert_eq!(read_back(&binary(&vec![0xff; len])), Message::binary(vec![0xff; len]), "{len}");
        }
    }

    #[test]
    fn a_close_frame_carries_code_and_reason() {
        let Message::Close(Some(close)) = read_back(&close(4001, "token is nil.")) else {
            panic!("no close")
        };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4001, "token is nil."));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let Message::Close(Some(close)) = read_back(&close(1008, &"é".repeat(100))) else {
            panic!("no close")
        };
        assert_eq!(close.reason.as_str(), "é".repeat(61));
    }
}
