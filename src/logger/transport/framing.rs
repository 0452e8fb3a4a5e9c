//! How records travel: as they are, or each behind a header.

use std::process;
use std::time::Duration;

use crate::buffer::Chunk;
use crate::config::Format;
use crate::config::SyslogDialect;
use crate::record::Level;
use crate::record::peek;
use crate::record::stamp_into;
use crate::wire::syslog::Dialect;
use crate::wire::syslog::Ending;
use crate::wire::syslog::Facility;
use crate::wire::syslog::Header;
use crate::wire::syslog::Severity;

/// How records travel over connections that acknowledge nothing.
#[derive(Clone, Debug)]
pub(in crate::logger) enum Framing {
    /// As they are.
    Plain,
    /// Behind a syslog header each.
    Syslog(Header),
}

impl Framing {
    pub(in crate::logger) fn new(format: &Format, datagrams: bool) -> Self {
        let Format::Syslog(syslog) = format else { return Self::Plain };
        let dialect = match syslog.dialect {
            SyslogDialect::Rfc3164 => Dialect::Rfc3164,
            SyslogDialect::Rfc5424 => Dialect::Rfc5424,
        };
        let facility = Facility::new(syslog.facility).unwrap_or(Facility::LOCAL0);
        let ending = match (datagrams, syslog.octet_counting) {
            (true, _) => Ending::Datagram,
            (false, true) => Ending::Counted,
            (false, false) => Ending::Newline,
        };
        Self::Syslog(Header::new(dialect, facility, &syslog.host, &syslog.tag, process::id(), ending))
    }

    /// The records of `chunk` from `start` on as they travel; `None` where that is nothing else than their bytes.
    ///
    /// `wall`, the time since 1970, is that of records without one.
    pub(in crate::logger) fn frames(
        &self,
        chunk: &Chunk,
        start: usize,
        wall: fn() -> Duration,
    ) -> Option<Frames> {
        let Self::Syslog(header) = self else { return None };
        let mut frames = Frames::default();
        for record in (start..chunk.records()).map_while(|index| chunk.record(index)) {
            let seen = peek(record);
            let mut now = Vec::new();
            let timestamp = seen.timestamp.unwrap_or_else(|| {
                stamp_into(&mut now, wall());
                str::from_utf8(&now).unwrap_or_default()
            });
            header.write(&mut frames.bytes, severity(seen.level), timestamp, seen.action, record);
            // A chunk is at most one line or 64 KiB long, and a header some hundred bytes.
            frames.ends.push(u32::try_from(frames.bytes.len()).unwrap_or(u32::MAX));
        }
        Some(frames)
    }
}

/// What syslog calls a level; a record without one is no reason to worry.
fn severity(level: Option<Level>) -> Severity {
    match level {
        Some(Level::Error) => Severity::Error,
        Some(Level::Warn) => Severity::Warning,
        Some(Level::Info) | None => Severity::Informational,
        Some(Level::Debug | Level::Trace) => Severity::Debug,
    }
}

/// Records in the form in which they travel.
#[derive(Debug, Default)]
pub(in crate::logger) struct Frames {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Frames {
    /// All of them, concatenated.
    pub(in crate::logger) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The offset behind each.
    pub(in crate::logger) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Where frame `index` begins; the length of all for any behind the last.
    pub(in crate::logger) fn offset(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(self.bytes.len(), |end| *end as usize),
            None => 0,
        }
    }

    /// The bytes of frame `index`.
    pub(in crate::logger) fn frame(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        self.bytes.get(self.offset(index)..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Syslog;

    fn framed(
        dialect: SyslogDialect,
        datagrams: bool,
        octet_counting: bool,
        records: &[&str],
    ) -> Vec<String> {
        let syslog = Syslog {
            dialect,
            facility: 16,
            host: "edge-1".to_owned(),
            tag: "pillion".to_owned(),
            octet_counting,
        };
        let framing = Framing::new(&Format::Syslog(syslog), datagrams);
        let ends = records.iter().scan(0, |end, record| {
            *end += u32::try_from(record.len()).unwrap();
            Some(*end)
        });
        let chunk = Chunk::of(records.concat().into_bytes(), ends.collect()).unwrap();
        let frames = framing.frames(&chunk, 1, || Duration::from_millis(1_795_217_939_404)).unwrap();
        let pid = format!("{}", process::id());
        (0..frames.ends().len())
            .map(|index| {
                String::from_utf8(frames.frame(index).unwrap().to_vec()).unwrap().replace(&pid, "PID")
            })
            .collect()
    }

    const RECORDS: &[&str] = &[
        "{\"a\":1}\n",
        "{\"@timestamp\":\"2026-11-20T23:38:59.000Z\",\"action\":\"web_err\",\"log.level\":\"error\"}\n",
        "{\"b\":2}\n",
    ];

    #[test]
    fn each_record_gets_the_header_of_its_own_time_and_level() {
        let newer = framed(SyslogDialect::Rfc5424, true, false, RECORDS);
        let body = RECORDS[1].trim_end();
        assert_eq!(newer[0], format!("<131>1 2026-11-20T23:38:59.000Z edge-1 pillion PID web_err - {body}"));
        let older = framed(SyslogDialect::Rfc3164, false, false, RECORDS);
        assert_eq!(older[0], format!("<131>2026-11-20T23:38:59.000Z edge-1 pillion[PID]: {body}\n"));
        assert_eq!(older[1], "<134>2026-11-20T23:38:59.404Z edge-1 pillion[PID]: {\"b\":2}\n");
    }

    #[test]
    fn a_counted_record_begins_with_its_length_and_has_no_newline() {
        let counted = framed(SyslogDialect::Rfc5424, false, true, RECORDS);
        let (count, line) = counted[1].split_once(' ').unwrap();
        assert!(line.ends_with(" - {\"b\":2}"), "{line}");
        let pid = process::id().to_string();
        assert_eq!(count.parse(), Ok(line.len() - "PID".len() + pid.len()));
    }
}
