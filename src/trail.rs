//! The vocabulary of the log: one function per action, which writes one record and counts it.
//!
//! Rooms speak to the log only through a [`Trail`]. A record is written field by field into a buffer of the
//! thread and copied into the bounded [`Buffer`] that the shipper empties: no channel, no task and no allocation
//! lies between an action and its record, and nothing here waits. What does not fit is dropped, counted, and told
//! by a `log_gap` record as soon as there is room again.
//!
//! The names of actions and fields come from the original push gateway's documentation; the original spelled some
//! of them in two ways, which `log.legacy_fields` writes too.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aws_lc_rs::digest;
use prometheus_client::metrics::counter::Counter;

use crate::buffer::Buffer;
use crate::buffer::DropCause;
use crate::ids::MessageId;
use crate::ids::SessionId;
use crate::metrics::ByAction;
use crate::metrics::Metrics;
use crate::record;
use crate::record::Head;
use crate::record::Level;
use crate::record::Line;
use crate::record::Origin;

macro_rules! actions {
    ($($id:ident $name:literal $doc:literal;)*) => {
        /// What can happen: the values of the field `action`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $(#[doc = $doc] $id,)*
        }

        impl Action {
            /// Every action that the program can write.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// The word in the record.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

actions! {
    Login "login" "A user logged in, or was refused.";
    Logout "logout" "A session ended.";
    RoomMsg "room_msg" "A message was published into a room.";
    RoomManage "room_manage" "A session joined or left a room, or the room was dissolved.";
    MemoryMsg "memory_msg" "A session's queue in memory was full.";
    WebErr "web_err" "A request or frame broke the rules.";
    MsgSend "msg_send" "A message was sent late, or could not be sent.";
    Wsconn "wsconn" "A client could not open a websocket.";
    LogGap "log_gap" "Records were lost: how many, and why.";
    NginxAccess "nginx_access" "A line of nginx's access log.";
    NginxError "nginx_error" "A line of nginx's error log.";
    Syslog "syslog" "A syslog line from elsewhere.";
    Line "line" "A line of JSON or text from elsewhere, without a syslog header.";
    ConfigReload "config_reload" "The configuration was read again.";
    Drain "drain" "The daemon is stopping.";
    Diagnostic "diagnostic" "What the program says of itself.";
}

/// Whom a record is about; what is not known stays out of the record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The session.
    pub session_id: Option<&'a SessionId>,
    /// The user.
    pub user_id: Option<&'a str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The id that nginx gave the request.
    pub request_id: Option<&'a str>,
    /// The wire dialect.
    pub dialect: Option<&'static str>,
    /// The worker thread.
    pub worker: Option<u32>,
    /// The login token, as the client sent it.
    pub token: Option<&'a str>,
}

/// How the trail writes; each can change while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Write tokens as they are instead of their hash.
    pub plain_tokens: bool,
    /// Also write the original's spellings of some fields.
    pub legacy_fields: bool,
    /// The longest record in bytes.
    pub max_line: usize,
}

/// No sequence number.
const NONE: u64 = u64::MAX;

/// Writes records; shared by everything that acts.
#[derive(Debug)]
pub struct Trail {
    origin: Origin,
    sequence: AtomicU64,
    /// A number that a refused `log_gap` record did not use.
    spare: AtomicU64,
    plain_tokens: AtomicBool,
    legacy_fields: AtomicBool,
    max_line: AtomicUsize,
    wall: fn() -> Duration,
    buffer: Arc<Buffer>,
    counters: Vec<Counter>,
    foreign: Counter,
}

impl Trail {
    /// A trail into `buffer`; `wall` reads the time since 1970.
    #[must_use]
    pub fn new(
        origin: Origin,
        style: Style,
        wall: fn() -> Duration,
        sinks: (Arc<Buffer>, Arc<Metrics>),
    ) -> Self {
        let (buffer, metrics) = sinks;
        let trail = Self {
            origin,
            sequence: AtomicU64::new(0),
            spare: AtomicU64::new(NONE),
            plain_tokens: AtomicBool::new(false),
            legacy_fields: AtomicBool::new(false),
            max_line: AtomicUsize::new(0),
            wall,
            buffer,
            counters: Action::ALL.iter().map(|action| counter(&metrics, action.as_str())).collect(),
            foreign: counter(&metrics, "other"),
        };
        trail.restyle(style);
        trail
    }

