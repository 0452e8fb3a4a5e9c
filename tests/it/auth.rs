//! Logins against a business API and an issuer of keys that change their minds, and limits on how often clients come.

#![allow(clippy::disallowed_methods, reason = "the tasks of a test end with its runtime")]

use std::sync::Arc;
use std::sync::Mutex;

use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::daemon::Client;
use crate::daemon::Daemon;
use crate::daemon::exchange;
use crate::daemon::is;
use crate::daemon::within;

/// An HTTP server that answers each question as it was last told to.
#[derive(Clone)]
struct Backend {
    url: String,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// Statuses for the next questions, before `answer` counts.
    first: Vec<u16>,
    status: u16,
    body: String,
    asked: Vec<String>,
}

impl Backend {
    async fn start(status: u16, body: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ask", listener.local_addr().unwrap());
        let script = Script { status, body: body.into(), ..Script::default() };
        let backend = Self { url, script: Arc::new(Mutex::new(script)) };
        let there = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(there.clone().serve(stream));
            }
        });
        backend
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut request = vec![0; 8192];
        let size = stream.read(&mut request).await.unwrap();
        let line = String::from_utf8_lossy(&request[..size]).lines().next().unwrap_or_default().to_owned();
        let answer = {
            let mut script = self.script.lock().unwrap();
            script.asked.push(line);
            let status = if script.first.is_empty() { script.status } else { script.first.remove(0) };
            let body = if status == 200 { script.body.as_str() } else { "" };
            format!(
                "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn say(&self, status: u16, body: impl Into<String>) {
        let mut script = self.script.lock().unwrap();
        (script.status, script.body) = (status, body.into());
    }

    fn say_first(&self, statuses: &[u16]) {
        self.script.lock().unwrap().first = statuses.to_vec();
    }

    fn asked(&self) -> usize {
        self.script.lock().unwrap().asked.len()
    }

    /// A daemon that asks this business API.
    async fn daemon(&self, more: &[&str]) -> Daemon {
        let url = format!("auth.api_url={}", self.url);
        let mut sets = vec!["auth.mode=api", url.as_str()];
        sets.extend(more);
        Daemon::start(&sets).await
    }
}

const U1: &str = r#"{"error":"","uid":"u1","cids":["r1"]}"#;

/// Tries to log in: the rooms, or how the connection ended.
async fn login(daemon: &Daemon, token: &str) -> String {
    let mut client = daemon.websocket("/connection/websocket").await;
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)).await;
    let said = client.next().await;
    match serde_json::from_str::<Value>(&said) {
        Ok(reply) => reply["connect"]["subs"]
            .as_object()
            .map(|rooms| rooms.keys().cloned().collect::<Vec<_>>().join(" "))
            .unwrap_or_default(),
        Err(_) => said,
    }
}

const IN: &str = "r1";
const AWAY: &str = "close 3004 login service unavailable";

