//! The rules of rooms, changed while the daemon runs.

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::daemon::Daemon;
use crate::daemon::LogServer;
use crate::server_api::Heard;
use crate::server_api::TRIAL;
use crate::server_api::ask;

const FILE: &str = r#"gateway.namespace=[{name="news", publish="nobody"}]"#;

async fn admin(daemon: &Daemon, line: &str, body: &str) -> Heard {
    ask(daemon, "admin.sock", (line, ""), body).await
}

async fn names(daemon: &Daemon) -> Vec<String> {
    let listed = admin(daemon, "GET /namespaces", "").await.json();
    let shown = |namespace: &Value| {
        format!("{}:{}", namespace["name"].as_str().unwrap(), namespace["source"].as_str().unwrap())
    };
    listed["namespaces"].as_array().unwrap().iter().map(shown).collect()
}

#[tokio::test]
async fn new_rules_count_at_once_for_rooms_and_sessions_that_are_there() {
    let daemon = Daemon::start(&[TRIAL, FILE]).await;
    let mut client = daemon.websocket("/connection/websocket").await;
    client.connect("alice").await;
    client.subscribe("news:1").await;
    let publish = r#"{"id":9,"publish":{"channel":"news:1","data":1}}"#;
    client.send(publish).await;
    assert_eq!(client.json().await["error"]["code"], 103);

    let put = admin(&daemon, "PUT /namespaces/news", r#"{"publish":"members"}"#).await;
    assert_eq!(put.status, 200, "{}", put.body);
    let shown = put.json();
    assert_eq!((&shown["publish"], &shown["subscribe"]), (&json!("members"), &json!("token")));
    assert_eq!((&shown["name"], &shown["source"]), (&json!("news"), &json!("api")));
    client.send(publish).await;
    assert_eq!(client.json().await["push"]["pub"]["data"], 1);
    assert!(client.json().await["publish"].is_object());
    let record = daemon.log.record("config_reload", |record| record["action"] == "config_reload").await;
    assert_eq!(record["desc"], r#"namespace "news" put by the API: {"publish":"members"}"#);

    let removed = admin(&daemon, "DELETE /namespaces/news", "").await;
    assert_eq!((removed.status, removed.json()), (200, json!({"removed": "news"})));
    assert_eq!(admin(&daemon, "GET /namespaces/news", "").await.json()["source"], "file");
    client.send(publish).await;
    assert_eq!(client.json().await["error"]["code"], 103);
    assert_eq!(admin(&daemon, "DELETE /namespaces/news", "").await.status, 404);
}

#[tokio::test]
async fn rules_that_were_put_outlive_a_reload_and_a_kill() {
    let mut daemon = Daemon::start(&[TRIAL, FILE]).await;
    assert_eq!(names(&daemon).await, [":file", "live:file", "news:file"]);
    for (line, body) in [("PUT /namespaces/chat", r#"{"subscribe":"anyone"}"#), ("PUT /namespaces/", "{}")] {
        assert_eq!(admin(&daemon, line, body).await.status, 200, "{line}");
    }
    let expected = [":api", "chat:api", "live:file", "news:file"];
    assert_eq!(names(&daemon).await, expected);
    daemon.signal(Signal::HUP);
    daemon.log.record("the reload", |record| record["desc"] == "changed: nothing").await;
    assert_eq!(names(&daemon).await, expected);

    daemon.signal(Signal::KILL);
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    daemon.ended().await;
    let sink = directory.path().join("sink.sock");
    std::fs::remove_file(&sink).unwrap();
    std::fs::remove_file(directory.path().join("notify.sock")).unwrap();
    let daemon = Daemon::start_in(directory, LogServer::start(&sink), &[TRIAL, FILE]).await;
    assert_eq!(names(&daemon).await, expected);
    assert_eq!(admin(&daemon, "GET /namespaces/chat", "").await.json()["subscribe"], "anyone");
}

#[tokio::test]
async fn what_is_wrong_with_rules_is_said_like_in_the_file_and_changes_nothing() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for (line, body, status, words) in [
        ("PUT /namespaces/chat", r#"{"subscribe":"anyon"}"#, 400, "subscribe: \"anyon\" is not known"),
        ("PUT /namespaces/chat", r#"{"subscrbe":"anyone"}"#, 400, "did you mean \"subscribe\"?"),
        ("PUT /namespaces/a:b", "{}", 400, "has a colon"),
        ("PUT /namespaces/a%20b", "{}", 400, "white space"),
        ("PUT /namespaces/chat", r#"{"name":"other"}"#, 400, "the address names the namespace"),
        ("PUT /namespaces/chat", "[]", 400, "should be a JSON object"),
        ("GET /namespaces/chat", "", 404, "no rules are written"),
        ("POST /namespaces/chat", "{}", 405, "GET, HEAD, PUT, DELETE"),
        ("DELETE /namespaces", "", 405, "GET, HEAD"),
    ] {
        let heard = admin(&daemon, line, body).await;
        assert_eq!(heard.status, status, "{line} {body}: {}", heard.body);
        let message = heard.json()["message"].clone();
        assert!(message.as_str().unwrap().contains(words), "{line} {body}: {message}");
    }
    assert_eq!(names(&daemon).await, [":file", "live:file"]);
}