    /// Changes how records are written from now on.
    pub fn restyle(&self, style: Style) {
        self.plain_tokens.store(style.plain_tokens, Relaxed);
        self.legacy_fields.store(style.legacy_fields, Relaxed);
        self.max_line.store(style.max_line, Relaxed);
    }

    /// The longest record in bytes.
    #[must_use]
    pub fn max_line(&self) -> usize {
        self.max_line.load(Relaxed)
    }

    /// A client was refused before a session began.
    pub fn wsconn_failed(&self, subject: &Subject<'_>, err_code: u16, err: &str) {
        self.failure(Action::Wsconn, Level::Warn, subject, (err_code, err));
    }

    /// A user logged in.
    pub fn login(&self, subject: &Subject<'_>, desc: &str) {
        self.act(Action::Login, Level::Info, subject, |line, legacy| {
            if let (true, Some(id)) = (legacy, subject.session_id) {
                line.text(record::LEGACY_SESSION, id.as_str());
            }
            line.text(record::DESC, desc);
        });
    }

    /// A login was refused, or could not be checked.
    pub fn login_failed(&self, subject: &Subject<'_>, err_code: u16, err: &str) {
        self.failure(Action::Login, Level::Warn, subject, (err_code, err));
    }

    /// A request or a frame broke the rules.
    pub fn web_err(&self, subject: &Subject<'_>, err_code: u16, err: &str) {
        self.failure(Action::WebErr, Level::Warn, subject, (err_code, err));
    }

    /// A session ended: why, the longest delay of a message to it, and how long the peer had been silent.
    pub fn logout(&self, subject: &Subject<'_>, ending: &Ending<'_>) {
        self.act(Action::Logout, Level::Info, subject, |line, legacy| {
            if let (true, Some(id)) = (legacy, subject.session_id) {
                line.text(record::LEGACY_SESSION, id.as_str());
            }
            line.code(record::ERR_CODE, ending.code);
            line.text(record::ERR, ending.reason);
            line.seconds(record::SEND_TIME_DELAY, ending.send_time_delay);
            line.seconds(record::HEARTBEAT, ending.silence);
            line.text(record::DESC, ending.desc);
        });
    }

    /// A session joined or left a room.
    pub fn room_manage(&self, subject: &Subject<'_>, room: &str, desc: &str) {
        self.act(Action::RoomManage, Level::Info, subject, |line, _| {
            line.text(record::ROOM_ID, room);
            line.text(record::DESC, desc);
        });
    }

    /// A message was published into a room.
    pub fn room_msg(&self, subject: &Subject<'_>, room: &str, message: &MessageId, desc: &str) {
        self.act(Action::RoomMsg, Level::Info, subject, |line, _| {
            line.text(record::ROOM_ID, room);
            line.text(record::MSG_ID, message.as_str());
            line.text(record::DESC, desc);
        });
    }

    /// A message reached a session late.
    pub fn msg_send_late(&self, subject: &Subject<'_>, delay: Duration) {
        self.act(Action::MsgSend, Level::Warn, subject, |line, legacy| {
            legacy_session(line, legacy, subject);
            line.seconds(record::SEND_TIME_DELAY, delay);
            line.text(record::DESC, "sent late");
        });
    }

    /// Messages that were queued for a session could not be sent.
    pub fn msg_send_failed(&self, subject: &Subject<'_>, delay: Duration, err: &str) {
        self.act(Action::MsgSend, Level::Error, subject, |line, legacy| {
            legacy_session(line, legacy, subject);
            line.seconds(record::SEND_TIME_DELAY, delay);
            line.text(record::ERR, err);
        });
    }

    /// A session's queue was full.
    pub fn memory_msg(&self, subject: &Subject<'_>, err: &str) {
        self.act(Action::MemoryMsg, Level::Warn, subject, |line, _| line.text(record::ERR, err));
    }

    /// The configuration was read again: `err` says what was wrong with it.
    pub fn config_reload(&self, desc: &str, err: Option<&str>) {
        let level = if err.is_some() { Level::Error } else { Level::Info };
        self.act(Action::ConfigReload, level, &Subject::default(), |line, _| {
            line.maybe(record::ERR, err);
            line.text(record::DESC, desc);
        });
    }

