//! The header, read as the receiver would.

use std::fmt;

use super::Dialect;

/// A line that has the header which was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Facility and severity: 8 times the one plus the other.
    pub priority: u8,
    /// The host.
    pub host: &'a [u8],
    /// The tag, or the name of the application.
    pub tag: &'a [u8],
    /// What was said.
    pub body: &'a [u8],
}

/// Why a line has not the header that was expected. For RFC 3164 that is what the `syslog` input of Logstash takes;
/// what it does not take is not lost there, but is stored as a text with this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none: the line is a bare JSON text.
    Bare,
    /// There is no number from 1 to 191 in angle brackets.
    Priority,
    /// The priority is 0.
    PriorityZero,
    /// It is a header of RFC 5424 where one of RFC 3164 was expected.
    Rfc5424,
    /// It is a header of RFC 3164 where one of RFC 5424 was expected.
    Rfc3164,
    /// There is no time that is known.
    Time,
    /// The host's name has an underscore.
    HostUnderscore,
    /// The host's name is missing or is none.
    Host,
    /// There is no tag with a colon, or something else is in its place.
    Tag,
    /// There is no process or message id where they should be.
    Ids,
    /// There is structured data, or not even the dash for none.
    Structured,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => {
                "bare JSON without a syslog header: Logstash tags it _grokparsefailure_sysloginput, or takes \
                 a header out of its texts"
            }
            Self::Priority => "no priority: a line begins with < a number from 1 to 191 >",
            Self::PriorityZero => {
                "priority 0, which Logstash takes for none and tags _grokparsefailure_sysloginput"
            }
            Self::Rfc5424 => {
                "a header of RFC 5424, which Logstash's syslog input does not know and tags \
                 _grokparsefailure_sysloginput"
            }
            Self::Rfc3164 => "a header of RFC 3164: after the priority follows the version, 1 and a blank",
            Self::Time => {
                "no time that is known after the priority: 2026-11-20T23:40:00.123Z or Nov 20 23:40:00"
            }
            Self::HostUnderscore => {
                "an underscore in the host's name: Logstash tags it _grokparsefailure_sysloginput, or cuts \
                 the line in the wrong place"
            }
            Self::Host => "no name of a host after the time",
            Self::Tag => "no tag with a colon and a blank after the host's name",
            Self::Ids => "no process id and message id, or dashes for them, after the application's name",
            Self::Structured => "no dash for structured data before the message",
        })
    }
}

/// Reads the header of `line`.
///
/// # Errors
/// When it is not the one that was expected.
pub fn read(line: &[u8], dialect: Dialect) -> Result<Message<'_>, Fault> {
    if line.trim_ascii_start().starts_with(b"{") {
        return Err(Fault::Bare);
    }
    let (priority, rest) = priority(line)?;
    let version = rest.strip_prefix(b"1 ");
    match (dialect, version) {
        (Dialect::Rfc3164, None) => rfc3164(priority, rest),
        (Dialect::Rfc3164, Some(_)) => Err(Fault::Rfc5424),
        (Dialect::Rfc5424, None) => Err(Fault::Rfc3164),
        (Dialect::Rfc5424, Some(rest)) => rfc5424(priority, rest),
    }
}

fn priority(line: &[u8]) -> Result<(u8, &[u8]), Fault> {
    let rest = line.strip_prefix(b"<").ok_or(Fault::Priority)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(digits).ok_or(Fault::Priority)?;
    let rest = rest.strip_prefix(b">").ok_or(Fault::Priority)?;
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u8>().ok());
    match number {
        Some(0) => Err(Fault::PriorityZero),
        Some(number @ 1..=191) => Ok((number, rest)),
        _ => Err(Fault::Priority),
    }
}

fn rfc3164(priority: u8, rest: &[u8]) -> Result<Message<'_>, Fault> {
    let rest = match rest.split_at_checked(DATE) {
        Some((date, rest)) if is_date(date) => rest,
        _ => time(rest).ok_or(Fault::Time)?,
    };
    let (host, rest) = host(rest)?;
    let (tag, body) = word(rest).ok_or(Fault::Tag)?;
    let tag = tag.strip_suffix(b":").ok_or(Fault::Tag)?;
    let tag = match tag.strip_suffix(b"]") {
        Some(with) => {
            let at = with.iter().position(|&byte| byte == b'[').ok_or(Fault::Tag)?;
            let (tag, pid) = with.split_at_checked(at).ok_or(Fault::Tag)?;
            let pid = pid.get(1..).unwrap_or_default();
            // A process that is no number from 1 on is none to Logstash either.
            let is_number = pid.iter().all(u8::is_ascii_digit) && !matches!(pid, [] | [b'0', ..]);
            if !is_number {
                return Err(Fault::Tag);
            }
            tag
        }
        None => tag,
    };
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']' | b'{' | b'"');
    if tag.is_empty() || !tag.iter().all(plain) {
        return Err(Fault::Tag);
    }
    Ok(Message { priority, host, tag, body })
}

fn rfc5424(priority: u8, rest: &[u8]) -> Result<Message<'_>, Fault> {
    let rest = rest.strip_prefix(b"- ").or_else(|| time(rest)).ok_or(Fault::Time)?;
    let (host, rest) = host(rest)?;
    let (tag, rest) = word(rest).ok_or(Fault::Tag)?;
    let (_, rest) = word(rest).ok_or(Fault::Ids)?;
    let (_, rest) = word(rest).ok_or(Fault::Ids)?;
    let body = rest.strip_prefix(b"- ").ok_or(Fault::Structured)?;
    // The mark of UTF-8 is no part of what was said.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    Ok(Message { priority, host, tag, body })
}

