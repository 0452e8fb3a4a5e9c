//! One line: is it what Logstash takes, and what does it say of itself?

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::opening::Opening;
use crate::wire::syslog;
use crate::wire::syslog::Dialect;

/// Why a line is bad.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ended within the line.
    Torn,
    /// It is longer than the limit.
    TooLong,
    /// There is nothing in it.
    Empty,
    /// It is no UTF-8 from this byte on.
    Utf8(usize),
    /// It is no JSON, but perhaps this.
    Json(String, Option<Opening>),
    /// It is JSON, but no object.
    NoObject,
    /// Its syslog header is not what it should be.
    Header(syslog::Fault),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn => f.write_str("torn: the connection closed within the line"),
            Self::TooLong => f.write_str("too long"),
            Self::Empty => f.write_str("empty"),
            Self::Utf8(at) => write!(f, "invalid UTF-8 at byte {at}"),
            Self::Json(why, None) => write!(f, "not JSON: {why}"),
            Self::Json(why, Some(opening)) => write!(f, "not JSON: {why}; this looks like {opening}"),
            Self::NoObject => f.write_str("not an object"),
            Self::Header(fault) => fault.fmt(f),
        }
    }
}

/// The fields of a record that the sink looks at, as they were written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(borrow, rename = "@timestamp")]
    pub(super) timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) action: Option<&'a RawValue>,
    #[serde(borrow, rename = "log.level")]
    pub(super) level: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) boot_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "log.sequence")]
    pub(super) sequence: Option<&'a RawValue>,
    #[serde(borrow, rename = "event.id")]
    pub(super) event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) room_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) err_code: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) err: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) desc: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) send_time_delay: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) path: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow, rename = "gap.lines")]
    pub(super) gap_lines: Option<&'a RawValue>,
    #[serde(borrow, rename = "gap.bytes")]
    pub(super) gap_bytes: Option<&'a RawValue>,
    #[serde(borrow, rename = "gap.cause")]
    pub(super) gap_cause: Option<&'a RawValue>,
}

impl<'a> Record<'a> {
    /// Reads a line that has a syslog header, if there is a `dialect` for it.
    pub(super) fn read_behind(line: &'a [u8], dialect: Option<Dialect>) -> Result<Self, Fault> {
        match dialect {
            None => Self::read(line),
            Some(_) if line.is_empty() => Err(Fault::Empty),
            Some(dialect) => Self::read(syslog::read(line, dialect).map_err(Fault::Header)?.body),
        }
    }

    /// Reads a line.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Fault> {
        if line.is_empty() {
            return Err(Fault::Empty);
        }
        let text = str::from_utf8(line).map_err(|error| Fault::Utf8(error.valid_up_to()))?;
        if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| Fault::Json(error.to_string(), None))
        } else {
            let other = serde_json::from_str::<serde::de::IgnoredAny>(text);
            let fault = |error: serde_json::Error| Fault::Json(error.to_string(), Opening::of(line));
            Err(other.map_or_else(fault, |_| Fault::NoObject))
        }
    }

    /// The run and the number, of records that have both.
    pub(super) fn place(&self) -> Option<(Cow<'a, str>, u64)> {
        Some((word(self.boot_id?), self.sequence?.get().parse().ok()?))
    }

    /// True when the record tells of a loss.
    pub(super) fn is_gap(&self) -> bool {
        self.action.is_some_and(|action| action.get() == "\"log_gap\"")
    }
}

/// A value as text: strings without their quotes, everything else as it was written.
pub(super) fn word(value: &RawValue) -> Cow<'_, str> {
    serde_json::from_str(value.get()).map_or(Cow::Borrowed(value.get()), |Text(text)| text)
}

/// A string that is borrowed when it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: &str) {
        let fault = Record::read(line).unwrap_err().to_string();
        assert!(fault.starts_with(expected), "{}: {fault}", line.escape_ascii());
    }

    #[test]
    fn every_kind_of_bad_line_has_its_reason() {
        check(b"", "empty");
        check(b"{\"a\":\xff}", "invalid UTF-8 at byte 5");
        check(b"{\"a\":1", "not JSON: EOF while parsing");
        check(b"{\"a\":1}{}", "not JSON: trailing characters");
        check(b"{\"action\":\"a\",\"action\":\"b\"}", "not JSON: duplicate field");
        check(b"hello", "not JSON: expected");
        check(b"[{}]", "not an object");
        check(b"7", "not an object");
        check(b"<134>1 - h app", "not JSON: expected value at line 1 column 1; this looks like syslog");
    }

    #[test]
    fn a_header_is_read_before_the_record() {
        let line = b"<134>Nov 20 23:40:00 h app: {\"boot_id\":\"b\",\"log.sequence\":7}";
        assert_eq!(Record::read_behind(line, Some(Dialect::Rfc3164)).unwrap().place(), Some(("b".into(), 7)));
        let fault = |line: &[u8]| Record::read_behind(line, Some(Dialect::Rfc3164)).unwrap_err();
        assert_eq!(fault(b"{}"), Fault::Header(syslog::Fault::Bare));
        assert_eq!(fault(b"<134>Nov 20 23:40:00 h app: "), Fault::Empty);
        assert_eq!(fault(b""), Fault::Empty);
    }

    #[test]
    fn a_record_tells_its_run_and_number() {
        let record =
            Record::read(br#"{"boot_id":"b\u0031","log.sequence":7,"node":1,"action":"log_gap"}"#).unwrap();
        assert_eq!(record.place(), Some(("b1".into(), 7)));
        assert!(record.is_gap());
        assert_eq!(Record::read(br#"{"boot_id":"b","log.sequence":"7"}"#).unwrap().place(), None);
    }
}
