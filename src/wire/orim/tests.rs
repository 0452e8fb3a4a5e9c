use super::*;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("../../../tests/golden/goim/packets.txt");
const MESSAGE: &str = include_str!("../../../tests/golden/goim/message.json");

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = line.unwrap_or_else(|| panic!("no {name}"));
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn asked(operation: i32, body: &[u8]) -> Result<Request, BadBody> {
    request(&Packet { version: 1, operation, sequence: 1, body })
}

fn message() -> Message {
    Message {
        shop_id: "8000".into(),
        kind: "text".into(),
        msg: "hi <b>".into(),
        room_id: "live://8000202405211".into(),
        id: "1577469091634360321".into(),
        dateline: 1_795_217_939,
        mid: "202405211".into(),
    }
}

#[test]
fn golden_packets_are_read_and_written() {
    let id = b"1577469091634360321";
    let message = message().json();
    let packet = |operation, body| Packet { version: 1, operation, sequence: 1, body };
    for (name, packet) in [
        ("O1", packet(goim::operation::HEARTBEAT, &b""[..])),
        ("O2", packet(goim::operation::HEARTBEAT_REPLY, b"")),
        ("O3", packet(goim::operation::AUTH_REPLY, AUTH_OK)),
        ("O4", packet(operation::SYNC, b"")),
        ("O5", packet(operation::ACK, id)),
        ("O6", packet(operation::ACK_REPLY, id)),
    ] {
        assert_eq!(packet.to_vec(), golden(name), "{name}");
        assert_eq!(Packet::read(&golden(name), BODY_MAX), Ok(packet), "{name}");
    }
    let live = packet(operation::MESSAGE, message.as_bytes());
    assert_eq!(live.header()[..], *golden("O7live"));
    assert_eq!(packet(operation::SYNC_REPLY, message.as_bytes()).header()[..], *golden("O7history"));
}

#[test]
fn golden_requests_are_understood() {
    for (name, expected) in
        [("O1", Request::Heartbeat), ("O4", Request::Sync), ("O5", Request::Ack(1_577_469_091_634_360_321))]
    {
        assert_eq!(request(&Packet::read(&golden(name), BODY_MAX).unwrap()), Ok(expected), "{name}");
    }
    assert_eq!(asked(4, b"ignored"), Ok(Request::Other));
}

#[test]
fn a_login_is_the_configuration_of_the_page() {
    let body =
        br#"{"room_id":"live://8000202405211","accepts":"[8000202405211,8000,10000]","mid":"202405211",
        "key":"88a344943d672e40d2e3571086cae3ac","nickname":"n","face":"f","shop_name":"s","shop_id":"8000",
        "shop_face":"sf","platform":"web","suburl":"wss://h/sub","pushurl":"/open/push?shop_id=8000"}"#;
    let Ok(Request::Auth(auth)) = asked(7, body) else { panic!("no login") };
    let expected = Auth {
        user: "202405211".into(),
        room: "live://8000202405211".into(),
        key: "88a344943d672e40d2e3571086cae3ac".into(),
        accepts: vec!["live://8000202405211".into(), "live://8000".into(), "live://10000".into()],
        nickname: "n".into(),
        face: "f".into(),
        shop_id: "8000".into(),
        shop_name: "s".into(),
        shop_face: "sf".into(),
        platform: "web".into(),
        token: None,
    };
    assert_eq!(*auth, expected);
    assert!(auth.has_its_key());
    // The staff's side of the same room: another user and another key; the type may be left out.
    let staff = br#"{"room_id":8000202405211,"mid":8000,"key":"fc679f373296a2f4c56209563c9dfcd8"}"#;
    let Ok(Request::Auth(auth)) = asked(7, staff) else { panic!("no login") };
    assert!(auth.has_its_key());
    assert!(!Auth { user: "8001".into(), ..*auth }.has_its_key());
}

#[test]
fn golden_keys_are_the_md5_of_user_and_room() {
    assert_eq!(key("202405211", "live://8000202405211"), "88a344943d672e40d2e3571086cae3ac");
    assert_eq!(key("8000", "live://8000202405211"), "fc679f373296a2f4c56209563c9dfcd8");
}

#[test]
fn what_cannot_be_read_is_told() {
    for (operation, body, words) in [
        (7, &b"token"[..], "bad body of operation 7: a login is a JSON object like"),
        (7, br#"{"mid":{}}"#, "bad body of operation 7: invalid type: map"),
        (16, b"0", "bad body of operation 16: the decimal id of a message is expected"),
        (16, b"-1", "bad body of operation 16: the decimal id of a message is expected"),
        (16, b"", "bad body of operation 16: the decimal id of a message is expected"),
        (16, b"\xff", "bad body of operation 16: the decimal id of a message is expected"),
    ] {
        let fault = asked(operation, body).unwrap_err().to_string();
        assert!(fault.starts_with(words), "{fault}");
    }
}

#[test]
fn the_golden_message_is_read_and_written_byte_by_byte() {
    assert_eq!(message().json(), MESSAGE);
    assert_eq!(Message::read(MESSAGE.as_bytes()), Ok(message()));
}

#[test]
fn messages_of_other_writers_are_read() {
    let loose =
        br#"{"mid":202405211,"shop_id":8000,"type":"text","msg":"hi <b>","room_id":"live://8000202405211",
        "dateline":"1795217939","id":1577469091634360321,"more":[]}"#;
    assert_eq!(Message::read(loose), Ok(message()));
    assert!(Message::read(b"{}").unwrap_err().starts_with("missing field `msg`"));
    let late = Message::read(br#"{"mid":1,"msg":"","room_id":"","id":"","dateline":"late"}"#);
    assert_eq!(late.unwrap_err(), r#"dateline: "late" are no Unix seconds"#);
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(operation in 0..22_i32, body: Vec<u8>) {
        drop(asked(operation, &body));
        drop(Message::read(&body));
    }

    #[test]
    fn messages_come_back_as_they_were(msg: String, mid: String, id: u64, dateline: u64) {
        let message = Message { msg, mid, id: id.to_string(), dateline, ..message() };
        prop_assert_eq!(Message::read(message.json().as_bytes()), Ok(message));
    }
}
