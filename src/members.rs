//! A look at the members of a JSON object: keys and values as they stand in the text, without a tree.
//!
//! For texts that are known to be JSON, as every record of the trail is. Of other texts it shows what looks like
//! members and then stops; it never panics and always ends. Nothing is copied but a text with escapes in it that
//! somebody wants to read.

use std::borrow::Cow;

/// The members of the object that `text` is, in their order.
#[must_use]
pub fn members(text: &[u8]) -> Members<'_> {
    let rest = match blank(text).split_first() {
        Some((b'{', rest)) => rest,
        _ => &[],
    };
    Members { rest }
}

/// One member of an object, as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What stands between the quotes of the key.
    pub key: &'a [u8],
    /// The whole value, with the quotes of a string.
    pub value: &'a [u8],
}

impl<'a> Member<'a> {
    /// True when the key, without escapes, is `name`.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        if self.key.contains(&b'\\') { unescaped(self.key) == name } else { self.key == name.as_bytes() }
    }

    /// The value as text: a string without quotes and escapes, everything else as it was written.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        match self.inner() {
            Some(inner) => unescaped(inner),
            None => String::from_utf8_lossy(self.value),
        }
    }

    /// True for a string.
    #[must_use]
    pub fn is_string(&self) -> bool {
        self.value.starts_with(b"\"")
    }

    /// What stands between the quotes of a string.
    fn inner(&self) -> Option<&'a [u8]> {
        self.value.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let rest = std::mem::take(&mut self.rest);
        let (key, rest) = string(blank(rest))?;
        let rest = blank(blank(rest).strip_prefix(b":")?);
        let (value, rest) = value(rest)?;
        let rest = blank(rest);
        self.rest = rest.strip_prefix(b",").unwrap_or_default();
        Some(Member { key: key.get(1..key.len() - 1)?, value })
    }
}

/// The string that `text` begins with, quotes included, and what follows.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', inner.get(at..)?)?;
        if inner.get(found) == Some(&b'"') {
            // The opening quote is one byte, and the closing one belongs to the string.
            return text.split_at_checked(found + 2);
        }
        at = found + 2;
    }
}

/// The value that `text` begins with, and what follows.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    match text.first()? {
        b'"' => string(text),
        b'{' | b'[' => nested(text),
        _ => {
            let end = text.iter().position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
            text.split_at_checked(end?).filter(|(value, _)| !value.is_empty())
        }
    }
}

/// The object or list that `text` begins with, and what follows.
fn nested(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut rest, mut depth) = (text, 0_usize);
    loop {
        match rest.first()? {
            b'"' => {
                rest = string(rest)?.1;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        rest = rest.get(1..)?;
        if depth == 0 {
            return text.split_at_checked(text.len() - rest.len());
        }
    }
}

/// What follows the blanks that `text` begins with.
fn blank(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    text.get(end.unwrap_or(text.len())..).unwrap_or_default()
}

/// The text that stands between quotes, without its escapes; as it is when they are broken.
fn unescaped(inner: &[u8]) -> Cow<'_, str> {
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner);
    }
    let mut quoted = Vec::with_capacity(inner.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inner);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).map_or_else(|_| String::from_utf8_lossy(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = members(text.as_bytes())
            .map(|member| (str::from_utf8(member.key).unwrap(), str::from_utf8(member.value).unwrap()))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn keys_and_values_stay_as_they_were_written() {
        check(
            r#" { "a" : 1.50 ,"b":"x\"\\","c":{"d":["}",2]},"\u0065":null} "#,
            &[("a", "1.50"), ("b", r#""x\"\\""#), ("c", r#"{"d":["}",2]}"#), ("\\u0065", "null")],
        );
        check("{}", &[]);
    }

    #[test]
    fn names_and_texts_are_read_without_their_escapes() {
        let member = members(br#"{"\u0065rr":"two\nlines"}"#).next().unwrap();
        assert!(member.is_called("err") && !member.is_called("\\u0065rr"));
        assert_eq!(member.text(), "two\nlines");
        assert_eq!(members(br#"{"a":[1, 2]}"#).next().unwrap().text(), "[1, 2]");
        assert_eq!(members(br#"{"a":"\q"}"#).next().unwrap().text(), "\\q");
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in ["", "[]", "7", "{", "{\"a\"", "{\"a\":", "{\"a\":}", "{\"a\":1", "{a:1}", "{\"a\" 1}"] {
            check(text, &[]);
        }
        check("{\"a\":1,\"b\":\"", &[("a", "1")]);
        check("{\"a\":1}}{\"b\":2}", &[("a", "1")]);
    }

    proptest! {
        #[test]
        fn finds_what_serde_json_finds(
            map in proptest::collection::btree_map(
                any::<String>(),
                any::<(i32, String)>().prop_flat_map(|value| {
                    proptest::collection::vec(any::<Option<bool>>(), 0..3).prop_map(move |list| (value.clone(), list))
                }),
                0..8,
            ),
        ) {
            for text in [serde_json::to_string(&map).unwrap(), serde_json::to_string_pretty(&map).unwrap()] {
                let found: Vec<Member<'_>> = members(text.as_bytes()).collect();
                prop_assert_eq!(found.len(), map.len());
                for (member, (key, value)) in found.iter().zip(&map) {
                    prop_assert!(member.is_called(key));
                    let read: Value = serde_json::from_slice(member.value).unwrap();
                    prop_assert_eq!(read, serde_json::to_value(value).unwrap());
                }
            }
        }

        #[test]
        fn any_bytes_come_to_an_end(mut bytes: Vec<u8>, cut in 0_usize..64) {
            prop_assert!(members(&bytes).count() <= bytes.len());
            let mut text = br#"{"a":{"b":["\"",1]},"c":"d\\","e":-1.5e3}"#.to_vec();
            text.truncate(cut);
            text.append(&mut bytes);
            prop_assert!(members(&text).all(|member| !member.value.is_empty()));
        }
    }
}
