//! The vocabulary of the log: one function per action, which writes one record and counts it.
//!
//! Rooms speak to the log only through a [`Trail`]. A record is written field by field into a buffer of the
//! thread and copied into the bounded [`Buffer`] that the shipper empties: no channel, no task and no allocation
//! lies between an action and its record, and nothing here waits. What does not fit is dropped, counted, and told
//! by a `log_gap` record as soon as there is room again.
//!
//! The names of actions and fields come from the original push gateway's documentation; the original spelled some
//! of them in two ways, which `log.legacy_fields` writes too.

use std::cell::RefCell;
use std::fmt::Write as _;
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

/// Writes records; shared by everything that acts.
#[derive(Debug)]
pub struct Trail {
    origin: Origin,
    sequence: AtomicU64,
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
            line.display(record::ERR_CODE, ending.code);
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
        let sequence = self.write(Some((self.wall)()), Some(Action::LogGap), Some(Level::Error), |line| {
            line.integer(record::GAP_LINES, gap.records);
            line.integer(record::GAP_BYTES, gap.bytes);
            if let (Some(first), Some(last)) = (gap.first_sequence, gap.last_sequence) {
                line.integer(record::GAP_FROM, first);
                line.integer(record::GAP_TO, last);
            }
            line.word(record::GAP_CAUSE, gap.cause.as_str());
        });
        if sequence.is_none() {
            self.buffer.restore_gap(gap);
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

    fn failure(&self, action: Action, level: Level, subject: &Subject<'_>, (code, err): (u16, &str)) {
        self.act(action, level, subject, |line, _| {
            line.display(record::ERR_CODE, code);
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
            line.display(record::CLIENT, client);
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

    /// Numbers, writes and counts one record; `None` when there was no room for it.
    fn write(
        &self,
        at: Option<Duration>,
        action: Option<Action>,
        level: Option<Level>,
        fill: impl FnOnce(&mut Line<'_>),
    ) -> Option<u64> {
        action.and_then(|action| self.counters.get(action as usize)).unwrap_or(&self.foreign).inc();
        let sequence = self.sequence.fetch_add(1, Relaxed);
        let head = Head { origin: &self.origin, at, action: action.map(Action::as_str), level, sequence };
        let max = self.max_line.load(Relaxed);
        let compose = |out: &mut Vec<u8>| {
            out.clear();
            let mut line = Line::begin(out, max, &head);
            fill(&mut line);
            line.end();
            self.buffer.log_numbered(out, sequence).is_ok()
        };
        // A value that logs while it is written finds the buffer taken: the inner record then gets its own.
        let written = SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut out) => compose(&mut out),
            Err(_) => compose(&mut Vec::new()),
        });
        written.then_some(sequence)
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

thread_local! {
    /// The record in the making; it keeps its capacity, so that a record costs no allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
    hash.as_ref().iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}
