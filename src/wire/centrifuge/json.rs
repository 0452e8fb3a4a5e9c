//! Commands in JSON: one object per line, with an `id` and one member that is named like the method.
//!
//! Members that the protocol does not have are read past, and `null` is the same as nothing, as the protocol's own
//! reader has it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::wire::centrifuge::command::COMMANDS_MAX;
use crate::wire::centrifuge::command::Command;
use crate::wire::centrifuge::command::Connect;
use crate::wire::centrifuge::command::Emulation;
use crate::wire::centrifuge::command::FILTER;
use crate::wire::centrifuge::command::Fault;
use crate::wire::centrifuge::command::History;
use crate::wire::centrifuge::command::Method;
use crate::wire::centrifuge::command::Publish;
use crate::wire::centrifuge::command::REJECT_UNRECOVERED;
use crate::wire::centrifuge::command::StreamPosition;
use crate::wire::centrifuge::command::Subscribe;
use crate::wire::centrifuge::command::TYPE;
use crate::wire::payload::Payload;

/// Reads the commands of one frame.
pub(super) fn commands(frame: &[u8]) -> Result<Vec<Command>, Fault> {
    let mut commands = Vec::new();
    let lines = frame.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for (index, text) in lines.enumerate().filter(|(_, text)| !text.is_empty()) {
        if commands.len() == COMMANDS_MAX {
            return Err(Fault::TooMany { max: COMMANDS_MAX });
        }
        commands.push(command(text, index + 1)?);
    }
    if commands.is_empty() { Err(Fault::Empty) } else { Ok(commands) }
}

/// Reads a login that comes without a command around it; nothing is a login without anything.
pub(super) fn connect(body: &[u8]) -> Result<Connect, Fault> {
    let text = body.trim_ascii();
    if text.is_empty() || text == b"null" {
        return Ok(Connect::default());
    }
    let bad = |error: serde_json::Error| Fault::BadParameters {
        line: error.line().max(1),
        method: "connect",
        why: error.to_string(),
    };
    object::<ConnectMembers>(text).map(Into::into).map_err(bad)
}

/// Reads commands that came by HTTP: their frame is a text in the object.
pub(super) fn emulation(body: &[u8]) -> Result<Emulation, Fault> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        node: String,
        session: String,
        data: String,
    }
    let not_json = |error: serde_json::Error| Fault::NotJson { line: error.line(), why: error.to_string() };
    let body: Body = object(body).map_err(not_json)?;
    Ok(Emulation { node: body.node, session: body.session, frame: body.data.into_bytes() })
}

/// The members of a command: what is in them is read once it is known which of them counts.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    connect: Option<&'a RawValue>,
    subscribe: Option<&'a RawValue>,
    unsubscribe: Option<&'a RawValue>,
    publish: Option<&'a RawValue>,
    presence: Option<&'a RawValue>,
    presence_stats: Option<&'a RawValue>,
    history: Option<&'a RawValue>,
    ping: Option<&'a RawValue>,
    send: Option<&'a RawValue>,
    rpc: Option<&'a RawValue>,
    refresh: Option<&'a RawValue>,
    sub_refresh: Option<&'a RawValue>,
}

fn command(text: &[u8], line: usize) -> Result<Command, Fault> {
    let not_json = |error: serde_json::Error| Fault::NotJson { line, why: error.to_string() };
    let Members {
        id,
        connect,
        subscribe,
        unsubscribe,
        publish,
        presence,
        presence_stats,
        history,
        ping,
        send,
        rpc,
        refresh,
        sub_refresh,
    } = object(text).map_err(not_json)?;
    let bad_id =
        |error: serde_json::Error| Fault::BadParameters { line, method: "id", why: error.to_string() };
    let id = id.map_or(Ok(0), |id| serde_json::from_str(id.get()).map_err(bad_id))?;
    let method = if let Some(raw) = connect {
        Method::Connect(Box::new(parameters::<ConnectMembers>("connect", raw, line)?.into()))
    } else if let Some(raw) = subscribe {
        Method::Subscribe(Box::new(parameters::<SubscribeMembers>("subscribe", raw, line)?.into()))
    } else if let Some(raw) = unsubscribe {
        Method::Unsubscribe { channel: parameters::<Channel>("unsubscribe", raw, line)?.channel }
    } else if let Some(raw) = publish {
        Method::Publish(parameters::<PublishMembers>("publish", raw, line)?.into())
    } else if let Some(raw) = presence {
        Method::Presence { channel: parameters::<Channel>("presence", raw, line)?.channel }
    } else if let Some(raw) = presence_stats {
        Method::PresenceStats { channel: parameters::<Channel>("presence_stats", raw, line)?.channel }
    } else if let Some(raw) = history {
        Method::History(parameters::<HistoryMembers>("history", raw, line)?.into())
    } else if ping.is_some() {
        Method::Ping
    } else if let Some(raw) = send {
        Method::Send { data: parameters::<Call>("send", raw, line)?.data }
    } else if let Some(raw) = rpc {
        let Call { method, data } = parameters("rpc", raw, line)?;
        Method::Rpc { method, data }
    } else if let Some(raw) = refresh {
        Method::Refresh { token: parameters::<Renewal>("refresh", raw, line)?.token }
    } else if let Some(raw) = sub_refresh {
        let Renewal { channel, token, kind } = parameters("sub_refresh", raw, line)?;
        Method::SubRefresh { channel, token, beyond: (kind != 0).then_some(TYPE) }
    } else if id == 0 {
        Method::Pong
    } else {
        Method::Unknown
    };
    Ok(Command { id, method })
}

