//! Clients without websockets: server-sent events and answers without end, with commands by requests of their own.

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::daemon::Daemon;
use crate::daemon::exchange;
use crate::daemon::is;
use crate::daemon::within;
use crate::trial::header;

const TRIAL: &str = "auth.insecure=true";

/// An answer that goes on.
struct Streamed {
    stream: UnixStream,
    head: String,
    /// What has come and is in chunks yet.
    raw: Vec<u8>,
    /// What was in the chunks and was not taken yet.
    body: Vec<u8>,
    /// True behind the last chunk.
    whole: bool,
}

impl Streamed {
    /// Sends a request and reads the head of the answer.
    async fn open(daemon: &Daemon, method: &str, target: &str, headers: &str, body: &[u8]) -> Self {
        let mut stream = UnixStream::connect(daemon.path("pillion.sock")).await.unwrap();
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(within("a head", stream.read_buf(&mut raw)).await.unwrap() > 0, "no answer");
        };
        let head = String::from_utf8(raw.drain(..end + 4).collect()).unwrap();
        Self { stream, head, raw, body: Vec::new(), whole: false }
    }

    async fn get(daemon: &Daemon, path: &str, login: &Value, headers: &str) -> Self {
        let escaped: String = login.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
        Self::open(daemon, "GET", &format!("{path}?cf_connect={escaped}"), headers, b"").await
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// Takes what is whole out of its chunks.
    fn unchunk(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).unwrap(), 16).unwrap();
            let end = line + 2 + size + 2;
            if self.raw.len() < end {
                return;
            }
            self.body.extend_from_slice(&self.raw[line + 2..end - 2]);
            self.raw.drain(..end);
            self.whole |= size == 0;
        }
    }

    /// Reads on; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let read = within("more of the answer", self.stream.read_buf(&mut self.raw)).await;
        self.unchunk();
        read.is_ok_and(|read| read > 0)
    }

    /// The next bytes up to a mark, without it.
    async fn next(&mut self, mark: &[u8]) -> Vec<u8> {
        self.unchunk();
        loop {
            if let Some(end) = self.body.windows(mark.len()).position(|bytes| bytes == mark) {
                let next = self.body.drain(..end).collect();
                self.body.drain(..mark.len());
                return next;
            }
            assert!(self.more().await, "the answer ended behind {:?}", String::from_utf8_lossy(&self.body));
        }
    }

    /// The next event: its id, and its data as JSON.
    async fn event(&mut self) -> (String, Value) {
        let event = String::from_utf8(self.next(b"\n\n").await).unwrap();
        let of =
            |name: &str| event.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::to_owned);
        let data = of("data: ").unwrap_or_else(|| panic!("no data: {event:?}"));
        (of("id: ").unwrap_or_default(), serde_json::from_str(&data).unwrap())
    }

    /// The next line as JSON.
    async fn line(&mut self) -> Value {
        serde_json::from_slice(&self.next(b"\n").await).unwrap()
    }

    /// Reads to the end; true when the answer came whole.
    async fn ends(&mut self) -> bool {
        while self.more().await {}
        self.whole
    }
}

/// A POST, and the whole answer.
async fn post(daemon: &Daemon, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    exchange(&daemon.path("pillion.sock"), &request).await
}

