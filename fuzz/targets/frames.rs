//! The lines of a stream do not depend on where it is cut, as long as none is too long.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillion::wire::frames::Frames;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let max = bytes.len() + 16;
    assert_eq!(lines(&[bytes], max), lines(&[first, second], max));
    lines(&[first, second], 8);
});

fn lines(pieces: &[&[u8]], max: usize) -> Vec<(Vec<u8>, bool)> {
    let mut frames = Frames::default();
    let mut lines = Vec::new();
    let mut take = |line: &[u8], cut: bool| lines.push((line.to_vec(), cut));
    for piece in pieces {
        frames.feed(piece, max, &mut take);
    }
    frames.finish(&mut take);
    lines
}