    /// The daemon is stopping.
    pub fn drain(&self, desc: &str) {
        self.act(Action::Drain, Level::Info, &Subject::default(), |line, _| line.text(record::DESC, desc));
    }

    /// Tells of a loss, when there was one and there is room to tell. The shipper calls it after each flush.
    pub fn log_gap(&self) {
        let Some(gap) = self.buffer.take_gap() else { return };
        let spare = self.spare.swap(NONE, Relaxed);
        let sequence = if spare == NONE { self.sequence.fetch_add(1, Relaxed) } else { spare };
        self.counter(Some(Action::LogGap)).inc();
        let head = self.head(Some((self.wall)()), Some(Action::LogGap), Some(Level::Error), sequence);
        let lost = gap.total();
        let told = self.compose(
            &head,
            |out| self.buffer.offer(out),
            |line| {
                line.integer(record::GAP_LINES, lost.records);
                line.integer(record::GAP_BYTES, lost.bytes);
                if let (Some(first), Some(last)) = (gap.first_sequence, gap.last_sequence) {
                    line.integer(record::GAP_FROM, first);
                    line.integer(record::GAP_TO, last);
                }
                line.word(record::GAP_CAUSE, gap.main_cause().map_or("unknown", DropCause::name));
            },
        );
        if !told {
            // The number stays for the next try: none may be missing that no loss explains.
            self.spare.store(sequence, Relaxed);
            self.buffer.restore_gap(&gap);
        }
    }

    /// A record from outside: `fill` writes its fields. `at`, action and level are left out when it brings its own.
    pub fn relay(
        &self,
        at: Option<Duration>,
        action: Option<Action>,
        level: Option<Level>,
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        self.write(at, action, level, fill);
    }

    /// Adds a record from outside to `batch`: `fill` writes its fields. `at`, action and level are left out when it
    /// brings its own. Nothing is logged before the batch is full, or [`Self::hand_in`] is called.
    pub fn gather(
        &self,
        batch: &mut Batch,
        at: Option<Duration>,
        action: Option<Action>,
        level: Option<Level>,
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        if batch.bytes.capacity() == 0 {
            *batch = SPARE.take();
        }
        if batch.action != action {
            self.count(batch);
            batch.action = action;
        }
        batch.count += 1;
        let sequence = self.sequence.fetch_add(1, Relaxed);
        let head = self.head(at, action, level, sequence);
        let mut line = Line::begin(&mut batch.bytes, self.max_line(), &head);
        fill(&mut line);
        line.end();
        batch.records.push((batch.bytes.len(), sequence));
        if batch.bytes.len() >= BATCH {
            self.log(batch);
        }
    }

    /// Logs what is in `batch`, which then holds no memory any more.
    pub fn hand_in(&self, batch: &mut Batch) {
        self.log(batch);
        let batch = std::mem::take(batch);
        // A record of unusual length is not worth its memory.
        if batch.bytes.capacity() <= 4 * BATCH {
            SPARE.set(batch);
        }
    }

    fn log(&self, batch: &mut Batch) {
        self.count(batch);
        if !batch.records.is_empty() {
            self.buffer.log_batch(&batch.bytes, &batch.records);
        }
        batch.bytes.clear();
        batch.records.clear();
    }

    fn count(&self, batch: &mut Batch) {
        if batch.count > 0 {
            self.counter(batch.action).inc_by(std::mem::take(&mut batch.count));
        }
    }

    fn failure(&self, action: Action, level: Level, subject: &Subject<'_>, (code, err): (u16, &str)) {
        self.act(action, level, subject, |line, _| {
            line.code(record::ERR_CODE, code);
            line.text(record::ERR, err);
        });
    }

