//! No frame of bytes makes the reader panic, and what it reads as a message is told as valid JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::centrifuge::Encoding;
use pillion::wire::centrifuge::Method;
use pillion::wire::centrifuge::Publication;
use pillion::wire::centrifuge::Push;

fuzz_target!(|frame: &[u8]| {
    drop(Encoding::Protobuf.emulation(frame));
    let Ok(commands) = Encoding::Protobuf.commands(frame) else { return };
    assert!(!commands.is_empty() && commands.len() <= 1024);
    for command in commands {
        let (Method::Rpc { data: Some(data), .. } | Method::Send { data: Some(data) }) = command.method
        else {
            continue;
        };
        let json = Encoding::Json.push("", &Push::Publication(Publication::new(&data)));
        assert!(!json.contains(&b'\n'));
        serde_json::from_slice::<&serde_json::value::RawValue>(&json).expect("a push is valid JSON");
    }
});
