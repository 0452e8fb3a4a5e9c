//! Chats without `auth.insecure`: who may do what, and files that are not what they say.

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::chat::Page;
use crate::chat::list;
use crate::chat::open;
use crate::chat::post;
use crate::daemon::Daemon;
use crate::daemon::within;
use crate::dialects::next;
use crate::dialects::send;

const SECRET: &str = "auth.jwt_secret=0123456789abcdef0123456789abcdef";
const SAFE: [&str; 4] = [
    "auth.mode=jwt",
    SECRET,
    r#"auth.key=[{name="shop", key="the-key-of-the-shop-software", scopes=["chat"]}, {name="other", key="another-key-of-some-backend", scopes=["publish"]}]"#,
    r#"chat.shop=[{id="8000", staff=["alice"]}]"#,
];
const KEY: &str = "X-API-Key: the-key-of-the-shop-software\r\n";

/// A token that the operator's own system signs.
fn token(user: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    jsonwebtoken::encode(&header, &json!({"sub": user, "exp": 4_000_000_000_u64}), &key).unwrap()
}

#[tokio::test]
async fn the_unchanged_page_works_with_a_token_and_nobody_speaks_as_another() {
    let daemon = Daemon::start(&SAFE).await;
    // What a visitor says about itself does not make it so.
    let heard =
        open(&daemon, "/open/im?shop_id=8000&mid=5", "Cookie: mid=5\r\nX-Forwarded-Proto: https\r\n").await;
    let page = Page::of(&heard);
    let mid = page.value("mid").to_owned();
    assert_ne!(mid, "5");
    assert_eq!(page.value("key"), page.value("token"), "where the page expects its key");
    assert!(page.value("suburl").starts_with("wss://test/"));
    let cookie = heard.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; Max-Age=864000; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    let mut side = page.connect(&daemon).await;
    assert_eq!(page.say(&daemon, "hello").await.json(), json!({"success": true, "msg": "发送成功."}));
    let heard = next(&mut side).await.json();
    assert_eq!((heard["msg"].as_str(), heard["mid"].as_str()), (Some("hello"), Some(mid.as_str())));

    // The same visitor comes back by its cookie.
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(Page::of(&open(&daemon, "/open/im?shop_id=8000", &cookie).await).value("mid"), mid);

    // Another's room: neither to speak in nor to read.
    let other = Page::of(&open(&daemon, "/open/im", "").await);
    assert_ne!(other.value("mid"), mid);
    let (room, theirs) = (page.value("room_id"), other.value("token"));
    let body = format!("type=text&msg=a&room_id={room}");
    let forged = post(&daemon, &format!("/open/push?mid={mid}&shop_id=8000&token={theirs}"), "", &body).await;
    assert_eq!((forged.status, forged.json()["success"].clone()), (403, json!(false)));
    for (path, status) in [
        (format!("/open/history?room_id={room}&token={theirs}"), 403),
        (format!("/open/history?room_id={room}"), 401),
        (format!("/open/history?room_id={room}&token={}", page.value("token")), 200),
        (format!("/open/com?shop_id=8000&mid={mid}&token={theirs}"), 403),
        (format!("/open/com?shop_id=8000&mid={mid}"), 401),
        ("/open/del".to_owned(), 401),
        (format!("/open/del?token={theirs}"), 403),
        ("/open/im?shop_id=9999".to_owned(), 404),
        ("/open/im?url=https%3A%2F%2Fevil.example%2F".to_owned(), 200),
    ] {
        assert_eq!(open(&daemon, &path, "").await.status, status, "{path}");
    }
    for (path, headers, status) in [
        ("/open/push?mid=1&shop_id=8000", "", 401),
        ("/open/push?mid=1&shop_id=8000", "token: nonsense\r\n", 401),
        ("/open/finduserlist?shop_id=8000", "X-API-Key: another-key-of-some-backend\r\n", 403),
        ("/open/finduserlist?shop_id=8000", &format!("Authorization: Bearer {theirs}\r\n"), 403),
        ("/open/finduserlist?shop_id=8000", "", 401),
    ] {
        let heard = post(&daemon, path, headers, &body).await;
        assert_eq!((heard.status, heard.json()["success"].clone()), (status, json!(false)), "{path}");
    }
    let refused = daemon.log.record("the refusal", |record| record["action"] == "web_err").await;
    assert!(refused["err"].as_str().unwrap().starts_with("/open/"), "{refused}");

    // On the socket a page is in the room of its token only, whatever it lists.
    let mut spy = daemon.websocket("/orim/sub").await;
    let login = json!({"room_id": room, "accepts": "[]", "key": theirs, "mid": other.value("mid")});
    send(&mut spy, pillion::wire::goim::operation::AUTH, 1, login.to_string().as_bytes()).await;
    assert!(spy.next().await.starts_with("close"));
}