async fn publish(daemon: &Daemon, room: &str, data: &Value) {
    let body = json!({ "channel": room, "data": data }).to_string();
    let answer = post(daemon, "/api/publish", "", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Brings a command to the session of a connect reply; gives the status.
async fn emulate(daemon: &Daemon, connected: &Value, command: &Value) -> String {
    let body = json!({
        "session": connected["session"], "node": connected["node"], "data": command.to_string(),
    });
    let answer = post(daemon, "/emulation", "Content-Type: application/json\r\n", &body.to_string()).await;
    answer.split(' ').nth(1).unwrap().to_owned()
}

fn login(user: &str) -> Value {
    json!({"id": 1, "connect": {"token": user}})
}

async fn sse(daemon: &Daemon, user: &str) -> (Streamed, Value) {
    let mut streamed = Streamed::get(daemon, "/connection/sse", &login(user), "").await;
    assert_eq!(streamed.status(), "200", "{}", streamed.head);
    let connected = streamed.event().await.1["connect"].take();
    (streamed, connected)
}

fn subscribe(room: &str, since: Option<&Value>) -> Value {
    let mut subscribe = json!({ "channel": room });
    if let Some(since) = since {
        subscribe["recover"] = true.into();
        subscribe["epoch"] = since["epoch"].clone();
        subscribe["offset"] = since["offset"].clone();
    }
    json!({"id": 2, "subscribe": subscribe})
}

#[tokio::test]
async fn a_session_on_events_hears_on_one_way_and_speaks_on_the_other() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let (mut alice, connected) = sse(&daemon, "alice").await;
    assert_eq!(header(&alice.head, "content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(header(&alice.head, "x-accel-buffering"), Some("no"));
    assert_eq!(header(&alice.head, "x-session-id"), connected["client"].as_str());
    assert_eq!((connected["ping"].as_u64(), connected["pong"].as_bool()), (Some(25), Some(true)));
    assert_eq!(emulate(&daemon, &connected, &subscribe("lobby", None)).await, "204");
    let (id, subscribed) = alice.event().await;
    assert_eq!((id.as_str(), subscribed["id"].as_u64()), ("", Some(2)));

    let mut bob = daemon.websocket("/connection/websocket").await;
    bob.connect("bob").await;
    bob.subscribe("lobby").await;
    publish(&daemon, "lobby", &json!({"text": "hi"})).await;
    let heard = alice.event().await.1;
    assert_eq!(heard, json!({"push":{"channel":"lobby","pub":{"data":{"text":"hi"},"offset":1}}}));
    assert_eq!(bob.json().await, heard, "the same on every carrier");

    let said = json!({"id":3,"publish":{"channel":"lobby","data":"from alice"}});
    assert_eq!(emulate(&daemon, &connected, &said).await, "204");
    let push = bob.json().await;
    assert_eq!(push["push"]["pub"]["info"]["client"], connected["client"]);
    let login = daemon.log.record("login", is("login")).await;
    assert_eq!(login["dialect"], "centrifuge-sse");

    let mut forged = connected.clone();
    forged["session"] = connected["client"].clone();
    assert_eq!(emulate(&daemon, &forged, &said).await, "404", "the public id is no secret");
    forged["session"] = connected["session"].as_str().unwrap().replace('.', ".A").into();
    assert_eq!(emulate(&daemon, &forged, &said).await, "404");
    let mut elsewhere = connected.clone();
    elsewhere["node"] = "other".into();
    assert_eq!(emulate(&daemon, &elsewhere, &said).await, "404");
    drop(alice);
    let logout = daemon.log.record("logout", is("logout")).await;
    assert_eq!(logout["err"], "peer_gone");
    assert_eq!(emulate(&daemon, &connected, &said).await, "404", "a token counts as long as its session");
}

#[tokio::test]
async fn whoever_comes_back_gets_exactly_what_was_missed() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let (mut alice, connected) = sse(&daemon, "alice").await;
    emulate(&daemon, &connected, &subscribe("news", None)).await;
    let mut place = alice.event().await.1["subscribe"].take();
    publish(&daemon, "news", &json!(1)).await;
    place["offset"] = alice.event().await.1["push"]["pub"]["offset"].take();
    drop(alice);
    for number in 2..=5 {
        publish(&daemon, "news", &json!(number)).await;
    }
    let (mut alice, connected) = sse(&daemon, "alice").await;
    emulate(&daemon, &connected, &subscribe("news", Some(&place))).await;
    let subscribed = alice.event().await.1["subscribe"].take();
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    let missed: Vec<_> =
        subscribed["publications"].as_array().unwrap().iter().map(|one| one["data"].clone()).collect();
    assert_eq!(missed, [2, 3, 4, 5]);
    publish(&daemon, "news", &json!(6)).await;
    assert_eq!(alice.event().await.1["push"]["pub"]["data"], 6);
}

#[tokio::test]
async fn an_answer_without_end_carries_lines() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let commands = format!("{}\n{}", login("alice"), subscribe("lobby", None));
    let path = "/connection/http_stream";
    let mut alice = Streamed::open(&daemon, "POST", path, "", commands.as_bytes()).await;
    assert_eq!(alice.line().await["connect"]["node"], "test-node");
    assert_eq!(alice.line().await["id"], 2);
    publish(&daemon, "lobby", &json!("hi")).await;
    assert_eq!(alice.line().await["push"]["pub"]["data"], "hi");
    let login = daemon.log.record("login", is("login")).await;
    assert_eq!(login["dialect"], "centrifuge-http-stream");
}

/// A message of Protobuf with these fields, all of them bytes.
fn protobuf(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, bytes) in fields {
        message.extend([number << 3 | 2, u8::try_from(bytes.len()).unwrap()]);
        message.extend_from_slice(bytes);
    }
    message
}

