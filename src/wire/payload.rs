//! What a message carries from one dialect to another.
//!
//! Centrifuge clients speak JSON values, the original push gateway's clients plain text. A JSON string and a text
//! are the same thing in the two worlds; JSON objects and arrays travel as their text. So `{"a":1}` published on
//! either side arrives as `{"a":1}` on both, and `hello` arrives as `hello` there and `"hello"` here. What comes
//! back is what was sent: the conversion loses nothing.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The content of a message: a JSON value, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    json: String,
}

impl Payload {
    /// A JSON value that a client sent.
    #[must_use]
    pub fn from_json(value: &RawValue) -> Self {
        Self { json: on_one_line(value.get()) }
    }

    /// A text that a client sent: an object or array is taken as JSON, anything else as a JSON string.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let looks_structured = text.trim_start().starts_with(['{', '[']);
        if looks_structured && let Ok(value) = serde_json::from_str::<&RawValue>(text) {
            return Self::from_json(value);
        }
        Self { json: serde_json::Value::from(text).to_string() }
    }

    /// The JSON value.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The text: a JSON string's content, or the JSON value as it is.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        if self.json.starts_with('"')
            && let Ok(text) = serde_json::from_str::<String>(&self.json)
        {
            return Cow::Owned(text);
        }
        Cow::Borrowed(&self.json)
    }
}

/// A JSON value without the line breaks that may stand between its tokens: dialects separate values by lines.
///
/// Inside a JSON string a raw line break is not valid, so every one found is between tokens.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
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
        assert_eq!(json("{\n\"a\": 1\r\n}").json(), "{ \"a\": 1  }");
    }

    #[test]
    fn what_only_looks_like_json_is_text() {
        for text in ["{broken", "[1,", "12", "true", "null", "\"quoted\"", ""] {
            assert_eq!(Payload::from_text(text).text(), text);
        }
    }

    proptest! {
        #[test]
        fn a_text_that_is_not_structured_comes_back_as_it_was(text in "[^\\[{][^\\r\\n]*") {
            let payload = Payload::from_text(&text);
            prop_assert_eq!(payload.text(), text);
        }
    }
}