    /// Writes a record of the daemon's own: the subject's fields, then what `fill` adds.
    fn act(
        &self,
        action: Action,
        level: Level,
        subject: &Subject<'_>,
        fill: impl FnOnce(&mut Line<'_>, bool),
    ) {
        let at = (self.wall)();
        let legacy = self.legacy_fields.load(Relaxed);
        self.write(Some(at), Some(action), Some(level), |line| {
            line.integer(record::TIME, at.as_secs());
            if legacy {
                line.word(record::LEGACY_ACTION, action.as_str());
            }
            self.describe(line, subject);
            fill(line, legacy);
        });
    }

    fn describe(&self, line: &mut Line<'_>, subject: &Subject<'_>) {
        line.maybe(record::SESSION_ID, subject.session_id.map(SessionId::as_str));
        line.maybe(record::USER_ID, subject.user_id);
        if let Some(client) = subject.client {
            line.address(record::CLIENT, client);
        }
        line.maybe(record::REQUEST_ID, subject.request_id);
        if let Some(dialect) = subject.dialect {
            line.word(record::DIALECT, dialect);
        }
        if let Some(worker) = subject.worker {
            line.integer(record::WORKER_ID, u64::from(worker));
        }
        if let Some(token) = subject.token {
            if self.plain_tokens.load(Relaxed) {
                line.text(record::TOKEN, token);
            } else {
                line.text(record::TOKEN, &hashed(token));
            }
        }
    }

    /// Numbers, writes and counts one record; the buffer counts it as dropped when there is no room.
    fn write(
        &self,
        at: Option<Duration>,
        action: Option<Action>,
        level: Option<Level>,
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        let sequence = self.sequence.fetch_add(1, Relaxed);
        self.counter(action).inc();
        let head = self.head(at, action, level, sequence);
        self.compose(&head, |out| self.buffer.log_numbered(out, Some(sequence)).is_ok(), fill);
    }

    fn head(
        &self,
        at: Option<Duration>,
        action: Option<Action>,
        level: Option<Level>,
        sequence: u64,
    ) -> Head<'_> {
        Head { origin: &self.origin, at, action: action.map(Action::as_str), level, sequence }
    }

    fn counter(&self, action: Option<Action>) -> &Counter {
        action.and_then(|action| self.counters.get(action as usize)).unwrap_or(&self.foreign)
    }

    fn compose(
        &self,
        head: &Head<'_>,
        hand_in: impl FnOnce(&[u8]) -> bool,
        fill: impl FnOnce(&mut Line<'_>),
    ) -> bool {
        let max = self.max_line.load(Relaxed);
        let compose = |out: &mut Vec<u8>| {
            out.clear();
            let mut line = Line::begin(out, max, head);
            fill(&mut line);
            line.end();
            hand_in(out)
        };
        // A value that logs while it is written finds the buffer taken: the inner record then gets its own.
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut out) => compose(&mut out),
            Err(_) => compose(&mut Vec::new()),
        })
    }
}

/// The counter of one action, looked up once: a look-up per record would cost more than the record's time stamp.
fn counter(metrics: &Metrics, action: &'static str) -> Counter {
    metrics.actions.get_or_create(&ByAction { action }).clone()
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// The close code.
    pub code: u16,
    /// The name of the reason.
    pub reason: &'a str,
    /// The longest delay of a message to the session.
    pub send_time_delay: Duration,
    /// How long the peer had been silent.
    pub silence: Duration,
    /// What else is known.
    pub desc: &'a str,
}

/// Records from outside that are logged together: one lock and one look at the counters for all of them.
///
/// Whoever fills it hands it in before he waits for anything.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// The end of each record, and its number.
    records: Vec<(usize, u64)>,
    /// So many records of this action are not counted yet.
    action: Option<Action>,
    count: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Batch {
    const EMPTY: Self = Self { bytes: Vec::new(), records: Vec::new(), action: None, count: 0 };
}

/// A batch of so many bytes is full: some 16 records. The lock is held for a microsecond then.
const BATCH: usize = 8 * 1024;

thread_local! {
    /// The record in the making; it keeps its capacity, so that a record costs no allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };

    /// An empty batch that keeps its capacity.
    static SPARE: Cell<Batch> = const { Cell::new(Batch::EMPTY) };
}

/// Send errors carry the session under a third spelling in the original.
fn legacy_session(line: &mut Line<'_>, legacy: bool, subject: &Subject<'_>) {
    if let (true, Some(id)) = (legacy, subject.session_id) {
        line.text(record::LEGACY_SESSION_TYPO, id.as_str());
    }
}

