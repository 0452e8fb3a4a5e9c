//! goim's API for backends: the original's shapes, and its checks of queries.

use serde_json::Value;
use serde_json::json;

use crate::daemon::Daemon;
use crate::dialects::goim_client;
use crate::dialects::next;
use crate::server_api::KEYS;
use crate::server_api::TRIAL;
use crate::server_api::ask;

async fn goim(daemon: &Daemon, line: &str, body: &str) -> (u16, Value) {
    let heard = ask(daemon, "pillion.sock", (line, ""), body).await;
    assert_eq!(heard.header("content-type"), Some("application/json; charset=utf-8"), "{line}");
    (heard.status, heard.json())
}

#[tokio::test]
async fn a_push_is_done_or_says_what_its_query_lacks() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for line in [
        "push/keys?operation=1000&keys=a&keys=b",
        "push/keys?keys=nobody",
        "push/mids?operation=1000&mids=123&mids=-9223372036854775808",
        "push/mids?operation=1000",
        "push/room?operation=1000&type=live&room=1000",
        "push/all?operation=1000",
        "push/all?operation=-2147483648&speed=100",
    ] {
        let done = goim(&daemon, &format!("POST /goim/{line}"), r#"{"test":1}"#).await;
        assert_eq!(done, (200, json!({"code": 0, "message": ""})), "{line}");
    }
    for (line, status, words) in [
        ("push/keys?operation=1000", 200, "keys is missing"),
        ("push/keys?operation=2147483648&keys=a", 400, "32 bits"),
        ("push/keys?operation=many&keys=a", 400, "32 bits"),
        ("push/mids?operation=1&mids=9223372036854775808", 400, "64 bits"),
        ("push/mids?operation=1&mids=alice", 400, "64 bits"),
        ("push/room?type=live&room=1000", 400, "operation is missing"),
        ("push/room?operation=0&type=live&room=1000", 400, "operation is missing"),
        ("push/room?operation=1&room=1000", 400, "type is missing"),
        ("push/room?operation=1&type=live&room=", 400, "room is missing"),
        ("push/all?speed=1", 400, "operation is missing"),
        ("push/all?operation=1&speed=-1", 400, "speed is -1"),
        ("push/room?operation=1&type=live&room=%0a", 200, "control character"),
    ] {
        let (code, reply) = goim(&daemon, &format!("POST /goim/{line}"), "x").await;
        assert_eq!((code, &reply["code"]), (status, &json!(-400)), "{line}: {reply}");
        assert!(reply["message"].as_str().unwrap().contains(words), "{line}: {reply}");
        assert_eq!(reply.as_object().unwrap().len(), 2, "{reply}");
    }
    let room = daemon.log.record("room_msg", |record| record["action"] == "room_msg").await;
    assert_eq!(room["room_id"], "live://1000");
    let user = daemon.log.record("msg_send", |record| record["user_id"] == "123").await;
    assert_eq!(user["desc"], "operation 1000 to 0 sessions, by the key anyone");
    assert_eq!(user["action"], "msg_send");
}

#[tokio::test]
async fn what_is_online_is_told_in_the_shapes_of_the_original() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for (line, data) in [
        ("online/top?type=live&limit=10", json!([])),
        ("online/room?type=live&rooms=1000&rooms=1001", json!({"1000": 0, "1001": 0})),
        ("online/total", json!({"ip_count": 0, "conn_count": 0})),
    ] {
        let told = goim(&daemon, &format!("GET /goim/{line}"), "").await;
        assert_eq!(told, (200, json!({"code": 0, "message": "", "data": data})), "{line}");
    }
    for (line, words) in [
        ("online/top?limit=10", "type is missing"),
        ("online/top?type=live", "limit is missing"),
        ("online/top?type=live&limit=-1", "limit is -1"),
        ("online/room?type=live", "rooms is missing"),
    ] {
        let (status, reply) = goim(&daemon, &format!("GET /goim/{line}"), "").await;
        assert_eq!((status, &reply["code"]), (400, &json!(-400)), "{line}");
        assert!(reply["message"].as_str().unwrap().contains(words), "{line}: {reply}");
    }
    let instances = goim(&daemon, "GET /goim/nodes/instances", "").await.1;
    let instance = &instances["data"][0];
    assert_eq!((&instance["appid"], &instance["hostname"]), (&json!("goim.comet"), &json!("test-node")));
    assert!(instance["addrs"][0].as_str().unwrap().starts_with("unix:/"), "{instance}");
    assert_eq!(instance["metadata"]["conn_count"], "0");
}

