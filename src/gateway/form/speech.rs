//! How a Centrifuge client is spoken to: the encoding, what carries it, and whether the client can answer.
//!
//! On websockets a reply or push is a frame. Over plain HTTP it is a server-sent event, a line, or, in Protobuf, its
//! length and itself. To a client that can only listen, pushes come bare and the answer to its login is one of them.

use bytes::Bytes;

use crate::gateway::room::stream::Position;
use crate::wire::centrifuge::Command;
use crate::wire::centrifuge::Encoding;
use crate::wire::centrifuge::Fault;
use crate::wire::centrifuge::Push;
use crate::wire::centrifuge::Reply;
use crate::wire::event_stream;
use crate::wire::websocket;

/// How a Centrifuge client is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Speech {
    encoding: Encoding,
    carriage: Carriage,
    /// False for a client that can only listen.
    answers: bool,
}

/// What stands around a reply or push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carriage {
    /// A websocket frame.
    Frame,
    /// A server-sent event.
    Event,
    /// The end of a line; nothing in Protobuf.
    Line,
}

impl Speech {
    /// On a websocket.
    pub(super) const fn frames(encoding: Encoding) -> Self {
        Self { encoding, carriage: Carriage::Frame, answers: true }
    }

    /// In server-sent events, which are text.
    pub(super) const fn events(answers: bool) -> Self {
        Self { encoding: Encoding::Json, carriage: Carriage::Event, answers }
    }

    /// In an answer without end.
    pub(super) const fn lines(encoding: Encoding, answers: bool) -> Self {
        Self { encoding, carriage: Carriage::Line, answers }
    }

    /// The encoding.
    pub(in crate::gateway) fn encoding(self) -> Encoding {
        self.encoding
    }

    /// True when the client can answer.
    pub(in crate::gateway) fn answers(self) -> bool {
        self.answers
    }

    /// True when what the client says comes by requests of their own.
    pub(in crate::gateway) fn is_emulated(self) -> bool {
        self.answers && self.carriage != Carriage::Frame
    }

    /// Reads the commands of one frame.
    pub(in crate::gateway) fn commands(self, frame: &[u8]) -> Result<Vec<Command>, Fault> {
        self.encoding.commands(frame)
    }

    /// The reply to the command `id`.
    pub(in crate::gateway) fn reply(self, id: u32, reply: &Reply<'_>) -> Bytes {
        self.carried("", self.encoding.reply(id, reply))
    }

    /// A push about a room, or about none.
    pub(super) fn push(self, room: &str, push: &Push<'_>) -> Bytes {
        self.carried("", self.encoded(room, push))
    }

