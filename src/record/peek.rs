//! What a finished record says of itself, read from its beginning.
//!
//! Whoever puts a header around a record needs its time, its level and its action. A record of this program begins
//! with them; one that brings its own may have them anywhere, in any form. So the names are looked for among the
//! fields of the object itself, one JSON token after another, never in the text of a value, and only as far as
//! [`DEPTH`] bytes: what is not found by then is not there. Nothing here vouches for the rest of the record.

use memchr::memchr2;

use super::Level;

/// How far into a record is looked.
const DEPTH: usize = 512;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peek<'a> {
    /// `@timestamp`, when it has the form of RFC 3339: digits, a `T`, perhaps a fraction, `Z` or an offset.
    pub timestamp: Option<&'a str>,
    /// `log.level`, when it is one of ours.
    pub level: Option<Level>,
    /// `action`, when it is a text without escapes.
    pub action: Option<&'a str>,
    /// `log.sequence`.
    pub sequence: Option<u64>,
}

/// Looks into `record`. Of a name that comes twice the first counts.
#[must_use]
pub fn peek(record: &[u8]) -> Peek<'_> {
    if let Some(found) = ours(record) {
        return found;
    }
    let mut found = Peek::default();
    let head = record.get(..DEPTH).unwrap_or(record);
    let mut tokens = Tokens { rest: head };
    // Whatever is no object, or ends early, has told all that it has to tell.
    look(&mut tokens, &mut found).unwrap_or_default();
    found
}

