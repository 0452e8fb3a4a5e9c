//! The push gateway: WebSocket sessions of users in rooms.
//!
//! # What it is
//!
//! A connection arrives here when its websocket is open, or the answer has begun that carries what the client hears;
//! then its commands come by requests of their own (`emulation`). From then on one task reads it and drives one
//! `session` (a state machine without I/O); everybody else reaches the client through its `link`. A message
//! published in a room is encoded once per form (`form`) and written by the publisher itself to the sockets of all
//! members, in the order that the room's queue gives it (`room`). Heartbeats are one sweep for
//! all sessions (`heartbeat`).
//!
//! ```text
//! in:   socket -> connection -> session -> effects -> room
//! out:  room -> form -> link -> socket   (what does not fit: outbox, then connection)
//! ```
//!
//! # What it is not
//!
//! It does not listen, does not speak HTTP and knows one node only: rooms live in this process.
//!
//! # Limits
//!
//! A message from a client has `limits.frame` bytes at the most, a client's queue `gateway.client_queue`, a room's
//! queue 4096 publications, a session `limits.rooms_per_session` rooms. What happens at each limit
//! has a [`CloseReason`] or an answer, a record and a counter.
//!
//! # What is lost in a crash
//!
//! Messages in flight and the sessions themselves; clients come back and log in again.
//!
//! # How it stops
//!
//! [`Gateway::drain`] ends all sessions with "shutdown", spread over the time that is left, so that clients come
//! back one by one.

mod auth;
mod bans;
mod budget;
mod chat;
mod client;
mod close;
mod connection;
mod control;
mod emulation;
mod farewell;
mod feed;
mod form;
mod frame;
mod heartbeat;
mod inbox;
mod link;
mod order;
mod origin;
mod pulse;
mod registry;
mod room;
mod rules;
mod session;
mod settings;
mod shared;
mod throttle;

pub use bans::Ban;
pub use bans::BanError;
pub use chat::Bearer;
pub use chat::ChatError;
pub use chat::ROOMS_MAX;
pub use chat::Standing;
pub use close::CloseReason;
pub use control::Stay;
pub use control::Target;
pub use emulation::EmulationError;
pub use registry::Online;
pub use room::publication::Card;
pub use room::publication::Outgoing;
pub use room::publication::Publication;
pub use room::recall::RecallError;
pub use room::receipt::Counts;
pub use room::step::HistoryPage;
pub use room::step::Present;
pub use room::step::Published;
pub use room::step::RoomError;
pub use room::stream::Position;
pub use room::stream::Query;
pub use session::Credentials;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::chat::Chat;
use crate::clock;
use crate::config::Config;
use crate::config::Route;
use crate::gateway::bans::Bans;
use crate::gateway::budget::Budget;
use crate::gateway::connection::Connection;
use crate::gateway::emulation::Tokens;
use crate::gateway::heartbeat::Wheel;
use crate::gateway::inbox::Inbox;
use crate::gateway::registry::Registry;
use crate::gateway::room::archive::Archive;
use crate::gateway::room::receipt::Receipts;
use crate::gateway::room::rooms::Rooms;
use crate::gateway::settings::Settings;
use crate::gateway::shared::Lost;
use crate::gateway::shared::Shared;
use crate::gateway::throttle::Throttle;
use crate::ids::BootId;
use crate::ids::Epochs;
use crate::ids::MessageIds;
use crate::ids::RequestIds;
use crate::ids::SessionId;
use crate::ids::SessionIds;
use crate::metrics::Metrics;
use crate::net::Slot;
use crate::net::Stream;
use crate::net::http;
use crate::store;
use crate::store::Store;
use crate::tasks::OnExit;
use crate::tasks::Tasks;
use crate::trail::Trail;
use crate::wire::centrifuge::Connect;
use crate::wire::centrifuge::Encoding;

