//! A syslog line becomes its parts: the header that nginx writes by hand, every other through `syslog_loose`.
//!
//! The crate parses almost anything, but takes some liberties that would lose text; they are made good here:
//! - `tag: text` without a host puts the tag into the host name;
//! - a body without a tag that begins with `{` is taken for a tag or a host;
//! - a leading `-` and a leading `[a b="c"]` are cut from the body, leading blanks are trimmed;
//! - structured data has no place in our records: the line is then kept whole beside its parts;
//! - the 29th of February of a year that has none makes the header unreadable;
//! - a line without a date, or with a year of more than four digits, is not for it at all.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use syslog_loose::Protocol;
use syslog_loose::SyslogFacility;
use syslog_loose::SyslogSeverity;
use syslog_loose::Variant;
use syslog_loose::decompose_pri;
use syslog_loose::parse_message_with_year_exact;

use crate::record::Level;

/// A syslog line taken apart.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// Facility and severity: 8 times the one plus the other, at most 191.
    pub(super) priority: u8,
    /// The time in the header, when it could be told; the time since 1970.
    pub(super) at: Option<Duration>,
    /// The host in the header.
    pub(super) hostname: Option<&'a str>,
    /// The tag, or the name of the application.
    pub(super) tag: Option<&'a str>,
    /// The process.
    pub(super) procid: Option<String>,
    /// The message id of RFC 5424.
    pub(super) msgid: Option<&'a str>,
    /// What was said.
    pub(super) body: &'a str,
    /// True when the line holds something that is in none of the parts.
    pub(super) partial: bool,
}

impl<'a> Message<'a> {
    fn new(priority: u8, tag: Option<&'a str>, body: &'a str) -> Self {
        let (at, hostname, procid, msgid) = (None, None, None, None);
        Self { priority, at, hostname, tag, procid, msgid, body, partial: false }
    }

    /// The facility's name.
    pub(super) fn facility(&self) -> &'static str {
        decompose_pri(self.priority).0.map_or("", SyslogFacility::as_str)
    }

    /// The severity's name.
    pub(super) fn severity(&self) -> &'static str {
        decompose_pri(self.priority).1.map_or("", SyslogSeverity::as_str)
    }

    /// How grave it is.
    pub(super) fn level(&self) -> Level {
        match self.priority & 7 {
            0..=3 => Level::Error,
            4 => Level::Warn,
            7 => Level::Debug,
            _ => Level::Info,
        }
    }
}

/// The month in which lines arrive; it tells the year that syslog dates leave out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar {
    day: u64,
    year: i32,
    month: u32,
}

impl Calendar {
    /// Before the first line.
    pub(super) fn new() -> Self {
        Self { day: 0, year: 1970, month: 1 }
    }

    /// Turns the page when `now`, the time since 1970, lies on another day.
    pub(super) fn turn(&mut self, now: Duration) {
        let day = now.as_secs() / 86_400;
        if day == self.day {
            return;
        }
        let Some(now) = i64::try_from(now.as_secs()).ok().and_then(|now| Timestamp::from_second(now).ok())
        else {
            return;
        };
        let date = now.to_zoned(TimeZone::UTC).date();
        *self = Self { day, year: date.year().into(), month: u32::try_from(date.month()).unwrap_or(1) };
    }

    /// The year of a date in `month` that was written not long ago, by a clock that may be a little ahead.
    fn year_of(self, month: u32) -> i32 {
        match (month, self.month) {
            (7..=12, now) if now + 6 < month => self.year - 1,
            (1..=6, now) if month + 6 < now => self.year + 1,
            _ => self.year,
        }
    }
}

/// The number between the angle brackets at the start of `line`, and the rest; `None` when there is none up to 191.
pub(super) fn priority(line: &str) -> Option<(u8, &str)> {
    let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority = digits.parse().ok().filter(|&priority: &u8| plain && priority <= 191)?;
    Some((priority, rest))
}

/// `line` without the length that octet-counting senders put before it.
pub(super) fn without_octet_count(line: &str) -> &str {
    match line.split_once(' ') {
        Some((count, rest))
            if rest.starts_with('<')
                && (1..=7).contains(&count.len())
                && count.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            rest
        }
        _ => line,
    }
}