/// The beginning that the program writes itself, field for field; five times as fast as a look at every token.
fn ours(record: &[u8]) -> Option<Peek<'_>> {
    let rest = record.strip_prefix(br#"{"@timestamp":""#)?;
    let (timestamp, rest) = rest.split_first_chunk::<24>()?;
    is_stamp(timestamp).then_some(())?;
    let (action, rest) = word(rest.strip_prefix(br#"","action":""#)?)?;
    let (level, rest) = word(rest.strip_prefix(br#","log.level":""#)?)?;
    let (_, rest) = word(rest.strip_prefix(br#","node":""#)?)?;
    let (_, rest) = word(rest.strip_prefix(br#","boot_id":""#)?)?;
    let mut digits = rest.strip_prefix(br#","log.sequence":"#)?;
    let mut sequence = 0_u64;
    while let Some((digit @ b'0'..=b'9', rest)) = digits.split_first() {
        sequence = sequence.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        digits = rest;
    }
    digits.starts_with(b",").then_some(())?;
    Some(Peek {
        timestamp: str::from_utf8(timestamp).ok(),
        level: Level::of(str::from_utf8(level).ok()?),
        action: str::from_utf8(action).ok(),
        sequence: Some(sequence),
    })
}

/// True for a time as the program writes it: `0000-00-00T00:00:00.000Z`, with any digits.
fn is_stamp(text: &[u8; 24]) -> bool {
    // A digit differs from 0 by 9 at most when its bits are compared; what is no digit may not differ at all.
    let form = b"0000-00-00T00:00:00.000Z";
    text.iter()
        .zip(form)
        .fold(true, |alike, (byte, &form)| alike & (byte ^ form <= if form == b'0' { 9 } else { 0 }))
}

/// A short string without escapes up to its quote, and what is behind it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'"', b'\\', text.get(..WORD).unwrap_or(text))?;
    let (word, rest) = text.split_at_checked(end)?;
    Some((word, rest.strip_prefix(b"\"")?))
}

/// The longest word of a head that is read at once.
const WORD: usize = 128;

fn look<'a>(tokens: &mut Tokens<'a>, found: &mut Peek<'a>) -> Option<()> {
    tokens.symbol(b'{')?;
    loop {
        let name = tokens.string()?;
        tokens.symbol(b':')?;
        match name {
            b"@timestamp" => {
                let text = tokens.text()?.filter(|text| is_timestamp(text.as_bytes()));
                found.timestamp = found.timestamp.or(text);
            }
            b"action" => {
                let text = tokens.text()?;
                found.action = found.action.or(text);
            }
            b"log.level" => {
                let level = tokens.text()?.and_then(Level::of);
                found.level = found.level.or(level);
            }
            b"log.sequence" => {
                let number = tokens.number()?;
                found.sequence = found.sequence.or(number);
            }
            _ => tokens.skip_value()?,
        }
        // The program writes its number last of the four.
        if found.sequence.is_some()
            && found.timestamp.is_some()
            && found.level.is_some()
            && found.action.is_some()
        {
            return Some(());
        }
        tokens.symbol(b',')?;
    }
}

/// `YYYY-MM-DDTHH:MM:SS`, perhaps a fraction, and `Z` or `+HH:MM`: what every reader of syslog takes for a time.
#[must_use]
pub fn is_timestamp(text: &[u8]) -> bool {
    let Some((second, rest)) = text.split_at_checked(SECOND.len()) else { return false };
    let alike = second.iter().zip(SECOND).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    });
    let fraction = match rest.strip_prefix(b".") {
        Some(rest) => 1 + rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        None => 0,
    };
    let zone = match rest.get(fraction..).unwrap_or_default() {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    alike && zone && fraction != 1 && fraction <= FRACTION
}

const SECOND: &[u8] = b"0000-00-00T00:00:00";

/// A point and nanoseconds.
const FRACTION: usize = 10;

/// The tokens of a JSON text. Every step is `None` where the text ends or is no JSON.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// The next byte that is no blank; it stays.
    fn first(&mut self) -> Option<u8> {
        loop {
            match self.rest {
                [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => self.rest = rest,
                [first, ..] => return Some(*first),
                [] => return None,
            }
        }
    }

    fn symbol(&mut self, symbol: u8) -> Option<()> {
        if self.first()? != symbol {
            return None;
        }
        self.rest = self.rest.get(1..)?;
        Some(())
    }

    /// A string as it is written, without its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.symbol(b'"')?;
        let mut from = 0;
        loop {
            let at = from + memchr2(b'"', b'\\', self.rest.get(from..)?)?;
            if self.rest.get(at) == Some(&b'"') {
                let text = self.rest.get(..at)?;
                self.rest = self.rest.get(at + 1..)?;
                return Some(text);
            }
            // Whatever is escaped, it is no end.
            from = at + 2;
        }
    }

    /// A value: its text, if it is a string and has no escapes.
    fn text(&mut self) -> Option<Option<&'a str>> {
        if self.first()? != b'"' {
            self.skip_value()?;
            return Some(None);
        }
        let text = self.string()?;
        Some(str::from_utf8(text).ok().filter(|text| !text.contains('\\')))
    }

    /// A value: its number, if it is a whole one.
    fn number(&mut self) -> Option<Option<u64>> {
        self.first()?;
        let before = self.rest;
        self.skip_value()?;
        let digits = before.get(..before.len() - self.rest.len())?.trim_ascii_end();
        Some(str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()))
    }

    /// Steps over a value, whatever it is, to what follows it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.first()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = self.rest.get(1..)?;
                }
                b'}' | b']' | b',' if depth == 0 => return Some(()),
                b'}' | b']' => {
                    depth -= 1;
                    self.rest = self.rest.get(1..)?;
                }
                _ => self.rest = self.rest.get(1..)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::ACTION;
    use super::super::DESC;
    use super::super::Head;
    use super::super::Line;
    use super::super::Origin;
    use super::*;

    fn check(
        record: &str,
        timestamp: Option<&str>,
        level: Option<Level>,
        action: Option<&str>,
        sequence: Option<u64>,
    ) {
        assert_eq!(peek(record.as_bytes()), Peek { timestamp, level, action, sequence }, "{record}");
    }

    const STAMP: &str = "2026-11-20T23:38:59.404Z";

    #[test]
    fn a_record_of_ours_tells_everything() {
        let origin = Origin::new("edge-1", "00000000000000aa");
        let mut out = Vec::new();
        let (at, level) = (Some(Duration::from_millis(1_795_217_939_404)), Some(Level::Warn));
        let head = Head { origin: &origin, at, action: Some("msg_send"), level, sequence: 1234 };
        let mut line = Line::begin(&mut out, 4096, &head);
        line.text(DESC, "\"action\":\"forged\"");
        line.end();
        assert!(ours(&out).is_some());
        let record = String::from_utf8(out).unwrap();
        check(&record, Some(STAMP), Some(Level::Warn), Some("msg_send"), Some(1234));
        // One blank is enough to take the other way, which must come to the same end.
        check(&format!(" {record}"), Some(STAMP), Some(Level::Warn), Some("msg_send"), Some(1234));
    }

    #[test]
    fn what_a_record_brings_of_its_own_is_found_behind_the_head() {
        let origin = Origin::new("edge-1", "00000000000000aa");
        let mut out = Vec::new();
        let head = Head { origin: &origin, at: None, action: None, level: Some(Level::Error), sequence: 7 };
        let mut line = Line::begin(&mut out, 4096, &head);
        line.foreign("body", br#"{"action":"inner","b":["}",{"log.level":"debug"}]}"#);
        line.text(ACTION, "cart");
        line.foreign("@timestamp", br#""2026-01-01T00:00:00+01:00""#);
        line.end();
        let record = String::from_utf8(out).unwrap();
        check(&record, Some("2026-01-01T00:00:00+01:00"), Some(Level::Error), Some("cart"), Some(7));
    }

    #[test]
    fn text_is_never_taken_for_a_name() {
        check(r#"{"a":"\",\"action\":\"x\"","action":"y"}"#, None, None, Some("y"), None);
        check(r#"{"a":"b\\","action":"y"}"#, None, None, Some("y"), None);
        check(r#"{"action":{"action":"x"},"b":["action","log.sequence",7]}"#, None, None, None, None);
        check(r#"{"b":"@timestamp","action":"y","action":"z"}"#, None, None, Some("y"), None);
    }

    #[test]
    fn values_of_another_form_are_none() {
        check(
            r#"{"@timestamp":1795217939,"action":7,"log.level":"loud","log.sequence":"7"}"#,
            None,
            None,
            None,
            None,
        );
        check(r#"{"@timestamp":"yesterday","action":"a\u0062","log.sequence":1.5}"#, None, None, None, None);
        check(r#" { "action" : "a" , "log.sequence" : 12 } "#, None, None, Some("a"), Some(12));
    }

    #[test]
    fn the_look_ends_at_its_depth_and_at_what_is_no_json() {
        let far = format!(r#"{{"a":"{}","action":"y"}}"#, "x".repeat(DEPTH));
        check(&far, None, None, None, None);
        // The number is cut by the end of the look: what is left of it is no number.
        let cut = format!(r#"{{"a":"{}","log.sequence":123456}}"#, "x".repeat(DEPTH - 28));
        check(&cut, None, None, None, None);
        for nothing in
            ["", "{", "[]", "7", "{\"action\"", "{\"action\":", "{\"action\":\"x", "{]\"action\":\"x\"}"]
        {
            check(nothing, None, None, None, None);
        }
    }

    #[test]
    fn a_time_has_one_of_few_forms() {
        for good in [STAMP, "2026-11-20T23:38:59Z", "2026-11-20T23:38:59.123456789-08:00"] {
            assert!(is_timestamp(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "2026-11-20",
            "2026-11-20 23:38:59Z",
            "2026-11-20T23:38:59",
            "2026-11-20T23:38:59.Z",
            "2026-11-20T23:38:59Z h app: x",
            "2026-11-20T23:38:59.1234567890Z",
            "2026-11-20T23:38:59+0100",
        ] {
            assert!(!is_timestamp(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, text in "[{}\\[\\]\",:\\\\a1 ]{0,60}") {
            prop_assert!(peek(&bytes).sequence.is_none());
            prop_assert!(peek(text.as_bytes()).sequence.is_none());
        }

        #[test]
        fn a_found_action_is_what_a_parser_finds(before: String, action: String) {
            let record = serde_json::json!({ "a": before, "action": action }).to_string();
            if let Some(found) = peek(record.as_bytes()).action {
                prop_assert_eq!(found, action);
            }
        }
    }
}
