//! What can happen to a room, and who is told how it went.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::gateway::frame::Frame;
use crate::gateway::link::Link;
use crate::gateway::room::publication::Card;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::recall::Recall;
use crate::gateway::room::recall::RecallError;
use crate::gateway::room::receipt::Receipt;
use crate::gateway::room::stream::Position;
use crate::gateway::room::stream::Query;
use crate::gateway::session::Pass;
use crate::ids::Epoch;
use crate::ids::MessageId;
use crate::wire::payload::Payload;

/// Something that happens to a room.
#[derive(Debug)]
pub(in crate::gateway) enum Step {
    /// A session joins.
    Join(Box<Joining>),
    /// A session leaves; the frame tells it, where it does not know.
    Leave(Arc<Link>, Option<Frame>),
    /// A message is published.
    Publish(Box<Publishing>),
    /// Somebody asks something.
    Ask(Question, Asker),
    /// Everybody leaves; the frames of this notice come before.
    Dissolve(Option<Box<Publishing>>, Arc<str>),
    /// What is too old is forgotten.
    Trim,
    /// Older messages are forgotten because memory is short.
    Shed,
}

impl Step {
    /// True when there can be too much of it: leaving always goes through.
    pub(in crate::gateway) fn may_be_refused(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Publish(_) | Self::Ask(..))
    }
}

/// A session on its way into a room.
#[derive(Debug)]
pub(in crate::gateway) struct Joining {
    /// The session.
    pub(in crate::gateway) link: Arc<Link>,
    /// It was here before: it gets what it missed since.
    pub(in crate::gateway) since: Option<Position>,
    /// True when it asks to recover, whatever it knows.
    pub(in crate::gateway) recovers: bool,
    /// True when it wants to hear who comes and goes.
    pub(in crate::gateway) join_leave: bool,
    /// What a token says about it in this room.
    pub(in crate::gateway) pass: Pass,
    /// What else it enters.
    pub(in crate::gateway) arrival: Arc<Arrival>,
}

/// A message on its way into a room.
#[derive(Debug)]
pub(in crate::gateway) struct Publishing {
    /// The message.
    pub(in crate::gateway) message: Outgoing,
    /// Its id.
    pub(in crate::gateway) id: MessageId,
    /// When it was published, on the gateway's clock.
    pub(in crate::gateway) at: Duration,
    /// The same in Unix milliseconds.
    pub(in crate::gateway) unix_ms: u64,
    /// Who wants to know what becomes of it.
    pub(in crate::gateway) receipt: Option<Arc<Receipt>>,
    /// Who is answered.
    pub(in crate::gateway) asker: Asker,
}

/// What somebody wants to know of a room.
#[derive(Debug)]
pub(in crate::gateway) enum Question {
    /// What was said.
    History {
        /// The page.
        query: Query,
        /// The stream that the offset in it belongs to.
        epoch: Option<Epoch>,
    },
    /// Who is here.
    Presence,
    /// How many are here.
    PresenceStats,
    /// Forget what was said.
    Clear,
    /// Take a message back.
    Recall(Recall),
}

/// Who is answered.
#[derive(Debug)]
pub(in crate::gateway) enum Asker {
    /// Nobody.
    Nobody,
    /// A client, to its command with this number.
    Client(Arc<Link>, u32),
    /// Somebody within the process.
    Caller(oneshot::Sender<Result<Told, RoomError>>),
}

