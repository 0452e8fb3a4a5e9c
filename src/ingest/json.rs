//! A JSON object becomes its members: keys, and values as they were written.
//!
//! Values are not parsed into a tree: [`scan`](super::scan) checks them and says where they are. What the keys mean is
//! found out once for lines that look alike: the keys of one line, with what stands around them, are the guess for the
//! next.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use super::counts::Fault;
use super::scan;
use super::scan::Guess;
use super::scan::Span;

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    span: Span,
    /// True when its key has escapes.
    escaped: bool,
    /// A number that differs for most keys.
    print: u32,
    /// What its key says to us.
    pub(super) meaning: Meaning,
    /// True when another member with the same key follows: the last one counts.
    pub(super) shadowed: bool,
}

impl Member {
    const BLANK: Self = Self {
        span: Span { start: 0, key_end: 0, value: 0, end: 0 },
        escaped: false,
        print: 0,
        meaning: Meaning::None,
        shadowed: false,
    };

    /// Its key, without escapes.
    fn key<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let quoted = text.get(self.span.start..=self.span.key_end).filter(|_| self.escaped);
        match quoted.and_then(|quoted| serde_json::from_str(quoted).ok()) {
            Some(plain) => Cow::Owned(plain),
            None => Cow::Borrowed(raw_key(text, self.span)),
        }
    }

    /// Finds out what its key is; the spans are known.
    #[inline(never)]
    fn classify(&mut self, text: &str) {
        let raw = raw_key(text, self.span).as_bytes();
        self.escaped = memchr::memchr(b'\\', raw).is_some();
        self.print = print(raw);
        self.meaning = Meaning::of(&self.key(text));
    }
}

/// What a key says to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: the member goes into the record as it is.
    None,
    /// `@timestamp`, `action`, `log.level`: part of the head of a record.
    Timestamp,
    /// See above.
    Action,
    /// See above.
    FlatLevel,
    /// `level` and `time`: the head can be made of them.
    Level,
    /// See above.
    Time,
    /// `log.truncated`: the mark of a record that was cut.
    Cut,
    /// `token`: what somebody logs in with.
    Token,
    /// What every record has of its own.
    Own,
    /// What a syslog header tells, or what Logstash takes for instructions to itself.
    Header,
    /// Where our records (the first five), Logstash or the Elastic Common Schema (the others) keep an object:
    /// Elasticsearch refuses a record that has any other value there.
    Object,
    /// What begins with `source.`, as the new names of renamed members do.
    Source,
    /// A name that no index takes: an empty one, or one with an empty part between dots.
    Unmappable,
}

impl Meaning {
    fn of(key: &str) -> Self {
        match key {
            "@timestamp" => Self::Timestamp,
            "action" => Self::Action,
            "log.level" => Self::FlatLevel,
            "level" => Self::Level,
            "time" => Self::Time,
            "log.truncated" => Self::Cut,
            "token" => Self::Token,
            "node" | "boot_id" | "log.sequence" | "event.id" => Self::Own,
            "tag" | "log.original" | "@metadata" => Self::Header,
            "event" | "log" | "nginx" | "syslog" | "gap" | "source" | "host" | "process" | "service"
            | "agent" | "ecs" | "url" | "http" | "user" | "error" => Self::Object,
            key if key.starts_with("syslog.") => Self::Header,
            key if is_unmappable(key) => Self::Unmappable,
            key if key.starts_with("source.") => Self::Source,
            _ => Self::None,
        }
    }
}

/// True for names that no index takes.
pub(super) fn is_unmappable(key: &str) -> bool {
    let dots = memchr::memchr(b'.', key.as_bytes()).is_some();
    key.is_empty() || (dots && (key.starts_with('.') || key.ends_with('.') || key.contains("..")))
}

/// An object that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    text: &'a str,
    /// Its members, in their order.
    pub(super) members: &'a [Member],
    /// True when there are line breaks or tabs between its tokens.
    pub(super) breaks: bool,
}

