//! Everything together: a real nginx before a real daemon, the published SDK and browsers' view before nginx.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::daemon::Daemon;
use crate::daemon::is;
use crate::daemon::within;
use crate::nginx::Nginx;
use crate::server_api::KEYS;
use crate::shipped;
use crate::trial;

const TRIAL: &str = "auth.insecure=true";

struct Site {
    nginx: Nginx,
    daemon: Daemon,
}

/// nginx before a daemon that takes nginx's logs.
async fn site(more: &[&str]) -> Site {
    let daemon = Daemon::start(&[&[TRIAL], more].concat()).await;
    let prefix = daemon.path("nginx");
    fs::create_dir(&prefix).unwrap();
    trial::certificate(&prefix);
    let syslog = format!("unix:{}", daemon.path("log.sock").display());
    let nginx = Nginx::start(&prefix, &daemon.path("pillion.sock"), &syslog);
    Site { nginx, daemon }
}

/// Runs a script of tests/sdk; the machine must have node and its packages (`make test` installs them).
async fn script(name: &str, arguments: &[&str]) -> String {
    let folder = shipped::root().join("tests/sdk");
    assert!(
        ["centrifuge", "cent.js"].iter().all(|package| folder.join("node_modules").join(package).is_dir()),
        "the published SDKs are not installed, and these tests run it: npm --prefix tests/sdk ci"
    );
    let output = Command::new("node")
        .arg(folder.join(name))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("the script ends", output).await.expect("node is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn the_published_sdk_talks_through_nginx_with_both_dialects() {
    let site = site(&[]).await;
    let said = script("talk.mjs", &[&format!("ws://localhost:{}", site.nginx.http)]).await;
    assert_eq!(said, "talked\n");
    let ca = site.daemon.path("nginx").join("cert.pem");
    let said = script("talk.mjs", &[&format!("wss://localhost:{}", site.nginx.https), path(&ca)]).await;
    assert_eq!(said, "talked\n");
}

#[tokio::test]
async fn a_published_library_for_backends_works_through_nginx() {
    let site = site(&[KEYS]).await;
    let said =
        script("backend.mjs", &[&format!("http://localhost:{}", site.nginx.http), "the-key-for-everything"])
            .await;
    assert_eq!(said, "driven\n");
    let by_key =
        |record: &Value| record["desc"].as_str().is_some_and(|desc| desc.ends_with("from the key all"));
    let told = site
        .daemon
        .log
        .record("the message", |record| record["action"] == "room_msg" && by_key(record))
        .await;
    assert_eq!((told["room_id"].as_str(), told["client"].as_str()), (Some("lobby"), Some("127.0.0.1")));
}

#[tokio::test]
async fn the_published_sdk_talks_and_resumes_through_nginx_without_websockets() {
    let site = site(&[]).await;
    let base = format!("http://localhost:{}", site.nginx.http);
    for transport in ["sse", "http_stream", "http_stream_protobuf"] {
        assert_eq!(script("emulate.mjs", &[&base, transport]).await, "talked\n", "{transport}");
    }
    assert_eq!(script("listen.mjs", &[&base]).await, "listened\n");
    let access = |record: &Value| record["action"] == "nginx_access" && record["path"] == "/connection/sse";
    let access = site.daemon.log.record("the access line of a stream", access).await;
    let session = access["session_id"].as_str().unwrap().to_owned();
    let login = |record: &Value| record["action"] == "login" && record["session_id"] == session.as_str();
    let login = site.daemon.log.record("its login", login).await;
    assert_eq!(
        (login["dialect"].as_str(), login["client"].as_str()),
        (Some("centrifuge-sse"), Some("127.0.0.1"))
    );
}

#[tokio::test]
async fn nginx_and_pillion_log_the_same_request_and_session() {
    let site = site(&[]).await;
    script("talk.mjs", &[&format!("ws://localhost:{}", site.nginx.http)]).await;
    let log = &site.daemon.log;
    let login =
        log.record("login", |record| record["action"] == "login" && record["user_id"] == "alice").await;
    let (request, session) = (login["request_id"].clone(), login["session_id"].clone());
    assert_eq!(login["client"], "127.0.0.1", "the address that nginx saw");
    let access = log
        .record("the access line", |record| {
            record["action"] == "nginx_access" && record["request_id"] == request
        })
        .await;
    assert_eq!(access["session_id"], session, "Kibana finds both by the session");
    assert_eq!(
        (access["status"].as_u64(), access["path"].as_str()),
        (Some(101), Some("/connection/websocket"))
    );
    let carol = log
        .record("carol's access line", |record| record["action"] == "nginx_access" && record["path"] == "/ws")
        .await;
    let text = serde_json::to_string(&log.records()).unwrap();
    assert!(!text.contains("token=carol"), "no token in any line: {carol}");
}

#[tokio::test]
async fn an_error_of_nginx_becomes_a_record_without_the_token() {
    let site = site(&[]).await;
    let log = &site.daemon.log;
    // Without its socket file pillion can not be reached, and nginx says so.
    fs::remove_file(site.daemon.path("pillion.sock")).unwrap();
    let request = "GET /ws?token=secret HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", site.nginx.http)).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let error = log.record("the error line", is("nginx_error")).await;
    assert_eq!((error["log.level"].as_str(), error["client"].as_str()), (Some("error"), Some("127.0.0.1")));
    assert!(error["message"].as_str().unwrap().contains("No such file or directory"), "{error}");
    let access = log.record("the access line", is("nginx_access")).await;
    assert_eq!(access["status"], 502);
    let text = serde_json::to_string(&log.records()).unwrap();
    assert!(!text.contains("secret"), "no token in any line: {text}");
}

#[tokio::test]
async fn records_name_only_fields_of_the_list() {
    let site = site(&["log.legacy_fields=true"]).await;
    script("talk.mjs", &[&format!("ws://localhost:{}", site.nginx.http)]).await;
    let records = site.daemon.stop().await.2;
    assert!(records.len() > 20, "only {} records", records.len());
    let known: Vec<&str> = pillion::record::FIELDS.iter().map(|field| field.name).collect();
    for record in records {
        for key in record.as_object().unwrap().keys() {
            let listed = known.contains(&key.as_str()) || key.starts_with("labels.");
            assert!(listed, "{key} is not in the list: {record}");
        }
        assert!(matches!(record["@timestamp"], Value::String(_)), "{record}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
