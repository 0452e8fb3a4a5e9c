//! What a message carries from one dialect to another: a JSON value, a text, or bytes that are neither.
//!
//! Centrifuge clients speak JSON values or bytes, the original push gateway's clients plain text, goim's packets carry
//! bytes. Each message is kept as it came, and told to each client in what its dialect can say:
//!
//! | kept | JSON | text | bytes |
//! |--|--|--|--|
//! | JSON string | as it is | its content | the JSON |
//! | other JSON | as it is, on one line | the JSON | the JSON |
//! | text | a JSON string | as it is | as it is |
//! | binary | a JSON string in Base64 | Base64 | as it is |
//!
//! So `{"a":1}` published on any side arrives as `{"a":1}` on all, `hello` arrives as `hello` there and `"hello"`
//! here, and whoever speaks the dialect of the publisher gets what was published, byte by byte.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

/// The content of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    content: Content,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    /// A valid JSON value.
    Json(Box<str>),
    Text(Box<str>),
    Binary(Box<[u8]>),
}

/// What a payload is: with its bytes, all that must be kept to have it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON value.
    Json,
    /// A text.
    Text,
    /// Bytes.
    Binary,
}

impl Payload {
    /// A JSON value that a client sent.
    #[must_use]
    pub fn from_json(value: &RawValue) -> Self {
        Self { content: Content::Json(value.get().into()) }
    }

