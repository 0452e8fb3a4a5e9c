//! Keys made of several parts, so that their bytes are in the order of the parts.
//!
//! A text ends in the bytes 0, 1, and a 0 within it is written as 0, 255: so `room` comes before `room2`, keys of the
//! one never begin like keys of the other, and any bytes may be in a text. A number is its 8 bytes, the highest first.

use std::borrow::Cow;

/// A key in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    bytes: Vec<u8>,
}

const END: [u8; 2] = [0, 1];
const ZERO: [u8; 2] = [0, 255];

impl Key {
    /// A key without parts.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// With a text, or any bytes, behind what is there.
    #[must_use]
    pub fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        let mut pieces = text.as_ref().split(|byte| *byte == 0);
        self.bytes.extend_from_slice(pieces.next().unwrap_or_default());
        for piece in pieces {
            self.bytes.extend_from_slice(&ZERO);
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.extend_from_slice(&END);
        self
    }

    /// With a number behind what is there.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The parts of a key, in the order in which they were put in.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The parts of these bytes.
    #[must_use]
    pub const fn new(key: &'a [u8]) -> Self {
        Self { rest: key }
    }

    /// The next part as bytes; none when it is no text.
    pub fn bytes(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut whole = Cow::Borrowed(&[][..]);
        let mut rest = self.rest;
        loop {
            let zero = memchr::memchr(0, rest)?;
            let (piece, behind) = rest.split_at_checked(zero)?;
            let (mark, behind) = behind.split_at_checked(2)?;
            if whole.is_empty() {
                whole = Cow::Borrowed(piece);
            } else {
                whole.to_mut().extend_from_slice(piece);
            }
            rest = behind;
            if mark == END {
                self.rest = rest;
                return Some(whole);
            }
            if mark != ZERO {
                return None;
            }
            whole.to_mut().push(0);
        }
    }

    /// The next part as text; none when it is none.
    pub fn text(&mut self) -> Option<String> {
        let before = self.rest;
        let text = self.bytes().and_then(|bytes| String::from_utf8(bytes.into_owned()).ok());
        if text.is_none() {
            self.rest = before;
        }
        text
    }

    /// The next part as a number; none when there are fewer than 8 bytes.
    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*number))
    }

    /// What was not taken yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

impl Span {
    /// All keys.
    #[must_use]
    pub const fn all() -> Self {
        Self { from: Vec::new(), to: None }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let from = prefix.as_ref().to_vec();
        let mut to = from.clone();
        while let Some(last) = to.pop() {
            if let Some(next) = last.checked_add(1) {
                to.push(next);
                return Self { from, to: Some(to) };
            }
        }
        Self { from, to: None }
    }

    /// The keys from `from` on, itself included.
    #[must_use]
    pub fn from(from: impl AsRef<[u8]>) -> Self {
        Self { from: from.as_ref().to_vec(), to: None }
    }

    /// The keys from `from`, itself included, up to `to`, itself not included.
    #[must_use]
    pub fn between(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self { from: from.as_ref().to_vec(), to: Some(to.as_ref().to_vec()) }
    }

    /// The first key that may be in it.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        &self.from
    }

    /// The first key behind it; none when it has no end.
    #[must_use]
    pub fn end(&self) -> Option<&[u8]> {
        self.to.as_deref()
    }

    /// True when no key can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(span: &Span, key: &[u8]) -> bool {
        key >= span.first() && span.end().is_none_or(|end| key < end)
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_parts_and_come_apart_again(
            one in (prop::collection::vec(0_u8..4, 0..6), any::<u64>()),
            other in (prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..6), any::<u64>()),
        ) {
            let key = |(text, number): &(Vec<u8>, u64)| Key::new().text(text).number(*number);
            prop_assert_eq!(key(&one).cmp(&key(&other)), one.cmp(&other));
            for parts in [&one, &other] {
                let bytes = key(parts).into_bytes();
                let mut read = Parts::new(&bytes);
                prop_assert_eq!(read.bytes().unwrap().into_owned(), parts.0.clone());
                prop_assert_eq!(read.number(), Some(parts.1));
                prop_assert!(read.rest().is_empty());
            }
        }

        #[test]
        fn a_prefix_holds_what_begins_with_it(
            prefix in prop::collection::vec(250_u8..=255, 0..4),
            key in prop::collection::vec(250_u8..=255, 0..6),
        ) {
            prop_assert_eq!(contains(&Span::prefix(&prefix), &key), key.starts_with(&prefix));
        }

        #[test]
        fn any_bytes_can_be_taken_apart_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut parts = Parts::new(&bytes);
            while parts.text().is_some() {}
            while parts.number().is_some() {}
            prop_assert!(parts.rest().len() < 8);
        }
    }

    #[test]
    fn keys_of_a_room_are_not_those_of_a_longer_name() {
        let span = Span::prefix(Key::new().text("room"));
        assert!(contains(&span, Key::new().text("room").number(u64::MAX).as_ref()));
        assert!(!contains(&span, Key::new().text("room2").number(1).as_ref()));
        assert!(!contains(&span, Key::new().text("room\0").number(1).as_ref()));
    }
}
