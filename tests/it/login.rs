//! Logins against a business API that answers well, badly, slowly, or not at all.

#![allow(clippy::disallowed_methods, reason = "the tasks of a test end with its runtime")]

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::daemon::Daemon;
use crate::daemon::is;
use crate::daemon::within;

/// A business API that answers every question the same way, and tells what it was asked.
struct Backend {
    url: String,
    asked: mpsc::Receiver<String>,
}

/// Never answers.
const SILENCE: &str = "";

impl Backend {
    async fn start(status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/auth", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let size = stream.read(&mut request).await.unwrap();
                    let line = String::from_utf8_lossy(&request[..size]).lines().next().unwrap().to_owned();
                    tell.send(line).await.unwrap();
                    if status == SILENCE {
                        // Held open until the client gives up.
                        drop(stream.read(&mut request).await);
                        return;
                    }
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        Self { url, asked }
    }

    async fn daemon(&self) -> Daemon {
        let url = format!("auth.api_url={}", self.url);
        Daemon::start(&["auth.mode=api", &url, "auth.api_timeout=300ms"]).await
    }
}

#[tokio::test]
async fn the_business_api_names_the_user_and_the_rooms() {
    let mut backend = Backend::start("200 OK", r#"{"error":"","uid":"u1","cids":["r1","r2"]}"#).await;
    let daemon = backend.daemon().await;
    let mut text = daemon.websocket("/ws?token=a%20b%26c").await;
    let asked = within("a question", backend.asked.recv()).await.unwrap();
    assert_eq!(asked, "GET /auth?token=a%20b%26c HTTP/1.1", "escaped, as the original did not");
    let mut json_side = daemon.websocket("/connection/websocket").await;
    json_side.send(r#"{"id":1,"connect":{"token":"t"}}"#).await;
    let subs = json_side.json().await["connect"]["subs"].take();
    assert_eq!(subs.as_object().unwrap().keys().collect::<Vec<_>>(), ["r1", "r2"]);
    json_side.send(r#"{"id":2,"publish":{"channel":"r1","data":{"p":"rcvMsg"}}}"#).await;
    assert_eq!(text.next().await, r#"{"p":"rcvMsg"}"#, "the text client is in its rooms without asking");
    json_side.send(r#"{"id":3,"subscribe":{"channel":"r1"}}"#).await;
    let replies = [json_side.json().await, json_side.json().await, json_side.json().await];
    assert!(
        replies.iter().any(|reply| reply["id"] == 3 && reply["subscribe"]["offset"] == 1),
        "a room of the login may be subscribed to as well"
    );
    let joined = daemon.log.record("room_manage", is("room_manage")).await;
    assert_eq!(joined["user_id"], "u1");
}

#[tokio::test]
async fn the_push_dialect_keeps_the_close_codes_of_the_original() {
    let cases = [
        ("200 OK", r#"{"error":"bad token"}"#, "close 4008 bad token"),
        ("200 OK", r#"{"error":"","uid":""}"#, "close 4008 user info get error."),
        ("200 OK", "<html>", "close 4008 http service return invalid nil."),
        ("200 OK", "", "close 4008 http service return invalid nil."),
        ("500 Internal Server Error", "{}", "close 4006 http server connected failed."),
        (SILENCE, "", "close 4006 http server connected failed."),
    ];
    for (status, body, expected) in cases {
        let backend = Backend::start(status, body).await;
        let daemon = backend.daemon().await;
        let mut client = daemon.websocket("/ws?token=t").await;
        assert_eq!(client.next().await, expected, "{status} {body}");
        let record = daemon.log.record("login", is("login")).await;
        assert!(expected.contains(record["err_code"].as_str().unwrap()), "{record}");
        assert!(record.get("token").is_some(), "the hash of the token finds the login: {record}");
    }
    let daemon = Daemon::start(&["auth.mode=api", "auth.api_url=http://127.0.0.1:1/auth"]).await;
    let mut client = daemon.websocket("/ws").await;
    assert_eq!(client.next().await, "close 4001 token is nil.");
    let mut client = daemon.websocket("/ws?token=t").await;
    assert_eq!(client.next().await, "close 4006 http server connected failed.");
    let record = daemon.log.record("login", is("login")).await;
    assert!(record["err"].as_str().unwrap().contains("Connection refused"), "the log says why: {record}");
}

#[tokio::test]
async fn the_centrifuge_dialect_comes_back_after_faults_of_the_backend_and_stays_away_after_a_refusal() {
    let cases = [
        ("200 OK", r#"{"error":"bad token"}"#, "close 3500 bad token"),
        ("503 Service Unavailable", "", "close 3004 login service unavailable"),
        (SILENCE, "", "close 3004 login service unavailable"),
        ("200 OK", "[]", "close 3004 login service unavailable"),
    ];
    for (status, body, expected) in cases {
        let backend = Backend::start(status, body).await;
        let daemon = backend.daemon().await;
        let mut client = daemon.websocket("/connection/websocket").await;
        client.send(r#"{"id":1,"connect":{"token":"t"}}"#).await;
        assert_eq!(client.next().await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn nothing_is_lost_between_the_upgrade_and_the_end_of_the_login() {
    let backend = Backend::start("200 OK", r#"{"uid":"u1","cids":["r1"]}"#).await;
    let daemon = backend.daemon().await;
    let mut client = daemon.websocket("/connection/websocket").await;
    client.send("{\"id\":1,\"connect\":{\"token\":\"t\"}}\n{\"id\":2,\"publish\":{\"channel\":\"r1\",\"data\":1}}").await;
    assert_eq!(client.json().await["id"], 1);
    assert_eq!(client.json().await["push"]["pub"]["data"], 1);
    assert_eq!(client.json().await, json!({"id":2,"publish":{}}));
}
