//! A packet that is read is the bytes that were read, and a stream gives the same packets wherever it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::goim;
use pillion::wire::goim::Fault;
use pillion::wire::goim::Packet;
use pillion::wire::goim::Packets;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    if let Ok(packet) = Packet::read(bytes, goim::BODY_MAX) {
        assert_eq!(packet.to_vec(), bytes);
        drop(goim::request(&packet));
    }
    drop(Packet::read_all(bytes, goim::BODY_MAX));
    drop(goim::request(&Packet::push(goim::operation::AUTH, bytes)));
    drop(goim::request(&Packet::push(goim::operation::SUB, bytes)));
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(stream(&[bytes]), stream(&[first, second]));
});

fn stream(pieces: &[&[u8]]) -> (Vec<(i32, Vec<u8>)>, Option<Fault>) {
    let mut packets = Packets::new(64);
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
    }
    (told, None)
}
