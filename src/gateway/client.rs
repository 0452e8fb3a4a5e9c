//! One client of the gateway: what its session decides is carried out here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock;
use crate::config::AuthMode;
use crate::gateway::Arriving;
use crate::gateway::CloseReason;
use crate::gateway::Gateway;
use crate::gateway::Shared;
use crate::gateway::auth::Bearer;
use crate::gateway::chat::Call;
use crate::gateway::chat::unix_ms;
use crate::gateway::form;
use crate::gateway::form::Form;
use crate::gateway::frame::Frame;
use crate::gateway::heartbeat::Entry;
use crate::gateway::link::Link;
use crate::gateway::pulse::Pulse;
use crate::gateway::room::publication::Card;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::step::Arrival;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::Joining;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Step;
use crate::gateway::room::step::Welcome;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Entrance;
use crate::gateway::session::GRACE_SECONDS;
use crate::gateway::session::Heartbeat;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use crate::gateway::session::Session;
use crate::gateway::session::Vouching;
use crate::gateway::session::World;
use crate::gateway::throttle::Pace;
use crate::ids::MessageId;
use crate::metrics::ByDialect;
use crate::net::Slot;
use crate::tasks::OnExit;
use crate::trail::Subject;
use crate::wire::orim;
use crate::wire::payload::Payload;

/// Who the client is, for the log.
struct Profile {
    address: Option<IpAddr>,
    request_id: String,
    worker: u32,
    /// The token, until the login is on record.
    token: Option<String>,
    /// Its place among the connections, free again when the client has gone.
    _slot: Option<Arc<Slot>>,
}

/// What only the connection can do for a session: check credentials, which takes time.
#[derive(Debug)]
pub(super) enum Ask {
    /// For a login.
    Login(Credentials),
    /// For a renewed token.
    Refresh(Credentials),
    /// For a room.
    Vouch(Box<Vouching>, Bearer),
}

/// A client: its session, and what the session acts on.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    pub(super) session: Session,
    /// How tokens are checked on the client's route, when it has a way of its own.
    pub(super) auth: Option<AuthMode>,
    ping_seconds: u32,
    profile: Box<Profile>,
}

impl Client {
    /// A client has arrived: it is known to the gateway from here on.
    pub(super) fn new(shared: Arc<Shared>, arriving: Arriving) -> Self {
        let now = clock::uptime();
        let settings = shared.settings.load_full();
        let form = Form::of(arriving.route.dialect, arriving.transport, arriving.encoding);
        let number = arriving.session_id.number();
        let budget = Arc::clone(&shared.budget);
        let link = Arc::new(Link::new(number, form, arriving.stream, settings.queue_max, budget, now));
        shared.registry.add(&link);
        let rhythm = settings.rhythm(&arriving.route);
        let entry = Entry { link: Arc::downgrade(&link), pulse: Pulse::new(now, &rhythm), rhythm };
        shared.wheel.put(entry, now + rhythm.login.min(rhythm.interval));
        let seconds = rhythm.interval.as_millis().div_ceil(1000);
        Self {
            session: Session::new(arriving.session_id, form),
            auth: arriving.route.auth,
            ping_seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
            profile: Box::new(Profile {
                address: arriving.client,
                request_id: arriving.request_id,
                worker: arriving.worker,
                token: arriving.credentials.token,
                _slot: arriving.slot,
            }),
            link,
            shared,
        }
    }