/// The content of a field of bytes.
fn field(mut message: &[u8], wanted: u64) -> Vec<u8> {
    fn number(message: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = message[0];
            *message = &message[1..];
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        number
    }
    while !message.is_empty() {
        let tag = number(&mut message);
        let value = number(&mut message);
        if tag & 7 == 2 {
            let (bytes, rest) = message.split_at(usize::try_from(value).unwrap());
            if tag >> 3 == wanted {
                return bytes.to_vec();
            }
            message = rest;
        }
    }
    panic!("no field {wanted}");
}

#[tokio::test]
async fn an_answer_without_end_carries_protobuf() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut connect = vec![8, 1];
    connect.extend(protobuf(&[(4, &protobuf(&[(1, b"alice")]))]));
    connect.insert(0, u8::try_from(connect.len()).unwrap());
    let kind = "Content-Type: application/octet-stream\r\n";
    let mut alice = Streamed::open(&daemon, "POST", "/connection/http_stream", kind, &connect).await;
    assert_eq!(header(&alice.head, "content-type"), Some("application/octet-stream"));
    while alice.body.is_empty() {
        alice.unchunk();
        if alice.body.is_empty() {
            alice.more().await;
        }
    }
    let reply = std::mem::take(&mut alice.body);
    // The length is below 16 KiB, and above 127 where it has a second byte.
    let connected = field(&reply[if reply[0] < 128 { 1 } else { 2 }..], 5);
    let session = String::from_utf8(field(&connected, 9)).unwrap();

    let said = json!({"node": "test-node", "session": session, "data": "{}"}).to_string();
    let answer = post(&daemon, "/emulation", "", &said).await;
    assert!(
        answer.contains("the session speaks Protobuf: send Content-Type: application/octet-stream"),
        "{answer}"
    );
    // Command 7 is a ping, field 11.
    let command = [&[4, 8, 7][..], &protobuf(&[(11, b"")])].concat();
    let said = protobuf(&[(1, b"test-node"), (2, session.as_bytes()), (3, &command)]);
    let told = Streamed::open(&daemon, "POST", "/emulation", kind, &said).await;
    assert_eq!(told.status(), "204", "{}", told.head);
    while alice.body.len() < 5 {
        assert!(alice.more().await);
    }
    assert_eq!(alice.body, [4, 8, 7, 98, 0], "the answer to command 7, field 12");
}