impl Asker {
    /// Gives the answer.
    pub(in crate::gateway) fn tell(self, told: Result<Told, RoomError>) {
        match self {
            Self::Nobody => {}
            // Whoever does not wait any longer does without it.
            Self::Caller(caller) => drop(caller.send(told)),
            Self::Client(link, command) => {
                if let Some(reply) = link.form().reply(command, told) {
                    link.send(&[Frame::control(reply)], Duration::ZERO, &mut |_, _| {});
                }
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(in crate::gateway) enum Told {
    /// The message was taken.
    Published(Published),
    /// What was said.
    History(HistoryPage),
    /// Who is here.
    Presence(Vec<Present>),
    /// How many are here.
    PresenceStats {
        /// Sessions.
        clients: usize,
        /// Users.
        users: usize,
    },
    /// It is done.
    Cleared,
    /// The message is taken back.
    Recalled,
}

/// A message was taken into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The message's id.
    pub id: MessageId,
    /// Where the room's stream stands; none in a room that keeps nothing.
    pub position: Option<Position>,
    /// True when it had been published before.
    pub duplicate: bool,
}

/// A page of what was said in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The room.
    pub room: Arc<str>,
    /// The messages.
    pub publications: Vec<Arc<Publication>>,
    /// Where the stream stands.
    pub position: Position,
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub card: Arc<Card>,
    /// What a subscription token says about it.
    pub info: Option<Arc<Payload>>,
}

/// Why a room did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Too much waits in it, or there are too many rooms.
    #[error("the room has a backlog, or there are too many rooms: try again later")]
    Busy,
    /// It keeps no messages.
    #[error("the namespace of the room keeps no history: set history_size")]
    NoHistory,
    /// It does not say who is in it.
    #[error("the namespace of the room does not tell who is present: set presence")]
    NoPresence,
    /// The offset belongs to another stream, or was never reached.
    #[error("the position is not one of this room's stream: start again without it")]
    UnknownPosition,
    /// The message is not taken back.
    #[error(transparent)]
    Recall(#[from] RecallError),
    /// The store did not keep it.
    #[error("the message could not be kept: {0}")]
    Store(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// What a session learns about a room that it has entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Entered {
    /// The room.
    pub(in crate::gateway) room: Arc<str>,
    /// Where its stream stands; none when it keeps nothing.
    pub(in crate::gateway) position: Option<Position>,
    /// How recovery went; none when none was asked for.
    pub(in crate::gateway) recovered: Option<bool>,
    /// What the session missed.
    pub(in crate::gateway) missed: Vec<Arc<Publication>>,
    /// What a token has for the client in this room.
    pub(in crate::gateway) data: Option<Arc<Payload>>,
    /// Seconds until the session must leave the room.
    pub(in crate::gateway) ttl: Option<u32>,
}

/// A session that enters rooms: when the last one is entered, a frame goes out before any message.
#[derive(Debug)]
pub(in crate::gateway) struct Arrival {
    state: Mutex<Arriving>,
}

#[derive(Debug)]
struct Arriving {
    remaining: usize,
    entered: Vec<Entered>,
    welcome: Option<Welcome>,
}

/// What a session is sent when it has arrived.
#[derive(Debug)]
pub(in crate::gateway) enum Welcome {
    /// The answer to a login: messages were held back until now.
    Greeting(Greeting),
    /// The answer to a subscription, to the command with this number.
    Subscribed(u32),
    /// The client did not ask for it: it is told.
    Told,
    /// Nothing: the dialect does not tell.
    Silence,
}

/// The answer to a login.
#[derive(Debug)]
pub(in crate::gateway) enum Greeting {
    /// Nothing is said.
    None,
    /// This frame, whatever was entered.
    Frame(Bytes),
    /// A Centrifuge client learns of every room.
    Connected(Box<Connected>),
}

/// What a Centrifuge client learns at its login, beside its rooms.
#[derive(Debug)]
pub(in crate::gateway) struct Connected {
    /// The number of its command.
    pub(in crate::gateway) command: u32,
    /// Seconds until the login expires.
    pub(in crate::gateway) ttl: Option<u32>,
    /// Seconds between pings.
    pub(in crate::gateway) ping: u32,
    /// What names the session in requests that bring its commands; empty where none do.
    pub(in crate::gateway) session: String,
    /// The node.
    pub(in crate::gateway) node: String,
}

impl Arrival {
    /// An arrival in `rooms` rooms at once, at least one.
    pub(in crate::gateway) fn new(rooms: usize, welcome: Welcome) -> Arc<Self> {
        let state = Arriving { remaining: rooms, entered: Vec::new(), welcome: Some(welcome) };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A room could not be entered; gives the welcome that will not be said.
    pub(in crate::gateway) fn refused(&self) -> Option<Welcome> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).welcome.take()
    }

    /// True when the client does not ask for the rooms by a command of their own.
    pub(in crate::gateway) fn is_led(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(state.welcome, Some(Welcome::Subscribed(_)))
    }

    /// Notes that one room is entered; gives the welcome, and all rooms, when it was the last one.
    pub(in crate::gateway) fn arrived(&self, entered: Entered) -> Option<(Welcome, Vec<Entered>)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.entered.push(entered);
        state.remaining = state.remaining.saturating_sub(1);
        if state.remaining > 0 {
            return None;
        }
        let welcome = state.welcome.take()?;
        Some((welcome, std::mem::take(&mut state.entered)))
    }
}
