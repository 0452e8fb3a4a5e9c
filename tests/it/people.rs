//! Users who are not there, who are not wanted, and rooms that end.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::daemon::Daemon;
use crate::daemon::exchange;
use crate::daemon::is;

const TRIAL: &str = "auth.insecure=true";
const CENTRIFUGE: &str = "/connection/websocket";

async fn api(daemon: &Daemon, method: &str, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST /api/{method} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&daemon.path("pillion.sock"), &request).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body.trim()).unwrap_or_else(|_| panic!("{answer}"))
}

#[tokio::test]
async fn what_is_sent_to_a_user_who_is_away_waits_for_the_login_and_outlives_a_kill() {
    let daemon = Daemon::start(&[TRIAL, "gateway.inbox_size=2"]).await;
    for n in 1..=3 {
        let sent = api(&daemon, "send", &json!({"user":"alice","data":{"n":n},"offline":true})).await;
        assert_eq!(sent["result"], json!({"sessions":0,"kept":true}));
    }
    let lost = api(&daemon, "send", &json!({"user":"alice","data":{"n":4}})).await;
    assert_eq!(lost["result"], json!({"sessions":0,"kept":false}));
    let daemon = daemon.killed_and_started(&[TRIAL, "gateway.inbox_size=2"]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    for n in [2, 3] {
        assert_eq!(alice.json().await["push"]["message"]["data"], json!({"n":n}), "the oldest made room");
    }
    let sent = api(&daemon, "send", &json!({"user":"alice","data":5,"offline":true})).await;
    assert_eq!(sent["result"], json!({"sessions":1,"kept":false}));
    assert_eq!(alice.json().await["push"]["message"]["data"], 5);
    // What was taken is gone.
    loop {
        let mut again = daemon.websocket("/ws?token=alice").await;
        again.send("ping").await;
        let first = again.next().await;
        if first == "ping" {
            break;
        }
        assert!(first.contains("\"n\""), "{first}");
    }
}

#[tokio::test]
async fn a_banned_user_is_put_out_and_kept_out_until_the_ban_ends() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    let banned = api(&daemon, "ban", &json!({"user":"alice","reason":"spam"})).await;
    assert_eq!(banned["result"], json!({}));
    assert_eq!(alice.next().await, "close 3507 banned: spam");
    let daemon = daemon.killed_and_started(&[TRIAL]).await;
    let mut again = daemon.websocket(CENTRIFUGE).await;
    again.send(r#"{"id":1,"connect":{"token":"alice"}}"#).await;
    assert_eq!(again.next().await, "close 3507 banned: spam");
    let refused = daemon.log.record("the refused login", |record| record["err_code"] == "3507").await;
    assert_eq!(refused["action"], "login");
    let bans = api(&daemon, "bans", &json!({})).await;
    assert_eq!(bans["result"]["bans"], json!([{"user":"alice","reason":"spam"}]));
    api(&daemon, "unban", &json!({"user":"alice"})).await;
    daemon.websocket(CENTRIFUGE).await.connect("alice").await;
    let missing = api(&daemon, "ban", &json!({"reason":"x"})).await;
    assert_eq!(missing["error"]["message"], "bad request: user is missing");
}

#[tokio::test]
async fn a_dissolved_room_says_its_last_word_and_forgets_everything() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    alice.subscribe("r").await;
    let mut text = daemon.websocket("/ws?token=bob&cid=r").await;
    text.send("ping").await;
    text.next().await;
    api(&daemon, "publish", &json!({"channel":"r","data":"first"})).await;
    assert_eq!(alice.json().await["push"]["pub"]["data"], "first");
    assert_eq!(text.next().await, "first");
    api(&daemon, "dissolve", &json!({"channel":"r","data":"bye","reason":"over"})).await;
    assert_eq!(alice.json().await["push"]["pub"]["data"], "bye");
    assert_eq!(text.next().await, "bye");
    let told = alice.json().await;
    assert_eq!(told["push"]["unsubscribe"], json!({"code":2000,"reason":"over"}));
    let history = api(&daemon, "history", &json!({"channel":"r","limit":10})).await;
    assert_eq!(history["result"]["publications"], json!([]), "{history}");
    // Nobody is in it any longer.
    api(&daemon, "publish", &json!({"channel":"r","data":"nobody hears"})).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), text.next()).await.is_err());
    daemon.log.record("the end of the room", is("room_manage")).await;
}

#[tokio::test]
async fn a_message_with_a_time_to_live_is_not_recovered_after_it() {
    let daemon = Daemon::start(&[TRIAL]).await;
    api(&daemon, "publish", &json!({"channel":"r","data":1})).await;
    let first = api(&daemon, "history", &json!({"channel":"r","limit":0})).await;
    let epoch = first["result"]["epoch"].as_str().unwrap().to_owned();
    api(&daemon, "publish", &json!({"channel":"r","data":2,"ttl":1})).await;
    api(&daemon, "publish", &json!({"channel":"r","data":3})).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    let subscribe = json!({"id":2,"subscribe":{"channel":"r","recover":true,"epoch":epoch,"offset":1}});
    alice.send(&subscribe.to_string()).await;
    let reply = alice.json().await;
    assert_eq!(reply["subscribe"]["recovered"], true, "{reply}");
    let offsets: Vec<u64> = reply["subscribe"]["publications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|publication| publication["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, [3]);
}
