//! No stream makes the readers of either side panic, wherever it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::lumberjack::Acks;
use pillion::wire::lumberjack::Limits;
use pillion::wire::lumberjack::Reader;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut reader = Reader::new(Limits { window: 64, frame: 4096, inflated: 1 << 16 });
    'stream: for piece in [first, second] {
        let mut left = piece;
        loop {
            match reader.next(&mut left) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => break 'stream,
            }
        }
    }
    let mut acks = Acks::default();
    for piece in [first, second] {
        let mut left = piece;
        while let Ok(Some(_)) = acks.next(&mut left) {}
    }
});
