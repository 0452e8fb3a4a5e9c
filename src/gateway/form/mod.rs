//! The form in which frames leave for one kind of client: dialect, encoding and transport together.
//!
//! What goes to many is encoded once per form and shared. Nothing here knows a session: what a client is told of its
//! own commands is a reply, what it is told unasked is a frame of the room or of the server.

mod centrifuge;
mod group;
mod packets;
mod speech;

pub(super) use centrifuge::called;
pub(super) use group::Group;
pub(super) use group::Said;
pub(super) use group::grouped;
pub(super) use packets::answer;
pub(super) use speech::Speech;

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Dialect;
use crate::gateway::CloseReason;
use crate::gateway::Transport;
use crate::gateway::frame::Frame;
use crate::gateway::room::publication::Card;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::step::Entered;
use crate::gateway::room::step::Greeting;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Told;
use crate::gateway::room::step::Welcome;
use crate::ids::Epoch;
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
    /// Centrifuge, JSON in server-sent events.
    Events,
    /// Centrifuge, JSON in lines of an answer without end.
    Lines,
    /// Centrifuge, Protobuf in an answer without end.
    ProtobufStream,
    /// Centrifuge without replies, JSON in server-sent events.
    UniEvents,
    /// Centrifuge without replies, JSON in lines of an answer without end.
    UniLines,
    /// The text dialect of the OpenResty push gateway.
    Text,
    /// goim's packets in binary frames.
    Goim,
    /// goim's packets on a bare stream.
    GoimStream,
    /// The packets of openresty-im.
    Orim,
    /// The packets of golang-im.
    GolangIm,
}

impl Form {
    /// How many there are.
    const COUNT: usize = 12;

    /// The form for a client of a dialect that came by `transport` and wants `encoding`.
    pub(super) fn of(dialect: Dialect, transport: Transport, encoding: Encoding) -> Self {
        match (dialect, transport, encoding) {
            (Dialect::Centrifuge, Transport::Sse, _) => Self::Events,
            (Dialect::Centrifuge, Transport::HttpStream, Encoding::Json) => Self::Lines,
            (Dialect::Centrifuge, Transport::HttpStream, Encoding::Protobuf) => Self::ProtobufStream,
            (Dialect::Centrifuge, Transport::UniSse, _) => Self::UniEvents,
            (Dialect::Centrifuge, Transport::UniHttpStream, _) => Self::UniLines,
            (Dialect::Centrifuge, _, Encoding::Json) => Self::Json,
            (Dialect::Centrifuge, _, Encoding::Protobuf) => Self::Protobuf,
            (Dialect::OpenrestyPush, ..) => Self::Text,
            (Dialect::Goim, Transport::Bare, _) => Self::GoimStream,
            (Dialect::Goim, ..) => Self::Goim,
            (Dialect::Orim, ..) => Self::Orim,
            (Dialect::GolangIm, ..) => Self::GolangIm,
        }
    }

