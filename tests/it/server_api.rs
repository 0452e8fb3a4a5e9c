//! Centrifugo's server API over HTTP: the original's shapes for what goes well and what does not, keys, and limits.

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::daemon::Daemon;
use crate::daemon::exchange;
use crate::daemon::within;
use crate::trial::header;

pub(crate) const TRIAL: &str = "auth.insecure=true";

/// Keys of every kind.
pub(crate) const KEYS: &str = r#"auth.key=[
    {name="all", key="the-key-for-everything", scopes=["*"]},
    {name="reader", key="the-key-for-readers", scopes=["presence", "history", "info"]},
    {name="slow", key="the-key-that-is-slow", scopes=["publish"], rate="1/m burst 1"},
]"#;

const CENTRIFUGE: &str = "/connection/websocket";

/// An answer to a request.
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// Sends a request to a listener of the daemon.
pub(crate) async fn ask(daemon: &Daemon, listener: &str, (line, headers): (&str, &str), body: &str) -> Heard {
    let length = body.len();
    let request = format!("{line} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    heard(&exchange(&daemon.path(listener), &request).await)
}

fn heard(answer: &str) -> Heard {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Heard { status, head: head.to_owned(), body: body.to_owned() }
}

/// Calls a method of the API.
pub(crate) async fn call(daemon: &Daemon, method: &str, params: &Value) -> Value {
    let heard = ask(daemon, "pillion.sock", (&format!("POST /api/{method}"), ""), &params.to_string()).await;
    assert_eq!(heard.status, 200, "{method} {params}: {}", heard.body);
    assert_eq!(heard.header("content-type"), Some("application/json"));
    heard.json()
}

#[tokio::test]
async fn a_backend_publishes_to_all_dialects_and_is_on_record() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut json_side = daemon.websocket(CENTRIFUGE).await;
    json_side.connect("alice").await;
    json_side.subscribe("lobby").await;
    let mut text_side = daemon.websocket("/ws?token=carol&cid=lobby").await;
    text_side.send("ping").await;
    text_side.next().await;

    let published = call(&daemon, "publish", &json!({"channel": "lobby", "data": {"a": 1}})).await;
    assert!(published["result"].is_object() && published.get("error").is_none(), "{published}");
    let heard = json_side.json().await["push"]["pub"].clone();
    assert_eq!((&heard["data"], heard.get("info")), (&json!({"a": 1}), None));
    assert_eq!(text_side.next().await, r#"{"a":1}"#);

    let record = daemon.log.record("room_msg", |record| record["action"] == "room_msg").await;
    assert_eq!(
        (record["room_id"].as_str(), record["desc"].as_str()),
        (Some("lobby"), Some("7 bytes from the key anyone"))
    );
    assert!(
        record["msg_id"].as_str().is_some_and(|id| !id.is_empty()) && record.get("user_id").is_none(),
        "{record}"
    );

    // Bytes in base64: JSON stays JSON, a text becomes one, null is a message as well.
    for (b64data, data) in
        [("eyJiIjoyfQ==", json!({"b": 2})), ("aGVsbG8=", json!("hello")), ("IngiCg==", json!("x"))]
    {
        call(&daemon, "publish", &json!({"channel": "lobby", "b64data": b64data})).await;
        assert_eq!(json_side.json().await["push"]["pub"]["data"], data);
    }
    call(&daemon, "publish", &json!({"channel": "lobby", "data": null})).await;
    assert_eq!(json_side.json().await["push"]["pub"]["data"], json!(null));

    let rooms = json!({"channels": ["lobby", "", "nowhere"], "data": "to many"});
    let many = call(&daemon, "broadcast", &rooms).await;
    let responses = many["result"]["responses"].as_array().unwrap();
    assert_eq!(responses.len(), 3, "{many}");
    assert!(responses[0]["result"].is_object() && responses[2]["result"].is_object(), "{many}");
    assert_eq!(responses[1], json!({"error": {"code": 107, "message": "bad request: channel is missing"}}));
    assert_eq!(json_side.json().await["push"]["pub"]["data"], "to many");
    let refused = daemon.log.record("web_err", |record| record["action"] == "web_err").await;
    assert_eq!(refused["err"], "/api/broadcast: bad request: channel is missing");

    let metrics = daemon.admin("/metrics").await.1;
    for line in [
        r#"pillion_api_calls_total{endpoint="/api/publish",outcome="done"} 5"#,
        r#"pillion_api_calls_total{endpoint="/api/broadcast",outcome="bad_request"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_numbers_of_the_original() {
    let daemon = Daemon::start(&[TRIAL, "limits.room_name=16"]).await;
    for (method, params, code, words) in [
        ("publish", json!({"data": 1}), 107, "channel is missing"),
        ("publish", json!({"channel": "r"}), 107, "data is missing"),
        ("publish", json!({"channel": "r", "b64data": "?"}), 107, "b64data is no base64"),
        ("publish", json!({"channel": "12345678901234567", "data": 1}), 107, "longer than 16 bytes"),
        ("publish", json!({"channel": "r\n", "data": 1}), 107, "control character"),
        (
            "publish",
            json!({"channel": "r", "data": "x".repeat(600_000)}),
            107,
            "at most 524288 reach a client",
        ),
        (
            "publish",
            json!({"channel": "r", "data": 1, "idempotency_key": "k".repeat(257)}),
            107,
            "longer than 256",
        ),
        ("broadcast", json!({"data": 1}), 107, "channels is missing"),
        ("broadcast", json!({"channels": vec!["r"; 10_001], "data": 1}), 107, "at most 10000"),
        ("subscribe", json!({"channel": "r"}), 107, "user is missing"),
        ("subscribe", json!({"user": "u"}), 107, "channel is missing"),
        ("refresh", json!({"user": "u", "expire_at": -1}), 107, "expire_at is -1"),
        ("unsubscribe", json!({"user": "u"}), 107, "channel is missing"),
        ("disconnect", json!({}), 107, "user is missing"),
        ("disconnect", json!({"user": "u", "disconnect": {"code": 1000}}), 107, "3000 to 4999"),
        ("refresh", json!({"user": ""}), 107, "user is missing"),
        ("presence", json!({}), 107, "channel is missing"),
        ("presence_stats", json!({}), 107, "channel is missing"),
        ("history", json!({}), 107, "channel is missing"),
        ("history_remove", json!({}), 107, "channel is missing"),
    ] {
        let error = call(&daemon, method, &params).await["error"].clone();
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{method} was done"));
        assert_eq!(error["code"], code, "{method}: {message}");
        assert!(message.starts_with("bad request: ") && message.contains(words), "{method}: {message}");
    }
    // Unknown parameters and null are as if they were not there.
    let lenient =
        json!({"channel": "r", "data": 1, "tags": null, "idempotency_key": null, "delta": true, "new": []});
    assert!(call(&daemon, "publish", &lenient).await["result"].is_object());
    for method in ["unsubscribe", "disconnect", "refresh", "subscribe"] {
        let nobody = json!({"user": "nobody", "channel": "r", "client": "none"});
        assert_eq!(call(&daemon, method, &nobody).await, json!({"result": {}}), "{method}");
    }
}

#[tokio::test]
async fn what_is_no_call_has_a_status() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for (line, body, status, words) in [
        ("POST /api/publish", "{", 400, "EOF while parsing"),
        ("POST /api/publish", "[]", 400, "no JSON object"),
        ("POST /api/publish", r#"{"channel":7}"#, 400, "expected a string"),
        ("POST /api/history", r#"{"channel":"r","limit":3000000000}"#, 400, "expected i32"),
        ("POST /api", "", 400, "no command"),
        ("POST /api/batch", "{\"commands\":1}", 400, "expected a sequence"),
        ("POST /api/rpc", "{}", 404, "nothing is at /api/rpc"),
        ("POST /api/publish/", "{}", 404, "nothing is at"),
        ("GET /api/info", "", 405, "this path takes POST"),
    ] {
        let heard = ask(&daemon, "pillion.sock", (line, ""), body).await;
        assert_eq!(heard.status, status, "{line} {body}: {}", heard.body);
        let message = heard.json()["message"].clone();
        assert!(message.as_str().unwrap().contains(words), "{line} {body}: {message}");
    }
    let mode = "X-Centrifugo-Error-Mode: transport\r\n";
    let heard = ask(&daemon, "pillion.sock", ("POST /api/presence", mode), "{}").await;
    assert_eq!(heard.status, 400);
    assert_eq!(heard.json(), json!({"code": 107, "message": "bad request: channel is missing"}));
    // An absent body is an empty object, which is enough to ask for everything.
    let heard = ask(&daemon, "pillion.sock", ("POST /api/info", ""), "").await;
    let node = heard.json()["result"]["nodes"][0].clone();
    assert_eq!((node["name"].as_str(), node["num_clients"].as_u64()), (Some("test-node"), Some(0)));
    for member in ["uid", "version", "num_users", "num_channels", "num_subs"] {
        assert!(!node[member].is_null(), "{member} is not in {node}");
    }
    assert_eq!(call(&daemon, "channels", &json!({})).await, json!({"result": {"channels": {}}}));
}

#[tokio::test]
async fn a_key_opens_what_it_is_for_and_no_more() {
    let daemon =
        Daemon::start(&[KEYS, "auth.mode=jwt", "auth.jwt_secret=0123456789abcdef0123456789abcdef"]).await;
    let publish = r#"{"channel":"r","data":1}"#;
    let asked = async |path: &str, headers: &str, body: &str| {
        ask(&daemon, "pillion.sock", (&format!("POST {path}"), headers), body).await
    };
    for (path, headers, status) in [
        ("/api/publish", "X-API-Key: the-key-for-everything\r\n", 200),
        ("/api/publish", "Authorization: apikey the-key-for-everything\r\n", 200),
        ("/api/publish?api_key=the-key-for-everything", "", 200),
        ("/api/publish", "", 401),
        ("/api/publish", "X-API-Key: another-key\r\n", 401),
        ("/api/publish", "Authorization: Bearer the-key-for-everything\r\n", 401),
        ("/api/publish", "X-API-Key: the-key-for-readers\r\n", 403),
        ("/api", "", 401),
        ("/api/batch", "", 401),
        ("/api/publish", "X-API-Key: the-key-that-is-slow\r\n", 200),
        ("/api/publish", "X-API-Key: the-key-that-is-slow\r\n", 429),
    ] {
        let heard = asked(path, headers, publish).await;
        assert_eq!(heard.status, status, "{path} {headers}: {}", heard.body);
        assert_eq!(heard.header("retry-after").is_some(), status == 429, "{}", heard.head);
    }
    let told = daemon.log.record("the key", |record| record["action"] == "room_msg").await;
    assert_eq!(told["desc"], "1 bytes from the key all");
    let refused = daemon.log.record("the refusal", |record| record["err_code"] == "401").await;
    assert_eq!(refused["action"], "web_err");
    let text = serde_json::to_string(&daemon.log.records()).unwrap();
    assert!(!text.contains("the-key-"), "no key in any line");

    // In a batch each command needs its own right.
    let batch = format!(r#"{{"commands":[{{"info":{{}}}},{{"publish":{publish}}}]}}"#);
    let heard = asked("/api/batch", "X-API-Key: the-key-for-readers\r\n", &batch).await.json();
    assert!(heard["replies"][0]["info"]["nodes"].is_array(), "{heard}");
    assert_eq!(heard["replies"][1]["error"]["code"], 103);
}

#[tokio::test]
async fn a_request_without_a_key_is_refused_before_its_body_comes() {
    let daemon =
        Daemon::start(&[KEYS, "auth.mode=jwt", "auth.jwt_secret=0123456789abcdef0123456789abcdef"]).await;
    let request = "POST /api/publish HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(heard(&exchange(&daemon.path("pillion.sock"), request).await).status, 401);
}

#[tokio::test]
async fn pages_of_other_sites_can_not_use_a_trial_without_keys() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for (origin, path, status) in [
        ("http://test", "/api/info", 200),
        ("http://evil.example", "/api/info", 403),
        ("null", "/api/info?api_key=guess", 403),
        ("http://evil.example", "/goim/online/total", 405),
        ("http://evil.example", "/goim/push/all?operation=1", 403),
    ] {
        let headers = format!("Origin: {origin}\r\n");
        let heard = ask(&daemon, "pillion.sock", (&format!("POST {path}"), &headers), "{}").await;
        assert_eq!(heard.status, status, "{origin} {path}: {}", heard.body);
    }
}

#[tokio::test]
async fn bodies_have_a_length_and_a_time() {
    let daemon = Daemon::start(&[TRIAL, "limits.body=1KiB", "limits.body_timeout=100ms"]).await;
    let socket = daemon.path("pillion.sock");
    let long = format!(r#"{{"channel":"r","data":"{}"}}"#, "x".repeat(1100));
    let heard_long = ask(&daemon, "pillion.sock", ("POST /api/publish", ""), &long).await;
    assert_eq!(heard_long.status, 413);
    assert!(heard_long.body.contains("longer than 1024 bytes (limits.body)"), "{}", heard_long.body);
    // Of unknown length, and longer than allowed.
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = format!(
        "POST /goim/push/all?operation=1 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    let heard_chunked = heard(&exchange(&socket, &chunked).await);
    assert_eq!((heard_chunked.status, &heard_chunked.json()["code"]), (413, &json!(-400)));
    // Announced, and never sent.
    let late = "POST /api/publish HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n{";
    assert_eq!(heard(&exchange(&socket, late).await).status, 408);
    // Broken off.
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(late.as_bytes()).await.unwrap();
    drop(stream);
    within(
        "broken off",
        daemon
            .log
            .record("web_err", |record| record["err"].as_str().is_some_and(|err| err.contains("broke off"))),
    )
    .await;
    assert!(call(&daemon, "publish", &json!({"channel": "r", "data": 1})).await["result"].is_object());
}

#[tokio::test]
async fn a_batch_answers_each_command_in_its_place() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for parallel in [false, true] {
        let commands = json!({"parallel": parallel, "commands": [
            {"publish": {"channel": "r", "data": 1}},
            {"broadcast": {"channels": ["r", "s"], "data": 1}},
            {"rpc": {"method": "m"}},
            {"presence": {"channel": ""}},
            null,
            {"channels": {}},
        ]});
        let heard = call(&daemon, "batch", &commands).await;
        assert_eq!(heard.as_object().unwrap().len(), 1, "{heard}");
        let replies = heard["replies"].as_array().unwrap();
        assert_eq!(replies.len(), 6);
        assert!(replies[0]["publish"].is_object(), "{heard}");
        assert_eq!(replies[1]["broadcast"]["responses"].as_array().unwrap().len(), 2, "{heard}");
        assert_eq!(replies[2]["error"]["code"], 104, "{heard}");
        assert_eq!(replies[3]["error"]["code"], 107, "{heard}");
        assert_eq!(replies[4]["error"]["code"], 107, "{heard}");
        assert_eq!(replies[5], json!({"channels": {"channels": {}}}));
    }
    let many = json!({"commands": vec![json!({"info": {}}); 1001]});
    assert_eq!(call(&daemon, "batch", &many).await["error"]["code"], 107);
}

#[tokio::test]
async fn the_older_form_has_a_line_for_each_command() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let body = "{\"id\":7,\"method\":\"publish\",\"params\":{\"channel\":\"r\",\"data\":1}}\n\
                {\"method\":9}{\"method\":\"PRESENCE\"}\n{\"id\":8,\"method\":\"rpc\",\"params\":{}}";
    let heard = ask(&daemon, "pillion.sock", ("POST /api", ""), body).await;
    assert_eq!(heard.status, 200);
    let lines: Vec<Value> = heard.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{}", heard.body);
    assert_eq!(lines[0]["id"], 7);
    assert!(lines[0]["result"].is_object() && lines[1]["result"]["nodes"].is_array(), "{}", heard.body);
    assert_eq!((lines[2].get("id"), &lines[2]["error"]["code"]), (None, &json!(107)));
    assert_eq!((&lines[3]["id"], &lines[3]["error"]["code"]), (&json!(8), &json!(104)));
}
