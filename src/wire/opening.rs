//! What somebody speaks, told from the first bytes that came: for complaints about a wrong port or a wrong format.
//!
//! It is a guess for the eyes of an operator; nothing is decided by it.

use std::fmt;

/// What the first bytes of a stream or a datagram look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A JSON text.
    Json,
    /// Syslog, with or without a length before it.
    Syslog,
    /// Lumberjack of the first version, or of the second with key-value frames.
    Lumberjack1,
    /// Lumberjack of the second version, which beats speak.
    Lumberjack2,
    /// The first record of TLS, or its alert.
    Tls,
    /// HTTP, a request or an answer.
    Http,
}

impl Opening {
    /// Guesses; `None` when the bytes look like nothing known. One byte is enough for a guess, more make it better.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'{' | b'[', ..] => Some(Self::Json),
            [b'<', b'0'..=b'9', ..] | [b'<'] => Some(Self::Syslog),
            [b'1' | b'2', b'D', ..] | [b'1', b'W' | b'A' | b'C', ..] | [b'1'] => Some(Self::Lumberjack1),
            [b'2', b'W' | b'A' | b'C' | b'J', ..] | [b'2'] => Some(Self::Lumberjack2),
            // Records of TLS begin with their type and the version 3.x.
            [0x15 | 0x16, 3, ..] | [0x15 | 0x16] => Some(Self::Tls),
            [first, ..] if first.is_ascii_uppercase() => http(bytes),
            [b'1'..=b'9', ..] => counted(bytes),
            _ => None,
        }
    }
}

fn http(bytes: &[u8]) -> Option<Opening> {
    let starts = ["GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH ", "CONNECT ", "HTTP/"];
    let alike = |start: &str| bytes.iter().zip(start.as_bytes()).all(|(byte, expected)| byte == expected);
    starts.iter().any(|start| alike(start)).then_some(Opening::Http)
}

/// A length, a blank and a priority: syslog on streams, after RFC 6587.
fn counted(bytes: &[u8]) -> Option<Opening> {
    let digits = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    matches!(bytes.get(digits..), Some([b' ', b'<', ..])).then_some(Opening::Syslog)
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON lines",
            Self::Syslog => "syslog",
            Self::Lumberjack1 => "lumberjack with key-value frames (version 1)",
            Self::Lumberjack2 => "beats (lumberjack version 2)",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Opening::of(bytes), expected, "{}", bytes.escape_ascii());
        };
        check(b"{\"action\":1}", Some(Opening::Json));
        check(b"<134>1 2026", Some(Opening::Syslog));
        check(b"63 <134>", Some(Opening::Syslog));
        check(b"2W\0\0", Some(Opening::Lumberjack2));
        check(b"1W\0\0", Some(Opening::Lumberjack1));
        check(b"2D\0\0", Some(Opening::Lumberjack1));
        check(b"\x16\x03\x01", Some(Opening::Tls));
        check(b"\x15\x03\x03", Some(Opening::Tls));
        check(b"GET / HTTP/1.1", Some(Opening::Http));
        check(b"HTTP/1.1 400", Some(Opening::Http));
        for nothing in ["", "hello", "<html>", "12 apples", "Hello", "\0"] {
            check(nothing.as_bytes(), None);
        }
    }

    #[test]
    fn one_byte_is_enough_for_a_guess() {
        for (byte, expected) in [(b'{', Opening::Json), (b'<', Opening::Syslog), (b'1', Opening::Lumberjack1)]
        {
            assert_eq!(Opening::of(&[byte]), Some(expected));
        }
        assert_eq!(Opening::of(b"H"), Some(Opening::Http));
        assert_eq!(Opening::of(&[0x15]), Some(Opening::Tls));
    }
}
