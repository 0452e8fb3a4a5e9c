//! The header, written.

use std::net::IpAddr;

use super::Dialect;
use super::Facility;
use super::Severity;
use super::priority;

/// The longest label of a host's name.
const LABEL_MAX: usize = 63;

/// The longest name of a host, in both dialects.
const HOST_MAX: usize = 255;

/// The longest tag: RFC 3164 has it shorter than RFC 5424, which has 48.
const TAG_MAX: usize = 32;

/// The longest message id of RFC 5424.
const MSGID_MAX: usize = 32;

/// What is the same in all headers of one sender.
#[derive(Clone, Debug)]
pub struct Header {
    dialect: Dialect,
    facility: Facility,
    ending: Ending,
    /// What stands between the time and the record, or the message id.
    sender: Vec<u8>,
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a line break: on streams.
    Newline,
    /// At the length that stands before it: on streams, after RFC 6587.
    Counted,
    /// With its datagram.
    Datagram,
}

impl Header {
    /// The headers of the process `pid` on `host`. What may not stand in a host's name or a tag becomes `-`; process
    /// 0, which Logstash does not take for one, is left out.
    #[must_use]
    pub fn new(
        dialect: Dialect,
        facility: Facility,
        host: &str,
        tag: &str,
        pid: u32,
        ending: Ending,
    ) -> Self {
        let (host, tag) = (host_name(host), tag_name(tag));
        let sender = match (dialect, pid) {
            (Dialect::Rfc3164, 0) => format!(" {host} {tag}: "),
            (Dialect::Rfc3164, _) => format!(" {host} {tag}[{pid}]: "),
            (Dialect::Rfc5424, 0) => format!(" {host} {tag} - "),
            (Dialect::Rfc5424, _) => format!(" {host} {tag} {pid} "),
        };
        Self { dialect, facility, ending, sender: sender.into_bytes() }
    }

    /// Appends `record`, without its line break, behind a header.
    ///
    /// `timestamp` has the form of RFC 3339, without a blank (see `record::is_timestamp`). `msgid` is for RFC 5424,
    /// what may not stand in it becomes `_`; RFC 3164 has no place for it.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        severity: Severity,
        timestamp: &str,
        msgid: Option<&str>,
        record: &[u8],
    ) {
        debug_assert!(!timestamp.contains(' ') && !timestamp.is_empty());
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let mut number = itoa::Buffer::new();
        let priority = number.format(priority(self.facility, severity)).as_bytes();
        let version: &[u8] = if self.dialect == Dialect::Rfc5424 { b">1 " } else { b">" };
        let msgid = Some(msgid.unwrap_or_default().as_bytes()).filter(|_| self.dialect == Dialect::Rfc5424);
        let msgid = msgid.map(|msgid| msgid.get(..MSGID_MAX).unwrap_or(msgid));
        // Without a message id a dash stands in its place, and another one where structured data would.
        let id_length = msgid.map_or(0, |msgid| msgid.len().max(1) + " - ".len());
        let head = 1 + priority.len() + version.len() + timestamp.len() + self.sender.len() + id_length;
        if self.ending == Ending::Counted {
            let mut length = itoa::Buffer::new();
            out.extend_from_slice(length.format(head + record.len()).as_bytes());
            out.push(b' ');
        }
        let start = out.len();
        for part in [b"<", priority, version, timestamp.as_bytes(), &self.sender] {
            out.extend_from_slice(part);
        }
        if let Some(msgid) = msgid {
            let plain = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'_' };
            out.extend(msgid.iter().map(plain));
            out.extend_from_slice(if msgid.is_empty() { b"- - " } else { b" - " });
        }
        debug_assert_eq!(out.len() - start, head);
        out.extend_from_slice(record);
        if self.ending == Ending::Newline {
            out.push(b'\n');
        }
    }
}