    /// The answer to a login that stands at these places.
    pub(super) fn greeting<'a>(
        self,
        id: u32,
        reply: &Reply<'_>,
        places: impl Iterator<Item = (&'a str, &'a str, u64)>,
    ) -> Bytes {
        match reply {
            Reply::Connect(result) if !self.answers => {
                let id = if self.has_ids() { event_stream::id(places) } else { String::new() };
                self.carried(&id, self.encoded("", &Push::Connect(result)))
            }
            reply => self.reply(id, reply),
        }
    }

    /// Pushes about a room that leave together, each with its place in the room's stream.
    pub(super) fn pushes<'a>(
        self,
        room: &str,
        pushes: impl ExactSizeIterator<Item = (Push<'a>, Option<Position>)>,
    ) -> Bytes {
        let single = pushes.len() == 1;
        let mut all = Vec::new();
        for (push, position) in pushes {
            let encoded = self.encoded(room, &push);
            let id = position.filter(|_| self.has_ids()).map(|Position { offset, epoch }| {
                event_stream::id([(room, epoch.to_string().as_str(), offset)])
            });
            if single {
                return self.carried(&id.unwrap_or_default(), encoded);
            }
            match (self.carriage, self.encoding) {
                (Carriage::Frame, Encoding::Json) => {
                    if !all.is_empty() {
                        all.push(b'\n');
                    }
                    all.extend_from_slice(&encoded);
                }
                (Carriage::Line, Encoding::Json) => {
                    all.extend_from_slice(&encoded);
                    all.push(b'\n');
                }
                (Carriage::Event, _) => event_stream::write(&mut all, &id.unwrap_or_default(), &encoded),
                (_, Encoding::Protobuf) => all.extend_from_slice(&encoded),
            }
        }
        match self.carriage {
            Carriage::Frame => self.framed(&all),
            Carriage::Event | Carriage::Line => all.into(),
        }
    }

    /// The server's ping.
    pub(super) fn ping(self) -> Bytes {
        self.carried("", self.encoding.ping().to_vec())
    }

    /// The last thing that is said, where the carrier itself has no words for an end.
    pub(super) fn goodbye(self, code: u16, reason: &str) -> Bytes {
        let reconnect = crate::wire::centrifuge::comes_back(code);
        match self.carriage {
            Carriage::Frame => websocket::close(code, reason),
            Carriage::Event | Carriage::Line => {
                self.push("", &Push::Disconnect { code: u32::from(code), reason, reconnect })
            }
        }
    }

    /// True when events have ids: browsers come back with them by themselves, where no library does.
    fn has_ids(self) -> bool {
        self.carriage == Carriage::Event && !self.answers
    }

    fn encoded(self, room: &str, push: &Push<'_>) -> Vec<u8> {
        if self.answers { self.encoding.push(room, push) } else { self.encoding.bare_push(room, push) }
    }

    fn carried(self, id: &str, mut encoded: Vec<u8>) -> Bytes {
        match self.carriage {
            Carriage::Frame => self.framed(&encoded),
            Carriage::Event => {
                let mut event = Vec::new();
                event_stream::write(&mut event, id, &encoded);
                event.into()
            }
            Carriage::Line => {
                if self.encoding == Encoding::Json {
                    encoded.push(b'\n');
                }
                encoded.into()
            }
        }
    }

    fn framed(self, encoded: &[u8]) -> Bytes {
        match self.encoding {
            Encoding::Json => websocket::text(encoded),
            Encoding::Protobuf => websocket::binary(encoded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::wire::centrifuge::ConnectResult;
    use crate::wire::centrifuge::Publication;
    use crate::wire::payload::Payload;

    /// Two messages as they go out in this speech.
    fn said(speech: Speech) -> String {
        let (one, two) = (Payload::from_text("a"), Payload::from_text("b"));
        let epoch = Epoch::from_number(123_456_789_012);
        let publication = |payload, offset| {
            (
                Push::Publication(Publication { offset, ..Publication::new(payload) }),
                Some(Position { offset, epoch }),
            )
        };
        let bytes = speech.pushes("r", [publication(&one, 1), publication(&two, 2)].into_iter());
        String::from_utf8_lossy(&bytes).replace(&epoch.to_string(), "EPOCH")
    }

    #[test]
    fn messages_stand_in_events_and_lines_one_each() {
        assert_eq!(
            said(Speech::events(true)),
            "data: {\"push\":{\"channel\":\"r\",\"pub\":{\"data\":\"a\",\"offset\":1}}}\n\n\
             data: {\"push\":{\"channel\":\"r\",\"pub\":{\"data\":\"b\",\"offset\":2}}}\n\n"
        );
        assert_eq!(
            said(Speech::events(false)),
            "id: 1:EPOCH:r\ndata: {\"channel\":\"r\",\"pub\":{\"data\":\"a\",\"offset\":1}}\n\n\
             id: 2:EPOCH:r\ndata: {\"channel\":\"r\",\"pub\":{\"data\":\"b\",\"offset\":2}}\n\n"
        );
        assert_eq!(
            said(Speech::lines(Encoding::Json, false)),
            "{\"channel\":\"r\",\"pub\":{\"data\":\"a\",\"offset\":1}}\n\
             {\"channel\":\"r\",\"pub\":{\"data\":\"b\",\"offset\":2}}\n"
        );
    }

    #[test]
    fn the_ping_is_empty_everywhere() {
        assert_eq!(Speech::events(true).ping(), "data: {}\n\n");
        assert_eq!(Speech::lines(Encoding::Json, true).ping(), "{}\n");
        assert_eq!(Speech::lines(Encoding::Protobuf, true).ping(), &b"\0"[..]);
    }

    #[test]
    fn a_client_that_can_only_listen_gets_its_login_as_a_push_and_its_place_in_all_rooms() {
        let result = ConnectResult { client: "s", version: "1", ..ConnectResult::default() };
        let places = || [("a", "e", 1), ("b", "f", 2)].into_iter();
        let greeting = Speech::events(false).greeting(0, &Reply::Connect(&result), places());
        assert_eq!(greeting, "id: 1:e:a,2:f:b\ndata: {\"connect\":{\"client\":\"s\",\"version\":\"1\"}}\n\n");
        let greeting = Speech::lines(Encoding::Json, true).greeting(3, &Reply::Connect(&result), places());
        assert_eq!(greeting, "{\"id\":3,\"connect\":{\"client\":\"s\",\"version\":\"1\"}}\n");
    }

    #[test]
    fn the_end_is_told_where_the_carrier_has_no_words_for_it() {
        let goodbye = Speech::events(true).goodbye(3503, "go");
        assert_eq!(goodbye, "data: {\"push\":{\"disconnect\":{\"code\":3503,\"reason\":\"go\"}}}\n\n");
        let goodbye = Speech::lines(Encoding::Json, false).goodbye(3001, "shutdown");
        assert_eq!(goodbye, "{\"disconnect\":{\"code\":3001,\"reason\":\"shutdown\",\"reconnect\":true}}\n");
    }
}
