//! Faults of the originals that pillion must not have. What is tested elsewhere stands here with its place.
//!
//! | original | fault | here |
//! |--|--|--|
//! | push gateway | a message published between the upgrade and the end of the login is lost | below |
//! | push gateway | a pong is answered with the next ping: 90 pings a second for an idle client | below |
//! | push gateway | pongs do not repeat the ping's payload | below |
//! | push gateway | `out` leaves the session in the room's list; a dissolved room | `gateway`, `people` |
//! | push gateway | a stalled reader takes memory without end | `gateway`, `gateway_limits` |
//! | goim | 299 good packets and one that claims 4112 bytes, at once, end the process | below |
//! | goim | a packet's body is read beyond its frame | `dialects` |
//! | goim | the end of an old session takes the key of its newer one along | below |
//! | goim | a push to several keys ends at the first session whose queue is full | below |
//! | goim | a push to all while nobody is there ends the process | `server_api_goim` |
//! | goim | a session that is ended is not told why | `dialects` |
//! | openresty-im | of two packets in one frame the second is lost | below |
//! | openresty-im | short frames, no JSON, questions before the login leave a zombie | `dialects` |
//! | openresty-im | unread counts one too few; read offsets go back; forged senders; uploads by name | `chat`, `chat_security` |

use std::time::Duration;

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use pillion::wire::goim;
use pillion::wire::goim::Packet;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::daemon::Daemon;
use crate::daemon::within;
use crate::dialects::goim_client;
use crate::dialects::next;
use crate::server_api::TRIAL;
use crate::server_api::ask;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn nothing_that_is_published_while_somebody_logs_in_is_lost() {
    let sets = ["auth.mode=jwt", &format!("auth.jwt_secret={SECRET}")];
    let daemon = Daemon::start(&sets).await;
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let claims = json!({"sub":"u","channels":["a","b","c","r"]});
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let mut publisher = daemon.websocket("/connection/websocket").await;
    publisher.connect(&token).await;
    let publish = async {
        for number in 0..300 {
            publisher.send(&format!(r#"{{"id":9,"publish":{{"channel":"r","data":{number}}}}}"#)).await;
            publisher.json().await;
            publisher.json().await;
        }
    };
    let listen = async {
        for _ in 0..20 {
            let mut client = daemon.websocket("/connection/websocket").await;
            client.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)).await;
            let greeting = client.json().await;
            let mut offset = greeting["connect"]["subs"]["r"]["offset"].as_u64().unwrap_or(0);
            for _ in 0..3 {
                let text = client.next().await;
                for line in text.lines() {
                    let push: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(
                        push["push"]["pub"]["offset"],
                        offset + 1,
                        "right behind the greeting: {push}"
                    );
                    offset += 1;
                }
                if offset >= 300 {
                    return;
                }
            }
        }
    };
    tokio::join!(publish, listen);
}

#[tokio::test]
async fn pings_come_at_their_interval_and_pongs_repeat_what_they_answer() {
    let route = r#"gateway.route=[{ path = "/ws", dialect = "openresty-push", ping_interval = "2s" }]"#;
    let daemon = Daemon::start(&[TRIAL, "gateway.pong_timeout=500ms", route]).await;
    let mut client = daemon.websocket("/ws?token=alice").await;
    client.socket.send(Message::Ping("a payload".into())).await.unwrap();
    // Every ping is answered by the library as soon as it is read.
    let mut pings = 0;
    let mut answered = false;
    let listening = tokio::time::timeout(Duration::from_millis(2900), async {
        while let Some(Ok(message)) = client.socket.next().await {
            match message {
                Message::Ping(_) => pings += 1,
                Message::Pong(payload) => answered |= &payload[..] == b"a payload",
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(listening.await.is_err(), "the connection stays");
    assert!(answered);
    assert_eq!(pings, 1, "one in its interval, and none because of a pong");
}

#[tokio::test]
async fn many_good_packets_and_a_false_one_at_once_end_one_connection() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut client = goim_client(&daemon, &json!({"mid":1,"room_id":"live://1"})).await;
    for sequence in 0..299 {
        let beat = Packet { version: 1, operation: goim::operation::HEARTBEAT, sequence, body: b"" };
        client.socket.feed(Message::binary(beat.to_vec())).await.unwrap();
    }
    let mut claims = Packet { version: 1, operation: goim::operation::SUB, sequence: 7, body: b"" }.to_vec();
    claims[..4].copy_from_slice(&4112_i32.to_be_bytes());
    client.socket.feed(Message::binary(claims)).await.unwrap();
    client.socket.flush().await.unwrap();
    for sequence in 0..299 {
        assert_eq!(next(&mut client).await.sequence, sequence);
    }
    assert_eq!(next(&mut client).await.json(), json!({"reason":"packet_length"}));
    goim_client(&daemon, &json!({"mid":2,"room_id":"live://1"})).await;
}

#[tokio::test]
async fn a_newer_session_keeps_the_key_when_the_older_one_ends() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let login = json!({"mid":1,"key":"k","room_id":"live://1","accepts":[1000]});
    let mut older = goim_client(&daemon, &login).await;
    let mut newer = goim_client(&daemon, &login).await;
    assert_eq!(next(&mut older).await.json(), json!({"reason":"replaced"}));
    while within("the older one ends", older.socket.next()).await.is_some_and(|message| message.is_ok()) {}
    daemon.log.record("its end", |record| record["err"] == "replaced").await;
    ask(&daemon, "pillion.sock", ("POST /goim/push/keys?operation=1000&keys=k", ""), "still here").await;
    assert_eq!(next(&mut newer).await.body, b"still here");
}

#[tokio::test]
async fn a_push_to_several_keys_goes_on_after_one_whose_queue_is_full() {
    let daemon = Daemon::start(&[TRIAL, "gateway.client_queue=64KiB", "limits.frame=16KiB"]).await;
    let session = |key: &str| json!({"mid":0,"key":key,"room_id":"live://1","accepts":[1000]});
    let _full = goim_client(&daemon, &session("full")).await;
    let mut other = goim_client(&daemon, &session("other")).await;
    let body = "x".repeat(30_000);
    for _ in 0..40 {
        ask(&daemon, "pillion.sock", ("POST /goim/push/keys?operation=1000&keys=full&keys=other", ""), &body)
            .await;
        assert_eq!(next(&mut other).await.body.len(), 30_000);
    }
    daemon.log.record("the full one's end", |record| record["err"] == "slow").await;
}

#[tokio::test]
async fn two_packets_in_one_frame_are_not_half_taken() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut client = daemon.websocket("/orim/sub").await;
    let beat = Packet { version: 1, operation: goim::operation::HEARTBEAT, sequence: 1, body: b"" }.to_vec();
    client.socket.send(Message::binary([beat.clone(), beat].concat())).await.unwrap();
    let end = client.next().await;
    assert_eq!(end, "close 1002 bad packet: the packet claims 16 bytes, and its frame has 32");
}
