//! A JSON object becomes its members: keys, and values as they were written.
//!
//! Values are not parsed into a tree: they are checked and kept as text, without the line breaks that may stand
//! between their tokens. Two limits hold: [`DEPTH`] of nesting and [`WIDTH`] of members, beyond which no index
//! would take the record anyway.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeSeed;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use super::counts::Fault;

/// How deep values may be nested. Elasticsearch maps 20 levels of objects by default.
pub(super) const DEPTH: usize = 32;

/// How many members an object may have. Elasticsearch maps 1000 fields by default.
pub(super) const WIDTH: usize = 1000;

/// One member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// Its key, without escapes.
    pub(super) key: Cow<'a, str>,
    /// Its value as it was written.
    pub(super) value: &'a str,
    /// True when another member with the same key follows: the last one counts.
    pub(super) shadowed: bool,
}

/// The members of one object, in a list that is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Members {
    spare: Vec<Member<'static>>,
}

impl Members {
    /// Lends the list to `read`, filled with the members of the object that `text` is.
    pub(super) fn with<T>(&mut self, text: &str, read: impl FnOnce(Result<&[Member<'_>], Fault>) -> T) -> T {
        let mut list: Vec<Member<'_>> = std::mem::take(&mut self.spare);
        let result = fill(text, &mut list);
        let answer = read(result.map(|()| list.as_slice()));
        list.clear();
        // Nothing is in it, and collecting an emptied list in place keeps its memory.
        self.spare = list.into_iter().map_while(|_| None).collect();
        answer
    }
}

/// The JSON value `raw` without line breaks; `scratch` holds it when it had some.
///
/// Within strings they are escaped, so that every bare one stands between two tokens and can go.
pub(super) fn one_line<'v>(raw: &'v str, scratch: &'v mut Vec<u8>) -> &'v [u8] {
    // Only objects and lists have room between tokens.
    if !raw.starts_with(['{', '[']) || raw.bytes().all(|byte| byte >= 0x20) {
        return raw.as_bytes();
    }
    scratch.clear();
    scratch.extend(raw.bytes().filter(|&byte| byte >= 0x20));
    scratch
}

/// The text of a JSON string without escapes.
pub(super) fn word(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// Unix seconds, with or without a fraction, of this century: what nginx writes as `$msec`.
pub(super) fn unix_time(raw: &str) -> Option<Duration> {
    let (whole, fraction) = raw.split_once('.').unwrap_or((raw, ""));
    let seconds = whole.parse().ok().filter(|seconds| (946_684_800..4_102_444_800_u64).contains(seconds))?;
    let mut nanos = 0;
    let mut unit = 100_000_000;
    for digit in fraction.bytes() {
        nanos += u32::from(digit.is_ascii_digit().then(|| digit - b'0')?) * unit;
        unit /= 10;
    }
    Some(Duration::new(seconds, nanos))
}

fn fill<'a>(text: &'a str, list: &mut Vec<Member<'a>>) -> Result<(), Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Object(list).deserialize(&mut json).and_then(|()| json.end());
    if read.is_err() {
        return Err(if list.len() > WIDTH { Fault::TooWide } else { Fault::BadJson });
    }
    if list.iter().any(|member| depth(member.value) > DEPTH) {
        return Err(Fault::TooDeep);
    }
    shadow(list);
    Ok(())
}

/// Finds keys that come more than once.
fn shadow(list: &mut [Member<'_>]) {
    if list.len() > FEW {
        let mut seen = HashSet::with_capacity(list.len());
        for member in list.iter_mut().rev() {
            member.shadowed = !seen.insert(member.key.as_ref());
        }
        return;
    }
    // A filter of 256 bits tells most keys for new without a look at the others.
    let mut filter = [0_u128; 2];
    for at in 0..list.len() {
        let Some((former, [member, ..])) = list.split_at_mut_checked(at) else { return };
        let print = print(&member.key);
        let [low, high] = &mut filter;
        let half = if print & 128 == 0 { low } else { high };
        let bit = 1 << (print % 128);
        if *half & bit != 0 {
            former.iter_mut().filter(|other| other.key == member.key).for_each(|other| other.shadowed = true);
        }
        *half |= bit;
    }
}

/// So many members are compared with each other faster than they are hashed.
const FEW: usize = 64;

/// A number that differs for most keys: their length and their outer letters.
fn print(key: &str) -> usize {
    let bytes = key.as_bytes();
    let letter = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or(0));
    bytes.len() * 23
        + letter(bytes.first()) * 5
        + letter(bytes.last()) * 11
        + letter(bytes.get(bytes.len() / 2))
}

/// How deep the valid JSON value `raw` is nested; 0 for a scalar.
fn depth(raw: &str) -> usize {
    if !raw.starts_with(['{', '[']) {
        return 0;
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads an object into a list.
struct Object<'l, 'a>(&'l mut Vec<Member<'a>>);

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            self.0.push(Member { key, value: value.get(), shadowed: false });
            if self.0.len() > WIDTH {
                return Err(M::Error::custom("too many members"));
            }
        }
        Ok(())
    }
}

/// A key, borrowed when it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Key<'a> {
    fn deserialize<D: serde::Deserializer<'a>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(Self(Cow::Borrowed("")))
    }
}

