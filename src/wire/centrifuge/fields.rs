//! One way to write a message of the protocol, in two encodings.
//!
//! A field has a number for Protobuf and a name for JSON, so each message is described once. Both leave out what has
//! its default value, as the protocol's own encoders do; members of which the published clients expect that they are
//! always there have a method of their own.

use std::collections::BTreeMap;

use crate::wire::payload::Payload;

/// Takes the fields of a message.
pub(super) trait Fields {
    /// A number, unless it is 0.
    fn number(&mut self, field: u8, name: &'static str, value: u64);
    /// A number that may be negative, unless it is 0.
    fn signed(&mut self, field: u8, name: &'static str, value: i64);
    /// A truth, unless it is none.
    fn truth(&mut self, field: u8, name: &'static str, value: bool);
    /// A text, in JSON even when it is empty.
    fn always_text(&mut self, field: u8, name: &'static str, value: &str);
    /// What clients send and get, in the encoding's way.
    fn payload(&mut self, field: u8, name: &'static str, value: Option<&Payload>);
    /// A message, also an empty one.
    fn message(&mut self, field: u8, name: &'static str, write: impl FnOnce(&mut Self));
    /// Messages by name.
    fn map<'k, V>(
        &mut self,
        field: u8,
        name: &'static str,
        entries: impl ExactSizeIterator<Item = (&'k str, V)>,
        write: impl FnMut(&mut Self, V),
    );
    /// Messages in their order.
    fn list<V>(
        &mut self,
        field: u8,
        name: &'static str,
        entries: impl ExactSizeIterator<Item = V>,
        write: impl FnMut(&mut Self, V),
    );
    /// Texts by name.
    fn tags(&mut self, field: u8, name: &'static str, tags: &BTreeMap<String, String>);

    /// A text, unless it is empty.
    fn text(&mut self, field: u8, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.always_text(field, name, value);
        }
    }
}

/// Writes JSON.
#[derive(Debug)]
pub(super) struct Json {
    out: Vec<u8>,
    /// Nothing stands before the next member of the object.
    is_first: bool,
}

impl Json {
    /// A JSON object with the fields that `write` gives.
    pub(super) fn object(capacity: usize, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut json = Self { out: Vec::with_capacity(capacity), is_first: true };
        json.braced(write);
        json.out
    }

    fn braced(&mut self, write: impl FnOnce(&mut Self)) {
        self.out.push(b'{');
        self.is_first = true;
        write(self);
        self.out.push(b'}');
        self.is_first = false;
    }

    fn comma(&mut self) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
    }

    fn key(&mut self, name: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text).expect("a text is written to memory");
    }
}

impl Fields for Json {
    fn number(&mut self, _: u8, name: &'static str, value: u64) {
        if value != 0 {
            self.key(name);
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    fn signed(&mut self, _: u8, name: &'static str, value: i64) {
        if value != 0 {
            self.key(name);
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    fn truth(&mut self, _: u8, name: &'static str, value: bool) {
        if value {
            self.key(name);
            self.out.extend_from_slice(b"true");
        }
    }

    fn always_text(&mut self, _: u8, name: &'static str, value: &str) {
        self.key(name);
        self.string(value);
    }

    fn payload(&mut self, _: u8, name: &'static str, value: Option<&Payload>) {
        if let Some(payload) = value {
            self.key(name);
            self.out.extend_from_slice(payload.json().as_bytes());
        }
    }

    fn message(&mut self, _: u8, name: &'static str, write: impl FnOnce(&mut Self)) {
        self.key(name);
        self.braced(write);
    }

    fn map<'k, V>(
        &mut self,
        field: u8,
        name: &'static str,
        entries: impl ExactSizeIterator<Item = (&'k str, V)>,
        mut write: impl FnMut(&mut Self, V),
    ) {
        if entries.len() == 0 {
            return;
        }
        self.message(field, name, |json| {
            for (key, value) in entries {
                json.comma();
                json.string(key);
                json.out.push(b':');
                json.braced(|json| write(json, value));
            }
        });
    }

    fn list<V>(
        &mut self,
        _: u8,
        name: &'static str,
        entries: impl ExactSizeIterator<Item = V>,
        mut write: impl FnMut(&mut Self, V),
    ) {
        if entries.len() == 0 {
            return;
        }
        self.key(name);
        self.out.push(b'[');
        self.is_first = true;
        for value in entries {
            self.comma();
            self.braced(|json| write(json, value));
        }
        self.out.push(b']');
        self.is_first = false;
    }

    fn tags(&mut self, field: u8, name: &'static str, tags: &BTreeMap<String, String>) {
        if tags.is_empty() {
            return;
        }
        self.message(field, name, |json| {
            for (key, value) in tags {
                json.comma();
                json.string(key);
                json.out.push(b':');
                json.string(value);
            }
        });
    }
}

/// Writes Protobuf.
#[derive(Debug)]
pub(super) struct Protobuf {
    out: Vec<u8>,
}

/// The wire types of Protobuf that the protocol uses for writing.
const VARINT: u8 = 0;
const LENGTH: u8 = 2;

impl Protobuf {
    /// The fields that `write` gives, without a length before them.
    pub(super) fn bare(capacity: usize, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut protobuf = Self { out: Vec::with_capacity(capacity) };
        write(&mut protobuf);
        protobuf.out
    }

    /// The fields that `write` gives, with their length before them.
    pub(super) fn delimited(capacity: usize, write: impl FnOnce(&mut Self)) -> Vec<u8> {
        Self::bare(capacity, |protobuf| protobuf.counted(write))
    }

    fn tag(&mut self, field: u8, kind: u8) {
        // Field numbers below 16 fit into one byte; the protocol has some above.
        self.varint(u64::from(field) << 3 | u64::from(kind));
    }

    fn varint(&mut self, value: u64) {
        self.out.extend(varint(value));
    }

    fn blob(&mut self, field: u8, bytes: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Writes with the length before it: one byte is kept free for it, and more room is made when that is too little.
    fn counted(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.out.len();
        self.out.push(0);
        write(self);
        let length = (self.out.len() - at - 1) as u64;
        self.out.splice(at..=at, varint(length));
    }
}

/// The bytes of a number: seven bits in each, the lowest first, and the eighth says that more follow.
fn varint(value: u64) -> impl Iterator<Item = u8> {
    std::iter::successors(Some(value), |left| Some(left >> 7).filter(|left| *left != 0)).map(|left| {
        let more = if left < 0x80 { 0 } else { 0x80 };
        (left & 0x7f) as u8 | more
    })
}

impl Fields for Protobuf {
    fn number(&mut self, field: u8, _: &'static str, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    fn signed(&mut self, field: u8, name: &'static str, value: i64) {
        self.number(field, name, value.cast_unsigned());
    }

    fn truth(&mut self, field: u8, name: &'static str, value: bool) {
        self.number(field, name, u64::from(value));
    }

    fn always_text(&mut self, field: u8, _: &'static str, value: &str) {
        if !value.is_empty() {
            self.blob(field, value.as_bytes());
        }
    }

    fn payload(&mut self, field: u8, _: &'static str, value: Option<&Payload>) {
        if let Some(payload) = value
            && !payload.bytes().is_empty()
        {
            self.blob(field, payload.bytes());
        }
    }

    fn message(&mut self, field: u8, _: &'static str, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH);
        self.counted(write);
    }

    fn map<'k, V>(
        &mut self,
        field: u8,
        name: &'static str,
        entries: impl ExactSizeIterator<Item = (&'k str, V)>,
        mut write: impl FnMut(&mut Self, V),
    ) {
        for (key, value) in entries {
            self.message(field, name, |entry| {
                entry.blob(1, key.as_bytes());
                entry.message(2, name, |message| write(message, value));
            });
        }
    }

    fn list<V>(
        &mut self,
        field: u8,
        name: &'static str,
        entries: impl ExactSizeIterator<Item = V>,
        mut write: impl FnMut(&mut Self, V),
    ) {
        for value in entries {
            self.message(field, name, |message| write(message, value));
        }
    }

    fn tags(&mut self, field: u8, name: &'static str, tags: &BTreeMap<String, String>) {
        for (key, value) in tags {
            self.message(field, name, |entry| {
                entry.blob(1, key.as_bytes());
                entry.blob(2, value.as_bytes());
            });
        }
    }
}