    /// A text that a client sent: an object or array is taken as JSON, anything else as a text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let looks_structured = text.trim_ascii_start().starts_with(['{', '[']);
        let is_json = looks_structured && serde_json::from_str::<&RawValue>(text).is_ok();
        Self { content: if is_json { Content::Json(text.into()) } else { Content::Text(text.into()) } }
    }

    /// Bytes of a dialect whose clients send text by custom (goim): what is UTF-8 is taken as [`Self::from_text`] does.
    #[must_use]
    pub fn from_body(body: &[u8]) -> Self {
        str::from_utf8(body).map_or_else(|_| Self::binary(body), Self::from_text)
    }

    /// Bytes of a dialect whose clients send JSON by custom (Centrifuge's Protobuf): any JSON value is taken as JSON,
    /// other UTF-8 as text, and the rest is binary.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Err(_) => Self::binary(bytes),
            Ok(text) if serde_json::from_str::<&RawValue>(text).is_ok() => {
                Self { content: Content::Json(text.into()) }
            }
            Ok(text) => Self { content: Content::Text(text.into()) },
        }
    }

    /// Bytes that are to reach other dialects as bytes, whatever they look like.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Self {
        Self { content: Content::Binary(bytes.into()) }
    }

    /// The payload of which [`Self::kind`] and [`Self::bytes`] were kept; none when the two do not go together.
    #[must_use]
    pub fn restore(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let content = match kind {
            Kind::Json => {
                let text = str::from_utf8(bytes).ok()?;
                serde_json::from_str::<&RawValue>(text).ok()?;
                Content::Json(text.into())
            }
            Kind::Text => Content::Text(str::from_utf8(bytes).ok()?.into()),
            Kind::Binary => Content::Binary(bytes.into()),
        };
        Some(Self { content })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.content {
            Content::Json(_) => Kind::Json,
            Content::Text(_) => Kind::Text,
            Content::Binary(_) => Kind::Binary,
        }
    }

    /// The JSON value, on one line: dialects separate values by lines.
    #[must_use]
    pub fn json(&self) -> Cow<'_, str> {
        match &self.content {
            Content::Json(json) => on_one_line(json),
            Content::Text(text) => Cow::Owned(serde_json::Value::from(&**text).to_string()),
            Content::Binary(bytes) => Cow::Owned(format!("\"{}\"", STANDARD.encode(bytes))),
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match &self.content {
            Content::Json(json) => match serde_json::from_str::<String>(json) {
                Ok(text) if is_string(json) => Cow::Owned(text),
                // A string with half a surrogate pair has no content that could be told.
                _ => Cow::Borrowed(json),
            },
            Content::Text(text) => Cow::Borrowed(text),
            Content::Binary(bytes) => Cow::Owned(STANDARD.encode(bytes)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Json(text) | Content::Text(text) => text.as_bytes(),
            Content::Binary(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({})", self.kind(), self.text())
    }
}

fn is_string(json: &str) -> bool {
    json.trim_ascii_start().starts_with('"')
}

/// A JSON value without the line breaks that may stand between its tokens.
///
/// Inside a JSON string a raw line break is not valid, so every one found is between tokens.
fn on_one_line(json: &str) -> Cow<'_, str> {
    match memchr::memchr2(b'\n', b'\r', json.as_bytes()) {
        None => Cow::Borrowed(json),
        Some(_) => Cow::Owned(json.replace(['\n', '\r'], " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Payload {
        Payload::from_json(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn strings_and_texts_are_the_same_thing() {
        assert_eq!(json(r#""hel\"lo""#).text(), "hel\"lo");
        assert_eq!(Payload::from_text("hel\"lo").json(), r#""hel\"lo""#);
    }

    #[test]
    fn objects_and_arrays_travel_as_they_are() {
        assert_eq!(json(r#"{"a":[1,2]}"#).text(), r#"{"a":[1,2]}"#);
        assert_eq!(Payload::from_text(r#"{"a":1}"#).json(), r#"{"a":1}"#);
    }

    #[test]
    fn json_is_told_on_one_line_and_kept_as_it_came() {
        let payload = json("{\n\"a\": 1\r\n}");
        assert_eq!(payload.json(), "{ \"a\": 1  }");
        assert_eq!(payload.bytes(), b"{\n\"a\": 1\r\n}");
    }

    #[test]
    fn what_only_looks_like_json_is_text() {
        for text in ["{broken", "[1,", "12", "true", "null", "\"quoted\"", ""] {
            let payload = Payload::from_text(text);
            assert_eq!((payload.kind(), &*payload.text()), (Kind::Text, text));
        }
    }

    #[test]
    fn bytes_are_json_text_or_binary() {
        for (bytes, kind, json) in [
            (&b"{\"a\":1}"[..], Kind::Json, r#"{"a":1}"#),
            (b"\"quoted\"", Kind::Json, r#""quoted""#),
            (b"12", Kind::Json, "12"),
            (b"hello", Kind::Text, r#""hello""#),
            (b"", Kind::Text, r#""""#),
            (b"\xff\x00", Kind::Binary, r#""/wA=""#),
        ] {
            let payload = Payload::from_bytes(bytes);
            assert_eq!((payload.kind(), &*payload.json(), payload.bytes()), (kind, json, bytes));
        }
        assert_eq!(Payload::from_body(b"12").kind(), Kind::Text);
        assert_eq!(Payload::from_body(b"\xff").text(), "/w==");
    }

    #[test]
    fn a_json_string_that_is_no_text_is_told_as_its_json() {
        assert_eq!(json(r#""\ud800""#).text(), r#""\ud800""#);
    }

    proptest! {
        #[test]
        fn a_text_comes_back_as_it_was(text: String) {
            let payload = Payload::from_text(&text);
            prop_assert_eq!(payload.text(), text.as_str());
            prop_assert_eq!(payload.bytes(), text.as_bytes());
        }

        #[test]
        fn bytes_come_back_as_they_were_and_are_json_for_those_who_want_json(bytes: Vec<u8>) {
            for payload in [Payload::from_bytes(&bytes), Payload::from_body(&bytes), Payload::binary(&bytes)] {
                prop_assert_eq!(payload.bytes(), &bytes);
                let json = payload.json();
                prop_assert!(!json.contains(['\n', '\r']));
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
                prop_assert_eq!(Payload::restore(payload.kind(), payload.bytes()), Some(payload));
            }
        }
    }
}