    /// The dialect spoken.
    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Text => Dialect::OpenrestyPush,
            Self::Goim | Self::GoimStream => Dialect::Goim,
            Self::Orim => Dialect::Orim,
            Self::GolangIm => Dialect::GolangIm,
            _ => Dialect::Centrifuge,
        }
    }

    /// The name of dialect and carrier in log and metrics, as routes have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json | Self::Protobuf => "centrifuge",
            Self::Events => "centrifuge-sse",
            Self::Lines | Self::ProtobufStream => "centrifuge-http-stream",
            Self::UniEvents => "centrifuge-uni-sse",
            Self::UniLines => "centrifuge-uni-http-stream",
            Self::Text => "openresty-push",
            Self::Goim | Self::GoimStream => "goim",
            Self::Orim => "orim",
            Self::GolangIm => "golang-im",
        }
    }

    /// A run of publications in a room; `epoch` is that of the room's stream.
    pub(super) fn run(self, room: &str, epoch: Option<Epoch>, groups: &[Group]) -> Vec<Frame> {
        let frame = |group: &Group| {
            let bytes = match (self.encoding(), self) {
                (Some(speech), _) => centrifuge::publications(speech, room, epoch, &group.publications),
                (None, Self::Goim | Self::GoimStream) => packets::publications(self, &group.publications),
                (None, Self::Orim | Self::GolangIm) => packets::chat(self, room, &group.publications),
                (None, _) => {
                    let texts =
                        group.publications.iter().map(|one| websocket::text(one.payload.text().as_bytes()));
                    joined(texts)
                }
            };
            Frame { bytes, origin: Some(Arc::clone(&group.origin)) }
        };
        // Of signals alone a chat dialect hears nothing.
        groups.iter().map(frame).filter(|frame| !frame.bytes.is_empty()).collect()
    }

    /// A message to a user or session.
    pub(super) fn message(self, message: &Outgoing) -> Bytes {
        match (self.encoding(), self) {
            (Some(speech), _) => centrifuge::message(speech, &message.payload),
            (None, Self::Text) => websocket::text(message.payload.text().as_bytes()),
            (None, _) => packets::message(self, message),
        }
    }

    /// Somebody came or went, where the dialect has words for it.
    pub(super) fn presence_change(self, room: &str, card: &Card, came: bool) -> Option<Frame> {
        self.encoding().map(|speech| Frame::control(centrifuge::presence_change(speech, room, card, came)))
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
        rooms.flat_map(|entered| self.run(&entered.room, None, &group::missed(entered))).collect()
    }

    /// The reply to a client's command, where the dialect has replies.
    pub(super) fn reply(self, command: u32, told: Result<Told, RoomError>) -> Option<Bytes> {
        match (self.encoding(), told) {
            (Some(encoding), told) => Some(centrifuge::reply(encoding, command, told)),
            (None, Ok(Told::History(page))) => packets::history(self, command, &page),
            (None, _) => None,
        }
    }

    /// The client is in a room no longer, and is told why.
    pub(super) fn unsubscribed(self, room: &str, code: u32, reason: &str) -> Option<Bytes> {
        self.encoding().map(|speech| centrifuge::unsubscribed(speech, room, code, reason))
    }

    /// True when the client's commands come by requests of their own.
    pub(super) fn is_emulated(self) -> bool {
        self.encoding().is_some_and(Speech::is_emulated)
    }

    /// True when a client that missed messages subscribes again and gets them then.
    pub(super) fn refills(self) -> bool {
        self.encoding().is_some_and(Speech::answers)
    }

    /// The frame that has a client subscribe again, because it missed messages of a room.
    pub(super) fn lapsed(self, room: &str) -> Bytes {
        let why = Unsubscribed::InsufficientState;
        self.unsubscribed(room, why.code(), why.words()).unwrap_or_default()
    }

    /// Tells a client that so many messages of a room are missing here.
    pub(super) fn gap(self, room: &str, missing: usize) -> Option<Bytes> {
        match (self.encoding(), self) {
            (Some(speech), _) => (!speech.answers()).then(|| centrifuge::gap(speech, room, missing)),
            (None, Self::Text) => {
                let notice = serde_json::json!({ "cid": room, "type": "gap", "missing": missing });
                Some(websocket::text(notice.to_string().as_bytes()))
            }
            (None, _) => Some(packets::gap(self, room, missing)),
        }
    }

    /// The server's ping.
    pub(super) fn ping(self) -> Bytes {
        match (self.encoding(), self) {
            (Some(speech), _) => speech.ping(),
            // Clients of a bare stream send the heartbeats.
            (None, Self::GoimStream) => Bytes::new(),
            (None, _) => websocket::ping(),
        }
    }

    /// The last frame of a session, where there is one.
    pub(super) fn goodbye(self, reason: &CloseReason) -> Bytes {
        let dialect = self.dialect();
        let (code, text) = (reason.code(dialect), reason.text(dialect));
        match (self.encoding(), self) {
            (Some(speech), _) => speech.goodbye(code, &text),
            (None, Self::Goim) => {
                joined([packets::farewell(self, reason), websocket::close(code, &text)].into_iter())
            }
            (None, Self::GoimStream) => packets::farewell(self, reason),
            (None, _) => websocket::close(code, &text),
        }
    }

    /// How a Centrifuge client is spoken to.
    pub(super) fn encoding(self) -> Option<Speech> {
        match self {
            Self::Json => Some(Speech::frames(Encoding::Json)),
            Self::Protobuf => Some(Speech::frames(Encoding::Protobuf)),
            Self::Events => Some(Speech::events(true)),
            Self::Lines => Some(Speech::lines(Encoding::Json, true)),
            Self::ProtobufStream => Some(Speech::lines(Encoding::Protobuf, true)),
            Self::UniEvents => Some(Speech::events(false)),
            Self::UniLines => Some(Speech::lines(Encoding::Json, false)),
            Self::Text | Self::Goim | Self::GoimStream | Self::Orim | Self::GolangIm => None,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Json => 0,
            Self::Protobuf => 1,
            Self::Text => 2,
            Self::Goim => 3,
            Self::GoimStream => 4,
            Self::Orim => 5,
            Self::GolangIm => 6,
            Self::Events => 7,
            Self::Lines => 8,
            Self::ProtobufStream => 9,
            Self::UniEvents => 10,
            Self::UniLines => 11,
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