    /// Lets the session take a step, and carries out what it decides; gives what is left to ask.
    pub(super) fn step(&mut self, step: impl FnOnce(&mut Session, &World<'_>, &mut Vec<Effect>)) -> Vec<Ask> {
        let mut effects = Vec::new();
        let settings = self.shared.settings.load();
        let world = World {
            rules: &settings.rules,
            node: &self.shared.node,
            ping_seconds: self.ping_seconds,
            unix: clock::wall().as_secs(),
            pace: Pace { throttle: &self.shared.throttle, rates: &settings.rates, now: clock::uptime() },
        };
        step(&mut self.session, &world, &mut effects);
        self.apply(effects)
    }

    /// Carries out effects in their order; nothing after the end of the session.
    fn apply(&mut self, effects: Vec<Effect>) -> Vec<Ask> {
        let mut asks = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(frame),
                Effect::Login(credentials) => {
                    self.profile.token.clone_from(&credentials.token);
                    asks.push(Ask::Login(credentials));
                }
                Effect::Refresh(credentials) => asks.push(Ask::Refresh(credentials)),
                Effect::Vouch(vouching) => {
                    let bearer = self.bearer(&vouching.entrance.room);
                    asks.push(Ask::Vouch(vouching, bearer));
                }
                Effect::Renewed => self.link.expires(self.expiry()),
                Effect::Enter { rooms, greeting } => self.enter(rooms, greeting),
                Effect::Join { entrance, welcome } => self.join(entrance, &Arrival::new(1, welcome)),
                Effect::Leave { room, notice } => self.leave(&room, notice),
                Effect::Publish { room, payload, command } => self.publish(&room, payload, command),
                Effect::Ask { room, question, command } => self.ask(&room, question, command),
                Effect::Accept(operations) => self.link.accept(operations),
                Effect::Read { room, message, reply } => {
                    self.read(room.as_deref(), MessageId::from_number(message));
                    self.send(reply);
                }
                Effect::Call { call, command } => self.call(call, command),
                Effect::Count { room, heartbeat } => self.count(room.as_deref(), heartbeat),
                Effect::Refused(why) => self.shared.means.trail.web_err(&self.subject(), 403, &why),
                Effect::Close(reason) => {
                    self.link.close(reason);
                    return Vec::new();
                }
            }
        }
        asks
    }

    /// Who shows a token for a room.
    fn bearer(&self, room: &str) -> Bearer {
        let user = self.session.user().cloned().unwrap_or_default();
        Bearer { user, session: self.session.id().to_string(), room: room.to_owned() }
    }

    /// Lets an identity log in, unless the user is banned.
    pub(super) fn admit(&self, identity: Identity) -> Result<Identity, Refusal> {
        match self.shared.bans.of(&identity.user, clock::wall().as_secs()) {
            Some(ban) => Err(Refusal::Close(CloseReason::Banned { reason: ban.reason })),
            None => Ok(identity),
        }
    }

    /// The login succeeded: enters the rooms that it grants, then greets.
    fn enter(&mut self, rooms: Vec<Entrance>, mut greeting: Greeting) {
        if let (Greeting::Connected(connected), true) = (&mut greeting, self.link.form().is_emulated()) {
            connected.session = self.shared.tokens.token(self.link.key());
        }
        let identity = self.session.identity();
        let card = Card {
            user: identity.map(|identity| Arc::clone(&identity.user)).unwrap_or_default(),
            session: self.session.id().clone(),
            info: identity.and_then(|identity| identity.info.clone()),
        };
        self.link.logged_in(Arc::new(card));
        self.link.expires(self.expiry());
        self.displace();
        self.remember();
        let means = &self.shared.means;
        means.trail.login(&self.subject(), &format!("in {} rooms", rooms.len()));
        self.profile.token = None;
        let dialect = ByDialect { dialect: self.link.form().name() };
        means.metrics.logins.get_or_create(&dialect).inc();
        means.metrics.sessions.get_or_create(&dialect).inc();
        if rooms.is_empty() {
            let frame = self.link.form().welcome(&Welcome::Greeting(greeting), self.link.card(), &[]);
            let sent = self.link.greet(frame, clock::uptime(), &mut |_, _| {});
            self.shared.count(sent);
            self.shared.empty_inbox(&self.link);
            return;
        }
        self.link.hold();
        let arrival = Arrival::new(rooms.len(), Welcome::Greeting(greeting));
        for entrance in rooms {
            self.join(entrance, &arrival);
        }
        // Behind the greeting: until then messages are held back.
        self.shared.empty_inbox(&self.link);
    }

    /// What must make room for this login does.
    fn displace(&self) {
        let max = self.shared.settings.load().sessions_per_user;
        let key = self.session.device();
        let displaced = self.shared.registry.login(&self.link, self.profile.address, key, max);
        if let Some(replaced) = displaced.replaced {
            replaced.close(CloseReason::Replaced);
        }
        for surplus in displaced.surplus {
            surplus.close(CloseReason::TooManySessions { max });
        }
    }

    fn join(&mut self, entrance: Entrance, arrival: &Arc<Arrival>) {
        let Entrance { room, since, recovers, join_leave, pass } = entrance;
        let joining = Joining {
            link: Arc::clone(&self.link),
            since,
            recovers,
            join_leave,
            pass,
            arrival: Arc::clone(arrival),
        };
        // On record before the client knows: whoever asks the log then finds it.
        self.shared.means.trail.room_manage(&self.subject(), &room, "in room ok.");
        if self.shared.submit(&room, Step::Join(Box::new(joining)), true).is_ok() {
            return;
        }
        self.shared.means.trail.memory_msg(&self.subject(), &format!("{room:?}: {}", RoomError::Busy));
        match arrival.refused() {
            Some(Welcome::Subscribed(command)) => {
                self.session.forget(&room);
                self.busy(Some(command));
            }
            // A login without one of its rooms is no login.
            _ => self.link.close(CloseReason::NoRoom),
        }
    }

    fn leave(&self, room: &str, notice: Option<Frame>) {
        self.exit(room, notice);
        self.shared.means.trail.room_manage(&self.subject(), room, "out room ok.");
    }

    /// Leaves a room, without a word in the log.
    pub(super) fn exit(&self, room: &str, notice: Option<Frame>) {
        // Leaving is never refused.
        self.shared.submit(room, Step::Leave(Arc::clone(&self.link), notice), false).ok();
    }

    fn publish(&self, room: &str, payload: Payload, command: Option<u32>) {
        let length = payload.bytes().len();
        let message = Outgoing { publisher: self.link.card().cloned(), ..Outgoing::new(payload) };
        let asker = command.map_or(Asker::Nobody, |command| Asker::Client(Arc::clone(&self.link), command));
        let trail = &self.shared.means.trail;
        match self.shared.publish(room, message, None, asker) {
            Ok(id) => {
                trail.room_msg(&self.subject(), room, id, &format!("{length} bytes"));
                if room.starts_with(orim::ROOM_TYPE) {
                    self.said(room);
                }
            }
            Err(_) => {
                trail.memory_msg(&self.subject(), &format!("the room {room:?} has a backlog"));
                self.busy(command);
            }
        }
    }

    /// Has the chat remember that the user spoke.
    fn said(&self, room: &str) {
        let user = self.session.user().map_or("", |user| &**user);
        if let Err(error) = self.shared.means.chat.said(user, room, unix_ms(), clock::uptime()) {
            tracing::warn!(room, %error, "a chat could not remember that somebody spoke");
        }
    }

    fn ask(&self, room: &str, question: Question, command: u32) {
        let asker = Asker::Client(Arc::clone(&self.link), command);
        if self.shared.submit(room, Step::Ask(question, asker), true).is_err() {
            self.busy(Some(command));
        }
    }

    /// Has the chat remember who the user is.
    fn remember(&mut self) {
        let Some(profile) = self.session.profile() else { return };
        if let Err(error) = self.shared.means.chat.login(&profile, unix_ms()) {
            tracing::warn!(room = profile.room, %error, "a chat could not remember who somebody is");
        }
    }

    /// The user has read a room up to a message.
    fn read(&self, room: Option<&str>, id: MessageId) {
        let user = self.session.user().filter(|user| !user.is_empty());
        let (Some(room), Some(user)) = (room, user) else { return };
        if let Err(error) = self.gateway().mark_read(user, room, id) {
            tracing::warn!(room, %error, "a chat could not remember what somebody has read");
        }
    }

    /// Does something in a chat, in a task of its own, and answers.
    fn call(&self, call: Call, command: u32) {
        let (Some(encoding), Some(user)) = (self.link.form().encoding(), self.session.user()) else { return };
        let Ok(place) = Arc::clone(&self.shared.calls).try_acquire_owned() else {
            self.busy(Some(command));
            return;
        };
        let (gateway, link, user) = (self.gateway(), Arc::clone(&self.link), Arc::clone(user));
        self.shared.means.tasks.spawn("call", OnExit::Ignore, async move {
            let answer = gateway.call(&user, call).await;
            let reply = Frame::control(form::called(encoding, command, answer));
            link.send(&[reply], clock::uptime(), &mut |_, _| {});
            drop(place);
        });
    }

    fn gateway(&self) -> Gateway {
        Gateway { shared: Arc::clone(&self.shared) }
    }

    /// Answers a heartbeat with the number of sessions in the client's room.
    fn count(&self, room: Option<&str>, heartbeat: Heartbeat) {
        let count = room.map_or(0, |room| self.shared.rooms.members(room));
        self.send(heartbeat.answer(self.link.form(), count));
    }

    fn busy(&self, command: Option<u32>) {
        let reply = command.and_then(|command| self.link.form().reply(command, Err(RoomError::Busy)));
        if let Some(reply) = reply {
            self.send(reply);
        }
    }

    pub(super) fn send(&self, frame: Bytes) {
        self.link.send(&[Frame::control(frame)], clock::uptime(), &mut |_, _| {});
    }

    /// Takes the client off the registry; true when it was its user's last session.
    pub(super) fn depart(&self) -> bool {
        self.shared.registry.remove(&self.link, self.profile.address, self.session.device())
    }

    /// When the session expires, on the gateway's clock.
    fn expiry(&self) -> Option<Duration> {
        let overdue = Duration::from_secs(self.session.expires()?.saturating_add(GRACE_SECONDS));
        Some(clock::uptime() + overdue.saturating_sub(clock::wall()))
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            session_id: Some(self.session.id()),
            user_id: self.session.user().map(|user| &**user).filter(|user| !user.is_empty()),
            client: self.profile.address,
            request_id: Some(self.profile.request_id.as_str()).filter(|id| !id.is_empty()),
            dialect: Some(self.link.form().name()),
            worker: Some(self.profile.worker),
            token: self.profile.token.as_deref(),
        }
    }
}
