//! One line from outside becomes one record: the decisions, without I/O.
//!
//! A line that begins with `{` is a JSON line, one that begins with `<` is syslog, anything else is text. No line
//! is refused: what can not be read becomes the `message` of a record, and what had to be changed is counted.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::counts::Fault;
use super::counts::Kind;
use super::counts::Tally;
use super::json;
use super::json::Meaning;
use super::json::Member;
use super::json::Members;
use super::json::Object;
use super::nginx;
use super::nginx::ErrorLine;
use super::syslog;
use super::syslog::Calendar;
use super::syslog::Message;
use crate::record;
use crate::record::Level;
use crate::record::Line;
use crate::trail;
use crate::trail::Action;
use crate::trail::Batch;
use crate::trail::Trail;

/// Turns lines into records; each socket has its own.
#[derive(Debug)]
pub(super) struct Intake {
    out: Out,
    calendar: Calendar,
    members: Members,
}

/// Where records go.
#[derive(Debug)]
struct Out {
    trail: Arc<Trail>,
    batch: Batch,
    counts: Tally,
}

impl Intake {
    /// An intake that writes to `trail`.
    pub(super) fn new(trail: Arc<Trail>, counts: Arc<Counts>) -> Self {
        Self::of(trail, Tally::new(counts))
    }

    fn of(trail: Arc<Trail>, counts: Tally) -> Self {
        let out = Out { trail, batch: Batch::default(), counts };
        Self { out, calendar: Calendar::new(), members: Members::default() }
    }

    /// One more, for another connection.
    pub(super) fn another(&self) -> Self {
        Self::of(Arc::clone(&self.out.trail), self.out.counts.another())
    }

    /// The longest line that is taken whole, in bytes.
    pub(super) fn max_line(&self) -> usize {
        self.out.trail.max_line()
    }

    /// Logs and counts what was taken since the last time. To be called before anything is waited for.
    pub(super) fn settle(&mut self) {
        let Out { trail, batch, counts } = &mut self.out;
        trail.hand_in(batch);
        counts.settle();
    }