#[tokio::test]
async fn a_browser_that_only_listens_comes_back_to_where_it_was_by_itself() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let path = "/connection/uni_sse";
    let wanted = json!({"token": "alice", "subs": {"news": {}}});
    let mut alice = Streamed::get(&daemon, path, &wanted, "").await;
    let (id, connected) = alice.event().await;
    let connected = &connected["connect"];
    assert_eq!((connected.get("pong"), connected.get("session")), (None, None), "{connected}");
    let epoch = connected["subs"]["news"]["epoch"].as_str().unwrap();
    assert_eq!(id, format!("0:{epoch}:news"));
    publish(&daemon, "news", &json!(1)).await;
    let (id, heard) = alice.event().await;
    assert_eq!(heard, json!({"channel":"news","pub":{"data":1,"offset":1}}));
    assert_eq!(id, format!("1:{epoch}:news"));
    drop(alice);
    publish(&daemon, "news", &json!(2)).await;
    publish(&daemon, "news", &json!(3)).await;

    let mut alice = Streamed::get(&daemon, path, &wanted, &format!("Last-Event-ID: {id}\r\n")).await;
    let (id, connected) = alice.event().await;
    let news = &connected["connect"]["subs"]["news"];
    assert_eq!((news["recovered"].as_bool(), news["offset"].as_u64()), (Some(true), Some(3)), "{news}");
    let missed: Vec<_> =
        news["publications"].as_array().unwrap().iter().map(|one| one["data"].clone()).collect();
    assert_eq!(missed, [2, 3]);
    assert_eq!(id, format!("3:{epoch}:news"));
    let record = |record: &Value| record["action"] == "login" && record["dialect"] == "centrifuge-uni-sse";
    daemon.log.record("login", record).await;
}