/// Why the gateway could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client for the business API.
    #[error("auth.api_url and auth.jwks_url can not be asked")]
    HttpClient(#[source] http::Error),
    /// What is kept: the history of durable rooms, bans.
    #[error("what the gateway keeps can not be opened")]
    Archive(#[source] store::Error),
    /// The public key that tokens are checked with.
    #[error("auth.jwt_public_key can not be used")]
    PublicKey(#[source] jsonwebtoken::errors::Error),
    /// Sessions need secrets.
    #[error("the system gives no random numbers")]
    Random,
}

/// What the gateway works with.
#[derive(Clone, Debug)]
pub struct Means {
    /// Writes records.
    pub trail: Arc<Trail>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Runs tasks.
    pub tasks: Tasks,
    /// Remembers who chats with whom, and what was read.
    pub chat: Chat,
    /// Keeps what outlives the process.
    pub store: Store,
}

/// What carries the frames of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A websocket.
    WebSocket,
    /// A bare stream: frames follow each other.
    Bare,
    /// Server-sent events; commands come by requests of their own.
    Sse,
    /// An answer without end; commands come by requests of their own.
    HttpStream,
    /// Server-sent events, to a client that can only listen.
    UniSse,
    /// An answer without end, to a client that can only listen.
    UniHttpStream,
}

/// A client whose connection is open.
#[derive(Debug)]
pub struct Arriving {
    /// Its connection.
    pub stream: Stream,
    /// What it sent with or behind its request already.
    pub leftover: Bytes,
    /// The login that its request is, where it can only listen.
    pub connect: Option<Box<Connect>>,
    /// The route it came by.
    pub route: Route,
    /// What carries its frames.
    pub transport: Transport,
    /// How a Centrifuge client wants to be spoken to.
    pub encoding: Encoding,
    /// What it brought in its address.
    pub credentials: Credentials,
    /// Its address, when it is known.
    pub client: Option<IpAddr>,
    /// The id that nginx gave its request.
    pub request_id: String,
    /// The id of its session, which nginx has logged already.
    pub session_id: SessionId,
    /// The worker thread that accepted it.
    pub worker: u32,
    /// Its place among the connections.
    pub slot: Option<Arc<Slot>>,
}

/// The push gateway; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// Builds the gateway of a node in the run `boot`.
///
/// # Errors
///
/// [`Error`] when the business API can not be asked from here.
pub fn build(config: &Config, boot: BootId, means: Means) -> Result<Gateway, Error> {
    let settings = Settings::new(config, &means, None)?;
    let archive = Archive::open(means.store.clone()).map_err(Error::Archive)?;
    let shared = Shared {
        node: config.node.clone(),
        settings: ArcSwap::from_pointee(settings),
        session_ids: SessionIds::new(&config.node, boot),
        message_ids: MessageIds::new(&config.node),
        request_ids: RequestIds::new(boot),
        epochs: Epochs::new(boot),
        registry: Registry::default(),
        rooms: Rooms::new(config.limits.rooms, means.metrics.rooms.clone()),
        budget: Arc::new(Budget::new(config.gateway.memory)),
        archive,
        wheel: Wheel::new(),
        calls: Arc::new(Semaphore::new(chat::CALLS_MAX)),
        deliveries: means.metrics.deliveries.clone(),
        lost: Lost::new(&means.metrics),
        throttle: Throttle::new(&means.metrics),
        receipts: Receipts::default(),
        bans: Bans::open(means.store.clone()).map_err(Error::Archive)?,
        inbox: Inbox::new(means.store.clone()),
        tokens: Tokens::new().map_err(|_| Error::Random)?,
        means,
    };
    Ok(Gateway { shared: Arc::new(shared) })
}

impl Gateway {
    /// Takes a new configuration: rules and logins count at once, times and limits for new sessions.
    ///
    /// # Errors
    ///
    /// [`Error`] when the new configuration can not be used; the old one stays in force.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        let former = self.shared.settings.load_full();
        let settings = Settings::new(config, &self.shared.means, Some(&former))?;
        self.shared.settings.store(Arc::new(settings));
        self.shared.rooms.resize(config.limits.rooms);
        self.shared.budget.resize(config.gateway.memory);
        Ok(())
    }

    /// The route of a path, if clients may connect there.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<Route> {
        self.shared.settings.load().routes.iter().find(|route| route.path == path).cloned()
    }

    /// True when a page of this origin may connect; without a list any may.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        let settings = self.shared.settings.load();
        settings.origins.is_empty() || settings.origins.iter().any(|allowed| origin::matches(allowed, origin))
    }

    /// True when the pages that may connect are named.
    #[must_use]
    pub fn names_origins(&self) -> bool {
        !self.shared.settings.load().origins.is_empty()
    }

    /// May a client from this address connect now?
    ///
    /// # Errors
    ///
    /// The time after which it may.
    pub fn admit(&self, client: Option<IpAddr>) -> Result<(), Duration> {
        self.shared.throttle.connect(&self.shared.settings.load().rates, client, clock::uptime())
    }

    /// Takes over a client whose connection is open.
    pub fn welcome(&self, arriving: Arriving) {
        let connection = Connection::new(Arc::clone(&self.shared), arriving);
        self.shared.means.tasks.spawn("connection", OnExit::Ignore, connection.run());
    }

    /// The id of a session that `worker` is about to accept.
    #[must_use]
    pub fn session_id(&self, worker: u32) -> SessionId {
        self.shared.session_ids.next(worker)
    }

    /// An id for a request that came without one.
    #[must_use]
    pub fn fresh_request_id(&self) -> String {
        self.shared.request_ids.next()
    }

    /// How many sessions there are, those without login included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.registry.len()
    }

    /// Looks after the heartbeats of all sessions, until the tasks are asked to stop and all sessions are gone.
    pub async fn sweep(self) {
        let mut ticks = tokio::time::interval(heartbeat::TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut turn = 0_usize;
        while !(self.shared.means.tasks.is_stopping() && self.sessions() == 0) {
            ticks.tick().await;
            self.shared.sweep(clock::uptime(), turn);
            turn = turn.wrapping_add(1);
        }
    }

    /// Ends all sessions, spread over `time`, and waits until they are gone, `time` and a bit at the longest.
    pub async fn drain(&self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        let links = self.shared.registry.all();
        let pace = (time / 2) / u32::try_from(links.len().max(1)).unwrap_or(u32::MAX);
        let start = tokio::time::Instant::now();
        for (index, link) in links.iter().enumerate() {
            link.close(CloseReason::Shutdown);
            let due = start + pace.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
            if links.len() > DRAIN_AT_ONCE {
                tokio::time::sleep_until(due).await;
            }
        }
        let mut ticks = tokio::time::interval(DRAIN_LOOK);
        while self.sessions() > 0 && tokio::time::Instant::now() < deadline {
            ticks.tick().await;
        }
    }
}

/// So many sessions are ended at once when draining; more are spread over half of the time.
const DRAIN_AT_ONCE: usize = 200;

/// How often a drain looks whether the sessions are gone.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