/// Takes a line apart whose priority has been read: `line` begins with `<` and `rest` follows the `>`.
pub(super) fn parse<'a>(line: &'a str, (priority, rest): (u8, &'a str), calendar: Calendar) -> Message<'a> {
    nginx(priority, rest).or_else(|| loose(line, rest, priority, calendar)).unwrap_or_else(|| {
        let (tag, body) = undated(rest);
        Message::new(priority, tag, body)
    })
}

// === the header that nginx writes ===

/// `Mmm dd HH:MM:SS host tag: body`, exactly, or the same without the host. Its time has neither year nor zone nor
/// fraction, so that the time of receipt is the better one.
fn nginx(priority: u8, rest: &str) -> Option<Message<'_>> {
    let (date, rest) = rest.split_at_checked(16)?;
    if !is_date(date.as_bytes()) {
        return None;
    }
    let (first, after) = rest.split_once(' ')?;
    if let Some(tag) = first.strip_suffix(':') {
        return is_tag(tag).then_some(Message::new(priority, Some(tag), after));
    }
    let (second, body) = after.split_once(' ')?;
    let tag = second.strip_suffix(':').filter(|tag| is_tag(tag))?;
    if first.is_empty() || first.starts_with('{') {
        return None;
    }
    Some(Message { hostname: Some(first), ..Message::new(priority, Some(tag), body) })
}

/// `Mmm dd HH:MM:SS ` as nginx writes it: the day has a leading blank, times have a leading zero.
fn is_date(text: &[u8]) -> bool {
    let &[m1, m2, m3, b' ', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2, b' '] = text else {
        return false;
    };
    let month = [m1, m2, m3];
    MONTHS.contains(&&month)
        && (d1 == b' ' || d1.is_ascii_digit())
        && [d2, h1, h2, n1, n2, s1, s2].iter().all(u8::is_ascii_digit)
}

/// What nginx accepts as a tag.
fn is_tag(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

// === every other header ===

fn loose<'a>(line: &'a str, rest: &'a str, priority: u8, calendar: Calendar) -> Option<Message<'a>> {
    // The calendar behind the parser ends with year 9999 and does not like to be asked beyond.
    if rest.split_ascii_whitespace().nth(2).is_some_and(is_far_year) {
        return None;
    }
    let guessed = std::cell::Cell::new(false);
    let year = |(month, day, ..): (u32, u32, u32, u32, u32)| {
        if (month, day) != (2, 29) {
            return calendar.year_of(month);
        }
        // The last leap year makes the header readable; the date itself is not believed.
        guessed.set(true);
        (calendar.year - 8..=calendar.year).rev().find(|&year| is_leap(year)).unwrap_or(calendar.year)
    };
    let parsed = parse_message_with_year_exact(line, year, Variant::Either).ok()?;
    let at = parsed.timestamp.and_then(|at| u64::try_from(at.timestamp_micros()).ok());
    let mut message = Message {
        priority,
        at: at.map(Duration::from_micros).filter(|_| !guessed.get()),
        hostname: parsed.hostname,
        tag: parsed.appname.filter(|tag| !tag.is_empty()),
        procid: parsed.procid.as_ref().map(ToString::to_string),
        msgid: parsed.msgid,
        body: parsed.msg,
        partial: false,
    };
    if matches!(parsed.protocol, Protocol::RFC5424(_)) {
        let before = before(line, parsed.msg).unwrap_or(line);
        message.partial = before.trim_end().ends_with(']');
        message.body = parsed.msg.trim_start_matches('\u{feff}');
    } else {
        mend(&mut message, line);
    }
    Some(message)
}

fn is_far_year(word: &str) -> bool {
    word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Gives the body of an RFC 3164 line back what the parser cut from it.
fn mend<'a>(message: &mut Message<'a>, line: &'a str) {
    let braced = |field: Option<&str>| field.is_some_and(|text| text.starts_with('{'));
    if braced(message.hostname) {
        message.tag = message.hostname.take();
    }
    let Some(last) = message.tag.or(message.hostname) else {
        let before = before(line, message.body).unwrap_or(line).trim_end();
        message.partial = before.ends_with('-') || before.ends_with(']');
        return;
    };
    let (Some(whole), Some(mut rest)) = (from(line, last), after(line, last)) else {
        message.partial = true;
        return;
    };
    if message.procid.is_some() {
        rest = rest.split_once(']').map_or(rest, |(_, rest)| rest);
    }
    let glued = rest.strip_prefix(':');
    if braced(Some(last)) || (message.tag.is_some() && message.procid.is_none() && glued.is_none()) {
        // A word that no colon follows is the first of the text.
        (message.tag, message.procid, message.body) = (None, None, whole);
    } else if let Some(body) = glued {
        if message.tag.is_none() && message.procid.is_none() {
            message.tag = message.hostname.take();
        }
        message.body = body.strip_prefix(' ').unwrap_or(body);
    } else {
        let body = rest.trim_start();
        message.body = body.strip_prefix(':').map_or(body, str::trim_start);
    }
    if message.body.is_empty() && message.tag.is_none() {
        message.body = message.hostname.take().unwrap_or_default();
    }
}

/// The tag and the text of a line that has no date.
fn undated(rest: &str) -> (Option<&str>, &str) {
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    match rest.split_once(": ") {
        Some((tag, body)) if is_tag(tag) => (Some(tag), body),
        _ => (None, rest),
    }
}

/// What stands in `line` from `part` on, where `part` is a piece of `line`.
fn from<'a>(line: &'a str, part: &str) -> Option<&'a str> {
    line.get(offset(line, part)?..)
}