#[tokio::test]
async fn whoever_only_listens_on_an_answer_without_end_recovers_by_its_login() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let path = "/connection/uni_http_stream";
    let wanted = r#"{"token":"alice","subs":{"news":{}}}"#;
    let mut alice = Streamed::open(&daemon, "POST", path, "", wanted.as_bytes()).await;
    let epoch = alice.line().await["connect"]["subs"]["news"]["epoch"].take();
    publish(&daemon, "news", &json!(1)).await;
    assert_eq!(alice.line().await, json!({"channel":"news","pub":{"data":1,"offset":1}}));
    drop(alice);
    publish(&daemon, "news", &json!(2)).await;
    let wanted =
        json!({"token":"alice","subs":{"news":{"recover":true,"offset":1,"epoch":epoch}}}).to_string();
    let mut alice = Streamed::open(&daemon, "POST", path, "", wanted.as_bytes()).await;
    let news = alice.line().await["connect"]["subs"]["news"].take();
    assert_eq!(news["publications"], json!([{"data":2,"offset":2}]), "{news}");
    let refused = post(&daemon, path, "", "[]").await;
    assert!(
        refused.starts_with("HTTP/1.1 400") && refused.contains("bad parameters of connect"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_end_is_said_before_the_answer_ends() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let (mut alice, _) = sse(&daemon, "alice").await;
    let path = "/connection/uni_http_stream";
    let mut listener = Streamed::open(&daemon, "POST", path, "", br#"{"token":"bob"}"#).await;
    listener.line().await;
    let mut wrong = Streamed::get(&daemon, "/connection/sse", &json!({"id": 1, "ping": {}}), "").await;
    let expected = json!({"push":{"disconnect":{"code":3501,"reason":"bad request: the first command must be connect"}}});
    assert_eq!(wrong.event().await.1, expected);
    assert!(wrong.ends().await);
    daemon.signal(rustix::process::Signal::TERM);
    let reason = json!({"code":3001,"reason":"shutdown","reconnect":true});
    assert_eq!(alice.event().await.1, json!({"push":{"disconnect":reason}}));
    assert_eq!(listener.line().await, json!({ "disconnect": reason }));
    assert!(alice.ends().await && listener.ends().await);
    assert!(daemon.ended().await.0.success());
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_its_own_connection() {
    let daemon = Daemon::start(&[TRIAL, "gateway.client_queue=64KiB", "limits.frame=32KiB"]).await;
    let (mut slow, connected) = sse(&daemon, "slow").await;
    let (mut quick, other) = sse(&daemon, "quick").await;
    emulate(&daemon, &connected, &subscribe("news", None)).await;
    emulate(&daemon, &other, &subscribe("news", None)).await;
    slow.event().await;
    quick.event().await;
    let is_slow = |record: &Value| record["action"] == "logout" && record["err"] == "slow";
    let mut sent = 0;
    while !daemon.log.records().iter().any(is_slow) {
        assert!(sent < 1000, "20 MB were taken for a client that does not read");
        publish(&daemon, "news", &json!("x".repeat(20_000))).await;
        sent += 1;
        assert_eq!(quick.event().await.1["push"]["pub"]["offset"], sent);
    }
    let logout = daemon.log.record("logout", is_slow).await;
    assert_eq!(logout["err_code"], "3008");
    // The connection does not wait for a reader that may never come: nobody is there to write to.
    within("the connection is cut", async { while slow.stream.write(b"x").await.is_ok() {} }).await;
    assert!(!slow.ends().await, "what was lost is not an answer that came whole");
    let body = String::from_utf8_lossy(&slow.body).into_owned();
    assert!(body.matches("data: ").count() < sent, "not all of it was taken");
    publish(&daemon, "news", &json!("on")).await;
    assert_eq!(quick.event().await.1["push"]["pub"]["data"], "on");
}

#[tokio::test]
async fn browsers_on_other_sites_are_told_whether_they_may() {
    let daemon = Daemon::start(&[TRIAL, "gateway.allowed_origins=[\"https://shop.example.org\"]"]).await;
    let ask = |path: &'static str, origin: &'static str| {
        let wanted = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: test\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
        );
        let socket = daemon.path("pillion.sock");
        async move { exchange(&socket, &wanted).await }
    };
    for path in ["/emulation", "/connection/http_stream", "/connection/uni_http_stream"] {
        let may = ask(path, "https://shop.example.org").await;
        assert!(may.starts_with("HTTP/1.1 204"), "{may}");
        for (name, value) in [
            ("access-control-allow-origin", "https://shop.example.org"),
            ("access-control-allow-headers", "content-type"),
            ("access-control-allow-methods", "POST, OPTIONS"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "300"),
            ("vary", "Origin"),
        ] {
            assert_eq!(header(&may, name), Some(value), "{name} of {path}");
        }
        let may_not = ask(path, "https://evil.example.org").await;
        assert!(may_not.starts_with("HTTP/1.1 403"), "{may_not}");
        assert_eq!(header(&may_not, "access-control-allow-origin"), None);
    }
    let origin = "Origin: https://evil.example.org\r\n";
    let refused = Streamed::get(&daemon, "/connection/sse", &login("alice"), origin).await;
    assert_eq!(refused.status(), "403");
    let origin = "Origin: https://shop.example.org\r\n";
    let granted = Streamed::get(&daemon, "/connection/sse", &login("alice"), origin).await;
    assert_eq!(granted.status(), "200");
    assert_eq!(header(&granted.head, "access-control-allow-origin"), Some("https://shop.example.org"));
}

#[tokio::test]
async fn what_can_not_be_a_session_is_refused_with_a_reason() {
    let daemon = Daemon::start(&[TRIAL, "limits.frame=4KiB", "limits.connect_rate=1/h burst 4"]).await;
    let cases = [
        ("GET", "/connection/sse", String::new(), "400", "the login is missing"),
        ("PUT", "/connection/sse", String::new(), "405", "GET, POST, OPTIONS"),
        ("GET", "/connection/http_stream", String::new(), "405", "POST, OPTIONS"),
        ("POST", "/connection/http_stream", "x".repeat(5000), "413", "longer than 4096 bytes (limits.frame)"),
        ("POST", "/emulation", "{".to_owned(), "400", "is no JSON object"),
        ("GET", "/emulation", String::new(), "405", "POST, OPTIONS"),
    ];
    for (method, target, body, status, words) in cases {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nX-Real-IP: 192.0.2.7\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = exchange(&daemon.path("pillion.sock"), &request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{method} {target}: {answer}");
        assert!(answer.contains(words), "{method} {target}: {answer}");
    }
    let real = "X-Real-IP: 192.0.2.7\r\n";
    for status in ["200", "200", "429"] {
        let streamed = Streamed::get(&daemon, "/connection/sse", &login("alice"), real).await;
        assert_eq!(streamed.status(), status, "{}", streamed.head);
    }
}
