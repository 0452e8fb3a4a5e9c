//! One socket driving one session: reads, lets the session decide, carries out its effects.
//!
//! The task holds no buffer of its own: it reads into one that the worker thread lends to whichever connection is
//! readable, and the websocket library keeps only a frame that has not come whole. Writing is the link's work.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::io::Read;
use std::io::Write;
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tungstenite::Message;
use tungstenite::error::CapacityError;
use tungstenite::protocol::Role;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::WebSocketContext;

use crate::clock;
use crate::config::Dialect;
use crate::config::Route;
use crate::gateway::Arriving;
use crate::gateway::CloseReason;
use crate::gateway::Shared;
use crate::gateway::fanout::Publication;
use crate::gateway::heartbeat::Entry;
use crate::gateway::link::Frame;
use crate::gateway::link::Link;
use crate::gateway::pulse::Pulse;
use crate::gateway::pulse::Rhythm;
use crate::gateway::rooms::Arrival;
use crate::gateway::rooms::Step;
use crate::gateway::rooms::Welcome;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Identity;
use crate::gateway::session::Input;
use crate::gateway::session::Publishing;
use crate::gateway::session::Refusal;
use crate::gateway::session::Session;
use crate::gateway::session::World;
use crate::metrics::ByDialect;
use crate::metrics::ByReason;
use crate::net::Slot;
use crate::trail::Ending;
use crate::trail::Subject;
use crate::wire::centrifuge::Publisher;
use crate::wire::websocket;

/// How much of one connection is read at once before others have their turn: 8 reads of 64 KiB.
const READS_MAX: usize = 8;

/// How long a client may take to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// A client that renews its token does so when it expires: it may be this late.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);

/// The original calls a message late after five seconds.
const LATE: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// What a check of credentials was for.
enum Checked {
    Login(Result<Identity, Refusal>),
    Refresh(Result<Identity, Refusal>),
}

type Check = Pin<Box<dyn Future<Output = Checked> + Send>>;

/// Who the client is, for the log.
struct Profile {
    client: Option<IpAddr>,
    request_id: String,
    worker: u32,
    token: Option<String>,
    _slot: Option<Arc<Slot>>,
}

/// One connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    link: Arc<Link>,
    session: Session,
    socket: WebSocketContext,
    route: Arc<Route>,
    rhythm: Rhythm,
    profile: Box<Profile>,
    start: Option<Box<(Bytes, Credentials)>>,
    check: Option<Check>,
}

