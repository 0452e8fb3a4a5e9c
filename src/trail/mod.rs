//! The vocabulary of the log: one function per action, which writes one record and counts it.
//!
//! Rooms speak to the log only through a [`Trail`]. A record is written field by field into a buffer of the
//! thread and copied into the bounded [`Buffer`] that the shipper empties: no channel, no task and no allocation
//! lies between an action and its record, and nothing here waits. What does not fit is dropped, counted, and told
//! by a `log_gap` record as soon as there is room again. Whoever watches the [`Tap`] sees each record on its way.
//!
//! The names of actions and fields come from the original push gateway's documentation; the original spelled some
//! of them in two ways, which `log.legacy_fields` writes too.

mod api;
mod batch;
mod weight;

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
use crate::tap::Tap;

pub use crate::record::Action;
pub use batch::Batch;
use weight::Sample;
use weight::rank;
use weight::sampled;

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
    /// Per action.
    samples: Vec<Sample>,
    wall: fn() -> Duration,
    buffer: Arc<Buffer>,
    tap: Arc<Tap>,
    counters: Vec<Counter>,
    foreign: Counter,
    left_out: Counter,
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
            samples: Action::ALL.iter().map(|_| Sample::default()).collect(),
            wall,
            buffer,
            tap: Arc::new(Tap::new()),
            counters: Action::ALL.iter().map(|action| counter(&metrics, action.as_str())).collect(),
            foreign: counter(&metrics, "other"),
            left_out: metrics.sampled_out.clone(),
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

    /// Writes only one of so many records of these actions from now on, and every record of the others.
    pub fn sample(&self, samples: &[(Action, u32)]) {
        for (action, sample) in Action::ALL.iter().zip(&self.samples) {
            let one_in =
                samples.iter().find(|(sampled, _)| sampled == action).map_or(1, |(_, one_in)| *one_in);
            sample.one_in.store(one_in, Relaxed);
        }
    }

    /// True when tokens are written as their hashes.
    #[must_use]
    pub fn hides_tokens(&self) -> bool {
        !self.plain_tokens.load(Relaxed)
    }

    /// The longest record in bytes.
    #[must_use]
    pub fn max_line(&self) -> usize {
        self.max_line.load(Relaxed)
    }

    /// Where records can be watched on their way to the buffer.
    #[must_use]
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
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
    pub fn room_msg(&self, subject: &Subject<'_>, room: &str, message: MessageId, desc: &str) {
        self.act(Action::RoomMsg, Level::Info, subject, |line, _| {
            line.text(record::ROOM_ID, room);
            line.text(record::MSG_ID, itoa::Buffer::new().format(message.number()));
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
            |out| {
                let told = self.buffer.offer(out);
                if told {
                    self.tap.show_and_keep(out);
                }
                told
            },
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
        let Some(stands_for) = self.draw(action) else { return };
        let sequence = self.sequence.fetch_add(1, Relaxed);
        self.counter(action).inc();
        let head = self.head(at, action, level, sequence);
        let rank = rank(action, level);
        let hand_in = |out: &[u8]| {
            self.show(action, out);
            self.buffer.log_ranked(out, rank, Some(sequence)).is_ok()
        };
        self.compose(&head, hand_in, |line| {
            sampled(line, stands_for);
            fill(line);
        });
    }

    /// How many records the next one of this action stands for; `None`, and counted, when it is left out.
    fn draw(&self, action: Option<Action>) -> Option<u32> {
        let sample = action.and_then(|action| self.samples.get(action as usize));
        let stands_for = sample.map_or(Some(1), Sample::draw);
        if stands_for.is_none() {
            self.left_out.inc();
        }
        stands_for
    }

    /// Shows a record to whoever watches.
    fn show(&self, action: Option<Action>, record: &[u8]) {
        if action.is_some_and(is_kept) {
            self.tap.show_and_keep(record);
        } else {
            self.tap.show(record);
        }
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

/// False for what comes in masses: the tap does not keep it among the last records.
fn is_kept(action: Action) -> bool {
    let mass = [Action::RoomMsg, Action::NginxAccess, Action::NginxError, Action::Syslog, Action::Line];
    !mass.contains(&action)
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
#[must_use]
pub fn hashed(token: &str) -> String {
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
    use crate::tap::Wish;
    use serde_json::Value;
    use std::task::Context;
    use std::task::Poll;
    use std::task::Waker;

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
    fn of_a_sampled_action_one_record_stands_for_many() {
        let log = log(STYLE, 1 << 20);
        log.trail.sample(&[(Action::Drain, 3)]);
        (0..7).for_each(|_| log.trail.drain("x"));
        log.trail.config_reload("y", None);
        let records = log.records();
        let rates: Vec<_> = records.iter().map(|record| record["sample_rate"].as_u64()).collect();
        assert_eq!(rates, [Some(3), Some(3), Some(3), None]);
        let numbers: Vec<_> = records.iter().map(|record| record["log.sequence"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3], "what is left out has no number");
        assert_eq!(log.metrics.sampled_out.get(), 4);
    }

    #[test]
    fn while_little_room_is_left_logins_and_errors_are_kept_before_the_rest() {
        let log = log(STYLE, 4000);
        log.buffer.set_policy(crate::buffer::Policy { shed_limit: Some(1), evict: false });
        log.trail.relay(None, Some(Action::NginxAccess), Some(Level::Info), |_| {});
        (0..20).for_each(|_| log.trail.room_manage(&Subject::default(), "r", "joined"));
        log.trail.login(&Subject::default(), "in");
        log.trail.web_err(&Subject::default(), 400, "bad");
        let actions: Vec<_> = log.records().iter().map(|record| record["action"].clone()).collect();
        assert!(!actions.contains(&"nginx_access".into()));
        assert_eq!(actions[actions.len() - 2..], ["login", "web_err"]);
        assert!(log.buffer.stats().dropped.of(DropCause::Shed).records > 5);
    }

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
    fn whoever_watches_sees_each_record_once_also_those_that_are_dropped() {
        let log = log(STYLE, 700);
        let wish = Wish { follow: true, ..Wish::default() };
        let mut watcher = log.trail.tap().watch(wish).unwrap();
        for _ in 0..5 {
            log.trail.drain("signal");
            // Refused as long as there is no room, and then not shown.
            log.trail.log_gap();
        }
        let chunk = log.buffer.take().unwrap();
        log.buffer.release(Outcome::Sent, Tally::new(chunk.records(), chunk.bytes().len()));
        log.trail.log_gap();
        let piece = watcher.poll_piece(&Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(piece)) = piece else { panic!("{piece:?}") };
        let shown: Vec<Value> = piece
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let numbers: Vec<_> = shown.iter().map(|record| record["log.sequence"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 5, 4], "the gap has the number of the first try");
        assert_eq!(shown[5]["action"], "log_gap");
        assert!(log.buffer.stats().dropped.total().records > 0);
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