/// The first 8 bytes of the SHA-256 of a token, as hex: enough to find it, too little to use it.
fn hashed(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    let start = hash.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{start:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Limits;
    use crate::buffer::Outcome;
    use crate::buffer::Tally;
    use crate::ids::BootId;
    use crate::ids::SessionIds;
    use serde_json::Value;

    struct Log {
        trail: Trail,
        buffer: Arc<Buffer>,
        metrics: Arc<Metrics>,
    }

    fn log(style: Style, drop_limit: usize) -> Log {
        let buffer = Arc::new(Buffer::new(Limits { flush_limit: 1, drop_limit, max_line: 4096 }));
        let metrics = Arc::new(Metrics::new());
        let wall = || Duration::from_millis(1_795_217_939_404);
        let origin = Origin::new("edge-1", "00000000000000aa");
        let trail = Trail::new(origin, style, wall, (Arc::clone(&buffer), Arc::clone(&metrics)));
        Log { trail, buffer, metrics }
    }

    impl Log {
        fn records(&self) -> Vec<Value> {
            let chunk = self.buffer.take().map(|chunk| chunk.bytes().to_vec()).unwrap_or_default();
            String::from_utf8(chunk)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    const STYLE: Style = Style { plain_tokens: false, legacy_fields: false, max_line: 4096 };

    #[test]
    fn a_login_carries_the_session_and_the_hash_of_the_token() {
        let log = log(STYLE, 1 << 20);
        let id = SessionIds::new("edge-1", BootId::new(0xaa)).next(2);
        let subject = Subject {
            session_id: Some(&id),
            user_id: Some("u1"),
            client: Some(IpAddr::from([192, 0, 2, 7])),
            token: Some("abc"),
            worker: Some(2),
            ..Subject::default()
        };
        log.trail.login(&subject, "in 1 room");
        let records = log.records();
        let record = &records[0];
        assert_eq!(record["action"], "login");
        assert_eq!(record["session_id"], id.as_str());
        assert_eq!(record["user_id"], "u1");
        assert_eq!(record["client"], "192.0.2.7");
        assert_eq!(record["token"], "ba7816bf8f01cfea");
        assert_eq!(record["time"], 1_795_217_939);
        assert_eq!(record["worker_id"], 2);
        assert!(record.get("session").is_none());
        assert!(log.metrics.render().contains("pillion_log_actions_total{action=\"login\"} 1"));
    }

    #[test]
    fn the_original_spellings_come_on_wish() {
        let log = log(Style { legacy_fields: true, plain_tokens: true, ..STYLE }, 1 << 20);
        let id = SessionIds::new("edge-1", BootId::new(0xaa)).next(2);
        let subject = Subject { session_id: Some(&id), token: Some("abc"), ..Subject::default() };
        log.trail.login(&subject, "");
        log.trail.msg_send_failed(&subject, Duration::from_millis(2500), "broken pipe");
        let records = log.records();
        assert_eq!(records[0]["acction"], "login");
        assert_eq!(records[0]["session"], id.as_str());
        assert_eq!(records[0]["token"], "abc");
        assert_eq!(records[1]["sesson_id"], id.as_str());
        assert_eq!(records[1]["send_time_delay"], 2.5);
    }

    #[test]
    fn a_loss_is_told_when_there_is_room_again() {
        let log = log(STYLE, 700);
        for _ in 0..5 {
            log.trail.drain("signal");
        }
        log.trail.log_gap();
        let chunk = log.buffer.take().unwrap();
        let kept = chunk.records() as u64;
        assert!(kept < 5, "the limit leaves no room for all");
        let bytes = chunk.bytes().len();
        log.buffer.release(Outcome::Sent, Tally::new(chunk.records(), bytes));
        log.trail.log_gap();
        let gap = &log.records()[0];
        assert_eq!(gap["action"], "log_gap");
        assert_eq!(gap["gap.lines"], 5 - kept);
        assert_eq!(gap["gap.from_sequence"], kept);
        assert_eq!(gap["gap.to_sequence"], 4);
        assert_eq!(gap["log.sequence"], 5, "a refused try uses no number up");
        assert_eq!(gap["gap.cause"], "overflow");
        log.trail.log_gap();
        assert!(log.records().is_empty(), "a loss is told once");
    }

    #[test]
    fn sequence_numbers_have_no_gap() {
        let log = log(STYLE, 1 << 20);
        for _ in 0..10 {
            log.trail.drain("signal");
        }
        let numbers: Vec<_> = log.records().iter().map(|r| r["log.sequence"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    }
}