impl<'a> Object<'a> {
    /// The key of a member, without escapes.
    pub(super) fn key(&self, member: &Member) -> Cow<'a, str> {
        member.key(self.text)
    }

    /// The value of a member, as it was written.
    pub(super) fn value(&self, member: &Member) -> &'a str {
        self.text.get(member.span.value..member.span.end).unwrap_or_default()
    }

    /// True when the value of a member is an empty text.
    pub(super) fn is_empty(&self, member: &Member) -> bool {
        member.span.end - member.span.value == 2 && self.value(member) == "\"\""
    }

    /// What was written from the first of two members to the last.
    pub(super) fn run(&self, first: &Member, last: &Member) -> &'a str {
        self.text.get(first.span.start..last.span.end).unwrap_or_default()
    }
}

/// The members of one object, in a list that is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Members {
    list: Vec<Member>,
    shape: Shape,
}

impl Members {
    /// Reads the object that `text` is.
    ///
    /// # Errors
    /// When it is none, or passes one of the limits of [`scan`].
    pub(super) fn read<'m>(&'m mut self, text: &'m str) -> Result<Object<'m>, Fault> {
        let Self { list, shape } = self;
        list.clear();
        let mut guesses = 0;
        let guess = |index| shape.guess(index);
        let breaks = scan::object(text, guess, |start, key_end, value, end, guessed| {
            let part = if guessed { shape.parts.get(list.len()) } else { None };
            // Filled in place: what is put together elsewhere and copied costs as much as reading a key.
            list.push(Member::BLANK);
            let Some(member) = list.last_mut() else { return };
            member.span.start = start;
            member.span.key_end = key_end;
            member.span.value = value;
            member.span.end = end;
            if let Some(part) = part {
                guesses += 1;
                (member.print, member.meaning, member.escaped) = (part.print, part.meaning, part.escaped);
            } else {
                member.classify(text);
            }
        })?;
        if guesses < list.len() || !shape.unique {
            shadow(text, list);
            if guesses < list.len() && !breaks {
                shape.learn(text, list);
            }
        }
        Ok(Object { text, members: list, breaks })
    }
}

/// Finds keys that come more than once.
fn shadow(text: &str, list: &mut [Member]) {
    if list.len() > FEW || list.iter().any(|member| member.escaped) {
        let mut seen = HashSet::with_capacity(list.len());
        for member in list.iter_mut().rev() {
            member.shadowed = !seen.insert(member.key(text));
        }
        return;
    }
    // A filter of 256 bits tells most keys for new without a look at the others.
    let mut filter = [0_u128; 2];
    for at in 0..list.len() {
        let Some((former, [member, ..])) = list.split_at_mut_checked(at) else { return };
        let [low, high] = &mut filter;
        let (half, bit) = (if member.print & 128 == 0 { low } else { high }, 1 << (member.print % 128));
        if *half & bit != 0 {
            let same = |other: &&mut Member| {
                other.print == member.print && raw_key(text, other.span) == raw_key(text, member.span)
            };
            former.iter_mut().filter(same).for_each(|other| other.shadowed = true);
        }
        *half |= bit;
    }
}

/// So many members are compared with each other faster than they are hashed.
const FEW: usize = 64;

fn raw_key(text: &str, span: Span) -> &str {
    text.get(span.start + 1..span.key_end).unwrap_or_default()
}

/// A number that differs for most keys: made of their length and of the letters at both ends and in the middle.
fn print(key: &[u8]) -> u32 {
    let letter = |at: usize| u32::from(key.get(at).copied().unwrap_or(0));
    let length = key.len();
    let outer = [0, 1, length.wrapping_sub(1), length.wrapping_sub(2), length / 2, length / 3].map(letter);
    let mixed = outer.into_iter().fold(length as u32, |sum, letter| (sum ^ letter).wrapping_mul(0x0100_0193));
    mixed ^ mixed >> 15
}

