//! The file of a segment: its name and its header say the same, so that one of them may rot.
//!
//! Name: `<base, 20 digits>-<salt, 8 hex digits>.segment`. Header, 32 bytes: magic (8), version (4), salt (4),
//! base (8), reserved (4), CRC32C of all that (4). Every later version keeps these 32 bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

/// Bytes before the first frame.
pub(super) const HEADER: usize = 32;

/// The only version so far.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"PILLJRN\n";
const SUFFIX: &str = ".segment";
const MODE: u32 = 0o640;

/// What a segment is called and what its frames are salted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    /// No frame in it has a lower number.
    pub base: u64,
    /// What the header CRCs of its frames begin with.
    pub salt: u32,
}

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// They are whole.
    Whole(Label),
    /// They are whole, and of a version that is not known here.
    Future(u32),
    /// They are damaged or were never written: the name counts.
    Rotten,
}

impl Label {
    /// The label in a file name; none when it is not the name of a segment.
    pub(super) fn parse(name: &OsStr) -> Option<Self> {
        let (base, salt) = name.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
        let is_ours = base.len() == 20
            && base.bytes().all(|byte| byte.is_ascii_digit())
            && salt.len() == 8
            && salt.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_ours {
            return None;
        }
        Some(Self { base: base.parse().ok()?, salt: u32::from_str_radix(salt, 16).ok()? })
    }

    /// The file name.
    pub(super) fn name(self) -> String {
        format!("{:020}-{:08x}{SUFFIX}", self.base, self.salt)
    }

    fn encode(self, version: u32) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

impl Head {
    /// Reads the first bytes of `file`.
    pub(super) fn read(file: &File) -> Self {
        let mut bytes = [0; HEADER];
        // A header that can not be read is as good as a rotten one: the name says the same.
        if file.read_exact_at(&mut bytes, 0).is_err() { Self::Rotten } else { Self::decode(&bytes) }
    }

    fn decode(bytes: &[u8; HEADER]) -> Self {
        let crc = u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]);
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let salt = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let (_, base) = bytes.split_at(16);
        match base.first_chunk() {
            Some(base) if bytes.starts_with(&MAGIC) && crc32c::crc32c(&bytes[..28]) == crc => {
                if version == VERSION {
                    Self::Whole(Label { base: u64::from_le_bytes(*base), salt })
                } else {
                    Self::Future(version)
                }
            }
            _ => Self::Rotten,
        }
    }
}

/// Makes a new segment with its header, and reserves up to `reserve` bytes for it where the file system can.
///
/// Returns the file and the bytes that are reserved. On an error there is no file.
pub(super) fn create(directory: &Path, label: Label, reserve: u64) -> io::Result<(File, PathBuf, u64)> {
    let path = directory.join(label.name());
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&path)?;
    let filled = preallocate(&file, reserve)
        .and_then(|reserved| file.write_all_at(&label.encode(VERSION), 0).map(|()| reserved));
    match filled {
        Ok(reserved) => Ok((file, path, reserved)),
        Err(error) => {
            // If it stays after all, the next open finds it empty and deletes it.
            std::fs::remove_file(&path).ok();
            Err(error)
        }
    }
}

/// Reserves blocks behind the end of `file`; zero when the file system can not.
///
/// The length stays what it is: it is where the frames end.
pub(super) fn preallocate(file: &File, bytes: u64) -> io::Result<u64> {
    if bytes == 0 {
        return Ok(0);
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) => Ok(bytes),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Every segment in `directory` by its name, in the order of their bases.
pub(super) fn list(directory: &Path) -> io::Result<Vec<(Label, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(label) = Label::parse(&entry.file_name()) {
            found.push((label, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { base: 77, salt: 0xABCD_EF01 };

    #[test]
    fn the_name_says_what_the_header_says() {
        assert_eq!(LABEL.name(), "00000000000000000077-abcdef01.segment");
        assert_eq!(Label::parse(OsStr::new(&LABEL.name())), Some(LABEL));
        assert_eq!(Head::decode(&LABEL.encode(VERSION)), Head::Whole(LABEL));
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "",
            "cursor",
            "77-abcdef01.segment",
            "00000000000000000077-abcdef01.segment.rotten",
            "00000000000000000077-ABCDEF01.segment",
            "+0000000000000000077-abcdef01.segment",
            "99999999999999999999-abcdef01.segment",
        ] {
            assert_eq!(Label::parse(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_changed_bit_makes_a_header_rotten_and_never_future() {
        let whole = LABEL.encode(VERSION);
        for bit in 0..HEADER * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&bytes), Head::Rotten, "bit {bit}");
        }
        assert_eq!(Head::decode(&LABEL.encode(2)), Head::Future(2));
    }
}