    /// Takes a datagram: one line, unless it holds several JSON objects.
    pub(super) fn datagram(&mut self, bytes: &[u8], received: Duration, cut: bool) {
        // A line break within is rare, and only then is the closer look worth its time.
        let several = bytes.first() == Some(&b'{')
            && trimmed(bytes).contains(&b'\n')
            && bytes.windows(3).any(|three| three == b"}\n{");
        if !several {
            self.line(bytes, received, cut);
            return;
        }
        let mut lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            self.line(line, received, cut && lines.peek().is_none());
        }
    }

    /// Takes a line that was received at `received`, the time since 1970; `cut` when its end is missing.
    pub(super) fn line(&mut self, bytes: &[u8], received: Duration, cut: bool) {
        let bytes = trimmed(bytes);
        if bytes.is_empty() {
            self.out.counts.line(Kind::Blank);
            return;
        }
        let whole = bytes;
        let bytes = shortened(whole, self.out.trail.max_line());
        let text = str::from_utf8(bytes).map_or_else(|_| self.replaced(bytes), Cow::Borrowed);
        let text = text.trim_start_matches('\u{feff}');
        let received = Receipt { at: received, cut: cut || bytes.len() < whole.len() };
        match text.as_bytes().first() {
            Some(b'{') => self.json(text, received),
            Some(b'<') => self.syslog(text, received),
            _ if text.trim_start().starts_with('{') => self.json(text, received),
            _ => match syslog::without_octet_count(text) {
                framed if framed.starts_with('<') => self.syslog(framed, received),
                _ => self.text(text, received),
            },
        }
    }

    fn json(&mut self, text: &str, received: Receipt) {
        let Self { out, members, .. } = self;
        match members.read(text) {
            Ok(object) => {
                let known = Known::of(&object);
                out.counts.line(Kind::Json);
                let relayed = Relayed {
                    at: known.timestamp.is_none().then(|| known.time.unwrap_or(received.at)),
                    action: known.action.is_none().then_some(Action::Line),
                    level: known.flat_level.is_none().then(|| known.level.unwrap_or(Level::Info)),
                    received,
                };
                let hides = out.trail.hides_tokens();
                let fate = |member: &Member| match member.meaning {
                    Meaning::Token if hides => Fate::Hashed,
                    Meaning::Cut if object.value(member) == "true" => Fate::Cut,
                    Meaning::Cut | Meaning::Own => Fate::Renamed,
                    _ => Fate::Kept,
                };
                relayed.write(out, |line, counts| put(line, &object, counts, fate));
            }
            Err(fault) => {
                self.refused(fault, received);
                self.text(text, received);
            }
        }
    }

    fn syslog(&mut self, text: &str, received: Receipt) {
        let Some(priority) = syslog::priority(text) else {
            self.out.counts.fault(Fault::BadPriority, 1);
            self.text(text, received);
            return;
        };
        self.calendar.turn(received.at);
        let message = syslog::parse(text, priority, self.calendar);
        if message.body.trim_start().starts_with('{') {
            match self.syslog_json(text, &message, received) {
                Ok(()) => return,
                Err(fault) => self.refused(fault, received),
            }
        }
        self.syslog_text(text, &message, received);
    }

    fn syslog_json(&mut self, text: &str, message: &Message<'_>, received: Receipt) -> Result<(), Fault> {
        let Self { out, members, .. } = self;
        let object = members.read(message.body)?;
        let known = Known::of(&object);
        let from_nginx = message.tag.is_some_and(|tag| tag.starts_with("nginx"));
        let action = if from_nginx { Action::NginxAccess } else { Action::Syslog };
        out.counts.line(if from_nginx { Kind::NginxAccess } else { Kind::SyslogJson });
        let relayed = Relayed {
            at: known
                .timestamp
                .filter(|raw| is_date(raw))
                .is_none()
                .then(|| known.time.or(message.at).unwrap_or(received.at)),
            action: known.action.filter(|raw| raw.starts_with('"')).is_none().then_some(action),
            level: known.flat_level.filter(|raw| raw.starts_with('"')).is_none().then(|| message.level()),
            received,
        };
        let hides = out.trail.hides_tokens();
        let fate = |member: &Member| match member.meaning {
            // nginx has no way to leave a member out: an empty text stands for what it does not know.
            _ if from_nginx && object.is_empty(member) => Fate::Left,
            Meaning::None => Fate::Kept,
            Meaning::Token if hides => Fate::Hashed,
            Meaning::Cut if object.value(member) == "true" => Fate::Cut,
            meaning if collides(meaning, object.value(member), relayed) => Fate::Renamed,
            _ => Fate::Kept,
        };
        relayed.write(out, |line, counts| {
            header(line, message, action);
            if message.partial {
                line.text(record::ORIGINAL, text);
            }
            put(line, &object, counts, fate);
        });
        Ok(())
    }

    fn syslog_text(&mut self, text: &str, message: &Message<'_>, received: Receipt) {
        if let Some(error) = ErrorLine::parse(&nginx::without_queries(message.body)) {
            self.nginx_error(&error, message.tag, received);
            return;
        }
        self.out.counts.line(Kind::Syslog);
        let relayed = Relayed {
            at: Some(message.at.unwrap_or(received.at)),
            action: Some(Action::Syslog),
            level: Some(message.level()),
            received,
        };
        relayed.write(&mut self.out, |line, _| {
            header(line, message, Action::Syslog);
            line.text(record::MESSAGE, message.body);
            if message.partial {
                line.text(record::ORIGINAL, text);
            }
        });
    }

    fn nginx_error(&mut self, error: &ErrorLine<'_>, tag: Option<&str>, received: Receipt) {
        self.out.counts.line(Kind::NginxError);
        self.out.counts.fault(Fault::Ambiguous, u64::from(error.ambiguous));
        let relayed = Relayed {
            at: Some(received.at),
            action: Some(Action::NginxError),
            level: Some(error.level),
            received,
        };
        relayed.write(&mut self.out, |line, _| {
            line.maybe(record::TAG, tag);
            line.integer(record::NGINX_PID, error.pid);
            line.integer(record::NGINX_TID, error.tid);
            if let Some(connection) = error.connection {
                line.integer(record::NGINX_CONNECTION, connection);
            }
            line.maybe(record::CLIENT, error.client);
            line.maybe(record::SERVER, error.server);
            line.maybe(record::UPSTREAM, error.upstream);
            line.maybe(record::REQUEST, error.request);
            line.maybe(record::REFERER, error.referrer);
            line.text(record::MESSAGE, &error.message);
        });
    }

    fn text(&mut self, text: &str, received: Receipt) {
        if let Some(error) = ErrorLine::parse(&nginx::without_queries(text)) {
            self.nginx_error(&error, None, received);
            return;
        }
        self.out.counts.line(Kind::Text);
        let relayed =
            Relayed { at: Some(received.at), action: Some(Action::Line), level: Some(Level::Info), received };
        relayed.write(&mut self.out, |line, _| line.text(record::MESSAGE, text));
    }

    /// Counts why an object is taken as text. One that was cut is counted for that only.
    fn refused(&self, fault: Fault, received: Receipt) {
        self.out.counts.fault(fault, u64::from(!received.cut));
    }

    fn replaced<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        self.out.counts.fault(Fault::InvalidUtf8, 1);
        String::from_utf8_lossy(bytes)
    }
}

