//! Publishers that want to know who got their message.

use serde_json::Value;
use serde_json::json;

use crate::daemon::Daemon;
use crate::daemon::exchange;

const TRIAL: &str = "auth.insecure=true";

async fn publish(daemon: &Daemon, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST /api/publish HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&daemon.path("pillion.sock"), &request).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body.trim()).unwrap_or_else(|_| panic!("{answer}"))
}

#[tokio::test]
async fn a_receipt_counts_who_was_written_to_and_who_acknowledged() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut clients = Vec::new();
    for user in ["alice", "bob"] {
        let mut client = daemon.websocket("/connection/websocket").await;
        client.connect(user).await;
        client.subscribe("r").await;
        clients.push(client);
    }
    let wish = json!({"channel":"r","data":1,"receipt":{"acks":2,"timeout":60_000}});
    let asked = publish(&daemon, &wish);
    let acknowledged = async {
        for (index, client) in clients.iter_mut().enumerate() {
            let heard = client.json().await;
            let id = heard["push"]["pub"]["tags"]["msg_id"].as_str().unwrap().to_owned();
            let offset = heard["push"]["pub"]["offset"].as_u64().unwrap();
            let message =
                if index == 0 { json!({"room":"r","id":id}) } else { json!({"room":"r","offset":offset}) };
            client.send(&json!({"id":5,"rpc":{"method":"ack","data":message}}).to_string()).await;
            assert_eq!(client.json().await["rpc"]["data"], json!({"awaited":true}));
        }
    };
    let (answer, ()) = tokio::join!(asked, acknowledged);
    let receipt = &answer["result"]["receipt"];
    assert_eq!(
        (&receipt["queued"], &receipt["written"], &receipt["lost"], &receipt["acknowledged"]),
        (&json!(2), &json!(2), &json!(0), &json!(2)),
        "{answer}"
    );
    // Nobody waits any longer.
    clients[0].send(r#"{"id":6,"rpc":{"method":"ack","data":{"room":"r","offset":1}}}"#).await;
    assert_eq!(clients[0].json().await["rpc"]["data"], json!({"awaited":false}));
}

#[tokio::test]
async fn a_receipt_without_acknowledgements_comes_when_all_sockets_have_the_message_or_in_time() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut client = daemon.websocket("/connection/websocket").await;
    client.connect("alice").await;
    client.subscribe("r").await;
    let answer = publish(&daemon, &json!({"channel":"r","data":1,"receipt":{}})).await;
    assert_eq!(answer["result"]["receipt"]["written"], 1, "{answer}");
    let answer = publish(&daemon, &json!({"channel":"r","data":1,"receipt":{"acks":1,"timeout":50}})).await;
    assert_eq!(answer["result"]["receipt"]["acknowledged"], 0, "{answer}");
    let answer = publish(&daemon, &json!({"channel":"nobody","data":1,"receipt":{}})).await;
    assert_eq!(answer["result"]["receipt"]["queued"], 0, "{answer}");
    let answer = publish(&daemon, &json!({"channel":"r","data":1,"receipt":{"timeout":60_001}})).await;
    assert_eq!(answer["error"]["code"], 107, "{answer}");
}
