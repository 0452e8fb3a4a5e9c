//! Clients of every dialect in one room: what one says, all hear, each in its own words.

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use pillion::wire::goim;
use pillion::wire::goim::Packet;
use pillion::wire::golang_im;
use pillion::wire::orim;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::Message;

use crate::daemon::Client;
use crate::daemon::Daemon;
use crate::daemon::is;
use crate::daemon::within;

const TRIAL: &str = "auth.insecure=true";
const ROOM: &str = "live://8000202405211";

/// A packet that was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) operation: i32,
    pub(crate) sequence: i32,
    pub(crate) body: Vec<u8>,
}

impl Received {
    fn of(packet: &Packet<'_>) -> Self {
        Self { operation: packet.operation, sequence: packet.sequence, body: packet.body.to_vec() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) async fn send(client: &mut Client, operation: i32, sequence: i32, body: &[u8]) {
    let packet = Packet { version: 1, operation, sequence, body };
    client.socket.send(Message::binary(packet.to_vec())).await.unwrap();
}

/// The next packet on a websocket; a batch must hold exactly one.
pub(crate) async fn next(client: &mut Client) -> Received {
    loop {
        match within("a packet", client.socket.next()).await {
            Some(Ok(Message::Binary(bytes))) => {
                let packet = Packet::read(&bytes, 1 << 20).unwrap();
                if packet.operation != goim::operation::RAW {
                    return Received::of(&packet);
                }
                let inner = Packet::read_all(packet.body, 1 << 20).unwrap();
                assert_eq!(inner.len(), 1, "one packet at a time here");
                return Received::of(&inner[0]);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("no packet: {other:?}"),
        }
    }
}

pub(crate) async fn goim_client(daemon: &Daemon, body: &Value) -> Client {
    let mut client = daemon.websocket("/sub?a=query").await;
    send(&mut client, goim::operation::AUTH, 1, body.to_string().as_bytes()).await;
    let reply = next(&mut client).await;
    assert_eq!(reply, Received { operation: goim::operation::AUTH_REPLY, sequence: 1, body: vec![] });
    client
}

fn orim_page(user: &str) -> Value {
    json!({
        "room_id": ROOM, "accepts": "[8000202405211,8000,10000]", "key": orim::key(user, ROOM), "mid": user,
        "nickname": "N", "face": "f.png", "shop_name": "S", "shop_id": "8000", "shop_face": "s.png",
        "platform": "web", "suburl": "", "pushurl": "",
    })
}

async fn orim_client(daemon: &Daemon, user: &str) -> Client {
    let mut client = daemon.websocket("/orim/sub").await;
    send(&mut client, goim::operation::AUTH, 1, orim_page(user).to_string().as_bytes()).await;
    let reply = next(&mut client).await;
    assert_eq!(reply, Received { operation: goim::operation::AUTH_REPLY, sequence: 1, body: b"ok".to_vec() });
    client
}

#[tokio::test]
async fn what_one_dialect_says_all_others_hear() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut json_side = daemon.websocket("/connection/websocket").await;
    json_side.connect("alice").await;
    json_side.subscribe(ROOM).await;
    let mut text_side = daemon.websocket(&format!("/ws?token=carol&cid={ROOM}")).await;
    text_side.send("ping").await;
    assert_eq!(text_side.next().await, "ping");
    let mut goim_side = goim_client(&daemon, &json!({"mid":123,"room_id":ROOM,"accepts":[1000]})).await;
    let mut orim_side = orim_client(&daemon, "202405211").await;
    let mut golang_side = daemon.websocket("/golang-im/ws").await;
    let login = json!({
        "user_id": 7, "device_id": golang_im::device("web", "7"), "platform": "web", "room_id": ROOM,
    });
    send(&mut golang_side, goim::operation::AUTH, 1, login.to_string().as_bytes()).await;
    assert_eq!(next(&mut golang_side).await.body, b"ok");

    let said = json!({"type":"text","msg":"hi <b>","shop_id":"8000"});
    json_side.send(&format!(r#"{{"id":9,"publish":{{"channel":"{ROOM}","data":{said}}}}}"#)).await;

    let heard = json_side.json().await;
    assert_eq!(heard["push"]["pub"]["data"], said);
    assert_eq!(text_side.next().await, said.to_string());
    let packet = next(&mut goim_side).await;
    assert_eq!((packet.operation, packet.sequence, packet.json()), (5, 0, said.clone()));
    let packet = next(&mut orim_side).await;
    assert_eq!((packet.operation, packet.sequence), (5, 1));
    let message = packet.json();
    assert_eq!((message["msg"].as_str(), message["mid"].as_str()), (Some("hi <b>"), Some("alice")));
    assert_eq!((message["room_id"].as_str(), message["shop_id"].as_str()), (Some(ROOM), Some("8000")));
    assert!(message["id"].as_str().unwrap().parse::<u64>().unwrap() > 1_577_469_091_634_360_321);
    let packet = next(&mut golang_side).await;
    assert_eq!((packet.operation, packet.json()["msg"].as_str()), (5, Some("hi <b>")));

    // And from packets back.
    send(&mut goim_side, goim::operation::SEND, 4, b"from goim").await;
    assert_eq!(next(&mut goim_side).await.body, b"from goim", "members hear themselves, as in every dialect");
    assert_eq!(next(&mut goim_side).await, Received { operation: 4, sequence: 4, body: vec![] });
    assert_eq!(text_side.next().await, "from goim");
}

#[tokio::test]
async fn goim_heartbeats_rooms_and_operations_are_answered_as_the_original_does() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut client = goim_client(&daemon, &json!({"mid":"123","key":"k1","room_id":"live://1000"})).await;
    send(&mut client, goim::operation::HEARTBEAT, 2, b"").await;
    let beat = next(&mut client).await;
    assert_eq!((beat.operation, beat.sequence, beat.body.as_slice()), (3, 2, &[0, 0, 0, 1][..]));
    send(&mut client, goim::operation::CHANGE_ROOM, 3, b"live://1001").await;
    let reply = next(&mut client).await;
    assert_eq!((reply.operation, reply.sequence, reply.body.as_slice()), (13, 3, &b"live://1001"[..]));
    send(&mut client, goim::operation::SUB, 4, b"1000,1003").await;
    assert_eq!(next(&mut client).await, Received { operation: 15, sequence: 4, body: b"1000,1003".to_vec() });
    send(&mut client, goim::operation::UNSUB, 5, b"1003").await;
    assert_eq!(next(&mut client).await, Received { operation: 17, sequence: 5, body: b"1003".to_vec() });
    send(&mut client, 1234, 6, b"application").await;
    assert_eq!(next(&mut client).await, Received { operation: 1234, sequence: 6, body: vec![] });
    // Packets may come in text frames.
    let beat = Packet { version: 1, operation: goim::operation::HEARTBEAT, sequence: 7, body: b"" };
    client.send(std::str::from_utf8(&beat.to_vec()).unwrap()).await;
    assert_eq!(next(&mut client).await.sequence, 7);
    // The same device again: the former session is told, and ends.
    let _newer = goim_client(&daemon, &json!({"mid":"123","key":"k1","room_id":"live://1000"})).await;
    let farewell = next(&mut client).await;
    assert_eq!((farewell.operation, farewell.json()), (6, json!({"reason":"replaced"})));
    daemon.log.record("the end of the former session", |record| record["err"] == "replaced").await;
}

#[tokio::test]
async fn goim_on_a_bare_stream_has_no_batch_around_its_packets() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("goim.sock");
    let daemon = Daemon::start(&[TRIAL, &format!("gateway.tcp=[\"unix:{}\"]", socket.display())]).await;
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let login = br#"{"mid":5,"room_id":"live://1000","accepts":[1000]}"#;
    let login = Packet { version: 1, operation: goim::operation::AUTH, sequence: 1, body: login }.to_vec();
    let beat = Packet { version: 1, operation: goim::operation::HEARTBEAT, sequence: 2, body: b"" }.to_vec();
    // Cut in the middle of a packet, and two at once.
    let both = [login, beat].concat();
    stream.write_all(&both[..20]).await.unwrap();
    stream.write_all(&both[20..]).await.unwrap();
    let mut packets = goim::Packets::new(1 << 20);
    let mut read = async |stream: &mut UnixStream| {
        let mut bytes = vec![0; 4096];
        loop {
            let length = within("bytes", stream.read(&mut bytes)).await.unwrap();
            assert!(length > 0, "the stream ended");
            let mut rest = &bytes[..length];
            let mut received = Vec::new();
            while let Some(packet) = packets.next(&mut rest).unwrap() {
                received.push(Received::of(&packet));
            }
            if !received.is_empty() {
                return received;
            }
        }
    };
    let mut received = read(&mut stream).await;
    while received.len() < 2 {
        received.extend(read(&mut stream).await);
    }
    assert_eq!(received[0], Received { operation: 8, sequence: 1, body: vec![] });
    assert_eq!(received[1], Received { operation: 3, sequence: 2, body: vec![0, 0, 0, 1] });

    let mut other = daemon.websocket("/connection/websocket").await;
    other.connect("alice").await;
    other.subscribe("live://1000").await;
    other.send(r#"{"id":9,"publish":{"channel":"live://1000","data":{"test":1}}}"#).await;
    assert_eq!(
        read(&mut stream).await,
        [Received { operation: 5, sequence: 0, body: br#"{"test":1}"#.to_vec() }]
    );

    // A packet below 16 bytes ends the connection with its reason.
    stream.write_all(&[0, 0, 0, 5, 0, 16, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1]).await.unwrap();
    let farewell = read(&mut stream).await;
    assert_eq!((farewell[0].operation, farewell[0].json()), (6, json!({"reason":"packet_below_header"})));
    let logout = daemon.log.record("logout", is("logout")).await;
    assert_eq!(logout["err"], "packet_below_header");
}

#[tokio::test]
async fn lengths_that_are_not_true_end_the_connection_and_disturb_nobody() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut bystander = goim_client(&daemon, &json!({"mid":1,"room_id":"live://1000"})).await;
    for (claimed, name) in [
        (0_i32, "packet_below_header"),
        (5, "packet_below_header"),
        (-0x7fff_ffff, "packet_below_header"),
        (17, "packet_length"),
        (4112, "packet_length"),
        (4113, "packet_too_long"),
    ] {
        let mut client = goim_client(&daemon, &json!({"mid":2,"room_id":"live://1000"})).await;
        let mut frame = Packet { version: 1, operation: 2, sequence: 1, body: b"" }.to_vec();
        frame[..4].copy_from_slice(&claimed.to_be_bytes());
        client.socket.send(Message::binary(frame)).await.unwrap();
        assert_eq!(next(&mut client).await.json(), json!({"reason":name}), "{claimed}");
    }
    send(&mut bystander, goim::operation::HEARTBEAT, 2, b"").await;
    assert_eq!(next(&mut bystander).await.operation, 3);
}

#[tokio::test]
async fn openresty_im_syncs_the_latest_messages_and_acknowledges() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut staff = daemon.websocket("/connection/websocket").await;
    staff.connect("8000").await;
    staff.subscribe(ROOM).await;
    for n in 0..30 {
        staff.send(&format!(r#"{{"id":9,"publish":{{"channel":"{ROOM}","data":{{"msg":"{n}"}}}}}}"#)).await;
        staff.json().await;
        staff.json().await;
    }
    let mut page = orim_client(&daemon, "202405211").await;
    send(&mut page, orim::operation::SYNC, 1, b"").await;
    let mut last = Value::Null;
    for n in 4..30 {
        let packet = next(&mut page).await;
        assert_eq!((packet.operation, packet.sequence), (15, 1));
        last = packet.json();
        assert_eq!(last["msg"], n.to_string(), "the newest 26, the oldest of them first");
    }
    let id = last["id"].as_str().unwrap().to_owned();
    send(&mut page, orim::operation::ACK, 9, id.as_bytes()).await;
    assert_eq!(next(&mut page).await, Received { operation: 17, sequence: 1, body: id.into_bytes() });
    send(&mut page, goim::operation::HEARTBEAT, 9, b"").await;
    assert_eq!(next(&mut page).await, Received { operation: 3, sequence: 1, body: vec![] });
}

#[tokio::test]
async fn openresty_im_refuses_wrong_keys_texts_and_short_frames_with_a_close() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut page = orim_page("202405211");
    page["key"] = "0".repeat(32).into();
    let wrong = Packet {
        version: 1,
        operation: goim::operation::AUTH,
        sequence: 1,
        body: page.to_string().as_bytes(),
    }
    .to_vec();
    let nonsense =
        Packet { version: 1, operation: goim::operation::AUTH, sequence: 1, body: b"no JSON" }.to_vec();
    let cases = [
        (Message::binary(wrong), "close 1000 auth error"),
        (Message::binary(nonsense), "close 1003 bad request: bad body of operation 7: "),
        (Message::text("hello"), "close 1003 bad request: a text frame; this dialect speaks binary"),
        (Message::binary(vec![1, 2, 3]), "close 1002 bad packet: the frame has 3 bytes"),
    ];
    for (message, expected) in cases {
        let mut client = daemon.websocket("/orim/sub").await;
        client.socket.send(message).await.unwrap();
        let end = client.next().await;
        assert!(end.starts_with(expected), "{end}");
    }
    // What a page sends together with its login waits for the login's end.
    let mut hasty = daemon.websocket("/orim/sub").await;
    send(&mut hasty, goim::operation::AUTH, 1, orim_page("202405211").to_string().as_bytes()).await;
    send(&mut hasty, orim::operation::ACK, 1, b"7").await;
    assert_eq!(next(&mut hasty).await.operation, 8);
    assert_eq!(next(&mut hasty).await.operation, 17);
    // A client that asks before it has logged in is passed over, as the original's successor does.
    let mut early = daemon.websocket("/orim/sub").await;
    send(&mut early, orim::operation::SYNC, 1, b"").await;
    send(&mut early, goim::operation::HEARTBEAT, 1, b"").await;
    assert_eq!(next(&mut early).await.operation, 3);
}