/// When a line came, and whether all of it came.
#[derive(Clone, Copy)]
struct Receipt {
    at: Duration,
    cut: bool,
}

/// What of a record's head is ours to write; the rest the line brings itself.
#[derive(Clone, Copy)]
struct Relayed {
    at: Option<Duration>,
    action: Option<Action>,
    level: Option<Level>,
    received: Receipt,
}

impl Relayed {
    fn write(self, out: &mut Out, fill: impl FnOnce(&mut Line<'_>, &Tally)) {
        let Out { trail, batch, counts } = out;
        trail.gather(batch, self.at, self.action, self.level, |line| {
            if self.received.cut {
                line.mark_cut();
            }
            fill(line, counts);
            counts.fault(Fault::TooLong, u64::from(line.is_cut()));
        });
    }
}

/// What an object tells of its own record: the raw values, and what they mean.
#[derive(Default)]
struct Known<'a> {
    timestamp: Option<&'a str>,
    action: Option<&'a str>,
    flat_level: Option<&'a str>,
    level: Option<Level>,
    time: Option<Duration>,
}

impl<'a> Known<'a> {
    fn of(object: &Object<'a>) -> Self {
        let mut known = Self::default();
        for member in object.members.iter().filter(|member| !member.shadowed) {
            let value = || object.value(member);
            match member.meaning {
                Meaning::Timestamp => known.timestamp = Some(value()),
                Meaning::Action => known.action = Some(value()),
                Meaning::FlatLevel => known.flat_level = Some(value()),
                Meaning::Level => known.level = json::word(value()).and_then(nginx::level),
                Meaning::Time => known.time = json::unix_time(value()),
                _ => {}
            }
        }
        known
    }
}

/// The fields of the header. nginx's lines carry their tag only: the rest says the same on every line.
fn header(line: &mut Line<'_>, message: &Message<'_>, action: Action) {
    line.maybe(record::TAG, message.tag);
    if action == Action::Syslog {
        line.word(record::SYSLOG_FACILITY, message.facility());
        line.word(record::SYSLOG_SEVERITY, message.severity());
        line.maybe(record::SYSLOG_HOSTNAME, message.hostname);
        line.maybe(record::SYSLOG_PROCID, message.procid.as_deref());
        line.maybe(record::SYSLOG_MSGID, message.msgid);
    }
}

/// What becomes of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes into the record as it came.
    Kept,
    /// It gets the prefix `source.`.
    Renamed,
    /// It says nothing.
    Left,
    /// It is secret: its hash goes into the record.
    Hashed,
    /// It says that what it belongs to was cut before it came here.
    Cut,
}

