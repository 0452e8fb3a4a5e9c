//! One socket driving one session: waits, reads, writes what waits, until the session ends.
//!
//! The task holds no buffer of its own: it reads into one that the worker thread lends to whichever connection is
//! readable, and the websocket library keeps only a frame that has not come whole.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tungstenite::Message;
use tungstenite::error::CapacityError;
use tungstenite::protocol::Role;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::WebSocketContext;

use crate::clock;
use crate::gateway::Arriving;
use crate::gateway::CloseReason;
use crate::gateway::Shared;
use crate::gateway::Transport;
use crate::gateway::auth::Grant;
use crate::gateway::auth::GrantRefusal;
use crate::gateway::client::Ask;
use crate::gateway::client::Client;
use crate::gateway::farewell;
use crate::gateway::feed::Feed;
use crate::gateway::session::Credentials;
use crate::gateway::session::Identity;
use crate::gateway::session::Input;
use crate::gateway::session::Refusal;
use crate::gateway::session::Vouching;
use crate::wire::centrifuge::Connect;
use crate::wire::centrifuge::Encoding;
use crate::wire::goim;
use crate::wire::goim::Packets;

/// How much of one connection is read at once before others have their turn: 8 reads of 64 KiB.
const READS_MAX: usize = 8;

/// The library reads a frame's header into this and asks for the rest at once: 64 bytes cost least.
const READ_BUFFER: usize = 64;

/// The original calls a message late after five seconds.
const LATE: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// What a check of credentials was for, and how it ended.
enum Checked {
    Login(Result<Identity, Refusal>),
    Refresh(Result<Identity, Refusal>),
    Vouch(Box<Vouching>, Result<Grant, GrantRefusal>),
}

type Check = Pin<Box<dyn Future<Output = Checked> + Send>>;

/// What takes apart the bytes of a client.
enum Reader {
    WebSocket(Box<WebSocketContext>),
    /// goim's packets follow each other.
    Packets(Packets),
    /// Nothing comes but what came with the request.
    Request,
}

/// What came with the request.
struct Start {
    leftover: Bytes,
    credentials: Credentials,
    connect: Option<Box<Connect>>,
}

/// One connection.
pub(super) struct Connection {
    client: Client,
    reader: Reader,
    start: Option<Box<Start>>,
    check: Option<Check>,
    /// What is to be checked behind it.
    asks: Asks,
}

/// Checks that wait for their turn; most sessions never have any.
type Asks = Option<Box<VecDeque<Ask>>>;

/// The most tokens of one client that wait to be checked.
const ASKS_MAX: usize = 1024;

impl Connection {
    /// The connection of a client that has arrived.
    pub(super) fn new(shared: Arc<Shared>, mut arriving: Arriving) -> Self {
        let frame_max = Some(shared.settings.load().frame_max);
        let reader = match arriving.transport {
            Transport::Bare => Reader::Packets(Packets::new(goim::BODY_MAX)),
            Transport::Sse | Transport::HttpStream | Transport::UniSse | Transport::UniHttpStream => {
                Reader::Request
            }
            Transport::WebSocket => {
                let limits = WebSocketConfig::default()
                    .read_buffer_size(READ_BUFFER)
                    .write_buffer_size(0)
                    .max_message_size(frame_max)
                    .max_frame_size(frame_max);
                Reader::WebSocket(Box::new(WebSocketContext::new(Role::Server, Some(limits))))
            }
        };
        let start = Start {
            leftover: std::mem::take(&mut arriving.leftover),
            credentials: arriving.credentials.clone(),
            connect: arriving.connect.take(),
        };
        Self {
            client: Client::new(shared, arriving),
            reader,
            start: Some(Box::new(start)),
            check: None,
            asks: None,
        }
    }

