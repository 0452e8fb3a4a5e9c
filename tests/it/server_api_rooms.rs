//! What backends do through Centrifugo's server API, as real clients in the rooms see it.

use serde_json::Value;
use serde_json::json;

use crate::daemon::Client;
use crate::daemon::Daemon;
use crate::server_api::TRIAL;
use crate::server_api::call;

const DRY: &str = r#"gateway.namespace=[{name="dry", history_size=0, presence=false}]"#;

async fn client(daemon: &Daemon, user: &str) -> (Client, String) {
    let mut client = daemon.websocket("/connection/websocket").await;
    let session = client.connect(user).await;
    (client, session)
}

/// The numbers and contents of a page of history.
fn said(page: &Value) -> Vec<(u64, Value)> {
    let publications = page["result"]["publications"].as_array().unwrap_or_else(|| panic!("{page}"));
    publications.iter().map(|one| (one["offset"].as_u64().unwrap(), one["data"].clone())).collect()
}

#[tokio::test]
async fn what_was_published_is_numbered_kept_once_and_forgotten() {
    let daemon = Daemon::start(&[TRIAL, DRY]).await;
    let first =
        call(&daemon, "publish", &json!({"channel": "r", "data": {"n": 1}, "tags": {"t": "1"}})).await;
    let epoch = first["result"]["epoch"].as_str().unwrap().to_owned();
    assert_eq!(first, json!({"result": {"offset": 1, "epoch": epoch}}));
    for _ in 0..2 {
        let again =
            call(&daemon, "publish", &json!({"channel": "r", "data": 2, "idempotency_key": "k"})).await;
        assert_eq!(again["result"]["offset"], 2, "the second one is not published");
    }
    call(&daemon, "publish", &json!({"channel": "r", "data": "unkept", "skip_history": true})).await;
    call(&daemon, "publish", &json!({"channel": "r", "data": 3})).await;

    let ask = async |more: Value| {
        let mut params = json!({"channel": "r"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(&daemon, "history", &params).await
    };
    let all = ask(json!({"limit": -1})).await;
    let contents: Vec<Value> = said(&all).into_iter().map(|(_, data)| data).collect();
    assert_eq!(contents, [json!({"n": 1}), json!(2), json!(3)], "{all}");
    assert_eq!(all["result"]["epoch"], epoch.as_str());
    assert_eq!(all["result"]["publications"][0], json!({"data": {"n": 1}, "offset": 1, "tags": {"t": "1"}}));
    let top = all["result"]["offset"].clone();
    assert_eq!(ask(json!({})).await, json!({"result": {"publications": [], "epoch": epoch, "offset": top}}));
    assert_eq!(said(&ask(json!({"limit": 1})).await), [(1, json!({"n": 1}))]);
    assert_eq!(
        said(&ask(json!({"limit": 1, "since": {"offset": 1, "epoch": epoch}})).await),
        [(2, json!(2))]
    );
    assert_eq!(said(&ask(json!({"limit": 1, "reverse": true})).await)[0].1, json!(3));
    for stranger in ["another", "?!"] {
        let lost = ask(json!({"limit": 1, "since": {"offset": 1, "epoch": stranger}})).await;
        assert_eq!(lost, json!({"error": {"code": 112, "message": "unrecoverable position"}}), "{stranger}");
    }
    assert_eq!(call(&daemon, "history_remove", &json!({"channel": "r"})).await, json!({"result": {}}));
    assert!(said(&ask(json!({"limit": -1})).await).is_empty());
    let record = daemon.log.record("the removal", |record| record["action"] == "room_manage").await;
    assert_eq!(record["desc"], "history removed, by the key anyone");

    // A room that keeps nothing and tells nobody says so.
    let dry = json!({"channel": "dry:1", "data": 1});
    assert_eq!(call(&daemon, "publish", &dry).await, json!({"result": {}}));
    for method in ["history", "history_remove", "presence", "presence_stats"] {
        assert_eq!(call(&daemon, method, &dry).await["error"]["code"], 108, "{method}");
    }
}

#[tokio::test]
async fn who_is_where_is_told_as_it_is() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let (mut alice, alices) = client(&daemon, "alice").await;
    let (mut again, _) = client(&daemon, "alice").await;
    let (mut bob, bobs) = client(&daemon, "bob").await;
    alice.subscribe("chat:1").await;
    again.subscribe("chat:1").await;
    bob.subscribe("chat:1").await;
    bob.subscribe("news").await;

    let presence =
        call(&daemon, "presence", &json!({"channel": "chat:1"})).await["result"]["presence"].clone();
    assert_eq!(presence.as_object().unwrap().len(), 3, "{presence}");
    assert_eq!(presence[&alices], json!({"user": "alice", "client": alices}));
    assert_eq!(presence[&bobs]["user"], "bob");
    let stats = call(&daemon, "presence_stats", &json!({"channel": "chat:1"})).await;
    assert_eq!(stats, json!({"result": {"num_clients": 3, "num_users": 2}}));
    for (pattern, rooms) in [
        ("", json!({"chat:1": {"num_clients": 3}, "news": {"num_clients": 1}})),
        ("chat:*", json!({"chat:1": {"num_clients": 3}})),
        ("{x,n[a-f]ws}", json!({"news": {"num_clients": 1}})),
        ("nothing", json!({})),
    ] {
        let listed = call(&daemon, "channels", &json!({"pattern": pattern})).await;
        assert_eq!(listed["result"]["channels"], rooms, "{pattern}");
    }
    let broken = call(&daemon, "channels", &json!({"pattern": "{a"})).await;
    assert_eq!(broken["error"]["message"], "bad request: the pattern has a { without its end");
    let node = call(&daemon, "info", &json!({})).await["result"]["nodes"][0].clone();
    for (member, count) in [("num_clients", 3), ("num_users", 2), ("num_channels", 2), ("num_subs", 4)] {
        assert_eq!(node[member], count, "{member} in {node}");
    }
}

#[tokio::test]
async fn sessions_do_what_backends_order() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let (mut first, firsts) = client(&daemon, "alice").await;
    let (mut second, seconds) = client(&daemon, "alice").await;
    let (mut bob, _) = client(&daemon, "bob").await;

    // Into a room: a user, and one session.
    assert_eq!(
        call(&daemon, "subscribe", &json!({"user": "alice", "channel": "vip"})).await,
        json!({"result": {}})
    );
    for client in [&mut first, &mut second] {
        let told = client.json().await;
        assert!(told["push"]["subscribe"].is_object() && told["push"]["channel"] == "vip", "{told}");
    }
    call(&daemon, "subscribe", &json!({"client": firsts, "channel": "only"})).await;
    assert_eq!(first.json().await["push"]["channel"], "only");
    call(&daemon, "broadcast", &json!({"channels": ["only", "vip"], "data": "x"})).await;
    assert_eq!(second.json().await["push"]["channel"], "vip", "and nothing from the other room");
    let heard = [first.json().await, first.json().await].map(|told| told["push"]["channel"].clone());
    assert!(heard.contains(&json!("only")) && heard.contains(&json!("vip")), "{heard:?}");
    let record = daemon
        .log
        .record("the order", |record| record["desc"] == "subscribe 2 sessions, by the key anyone")
        .await;
    assert_eq!((record["room_id"].as_str(), record["user_id"].as_str()), (Some("vip"), Some("alice")));

    // Out of it.
    call(&daemon, "unsubscribe", &json!({"user": "alice", "channel": "vip", "client": seconds})).await;
    let told = second.json().await;
    assert!(told["push"]["unsubscribe"].is_object() && told["push"]["channel"] == "vip", "{told}");

    // Out of everything: all but one, one with the caller's own words, and an expired one.
    let but_one = json!({"user": "alice", "whitelist": [firsts]});
    assert_eq!(call(&daemon, "disconnect", &but_one).await, json!({"result": {}}));
    assert_eq!(second.next().await, "close 3503 force disconnect");
    call(&daemon, "disconnect", &json!({"user": "bob", "disconnect": {"code": 4321, "reason": "out"}})).await;
    assert_eq!(bob.next().await, "close 4321 out");
    call(&daemon, "refresh", &json!({"user": "alice", "expire_at": 4_000_000_000_u64})).await;
    first.send(r#"{"id":7,"ping":{}}"#).await;
    assert_eq!(first.json().await["id"], 7, "nobody has ended it");
    call(&daemon, "refresh", &json!({"client": firsts, "expired": true})).await;
    assert_eq!(first.next().await, "close 3005 connection expired");
    let ended = daemon.log.record("a logout", |record| record["action"] == "logout").await;
    assert_eq!(ended["err"], "kicked");
}
