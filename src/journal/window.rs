//! A moving window onto a file that is read from front to back.
//!
//! A block that the disk can not read is seen as zeros: it costs the frames that lie in it, and not the journal.

use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once when everything is wanted: enough that a read costs little beside its bytes.
const LARGE: usize = 256 * 1024;

/// Bytes that are read at once after a leap: a header, and a little more in case the next one is near.
const SMALL: usize = 4096;

/// The window.
#[derive(Debug)]
pub(super) struct Window<F> {
    file: F,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
    /// Bytes of the buffer that are filled.
    filled: usize,
    /// Bytes of the file when it was opened; what is appended later is not seen.
    length: u64,
    /// Bytes that were seen as zeros because the disk could not read them.
    unreadable: u64,
}

impl<F: FileExt> Window<F> {
    /// A window onto the first `length` bytes of `file`.
    pub(super) const fn new(file: F, length: u64) -> Self {
        Self { file, buffer: Vec::new(), start: 0, filled: 0, length, unreadable: 0 }
    }

    /// Bytes of the file.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that the disk could not read so far; a block that was tried twice counts twice.
    pub(super) const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The bytes from `offset` on: at least `need` unless the file ends before, and at most [`LARGE`] of them.
    pub(super) fn at(&mut self, offset: u64, need: usize) -> io::Result<&[u8]> {
        let need = need.min(LARGE);
        let wanted = u64::min(self.length.saturating_sub(offset), need as u64);
        let held = self.start + self.filled as u64;
        if offset < self.start || offset + wanted > held {
            // Reading on from where the buffer ends means that everything is wanted.
            let size = if offset >= self.start && offset <= held && held > 0 { LARGE } else { SMALL };
            self.fill(offset, size.max(need))?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..self.filled).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, size: usize) -> io::Result<()> {
        let available = self.length.saturating_sub(offset);
        let size = usize::try_from(available).unwrap_or(usize::MAX).min(size);
        if self.buffer.len() < size {
            self.buffer.resize(size.next_power_of_two(), 0);
        }
        self.start = offset;
        self.filled = 0;
        while self.filled < size {
            let at = offset + self.filled as u64;
            let Some(target) = self.buffer.get_mut(self.filled..size) else { break };
            match self.file.read_at(target, at) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_bad_block(&error) => {
                    let (filled, unreadable) = read_block(&self.file, target, at);
                    self.filled += filled;
                    self.unreadable += unreadable;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads what is left of the block at `at`, or zeros in its place: how much, and how much of it is unreadable.
fn read_block<F: FileExt>(file: &F, target: &mut [u8], at: u64) -> (usize, u64) {
    let rest = SMALL - usize::try_from(at % SMALL as u64).unwrap_or(0);
    let size = rest.min(target.len());
    let Some(block) = target.get_mut(..size) else { return (0, 0) };
    match file.read_at(block, at) {
        Ok(read) if read > 0 => (read, 0),
        _ => {
            block.fill(0);
            (size, size as u64)
        }
    }
}

fn is_bad_block(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA];
    error.raw_os_error().is_some_and(|code| codes.iter().any(|bad| bad.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in memory with a block that can not be read.
    struct Bad {
        bytes: Vec<u8>,
        from: u64,
        until: u64,
    }

    impl FileExt for Bad {
        fn read_at(&self, target: &mut [u8], offset: u64) -> io::Result<usize> {
            let end = (offset + target.len() as u64).min(self.bytes.len() as u64);
            if offset < self.until && end > self.from {
                return Err(io::Error::from_raw_os_error(5));
            }
            let part = &self.bytes[offset as usize..end as usize];
            target[..part.len()].copy_from_slice(part);
            Ok(part.len())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn any_place_can_be_seen_in_any_order() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let length = bytes.len() as u64;
        let mut window = Window::new(Bad { bytes: bytes.clone(), from: 0, until: 0 }, length);
        for (offset, need) in [(0, 24), (24, 300), (5000, 24), (900_000, 200_000), (3, 9), (999_999, 24)] {
            let seen = window.at(offset, need).unwrap();
            assert!(seen.len() >= need.min(bytes.len() - offset as usize), "{offset}");
            assert_eq!(seen, &bytes[offset as usize..offset as usize + seen.len()], "{offset}");
        }
        assert!(window.at(length, 24).unwrap().is_empty());
        assert!(window.at(length + 7, 24).unwrap().is_empty());
    }

    #[test]
    fn a_bad_block_reads_as_zeros_and_costs_nothing_else() {
        let bytes = vec![7; 20_000];
        let mut window = Window::new(Bad { bytes, from: 4096, until: 8192 }, 20_000);
        let seen = window.at(0, 20_000).unwrap();
        assert_eq!(seen.len(), 20_000);
        let seen = seen.to_vec();
        assert_eq!(window.unreadable(), 4096);
        let zeros = |(at, byte): (usize, &u8)| (*byte == 0) == (4096..8192).contains(&at);
        assert!(seen.iter().enumerate().all(zeros));
    }
}
