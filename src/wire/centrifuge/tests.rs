use std::collections::BTreeMap;

use super::*;
use crate::wire::payload::Payload;
use proptest::prelude::*;

const COMMANDS: &str = include_str!("../../../tests/golden/centrifuge/commands.txt");
const REPLIES: &str = include_str!("../../../tests/golden/centrifuge/replies.txt");

/// The blocks of a golden file, each a list of lines.
fn blocks(golden: &str) -> Vec<Vec<&str>> {
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut blocks = vec![Vec::new()];
    for line in lines {
        if line.is_empty() {
            blocks.push(Vec::new());
        } else {
            blocks.last_mut().unwrap().push(line);
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn payload(json: &str) -> Payload {
    Payload::from_bytes(json.as_bytes())
}

#[test]
fn golden_commands_are_the_same_in_both_encodings() {
    let blocks = blocks(COMMANDS);
    assert!(blocks.len() >= 24);
    let (mut lines, mut frames) = (String::new(), Vec::new());
    for block in &blocks {
        let [json, hex] = block[..] else { panic!("{block:?}") };
        let of_json = Encoding::Json.commands(json.as_bytes()).unwrap();
        let of_protobuf = Encoding::Protobuf.commands(&bytes(hex)).unwrap();
        assert_eq!(of_json, of_protobuf, "{json}");
        lines += json;
        lines += "\n";
        frames.extend(bytes(hex));
    }
    let of_json = Encoding::Json.commands(lines.as_bytes()).unwrap();
    assert_eq!(of_json, Encoding::Protobuf.commands(&frames).unwrap());
    assert_eq!(of_json.len(), blocks.len());
}

#[test]
fn golden_commands_say_what_they_say() {
    let commands: Vec<_> = blocks(COMMANDS)
        .iter()
        .map(|block| Encoding::Protobuf.commands(&bytes(block[1])).unwrap().remove(0))
        .collect();
    let recovering = Subscribe { recover: true, epoch: "e1".into(), offset: 7, ..Subscribe::default() };
    let connect = Connect {
        token: "t".into(),
        name: "js".into(),
        version: "5.8.0".into(),
        data: Some(payload(r#"{"a":[1,2]}"#)),
        subs: BTreeMap::from([("r1".into(), recovering), ("r 2".into(), Subscribe::default())]),
        headers: BTreeMap::from([("h".into(), "v".into()), ("empty".into(), String::new())]),
    };
    assert_eq!(commands[0], Command { id: 1, method: Method::Connect(Box::new(connect)) });
    let subscribe = Subscribe {
        channel: "r1".into(),
        token: "st".into(),
        recover: true,
        epoch: "e1".into(),
        offset: 1 << 32,
        data: Some(payload("\"d\"")),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        reject_unrecovered: false,
        beyond: None,
    };
    assert_eq!(commands[2], Command { id: 300, method: Method::Subscribe(Box::new(subscribe)) });
    let history = History {
        channel: "r1".into(),
        limit: -1,
        since: Some(StreamPosition { offset: 18, epoch: "e1".into() }),
        reverse: true,
    };
    assert!(commands.iter().any(|command| command.method == Method::History(history.clone())));
    assert_eq!(commands.last().unwrap().method, Method::Pong);
}

/// A payload for the rest of the run, so that the examples can be built in pieces.
fn kept(json: &str) -> &'static Payload {
    Box::leak(Box::new(payload(json)))
}

fn somebody() -> ClientInfo<'static> {
    ClientInfo { user: "u", client: "s", ..ClientInfo::default() }
}

fn publication() -> Publication<'static> {
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]);
    let info = ClientInfo { conn_info: Some(kept(r#"{"n":1}"#)), chan_info: Some(kept("[2]")), ..somebody() };
    Publication {
        data: kept(r#"{"text":"hello"}"#),
        info: Some(info),
        offset: 300,
        tags: Some(Box::leak(Box::new(tags))),
        time: Some(1_795_217_939_404),
        delta: true,
    }
}

fn subscribed() -> SubscribeResult<'static> {
    SubscribeResult {
        ttl: Some(60),
        recoverable: true,
        epoch: "e1",
        publications: vec![Publication { offset: 1, ..Publication::new(kept("1")) }, publication()],
        recovered: true,
        offset: 300,
        positioned: true,
        data: Some(kept("\"d\"")),
        was_recovering: true,
        delta: true,
    }
}

fn connected(subs: Vec<(&'static str, SubscribeResult<'static>)>) -> ConnectResult<'static> {
    ConnectResult {
        client: "s",
        version: "1",
        ttl: Some(60),
        data: Some(kept(r#"{"a":1}"#)),
        subs,
        ping: 25,
        pong: true,
        session: "x",
        node: "n",
        time: Some(1_795_217_939_404),
    }
}

fn reply(name: &str, encoding: Encoding) -> Vec<u8> {
    let none = SubscribeResult::default();
    let head = ConnectResult { client: "s", ping: 25, ..ConnectResult::default() };
    let connected = connected(vec![("r1", subscribed()), ("r2", none.clone())]);
    let last = Publication { offset: 301, ..Publication::new(kept("null")) };
    let page = HistoryResult { publications: vec![publication(), last], epoch: "e1", offset: 301 };
    let nobody = ClientInfo { client: "t", ..ClientInfo::default() };
    let present = [ClientInfo { conn_info: Some(kept(r#"{"n":1}"#)), ..somebody() }, nobody];
    let (id, reply) = match name {
        "error" => (1, Reply::Error(Error::TooManyRequests.because("later"))),
        "connect" => (1, Reply::Connect(&connected)),
        "bare_connect" => (1, Reply::Connect(&head)),
        "subscribe" => (2, Reply::Subscribe(&subscribed())),
        "bare_subscribe" => (2, Reply::Subscribe(&none)),
        "unsubscribe" => (3, Reply::Unsubscribe),
        "publish" => (4, Reply::Publish),
        "presence" => (5, Reply::Presence(&present)),
        "presence_stats" => (6, Reply::PresenceStats { clients: 3, users: 2 }),
        "history" => (7, Reply::History(&page)),
        "ping" => (8, Reply::Ping),
        "rpc" => (9, Reply::Rpc(Some(kept(r#"{"a":1}"#)))),
        "bare_rpc" => (9, Reply::Rpc(None)),
        "refresh" => (10, Reply::Refresh { client: "s", version: "1", ttl: Some(60) }),
        "sub_refresh" => (11, Reply::SubRefresh { ttl: Some(60) }),
        other => panic!("{other}"),
    };
    encoding.reply(id, &reply)
}

fn push(name: &str, write: impl Fn(&str, &Push<'_>) -> Vec<u8>) -> Vec<u8> {
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(300));
    let lost = Unsubscribed::InsufficientState;
    let of_push = SubscribeResult { recovered: false, ..subscribed() };
    let connected = connected(vec![("r1", SubscribeResult::default()), ("r2", subscribed())]);
    match name {
        "publication" => write("r1", &Push::Publication(publication())),
        "bare_publication" => write("r1", &Push::Publication(Publication::new(kept("\"hi\"")))),
        "long_publication" => write("r1", &Push::Publication(Publication::new(kept(&long)))),
        "join" => write("r1", &Push::Join(somebody())),
        "leave" => write("r1", &Push::Leave(somebody())),
        "unsubscribe" => write("r1", &Push::Unsubscribe { code: lost.code(), reason: lost.words() }),
        "message" => write("", &Push::Message(kept(r#"{"a":1}"#))),
        "subscribe" => write("r1", &Push::Subscribe(&of_push)),
        "connect" => write("", &Push::Connect(&connected)),
        "disconnect" => write("", &Push::Disconnect { code: 3001, reason: "shutdown", reconnect: true }),
        "refresh" => write("", &Push::Refresh { ttl: Some(60) }),
        other => panic!("{other}"),
    }
}

#[test]
fn golden_replies_are_written_as_they_stand() {
    let blocks = blocks(REPLIES);
    assert_eq!(blocks.len(), 37);
    for block in blocks {
        let [title, json, expected] = block[..] else { panic!("{block:?}") };
        let written = |encoding: Encoding| match title.split_once(' ').unwrap() {
            ("reply", name) => reply(name, encoding),
            ("push", name) => push(name, |channel, push| encoding.push(channel, push)),
            (_, name) => push(name, |channel, push| encoding.bare_push(channel, push)),
        };
        assert_eq!(hex(&written(Encoding::Protobuf)), expected, "{title}");
        let written: serde_json::Value = serde_json::from_slice(&written(Encoding::Json)).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap(), "{title}");
    }
}

#[test]
fn a_publication_in_json_is_written_byte_by_byte_as_it_always_was() {
    let data = Payload::from_text("hi");
    let info = Some(ClientInfo { user: "u1", client: "s1", ..ClientInfo::default() });
    let push = Push::Publication(Publication { info, ..Publication::new(&data) });
    assert_eq!(
        String::from_utf8(Encoding::Json.push("r\"1", &push)).unwrap(),
        r#"{"push":{"channel":"r\"1","pub":{"data":"hi","info":{"user":"u1","client":"s1"}}}}"#
    );
}

#[test]
fn binary_data_is_bytes_in_protobuf_and_base64_in_json() {
    let data = Payload::binary(b"\xff\x00");
    let push = Push::Publication(Publication::new(&data));
    assert_eq!(Encoding::Json.push("r", &push), br#"{"push":{"channel":"r","pub":{"data":"/wA="}}}"#);
    assert_eq!(hex(&Encoding::Protobuf.push("r", &push)), "0b220912017222042202ff00");
}

#[test]
fn a_ping_is_an_empty_reply() {
    assert_eq!(Encoding::Json.ping(), b"{}");
    assert_eq!(Encoding::Protobuf.ping(), [0]);
}

#[test]
fn faults_of_protobuf_name_the_command_and_what_is_wrong() {
    let fault = |hex: &str| Encoding::Protobuf.commands(&bytes(hex)).unwrap_err().to_string();
    for (frame, expected) in [
        ("", "the frame is empty"),
        ("80", "command 1 does not begin with its length"),
        ("000508", "command 2 claims 5 bytes, and 1 are left in the frame"),
        ("0108", "command 1: bad Command: it ends within a field"),
        ("020000", "command 1: bad Command: field number 0 is none of 1 to 536870911"),
        ("0103", "command 1: bad Command: field number 0 is none of 1 to 536870911"),
        ("010b", "command 1: bad Command: field 1 has the wire type 3, and only 0, 1, 2 and 5 are in use"),
        ("020a00", "command 1: bad Command: field 1 has another wire type than the protocol says"),
        ("022001", "command 1: bad ConnectRequest: field 4 has another wire type than the protocol says"),
        ("0522030a01ff", "command 1: bad ConnectRequest: field 1 is not UTF-8"),
        ("0c08ffffffffffffffffff7f00", "command 1: bad Command: a number has more than 64 bits"),
    ] {
        assert_eq!(fault(frame), expected, "{frame}");
    }
    assert_eq!(fault(&"00".repeat(1025)), "the frame holds more than 1024 commands");
}

#[test]
fn fields_that_the_protocol_does_not_have_are_read_past() {
    // Field 100 as each of the wire types, then a ping.
    let message = "a00601 a1060000000000000000 a20601ff a50600000000 0805 5a00".replace(' ', "");
    let frame = format!("{:02x}{message}", message.len() / 2);
    assert_eq!(
        Encoding::Protobuf.commands(&bytes(&frame)).unwrap(),
        [Command { id: 5, method: Method::Ping }]
    );
}

#[test]
fn of_several_methods_the_first_of_the_protocol_counts() {
    let json = br#"{"id":5,"ping":{},"connect":{}}"#;
    let protobuf = bytes("0608055a002200");
    for commands in [Encoding::Json.commands(json), Encoding::Protobuf.commands(&protobuf)] {
        assert_eq!(commands.unwrap()[0].method, Method::Connect(Box::default()));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_protobuf_panic(bytes: Vec<u8>) {
        drop(Encoding::Protobuf.commands(&bytes));
        drop(Encoding::Protobuf.emulation(&bytes));
    }

    #[test]
    fn broken_golden_commands_are_faults_or_commands(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        for block in blocks(COMMANDS) {
            for (encoding, mut frame) in
                [(Encoding::Json, block[0].as_bytes().to_vec()), (Encoding::Protobuf, bytes(block[1]))]
            {
                *at.get_mut(&mut frame) = byte;
                drop(encoding.commands(&frame));
                frame.truncate(cut.index(frame.len()));
                drop(encoding.commands(&frame));
            }
        }
    }

    #[test]
    fn pushes_are_one_line_and_valid_whatever_is_in_them(room: String, data: Vec<u8>, user: String, offset: u64) {
        let data = Payload::from_bytes(&data);
        let info = Some(ClientInfo { user: &user, client: "s", conn_info: Some(&data), chan_info: None });
        let publication = Publication { info, offset, ..Publication::new(&data) };
        let json = Encoding::Json.push(&room, &Push::Publication(publication));
        prop_assert!(!json.contains(&b'\n'));
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(read["push"]["pub"]["info"]["user"].as_str(), Some(user.as_str()));
        prop_assert_eq!(read["push"]["pub"]["offset"].as_u64().unwrap_or_default(), offset);
        prop_assert_eq!(&read["push"]["pub"]["data"], &serde_json::from_str::<serde_json::Value>(&data.json()).unwrap());
    }
}