#[tokio::test]
async fn clients_are_told_where_to_connect_without_a_key_and_all_else_needs_one() {
    let jwt = ["auth.mode=jwt", "auth.jwt_secret=0123456789abcdef0123456789abcdef"];
    let tcp = r#"gateway.tcp=["tcp:127.0.0.1:0"]"#;
    let daemon = Daemon::start(&[KEYS, tcp, jwt[0], jwt[1]]).await;
    let nodes = goim(&daemon, "GET /goim/nodes/weighted?platform=web", "").await;
    let ready: Value = serde_json::from_str(&daemon.admin("/readyz").await.1).unwrap();
    let port: u16 = ready["listen"]["tcp"][0].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let expected = json!({"code": 0, "message": "", "data": {
        "domain": "test", "tcp_port": port, "ws_port": 80, "wss_port": 443, "heartbeat": 240, "heartbeat_max": 2, "nodes": ["test"],
        "backoff": {"max_delay": 300, "base_delay": 3, "factor": 1.8, "jitter": 0.3}}});
    assert_eq!(nodes, (200, expected));
    for line in ["POST /goim/push/all?operation=1", "GET /goim/online/total", "GET /goim/nodes/instances"] {
        let (status, reply) = goim(&daemon, line, "").await;
        assert_eq!((status, &reply["code"]), (401, &json!(-401)), "{line}");
        let heard = ask(&daemon, "pillion.sock", (line, "X-API-Key: the-key-for-readers\r\n"), "").await;
        assert_eq!((heard.status, &heard.json()["code"]), (403, &json!(-403)), "{line}");
        let heard = ask(&daemon, "pillion.sock", (line, "X-API-Key: the-key-for-everything\r\n"), "").await;
        assert_eq!((heard.status, &heard.json()["code"]), (200, &json!(0)), "{line}");
    }
    assert_eq!(ask(&daemon, "pillion.sock", ("GET /goim/push/all", ""), "").await.status, 405);
    assert_eq!(ask(&daemon, "pillion.sock", ("GET /goim/nodes", ""), "").await.status, 404);
}

#[tokio::test]
async fn a_push_reaches_keys_users_rooms_and_all_that_take_its_operation() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let login = json!({"mid": 123, "key": "k1", "room_id": "live://1000", "accepts": [1000]});
    let mut client = goim_client(&daemon, &login).await;
    let mut other = daemon.websocket("/connection/websocket").await;
    other.connect("456").await;
    let push = async |line: &str, body: &str| {
        let done = goim(&daemon, &format!("POST /goim/push/{line}"), body).await;
        assert_eq!(done, (200, json!({"code": 0, "message": ""})), "{line}");
    };

    // What the session does not take does not come: the next one does.
    push("keys?operation=999&keys=k1", "not this").await;
    push("keys?operation=1000&keys=nobody&keys=k1", "{ \"by\": \"key\" }\n").await;
    let packet = next(&mut client).await;
    assert_eq!(
        (packet.operation, packet.body.as_slice()),
        (1000, b"{ \"by\": \"key\" }\n".as_slice()),
        "byte for byte"
    );
    push("mids?operation=1000&mids=123&mids=456", "by user").await;
    assert_eq!(next(&mut client).await.body, b"by user");
    assert_eq!(other.json().await["push"]["message"]["data"], "by user");
    push("room?operation=1001&type=live&room=1000", "into the room").await;
    let packet = next(&mut client).await;
    assert_eq!(
        (packet.operation, packet.body.as_slice()),
        (1001, b"into the room".as_slice()),
        "rooms ask nobody"
    );
    push("all?operation=1000&speed=1000", "to all").await;
    assert_eq!(next(&mut client).await.body, b"to all");
    assert_eq!(other.json().await["push"]["message"]["data"], "to all");
    let sent =
        daemon.log.record("the push", |record| record["user_id"] == "456" && record["action"] == "msg_send");
    assert_eq!(sent.await["desc"], "operation 1000 to 1 sessions, by the key anyone");

    for (line, data) in [
        ("online/top?type=live&limit=10", json!([{"room_id": "1000", "count": 1}])),
        ("online/room?type=live&rooms=1000&rooms=1001", json!({"1000": 1, "1001": 0})),
    ] {
        assert_eq!(goim(&daemon, &format!("GET /goim/{line}"), "").await.1["data"], data, "{line}");
    }
    assert_eq!(goim(&daemon, "GET /goim/online/total", "").await.1["data"]["conn_count"], 2);
}
