//! The log record: one JSON object on one line, and the names of all fields it can have.
//!
//! A record is written straight into a reused byte buffer, field after field; nothing is collected first. The
//! names are constants ([`FIELDS`] lists them all), so that the index templates and pipelines can be held against
//! them by a test. Dotted names are written as they are: Elasticsearch expands them into objects.
//!
//! Limits: a record is at most `max` bytes long, its final newline included. A text that would pass it is cut at
//! a character and the record is marked `log.truncated`; numbers and ids are short and always fit.

mod action;
mod address;
mod escape;
mod peek;
mod stamp;

pub use action::Action;
pub use escape::escape_into;
pub use peek::Peek;
pub use peek::is_timestamp;
pub use peek::peek;
pub use stamp::stamp_into;

use std::net::IpAddr;

/// How a field is indexed: it decides the mapping in `es-templates/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exact value: searched whole.
    Keyword,
    /// Words: searched by part.
    Text,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Real,
    /// True or false.
    Bool,
    /// A point in time.
    Date,
    /// An object of exact values, named by whoever writes them.
    Labels,
}

/// A field of a record: its name and how it is indexed.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as users see it.
    pub name: &'static str,
    /// How it is indexed.
    pub kind: Kind,
    /// What stands in a record before its value, and before its value when that is a text.
    key: &'static str,
    text_key: &'static str,
}

macro_rules! fields {
    ($($id:ident $name:literal $kind:ident $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $id: Field = Field {
                name: $name,
                kind: Kind::$kind,
                key: concat!(",\"", $name, "\":"),
                text_key: concat!(",\"", $name, "\":\""),
            };
        )*
        /// Every field that the program can write.
        pub const FIELDS: &[Field] = &[$($id),*];
    };
}

fields! {
    TIMESTAMP "@timestamp" Date "When it happened: UTC, milliseconds.";
    ACTION "action" Keyword "What happened: one of the actions.";
    LEVEL "log.level" Keyword "error, warn, info, debug or trace.";
    NODE "node" Keyword "The node that wrote the record.";
    EVENT_ID "event.id" Keyword "Unique, and the same in every resend.";
    SEQUENCE "log.sequence" Integer "Counts the records of one run without a gap.";
    BOOT_ID "boot_id" Keyword "The run of the daemon.";
    TOKEN "token" Keyword "The login token: its hash, unless `log.token` is `plain`.";
    ERR_CODE "err_code" Keyword "The code of an error: a close code, a status.";
    ERR "err" Text "What went wrong, in words.";
    USER_ID "user_id" Keyword "The user.";
    WORKER_ID "worker_id" Integer "The worker thread.";
    TIME "time" Real "Unix time in seconds.";
    ROOM_ID "room_id" Keyword "The room.";
    SESSION_ID "session_id" Keyword "The session.";
    DESC "desc" Text "A description.";
    SEND_TIME_DELAY "send_time_delay" Real "Seconds from publish to write.";
    HEARTBEAT "heartbeat" Real "Seconds since the peer was last heard.";
    CLIENT "client" Keyword "The client's address.";
    MSG_ID "msg_id" Keyword "The message.";
    EVENT_CLASS "event_class" Keyword "The class of an event.";
    SUBSCRIBER "subscriber" Keyword "The receiver of an event.";
    ATTEMPT "attempt" Integer "Which try it is.";
    REQUEST_ID "request_id" Keyword "The id that nginx gave the request.";
    MESSAGE "message" Text "A line of text from elsewhere.";
    DIALECT "dialect" Keyword "The wire dialect of the connection.";
    SAMPLE_RATE "sample_rate" Integer "How many records of its action this one stands for.";
    TRUNCATED "log.truncated" Bool "True when a text was cut to the line limit.";
    ORIGINAL "log.original" Text "The line as it came, when parsing left something out.";
    TARGET "log.target" Keyword "The part of the program that a diagnostic comes from.";
    GAP_LINES "gap.lines" Integer "How many records were lost.";
    GAP_BYTES "gap.bytes" Integer "How many bytes were lost.";
    GAP_FROM "gap.from_sequence" Integer "The first lost sequence number.";
    GAP_TO "gap.to_sequence" Integer "The last lost sequence number.";
    GAP_CAUSE "gap.cause" Keyword "Why they were lost.";
    METHOD "method" Keyword "The HTTP method.";
    PATH "path" Keyword "The path, without the query.";
    STATUS "status" Integer "The HTTP status.";
    BYTES_SENT "bytes_sent" Integer "Bytes sent to the client.";
    REQUEST_TIME "request_time" Real "Seconds from the first byte of the request to the last of the answer.";
    UPSTREAM_TIME "upstream_time" Keyword "Seconds that the upstream took, one number per try.";
    UPSTREAM "upstream" Keyword "The upstream's address.";
    USER_AGENT "user_agent" Text "The client's name for itself.";
    REFERER "referer" Keyword "Where the client came from.";
    SERVER "server" Keyword "nginx's server, as its error log names it.";
    SERVER_NAME "server_name" Keyword "nginx's server name.";
    PROTOCOL "protocol" Keyword "The HTTP version.";
    REQUEST "request" Text "The request line, as nginx's error log gives it.";
    TAG "tag" Keyword "The syslog tag.";
    NGINX_PID "nginx.pid" Integer "The nginx worker process.";
    NGINX_TID "nginx.tid" Integer "The nginx thread.";
    NGINX_CONNECTION "nginx.connection" Integer "nginx's number of the connection.";
    SYSLOG_FACILITY "syslog.facility" Keyword "The syslog facility.";
    SYSLOG_SEVERITY "syslog.severity" Keyword "The syslog severity.";
    SYSLOG_HOSTNAME "syslog.hostname" Keyword "The host in the syslog header.";
    SYSLOG_PROCID "syslog.procid" Keyword "The process in the syslog header.";
    SYSLOG_MSGID "syslog.msgid" Keyword "The message id in the syslog header.";
    LABELS "labels" Labels "What a diagnostic says beside its message: `labels.NAME`.";
    LEGACY_ACTION "acction" Keyword "The original's spelling of `action`.";
    LEGACY_SESSION "session" Keyword "The original's name of `session_id` at login.";
    LEGACY_SESSION_TYPO "sesson_id" Keyword "The original's spelling of `session_id` in send errors.";
}

