//! No body makes the reader panic, and a message that is read comes back as it was, alone and in a history.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::goim::Packet;
use pillion::wire::golang_im;
use pillion::wire::orim::Message;

fuzz_target!(|input: (u8, &[u8])| {
    let (operation, body) = input;
    if let Ok(golang_im::Request::Auth(auth)) = golang_im::request(&Packet::push(i32::from(operation), body))
    {
        assert_eq!(auth.has_its_device(), auth.device == golang_im::device(&auth.platform, &auth.user));
    }
    let Ok(message) = Message::read(body) else { return };
    let json = golang_im::message(&message);
    assert_eq!(Message::read(json.as_bytes()), Ok(message));
    let history = golang_im::history([json.as_str(), json.as_str()]);
    let told: Vec<serde_json::Value> = serde_json::from_slice(&history).expect("a history is valid JSON");
    assert_eq!(told.len(), 2);
});