/// Writes the members: runs of those that are kept in one piece.
fn put(line: &mut Line<'_>, object: &Object<'_>, counts: &Tally, fate: impl Fn(&Member) -> Fate) {
    let mut scratch = Vec::new();
    let (mut renamed, mut shadowed, mut names) = (0, 0, Names::default());
    let mut members = object.members;
    // One by one they lose their line breaks, and as many go in as there is room for.
    let mut in_runs = !object.breaks;
    while let Some((member, rest)) = members.split_first() {
        members = rest;
        if member.shadowed {
            shadowed += 1;
            continue;
        }
        match fate(member) {
            Fate::Left => {}
            Fate::Cut => line.mark_cut(),
            Fate::Hashed => match hashed(object.value(member)) {
                Some(hash) => line.text(record::TOKEN, &hash),
                None => line.foreign(&object.key(member), json::one_line(object.value(member), &mut scratch)),
            },
            Fate::Renamed => {
                renamed += 1;
                let name = names.other(object, member);
                line.foreign(&name, json::one_line(object.value(member), &mut scratch));
            }
            Fate::Kept => {
                if in_runs {
                    let is_kept = |member: &&Member| !member.shadowed && fate(member) == Fate::Kept;
                    let more = rest.iter().take_while(is_kept).count();
                    let last = rest.get(..more).and_then(<[Member]>::last).unwrap_or(member);
                    in_runs = line.members(object.run(member, last));
                    if in_runs {
                        members = rest.get(more..).unwrap_or_default();
                        continue;
                    }
                }
                line.foreign(&object.key(member), json::one_line(object.value(member), &mut scratch));
            }
        }
    }
    counts.fault(Fault::RenamedKey, renamed);
    counts.fault(Fault::DuplicateKey, shadowed);
}

/// The hash of a token, as in our own records; what is no text, and the empty text, are nobody's token.
fn hashed(value: &str) -> Option<String> {
    let token: Cow<'_, str> = serde_json::from_str(value).ok()?;
    (!token.is_empty()).then(|| trail::hashed(&token))
}

/// The names that members of an object have or got, where new ones may meet them.
#[derive(Default)]
struct Names<'a> {
    taken: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> Names<'a> {
    /// A name for a member whose own would collide, that no other member of `object` has.
    fn other(&mut self, object: &Object<'a>, member: &Member) -> String {
        let mut name = other_name(&object.key(member));
        // Two names that no index takes may become the same; any other can only meet one with the prefix.
        let meets = |member: &Member| matches!(member.meaning, Meaning::Source | Meaning::Unmappable);
        if !object.members.iter().any(meets) {
            return name;
        }
        let keys = || object.members.iter().map(|member| object.key(member)).collect();
        let taken = self.taken.get_or_insert_with(keys);
        while !taken.insert(Cow::Owned(name.clone())) {
            name.insert_str(0, "source.");
        }
        name
    }
}

/// A name for a key that would collide.
fn other_name(key: &str) -> String {
    if key.is_empty() {
        "source._".to_owned()
    } else if json::is_unmappable(key) {
        format!("source.{}", key.replace('.', "_"))
    } else {
        format!("source.{key}")
    }
}

/// True when a member of a syslog body can not keep its name beside the fields that are ours.
fn collides(meaning: Meaning, value: &str, head: Relayed) -> bool {
    match meaning {
        Meaning::None | Meaning::Level | Meaning::Time | Meaning::Token | Meaning::Source => false,
        Meaning::Timestamp => head.at.is_some(),
        Meaning::Action => head.action.is_some(),
        Meaning::FlatLevel => head.level.is_some(),
        Meaning::Cut | Meaning::Own | Meaning::Header | Meaning::Unmappable => true,
        Meaning::Object => !value.starts_with('{'),
    }
}

/// True when a raw JSON value is a string that begins like a date.
fn is_date(raw: &str) -> bool {
    let Some(&[b'"', y1, y2, y3, y4, b'-', ..]) = raw.as_bytes().get(..) else { return false };
    [y1, y2, y3, y4].iter().all(u8::is_ascii_digit)
}

