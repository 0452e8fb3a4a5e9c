//! Golden vectors, round trips, and what hostile streams cost.

use proptest::prelude::*;

use super::*;

const GOLDEN: &str = include_str!("../../../tests/golden/lumberjack/windows.txt");

/// Reads pieces of a stream; an error is the last line.
fn read_with(limits: Limits, pieces: &[&[u8]]) -> Vec<String> {
    let (mut reader, mut found) = (Reader::new(limits), Vec::new());
    for piece in pieces {
        let mut bytes = *piece;
        loop {
            match reader.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Event::Window(count))) => found.push(format!("window {count}")),
                Ok(Some(Event::End(highest))) => found.push(format!("end {highest}")),
                Ok(Some(Event::Json { sequence, json })) => {
                    found.push(format!("json {sequence} {}", String::from_utf8_lossy(json)));
                }
                Err(error) => {
                    found.push(format!("error: {error}"));
                    return found;
                }
            }
        }
        assert!(bytes.is_empty(), "what is left over would be lost");
    }
    found
}

fn read(pieces: &[&[u8]]) -> Vec<String> {
    read_with(Limits::default(), pieces)
}

/// The bytes of an example: hexadecimal words and quoted texts.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        for pair in digits.chunks(2) {
            bytes.push(u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap());
        }
    }
    bytes
}

#[test]
fn golden_streams_are_read_however_they_are_cut() {
    let mut examples = 0;
    for example in GOLDEN.split("\n\n") {
        let mut lines = example.lines().filter(|line| !line.starts_with('#'));
        let Some(sent) = lines.next() else { continue };
        let bytes = bytes_of(sent.trim_start_matches(['=', '>']));
        let expected: Vec<&str> = lines.map(|line| line.strip_prefix("< ").unwrap()).collect();
        assert!(!expected.is_empty(), "{sent}");
        assert_eq!(read(&[&bytes]), expected, "{sent}");
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected, "byte by byte: {sent}");
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read(&[first, second]), expected, "cut at {at}: {sent}");
        }
        examples += 1;
    }
    assert!(examples >= 25, "only {examples} examples were seen");
}

#[test]
fn golden_windows_are_written_as_they_stand() {
    let mut examples = 0;
    for example in GOLDEN.split("\n\n") {
        let mut lines = example.lines().filter(|line| !line.starts_with('#')).peekable();
        let Some(sent) = lines.next().and_then(|line| line.strip_prefix("=> ")) else { continue };
        let (mut windows, mut out, mut records) = (Windows::new(0), Vec::new(), Vec::new());
        for line in lines {
            match line.strip_prefix("< ").and_then(|line| line.split_once(' ')).unwrap() {
                ("json", record) => records.push(format!("{}\n", record.split_once(' ').unwrap().1)),
                ("end", _) => {
                    windows.write(&mut out, records.iter().map(String::as_bytes));
                    records.clear();
                }
                _ => {}
            }
        }
        assert_eq!(out.escape_ascii().to_string(), bytes_of(sent).escape_ascii().to_string());
        examples += 1;
    }
    assert!(examples >= 3, "only {examples} examples were seen");
}

fn written(windows: &mut Windows, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let count = windows.write(&mut out, records.iter().map(Vec::as_slice));
    assert_eq!(count as usize, records.len());
    out
}

fn expected(records: &[Vec<u8>]) -> Vec<String> {
    let mut lines = vec![format!("window {}", records.len())];
    for (index, record) in records.iter().enumerate() {
        let json = record.strip_suffix(b"\n").unwrap_or(record);
        lines.push(format!("json {} {}", index + 1, String::from_utf8_lossy(json)));
    }
    lines.push(format!("end {}", records.len()));
    lines
}

