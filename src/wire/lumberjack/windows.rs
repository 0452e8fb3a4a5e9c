//! Windows of records, as the sender writes them.

use flate2::Compress;
use flate2::Compression;
use flate2::FlushCompress;
use flate2::Status;

use super::COMPRESSED;
use super::JSON;
use super::VERSION;
use super::WINDOW;

/// How many bytes of frames are gathered before they are compressed.
const BLOCK: usize = 64 * 1024;

/// How much room there is at least for what compression gives at once.
const ROOM: usize = 16 * 1024;

/// Writes windows. Keeps what compression needs from one window to the next: about 300 KiB, or nothing without it.
#[derive(Debug)]
pub struct Windows {
    deflate: Option<Deflate>,
}

#[derive(Debug)]
struct Deflate {
    state: Compress,
    /// Frames that are not compressed yet; not more than [`BLOCK`] and a record.
    block: Vec<u8>,
}

impl Windows {
    /// Windows that are compressed at `level`: 1 is fast, 9 is small, 0 is not at all. More than 9 is 9.
    #[must_use]
    pub fn new(level: u8) -> Self {
        let state = || Compress::new(Compression::new(u32::from(level.min(9))), true);
        let deflate = (level > 0).then(|| Deflate { state: state(), block: Vec::with_capacity(BLOCK) });
        Self { deflate }
    }

    /// Appends a window of `records`, and tells how many they were. A record's final line break is left out.
    ///
    /// # Panics
    /// When a record, or the number of records, has more than 32 bits: `logger.max_line` and the limits of a
    /// window are far below.
    pub fn write<'r>(&mut self, out: &mut Vec<u8>, records: impl IntoIterator<Item = &'r [u8]>) -> u32 {
        out.extend_from_slice(&[VERSION, WINDOW]);
        let at = hole(out);
        let mut count = 0_u32;
        if let Some(deflate) = &mut self.deflate {
            let mut records = records.into_iter().peekable();
            // A compressed frame of nothing would be a riddle to the receiver.
            if records.peek().is_some() {
                count = deflate.write(out, records);
            }
        } else {
            for record in records {
                count += 1;
                frame(out, count, record);
            }
        }
        fill(out, at, count);
        count
    }
}

impl Deflate {
    fn write<'r>(&mut self, out: &mut Vec<u8>, records: impl Iterator<Item = &'r [u8]>) -> u32 {
        out.extend_from_slice(&[VERSION, COMPRESSED]);
        let at = hole(out);
        let start = out.len();
        let mut count = 0_u32;
        self.state.reset();
        for record in records {
            count += 1;
            frame(&mut self.block, count, record);
            if self.block.len() >= BLOCK {
                self.press(out, FlushCompress::None);
            }
        }
        self.press(out, FlushCompress::Finish);
        // One giant record must not be paid for until the end.
        self.block.shrink_to(2 * BLOCK);
        let length = short(out.len() - start);
        fill(out, at, length);
        count
    }

    /// Compresses the block.
    fn press(&mut self, out: &mut Vec<u8>, flush: FlushCompress) {
        let mut rest = self.block.as_slice();
        loop {
            out.reserve(ROOM.max(rest.len() / 4));
            let before = self.state.total_in();
            let status = self.state.compress_vec(rest, out, flush);
            let status = status.expect("a stream that was reset can be compressed into");
            let used = usize::try_from(self.state.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(used..).unwrap_or_default();
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => rest.is_empty(),
            };
            if done {
                self.block.clear();
                return;
            }
        }
    }
}

/// Appends one record.
fn frame(out: &mut Vec<u8>, sequence: u32, record: &[u8]) {
    let json = record.strip_suffix(b"\n").unwrap_or(record);
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    let [l0, l1, l2, l3] = short(json.len()).to_be_bytes();
    out.extend_from_slice(&[VERSION, JSON, s0, s1, s2, s3, l0, l1, l2, l3]);
    out.extend_from_slice(json);
}

/// Leaves four bytes for a number that is known later; returns where they are.
fn hole(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    at
}

fn fill(out: &mut [u8], at: usize, number: u32) {
    if let Some(hole) = out.get_mut(at..at + 4) {
        hole.copy_from_slice(&number.to_be_bytes());
    }
}

fn short(length: usize) -> u32 {
    u32::try_from(length).expect("records and windows are far shorter than 4 GiB")
}