    /// Serves the client until the session ends.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn keeps a `mut self` twice, as it was given and as it is used: 400 bytes per connection"
    )]
    pub(super) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let reason = self.serve().await;
            Box::pin(farewell::part(self.client, reason)).await;
        }
    }

    async fn serve(&mut self) -> CloseReason {
        if let Some(start) = self.start.take() {
            let Start { leftover, credentials, connect } = *start;
            let ask = self.client.step(|session, world, effects| match connect {
                Some(connect) => session.connect(*connect, world, effects),
                None => session.start(credentials, effects),
            });
            self.ask(ask);
            if let Err(reason) = self.feed(&leftover) {
                return reason;
            }
        }
        loop {
            let link = &self.client.link;
            if let Some(reason) = link.closing() {
                return reason;
            }
            // Every branch is cancel safe: readiness and wake-ups stay until they are used, the check is kept.
            tokio::select! {
                ready = link.stream().ready(link.interest()) => {
                    let done = match ready {
                        Ok(ready) => self.turn(ready.is_readable() || ready.is_read_closed(), ready.is_writable()),
                        Err(_) => Err(CloseReason::PeerGone),
                    };
                    if let Err(reason) = done {
                        return reason;
                    }
                }
                () = link.woken() => self.obey(),
                checked = checked(&mut self.check) => self.checked(checked),
            }
        }
    }

    /// Carries out what others ask of the session.
    fn obey(&mut self) {
        for order in self.client.link.orders() {
            let ask = self.client.step(|session, world, effects| session.order(order, world, effects));
            self.ask(ask);
        }
    }

    /// The socket is ready: read, write, or both.
    fn turn(&mut self, readable: bool, writable: bool) -> Result<(), CloseReason> {
        if writable {
            self.flush()?;
        }
        if readable {
            // What was asked of the session came before what the client says now: it may be the answer to it.
            self.obey();
            self.read()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), CloseReason> {
        let mut latest = Duration::ZERO;
        let mut observe = self.client.shared.observer();
        let flushed = self.client.link.flush(clock::uptime(), &mut |delay, messages| {
            latest = latest.max(delay);
            observe(delay, messages);
        });
        if latest > LATE {
            self.client.shared.means.trail.msg_send_late(&self.client.subject(), latest);
        }
        let expired = flushed.map_err(|_| CloseReason::PeerGone)?;
        self.client.shared.lost.expired.inc_by(expired as u64);
        Ok(())
    }

    fn read(&mut self) -> Result<(), CloseReason> {
        let mut scratch = SCRATCH.take();
        let outcome = self.read_into(&mut scratch);
        SCRATCH.set(scratch);
        outcome
    }

    fn read_into(&mut self, scratch: &mut [u8]) -> Result<(), CloseReason> {
        for _ in 0..READS_MAX {
            match self.client.link.stream().try_read(scratch) {
                Ok(0) => return Err(CloseReason::PeerGone),
                Ok(read) => {
                    self.client.link.heard(clock::uptime());
                    self.feed(scratch.get(..read).unwrap_or_default())?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::PeerGone),
            }
        }
        Ok(())
    }

    /// Takes `input` apart, and lets the session see each message in it.
    fn feed(&mut self, input: &[u8]) -> Result<(), CloseReason> {
        match &self.reader {
            Reader::WebSocket(_) => self.feed_frames(input),
            Reader::Packets(_) => self.feed_packets(input),
            Reader::Request => self.feed_request(input),
        }
    }

    /// The request brought commands.
    fn feed_request(&mut self, commands: &[u8]) -> Result<(), CloseReason> {
        if commands.is_empty() {
            return Ok(());
        }
        let is_text =
            self.client.link.form().encoding().is_some_and(|speech| speech.encoding() == Encoding::Json);
        let input = match std::str::from_utf8(commands) {
            Ok(text) if is_text => Input::Text(text),
            Err(_) if is_text => return Err(CloseReason::NotUtf8),
            _ => Input::Binary(commands),
        };
        let ask = self.client.step(|session, world, effects| session.receive(input, world, effects));
        self.ask(ask);
        Ok(())
    }

    fn feed_packets(&mut self, mut input: &[u8]) -> Result<(), CloseReason> {
        while self.client.link.closing().is_none() {
            let Reader::Packets(packets) = &mut self.reader else { return Ok(()) };
            let Some(packet) = packets.next(&mut input).map_err(CloseReason::BadPacket)? else {
                return Ok(());
            };
            let input = Input::Packet(packet);
            let ask = self.client.step(|session, world, effects| session.receive(input, world, effects));
            self.ask(ask);
        }
        Ok(())
    }

    fn feed_frames(&mut self, input: &[u8]) -> Result<(), CloseReason> {
        let mut feed = Feed { input, output: Vec::new() };
        let outcome = loop {
            let Reader::WebSocket(socket) = &mut self.reader else { return Ok(()) };
            let message = match socket.read(&mut feed) {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    break Ok(());
                }
                Err(error) => break Err(reason(&error)),
            };
            let input = match &message {
                Message::Text(text) => Input::Text(text),
                Message::Binary(bytes) => Input::Binary(bytes),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => continue,
            };
            let ask = self.client.step(|session, world, effects| session.receive(input, world, effects));
            self.ask(ask);
            if self.client.link.closing().is_some() {
                // Whatever comes behind the end of a session is not for it.
                break Ok(());
            }
        };
        if !feed.output.is_empty() {
            self.client.send(feed.output.into());
        }
        outcome
    }

    /// Begins to check what is to be checked, one after the other.
    fn ask(&mut self, asks: Vec<Ask>) {
        if asks.is_empty() {
            return;
        }
        let waiting = self.asks.get_or_insert_default();
        waiting.extend(asks);
        if waiting.len() > ASKS_MAX {
            let why = format!("more than {ASKS_MAX} tokens at once");
            self.client.link.close(CloseReason::BadRequest(why));
        }
        self.check_next();
    }

    fn check_next(&mut self) {
        if self.check.is_some() {
            return;
        }
        let Some(ask) = self.asks.as_mut().and_then(|asks| asks.pop_front()) else {
            self.asks = None;
            return;
        };
        let auth = Arc::clone(&self.client.shared.settings.load().auth);
        let (route, unix) = (self.client.auth, clock::wall().as_secs());
        self.check = Some(match ask {
            Ask::Login(credentials) => {
                Box::pin(async move { Checked::Login(auth.check(credentials, route, unix).await) })
            }
            Ask::Refresh(credentials) => {
                Box::pin(async move { Checked::Refresh(auth.check(credentials, route, unix).await) })
            }
            Ask::Vouch(vouching, bearer) => Box::pin(async move {
                let outcome = auth.check_subscription(vouching.token.clone(), bearer, unix).await;
                Checked::Vouch(vouching, outcome)
            }),
        });
    }

    fn checked(&mut self, checked: Checked) {
        self.check = None;
        let checked = match checked {
            Checked::Login(Ok(identity)) => Checked::Login(self.client.admit(identity)),
            other => other,
        };
        let asks = self.client.step(|session, world, effects| match checked {
            Checked::Login(outcome) => session.login(outcome, world, effects),
            Checked::Refresh(outcome) => session.refreshed(outcome, world, effects),
            Checked::Vouch(vouching, outcome) => session.vouched(*vouching, outcome, world, effects),
        });
        self.ask(asks);
        self.check_next();
    }
}

/// Waits for a check, for ever when there is none.
async fn checked(check: &mut Option<Check>) -> Checked {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

/// Why the websocket library gives a connection up.
fn reason(error: &tungstenite::Error) -> CloseReason {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => CloseReason::ClientClosed,
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            CloseReason::TooLong { limit: *max_size }
        }
        tungstenite::Error::Utf8(_) => CloseReason::NotUtf8,
        other => CloseReason::ProtocolError(other.to_string()),
    }
}