/// How grave a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail, or was refused.
    Warn,
    /// Something happened.
    Info,
    /// For whoever looks closely.
    Debug,
    /// For whoever looks very closely.
    Trace,
}

impl Level {
    /// The level of this word, as records have it.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace]
            .into_iter()
            .find(|level| level.as_str() == word)
    }

    /// The word in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What every record of one run has in common.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What stands before the number of a record, and between it and its repetition in the id.
    before: String,
    between: String,
}

impl Origin {
    /// The origin `node`, in the run `boot`. The node's name needs no escaping: the configuration checks it.
    #[must_use]
    pub fn new(node: &str, boot: &str) -> Self {
        Self {
            before: format!(r#","node":"{node}","boot_id":"{boot}"{}"#, SEQUENCE.key),
            between: format!("{}{boot}-", EVENT_ID.text_key),
        }
    }
}

/// One record in the making.
#[derive(Debug)]
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Where its last byte may be.
    max: usize,
    cut: bool,
}

/// What the end of a record takes: the mark of a cut line, the brace and the newline.
const TAIL: usize = r#","log.truncated":true}"#.len() + 1;

/// The longest number: 20 digits, and seven of a fraction.
const NUMBER: usize = 27;

impl<'a> Line<'a> {
    /// Starts a record of at most `max` bytes at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>, max: usize, head: &Head<'_>) -> Self {
        let start = out.len() + 1;
        // What nearly every record needs, so that the pieces find room.
        out.reserve(512);
        let mut line = Self { max: out.len().saturating_add(max), out, cut: false };
        // Every key brings the comma before it; the first one must not.
        if let Some(at) = head.at {
            line.put(b"{\"@timestamp\":\"");
            stamp_into(line.out, at);
            line.put(b"\"");
        } else {
            line.put(b"{");
        }
        if let Some(action) = head.action {
            line.word(ACTION, action);
        }
        if let Some(level) = head.level {
            line.word(LEVEL, level.as_str());
        }
        let mut digits = itoa::Buffer::new();
        let sequence = digits.format(head.sequence).as_bytes();
        line.put(head.origin.before.as_bytes());
        line.put(sequence);
        line.put(head.origin.between.as_bytes());
        line.put(sequence);
        line.put(b"\"");
        if head.at.is_none() {
            line.out.remove(start);
        }
        line
    }

    /// A text, escaped, and cut where the line would grow too long: the longest text of a record goes last.
    #[inline]
    pub fn text(&mut self, field: Field, value: &str) {
        if escape::is_clean(value.as_bytes()) && self.has_room(field.text_key.len() + value.len() + 1) {
            self.quoted(field, value.as_bytes());
        } else {
            self.escaped(field, value);
        }
    }

    /// A text that needs escapes, or for which there may be too little room.
    #[inline(never)]
    fn escaped(&mut self, field: Field, value: &str) {
        if !self.fits(field.text_key.len() + 1) {
            return;
        }
        self.put(field.text_key.as_bytes());
        let room = self.max.saturating_sub(self.out.len() + TAIL + 1);
        self.cut |= !escape_into(self.out, value, room);
        self.put(b"\"");
    }

    /// A text, when there is one.
    #[inline]
    pub fn maybe(&mut self, field: Field, value: Option<&str>) {
        if let Some(value) = value {
            self.text(field, value);
        }
    }

    /// An address, as a text.
    pub fn address(&mut self, field: Field, value: IpAddr) {
        if self.fits(field.text_key.len() + address::LENGTH_MAX + 1) {
            self.put(field.text_key.as_bytes());
            address::address_into(self.out, value);
            self.put(b"\"");
        }
    }

    /// A code, as a text: codes are names that look like numbers.
    pub fn code(&mut self, field: Field, value: u16) {
        if self.fits(field.text_key.len() + NUMBER + 1) {
            self.put(field.text_key.as_bytes());
            self.digits(value.into());
            self.put(b"\"");
        }
    }

    /// A word of the program's own, which needs no escaping.
    #[inline]
    pub fn word(&mut self, field: Field, value: &'static str) {
        if self.fits(field.text_key.len() + value.len() + 1) {
            self.quoted(field, value.as_bytes());
        }
    }

    /// A whole number.
    #[inline]
    pub fn integer(&mut self, field: Field, value: u64) {
        if self.fits(field.key.len() + NUMBER) {
            self.put(field.key.as_bytes());
            self.digits(value);
        }
    }

    /// A number of seconds, to the microsecond.
    pub fn seconds(&mut self, field: Field, value: std::time::Duration) {
        if !self.fits(field.key.len() + NUMBER) {
            return;
        }
        self.put(field.key.as_bytes());
        self.digits(value.as_secs());
        let mut micros = value.subsec_micros();
        if micros > 0 {
            self.put(b".");
            // The first of the six digits has the value 100 000; zeros at the end are left out.
            while micros > 0 {
                self.out.push(b'0' + u8::try_from(micros / 100_000).unwrap_or(0));
                micros = micros % 100_000 * 10;
            }
        }
    }

    /// A field that came from elsewhere: `key` is escaped here, `json` is one valid JSON value on one line.
    ///
    /// A value for which the line has no room is left out whole and the record is marked as cut.
    pub fn foreign(&mut self, key: &str, json: &[u8]) {
        let start = self.out.len();
        let room = self.max.saturating_sub(start + TAIL);
        self.put(b",\"");
        let whole = escape_into(self.out, key, room);
        self.put(b"\":");
        self.put(json);
        if !whole || self.out.len() - start > room {
            self.out.truncate(start);
            self.cut = true;
        }
    }

    /// Members of an object that came from elsewhere, all of them as they were written, on one line: `"a":1,"b":2`.
    /// False when the line has no room for them; then nothing was written.
    #[must_use]
    pub fn members(&mut self, json: &str) -> bool {
        let fits = self.has_room(1 + json.len());
        if fits {
            self.put(b",");
            self.put(json.as_bytes());
        }
        fits
    }

    /// Marks the record as cut, when what it tells of was cut before it came here.
    pub fn mark_cut(&mut self) {
        self.cut = true;
    }

    /// True when something was cut so far.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Ends the record with its newline; true when something was cut.
    pub fn end(self) -> bool {
        if self.cut {
            self.out.extend_from_slice(b",\"log.truncated\":true");
        }
        self.out.extend_from_slice(b"}\n");
        self.cut
    }

    /// True when `bytes` more leave room for the end of the record; else the record is marked as cut.
    #[inline]
    fn fits(&mut self, bytes: usize) -> bool {
        let fits = self.has_room(bytes);
        self.cut |= !fits;
        fits
    }

    #[inline]
    fn has_room(&self, bytes: usize) -> bool {
        self.out.len() + bytes + TAIL <= self.max
    }

    #[inline]
    fn quoted(&mut self, field: Field, value: &[u8]) {
        self.put(field.text_key.as_bytes());
        self.put(value);
        self.put(b"\"");
    }

    #[inline]
    fn digits(&mut self, value: u64) {
        let mut buffer = itoa::Buffer::new();
        self.put(buffer.format(value).as_bytes());
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

/// The fields that open a record.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The run that writes.
    pub origin: &'a Origin,
    /// The wall-clock time since 1970; left out when the line brings its own time stamp.
    pub at: Option<std::time::Duration>,
    /// The action; left out when the line brings its own.
    pub action: Option<&'static str>,
    /// The level; left out when the line brings its own.
    pub level: Option<Level>,
    /// The number of the record in this run.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn written(max: usize, fill: impl FnOnce(&mut Line<'_>)) -> String {
        let origin = Origin::new("edge-1", "00000000000000aa");
        let head = Head {
            origin: &origin,
            at: Some(Duration::from_millis(1_795_217_939_404)),
            action: Some("login"),
            level: Some(Level::Info),
            sequence: 7,
        };
        let mut out = Vec::new();
        let mut line = Line::begin(&mut out, max, &head);
        fill(&mut line);
        line.end();
        String::from_utf8(out).unwrap()
    }

    const HEAD: &str = concat!(
        r#"{"@timestamp":"2026-11-20T23:38:59.404Z","action":"login","log.level":"info","node":"edge-1","#,
        r#""boot_id":"00000000000000aa","log.sequence":7,"event.id":"00000000000000aa-7""#
    );

    #[test]
    fn a_record_is_one_json_object_on_one_line() {
        let line = written(4096, |line| {
            line.text(SESSION_ID, "s1");
            line.text(DESC, "two\nlines \"quoted\"");
            line.integer(WORKER_ID, 3);
            line.seconds(SEND_TIME_DELAY, Duration::from_micros(1_500_000));
            line.foreign("status", b"200");
        });
        let tail = concat!(
            r#","session_id":"s1","desc":"two\nlines \"quoted\"","worker_id":3,"send_time_delay":1.5,"#,
            r#""status":200}"#
        );
        assert_eq!(line, format!("{HEAD}{tail}\n"));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_marked() {
        for max in HEAD.len() + 60..HEAD.len() + 90 {
            let line = written(max, |line| line.text(MESSAGE, &"é\n".repeat(100)));
            assert!(line.len() <= max, "{} > {max}", line.len());
            assert!(line.ends_with("\"log.truncated\":true}\n"));
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }

    #[test]
    fn members_are_taken_as_they_are_or_not_at_all() {
        let max = HEAD.len() + 60;
        let line = written(max, |line| {
            assert!(!line.members(&format!("\"a\":{}", "1".repeat(60))));
            assert!(line.members(r#""a" : 1, "b":[2]"#));
        });
        assert_eq!(line, format!("{HEAD},\"a\" : 1, \"b\":[2]}}\n"));
    }

    #[test]
    fn addresses_codes_and_seconds_are_printed_as_the_standard_library_does() {
        let delay =
            |micros| written(4096, |line| line.seconds(SEND_TIME_DELAY, Duration::from_micros(micros)));
        for (micros, text) in [(1, "0.000001"), (1_000_000, "1"), (2_050_000, "2.05"), (999_999, "0.999999")]
        {
            assert_eq!(delay(micros), format!("{HEAD},\"send_time_delay\":{text}}}\n"));
        }
        let line = written(4096, |line| {
            line.address(CLIENT, IpAddr::from([192, 0, 2, 7]));
            line.code(ERR_CODE, 4001);
        });
        assert_eq!(line, format!("{HEAD},\"client\":\"192.0.2.7\",\"err_code\":\"4001\"}}\n"));
    }

    #[test]
    fn a_foreign_value_without_room_is_left_out_whole() {
        let max = HEAD.len() + 60;
        let line = written(max, |line| line.foreign("body", &[b'1'; 100]));
        assert_eq!(line, format!("{HEAD},\"log.truncated\":true}}\n"));
    }

    #[test]
    fn the_names_of_fields_are_unique_and_need_no_escaping() {
        let names: std::collections::HashSet<_> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), FIELDS.len());
        for field in FIELDS {
            assert_eq!(field.key, format!(",{}:", serde_json::to_string(field.name).unwrap()));
            assert_eq!(field.text_key, format!("{}\"", field.key));
        }
    }
}