/// `Mmm dd HH:MM:SS ` with a blank for the first digit of a small day.
const DATE: usize = 16;

fn is_date(date: &[u8]) -> bool {
    let &[m1, m2, m3, b' ', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2, b' '] = date else {
        return false;
    };
    let digits = [d2, h1, h2, n1, n2, s1, s2];
    m1.is_ascii_uppercase()
        && [m2, m3].iter().all(u8::is_ascii_lowercase)
        && (d1 == b' ' || d1.is_ascii_digit())
        && digits.iter().all(u8::is_ascii_digit)
}

/// What is behind a time of ISO 8601.
fn time(text: &[u8]) -> Option<&[u8]> {
    let (time, rest) = word(text)?;
    let form = b"0000-00-00T00:00:00";
    let (second, zone) = time.split_at_checked(form.len())?;
    let alike = second.iter().zip(form).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    });
    let zone = zone.strip_prefix(b".").unwrap_or(zone);
    let digits = zone.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let known = match zone.get(digits..).unwrap_or_default() {
        b"Z" | b"" => true,
        [b'+' | b'-', zone @ ..] => zone.iter().all(|byte| byte.is_ascii_digit() || *byte == b':'),
        _ => false,
    };
    (alike && known).then_some(rest)
}

/// A host's name and what is behind it.
fn host(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (host, rest) = word(text).ok_or(Fault::Host)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    match host {
        _ if host.contains(&b'_') => Err(Fault::HostUnderscore),
        [b'-' | b'.', ..] | [] => Err(Fault::Host),
        // `tag:` without a host before it.
        [.., b':'] => Err(Fault::Host),
        _ if !host.iter().all(plain) => Err(Fault::Host),
        _ => Ok((host, rest)),
    }
}

/// A word and what is behind the blank after it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b' ')?;
    let (word, rest) = text.split_at_checked(end)?;
    Some((word, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(line: &str, dialect: Dialect) -> Option<Fault> {
        read(line.as_bytes(), dialect).err()
    }

    #[test]
    fn what_logstash_does_not_take_is_named() {
        let check = |line: &str, expected| assert_eq!(fault(line, Dialect::Rfc3164), expected, "{line}");
        check("<134>Nov 20 23:40:00 edge1 pillion[77]: {}", None);
        check("<134>Nov  2 23:40:00 edge1 pillion: {}", None);
        check("<134>2026-11-20T23:40:00.123456Z edge1 pillion: {}", None);
        check("<134>2026-11-20T23:40:00+01:00 10.0.0.7 pillion: {}", None);
        check("{\"a\":\"<134>Nov 20 23:40:00 h app: x\"}", Some(Fault::Bare));
        check("hello", Some(Fault::Priority));
        check("<>Nov 20 23:40:00 h app: {}", Some(Fault::Priority));
        check("<192>Nov 20 23:40:00 h app: {}", Some(Fault::Priority));
        check("<0>Nov 20 23:40:00 h app: {}", Some(Fault::PriorityZero));
        check("<134>1 2026-11-20T23:40:00Z h app 7 login - {}", Some(Fault::Rfc5424));
        check("<134>Nov 20 23:40 h app: {}", Some(Fault::Time));
        check("<134>h app: {}", Some(Fault::Time));
        check("<134>Nov 20 23:40:00 edge_1 app: {}", Some(Fault::HostUnderscore));
        check("<190>Nov 20 23:40:00 ngx: {}", Some(Fault::Host));
        check("<134>Nov 20 23:40:00 h {\"a\": 1}", Some(Fault::Tag));
        check("<134>Nov 20 23:40:00 h app[0]: {}", Some(Fault::Tag));
        check("<134>Nov 20 23:40:00 h app {}", Some(Fault::Tag));
    }

    #[test]
    fn what_is_no_header_of_rfc_5424_is_named() {
        let check = |line: &str, expected| assert_eq!(fault(line, Dialect::Rfc5424), expected, "{line}");
        check("<134>1 2026-11-20T23:40:00Z h app 7 login - {}", None);
        check("<134>1 - h app - - - {}", None);
        check("<134>Nov 20 23:40:00 h app: {}", Some(Fault::Rfc3164));
        check("<134>1 yesterday h app - - - {}", Some(Fault::Time));
        check("<134>1 2026-11-20T23:40:00Z h app", Some(Fault::Tag));
        check("<134>1 2026-11-20T23:40:00Z h app 7 ", Some(Fault::Ids));
        check("<134>1 2026-11-20T23:40:00Z h app 7 login [a b=\"c\"] {}", Some(Fault::Structured));
    }

    #[test]
    fn the_mark_of_utf_8_is_no_part_of_the_message() {
        let message = read("<134>1 - h app - - - \u{feff}{}".as_bytes(), Dialect::Rfc5424).unwrap();
        assert_eq!(message.body, b"{}");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, text in "<[0-9]{0,3}>[0-9A-Za-z :.\\[\\]-]{0,60}") {
            for dialect in [Dialect::Rfc3164, Dialect::Rfc5424] {
                prop_assert!(read(&bytes, dialect).is_err());
                if let Ok(message) = read(text.as_bytes(), dialect) {
                    prop_assert!(text.as_bytes().ends_with(message.body));
                }
            }
        }
    }
}