/// The value of a metric; 0 when it is not there.
async fn metric(daemon: &Daemon, name: &str) -> u64 {
    let (_, text) = daemon.admin("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_good_answer_is_asked_for_once_while_it_counts() {
    let backend = Backend::start(200, U1).await;
    let daemon = backend.daemon(&["auth.api_cache=1h"]).await;
    let logins = (0..5).map(|_| login(&daemon, "t"));
    let said = futures_util::future::join_all(logins).await;
    assert_eq!(said, [IN; 5]);
    assert_eq!(backend.asked(), 1, "at the same time or later");
    assert_eq!(login(&daemon, "other").await, IN);
    assert_eq!(backend.asked(), 2);
    backend.say(200, r#"{"error":"blocked"}"#);
    assert_eq!(login(&daemon, "t").await, IN, "the answer counts for its time");
    assert_eq!(login(&daemon, "third").await, "close 3500 blocked");
    assert_eq!(login(&daemon, "third").await, "close 3500 blocked");
    assert_eq!(backend.asked(), 4, "a refusal is not kept");
    let cached = metric(&daemon, "pillion_auth_api_logins_total{reason=\"cached\"}").await;
    let shared = metric(&daemon, "pillion_auth_api_logins_total{reason=\"shared\"}").await;
    assert_eq!(cached + shared, 5);
}

#[tokio::test]
async fn a_reload_that_leaves_auth_alone_keeps_what_is_known() {
    let backend = Backend::start(200, U1).await;
    let daemon = backend.daemon(&["auth.api_cache=1h"]).await;
    assert_eq!(login(&daemon, "t").await, IN);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.log.record("config_reload", is("config_reload")).await;
    assert_eq!(login(&daemon, "t").await, IN);
    assert_eq!(backend.asked(), 1);
}

#[tokio::test]
async fn without_a_cache_every_login_is_a_question() {
    let backend = Backend::start(200, U1).await;
    let daemon = backend.daemon(&[]).await;
    for questions in 1..=3 {
        assert_eq!(login(&daemon, "t").await, IN);
        assert_eq!(backend.asked(), questions);
    }
}

#[tokio::test]
async fn while_the_api_is_away_an_old_answer_counts_until_a_refusal() {
    let backend = Backend::start(200, U1).await;
    let daemon = backend.daemon(&["auth.api_stale=1h", "auth.api_failures=1000"]).await;
    assert_eq!(login(&daemon, "t").await, IN);
    backend.say(500, "");
    assert_eq!(login(&daemon, "t").await, IN);
    assert_eq!(login(&daemon, "unknown").await, AWAY);
    backend.say(200, "<html>maintenance</html>");
    assert_eq!(login(&daemon, "t").await, IN, "an answer that makes no sense is none");
    backend.say(403, "");
    assert_eq!(login(&daemon, "t").await, AWAY, "a status about the token is an answer");
    backend.say(200, r#"{"error":"blocked"}"#);
    assert_eq!(login(&daemon, "t").await, "close 3500 blocked");
    backend.say(500, "");
    assert_eq!(login(&daemon, "t").await, AWAY, "whoever was refused is not let in by an older answer");
    assert_eq!(metric(&daemon, "pillion_auth_api_logins_total{reason=\"stale\"}").await, 2);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_is_about_the_token_is_not() {
    let backend = Backend::start(200, U1).await;
    let daemon = backend.daemon(&["auth.api_failures=1000"]).await;
    backend.say_first(&[503, 429]);
    assert_eq!(login(&daemon, "t").await, IN);
    assert_eq!(backend.asked(), 3);
    backend.say_first(&[401]);
    assert_eq!(login(&daemon, "t").await, AWAY);
    assert_eq!(backend.asked(), 4);
    backend.say_first(&[500, 500, 500]);
    assert_eq!(login(&daemon, "t").await, AWAY);
    assert_eq!(backend.asked(), 7, "three tries and no more");
    assert_eq!(metric(&daemon, "pillion_auth_api_retries_total").await, 4);
}

#[tokio::test]
async fn an_api_that_fails_is_left_alone_until_it_is_back() {
    let backend = Backend::start(500, "").await;
    let daemon = backend.daemon(&["auth.api_failures=3"]).await;
    assert_eq!(login(&daemon, "t").await, AWAY);
    assert_eq!(backend.asked(), 3);
    assert_eq!(metric(&daemon, "pillion_auth_api_away").await, 1);
    for _ in 0..5 {
        assert_eq!(login(&daemon, "t").await, AWAY);
    }
    let refused = daemon.log.record("why", |record| record["err"].to_string().contains("left alone")).await;
    assert_eq!(refused["action"], "login", "{refused}");
    assert!(backend.asked() <= 4, "five logins cost the failing API a probe at the most");
    backend.say(200, U1);
    within("the API is asked again", async { while login(&daemon, "t").await != IN {} }).await;
    assert_eq!(metric(&daemon, "pillion_auth_api_away").await, 0);
    daemon.log.record("it is back", |record| record["message"].to_string().contains("answers again")).await;
    let (_, said, _) = daemon.stop().await;
    assert_eq!(said.matches("the business API fails").count(), 1, "{said}");
    assert_eq!(said.matches("the business API answers again").count(), 1, "{said}");
}

#[tokio::test]
async fn broken_tokens_do_not_make_the_api_look_broken() {
    let backend = Backend::start(400, "").await;
    let daemon = backend.daemon(&["auth.api_failures=1"]).await;
    for _ in 0..3 {
        assert_eq!(login(&daemon, "broken").await, AWAY);
    }
    backend.say(200, U1);
    assert_eq!(login(&daemon, "t").await, IN);
}

/// An issuer's key, with its public half as it publishes it.
struct Key {
    signing: EncodingKey,
    public: Jwk,
    pem: String,
}

impl Key {
    fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
        public.common.key_id = Some(id.to_owned());
        Self { signing, public, pem: pair.public_key_pem() }
    }

    fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid.clone_from(&self.public.common.key_id);
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

fn set(keys: &[&Key]) -> String {
    let mut all = vec![json!({"kty": "strange", "kid": "s"})];
    all.extend(keys.iter().map(|key| serde_json::to_value(&key.public).unwrap()));
    json!({ "keys": all }).to_string()
}

#[tokio::test]
async fn an_issuer_changes_its_keys_and_may_be_away() {
    let (old, new, unknown) = (Key::new("old"), Key::new("new"), Key::new("unknown"));
    let claims = json!({"sub": "u1", "channels": ["r1"]});
    let issuer = Backend::start(200, set(&[&old])).await;
    let url = format!("auth.jwks_url={}", issuer.url);
    let daemon = Daemon::start(&["auth.mode=jwt", &url, "auth.jwks_pause=1ms"]).await;
    assert_eq!(issuer.asked(), 0, "the keys are read when they are needed");
    assert_eq!(login(&daemon, &old.token(&claims)).await, IN);
    assert_eq!(login(&daemon, &old.token(&claims)).await, IN);
    assert_eq!(issuer.asked(), 1);

    issuer.say(200, set(&[&old, &new]));
    assert_eq!(login(&daemon, &new.token(&claims)).await, IN, "a new key is found at once");
    assert_eq!(login(&daemon, &old.token(&claims)).await, IN, "the old one still counts");
    assert_eq!(issuer.asked(), 2);

    issuer.say(503, "");
    assert_eq!(login(&daemon, &new.token(&claims)).await, IN, "known keys count while the issuer is away");
    assert_eq!(login(&daemon, &unknown.token(&claims)).await, AWAY, "and perhaps it has this one");
    issuer.say(200, "nonsense");
    assert_eq!(login(&daemon, &unknown.token(&claims)).await, AWAY);
    assert_eq!(login(&daemon, &old.token(&claims)).await, IN);

    issuer.say(200, set(&[&new]));
    let refused = login(&daemon, &unknown.token(&claims)).await;
    assert!(
        refused.starts_with("close 3500 invalid token: no key of auth.jwks_url is called \"unknown\""),
        "{refused}"
    );
    assert!(
        login(&daemon, &old.token(&claims)).await.starts_with("close 3500"),
        "a key that is gone no longer counts"
    );
    let forged = Key { public: new.public.clone(), ..Key::new("") };
    let refused = login(&daemon, &forged.token(&claims)).await;
    assert_eq!(refused, "close 3500 invalid token: its signature does not match the key");
}

#[tokio::test]
async fn made_up_keys_do_not_become_questions_to_the_issuer() {
    let known = Key::new("known");
    let issuer = Backend::start(200, set(&[&known])).await;
    let url = format!("auth.jwks_url={}", issuer.url);
    let daemon = Daemon::start(&["auth.mode=jwt", &url, "auth.jwks_pause=1h"]).await;
    for name in 0..5 {
        let refused = login(&daemon, &Key::new(&name.to_string()).token(&json!({"sub": "u1"}))).await;
        assert!(refused.starts_with("close 3500 invalid token"), "{refused}");
    }
    assert_eq!(issuer.asked(), 1);
    assert_eq!(login(&daemon, &known.token(&json!({"channels": ["r1"]}))).await, IN);
}

#[tokio::test]
async fn old_keys_are_read_again_without_keeping_anybody_waiting() {
    let (old, new) = (Key::new("k"), Key::new("k"));
    let claims = json!({"sub": "u1", "channels": ["r1"]});
    let issuer = Backend::start(200, set(&[&old])).await;
    let url = format!("auth.jwks_url={}", issuer.url);
    let daemon =
        Daemon::start(&["auth.mode=jwt", &url, "auth.jwks_refresh=1ms", "auth.jwks_pause=1ms"]).await;
    assert_eq!(login(&daemon, &old.token(&claims)).await, IN);
    issuer.say(200, set(&[&new]));
    within("the new keys count", async { while login(&daemon, &new.token(&claims)).await != IN {} }).await;
}

#[tokio::test]
async fn a_public_key_from_a_file_checks_tokens() {
    let key = Key::new("any");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &key.pem).unwrap();
    let set = format!("auth.jwt_public_key_file={}", file.path().display());
    let daemon = Daemon::start(&["auth.mode=jwt", &set]).await;
    assert_eq!(login(&daemon, &key.token(&json!({"sub": "u1", "channels": ["r1"]}))).await, IN);
    let refused = login(&daemon, &Key::new("any").token(&json!({"sub": "u1"}))).await;
    assert_eq!(refused, "close 3500 invalid token: its signature does not match the key");
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_told_when_to_come_back() {
    let daemon = Daemon::start(&["auth.insecure=true", "limits.connect_rate=1/h"]).await;
    let upgrade = |address: &str| {
        format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{address}\r\n"
        )
    };
    let socket = daemon.path("pillion.sock");
    let first = exchange(&socket, &upgrade("X-Real-IP: 192.0.2.7\r\n")).await;
    assert!(first.starts_with("HTTP/1.1 101"), "{first}");
    let second = exchange(&socket, &upgrade("X-Real-IP: 192.0.2.7\r\n")).await;
    assert!(second.starts_with("HTTP/1.1 429") && second.contains("\r\nretry-after: 3600\r\n"), "{second}");
    assert!(second.contains("too many connects from this address; try again in 3600 s"), "{second}");
    assert!(exchange(&socket, &upgrade("X-Real-IP: 192.0.2.8\r\n")).await.starts_with("HTTP/1.1 101"));
    for _ in 0..2 {
        let nobody = exchange(&socket, &upgrade("")).await;
        assert!(nobody.starts_with("HTTP/1.1 101"), "whom nobody names is not counted: {nobody}");
    }
    let record = daemon.log.record("the refusal", |record| record["err_code"] == "429").await;
    assert_eq!((&record["action"], &record["client"]), (&json!("wsconn"), &json!("192.0.2.7")), "{record}");
    assert_eq!(metric(&daemon, "pillion_limits_refused_total{reason=\"connect\"}").await, 1);
}

/// Sends a command and gives the error code of its answer, 0 when there is none.
async fn code(client: &mut Client, command: &str) -> u64 {
    client.send(command).await;
    loop {
        let reply = client.json().await;
        if reply.get("id").is_some() {
            return reply["error"]["code"].as_u64().unwrap_or(0);
        }
    }
}

#[tokio::test]
async fn a_user_that_does_too_much_gets_an_error_and_keeps_its_session() {
    let limits = ["limits.connect_rate_user=3/h", "limits.join_rate=2/h", "limits.publish_rate=2/h"];
    let daemon = Daemon::start(&[&["auth.insecure=true"][..], &limits].concat()).await;
    let mut first = daemon.websocket("/connection/websocket").await;
    first.connect("u1").await;
    let mut second = daemon.websocket("/connection/websocket").await;
    second.connect("u1").await;
    let mut other = daemon.websocket("/connection/websocket").await;
    other.connect("u2").await;
    assert_eq!(code(&mut first, r#"{"id":2,"subscribe":{"channel":"a"}}"#).await, 0);
    assert_eq!(code(&mut second, r#"{"id":2,"subscribe":{"channel":"a"}}"#).await, 0);
    assert_eq!(code(&mut first, r#"{"id":3,"subscribe":{"channel":"b"}}"#).await, 111);
    assert_eq!(code(&mut other, r#"{"id":2,"subscribe":{"channel":"b"}}"#).await, 0);
    assert_eq!(code(&mut first, r#"{"id":4,"publish":{"channel":"a","data":1}}"#).await, 0);
    assert_eq!(code(&mut second, r#"{"id":4,"publish":{"channel":"a","data":2}}"#).await, 0);
    assert_eq!(code(&mut second, r#"{"id":5,"publish":{"channel":"a","data":3}}"#).await, 111);
    assert_eq!(code(&mut second, r#"{"id":6,"ping":{}}"#).await, 0);
    let mut third = daemon.websocket("/connection/websocket").await;
    third.connect("u1").await;
    assert_eq!(login(&daemon, "u1").await, "close 3013 too many logins of this user; try again in 1200 s");
}