#[tokio::test]
async fn the_staff_and_backends_act_for_their_shop() {
    let daemon = Daemon::start(&SAFE).await;
    let page = Page::of(&open(&daemon, "/open/im?mid=5&nickname=N", KEY).await);
    assert_eq!(page.value("mid"), "5", "a backend says who its customer is");
    let mut side = page.connect(&daemon).await;
    page.say(&daemon, "hello").await;
    next(&mut side).await;

    let alice = format!("token: {}\r\n", token("alice"));
    for headers in [KEY, &alice] {
        let rows = within("the customer is listed", async {
            loop {
                let rows = list(&daemon, 0, headers).await;
                if !rows.is_empty() {
                    return rows;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((rows.len(), &rows[0]["num"]), (1, &json!(1)));
    }
    let staff = Page::of(&open(&daemon, "/open/com?shop_id=8000&mid=5", &alice).await);
    assert_eq!((staff.value("mid"), staff.value("shop_id")), ("8000", "5"));
    assert_eq!(staff.say(&daemon, "good day").await.json()["success"], true);
    assert_eq!(next(&mut side).await.json()["mid"], "8000");
    // The page's token is the staff's as well: the list of the console, over its cookie.
    let cookie = format!("Cookie: pillion_chat={}\r\n", staff.value("token"));
    assert_eq!(list(&daemon, 0, &cookie).await.len(), 1);
    // A member of the staff without the page speaks as the shop.
    let room = page.value("room_id");
    let body = format!("type=text&msg=again&room_id={room}");
    let heard = post(&daemon, "/open/push?mid=8000&shop_id=5", &alice, &body).await;
    assert_eq!(heard.json()["success"], true, "{}", heard.body);
    assert_eq!(next(&mut side).await.json()["mid"], "8000");
    let mallory = format!("token: {}\r\n", token("mallory"));
    assert_eq!(post(&daemon, "/open/push?mid=8000&shop_id=5", &mallory, &body).await.status, 403);
    // Nobody becomes the shop by saying so.
    let heard = open(&daemon, "/open/im?mid=8000", KEY).await;
    assert!(
        heard.json()["msg"].as_str().unwrap().contains("its staff goes in by /open/com"),
        "{}",
        heard.body
    );
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and the rest";

fn form(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: image/png\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

/// Sends bytes and reads the whole answer: its head, and its body.
async fn raw(daemon: &Daemon, line: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = UnixStream::connect(daemon.path("pillion.sock")).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A refusal may come before all of it is sent.
    stream.write_all(body).await.ok();
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer)).await.ok();
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer"));
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap().to_lowercase(), body)
}

async fn upload(daemon: &Daemon, name: &str, content: &[u8]) -> (u16, Value) {
    let headers = "Content-Type: multipart/form-data; boundary=b\r\n";
    let (head, body) = raw(daemon, "POST /upload/file", headers, &form(name, content)).await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{head}{}", String::from_utf8_lossy(&body))),
    )
}

fn files(daemon: &Daemon) -> usize {
    std::fs::read_dir(daemon.path("data/uploads")).unwrap().count()
}

#[tokio::test]
async fn a_picture_is_what_its_bytes_say_and_comes_back_as_nothing_else() {
    let daemon =
        Daemon::start(&["auth.insecure=true", "chat.upload_size=100KiB", "chat.upload_limit=250KiB"]).await;
    for disguised in [
        b"<script>alert(document.cookie)</script>".as_slice(),
        b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
        b"<!doctype html><html>",
        b"BM<script>alert(1)</script>",
        b"#!/bin/sh\nrm -rf /\n",
        b"",
    ] {
        let (status, reply) = upload(&daemon, "harmless.png", disguised).await;
        assert_eq!((status, &reply["success"]), (200, &json!(false)), "{reply}");
        assert!(reply["msg"].as_str().unwrap().starts_with("not allowed upload file type"), "{reply}");
    }
    assert_eq!(files(&daemon), 0);

    // The ending comes from the content, whatever the name says.
    let (_, reply) = upload(&daemon, "../../evil.html", PNG).await;
    let name = reply["filename"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
    assert!(reply["success"] == true && name.starts_with("/upload/") && name.ends_with(".png"), "{reply}");
    let (head, body) = raw(&daemon, &format!("GET {name}"), "", b"").await;
    assert_eq!(body, PNG);
    for header in [
        "content-type: image/png",
        "x-content-type-options: nosniff",
        "content-security-policy: sandbox; default-src 'none'",
        "cache-control: public, max-age=31536000, immutable",
    ] {
        assert!(head.contains(header), "{header} is not in {head}");
    }
    for nowhere in ["/upload/1.png", "/upload/..%2flock", "/upload/../store", "/upload/"] {
        assert!(
            raw(&daemon, &format!("GET {nowhere}"), "", b"").await.0.starts_with("http/1.1 404"),
            "{nowhere}"
        );
    }

    // One that is too long is refused, and together the oldest make room.
    let long = [PNG, &vec![0; 110 * 1024]].concat();
    let (status, reply) = upload(&daemon, "long.png", &long).await;
    assert_eq!((status, &reply["success"]), (413, &json!(false)), "{reply}");
    for _ in 0..3 {
        assert_eq!(upload(&daemon, "a.png", &[PNG, &vec![0; 90 * 1024]].concat()).await.0, 200);
    }
    assert_eq!(files(&daemon), 2);
    assert!(raw(&daemon, &format!("GET {name}"), "", b"").await.0.starts_with("http/1.1 404"));
    let metrics = daemon.admin("/metrics").await.1;
    assert!(metrics.contains(r#"pillion_chat_removed_total{kind="uploads"} 2"#), "{metrics}");
}

#[tokio::test]
async fn an_upload_needs_somebody_and_leaves_nothing_when_it_breaks_off() {
    let daemon = Daemon::start(&SAFE).await;
    let (status, reply) = upload(&daemon, "a.png", PNG).await;
    assert_eq!((status, &reply["success"]), (401, &json!(false)));
    let page = Page::of(&open(&daemon, "/open/im", "").await);
    let headers = format!(
        "Content-Type: multipart/form-data; boundary=b\r\nCookie: pillion_chat={}\r\n",
        page.value("token")
    );
    let (head, _) = raw(&daemon, "POST /upload/file", &headers, &form("a.png", PNG)).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let mut stream = UnixStream::connect(daemon.path("pillion.sock")).await.unwrap();
    let whole = form("a.png", &vec![0; 60_000]);
    let head = format!(
        "POST /upload/file HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {}\r\n\r\n",
        whole.len()
    );
    stream.write_all(&[head.as_bytes(), &form("a.png", PNG)[..120]].concat()).await.unwrap();
    drop(stream);
    within("what broke off is gone", async {
        while files(&daemon) != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
