use std::io::Cursor;

use super::*;
use crate::wire::websocket;
use proptest::prelude::*;
use tungstenite::Message;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

const GOLDEN: &str = include_str!("../../../tests/golden/goim/packets.txt");

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = line.unwrap_or_else(|| panic!("no {name}"));
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The golden packets of goim: operation, sequence and body.
const PACKETS: [(&str, i32, i32, &[u8]); 8] = [
    (
        "A1",
        operation::AUTH,
        1,
        br#"{"mid":123, "room_id":"live://1000", "platform":"web", "accepts":[1000,1001,1002]}"#,
    ),
    ("A2", operation::AUTH_REPLY, 1, b""),
    ("A3", operation::HEARTBEAT, 2, b""),
    ("A4", operation::HEARTBEAT_REPLY, 2, &[0, 0, 0, 42]),
    ("A5", operation::CHANGE_ROOM, 3, b"live://1001"),
    ("A6", operation::SUB, 4, b"1000,1003"),
    ("A7", operation::UNSUB, 5, b"1003"),
    ("A8", 1000, 0, br#"{"test":1}"#),
];

fn asked(operation: i32, body: &[u8]) -> Result<Request, BadBody> {
    request(&Packet { version: 1, operation, sequence: 1, body })
}

#[test]
fn golden_packets_are_read_and_written() {
    for (name, operation, sequence, body) in PACKETS {
        let packet = Packet { version: VERSION, operation, sequence, body };
        assert_eq!(packet.to_vec(), golden(name), "{name}");
        assert_eq!(Packet::read(&golden(name), BODY_MAX), Ok(packet), "{name}");
    }
}

#[test]
fn an_answer_repeats_the_clients_version_and_number() {
    let heartbeat = golden("A3");
    let heartbeat = Packet::read(&heartbeat, BODY_MAX).unwrap();
    assert_eq!(heartbeat.answer(operation::HEARTBEAT_REPLY, &online(42)).to_vec(), golden("A4"));
    assert_eq!(online(usize::MAX), i32::MAX.to_be_bytes());
    let login = golden("A1");
    let answer = Packet::read(&login, BODY_MAX).unwrap().answer(operation::AUTH_REPLY, b"").to_vec();
    assert_eq!(*websocket::binary(&answer), golden("A2ws"));
}

#[test]
fn pushes_are_wrapped_on_a_websocket_and_bare_on_a_stream() {
    let mut both = Vec::new();
    Packet::push(1000, br#"{"test":1}"#).write(&mut both);
    assert_eq!(*websocket::binary(&batch(&both)), golden("A9ws"));
    Packet::push(1000, br#"{"test":2}"#).write(&mut both);
    assert_eq!(both, golden("A11"));
    assert_eq!(*websocket::binary(&batch(&both)), golden("A10ws"));
    let inner = Packet::read_all(&both, BODY_MAX).unwrap();
    assert_eq!(inner[1], Packet::push(1000, br#"{"test":2}"#));
    assert_eq!(Packet::read_all(&both[..40], BODY_MAX), Err(Fault::Length { claimed: 26, frame: 14 }));
}

#[test]
fn golden_frames_of_a_browser_are_packets() {
    let mut server = WebSocket::from_raw_socket(Cursor::new(golden("O1ws")), Role::Server, None);
    assert_eq!(server.read().unwrap(), Message::binary(golden("O1")));
    assert_eq!(
        tungstenite::handshake::derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[test]
fn a_length_that_is_not_the_frames_is_an_error_with_a_name() {
    let claiming = |length: i32| {
        let mut frame = golden("A3");
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame
    };
    let mut header = golden("A3");
    header[5] = 17;
    for (frame, name, words) in [
        (claiming(4113), "packet_too_long", "the packet claims 4113 bytes, and at most 4112 are allowed"),
        (
            claiming(i32::MIN),
            "packet_below_header",
            "the packet claims -2147483648 bytes, and its header alone has 16",
        ),
        (claiming(0), "packet_below_header", "the packet claims 0 bytes, and its header alone has 16"),
        (claiming(5), "packet_below_header", "the packet claims 5 bytes, and its header alone has 16"),
        (claiming(17), "packet_length", "the packet claims 17 bytes, and its frame has 16"),
        (claiming(4112), "packet_length", "the packet claims 4112 bytes, and its frame has 16"),
        (golden("A4")[..19].to_vec(), "packet_length", "the packet claims 20 bytes, and its frame has 19"),
        (header, "packet_header", "the packet claims a header of 17 bytes, and it always has 16"),
        (vec![0, 0, 0], "packet_short", "the frame has 3 bytes, and a packet's header alone has 16"),
        (
            golden("A3")[..15].to_vec(),
            "packet_short",
            "the frame has 15 bytes, and a packet's header alone has 16",
        ),
        (vec![], "packet_short", "the frame has 0 bytes, and a packet's header alone has 16"),
    ] {
        let fault = Packet::read(&frame, BODY_MAX).unwrap_err();
        assert_eq!((fault.name(), fault.to_string().as_str()), (name, words));
    }
}

#[test]
fn the_longest_body_is_read_and_one_byte_more_is_not() {
    let body = vec![b'x'; BODY_MAX + 1];
    let longest = Packet::push(4, &body[1..]).to_vec();
    assert!(Packet::read(&longest, BODY_MAX).is_ok());
    assert!(Packet::read(&Packet::push(4, &body).to_vec(), BODY_MAX).is_err());
}

#[test]
fn golden_logins_and_requests_are_understood() {
    let login = Auth {
        user: "123".into(),
        room: Some("live://1000".into()),
        platform: "web".into(),
        accepts: vec![1000, 1001, 1002],
        ..Auth::default()
    };
    let expected = [
        ("A1", Request::Auth(Box::new(login))),
        ("A3", Request::Heartbeat),
        ("A5", Request::ChangeRoom(Some("live://1001".into()))),
        ("A6", Request::Sub(vec![1000, 1003])),
        ("A7", Request::Unsub(vec![1003])),
        ("A8", Request::Other),
    ];
    for (name, expected) in expected {
        let bytes = golden(name);
        assert_eq!(request(&Packet::read(&bytes, BODY_MAX).unwrap()), Ok(expected), "{name}");
    }
    assert_eq!(asked(operation::CHANGE_ROOM, b""), Ok(Request::ChangeRoom(None)));
    assert_eq!(asked(operation::SUB, b" 1000 , -3 "), Ok(Request::Sub(vec![1000, -3])));
    assert_eq!(asked(operation::SUB, b""), Ok(Request::Sub(Vec::new())));
}

#[test]
fn logins_may_be_written_in_every_custom() {
    for body in [
        r#"{"mid":7,"room_id":"1000","accepts":[1,2]}"#,
        r#"{"mid":"7","room_id":1000,"accepts":"[1,2]","nickname":{"any":["thing"]}}"#,
        r#" {"mid":"7","room_id":"1000","accepts":"1, 2","key":null,"token":""}"#,
    ] {
        let Ok(Request::Auth(auth)) = asked(operation::AUTH, body.as_bytes()) else { panic!("{body}") };
        let expected =
            Auth { user: "7".into(), room: Some("1000".into()), accepts: vec![1, 2], ..Auth::default() };
        assert_eq!(*auth, expected, "{body}");
    }
    let Ok(Request::Auth(anonymous)) = asked(operation::AUTH, br#"{"mid":0,"token":"t"}"#) else {
        panic!("no login")
    };
    assert_eq!(*anonymous, Auth { token: Some("t".into()), ..Auth::default() });
}

#[test]
fn bodies_that_cannot_be_read_are_told() {
    for (operation, body, words) in [
        (operation::AUTH, &b"7"[..], "bad body of operation 7: a login is a JSON object like"),
        (operation::AUTH, b"{", "bad body of operation 7: EOF while parsing"),
        (operation::AUTH, br#"{"mid":1.5}"#, "bad body of operation 7: invalid type: floating point `1.5`"),
        (
            operation::AUTH,
            br#"{"accepts":[1,"x"]}"#,
            r#"bad body of operation 7: "x" is no operation: a whole"#,
        ),
        (operation::SUB, b"1000,", r#"bad body of operation 14: "" is no operation"#),
        (operation::UNSUB, b"2147483648", r#"bad body of operation 16: "2147483648" is no operation"#),
        (operation::UNSUB, b"\xff", "bad body of operation 16: it is not UTF-8"),
        (operation::CHANGE_ROOM, b"\xff", "bad body of operation 12: it is not UTF-8"),
    ] {
        let fault = asked(operation, body).unwrap_err().to_string();
        assert!(fault.starts_with(words), "{fault}");
    }
}

/// What a stream gives, and the fault that ends it.
fn streamed(pieces: &[&[u8]], body_max: usize) -> (Vec<(i32, Vec<u8>)>, Option<Fault>) {
    let mut packets = Packets::new(body_max);
    let mut told = Vec::new();
    for piece in pieces {
        let mut left = *piece;
        loop {
            match packets.next(&mut left) {
                Ok(Some(packet)) => told.push((packet.operation, packet.body.to_vec())),
                Ok(None) => break,
                Err(fault) => return (told, Some(fault)),
            }
        }
        assert!(left.is_empty());
        assert!(packets.held.len() < HEADER + body_max);
    }
    (told, None)
}

#[test]
fn a_stream_gives_its_packets_wherever_it_is_cut() {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for (name, operation, _, body) in PACKETS {
        stream.extend(golden(name));
        expected.push((operation, body.to_vec()));
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(streamed(&bytes, BODY_MAX), (expected.clone(), None));
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(streamed(&[first, second], BODY_MAX), (expected.clone(), None), "cut at {at}");
    }
}

#[test]
fn a_stream_ends_as_soon_as_it_cannot_become_a_packet() {
    for (bytes, fault) in [
        (&[0, 0, 0, 15][..], Fault::BelowHeader(15)),
        (&[0, 0, 0x10, 0x11], Fault::TooLong { claimed: 4113, max: 4112 }),
        (&[0, 0, 0, 16, 0, 0], Fault::Header(0)),
    ] {
        let pieces: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(streamed(&pieces, BODY_MAX), (Vec::new(), Some(fault)));
        assert_eq!(streamed(&[bytes], BODY_MAX), (Vec::new(), Some(fault)));
    }
}

#[test]
fn a_stream_knows_when_it_is_torn() {
    let mut packets = Packets::new(BODY_MAX);
    assert!(!packets.is_torn());
    let bytes = golden("A4");
    let (mut first, mut second) = bytes.split_at(18);
    assert_eq!(packets.next(&mut first), Ok(None));
    assert!(packets.is_torn());
    assert_eq!(packets.next(&mut second).unwrap().unwrap().body, [0, 0, 0, 42]);
    assert!(!packets.is_torn());
}

proptest! {
    #[test]
    fn packets_come_back_as_they_were(version: i16, operation: i32, sequence: i32, body: Vec<u8>) {
        let packet = Packet { version, operation, sequence, body: &body };
        let bytes = packet.to_vec();
        prop_assert_eq!(Packet::read(&bytes, body.len()), Ok(packet));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, operation in 0..22_i32) {
        if let Ok(packet) = Packet::read(&bytes, BODY_MAX) {
            prop_assert_eq!(packet.to_vec(), bytes.as_slice());
        }
        drop(Packet::read_all(&bytes, BODY_MAX));
        drop(asked(operation, &bytes));
        drop(asked(operation::AUTH, &[b"{\"accepts\":", &bytes[..], b"}"].concat()));
    }

    #[test]
    fn a_stream_is_the_same_however_it_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        tail: Vec<u8>,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut stream = Vec::new();
        for body in &bodies {
            Packet::push(5, body).write(&mut stream);
        }
        stream.extend(&tail);
        let whole = streamed(&[&stream], 64);
        prop_assert!(whole.0.len() >= bodies.len());
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let pieces: Vec<_> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(streamed(&pieces, 64), whole);
    }
}
