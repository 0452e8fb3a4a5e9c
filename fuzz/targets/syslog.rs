//! No line makes the reader panic, and what it says of the message is part of the line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::syslog;
use pillion::wire::syslog::Dialect;

fuzz_target!(|line: &[u8]| {
    for dialect in [Dialect::Rfc3164, Dialect::Rfc5424] {
        if let Ok(message) = syslog::read(line, dialect) {
            assert!(message.host.len() + message.tag.len() + message.body.len() <= line.len());
        }
    }
});
