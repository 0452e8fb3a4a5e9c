//! A record on one readable line: time, level, action, whom it is about, what happened.

use std::fmt;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::check::Record;
use super::check::word;

/// A record as one readable line without its line break; `None` when it is no record. With colours for a terminal.
#[must_use]
pub fn readable(record: &[u8], colour: bool) -> Option<String> {
    let mut out = String::new();
    show(&mut out, &Record::read(record).ok()?, colour);
    Some(out)
}

/// Appends `record` as one line without its line break; with colours for a terminal.
pub(super) fn show(out: &mut String, record: &Record<'_>, colour: bool) {
    // Writing into a String does not fail.
    write(out, record, colour).unwrap_or_default();
}

fn write(out: &mut String, record: &Record<'_>, colour: bool) -> fmt::Result {
    let level = record.level.map_or("-".into(), word);
    let paint = Paint::of(&level, record.is_gap(), colour);
    let time = record.timestamp.map_or("-".into(), word);
    // The day is the same on all lines of a trial.
    let time = time.split_once('T').map_or(time.as_ref(), |(_, time)| time.trim_end_matches('Z'));
    let action = record.action.map_or("-".into(), word);
    write!(out, "{}{}{} ", paint.dim, Plain(time), paint.off)?;
    write!(out, "{}{:<5}{} ", paint.level, Plain(&level), paint.off)?;
    write!(out, "{}{:<12}{}", paint.action, Plain(&action), paint.off)?;
    for (name, value) in [("session", record.session_id), ("room", record.room_id), ("user", record.user_id)]
    {
        if let Some(value) = value {
            write!(out, " {}{name}={}{}", paint.dim, paint.off, Plain(&word(value)))?;
        }
    }
    if record.is_gap() {
        let text = |value: Option<&RawValue>| value.map_or("?".into(), |value| word(value).into_owned());
        let (lines, bytes) = (text(record.gap_lines), text(record.gap_bytes));
        let cause = text(record.gap_cause);
        let (lines, bytes, cause) = (Plain(&lines), Plain(&bytes), Plain(&cause));
        write!(
            out,
            " {}{lines} records lost before they were sent ({bytes} bytes): {cause}{}",
            paint.level, paint.off
        )?;
    }
    let said =
        [record.method, record.path, record.status, record.err_code, record.err, record.desc, record.message];
    for value in said.into_iter().flatten() {
        write!(out, " {}", Plain(&word(value)))?;
    }
    if let Some(delay) = record.send_time_delay {
        write!(out, " {}delay={}{}s", paint.dim, paint.off, Plain(&word(delay)))?;
    }
    Ok(())
}

/// The escape sequences around the parts of a line; empty ones without colours.
#[derive(Default)]
struct Paint {
    dim: &'static str,
    level: &'static str,
    action: &'static str,
    off: &'static str,
}

impl Paint {
    fn of(level: &str, gap: bool, colour: bool) -> Self {
        if !colour {
            return Self::default();
        }
        let level = match level {
            _ if gap => "\x1b[1;37;41m",
            "error" => "\x1b[31m",
            "warn" => "\x1b[33m",
            "info" => "\x1b[32m",
            _ => "\x1b[2m",
        };
        Self { dim: "\x1b[2m", level, action: "\x1b[1m", off: "\x1b[0m" }
    }
}

/// Text that can do a terminal no harm: control characters are shown as escapes.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.chars().any(char::is_control) {
            return f.pad(self.0);
        }
        for letter in self.0.chars() {
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())?;
            } else {
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, colour: bool, expected: &str) {
        let mut out = String::new();
        show(&mut out, &Record::read(line.as_bytes()).unwrap(), colour);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_record_is_one_readable_line() {
        check(
            concat!(
                r#"{"@timestamp":"2026-11-20T23:38:59.404Z","action":"login","log.level":"warn","session_id":"s1","#,
                r#""user_id":7,"err_code":"4001","err":"wrong token\n\u001b[31m","send_time_delay":1.5}"#
            ),
            false,
            "23:38:59.404 warn  login        session=s1 user=7 4001 wrong token\\n\\u{1b}[31m delay=1.5s",
        );
        check(
            r#"{"action":"nginx_access","method":"GET","path":"/ws","status":101}"#,
            false,
            "- -     nginx_access GET /ws 101",
        );
    }

    #[test]
    fn a_loss_can_not_be_overlooked() {
        check(
            r#"{"action":"log_gap","log.level":"error","gap.lines":3,"gap.bytes":900,"gap.cause":"overflow"}"#,
            true,
            concat!(
                "\x1b[2m-\x1b[0m \x1b[1;37;41merror\x1b[0m \x1b[1mlog_gap     \x1b[0m ",
                "\x1b[1;37;41m3 records lost before they were sent (900 bytes): overflow\x1b[0m"
            ),
        );
    }
}
