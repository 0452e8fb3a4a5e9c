//! One client of the gateway: what its session decides is carried out here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock;
use crate::config::AuthMode;
use crate::config::Dialect;
use crate::gateway::Arriving;
use crate::gateway::Shared;
use crate::gateway::heartbeat::Entry;
use crate::gateway::link::Frame;
use crate::gateway::link::Link;
use crate::gateway::pulse::Pulse;
use crate::gateway::rooms::Arrival;
use crate::gateway::rooms::Publication;
use crate::gateway::rooms::Step;
use crate::gateway::rooms::Welcome;
use crate::gateway::session::Credentials;
use crate::gateway::session::Effect;
use crate::gateway::session::Publishing;
use crate::gateway::session::Session;
use crate::gateway::session::World;
use crate::gateway::throttle::Pace;
use crate::metrics::ByDialect;
use crate::net::Slot;
use crate::trail::Subject;
use crate::wire::centrifuge::Publisher;

/// A client that renews its token does so when it expires: it may be this late.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);

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
        let dialect = arriving.route.dialect;
        let number = shared.registry.number();
        let link = Arc::new(Link::new(number, dialect, arriving.stream, settings.queue_max, now));
        shared.registry.add(&link);
        let rhythm = settings.rhythm(&arriving.route);
        let entry = Entry { link: Arc::downgrade(&link), pulse: Pulse::new(now, &rhythm), rhythm };
        shared.wheel.put(entry, now + rhythm.login.min(rhythm.interval));
        let seconds = rhythm.interval.as_millis().div_ceil(1000);
        Self {
            session: Session::new(arriving.session_id, dialect),
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
    pub(super) fn step(
        &mut self,
        step: impl FnOnce(&mut Session, &World<'_>, &mut Vec<Effect>),
    ) -> Option<Ask> {
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
    fn apply(&mut self, effects: Vec<Effect>) -> Option<Ask> {
        let mut ask = None;
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(frame),
                Effect::Login(credentials) => {
                    self.profile.token.clone_from(&credentials.token);
                    ask = Some(Ask::Login(credentials));
                }
                Effect::Refresh(credentials) => ask = Some(Ask::Refresh(credentials)),
                Effect::Renewed => self.link.logged_in(self.expiry()),
                Effect::Enter { rooms, greeting } => self.enter(&rooms, greeting),
                Effect::Join { room, answer } => self.join(&room, Arrival::new(1, Welcome::Answer(answer))),
                Effect::Leave { room } => self.leave(&room),
                Effect::Publish(publishing) => self.publish(publishing),
                Effect::Refused(why) => self.shared.means.trail.web_err(&self.subject(), 403, &why),
                Effect::Close(reason) => {
                    self.link.close(reason);
                    return None;
                }
            }
        }
        ask
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
    pub(super) fn submit(&self, room: &str, step: Step) {
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

    pub(super) fn send(&self, frame: Bytes) {
        self.link.send(&[Frame::control(frame)], clock::uptime(), &mut |_| {});
    }

    /// When the session expires, on the gateway's clock.
    fn expiry(&self) -> Option<Duration> {
        let expires = self.session.identity()?.expires?;
        let left = Duration::from_secs(expires).saturating_sub(clock::wall());
        Some(clock::uptime() + left + EXPIRY_GRACE)
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            session_id: Some(self.session.id()),
            user_id: self.session.user().map(|user| &**user).filter(|user| !user.is_empty()),
            client: self.profile.address,
            request_id: Some(self.profile.request_id.as_str()).filter(|id| !id.is_empty()),
            dialect: Some(name(self.link.dialect())),
            worker: Some(self.profile.worker),
            token: self.profile.token.as_deref(),
        }
    }
}

/// The name of a dialect in log and metrics.
pub(super) fn name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Centrifuge => "centrifuge",
        Dialect::OpenrestyPush => "openresty-push",
    }
}
