//! The validated configuration: what is true, one struct per section.
//!
//! Every field is explained once, in the manual (`default.toml`), with its unit, default and limit.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::chat::Chat;
use super::secret::Secret;
use super::shipping::Logger;
use super::store::Store;
use crate::address::Address;
use crate::record::Action;
use crate::units::Rate;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node in session ids and log records; letters, digits, `.` and `-`, at most 64 bytes.
    pub node: String,
    /// Where everything durable lies; an absolute path.
    pub data_dir: PathBuf,
    /// How long a stop may take before connections are cut and unsent lines are given up.
    pub shutdown_timeout: Duration,
    /// `[listen]`
    pub listen: Listen,
    /// `[log]`
    pub log: Log,
    /// `[logger]`
    pub logger: Logger,
    /// `[ingest]`
    pub ingest: Ingest,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[auth]`
    pub auth: Auth,
    /// `[chat]`
    pub chat: Chat,
    /// `[store]`
    pub store: Store,
    /// `[limits]`
    pub limits: Limits,
}

/// `[listen]`: where HTTP and WebSocket are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// For clients and backends, behind nginx; `unix:` and `tcp:` only.
    pub public: Vec<Address>,
    /// For operators: health, readiness, metrics; `unix:` and `tcp:` only.
    pub admin: Vec<Address>,
    /// The permissions of the unix sockets, of all listeners: `0o660`.
    pub socket_mode: u32,
    /// Whose word about the real client address counts.
    pub trusted: Trusted,
}

/// The peers whose `X-Real-IP` and `X-Forwarded-For` headers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Everybody who may connect to a unix socket.
    pub unix: bool,
    /// Peers on TCP in these networks.
    pub networks: Vec<IpNet>,
}

/// `[log]`: what is written about what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important diagnostic that is written.
    pub level: Level,
    /// The form of diagnostics on stderr.
    pub format: LogFormat,
    /// True if diagnostics also go the way of the actions, to the log server.
    pub ship: bool,
    /// How tokens of clients appear in records.
    pub token: TokenMode,
    /// True if the misspelt names of the original appear beside the right ones.
    pub legacy_fields: bool,
    /// Actions of which one record stands for so many.
    pub samples: Vec<(Action, u32)>,
}

/// How important a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something will break, or was lost.
    Warn,
    /// What an operator wants to read on a good day.
    Info,
    /// Every step.
    Debug,
    /// Every byte.
    Trace,
}

/// The form of diagnostics on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How tokens of clients appear in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenMode {
    /// The first 16 hexadecimal digits of their SHA-256.
    Hashed,
    /// As they are. Whoever reads the log can then log in with them.
    Plain,
}

/// `[ingest]`: log lines from nginx and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Where they arrive: datagrams are syslog, streams are lines.
    pub listen: Vec<Address>,
    /// The receive buffer that is asked of the kernel for each datagram socket, in bytes.
    pub receive_buffer: usize,
}

/// `[gateway]`: sessions of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where clients connect, with unique paths.
    pub routes: Vec<Route>,
    /// Where clients connect that speak goim's packets over TCP, without HTTP.
    pub tcp: Vec<Address>,
    /// The rules of rooms by prefix; there always is one with the empty name.
    pub namespaces: Vec<Namespace>,
    /// From the upgrade to a finished login.
    pub login_timeout: Duration,
    /// The pause between two pings of the server.
    pub ping_interval: Duration,
    /// How long to wait for the answer to a ping; below `ping_interval`.
    pub pong_timeout: Duration,
    /// Bytes that may wait for one client; more, and it is disconnected.
    pub client_queue: usize,
    /// Messages that wait for one user who is not there; the oldest make room.
    pub inbox_size: usize,
    /// How long they wait.
    pub inbox_ttl: Duration,
    /// Bytes that messages may take in the whole process, kept in rooms or waiting for clients.
    pub memory: usize,
    /// Origins that browsers may come from; empty allows any.
    pub allowed_origins: Vec<String>,
}

/// `[[gateway.route]]`: one path for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, without a query.
    pub path: String,
    /// The protocol spoken there.
    pub dialect: Dialect,
    /// What carries it.
    pub carrier: Carrier,
    /// Overrides `auth.mode`.
    pub auth: Option<AuthMode>,
    /// Overrides `gateway.ping_interval`.
    pub ping_interval: Option<Duration>,
}

/// A protocol that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The Centrifuge client protocol, version 2.
    Centrifuge,
    /// Text frames after a login with `?token=`.
    OpenrestyPush,
    /// goim's packets.
    Goim,
    /// The packets of openresty-im.
    Orim,
    /// The packets of golang-im.
    GolangIm,
}

/// What carries a dialect on a route. All but the websocket carry the Centrifuge dialect only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A websocket.
    WebSocket,
    /// Server-sent events; what the client says comes by [`Self::Emulation`].
    Sse,
    /// An answer without end; what the client says comes by [`Self::Emulation`].
    HttpStream,
    /// Server-sent events, for clients that say nothing.
    UniSse,
    /// An answer without end, for clients that say nothing.
    UniHttpStream,
    /// Requests of their own, for sessions whose connection leads to the client only.
    Emulation,
}

/// `[[gateway.namespace]]`: the rules of the rooms whose names begin with `name:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The prefix; empty for rooms without prefix and for prefixes that nobody named.
    pub name: String,
    /// Who may listen.
    pub subscribe: Subscribe,
    /// Which clients may publish.
    pub publish: Publish,
    /// Messages that a room keeps; 0: none, and whoever was away is not told what was missed.
    pub history_size: usize,
    /// How long it keeps them.
    pub history_ttl: Duration,
    /// True when what it keeps outlives the process.
    pub durable: bool,
    /// True when members may ask who is there.
    pub presence: bool,
    /// True when members are told who comes and goes.
    pub join_leave: bool,
    /// What happens to a client that does not read.
    pub slow: Slow,
}