fn parameters<T: DeserializeOwned>(method: &'static str, raw: &RawValue, line: usize) -> Result<T, Fault> {
    object(raw.get().as_bytes()).map_err(|error| Fault::BadParameters {
        line,
        method,
        why: error.to_string(),
    })
}

/// Reads an object; an array of its members' values, which would do for serde, is none.
fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    if text.starts_with(b"[") {
        return Err(serde::de::Error::custom("an array stands where an object is expected"));
    }
    serde_json::from_slice(text)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConnectMembers {
    #[serde(deserialize_with = "or_default")]
    token: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    version: String,
    #[serde(deserialize_with = "any_value")]
    data: Option<Payload>,
    #[serde(deserialize_with = "or_default")]
    subs: BTreeMap<String, SubscribeMembers>,
    #[serde(deserialize_with = "or_default")]
    headers: BTreeMap<String, String>,
}

impl From<ConnectMembers> for Connect {
    fn from(members: ConnectMembers) -> Self {
        let ConnectMembers { token, name, version, data, subs, headers } = members;
        let subs = subs.into_iter().map(|(channel, members)| (channel, members.into())).collect();
        Self { token, name, version, data: data.filter(|data| data.bytes() != b"null"), subs, headers }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubscribeMembers {
    #[serde(deserialize_with = "or_default")]
    channel: String,
    #[serde(deserialize_with = "or_default")]
    token: String,
    #[serde(deserialize_with = "or_default")]
    recover: bool,
    #[serde(deserialize_with = "or_default")]
    epoch: String,
    #[serde(deserialize_with = "or_default")]
    offset: u64,
    #[serde(deserialize_with = "any_value")]
    data: Option<Payload>,
    #[serde(deserialize_with = "or_default")]
    positioned: bool,
    #[serde(deserialize_with = "or_default")]
    recoverable: bool,
    #[serde(deserialize_with = "or_default")]
    join_leave: bool,
    #[serde(deserialize_with = "or_default")]
    delta: String,
    #[serde(deserialize_with = "or_default")]
    flag: i64,
    tf: Option<IgnoredAny>,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

impl From<SubscribeMembers> for Subscribe {
    fn from(members: SubscribeMembers) -> Self {
        let filter = members.tf.map(|_| FILTER);
        Self {
            channel: members.channel,
            token: members.token,
            recover: members.recover,
            epoch: members.epoch,
            offset: members.offset,
            data: members.data.filter(|data| data.bytes() != b"null"),
            positioned: members.positioned,
            recoverable: members.recoverable,
            join_leave: members.join_leave,
            delta: members.delta,
            reject_unrecovered: members.flag & REJECT_UNRECOVERED != 0,
            beyond: if members.kind == 0 { filter } else { Some(TYPE) },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublishMembers {
    #[serde(deserialize_with = "or_default")]
    channel: String,
    #[serde(deserialize_with = "any_value")]
    data: Option<Payload>,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

impl From<PublishMembers> for Publish {
    fn from(members: PublishMembers) -> Self {
        let PublishMembers { channel, data, kind } = members;
        Self { channel, data, beyond: (kind != 0).then_some(TYPE) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HistoryMembers {
    #[serde(deserialize_with = "or_default")]
    channel: String,
    #[serde(deserialize_with = "or_default")]
    limit: i32,
    since: Option<PositionMembers>,
    #[serde(deserialize_with = "or_default")]
    reverse: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PositionMembers {
    #[serde(deserialize_with = "or_default")]
    offset: u64,
    #[serde(deserialize_with = "or_default")]
    epoch: String,
}

impl From<HistoryMembers> for History {
    fn from(members: HistoryMembers) -> Self {
        let HistoryMembers { channel, limit, since, reverse } = members;
        let since = since.map(|PositionMembers { offset, epoch }| StreamPosition { offset, epoch });
        Self { channel, limit, since, reverse }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Channel {
    #[serde(deserialize_with = "or_default")]
    channel: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    #[serde(deserialize_with = "or_default")]
    method: String,
    #[serde(deserialize_with = "any_value")]
    data: Option<Payload>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Renewal {
    #[serde(deserialize_with = "or_default")]
    channel: String,
    #[serde(deserialize_with = "or_default")]
    token: String,
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: i32,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(value).map(Option::unwrap_or_default)
}

/// Any value, `null` too: in a message it is a value like others.
fn any_value<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Payload>, D::Error> {
    Box::<RawValue>::deserialize(value).map(|raw| Some(Payload::from_json(&raw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Command {
        commands(line.as_bytes()).unwrap().remove(0)
    }

    fn fault(frame: &str) -> String {
        commands(frame.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_frame_holds_one_command_per_line() {
        let frame = "{\"id\":1,\"connect\":{\"token\":\"t\",\"name\":\"js\"}}\r\n{\"subscribe\":{\"channel\":\"r\"},\"id\":2}\n";
        let commands = commands(frame.as_bytes()).unwrap();
        assert_eq!(commands.len(), 2);
        assert!(matches!(&commands[0], Command { id: 1, method: Method::Connect(c) } if c.token == "t"));
        assert!(matches!(&commands[1], Command { id: 2, method: Method::Subscribe(s) } if s.channel == "r"));
    }

    #[test]
    fn an_empty_object_is_a_pong() {
        assert_eq!(one("{}").method, Method::Pong);
    }

    #[test]
    fn methods_that_the_protocol_does_not_have_are_unknown() {
        assert_eq!(one("{\"id\":3,\"fly\":{}}").method, Method::Unknown);
        assert_eq!(one("{\"id\":3}").method, Method::Unknown);
        assert_eq!(one("{\"id\":3,\"rpc\":null}").method, Method::Unknown);
    }

    #[test]
    fn null_is_nothing_except_as_a_message() {
        let Method::Connect(connect) =
            one(r#"{"id":1,"connect":{"token":null,"data":null,"subs":null}}"#).method
        else {
            panic!("no connect")
        };
        assert_eq!(*connect, Connect::default());
        let Method::Publish(publish) = one(r#"{"id":1,"publish":{"channel":"r","data":null}}"#).method else {
            panic!("no publish")
        };
        assert_eq!(publish.data.unwrap().json(), "null");
    }

    #[test]
    fn what_is_asked_beyond_what_is_offered_is_named() {
        for (line, expected) in [
            (r#"{"id":1,"subscribe":{"channel":"r","tf":{"op":"and"}}}"#, Some(FILTER)),
            (r#"{"id":1,"subscribe":{"channel":"r","tf":null}}"#, None),
            (r#"{"id":1,"subscribe":{"channel":"r","type":1}}"#, Some(TYPE)),
        ] {
            let Method::Subscribe(subscribe) = one(line).method else { panic!("no subscribe") };
            assert_eq!(subscribe.beyond, expected, "{line}");
        }
    }

    #[test]
    fn commands_by_http_name_their_session() {
        let body = br#"{"session":"s","node":"n","data":"{\"id\":1,\"ping\":{}}\n"}"#;
        let emulation = emulation(body).unwrap();
        assert_eq!((emulation.node.as_str(), emulation.session.as_str()), ("n", "s"));
        assert_eq!(commands(&emulation.frame).unwrap()[0].method, Method::Ping);
    }

    #[test]
    fn a_login_may_come_without_a_command() {
        for nothing in ["", " \n", "null", "{}"] {
            assert_eq!(connect(nothing.as_bytes()).unwrap(), Connect::default(), "{nothing:?}");
        }
        let read = connect(b"{\n\"token\":\"t\",\"subs\":{\"r\":{\"recover\":true,\"offset\":7}}}").unwrap();
        assert_eq!((read.token.as_str(), read.subs["r"].recover, read.subs["r"].offset), ("t", true, 7));
        let wrong = connect(b"[]").unwrap_err().to_string();
        assert_eq!(wrong, "line 1: bad parameters of connect: an array stands where an object is expected");
    }

    #[test]
    fn faults_name_the_line_and_what_is_wrong() {
        assert_eq!(fault(""), "the frame is empty");
        assert!(fault("{}\nhello").starts_with("line 2 is no JSON object: expected value"));
        assert_eq!(fault("[1]"), "line 1 is no JSON object: an array stands where an object is expected");
        assert!(fault("{\"id\":-1,\"ping\":{}}").starts_with("line 1: bad parameters of id: invalid value"));
        let wrong = fault("{\"id\":1,\"publish\":{\"channel\":7}}");
        assert!(wrong.starts_with("line 1: bad parameters of publish: invalid type: integer `7`"), "{wrong}");
        assert_eq!(fault(&"{}\n".repeat(1025)), "the frame holds more than 1024 commands");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
            drop(commands(&bytes));
            drop(commands(text.as_bytes()));
            drop(emulation(&bytes));
            drop(connect(&bytes));
        }
    }
}