/// A name that Logstash takes for that of a host: an address, or labels of letters, digits and dashes.
fn host_name(name: &str) -> String {
    if name.parse::<IpAddr>().is_ok() {
        return name.to_owned();
    }
    let label = |label: &str| -> String {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        // A dash at the beginning is none of a name.
        label.chars().map(plain).skip_while(|&letter| letter == '-').take(LABEL_MAX).collect()
    };
    let labels: Vec<String> = name.split('.').map(label).filter(|label| !label.is_empty()).collect();
    let mut name = labels.join(".");
    name.truncate(HOST_MAX);
    let name = name.trim_end_matches(['.', '-']);
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// A tag that nobody takes for anything else.
fn tag_name(tag: &str) -> String {
    let plain = |letter: char| match letter {
        '_' | '-' | '.' | '/' => letter,
        _ if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    let tag: String = tag.chars().map(plain).take(TAG_MAX).collect();
    if tag.is_empty() { "pillion".to_owned() } else { tag }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Fault;
    use super::super::read;
    use super::*;

    const STAMP: &str = "2026-11-20T23:40:00.123Z";

    fn written(header: &Header, severity: Severity, msgid: Option<&str>, record: &str) -> String {
        let mut out = Vec::new();
        header.write(&mut out, severity, STAMP, msgid, record.as_bytes());
        String::from_utf8(out).unwrap()
    }

    fn check(dialect: Dialect, ending: Ending, pid: u32, msgid: Option<&str>, expected: &str) {
        let header = Header::new(dialect, Facility::LOCAL0, "edge_1", "pillion", pid, ending);
        assert_eq!(written(&header, Severity::Informational, msgid, "{\"a\":1}\n"), expected);
    }

    #[test]
    fn both_headers_stand_before_the_record() {
        use Dialect::Rfc3164;
        use Dialect::Rfc5424;
        use Ending::Datagram;
        use Ending::Newline;
        let line = "<134>2026-11-20T23:40:00.123Z edge-1 pillion[77]: {\"a\":1}";
        check(Rfc3164, Newline, 77, Some("login"), &format!("{line}\n"));
        check(Rfc3164, Datagram, 77, None, line);
        check(Rfc3164, Ending::Counted, 77, None, &format!("{} {line}", line.len()));
        check(Rfc3164, Datagram, 0, None, "<134>2026-11-20T23:40:00.123Z edge-1 pillion: {\"a\":1}");
        let line = "<134>1 2026-11-20T23:40:00.123Z edge-1 pillion 77 login - {\"a\":1}";
        check(Rfc5424, Newline, 77, Some("login"), &format!("{line}\n"));
        check(Rfc5424, Ending::Counted, 77, Some("login"), &format!("{} {line}", line.len()));
        check(Rfc5424, Datagram, 0, None, "<134>1 2026-11-20T23:40:00.123Z edge-1 pillion - - - {\"a\":1}");
        let strange = Some("two words\né");
        check(
            Rfc5424,
            Datagram,
            0,
            strange,
            "<134>1 2026-11-20T23:40:00.123Z edge-1 pillion - two_words___ - {\"a\":1}",
        );
    }

    #[test]
    fn the_priority_is_never_0() {
        let kernel = Facility::new(0).unwrap();
        let header = Header::new(Dialect::Rfc3164, kernel, "h", "t", 1, Ending::Datagram);
        assert!(written(&header, Severity::Emergency, None, "{}").starts_with("<1>"));
        assert!(written(&header, Severity::Critical, None, "{}").starts_with("<2>"));
        let header = Header::new(Dialect::Rfc3164, Facility::new(23).unwrap(), "h", "t", 1, Ending::Datagram);
        assert!(written(&header, Severity::Debug, None, "{}").starts_with("<191>"));
        assert_eq!(Facility::new(24), None);
    }

    #[test]
    fn names_become_what_logstash_takes_for_names() {
        for (given, expected) in [
            ("edge_1", "edge-1"),
            ("_edge_", "edge"),
            ("a.b_c..d", "a.b-c.d"),
            ("10.0.0.7", "10.0.0.7"),
            ("::1", "::1"),
            ("büro", "b-ro"),
            ("", "localhost"),
            ("___", "localhost"),
            ("h p: {", "h-p"),
        ] {
            assert_eq!(host_name(given), expected, "{given:?}");
        }
        assert_eq!(host_name(&"a".repeat(100)).len(), LABEL_MAX);
        assert_eq!(host_name(&"a.".repeat(500)).len(), HOST_MAX);
        assert_eq!((tag_name("a b:[7]").as_str(), tag_name("").as_str()), ("a-b--7-", "pillion"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_by_the_other_side(
            host: String,
            tag: String,
            pid: u32,
            facility: u8,
            msgid: Option<String>,
            record in "[{][^\n]{0,40}[}]",
            newer: bool,
        ) {
            let dialect = if newer { Dialect::Rfc5424 } else { Dialect::Rfc3164 };
            let facility = Facility::new(facility % 24).unwrap();
            let header = Header::new(dialect, facility, &host, &tag, pid, Ending::Datagram);
            let line = written(&header, Severity::Warning, msgid.as_deref(), &record);
            let message = read(line.as_bytes(), dialect).unwrap();
            prop_assert_eq!(message.body, record.as_bytes());
            let (host, tag) = (host_name(&host), tag_name(&tag));
            prop_assert_eq!((message.host, message.tag), (host.as_bytes(), tag.as_bytes()));
            prop_assert_eq!(message.priority, facility.0 * 8 + 4);
            let other = if newer { Dialect::Rfc3164 } else { Dialect::Rfc5424 };
            let fault = if newer { Fault::Rfc5424 } else { Fault::Rfc3164 };
            prop_assert_eq!(read(line.as_bytes(), other), Err(fault));
        }
    }
}
