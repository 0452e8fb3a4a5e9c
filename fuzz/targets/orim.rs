//! No body makes the readers panic, and a message that is read comes back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::goim::Packet;
use pillion::wire::orim;
use pillion::wire::orim::Message;

fuzz_target!(|input: (u8, &[u8])| {
    let (operation, body) = input;
    if let Ok(orim::Request::Auth(auth)) = orim::request(&Packet::push(i32::from(operation), body)) {
        assert!(auth.room.contains("://"));
        assert_eq!(auth.has_its_key(), auth.key == orim::key(&auth.user, &auth.room));
    }
    if let Ok(message) = Message::read(body) {
        assert_eq!(Message::read(message.json().as_bytes()), Ok(message));
    }
});
