//! The form in which frames leave for one kind of client: dialect, encoding and transport together.
//!
//! What goes to many is encoded once per form and shared. Nothing here knows a session: what a client is told of its
//! own commands is a reply, what it is told unasked is a frame of the room or of the server.

mod centrifuge;
mod group;

pub(super) use centrifuge::frame;
pub(super) use group::Group;
pub(super) use group::Said;
pub(super) use group::grouped;

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Dialect;
use crate::gateway::CloseReason;
use crate::gateway::frame::Frame;
use crate::gateway::publication::Card;
use crate::gateway::publication::Outgoing;
use crate::gateway::step::Entered;
use crate::gateway::step::Greeting;
use crate::gateway::step::RoomError;
use crate::gateway::step::Told;
use crate::gateway::step::Welcome;
use crate::wire::centrifuge::Encoding;
use crate::wire::centrifuge::Unsubscribed;
use crate::wire::websocket;

/// How frames leave for one kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Centrifuge, JSON in text frames.
    Json,
    /// Centrifuge, Protobuf in binary frames.
    Protobuf,
    /// The text dialect of the OpenResty push gateway.
    Text,
}

impl Form {
    /// How many there are.
    const COUNT: usize = 3;

    /// The dialect spoken.
    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Json | Self::Protobuf => Dialect::Centrifuge,
            Self::Text => Dialect::OpenrestyPush,
        }
    }

    /// A run of publications in a room.
    pub(super) fn run(self, room: &str, groups: &[Group]) -> Vec<Frame> {
        let frame = |group: &Group| {
            let bytes = match self {
                Self::Json => centrifuge::publications(Encoding::Json, room, &group.publications),
                Self::Protobuf => centrifuge::publications(Encoding::Protobuf, room, &group.publications),
                Self::Text => {
                    let texts =
                        group.publications.iter().map(|one| websocket::text(one.payload.text().as_bytes()));
                    joined(texts)
                }
            };
            Frame { bytes, origin: Some(Arc::clone(&group.origin)) }
        };
        groups.iter().map(frame).collect()
    }

    /// A message to a user or session.
    pub(super) fn message(self, message: &Outgoing) -> Bytes {
        match self {
            Self::Json => centrifuge::message(Encoding::Json, &message.payload),
            Self::Protobuf => centrifuge::message(Encoding::Protobuf, &message.payload),
            Self::Text => websocket::text(message.payload.text().as_bytes()),
        }
    }

    /// Somebody came or went, where the dialect has words for it.
    pub(super) fn presence_change(self, room: &str, card: &Card, came: bool) -> Option<Frame> {
        let bytes = match self {
            Self::Json => centrifuge::presence_change(Encoding::Json, room, card, came),
            Self::Protobuf => centrifuge::presence_change(Encoding::Protobuf, room, card, came),
            Self::Text => return None,
        };
        Some(Frame::control(bytes))
    }

    /// What a session is sent when it has entered its rooms.
    pub(super) fn welcome(
        self,
        welcome: &Welcome,
        card: Option<&Arc<Card>>,
        entered: &[Entered],
    ) -> Option<Bytes> {
        match (welcome, self.encoding()) {
            (Welcome::Greeting(Greeting::Frame(frame)), _) => Some(frame.clone()),
            (Welcome::Greeting(Greeting::None) | Welcome::Silence, _) | (_, None) => None,
            (Welcome::Greeting(Greeting::Connected(connected)), Some(encoding)) => {
                card.map(|card| centrifuge::connected(encoding, connected, card, entered))
            }
            (Welcome::Subscribed(command), Some(encoding)) => {
                entered.first().map(|entered| centrifuge::subscribed(encoding, *command, entered))
            }
            (Welcome::Told, Some(encoding)) => {
                entered.first().map(|entered| centrifuge::told(encoding, entered))
            }
        }
    }

    /// What a session missed, in frames of its own, where the welcome does not hold it.
    pub(super) fn missed_frames(self, entered: &[Entered]) -> Vec<Frame> {
        if self.encoding().is_some() {
            return Vec::new();
        }
        let rooms = entered.iter().filter(|entered| !entered.missed.is_empty());
        rooms.flat_map(|entered| self.run(&entered.room, &group::missed(entered))).collect()
    }

    /// The reply to a client's command, where the dialect has replies.
    pub(super) fn reply(self, command: u32, room: Result<Told, RoomError>) -> Option<Bytes> {
        self.encoding().map(|encoding| centrifuge::reply(encoding, command, room))
    }

    /// The client is in a room no longer, and is told why.
    pub(super) fn unsubscribed(self, room: &str, code: u32, reason: &str) -> Option<Bytes> {
        self.encoding().map(|encoding| centrifuge::unsubscribed(encoding, room, code, reason))
    }

    /// True when a client that missed messages subscribes again and gets them then.
    pub(super) fn refills(self) -> bool {
        self.encoding().is_some()
    }

    /// The frame that has a client subscribe again, because it missed messages of a room.
    pub(super) fn lapsed(self, room: &str) -> Bytes {
        let why = Unsubscribed::InsufficientState;
        self.unsubscribed(room, why.code(), why.words()).unwrap_or_default()
    }

    /// Tells a client that so many messages of a room are missing here.
    pub(super) fn gap(self, room: &str, missing: usize) -> Option<Bytes> {
        match self {
            Self::Json | Self::Protobuf => None,
            Self::Text => {
                let notice = serde_json::json!({ "cid": room, "type": "gap", "missing": missing });
                Some(websocket::text(notice.to_string().as_bytes()))
            }
        }
    }

    /// The server's ping.
    pub(super) fn ping(self) -> Bytes {
        match self {
            Self::Json => websocket::text(Encoding::Json.ping()),
            Self::Protobuf => websocket::binary(Encoding::Protobuf.ping()),
            Self::Text => websocket::ping(),
        }
    }

    /// The last frame of a session, where there is one.
    pub(super) fn goodbye(self, reason: &CloseReason) -> Bytes {
        let dialect = self.dialect();
        websocket::close(reason.code(dialect), &reason.text(dialect))
    }

    /// How a Centrifuge client is spoken to.
    pub(super) fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Json => Some(Encoding::Json),
            Self::Protobuf => Some(Encoding::Protobuf),
            Self::Text => None,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Json => 0,
            Self::Protobuf => 1,
            Self::Text => 2,
        }
    }
}

/// The same thing for many clients: encoded once in each form that is needed.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    frames: [Option<Vec<Frame>>; Form::COUNT],
}

impl Encoded {
    /// The frames in `form`, made by `encode` when they are wanted for the first time.
    pub(super) fn frames(&mut self, form: Form, encode: impl FnOnce() -> Vec<Frame>) -> &[Frame] {
        self.frames.get_mut(form.index()).map_or(&[], |frames| frames.get_or_insert_with(encode))
    }
}

fn joined(frames: impl Iterator<Item = Bytes>) -> Bytes {
    let mut frames = frames;
    let Some(first) = frames.next() else { return Bytes::new() };
    let Some(second) = frames.next() else { return first };
    let mut all = Vec::with_capacity((first.len() + second.len()) * 2);
    for frame in [first, second].into_iter().chain(frames) {
        all.extend_from_slice(&frame);
    }
    all.into()
}
