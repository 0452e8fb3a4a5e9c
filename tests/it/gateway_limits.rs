//! What the gateway does when it is too much: slow readers by the rules of their rooms, memory, sessions, rooms.

use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::daemon::BRIEF;
use crate::daemon::Client;
use crate::daemon::Daemon;
use crate::daemon::exchange;

const TRIAL: &str = "auth.insecure=true";
const CENTRIFUGE: &str = "/connection/websocket";

async fn publish(socket: &Path, body: &Value) {
    let body = body.to_string();
    let request = format!(
        "POST /api/publish HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(socket, &request).await;
    assert!(answer.contains("\"result\""), "{answer}");
}

/// A daemon whose rooms go by these rules, with small queues.
async fn daemon(rules: &str) -> Daemon {
    let namespace = format!("gateway.namespace=[{{ name = \"\", subscribe = \"token\", {rules} }}]");
    Daemon::start(&[TRIAL, "gateway.client_queue=64KiB", "limits.frame=16KiB", &namespace]).await
}

/// A text client in the room `r`, surely in it.
async fn member(daemon: &Daemon) -> Client {
    let mut client = daemon.websocket("/ws?token=slow&cid=r").await;
    client.send("ping").await;
    assert_eq!(client.next().await, "ping");
    client
}

/// Publishes `count` messages of 8 KiB that begin with their number, with this conflation key.
async fn flood(daemon: &Daemon, count: usize, key: &str) {
    let socket = daemon.path("pillion.sock");
    for number in 0..count {
        let data = format!("{number:06}{}", "x".repeat(8000));
        publish(&socket, &json!({"channel":"r","data":data,"conflation_key":key})).await;
    }
}

#[tokio::test]
async fn where_the_oldest_make_room_a_slow_client_is_told_how_many_are_missing() {
    let daemon = daemon("slow = \"drop_oldest\"").await;
    let mut slow = member(&daemon).await;
    flood(&daemon, 200, "").await;
    let (mut heard, mut missing, mut last) = (0, 0, None);
    while last != Some(199) {
        let text = slow.next().await;
        match serde_json::from_str::<Value>(&text) {
            Ok(notice) if notice["type"] == "gap" => {
                assert_eq!(notice["cid"], "r");
                missing += notice["missing"].as_u64().unwrap();
            }
            _ => {
                let number: u64 = text[..6].parse().unwrap();
                assert_eq!(number, heard + missing, "in order, and what is missing is told in its place");
                heard += 1;
                last = Some(number);
            }
        }
    }
    assert!(missing > 0, "the queue was full");
    assert_eq!(heard + missing, 200);
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(
        metrics.contains(&format!("pillion_gateway_undelivered_total{{reason=\"gap\"}} {missing}")),
        "{metrics}"
    );
}

#[tokio::test]
async fn of_messages_with_one_key_a_slow_client_gets_the_newest() {
    let daemon = daemon("slow = \"conflate\"").await;
    let mut slow = member(&daemon).await;
    flood(&daemon, 200, "price").await;
    let (mut heard, mut last) = (0, None);
    while last != Some(199_u64) {
        let number: u64 = slow.next().await[..6].parse().unwrap();
        assert!(last.is_none_or(|last| number > last));
        last = Some(number);
        heard += 1;
    }
    assert!(heard < 200, "{heard} of 200 came");
}

#[tokio::test]
async fn memory_has_a_budget_and_rooms_forget_older_messages_first() {
    let sets = [TRIAL, "gateway.memory=1MiB", "limits.body=1MiB"];
    let daemon = Daemon::start(&sets).await;
    let socket = daemon.path("pillion.sock");
    for number in 0..60 {
        let data = format!("{number:06}{}", "x".repeat(100_000));
        publish(&socket, &json!({"channel":"r","data":data})).await;
    }
    // 100 messages would be kept, and memory is for ten of these.
    let kept = loop {
        let body = r#"{"channel":"r","limit":100}"#;
        let request = format!(
            "POST /api/history HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&socket, &request).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let history: Value = serde_json::from_str(body.trim()).unwrap();
        let publications = history["result"]["publications"].as_array().unwrap().clone();
        if publications.len() <= 10 {
            break publications;
        }
        tokio::task::yield_now().await;
    };
    let offsets: Vec<u64> = kept.iter().map(|one| one["offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted() && offsets.last().is_none_or(|last| *last == 60), "{offsets:?}");
    // Whoever missed what was forgotten is told.
    let mut client = daemon.websocket(CENTRIFUGE).await;
    client.connect("alice").await;
    client.subscribe("r").await;
    client.send(r#"{"id":3,"unsubscribe":{"channel":"r"}}"#).await;
    client.json().await;
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_the_oldest_makes_room() {
    let daemon = Daemon::start(&[TRIAL, "limits.sessions_per_user=2"]).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut client = daemon.websocket(CENTRIFUGE).await;
        client.connect("alice").await;
        sessions.push(client);
    }
    assert_eq!(sessions[0].next().await, "close 3504 a user may have 2 sessions: the oldest goes");
    assert!(tokio::time::timeout(BRIEF, sessions[1].next()).await.is_err());
}

#[tokio::test]
async fn there_are_so_many_rooms_and_one_more_is_refused() {
    let daemon = Daemon::start(&[TRIAL, "limits.rooms=1"]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    alice.subscribe("one").await;
    alice.send(r#"{"id":3,"subscribe":{"channel":"two"}}"#).await;
    let reply = alice.json().await;
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(3), &json!(111)), "{reply}");
    alice.send(r#"{"id":4,"publish":{"channel":"one","data":1}}"#).await;
    assert_eq!(alice.json().await["push"]["channel"], "one", "nothing else is lost");
}