#[test]
fn large_windows_survive_compression_at_every_level() {
    // More than a block of frames, and one record that is longer than a block.
    let mut records: Vec<Vec<u8>> =
        (0..2048).map(|i| format!("{{\"n\":{}}}\n", i * i).into_bytes()).collect();
    records.push(format!("{{\"x\":\"{}\"}}", "0123456789".repeat(20_000)).into_bytes());
    for level in 0..=10 {
        let mut windows = Windows::new(level);
        // The machine serves one window after another.
        for records in [&records[..], &records[..7], &[]] {
            let bytes = written(&mut windows, records);
            assert_eq!(read(&[&bytes]), expected(records), "level {level}");
            let pieces: Vec<_> = bytes.chunks(1000).collect();
            assert_eq!(read(&pieces), expected(records), "level {level} in pieces");
        }
    }
}

#[test]
fn compression_keeps_its_room_from_window_to_window() {
    let records: Vec<Vec<u8>> = (0..4000).map(|i| format!("{{\"number\":{i}}}\n").into_bytes()).collect();
    let mut windows = Windows::new(3);
    let mut out = Vec::new();
    windows.write(&mut out, records.iter().map(Vec::as_slice));
    let (length, room) = (out.len(), out.capacity());
    for _ in 0..10 {
        out.clear();
        windows.write(&mut out, records.iter().map(Vec::as_slice));
        assert_eq!((out.len(), out.capacity()), (length, room));
    }
}

#[test]
fn a_bomb_is_found_out_by_its_limit() {
    let bomb = vec![b' '; 4_000_000];
    let bytes = written(&mut Windows::new(9), &[bomb]);
    assert!(bytes.len() < 10_000);
    let limits = Limits { inflated: 1_000_000, ..Limits::default() };
    assert_eq!(
        read_with(limits, &[&bytes]),
        [
            "window 1",
            "error: the compressed frame whose content begins at offset 12 inflates to more than 1000000 bytes"
        ]
    );
    let limits = Limits { frame: 1_000_000, ..Limits::default() };
    assert_eq!(
        read_with(limits, &[&bytes])[1],
        "error: the frame at offset 0 of what is compressed at offset 12 is of 4000000 bytes: at most 1000000 are taken"
    );
}

#[test]
fn a_wrong_check_sum_is_refused() {
    let mut bytes = written(&mut Windows::new(3), &[b"{}".to_vec()]);
    *bytes.last_mut().unwrap() ^= 1;
    let found = read(&[&bytes]);
    assert!(found.last().unwrap().ends_with("it is no zlib stream, or a damaged one"), "{found:?}");
}

#[test]
fn an_end_within_a_window_is_known_as_torn() {
    let bytes = written(&mut Windows::new(0), &[b"{}".to_vec()]);
    let mut reader = Reader::new(Limits::default());
    let mut torn = Vec::new();
    for byte in &bytes {
        let mut piece = std::slice::from_ref(byte);
        while reader.next(&mut piece).unwrap().is_some() {}
        torn.push(reader.is_torn());
    }
    let whole = torn.pop();
    assert_eq!(whole, Some(false));
    assert!(torn.iter().all(|torn| *torn));
}

proptest! {
    #[test]
    fn what_was_written_is_read_however_it_is_cut(
        records in proptest::collection::vec(proptest::collection::vec(1_u8.., 1..50), 0..20),
        level in 0_u8..=9,
        at: proptest::sample::Index,
    ) {
        // A record of nothing but its line break has no content, which no frame may have.
        let records: Vec<_> = records.into_iter().filter(|record| record != b"\n").collect();
        let bytes = written(&mut Windows::new(level), &records);
        let (first, second) = bytes.split_at(at.index(bytes.len() + 1));
        prop_assert_eq!(read(&[first, second]), expected(&records));
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&single), expected(&records));
    }

    #[test]
    fn garbage_is_an_error_and_no_more(pieces: Vec<Vec<u8>>) {
        let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
        read(&pieces);
    }

    #[test]
    fn damage_is_an_error_and_no_more(
        level in 0_u8..=9,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let records: Vec<_> = (0..20).map(|i| format!("{{\"number\":{i}}}").into_bytes()).collect();
        let mut bytes = written(&mut Windows::new(level), &records);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let pieces: Vec<_> = bytes.chunks(7).collect();
        read(&pieces);
    }
}