/// What stands in `line` before `part`.
fn before<'a>(line: &'a str, part: &str) -> Option<&'a str> {
    line.get(..offset(line, part)?)
}

/// What stands in `line` after `part`.
fn after<'a>(line: &'a str, part: &str) -> Option<&'a str> {
    from(line, part)?.get(part.len()..)
}

fn offset(line: &str, part: &str) -> Option<usize> {
    part.as_ptr().addr().checked_sub(line.as_ptr().addr()).filter(|&offset| offset <= line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T23:39:00Z.
    const NOW: Duration = Duration::from_secs(1_795_217_940);

    fn message(line: &str) -> Message<'_> {
        let mut calendar = Calendar::new();
        calendar.turn(NOW);
        parse(line, priority(line).unwrap(), calendar)
    }

    /// Holds `host|tag|procid|body` against the line; a `+` at the end says that the line must be kept whole.
    fn check(line: &str, expected: &str) {
        let message = message(line);
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let found = [
            or_dash(message.hostname),
            or_dash(message.tag),
            or_dash(message.procid.as_deref()),
            format!("{}{}", message.body, if message.partial { "+" } else { "" }),
        ];
        assert_eq!(found.join("|"), expected, "{line}");
    }

    #[test]
    fn the_header_of_nginx_is_read_by_hand_with_and_without_a_host() {
        check("<190>Nov 20 23:40:00 edge_1 nginx: {\"a\": 1}", "edge_1|nginx|-|{\"a\": 1}");
        check("<190>Nov  1 23:40:00 nginx: -5 degrees", "-|nginx|-|-5 degrees");
        check("<190>Nov  1 23:40:00 h nginx:  two blanks", "h|nginx|-| two blanks");
        assert_eq!(message("<190>Nov 20 23:40:00 h nginx: x").at, None);
    }

    #[test]
    fn a_tag_with_its_process_is_no_host() {
        check("<13>Nov 20 23:40:00 host app[77]: text", "host|app|77|text");
        check("<13>Nov 20 23:40:00 app[77]: text", "-|app|77|text");
        check("<13>Nov 20 23:40:00 my-app: text", "-|my-app|-|text");
        check("<13>Nov 20 23:40:00 host my-app: text", "host|my-app|-|text");
    }

    #[test]
    fn nothing_is_cut_from_a_body() {
        check("<13>Nov 20 23:40:00 host my-app: -5 degrees", "host|my-app|-|-5 degrees");
        check("<13>Nov 20 23:40:00 host my-app: [a b=\"c\"] text", "host|my-app|-|[a b=\"c\"] text");
        check("<13>Nov 20 23:40:00 host my-app:   three blanks", "host|my-app|-|  three blanks");
        check("<13>Nov 20 23:40:00 host app[7]: [a b=\"c\"] text", "host|app|7|[a b=\"c\"] text");
        check("<13>Nov 20 23:40:00 host last message repeated", "host|-|-|last message repeated");
        check("<13>Nov 20 23:40:00 host : text", "host|-|-|text");
        check("<13>Nov 20 23:40:00 word", "-|-|-|word");
    }

    #[test]
    fn a_body_that_begins_with_a_brace_is_found_without_a_tag() {
        check("<13>Nov 20 23:40:00 host {\"a\":1}", "host|-|-|{\"a\":1}");
        check("<13>Nov 20 23:40:00 {\"a\":1}", "-|-|-|{\"a\":1}");
        check("<13>2026-11-20T23:40:00Z host {\"a\": [1]}", "host|-|-|{\"a\": [1]}");
        check("<13>{\"a\":1}", "-|-|-|{\"a\":1}");
        check("<13>{\"a\": \"b: c\"}", "-|-|-|{\"a\": \"b: c\"}");
        check("<13>app: {\"a\":1}", "-|app|-|{\"a\":1}");
    }

    #[test]
    fn structured_data_keeps_the_line_whole() {
        check("<13>1 2026-11-20T23:40:00Z h app 7 id [a b=\"c\"] text", "h|app|7|text+");
        check("<13>1 2026-11-20T23:40:00Z h app 7 id [no data] text", "h|app|7|text+");
        check("<13>1 2026-11-20T23:40:00Z h app 7 id - text [1]", "h|app|7|text [1]");
        check("<13>1 - - - - - - \u{feff}text", "-|-|-|text");
    }

    #[test]
    fn a_date_that_makes_no_sense_leaves_the_rest_readable() {
        check("<13>Feb 29 23:40:00 host my-app: text", "host|my-app|-|text");
        assert_eq!(message("<13>Feb 29 23:40:00 host my-app: text").at, None);
        check("<13>Dec 31 262143 23:59:59 h t: x", "-|-|-|Dec 31 262143 23:59:59 h t: x");
        check("<13>Nov 31 23:40:00 host my-app: text", "-|-|-|Nov 31 23:40:00 host my-app: text");
        check("<13>hello", "-|-|-|hello");
    }

    #[test]
    fn times_with_a_zone_are_taken_and_dates_without_a_year_get_the_nearest() {
        assert_eq!(
            message("<13>1 2026-11-20T23:38:59.404+01:00 h a - - - x").at,
            Some(Duration::from_millis(1_795_214_339_404))
        );
        let calendar = |month| Calendar { day: 1, year: 2026, month };
        assert_eq!(calendar(1).year_of(12), 2025);
        assert_eq!(calendar(12).year_of(1), 2027);
        assert_eq!(calendar(6).year_of(12), 2026);
        assert_eq!(calendar(11).year_of(11), 2026);
        let mut turned = Calendar::new();
        turned.turn(NOW);
        assert_eq!((turned.year, turned.month), (2026, 11));
    }

    #[test]
    fn priorities_end_at_191() {
        assert_eq!(priority("<191>x"), Some((191, "x")));
        assert_eq!(priority("<0>x"), Some((0, "x")));
        for line in ["<192>x", "<>x", "<1234>x", "<+1>x", "<-1>x", "< 1>x", "<1", "x"] {
            assert_eq!(priority(line), None, "{line}");
        }
        let message = message("<187>Nov 20 23:40:00 h t: x");
        assert_eq!(
            (message.facility(), message.severity(), message.level()),
            ("local7", "err", Level::Error)
        );
    }

    #[test]
    fn an_octet_count_is_taken_away() {
        assert_eq!(without_octet_count("63 <134>x"), "<134>x");
        for line in ["63 x", "12345678 <1>x", "6x <1>x", "<1> <2>"] {
            assert_eq!(without_octet_count(line), line);
        }
    }
}