// === Lines that look alike ===

/// The keys of a line, with what stands around them.
#[derive(Debug, Default)]
struct Shape {
    text: Vec<u8>,
    parts: Vec<Part>,
    /// True when no key comes twice.
    unique: bool,
    /// How many more lines may look different before one of them is taken for the new shape.
    patience: u8,
}

/// What stands before one value.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where it stands in the text of the shape.
    start: usize,
    end: usize,
    /// Where in it the quotes of the key are.
    key: (usize, usize),
    escaped: bool,
    print: u32,
    meaning: Meaning,
}

impl Shape {
    #[inline]
    fn guess(&self, index: usize) -> Option<Guess<'_>> {
        let part = self.parts.get(index)?;
        Some(Guess { text: self.text.get(part.start..part.end)?, key: part.key })
    }

    /// Takes the members of `text` for the next guesses, unless the former ones may still be good for others.
    fn learn(&mut self, text: &str, list: &[Member]) {
        if self.patience > 0 {
            self.patience -= 1;
            return;
        }
        self.patience = PATIENCE;
        self.text.clear();
        self.parts.clear();
        let mut from = text.find('{').unwrap_or(0);
        self.unique = list.iter().all(|member| !member.shadowed);
        for Member { span, escaped, print, meaning, .. } in list {
            let before = text.as_bytes().get(from..span.value).unwrap_or_default();
            if self.text.len() + before.len() > SHAPE_MAX {
                return;
            }
            let start = self.text.len();
            self.text.extend_from_slice(before);
            self.parts.push(Part {
                start,
                end: self.text.len(),
                key: (span.start - from, span.key_end - from),
                escaped: *escaped,
                print: *print,
                meaning: *meaning,
            });
            from = span.end;
        }
    }
}

/// Lines that look different and are not learned from, so that two shapes that take turns cost no more than none.
const PATIENCE: u8 = 7;

/// The longest shape in bytes: each connection keeps one.
const SHAPE_MAX: usize = 2048;

// === Values ===

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
    // Ten digits are the seconds from 2001 to 2286.
    let (whole, fraction) = raw.as_bytes().split_at_checked(10)?;
    let seconds =
        whole.iter().try_fold(0, |seconds, digit| Some(seconds * 10 + u64::from(decimal(*digit)?)))?;
    let (mut nanos, mut unit) = (0, 100_000_000);
    if let Some((point, digits)) = fraction.split_first() {
        for digit in Some(digits).filter(|_| *point == b'.')? {
            nanos += u32::from(decimal(*digit)?) * unit;
            unit /= 10;
        }
    }
    (1_000_000_000..4_102_444_800).contains(&seconds).then_some(Duration::new(seconds, nanos))
}