impl<'a> Visitor<'a> for Key<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Self, E> {
        Ok(Self(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self, E> {
        Ok(Self(Cow::Owned(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<&[(&str, &str)], Fault>) {
        Members::default().with(text, |read| {
            let read = read.map(|members| {
                let kept = members.iter().filter(|member| !member.shadowed);
                kept.map(|member| (member.key.to_string(), member.value.to_owned())).collect::<Vec<_>>()
            });
            let expected = expected.map(|members| {
                members.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()
            });
            assert_eq!(read, expected, "{text}");
        });
    }

    #[test]
    fn values_stay_as_they_were_written() {
        check(
            r#"{"a":1.50,"b" : "x\u00e9", "c":{"d":[1, 2]},"é\n":null}"#,
            Ok(&[("a", "1.50"), ("b", r#""x\u00e9""#), ("c", r#"{"d":[1, 2]}"#), ("é\n", "null")]),
        );
        check("{}", Ok(&[]));
    }

    #[test]
    fn of_a_key_that_comes_twice_the_last_one_counts() {
        check(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#, Ok(&[("b", "2"), ("a", "4")]));
    }

    #[test]
    fn the_list_keeps_its_memory() {
        let mut members = Members::default();
        members.with(r#"{"a":1,"b":2}"#, |read| assert_eq!(read.unwrap().len(), 2));
        assert!(members.spare.capacity() >= 2);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in
            ["", "{", "[]", "1", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"a":01}"#, "{\"a\":\"\n\"}", "{'a':1}"]
        {
            check(text, Err(Fault::BadJson));
        }
    }

    #[test]
    fn nesting_and_width_have_a_limit() {
        let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let allowed = nested(DEPTH);
        check(&allowed, Ok(&[("a", &allowed[5..allowed.len() - 1])]));
        check(&nested(DEPTH + 1), Err(Fault::TooDeep));
        check(&nested(100_000), Err(Fault::TooDeep));
        check(&format!(r#"{{"a":"{}"}}"#, "[".repeat(50)), Ok(&[("a", &format!("\"{}\"", "[".repeat(50)))]));
        let wide: Vec<_> = (0..=WIDTH).map(|n| format!("\"{n}\":{n}")).collect();
        check(&format!("{{{}}}", wide.join(",")), Err(Fault::TooWide));
    }

    #[test]
    fn line_breaks_between_tokens_go() {
        let mut scratch = Vec::new();
        assert_eq!(one_line("[1,\r\n\t2, \"\\n\"]", &mut scratch), b"[1,2, \"\\n\"]");
        assert_eq!(one_line("[1, 2]", &mut scratch), b"[1, 2]");
    }

    #[test]
    fn seconds_with_a_fraction_are_a_time_and_milliseconds_are_not() {
        assert_eq!(unix_time("1795217939.404"), Some(Duration::from_millis(1_795_217_939_404)));
        assert_eq!(unix_time("1795217939"), Some(Duration::from_secs(1_795_217_939)));
        for text in [
            "1795217939404",
            "1.5",
            "-1795217939",
            "1795217939.4e3",
            "",
            "\"now\"",
            "1795217939.12345678901x",
        ] {
            assert_eq!(unix_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_reads(map: std::collections::BTreeMap<String, (i32, String, Vec<bool>)>) {
            for text in [serde_json::to_string(&map).unwrap(), serde_json::to_string_pretty(&map).unwrap()] {
                let (mut again, mut scratch) = (std::collections::BTreeMap::new(), Vec::new());
                Members::default().with(&text, |members| {
                    for member in members.unwrap() {
                        let value = one_line(member.value, &mut scratch);
                        assert!(!value.contains(&b'\n'));
                        again.insert(member.key.to_string(), serde_json::from_slice(value).unwrap());
                    }
                });
                prop_assert_eq!(&again, &map);
            }
        }
    }
}
