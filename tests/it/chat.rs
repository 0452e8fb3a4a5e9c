//! Chats as openresty-im's pages have them, in a trial, and what its server did wrong there.

use pillion::wire::goim;
use pillion::wire::orim;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::daemon::BRIEF;
use crate::daemon::Client;
use crate::daemon::Daemon;
use crate::daemon::LogServer;
use crate::daemon::within;
use crate::dialects::next;
use crate::dialects::send;
use crate::server_api::Heard;
use crate::server_api::ask;

const TRIAL: &str = "auth.insecure=true";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded;charset=utf-8\r\n";

/// What a redirect leads to: the page, and its query.
pub(crate) struct Page {
    pub(crate) page: String,
    pairs: Vec<(String, String)>,
}

impl Page {
    pub(crate) fn of(heard: &Heard) -> Self {
        assert_eq!(heard.status, 301, "{}", heard.body);
        let (page, query) = heard.header("location").unwrap().split_once('?').unwrap();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), undone(value))).collect();
        Self { page: page.to_owned(), pairs }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(other, _)| other == name)
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        let found = self.pairs.iter().find(|(other, _)| other == name);
        found.map_or_else(|| panic!("no {name}"), |(_, value)| value.as_str())
    }

    /// What the original's page sends to log in: the members of its options, and no others.
    fn options(&self) -> Value {
        let mut options = serde_json::Map::new();
        for name in [
            "room_id",
            "accepts",
            "key",
            "mid",
            "nickname",
            "face",
            "shop_name",
            "shop_id",
            "shop_face",
            "platform",
            "suburl",
            "pushurl",
        ] {
            let value = self.value(name);
            let value =
                if matches!(name, "nickname" | "shop_name") { undone(value) } else { value.to_owned() };
            options.insert(name.to_owned(), value.into());
        }
        options.into()
    }

    /// Connects as the page does.
    pub(crate) async fn connect(&self, daemon: &Daemon) -> Client {
        let mut client = daemon.websocket("/orim/sub").await;
        self.log_in(&mut client).await;
        client
    }

    async fn log_in(&self, client: &mut Client) {
        send(client, goim::operation::AUTH, 1, self.options().to_string().as_bytes()).await;
        let reply = next(client).await;
        assert_eq!((reply.operation, reply.body.as_slice()), (goim::operation::AUTH_REPLY, &b"ok"[..]));
    }

    /// Sends a message as the page does: to its address, with a query of its own behind it.
    pub(crate) async fn say(&self, daemon: &Daemon, msg: &str) -> Heard {
        let url = self.value("pushurl");
        let path = url.split_once("/open").map(|(_, rest)| format!("/open{rest}")).unwrap();
        let (room, mid, shop) = (self.value("room_id"), self.value("mid"), self.value("shop_id"));
        let line =
            format!("POST {path}?room_id={room}&mid={mid}&nickname=N&face=f&shop_id={shop}&shop_name=S");
        let body = format!("type=text&msg={}&room_id={}", escaped(msg), escaped(room));
        ask(daemon, "pillion.sock", (&line, FORM), &body).await
    }
}