/// What happens when more than `gateway.client_queue` bytes wait for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// It is disconnected, and gets what it missed when it comes back.
    Disconnect,
    /// The oldest messages of the room make room for new ones, and the client is told that they are missing.
    DropOldest,
    /// Of the messages with the same key only the newest waits; when that is too much, it is disconnected.
    Conflate,
}

/// Who may subscribe to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribe {
    /// Whoever was given the room by a token or by the business API.
    Token,
    /// Whoever is logged in.
    Authenticated,
    /// Anonymous clients too.
    Anyone,
}

/// Who may publish into a room over a client connection. Backends may always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// No client.
    Nobody,
    /// Those who have subscribed to it.
    Members,
    /// Whoever is logged in.
    Authenticated,
}

/// `[auth]`: who clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Who decides; routes may override it.
    pub mode: AuthMode,
    /// The business API, asked with `?token=`; set wherever a mode is [`AuthMode::Api`].
    pub api_url: Option<String>,
    /// For one question to it.
    pub api_timeout: Duration,
    /// Questions at the same time; more wait.
    pub api_concurrency: usize,
    /// Failures in a row after which the API counts as away.
    pub api_failures: u32,
    /// How long a good answer counts for the same token; `None`: not at all.
    pub api_cache: Option<Duration>,
    /// How old a good answer may be that counts while the API is away; `None`: none does.
    pub api_stale: Option<Duration>,
    /// Bytes for answers that are kept.
    pub api_cache_size: usize,
    /// The secret of HS256, HS384 and HS512 tokens, from the key or from its file.
    pub jwt_secret: Option<Secret>,
    /// The public key of tokens signed otherwise, from the key or from its file.
    pub jwt_public_key: Option<PublicKey>,
    /// Where a set of public keys can be read.
    pub jwks_url: Option<String>,
    /// The age at which that set is read again.
    pub jwks_refresh: Duration,
    /// The shortest pause between two readings of it.
    pub jwks_pause: Duration,
    /// What `aud` must contain.
    pub jwt_audience: Option<String>,
    /// What `iss` must be.
    pub jwt_issuer: Option<String>,
    /// Trials on one machine: anonymous users, no API keys, weak secrets.
    pub insecure: bool,
    /// `[[auth.key]]`: the backends that may use the server API, with unique names and keys.
    pub keys: Vec<ApiKey>,
}

/// `[[auth.key]]`: one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name, for the log.
    pub name: String,
    /// What it presents.
    pub secret: Secret,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How often; `None`: as often as it likes.
    pub rate: Option<Rate>,
}

/// What a key of the server API is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To publish into rooms.
    Publish,
    /// To let sessions enter and leave rooms.
    Subscribe,
    /// To end sessions, and to renew or end their logins.
    Disconnect,
    /// To see who is in a room.
    Presence,
    /// To read and remove the history of rooms.
    History,
    /// To see rooms, nodes and counts.
    Info,
    /// The endpoints of goim.
    Goim,
    /// The endpoints of the chat.
    Chat,
    /// To change the rules of rooms.
    Namespaces,
    /// All of these.
    All,
}

/// Who decides about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody: clients stay anonymous, which only `insecure` allows.
    None,
    /// The business API.
    Api,
    /// A signed token.
    Jwt,
}

/// A public key that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The key in PEM.
    pub pem: String,
    /// What kind it is, which says what algorithms it is for.
    pub kind: KeyKind,
}

/// The kinds of public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RS256 to RS512, PS256 to PS512.
    Rsa,
    /// ES256.
    P256,
    /// ES384.
    P384,
    /// EdDSA.
    Ed25519,
}

/// `[limits]`: what one process, connection and session may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time on all public listeners; more wait in the kernel.
    pub connections: usize,
    /// Bytes of one message from a client; a longer one ends the session.
    pub frame: usize,
    /// Bytes of a room name.
    pub room_name: usize,
    /// Rooms that one session may be in.
    pub rooms_per_session: usize,
    /// Rooms at the same time.
    pub rooms: usize,
    /// Sessions that one user may have; the oldest makes room for one more.
    pub sessions_per_user: usize,
    /// How often one address may connect; `None`: as often as it likes.
    pub connect_rate: Option<Rate>,
    /// How often one user may log in.
    pub connect_rate_user: Option<Rate>,
    /// How often one user, or one session without a user, may ask to enter a room.
    pub join_rate: Option<Rate>,
    /// How often one user, or one session without a user, may publish.
    pub publish_rate: Option<Rate>,
    /// Bytes of a request's head.
    pub header: usize,
    /// From the first to the last byte of a request's head.
    pub header_timeout: Duration,
    /// Bytes of a request's body.
    pub body: usize,
    /// From the head to the last byte of a request's body.
    pub body_timeout: Duration,
}
