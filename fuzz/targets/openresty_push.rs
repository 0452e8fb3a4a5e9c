//! No text makes the reader panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::openresty_push;
use pillion::wire::openresty_push::Request;

fuzz_target!(|text: &str| {
    let request = openresty_push::read(text);
    assert_eq!(request == Request::Echo, text.len() < openresty_push::ECHO_BELOW);
});