impl Connection {
    /// A client has arrived: it is known to the gateway from here on.
    pub(super) fn new(shared: Arc<Shared>, arriving: Arriving) -> Self {
        let now = clock::uptime();
        let settings = shared.settings.load_full();
        let dialect = arriving.route.dialect;
        let number = shared.registry.number();
        let link = Arc::new(Link::new(number, dialect, arriving.stream, settings.queue_max, now));
        shared.registry.add(&link);
        let rhythm = settings.rhythm(&arriving.route);
        let entry = Entry { link: Arc::downgrade(&link), pulse: Pulse::new(now), rhythm };
        shared.wheel.put(entry, now + rhythm.login.min(rhythm.interval));
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(settings.frame_max))
            .max_frame_size(Some(settings.frame_max));
        Self {
            session: Session::new(arriving.session_id, dialect),
            socket: WebSocketContext::new(Role::Server, Some(limits)),
            route: Arc::new(arriving.route),
            rhythm,
            profile: Box::new(Profile {
                client: arriving.client,
                request_id: arriving.request_id,
                worker: arriving.worker,
                token: arriving.credentials.token.clone(),
                _slot: arriving.slot,
            }),
            start: Some(Box::new((arriving.leftover, arriving.credentials))),
            check: None,
            link,
            shared,
        }
    }

    /// Serves the client until the session ends.
    pub(super) async fn run(mut self) {
        let reason = self.serve().await;
        Box::pin(self.finish(reason)).await;
    }

    async fn serve(&mut self) -> CloseReason {
        if let Some(start) = self.start.take() {
            let (leftover, credentials) = *start;
            let mut effects = Vec::new();
            self.session.start(credentials, &mut effects);
            self.apply(effects);
            if let Err(reason) = self.feed(&leftover) {
                return reason;
            }
        }
        loop {
            if let Some(reason) = self.link.closing() {
                return reason;
            }
            // Every branch is cancel safe: readiness and wake-ups stay until they are used, the check is kept.
            tokio::select! {
                ready = self.link.stream().ready(self.link.interest()) => {
                    let done = match ready {
                        Ok(ready) => self.turn(ready.is_readable() || ready.is_read_closed(), ready.is_writable()),
                        Err(_) => Err(CloseReason::PeerGone),
                    };
                    if let Err(reason) = done {
                        return reason;
                    }
                }
                () = self.link.woken() => {}
                checked = checked(&mut self.check) => {
                    self.check = None;
                    self.checked(checked);
                }
            }
        }
    }

    /// The socket is ready: read, write, or both.
    fn turn(&mut self, readable: bool, writable: bool) -> Result<(), CloseReason> {
        if writable {
            self.flush()?;
        }
        if readable {
            self.read()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), CloseReason> {
        let mut latest = Duration::ZERO;
        let mut observe = self.shared.fanout.observer();
        let flushed = self.link.flush(clock::uptime(), &mut |delay| {
            latest = latest.max(delay);
            observe(delay);
        });
        if latest > LATE {
            self.shared.means.trail.msg_send_late(&self.subject(), latest);
        }
        flushed.map_err(|_| CloseReason::PeerGone)
    }

    fn read(&mut self) -> Result<(), CloseReason> {
        let mut scratch = SCRATCH.take();
        let outcome = self.read_into(&mut scratch);
        SCRATCH.set(scratch);
        outcome
    }

    fn read_into(&mut self, scratch: &mut [u8]) -> Result<(), CloseReason> {
        for _ in 0..READS_MAX {
            match self.link.stream().try_read(scratch) {
                Ok(0) => return Err(CloseReason::PeerGone),
                Ok(read) => {
                    self.link.heard(clock::uptime());
                    self.feed(scratch.get(..read).unwrap_or_default())?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::PeerGone),
            }
        }
        Ok(())
    }

    /// Lets the websocket take `input` apart, and the session see each message in it.
    fn feed(&mut self, input: &[u8]) -> Result<(), CloseReason> {
        let mut feed = Feed { input, output: Vec::new() };
        let mut effects = Vec::new();
        let outcome = loop {
            let message = match self.socket.read(&mut feed) {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    break Ok(());
                }
                Err(error) => break Err(self.reason(&error)),
            };
            let input = match &message {
                Message::Text(text) => Input::Text(text),
                Message::Binary(_) => Input::Binary,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => continue,
            };
            self.decide(|session, world, effects| session.receive(input, world, effects), &mut effects);
            self.apply(mem::take(&mut effects));
        };
        if !feed.output.is_empty() {
            self.send(feed.output.into());
        }
        outcome
    }

    fn decide(
        &mut self,
        step: impl FnOnce(&mut Session, &World<'_>, &mut Vec<Effect>),
        effects: &mut Vec<Effect>,
    ) {
        let settings = self.shared.settings.load();
        let seconds = self.rhythm.interval.as_millis().div_ceil(1000);
        let world = World {
            rules: &settings.rules,
            node: &self.shared.node,
            ping_seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
            unix: clock::wall().as_secs(),
        };
        step(&mut self.session, &world, effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(frame),
                Effect::Login(credentials) => {
                    self.profile.token.clone_from(&credentials.token);
                    self.ask(credentials, Checked::Login);
                }
                Effect::Refresh(credentials) => self.ask(credentials, Checked::Refresh),
                Effect::Enter { rooms, greeting } => self.enter(&rooms, greeting),
                Effect::Join { room, answer } => self.join(&room, Arrival::new(1, Welcome::Answer(answer))),
                Effect::Leave { room } => self.leave(&room),
                Effect::Publish(publishing) => self.publish(publishing),
                Effect::Refused(why) => self.shared.means.trail.web_err(&self.subject(), 403, &why),
                Effect::Close(reason) => self.link.close(reason),
            }
        }
    }

    fn ask(&mut self, credentials: Credentials, what: fn(Result<Identity, Refusal>) -> Checked) {
        let auth = Arc::clone(&self.shared.settings.load().auth);
        let check = auth.check(credentials, self.route.auth, clock::wall().as_secs());
        self.check = Some(Box::pin(async move { what(check.await) }));
    }

    fn checked(&mut self, checked: Checked) {
        let mut effects = Vec::new();
        match checked {
            Checked::Login(outcome) => {
                self.decide(|session, world, effects| session.login(outcome, world, effects), &mut effects);
            }
            Checked::Refresh(outcome) => {
                self.decide(
                    |session, world, effects| session.refreshed(outcome, world, effects),
                    &mut effects,
                );
                self.link.logged_in(self.expiry());
            }
        }
        self.apply(effects);
    }

    /// The login succeeded: enters the rooms that it grants, then greets.
    fn enter(&mut self, rooms: &[String], greeting: Option<Bytes>) {
        let means = &self.shared.means;
        self.link.logged_in(self.expiry());
        means.trail.login(&self.subject(), &format!("in {} rooms", rooms.len()));
        self.profile.token = None;
        let dialect = ByDialect { dialect: name(self.link.dialect()) };
        means.metrics.logins.get_or_create(&dialect).inc();
        means.metrics.sessions.get_or_create(&dialect).inc();
        let greeting = Welcome::Greeting(greeting);
        if rooms.is_empty() {
            self.shared.fanout.welcome(&self.link, greeting);
            return;
        }
        self.link.hold();
        let arrival = Arrival::new(rooms.len(), greeting);
        for room in rooms {
            self.join(room, Arc::clone(&arrival));
        }
    }

    fn join(&self, room: &str, arrival: Arc<Arrival>) {
        self.submit(room, Step::Join(Arc::clone(&self.link), arrival));
        self.shared.means.trail.room_manage(&self.subject(), room, "in room ok.");
    }

    fn leave(&self, room: &str) {
        self.submit(room, Step::Leave(self.link.key()));
        self.shared.means.trail.room_manage(&self.subject(), room, "out room ok.");
    }

    /// Joins and leaves are never refused: only publications have a limit in a room's queue.
    fn submit(&self, room: &str, step: Step) {
        if self.shared.submit(room, step).is_err() {
            tracing::error!(room, "a room refused a join or leave");
        }
    }

    fn publish(&self, publishing: Publishing) {
        let Publishing { room, payload, taken, busy } = publishing;
        let message = self.shared.message_ids.next();
        let length = payload.json().len();
        let publisher = self.session.identity().map(|identity| Publisher {
            user: identity.user.to_string(),
            client: self.session.id().to_string(),
            conn_info: identity.info.clone(),
        });
        let published = self.shared.publish(&room, Publication { payload, publisher, at: clock::uptime() });
        let trail = &self.shared.means.trail;
        let answer = match published {
            Ok(()) => {
                trail.room_msg(&self.subject(), &room, &message, &format!("{length} bytes"));
                taken
            }
            Err(_) => {
                trail.memory_msg(&self.subject(), &format!("the room {room:?} has a backlog"));
                busy
            }
        };
        if let Some(answer) = answer {
            self.send(answer);
        }
    }

    fn send(&self, frame: Bytes) {
        self.link.send(&[Frame::control(frame)], clock::uptime(), &mut |_| {});
    }

    /// When the session expires, on the gateway's clock.
    fn expiry(&self) -> Option<Duration> {
        let expires = self.session.identity()?.expires?;
        let left = Duration::from_secs(expires).saturating_sub(clock::wall());
        Some(clock::uptime() + left + EXPIRY_GRACE)
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            session_id: Some(self.session.id()),
            user_id: self.session.user().map(|user| &**user).filter(|user| !user.is_empty()),
            client: self.profile.client,
            request_id: Some(self.profile.request_id.as_str()).filter(|id| !id.is_empty()),
            dialect: Some(name(self.link.dialect())),
            worker: Some(self.profile.worker),
            token: self.profile.token.as_deref(),
        }
    }

    fn reason(&self, error: &tungstenite::Error) -> CloseReason {
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                CloseReason::ClientClosed
            }
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
                CloseReason::TooLong { limit: *max_size }
            }
            tungstenite::Error::Utf8(_) => CloseReason::NotUtf8,
            other => CloseReason::ProtocolError(other.to_string()),
        }
    }

    /// Ends the session: leaves the rooms, says goodbye, writes it down.
    async fn finish(self, reason: CloseReason) {
        self.link.close(reason.clone());
        for room in self.session.rooms() {
            self.submit(room, Step::Leave(self.link.key()));
        }
        if reason.says_goodbye() {
            if reason != CloseReason::ClientClosed {
                let dialect = self.link.dialect();
                self.link.say_goodbye(&websocket::close(reason.code(dialect), &reason.text(dialect)));
            }
            // Whoever does not take the goodbye in time does without it.
            drop(tokio::time::timeout(CLOSE_WAIT, part(&self.link, &reason)).await);
        }
        self.record(&reason);
        self.shared.registry.remove(self.link.key());
    }

    fn record(&self, reason: &CloseReason) {
        let means = &self.shared.means;
        let (trail, metrics) = (&means.trail, &means.metrics);
        let (subject, detail) = (self.subject(), reason.detail());
        let code = reason.code(self.link.dialect());
        metrics.closes.get_or_create(&ByReason { reason: reason.name() }).inc();
        if self.session.identity().is_none() {
            metrics.logins_failed.get_or_create(&ByReason { reason: reason.name() }).inc();
            if reason.refuses_login() && subject.token.is_some() {
                trail.login_failed(&subject, code, &detail);
            } else {
                trail.wsconn_failed(&subject, code, &detail);
            }
            return;
        }
        match reason {
            CloseReason::Slow { .. } => trail.memory_msg(&subject, &detail),
            CloseReason::BadRequest(_)
            | CloseReason::ProtocolError(_)
            | CloseReason::TooLong { .. }
            | CloseReason::NotUtf8 => trail.web_err(&subject, code, &detail),
            _ => {}
        }
        let unsent = self.link.unsent();
        let slowest = self.link.slowest();
        if unsent > 0 {
            trail.msg_send_failed(&subject, slowest, &format!("{unsent} messages were not sent: {detail}"));
        }
        let silence = clock::uptime().saturating_sub(self.link.signs().heard);
        let ending = Ending { code, reason: reason.name(), send_time_delay: slowest, silence, desc: &detail };
        trail.logout(&subject, &ending);
        let dialect = ByDialect { dialect: name(self.link.dialect()) };
        metrics.sessions.get_or_create(&dialect).dec();
    }
}

/// Writes what waits, then reads until the client has closed too: closing first could cost it the goodbye.
async fn part(link: &Link, reason: &CloseReason) {
    let mut scratch = [0; 512];
    loop {
        if link.flush(clock::uptime(), &mut |_| {}).is_err() {
            return;
        }
        let interest = if link.is_flushed() {
            if *reason == CloseReason::ClientClosed {
                return;
            }
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        if link.stream().ready(interest).await.is_err() {
            return;
        }
        loop {
            match link.stream().try_read(&mut scratch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
    }
}

/// The library reads a frame's header into this and asks for the rest at once: 64 bytes cost least.
const READ_BUFFER: usize = 64;

/// Waits for a check, for ever when there is none.
async fn checked(check: &mut Option<Check>) -> Checked {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

/// The name of a dialect in log and metrics.
fn name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Centrifuge => "centrifuge",
        Dialect::OpenrestyPush => "openresty-push",
    }
}

/// What the websocket library reads from and writes to: bytes that have come, bytes to be sent.
struct Feed<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.output.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
