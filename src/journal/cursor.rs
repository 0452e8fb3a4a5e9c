//! The cursor file: the lowest unacknowledged number, in two slots that are written in turn.
//!
//! A slot is 32 bytes: magic (4), version (4), turn (8), cursor (8), reserved (4), CRC32C (4); the slots are a page
//! apart. The whole slot with the higher turn counts, so a write that is interrupted costs one step back. Every
//! later version keeps magic, version and CRC where they are.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The name of the file.
pub(super) const NAME: &str = "cursor";

/// The only version so far.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 4] = *b"PJC\n";
const SLOT: usize = 32;
const DISTANCE: u64 = 4096;
const MODE: u32 = 0o640;

/// What a cursor file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The lowest unacknowledged number, and the turn that it was written in.
    Cursor(u64, u64),
    /// There is no file, or nothing in it.
    Missing,
    /// Neither slot is whole.
    Rotten,
    /// A later version wrote it.
    Future(u32),
}

/// The open file.
#[derive(Debug)]
pub(super) struct CursorFile {
    file: File,
    turn: u64,
}

impl CursorFile {
    /// Opens the file in `directory` for writing, making it when it is missing; `turn` is that of the last slot.
    pub(super) fn open(directory: &Path, turn: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(MODE);
        Ok(Self { file: options.open(directory.join(NAME))?, turn })
    }

    /// Writes the cursor, unsynced.
    pub(super) fn write(&mut self, cursor: u64) -> io::Result<()> {
        let turn = self.turn + 1;
        self.file.write_all_at(&encode(VERSION, turn, cursor), (turn % 2) * DISTANCE)?;
        self.turn = turn;
        Ok(())
    }

    /// Brings it to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Reads the cursor file in `directory`.
pub(super) fn read(directory: &Path) -> io::Result<Reading> {
    let file = match File::open(directory.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Missing),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() == 0 {
        return Ok(Reading::Missing);
    }
    let mut best = Reading::Rotten;
    for slot in [0, 1] {
        let mut bytes = [0; SLOT];
        // A slot that can not be read is as good as a rotten one.
        if file.read_exact_at(&mut bytes, slot * DISTANCE).is_err() {
            continue;
        }
        best = match (decode(&bytes), best) {
            (Reading::Future(version), _) => return Ok(Reading::Future(version)),
            (Reading::Cursor(cursor, turn), Reading::Cursor(_, other)) if turn > other => {
                Reading::Cursor(cursor, turn)
            }
            (Reading::Cursor(cursor, turn), Reading::Rotten) => Reading::Cursor(cursor, turn),
            (_, best) => best,
        };
    }
    Ok(best)
}

fn encode(version: u32, turn: u64, cursor: u64) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&version.to_le_bytes());
    bytes[8..16].copy_from_slice(&turn.to_le_bytes());
    bytes[16..24].copy_from_slice(&cursor.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> Reading {
    let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default();
    let long = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default();
    let is_whole = bytes.starts_with(&MAGIC) && crc32c::crc32c(&bytes[..28]) == u32::from_le_bytes(word(28));
    match u32::from_le_bytes(word(4)) {
        _ if !is_whole => Reading::Rotten,
        VERSION => Reading::Cursor(u64::from_le_bytes(long(16)), u64::from_le_bytes(long(8))),
        version => Reading::Future(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cursor_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), Reading::Missing);
        let mut file = CursorFile::open(directory.path(), 0).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Reading::Missing);
        for cursor in 1..10 {
            file.write(cursor * 100).unwrap();
            assert_eq!(read(directory.path()).unwrap(), Reading::Cursor(cursor * 100, cursor));
        }
    }

    #[test]
    fn any_changed_byte_costs_at_most_one_step_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = CursorFile::open(directory.path(), 0).unwrap();
        file.write(100).unwrap();
        file.write(200).unwrap();
        let path = directory.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).filter(|at| at % DISTANCE as usize <= SLOT) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            let is_near = matches!(read(directory.path()).unwrap(), Reading::Cursor(100 | 200, _));
            assert!(is_near, "byte {at}");
        }
    }

    #[test]
    fn a_later_version_is_told_from_rot() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), encode(9, 1, 1)).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Reading::Future(9));
        std::fs::write(directory.path().join(NAME), "rubbish").unwrap();
        assert_eq!(read(directory.path()).unwrap(), Reading::Rotten);
    }
}
