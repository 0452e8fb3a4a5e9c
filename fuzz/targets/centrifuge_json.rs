//! No frame of text makes the reader panic, and what it reads as a message is told again in both encodings.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pillion::wire::centrifuge::Encoding;
use pillion::wire::centrifuge::Method;
use pillion::wire::centrifuge::Publication;
use pillion::wire::centrifuge::Push;
use serde_json::value::RawValue;

fuzz_target!(|frame: &[u8]| {
    drop(Encoding::Json.emulation(frame));
    let Ok(commands) = Encoding::Json.commands(frame) else { return };
    assert!(!commands.is_empty() && commands.len() <= 1024);
    for command in commands {
        let Method::Publish(publish) = command.method else { continue };
        let Some(data) = publish.data else { continue };
        let push = Push::Publication(Publication::new(&data));
        let json = Encoding::Json.push(&publish.channel, &push);
        assert!(!json.contains(&b'\n'));
        // Read as raw values: data may be nested deeper than the library builds trees.
        let reply: BTreeMap<&str, &RawValue> = serde_json::from_slice(&json).expect("a push is valid JSON");
        let push_told: BTreeMap<&str, &RawValue> =
            serde_json::from_str(reply["push"].get()).expect("so is its inside");
        let channel = push_told.get("channel").map(|channel| serde_json::from_str::<String>(channel.get()));
        assert_eq!(channel.transpose().expect("it is a text").unwrap_or_default(), publish.channel);
        assert!(Encoding::Protobuf.push(&publish.channel, &push).len() > data.bytes().len());
    }
});