fn decimal(digit: u8) -> Option<u8> {
    digit.is_ascii_digit().then(|| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::scan::DEPTH;
    use crate::ingest::scan::WIDTH;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<&[(&str, &str)], Fault>) {
        let mut members = Members::default();
        let read = members.read(text).map(|object| {
            let kept = object.members.iter().filter(|member| !member.shadowed);
            kept.map(|member| (object.key(member).into_owned(), object.value(member).to_owned()))
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|members| {
            members.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()
        });
        assert_eq!(read, expected, "{text}");
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
        assert_eq!(members.read(r#"{"a":1,"b":2}"#).unwrap().members.len(), 2);
        let memory = members.list.as_ptr();
        assert_eq!(members.read(r#"{"c":1,"d":2}"#).unwrap().members.len(), 2);
        assert_eq!(members.list.as_ptr(), memory);
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
    fn keys_that_fall_together_in_the_filter_are_not_taken_for_the_same() {
        for count in [10, FEW, FEW + 1, FEW + 20] {
            let keys: Vec<_> = (0..count).map(|n| format!("\"key-{n}\":{n}")).collect();
            let mut members = Members::default();
            let once = format!("{{{}}}", keys.join(","));
            assert!(members.read(&once).unwrap().members.iter().all(|member| !member.shadowed));
            let twice = format!("{{{},\"key-3\":0}}", keys.join(","));
            let object = members.read(&twice).unwrap();
            let shadowed: Vec<_> = object.members.iter().filter(|member| member.shadowed).collect();
            assert_eq!(shadowed.len(), 1);
            assert_eq!(object.value(shadowed[0]), "3");
        }
    }

    #[test]
    fn a_line_like_the_one_before_is_guessed_and_another_one_is_not_misread() {
        let mut members = Members::default();
        for text in [
            r#"{"a":1,"level":"x","c":[1]}"#,
            r#"{"a":22,"level":"y","c":{}}"#,
            r#"{"a":1}"#,
            r#"{"a":1,"level":2,"level":3}"#,
            r#"{"a":1 ,"level": 2,"c":3,"d":4}"#,
            r#" {"a":1,"node":2}"#,
            r#"{"a":1,"level":2,"c":}"#,
            r#"{"a":1,"level":2,"c":3"#,
        ] {
            let listed = |read: Result<Object<'_>, Fault>| {
                read.map(|object| {
                    let member = |member: &Member| {
                        (
                            object.key(member).into_owned(),
                            object.value(member).to_owned(),
                            member.meaning,
                            member.shadowed,
                        )
                    };
                    object.members.iter().map(member).collect::<Vec<_>>()
                })
            };
            assert_eq!(listed(members.read(text)), listed(Members::default().read(text)), "{text}");
        }
        assert_eq!(members.shape.parts.len(), 3);
    }

    #[test]
    fn of_two_shapes_that_take_turns_one_is_kept() {
        let mut members = Members::default();
        let mut learned = 0;
        for n in 0..32 {
            let text = if n % 2 == 0 { r#"{"a":1,"b":2}"# } else { r#"{"x":1}"# };
            let before = members.shape.text.clone();
            members.read(text).unwrap();
            learned += usize::from(members.shape.text != before);
        }
        assert!(learned <= 5, "{learned}");
        let long = format!("{{\"{}\":1,\"b\":2}}", "k".repeat(SHAPE_MAX));
        (0..20).for_each(|_| assert_eq!(members.read(&long).unwrap().members.len(), 2));
        assert!(members.shape.text.len() <= SHAPE_MAX);
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
        fn what_was_read_before_changes_nothing(
            lines in proptest::collection::vec(
                proptest::collection::vec((proptest::sample::select(vec!["a", "b", "node", "time", "\\u0061"]), 0..3_u8), 0..5),
                1..30,
            )
        ) {
            let mut members = Members::default();
            for line in lines {
                let line: Vec<_> = line.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                let line = format!("{{{}}}", line.join(","));
                let mut fresh = Members::default();
                let (again, object) = (members.read(&line).unwrap(), fresh.read(&line).unwrap());
                let member = |object: &Object<'_>, member: &Member| {
                    (object.key(member).into_owned(), object.value(member).to_owned(), member.meaning, member.shadowed)
                };
                let list = |object: &Object<'_>| object.members.iter().map(|each| member(object, each)).collect::<Vec<_>>();
                prop_assert_eq!(list(&again), list(&object));
            }
        }

        #[test]
        fn reads_what_serde_json_reads(map: std::collections::BTreeMap<String, (i32, String, Vec<bool>)>) {
            for text in [serde_json::to_string(&map).unwrap(), serde_json::to_string_pretty(&map).unwrap()] {
                let (mut members, mut again, mut scratch) = (Members::default(), std::collections::BTreeMap::new(), Vec::new());
                let object = members.read(&text).unwrap();
                for member in object.members {
                    let value = one_line(object.value(member), &mut scratch);
                    assert!(!value.contains(&b'\n'));
                    again.insert(object.key(member).into_owned(), serde_json::from_slice(value).unwrap());
                }
                prop_assert_eq!(&again, &map);
            }
        }
    }
}
