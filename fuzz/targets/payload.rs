//! Whatever was published is valid JSON on one line for those who want JSON, and the same bytes for the others.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::payload::Payload;

fuzz_target!(|bytes: &[u8]| {
    for payload in [Payload::from_bytes(bytes), Payload::from_body(bytes), Payload::binary(bytes)] {
        assert_eq!(payload.bytes(), bytes);
        let json = payload.json();
        assert!(!json.contains(['\n', '\r']));
        let value: &serde_json::value::RawValue = serde_json::from_str(&json).expect("it is valid JSON");
        // What a client sends back is the same message, but for white space around it and between tokens.
        let back = Payload::from_json(value);
        let on_one_line =
            |payload: &Payload| payload.text().replace(['\n', '\r'], " ").trim_ascii().to_owned();
        assert_eq!(on_one_line(&back), on_one_line(&payload));
        assert_eq!(Payload::restore(payload.kind(), payload.bytes()), Some(payload));
    }
});
