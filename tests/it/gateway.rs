//! Clients of both dialects on a running daemon: what they get, and what becomes of bad input.

use futures_util::SinkExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

use crate::daemon::BRIEF;
use crate::daemon::Client;
use crate::daemon::Daemon;
use crate::daemon::exchange;
use crate::daemon::is;

const CENTRIFUGE: &str = "/connection/websocket";
const TRIAL: &str = "auth.insecure=true";

fn publish(room: &str, data: &str) -> String {
    format!(r#"{{"id":9,"publish":{{"channel":"{room}","data":{data}}}}}"#)
}

#[tokio::test]
async fn members_of_a_room_hear_each_other_and_every_step_is_on_record() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    let mut bob = daemon.websocket(CENTRIFUGE).await;
    let session = alice.connect("alice").await;
    bob.connect("bob").await;
    alice.subscribe("lobby").await;
    bob.subscribe("lobby").await;
    alice.send(&publish("lobby", r#"{"text":"hi"}"#)).await;
    let heard = bob.json().await;
    let expected = json!({"push":{"channel":"lobby","pub":{
        "data":{"text":"hi"},"info":{"user":"alice","client":session},"offset":1}}});
    assert_eq!(heard, expected);

    let of_alice = |action: &'static str| {
        let session = session.clone();
        move |record: &serde_json::Value| {
            record["action"] == action && record["session_id"] == session.as_str()
        }
    };
    let login = daemon.log.record("login", of_alice("login")).await;
    assert_eq!((login["user_id"].as_str(), login["dialect"].as_str()), (Some("alice"), Some("centrifuge")));
    assert_eq!(login["token"], "2bd806c97f0e00af", "the hash, never the token");
    let joined = daemon.log.record("room_manage", of_alice("room_manage")).await;
    assert_eq!((joined["room_id"].as_str(), joined["desc"].as_str()), (Some("lobby"), Some("in room ok.")));
    let message = daemon.log.record("room_msg", of_alice("room_msg")).await;
    assert_eq!((message["room_id"].as_str(), message["user_id"].as_str()), (Some("lobby"), Some("alice")));
    alice.socket.close(None).await.unwrap();
    let logout = daemon.log.record("logout", of_alice("logout")).await;
    assert_eq!((logout["err"].as_str(), logout["err_code"].as_str()), (Some("client_closed"), Some("1000")));
    let numbers: Vec<u64> =
        daemon.log.records().iter().map(|record| record["log.sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "one sequence without a gap");
}

#[tokio::test]
async fn a_message_from_one_dialect_reaches_the_other() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut json_side = daemon.websocket(CENTRIFUGE).await;
    json_side.connect("alice").await;
    json_side.subscribe("lobby").await;
    let mut text_side = daemon.websocket("/ws?token=carol&cid=lobby").await;
    text_side.send("ping").await;
    assert_eq!(text_side.next().await, "ping", "short texts are heartbeats, and come back");

    json_side.send(&publish("lobby", r#"{"a":1}"#)).await;
    assert_eq!(text_side.next().await, r#"{"a":1}"#);
    assert_eq!(json_side.json().await["push"]["pub"]["data"], json!({"a":1}));
    assert_eq!(json_side.json().await, json!({"id":9,"publish":{}}));
    json_side.send(&publish("lobby", r#""plain text""#)).await;
    assert_eq!(text_side.next().await, "plain text");
    json_side.json().await;
    json_side.json().await;

    // {"cid":"lobby","d":base64("hello there")}
    text_side.send(r#"{"cid":"lobby","d":"aGVsbG8gdGhlcmU="}"#).await;
    let heard = json_side.json().await;
    assert_eq!(heard["push"]["pub"]["data"], "hello there");
    assert_eq!(heard["push"]["pub"]["info"]["user"], "carol");
    assert_eq!(text_side.next().await, "hello there");
}

#[tokio::test]
async fn bad_frames_end_their_own_session_with_the_reason_and_disturb_nobody_else() {
    let daemon = Daemon::start(&[TRIAL, "limits.frame=4KiB"]).await;
    let mut witness = daemon.websocket(CENTRIFUGE).await;
    witness.connect("witness").await;

    let long = format!(r#"{{"id":2,"publish":{{"channel":"r","data":"{}"}}}}"#, "x".repeat(5000));
    let cases: [(Message, &str); 6] = [
        (Message::text(long), "close 1009 message longer than 4096 bytes"),
        (
            Message::text("hello"),
            "close 3501 bad request: line 1 is no JSON object: expected value at line 1 column 1",
        ),
        (Message::text(r#"{"id":2,"connect":{}}"#), "close 3501 bad request: connect a second time"),
        (Message::binary(vec![1, 2, 3]), "close 3501 bad request: a binary frame; this dialect speaks text"),
        (
            Message::text(r#"{"id":2,"publish":{"channel":7}}"#),
            "close 3501 bad request: line 1: bad parameters of publish: invalid type: integer `7`, expected a string at line 1 column 12",
        ),
        (
            Message::Frame(Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true)),
            "close 1007 text frame is not UTF-8",
        ),
    ];
    for (message, expected) in cases {
        let mut client = daemon.websocket(CENTRIFUGE).await;
        let session = client.connect("mallory").await;
        client.socket.send(message).await.unwrap();
        assert_eq!(client.next().await, expected);
        let logout = daemon
            .log
            .record("logout", |record| {
                record["action"] == "logout" && record["session_id"] == session.as_str()
            })
            .await;
        assert!(expected.contains(logout["err_code"].as_str().unwrap()), "{logout}");
        daemon
            .log
            .record("web_err", |record| {
                record["action"] == "web_err" && record["session_id"] == session.as_str()
            })
            .await;
    }
    // Unmasked frames and nonsense below the websocket are the library's to refuse; the reason reaches the client.
    let mut client = daemon.websocket(CENTRIFUGE).await;
    client.socket.get_mut().write_all(&[0x81, 0x02, b'h', b'i']).await.unwrap();
    assert!(client.next().await.starts_with("close 1002 websocket protocol error"));

    witness.send(r#"{"id":5,"ping":{}}"#).await;
    assert_eq!(witness.next().await, r#"{"id":5,"ping":{}}"#);
}

#[tokio::test]
async fn wrong_order_and_missing_tokens_are_told_apart() {
    let daemon = Daemon::start(&["auth.mode=jwt", "auth.jwt_secret=0123456789abcdef0123456789abcdef"]).await;
    let mut early = daemon.websocket(CENTRIFUGE).await;
    early.send(r#"{"id":1,"subscribe":{"channel":"r"}}"#).await;
    assert_eq!(early.next().await, "close 3501 bad request: the first command must be connect");
    let mut without = daemon.websocket(CENTRIFUGE).await;
    without.send(r#"{"id":1,"connect":{}}"#).await;
    assert_eq!(without.next().await, "close 3500 token missing");
    let mut forged = daemon.websocket(CENTRIFUGE).await;
    forged.send(r#"{"id":1,"connect":{"token":"abc"}}"#).await;
    assert_eq!(forged.next().await, "close 3500 invalid token: it is no JSON Web Token");
    let refused = daemon.log.record("login", is("login")).await;
    assert_eq!(refused["err"], "invalid token: it is no JSON Web Token");
    assert_eq!(refused["err_code"], "3500");
}

#[tokio::test]
async fn a_signed_token_names_the_user_and_opens_its_rooms() {
    let secret = "0123456789abcdef0123456789abcdef";
    let daemon = Daemon::start(&["auth.mode=jwt", &format!("auth.jwt_secret={secret}")]).await;
    let token = |claims: serde_json::Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let mut client = daemon.websocket(CENTRIFUGE).await;
    let login = token(json!({"sub":"u1","channels":["r1"],"info":{"name":"U"}}));
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{login}"}}}}"#)).await;
    let subs = client.json().await["connect"]["subs"].take();
    assert_eq!(
        (subs.as_object().unwrap().len(), subs["r1"]["recoverable"].as_bool()),
        (1, Some(true)),
        "the server joins the rooms of the token"
    );
    client.send(&publish("r1", "1")).await;
    let heard = client.json().await;
    assert_eq!(heard["push"]["pub"]["info"]["conn_info"], json!({"name":"U"}));
    client.json().await;
    client.send(r#"{"id":3,"subscribe":{"channel":"r2"}}"#).await;
    let refused = client.json().await;
    assert_eq!(refused["error"]["code"], 103);
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("does not name the room \"r2\""),
        "{refused}"
    );

    let mut late = daemon.websocket(CENTRIFUGE).await;
    late.send(&format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token(json!({"sub":"u1","exp":1})))).await;
    assert_eq!(late.json().await["error"]["code"], 109, "the SDK gets a new token and tries again");
}

#[tokio::test]
async fn a_dead_peer_is_given_up_within_one_and_a_half_intervals_and_a_live_one_is_kept() {
    let times = ["gateway.ping_interval=400ms", "gateway.pong_timeout=100ms"];
    let daemon = Daemon::start(&[&[TRIAL], &times[..]].concat()).await;
    let mut live = daemon.websocket(CENTRIFUGE).await;
    live.connect("live").await;
    let mut dead = daemon.websocket(CENTRIFUGE).await;
    let session = dead.connect("dead").await;
    let start = pillion::clock::now();
    let pinged = async {
        for _ in 0..3 {
            assert_eq!(live.next().await, "{}");
            live.send("{}").await;
        }
    };
    let ended = async {
        assert_eq!(dead.next().await, "{}");
        assert_eq!(dead.next().await, "close 3012 no pong");
        start.elapsed()
    };
    let ((), lasted) = tokio::join!(pinged, ended);
    // 1.5 intervals, the wheel's resolution of two ticks, and a second for a machine that is busy with other tests;
    // the exact times are a unit test of the pulse.
    assert!(lasted.as_millis() < 600 + 200 + 1000, "{lasted:?}");
    let logout = daemon
        .log
        .record("logout", |record| record["action"] == "logout" && record["session_id"] == session.as_str())
        .await;
    assert_eq!(logout["err"], "heartbeat_timeout");
    assert!(logout["heartbeat"].as_f64().unwrap() > 0.4, "{logout}");
}

#[tokio::test]
async fn who_does_not_log_in_is_let_go() {
    let daemon = Daemon::start(&[TRIAL, "gateway.login_timeout=200ms"]).await;
    let mut client = daemon.websocket(CENTRIFUGE).await;
    assert_eq!(client.next().await, "close 3502 no login in time");
    let record = daemon.log.record("wsconn", is("wsconn")).await;
    assert_eq!(record["err"], "no login in time");
}

#[tokio::test]
async fn a_slow_reader_loses_its_connection_and_nobody_else_a_message() {
    let daemon = Daemon::start(&[TRIAL, "gateway.client_queue=64KiB", "limits.frame=16KiB"]).await;
    let mut slow = daemon.websocket(CENTRIFUGE).await;
    let session = slow.connect("slow").await;
    slow.subscribe("busy").await;
    let mut quick = daemon.websocket("/ws?token=quick&cid=busy").await;
    let mut publisher = daemon.websocket(CENTRIFUGE).await;
    publisher.connect("publisher").await;
    let padding = "x".repeat(10_000);
    for number in 0..200 {
        publisher.send(&publish("busy", &format!(r#""{number:06}{padding}""#))).await;
        let heard = quick.next().await;
        assert_eq!(&heard[..6], format!("{number:06}"));
        assert_eq!(publisher.json().await, json!({"id":9,"publish":{}}));
    }
    let full = daemon
        .log
        .record("memory_msg", |record| {
            record["action"] == "memory_msg" && record["session_id"] == session.as_str()
        })
        .await;
    assert_eq!(full["err"], "slow: more than 65536 bytes waiting");
    let unsent = daemon.log.record("msg_send", is("msg_send")).await;
    assert!(unsent["err"].as_str().unwrap().contains("messages were not sent"), "{unsent}");
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(metrics.contains("pillion_gateway_closes_total{reason=\"slow\"} 1"), "{metrics}");
}

#[tokio::test]
async fn upgrades_that_can_not_be_are_answered_with_what_would_be_right() {
    let daemon = Daemon::start(&[TRIAL, "gateway.allowed_origins=[\"https://good.example\"]"]).await;
    let socket = daemon.path("pillion.sock");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let cases = [
        (String::new(), "426", "this path takes websockets"),
        (format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"), "426", "must be 13"),
        (format!("{upgrade}{version}"), "400", "Sec-WebSocket-Key"),
        (format!("{upgrade}{version}{key}Origin: https://evil.example\r\n"), "403", "allowed_origins"),
    ];
    for (headers, status, words) in cases {
        let request = format!("GET {CENTRIFUGE} HTTP/1.1\r\nHost: t\r\n{headers}\r\n");
        let answer = exchange(&socket, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(words), "{answer}");
    }
    let record = daemon.log.record("wsconn", is("wsconn")).await;
    assert_eq!(record["err_code"], "426");
    let good = Client::open(&socket, CENTRIFUGE, &[("origin", "https://good.example")]).await;
    drop(good);
    let nothing = exchange(&socket, "GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(nothing.contains(r#"{"code":404,"message":"nothing is at /nothing"}"#), "{nothing}");
}

#[tokio::test]
async fn the_address_of_the_client_and_the_id_of_its_request_come_from_the_proxy() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let headers = [("x-real-ip", "192.0.2.7"), ("x-request-id", "4f1c0a")];
    let mut client = Client::open(&daemon.path("pillion.sock"), CENTRIFUGE, &headers).await;
    client.connect("alice").await;
    let login = daemon.log.record("login", is("login")).await;
    assert_eq!((login["client"].as_str(), login["request_id"].as_str()), (Some("192.0.2.7"), Some("4f1c0a")));
}

#[tokio::test]
async fn a_room_left_is_silent() {
    let forgetful = "gateway.namespace=[{ name = \"\", history_size = 0 }]";
    let daemon = Daemon::start(&[TRIAL, forgetful]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    alice.subscribe("a").await;
    alice.send(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#).await;
    assert_eq!(alice.json().await, json!({"id":3,"unsubscribe":{}}));
    let mut bob = daemon.websocket(CENTRIFUGE).await;
    bob.connect("bob").await;
    bob.send(&publish("a", "1")).await;
    assert_eq!(bob.json().await, json!({"id":9,"publish":{}}));
    assert!(
        tokio::time::timeout(BRIEF, alice.next()).await.is_err(),
        "nothing comes from a room that was left"
    );
    daemon.log.record("out of the room", |record| record["desc"] == "out room ok.").await;
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(metrics.contains("pillion_gateway_rooms 0"), "an empty room is gone");
}