/// Percent signs undone.
fn undone(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

pub(crate) async fn open(daemon: &Daemon, path: &str, headers: &str) -> Heard {
    ask(daemon, "pillion.sock", (&format!("GET {path}"), headers), "").await
}

pub(crate) async fn post(daemon: &Daemon, path: &str, headers: &str, body: &str) -> Heard {
    ask(daemon, "pillion.sock", (&format!("POST {path}"), &format!("{FORM}{headers}")), body).await
}

/// The rows of the staff's list.
pub(crate) async fn list(daemon: &Daemon, flag: u8, headers: &str) -> Vec<Value> {
    let heard = post(daemon, &format!("/open/finduserlist?shop_id=8000&flag={flag}"), headers, "").await;
    let reply = heard.json();
    assert_eq!((&reply["success"], &reply["msg"]), (&json!(true), &json!("发送成功.")), "{reply}");
    reply["data"].as_array().cloned().unwrap_or_default()
}

/// Asks again until the list is as it should be: activity shows when it is written.
async fn list_until(daemon: &Daemon, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    within("the list is as it should be", async {
        loop {
            let rows = list(daemon, 0, "").await;
            if fits(&rows) {
                return rows;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// The next message of the chat.
async fn message(client: &mut Client) -> Value {
    let packet = next(client).await;
    assert_eq!(packet.operation, orim::operation::MESSAGE, "{packet:?}");
    packet.json()
}

async fn ack(client: &mut Client, id: &str) {
    send(client, orim::operation::ACK, 1, id.as_bytes()).await;
    let reply = next(client).await;
    assert_eq!((reply.operation, reply.body.as_slice()), (orim::operation::ACK_REPLY, id.as_bytes()));
}

#[tokio::test]
async fn a_customer_is_led_to_the_page_with_all_that_it_needs() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let referer = "Referer: https://shop.example/tea?x=1\r\n";
    let heard = open(&daemon, "/open/im?shop_id=8000&nickname=%E6%96%B0%20%3C1%3E", referer).await;
    let customer = Page::of(&heard);
    assert_eq!(heard.header("cache-control"), Some("no-store"), "another visitor is another customer");
    assert_eq!(customer.page, "/im.html");
    let mid = customer.value("mid").to_owned();
    assert!(mid.starts_with("20") && mid.len() == 9 && mid.ends_with('1'), "day and number: {mid}");
    let room = format!("live://8000{mid}");
    for (name, value) in [
        ("room_id", room.clone()),
        ("accepts", format!("[8000{mid},8000,10000]")),
        ("key", orim::key(&mid, &room)),
        ("nickname", "%E6%96%B0%20%3C1%3E".to_owned()),
        ("face", "/img/21.png".to_owned()),
        ("shop_id", "8000".to_owned()),
        ("shop_name", "%E5%AE%A2%E6%9C%8D".to_owned()),
        ("platform", "web".to_owned()),
        ("suburl", "ws://test/orim/sub".to_owned()),
        ("pushurl", "http://test/open/push".to_owned()),
        ("referer", "https://shop.example/tea?x=1".to_owned()),
    ] {
        assert_eq!(customer.value(name), value, "{name}");
    }
    assert!(!customer.has("token") && heard.header("set-cookie").is_none());
}

#[tokio::test]
async fn a_customer_and_the_staff_talk_over_the_original_pages() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let customer = Page::of(&open(&daemon, "/open/im?shop_id=8000&nickname=%E6%96%B0%20%3C1%3E", "").await);
    let (mid, room) = (customer.value("mid").to_owned(), customer.value("room_id").to_owned());
    let mut customer_side = customer.connect(&daemon).await;
    let said = customer.say(&daemon, "hello & <b>").await;
    assert_eq!((said.status, said.json()), (200, json!({"success": true, "msg": "发送成功."})));
    let heard = message(&mut customer_side).await;
    let id = heard["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (heard["msg"].as_str(), heard["mid"].as_str(), heard["shop_id"].as_str(), heard["type"].as_str()),
        (Some("hello & <b>"), Some(mid.as_str()), Some("8000"), Some("text"))
    );

    // The console sees the customer, once as news and in the whole list.
    let rows = list(&daemon, 1, "").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(list(&daemon, 1, "").await.len(), 0, "told once");
    let rows = list_until(&daemon, |rows| rows.len() == 1).await;
    let row = &rows[0];
    assert_eq!((&row["online"], &row["seq"], &row["num"]), (&json!(1), &json!(0), &json!(1)), "{row}");
    let user: Value = serde_json::from_str(row["user"].as_str().unwrap()).unwrap();
    assert_eq!((user["mid"].as_str(), user["nickname"].as_str()), (Some(mid.as_str()), Some("新 <1>")));
    let last: Value = serde_json::from_str(row["last"].as_str().unwrap()).unwrap();
    assert_eq!((last["id"].as_str(), last["msg"].as_str()), (Some(id.as_str()), Some("hello & <b>")));

    // Its link opens the same room from the other side, and marks as read what it showed.
    let link = format!("/open/com?shop_id=8000&shop_name=tea&mid={mid}&nickname=N&seq={id}");
    let staff = Page::of(&open(&daemon, &link, "").await);
    for (name, value) in [
        ("room_id", room.as_str()),
        ("accepts", &format!("[8000{mid},8000,10000]")),
        ("key", &orim::key("8000", &room)),
        ("mid", "8000"),
        ("shop_id", &mid),
        ("nickname", "tea"),
        ("shop_name", "N"),
    ] {
        assert_eq!(staff.value(name), value, "{name}");
    }
    assert!(!staff.has("referer"));
    let rows = list(&daemon, 0, "").await;
    assert_eq!((&rows[0]["num"], rows[0]["seq"].as_str()), (&json!(0), Some(id.as_str())));

    // The staff gets the history, answers, and the customer has one unread message, not none.
    let mut staff_side = staff.connect(&daemon).await;
    send(&mut staff_side, orim::operation::SYNC, 1, b"").await;
    let packet = next(&mut staff_side).await;
    assert_eq!(
        (packet.operation, packet.json()["id"].as_str()),
        (orim::operation::SYNC_REPLY, Some(id.as_str()))
    );
    assert_eq!(staff.say(&daemon, "good day").await.json()["success"], true);
    let heard = message(&mut customer_side).await;
    assert_eq!((heard["msg"].as_str(), heard["mid"].as_str()), (Some("good day"), Some("8000")));
    message(&mut staff_side).await;
    let unread =
        post(&daemon, &format!("/open/unread?mid={mid}"), "", &format!("room_id={room}")).await.json();
    assert_eq!(
        (&unread["data"][0]["unread"], &unread["data"][0]["more"]),
        (&json!(1), &json!(false)),
        "{unread}"
    );
    ack(&mut customer_side, heard["id"].as_str().unwrap()).await;
    ack(&mut customer_side, &id).await;
    let unread =
        post(&daemon, &format!("/open/unread?mid={mid}"), "", &format!("room_id={room}")).await.json();
    assert_eq!(unread["data"][0]["unread"], 0, "an older id does not move the offset back");
    assert_eq!(unread["data"][0]["read"], heard["id"]);

    // The staff is no customer of anybody, and its words are no news.
    assert_eq!(list(&daemon, 1, "").await.len(), 0);
    assert_eq!(list(&daemon, 0, "").await.len(), 1);
    assert_eq!(
        post(&daemon, &format!("/open/finduserlist?shop_id={mid}"), "", "").await.json()["data"],
        json!({})
    );
}

#[tokio::test]
async fn replies_of_the_original_come_word_for_word() {
    let daemon = Daemon::start(&[TRIAL]).await;
    for (path, body, reply) in [
        (
            "/open/push?mid=1&shop_id=8000",
            "type=text&msg=a&room_id=live://9",
            json!({"success": false, "msg": "参数错误,发送失败~"}),
        ),
        (
            "/open/push?mid=1&shop_id=8000",
            "type=text&msg=a",
            json!({"success": false, "msg": "参数错误,发送失败~"}),
        ),
        (
            "/open/push?mid=1&shop_id=8000",
            "type=image&msg=%2Fa.png&room_id=live://18000",
            json!({"success": true, "msg": "发送成功."}),
        ),
        ("/open/finduserlist", "", json!({"success": false, "msg": "发送失败~"})),
        (
            "/open/finduserlist?shop_id=8000&flag=1",
            "",
            json!({"success": true, "msg": "发送成功.", "data": {}}),
        ),
    ] {
        let heard = post(&daemon, path, "", body).await;
        assert_eq!((heard.status, heard.json()), (200, reply), "{path}");
    }
    let heard = open(&daemon, "/open/nothing", "").await;
    assert_eq!(
        (heard.status, heard.json()),
        (404, json!({"success": false, "msg": "404! sorry, not found."}))
    );
    let heard = open(&daemon, "/open/del", "").await.json();
    assert_eq!((&heard["success"], &heard["data"]["removed"]), (&json!(true), &json!(0)));
    // A name that is no number ended the original with a fault.
    let page = Page::of(&open(&daemon, "/open/im?mid=alice", "Cookie: a=b\r\n").await);
    assert_eq!(page.value("room_id"), "live://8000alice");
    let page = Page::of(&open(&daemon, "/open/im?mid=1", "Cookie: a=b; mid=77\r\n").await);
    assert_eq!(page.value("mid"), "77", "the cookie counts first");
}

#[tokio::test]
async fn who_speaks_too_often_is_told_when_it_may() {
    let daemon = Daemon::start(&[TRIAL, "limits.publish_rate=1/m burst 1"]).await;
    let page = Page::of(&open(&daemon, "/open/im?mid=5", "").await);
    assert_eq!(page.say(&daemon, "one").await.json()["success"], true);
    let heard = page.say(&daemon, "two").await;
    assert_eq!((heard.status, heard.json()["success"].clone()), (429, json!(false)));
    let wait: u64 = heard.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn what_is_said_before_a_login_disturbs_nothing() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let page = Page::of(&open(&daemon, "/open/im?mid=5", "").await);
    let mut early = daemon.websocket("/orim/sub").await;
    assert_eq!(page.say(&daemon, "before").await.json()["success"], true);
    page.log_in(&mut early).await;
    assert_eq!(page.say(&daemon, "after").await.json()["success"], true);
    assert_eq!(message(&mut early).await["msg"], "after");
}

#[tokio::test]
async fn two_pairs_whose_names_make_one_room_do_not_meet() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let first = Page::of(&open(&daemon, "/open/im?shop_id=1&mid=112", "").await);
    let _first_side = first.connect(&daemon).await;
    within("the room is known", async {
        loop {
            let heard = open(&daemon, "/open/im?shop_id=11&mid=12", "").await;
            if heard.status == 200 {
                assert!(
                    heard.json()["msg"].as_str().unwrap().contains("belongs to the shop 1"),
                    "{}",
                    heard.body
                );
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn unread_counts_are_exact_while_many_write_and_read() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let page = Page::of(&open(&daemon, "/open/im?mid=5", "").await);
    let staff = Page::of(&open(&daemon, "/open/com?shop_id=8000&mid=5", "").await);
    let mut side = staff.connect(&daemon).await;
    let _customer_side = page.connect(&daemon).await;
    let writers = (0..4).map(|writer| {
        let (daemon, page, staff) = (&daemon, &page, &staff);
        async move {
            for n in 0..15 {
                let who = if writer == 3 { staff } else { page };
                assert_eq!(who.say(daemon, &format!("{writer}.{n}")).await.json()["success"], true);
            }
        }
    });
    let reader = async {
        let mut ids = Vec::new();
        for _ in 0..60 {
            let message = message(&mut side).await;
            ids.push((message["id"].as_str().unwrap().parse::<u64>().unwrap(), message["mid"].clone()));
        }
        ids
    };
    let (_, ids) = futures_util::join!(futures_util::future::join_all(writers), reader);
    assert!(ids.is_sorted_by(|(one, _), (next, _)| one < next), "ids are in the order of the room");
    // After each acknowledgement exactly those count that the other side wrote behind it.
    for read in [0, 17, 40, 41, 59] {
        ack(&mut side, &ids[read].0.to_string()).await;
        let expected = ids[read + 1..].iter().filter(|(_, mid)| mid == "5").count();
        let heard = post(&daemon, "/open/unread?mid=8000&room_id=live://58000", "", "").await.json();
        assert_eq!(heard["data"][0]["unread"], expected, "behind {read}");
    }
    assert_eq!(list(&daemon, 0, "").await[0]["num"], 0);
}

#[tokio::test]
async fn history_comes_in_pages_and_outlives_a_kill() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let page = Page::of(&open(&daemon, "/open/im?mid=5", "").await);
    for n in 1..=7 {
        page.say(&daemon, &n.to_string()).await;
    }
    let directory = killed(daemon).await;
    let log = LogServer::start(&directory.path().join("sink.sock"));
    let daemon = Daemon::start_in(directory, log, &[TRIAL]).await;
    let messages = |reply: &Value| -> Vec<String> {
        let list = reply["data"].as_array().or_else(|| reply["result"]["list"].as_array()).unwrap();
        list.iter().map(|message| message["msg"].as_str().unwrap().to_owned()).collect()
    };
    let first = open(&daemon, "/open/history?room_id=live://58000&limit=3", "").await.json();
    assert_eq!(messages(&first), ["7", "6", "5"]);
    assert_eq!(first["data"][0]["mid"], "5");
    let path = format!("/open/history?room_id=live://58000&limit=4&before={}", first["next"]);
    let second = open(&daemon, &path, "").await.json();
    assert_eq!(messages(&second), ["4", "3", "2", "1"]);
    assert_eq!(second["next"], Value::Null);
    let listed = post(&daemon, "/open/listmsg?page=2&limit=3", "", "room_id=live://58000").await.json();
    assert_eq!((&listed["code"], messages(&listed)), (&json!(200), vec!["4".into(), "3".into(), "2".into()]));
    let listed = post(&daemon, "/open/listmsg?page=9&limit=3", "", "room_id=live://58000").await.json();
    assert!(messages(&listed).is_empty());
    let unread = post(&daemon, "/open/unread?mid=8000&room_id=live://58000", "", "").await.json();
    assert_eq!(unread["data"][0]["unread"], 7, "{unread}");
}

/// Ends the daemon without a word, and gives what it leaves.
async fn killed(mut daemon: Daemon) -> TempDir {
    daemon.signal(rustix::process::Signal::KILL);
    daemon.gone().await;
    let Daemon { directory, log, .. } = daemon;
    log.kill();
    for socket in ["notify.sock", "sink.sock"] {
        std::fs::remove_file(directory.path().join(socket)).unwrap();
    }
    directory
}

/// A call of an rpc method.
fn rpc(id: u32, method: &str, data: &Value) -> String {
    json!({"id": id, "rpc": {"method": method, "data": data}}).to_string()
}

/// The answer to a call and the signal of it, which come in any order.
async fn answer_and_signal(client: &mut Client) -> (Value, Value) {
    let (one, other) = (client.json().await, client.json().await);
    let (answer, push) = if one.get("push").is_some() { (other, one) } else { (one, other) };
    (answer, push["push"]["pub"].clone())
}

#[tokio::test]
async fn people_type_and_read_and_only_those_hear_who_understand() {
    let daemon = Daemon::start(&[TRIAL, "chat.recall_window=1h"]).await;
    let room = "live://58000";
    let page = Page::of(&open(&daemon, "/open/im?mid=5", "").await);
    let mut customer = page.connect(&daemon).await;
    let mut staff = daemon.websocket("/connection/websocket").await;
    staff.connect("8000").await;
    staff.subscribe(room).await;
    page.say(&daemon, "first").await;
    let first = message(&mut customer).await["id"].as_str().unwrap().to_owned();
    let heard = staff.json().await["push"]["pub"].clone();
    assert_eq!(
        (heard["data"]["id"].as_str(), heard["data"]["mid"].as_str()),
        (Some(first.as_str()), Some("5"))
    );

    staff.send(&rpc(3, "typing", &json!({"room": room}))).await;
    let (answer, signal) = answer_and_signal(&mut staff).await;
    assert_eq!(answer["rpc"]["data"], json!({"told": true}));
    assert_eq!(
        (&signal["data"], &signal["tags"]),
        (&json!({"type": "typing", "mid": "8000"}), &json!({"signal": "typing"}))
    );
    staff.send(&rpc(5, "unread", &json!({"rooms": [room, "live://68000"]}))).await;
    let rooms = staff.json().await["rpc"]["data"]["rooms"].clone();
    assert_eq!(
        (&rooms[0]["unread"], &rooms[0]["last"]["data"]["msg"]),
        (&json!(1), &json!("first")),
        "{rooms}"
    );
    assert_eq!((&rooms[1]["unread"], &rooms[1]["last"]), (&json!(0), &Value::Null));
    staff.send(&rpc(6, "read", &json!({"room": room, "offset": 1}))).await;
    let (answer, signal) = answer_and_signal(&mut staff).await;
    assert_eq!(answer["rpc"]["data"], json!({"moved": true}), "{answer}");
    assert_eq!(signal["data"], json!({"type": "read", "mid": "8000", "id": first}));
    staff.send(&rpc(7, "read", &json!({"room": room, "id": first}))).await;
    assert_eq!(staff.json().await["rpc"]["data"], json!({"moved": false}));

    // The page, which would show signals as messages, heard messages only.
    let quiet = tokio::time::timeout(BRIEF, next(&mut customer)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn a_message_is_taken_back_by_its_author_or_the_staff_and_by_nobody_else() {
    let daemon = Daemon::start(&[TRIAL, "chat.recall_window=1h"]).await;
    let room = "live://58000";
    let page = Page::of(&open(&daemon, "/open/im?mid=5", "").await);
    let mut customer = page.connect(&daemon).await;
    let mut staff = daemon.websocket("/connection/websocket").await;
    staff.connect("8000").await;
    staff.subscribe(room).await;
    page.say(&daemon, "first").await;
    let first = message(&mut customer).await["id"].as_str().unwrap().to_owned();
    let heard = staff.json().await["push"]["pub"].clone();
    assert_eq!(
        (heard["data"]["id"].as_str(), heard["data"]["mid"].as_str()),
        (Some(first.as_str()), Some("5"))
    );

    // Nobody takes back what another wrote, except for the staff.
    let mut other = daemon.websocket("/connection/websocket").await;
    other.connect("6").await;
    other.send(&rpc(2, "recall", &json!({"room": room, "id": first}))).await;
    assert!(other.next().await.contains("somebody else wrote the message"));
    page.say(&daemon, "second").await;
    let second = message(&mut customer).await["id"].as_str().unwrap().to_owned();
    staff.json().await;
    staff.send(&rpc(8, "recall", &json!({"room": room, "id": first}))).await;
    let (answer, signal) = answer_and_signal(&mut staff).await;
    assert_eq!(answer["rpc"]["data"], json!({}), "{answer}");
    assert_eq!(signal["data"], json!({"type": "recall", "id": first, "mid": "8000"}));
    let heard = post(&daemon, "/open/recall?mid=5", "", &format!("room_id={room}&id={second}")).await;
    assert_eq!(heard.json(), json!({"success": true, "msg": "发送成功."}));
    staff.json().await;
    let heard = post(&daemon, "/open/recall?mid=5", "", &format!("room_id={room}&id=12")).await;
    assert!(heard.json()["msg"].as_str().unwrap().contains("no message with this id"));

    let history = open(&daemon, &format!("/open/history?room_id={room}"), "").await.json();
    for (message, id) in history["data"].as_array().unwrap().iter().zip([&second, &first]) {
        assert_eq!(
            (&message["type"], &message["msg"], &message["id"]),
            (&json!("recall"), &json!(""), &json!(id))
        );
    }
    let unread = post(&daemon, "/open/unread?mid=8000", "", &format!("room_id={room}")).await.json();
    assert_eq!(unread["data"][0]["unread"], 0, "what was taken back is not unread");

    // The page, which would show signals as messages, heard messages only.
    let quiet = tokio::time::timeout(BRIEF, next(&mut customer)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}