/// A line without its end: line breaks, and the NUL that some senders put there.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [rest @ .., b'\n' | b'\r' | 0 | b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// At most `max` bytes, not ending within a character.
fn shortened(bytes: &[u8], max: usize) -> &[u8] {
    if bytes.len() <= max {
        return bytes;
    }
    let continues = |end: &usize| bytes.get(*end).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let end = (max.saturating_sub(3)..=max).rev().find(|end| !continues(end)).unwrap_or(max);
    bytes.get(..end).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use crate::buffer::Limits;
    use crate::metrics::Metrics;
    use crate::record::Origin;
    use crate::trail::Style;
    use proptest::prelude::*;
    use serde_json::Value;

    const RECEIVED: Duration = Duration::from_millis(1_795_217_940_123);
    const MAX: usize = 4096;

    struct Bench {
        intake: Intake,
        buffer: Arc<Buffer>,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        fn new(max_line: usize) -> Self {
            let limits = Limits { flush_limit: 1 << 20, drop_limit: 1 << 26, max_line };
            let (buffer, metrics) = (Arc::new(Buffer::new(limits)), Arc::new(Metrics::new()));
            let style = Style { plain_tokens: false, legacy_fields: false, max_line };
            let sinks = (Arc::clone(&buffer), Arc::clone(&metrics));
            let trail = Trail::new(Origin::new("edge-1", "aa"), style, || RECEIVED, sinks);
            let intake = Intake::new(Arc::new(trail), Arc::new(Counts::new(&metrics)));
            Self { intake, buffer, metrics }
        }

        fn records(&mut self) -> Vec<String> {
            self.intake.settle();
            let mut bytes = Vec::new();
            while let Some(chunk) = self.buffer.take() {
                bytes.extend_from_slice(chunk.bytes());
            }
            let text = String::from_utf8(bytes).expect("records are UTF-8");
            assert!(text.is_empty() || text.ends_with('\n'));
            text.lines().map(str::to_owned).collect()
        }

        fn record(&mut self) -> String {
            let records = self.records();
            assert_eq!(records.len(), 1, "{records:?}");
            records.into_iter().next().unwrap()
        }

        fn count(&mut self, name: &str) -> u64 {
            self.intake.settle();
            let text = self.metrics.render();
            let line = text
                .lines()
                .find(|line| line.starts_with("pillion_ingest") && line.contains(&format!("\"{name}\"")));
            line.and_then(|line| line.rsplit_once(' ')).map_or(0, |(_, count)| count.parse().unwrap())
        }
    }

    /// What one line becomes, without the fields that every record has.
    fn becomes(line: &[u8]) -> String {
        let mut bench = Bench::new(MAX);
        bench.intake.line(line, RECEIVED, false);
        let own = r#","node":"edge-1","boot_id":"aa","log.sequence":0,"event.id":"aa-0""#;
        let record = bench.record();
        serde_json::from_str::<Value>(&record).expect("a record is JSON");
        assert!(record.contains(own) || record.contains(&own[1..]), "{record}");
        record.replace(own, "").replace(&format!("{},", &own[1..]), "")
    }

    fn check(line: &str, expected: &str) {
        assert_eq!(becomes(line.as_bytes()), expected, "{line}");
    }

    fn counted(line: &[u8], names: &[&str]) {
        let mut bench = Bench::new(MAX);
        bench.intake.datagram(line, RECEIVED, false);
        for name in names {
            assert_eq!(bench.count(name), 1, "{name}: {}", bench.metrics.render());
        }
    }

    #[test]
    fn an_access_line_of_nginx_keeps_its_fields_and_its_time() {
        check(
            r#"<190>Nov 20 23:40:00 edge1 nginx: {"time":1795217939.404,"request_id":"ab","status":200}"#,
            concat!(
                r#"{"@timestamp":"2026-11-20T23:38:59.404Z","action":"nginx_access","log.level":"info","tag":"nginx","#,
                r#""time":1795217939.404,"request_id":"ab","status":200}"#
            ),
        );
    }

    #[test]
    fn a_token_of_somebody_else_is_hashed_as_ours_are() {
        check(
            r#"<13>Nov 20 23:40:00 h app: {"token":"a\u0062c","a":1}"#,
            concat!(
                r#"{"@timestamp":"2026-11-20T23:39:00.123Z","action":"syslog","log.level":"info","tag":"app","#,
                r#""syslog.facility":"user","syslog.severity":"notice","syslog.hostname":"h","#,
                r#""token":"ba7816bf8f01cfea","a":1}"#
            ),
        );
        check(
            "{\"b\":1,\"token\":\"abc\",\"c\":2}",
            concat!(
                r#"{"@timestamp":"2026-11-20T23:39:00.123Z","action":"line","log.level":"info","#,
                r#""b":1,"token":"ba7816bf8f01cfea","c":2}"#
            ),
        );
        check(
            "{\"token\":[1,\n2]}",
            concat!(
                r#"{"@timestamp":"2026-11-20T23:39:00.123Z","action":"line","log.level":"info","#,
                r#""token":[1,2]}"#
            ),
        );
    }

    #[test]
    fn an_access_line_with_an_action_of_its_own_keeps_it() {
        check(
            r#"<190>Nov 20 23:40:00 nginx: {"action":"cart","log.level":"warn","@timestamp":"2026-01-01T00:00:00Z"}"#,
            r#"{"tag":"nginx","action":"cart","log.level":"warn","@timestamp":"2026-01-01T00:00:00Z"}"#,
        );
        check(
            r#"<190>Nov 20 23:40:00 nginx: {"action":7,"log.level":[],"@timestamp":1}"#,
            concat!(
                r#"{"@timestamp":"2026-11-20T23:39:00.123Z","action":"nginx_access","log.level":"info","tag":"nginx","#,
                r#""source.action":7,"source.log.level":[],"source.@timestamp":1}"#
            ),
        );
    }

    #[test]
    fn an_error_line_of_nginx_is_taken_apart() {
        check(
            concat!(
                r#"<187>Nov 20 23:40:00 edge1 nginx: 2026/11/20 23:40:00 [crit] 77#78: *12 no luck, client: ::1, "#,
                r#"server: x, request: "GET / HTTP/1.1""#
            ),
            concat!(
                r#"{"@timestamp":"2026-11-20T23:39:00.123Z","action":"nginx_error","log.level":"error","tag":"nginx","#,
                r#""nginx.pid":77,"nginx.tid":78,"nginx.connection":12,"client":"::1","server":"x","#,
                r#""request":"GET / HTTP/1.1","message":"no luck"}"#
            ),
        );
    }

    #[test]
    fn syslog_from_elsewhere_tells_its_header() {
        check(
            "<34>1 2026-11-20T23:38:59.404Z host-1 su 77 ID47 - \u{feff}said",
            concat!(
                r#"{"@timestamp":"2026-11-20T23:38:59.404Z","action":"syslog","log.level":"error","tag":"su","#,
                r#""syslog.facility":"auth","syslog.severity":"crit","syslog.hostname":"host-1","#,
                r#""syslog.procid":"77","syslog.msgid":"ID47","message":"said"}"#
            ),
        );
    }

    #[test]
    fn keys_of_a_syslog_body_that_would_collide_are_renamed() {
        check(
            concat!(
                r#"<13>Nov 20 23:40:00 h app: {"node":1,"event":"x","event.id":"y","host":{"name":"z"},"tag":2,"#,
                r#""":3,"a..b":4,"@metadata":{},"log.truncated":false,"syslog.hostname":5}"#
            ),
            concat!(
                r#"{"@timestamp":"2026-11-20T23:39:00.123Z","action":"syslog","log.level":"info","tag":"app","#,
                r#""syslog.facility":"user","syslog.severity":"notice","syslog.hostname":"h","source.node":1,"#,
                r#""source.event":"x","source.event.id":"y","host":{"name":"z"},"source.tag":2,"source._":3,"#,
                r#""source.a__b":4,"source.@metadata":{},"source.log.truncated":false,"source.syslog.hostname":5}"#
            ),
        );
    }

    #[test]
    fn a_new_name_is_no_other_members_name() {
        check(
            r#"<13>Nov 20 23:40:00 nginx: {"node":1,"source.node":2,"source.source.node":3,"..":4,"._":5,"time":1795217939}"#,
            concat!(
                r#"{"@timestamp":"2026-11-20T23:38:59.000Z","action":"nginx_access","log.level":"info","tag":"nginx","#,
                r#""source.source.source.node":1,"source.node":2,"source.source.node":3,"source.__":4,"#,
                r#""source.source.__":5,"time":1795217939}"#
            ),
        );
    }

    #[test]
    fn a_json_line_keeps_its_keys_and_gets_what_is_missing() {
        check(
            r#"{"event":"x","host":"y","level":"WARNING","time":1795217939,"node":"n"}"#,
            concat!(
                r#"{"@timestamp":"2026-11-20T23:38:59.000Z","action":"line","log.level":"warn","event":"x","host":"y","#,
                r#""level":"WARNING","time":1795217939,"source.node":"n"}"#
            ),
        );
        check(
            r#"  {"@timestamp":"2026-01-01T00:00:00Z","action":"login","log.level":"info","a":"<134>Nov 20 23:40:00 h app: x"}"#,
            r#"{"@timestamp":"2026-01-01T00:00:00Z","action":"login","log.level":"info","a":"<134>Nov 20 23:40:00 h app: x"}"#,
        );
    }

    #[test]
    fn a_json_value_with_line_breaks_comes_on_one_line() {
        check(
            "{\n \"action\": \"a\",\r\n\"@timestamp\":\"2026-01-01T00:00:00Z\",\"log.level\":\"info\",\"b\": [\n1,\n2\n]\n}\n",
            r#"{"action":"a","@timestamp":"2026-01-01T00:00:00Z","log.level":"info","b":[1,2]}"#,
        );
    }

    #[test]
    fn anything_else_becomes_a_message() {
        let text = |message: &str| {
            format!(
                r#"{{"@timestamp":"2026-11-20T23:39:00.123Z","action":"line","log.level":"info","message":{message}}}"#
            )
        };
        check("hello\tworld\u{1}\u{0}x", &text(r#""hello\tworld\u0001\u0000x""#));
        check("<999>hello", &text(r#""<999>hello""#));
        check("{\"a\":", &text(r#""{\"a\":""#));
        check("[1]", &text(r#""[1]""#));
        assert_eq!(becomes(b"a\xffb"), text("\"a\u{fffd}b\""));
    }

    #[test]
    fn a_datagram_may_hold_several_objects_but_only_one_text() {
        let mut bench = Bench::new(MAX);
        bench.intake.datagram(b"{\"a\":1}\n{\"a\":2}\n", RECEIVED, false);
        assert_eq!(bench.records().len(), 2);
        bench.intake.datagram(b"<13>Nov 20 23:40:00 h app: one\ntwo\n", RECEIVED, false);
        assert!(bench.record().ends_with(r#""message":"one\ntwo"}"#));
    }

    #[test]
    fn what_is_too_long_is_cut_marked_and_counted() {
        for line in ["é".repeat(3000), format!("{{\"a\":\"{}\"}}", "é".repeat(3000))] {
            let mut bench = Bench::new(MAX);
            bench.intake.line(line.as_bytes(), RECEIVED, false);
            let record = bench.record();
            assert!(record.len() < MAX && record.ends_with(",\"log.truncated\":true}"), "{record}");
            assert_eq!(
                (bench.count("too_long"), bench.count("invalid_utf8"), bench.count("bad_json")),
                (1, 0, 0)
            );
            assert_eq!(bench.count("text"), 1);
        }
        let mut bench = Bench::new(MAX);
        let wide = format!("{{\"a\":\"{}\",\"b\":1}}", "x".repeat(MAX - 100));
        bench.intake.line(wide.as_bytes(), RECEIVED, false);
        assert!(bench.record().ends_with(",\"b\":1,\"log.truncated\":true}"));
        assert_eq!((bench.count("too_long"), bench.count("json")), (1, 1));
    }

    #[test]
    fn lines_and_faults_are_counted_by_kind() {
        counted(b"\r\n", &["blank"]);
        counted(b"<999>x", &["text", "bad_priority"]);
        counted(b"\xff", &["text", "invalid_utf8"]);
        counted(b"{\"a\":1,\"a\":2,\"node\":3}", &["json", "duplicate_key", "renamed_key"]);
        counted(b"<13>{\"a\":1}", &["syslog_json"]);
        counted(b"<13>{\"a\":x}", &["syslog", "bad_json"]);
        counted(b"<13>Nov 20 23:40:00 nginx: {}", &["nginx_access"]);
        counted(
            format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100)).as_bytes(),
            &["text", "too_deep"],
        );
    }

    /// Pieces from which lines are built that come close to all kinds of syslog, JSON and nginx lines.
    const PIECES: &[&str] = &[
        "<",
        ">",
        "<134>",
        "<0>",
        "<191>",
        "<192>",
        "1 ",
        "63 ",
        "Nov 20 23:40:00 ",
        "Feb 29 00:00:00 ",
        "Dec 31 ",
        "99999 ",
        "262143 ",
        "2026-11-20T23:40:00.123Z ",
        "0000-01-01T00:00:00Z ",
        "host ",
        "nginx: ",
        "app[7]: ",
        "- ",
        "-",
        ":",
        " ",
        "[",
        "]",
        "[a b=\"c\"]",
        "[a b=\"",
        "{",
        "}",
        "{\"a\":1}",
        "\"",
        "\\",
        "\\u12",
        ",",
        "\n",
        "\0",
        "é",
        "\u{feff}",
        "2026/11/20 23:40:00 ",
        "[error] ",
        "7#8: ",
        "*9 ",
        ", client: ",
        ", server: ",
        ", request: \"",
        "1.2.3.4",
        "true",
        "1e999",
        "{\"node\":",
        "\"@timestamp\":",
        "\"log.truncated\":true",
        "x",
    ];

    /// A small generator with a printed seed: half a million lines in the time proptest needs for a few thousand.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 16).unwrap_or(0) % sides
        }

        fn line(&mut self) -> Vec<u8> {
            let mut line = Vec::new();
            for _ in 0..=self.roll(14) {
                let piece = PIECES[self.roll(PIECES.len())];
                line.extend_from_slice(piece.as_bytes());
            }
            for _ in 0..self.roll(3) {
                let at = self.roll(line.len());
                line[at] = u8::try_from(self.roll(256)).unwrap();
            }
            line
        }
    }

    #[test]
    fn every_line_becomes_exactly_one_valid_record() {
        let seed =
            std::env::var("PILLION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x9e37_79b9);
        let mut dice = Dice(seed);
        let mut bench = Bench::new(400);
        for _ in 0..100_000 {
            let line = dice.line();
            let blank = trimmed(&line).is_empty();
            bench.intake.line(&line, RECEIVED, false);
            let records = bench.records();
            let context = || format!("PILLION_SEED={seed}: {}", line.escape_ascii());
            assert_eq!(records.len(), usize::from(!blank), "{}", context());
            for record in records {
                assert!(record.len() < 400, "{record}");
                let object: serde_json::Map<String, Value> =
                    serde_json::from_str(&record).map_err(|error| format!("{error}: {}", context())).unwrap();
                assert_eq!(object.get("node"), Some(&Value::from("edge-1")), "{record}");
            }
        }
    }

    #[test]
    fn long_hostile_lines_cost_no_more_than_their_length() {
        let header = "<13>Nov 20 23:40:00 h my-app: ";
        let modern = "<13>1 2026-11-20T23:40:00Z h a - - ";
        let nginx = "2026/11/20 23:40:00 [error] 7#8: *9 ";
        let fillers = [
            "[",
            "]",
            "[a b=\"c\"]",
            "[a b=\"",
            "[a]",
            "\"",
            ", client: ",
            ", client: a, server: b",
            "{\"a\":",
            "{\"a\":1,",
            "- ",
            ": ",
            "\\",
            "1",
            " ",
            "é",
            ", referrer: \"",
            ", request: \"x\"",
        ];
        let mut bench = Bench::new(1 << 18);
        for start in ["", header, modern, nginx, "<13>", "{", "{\"", "{\"a\":"] {
            for filler in fillers {
                let line = format!("{start}{}x", filler.repeat((1 << 18) / filler.len() - 40));
                let before = crate::clock::now();
                bench.intake.line(line.as_bytes(), RECEIVED, false);
                assert_eq!(bench.records().len(), 1);
                // Linear work takes milliseconds even here, quadratic work minutes.
                let took = crate::clock::now() - before;
                assert!(took < Duration::from_secs(5), "{start}{filler}: {took:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_record(bytes: Vec<u8>) {
            let mut bench = Bench::new(MAX);
            bench.intake.line(&bytes, RECEIVED, false);
            prop_assert!(bench.records().len() == usize::from(!trimmed(&bytes).is_empty()));
        }

        #[test]
        fn any_object_survives(map: std::collections::BTreeMap<String, String>) {
            let mut bench = Bench::new(1 << 20);
            bench.intake.line(serde_json::to_string(&map).unwrap().as_bytes(), RECEIVED, false);
            let record: std::collections::BTreeMap<String, Value> = serde_json::from_str(&bench.record()).unwrap();
            for (key, value) in map {
                prop_assert_eq!(&record[&key], &Value::from(value));
            }
        }
    }
}
