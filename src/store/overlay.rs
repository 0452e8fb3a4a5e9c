//! A file that redb may change without changing it: what is written stays in memory.
//!
//! redb mends a file that was not closed in good order before it reads it. Here it does so beside the file, so that a
//! check changes nothing, and what is damaged stays as it was found. The memory holds what is written, block by block.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use redb::BackendError;
use redb::StorageBackend;
use rustix::fs::FlockOperation;
use rustix::fs::flock;

use super::Error;

const BLOCK: usize = 4096;

/// Where the header of a redb file says how it was left, and the bits there.
const STATE: u64 = 9;
pub(super) const SLOT: u8 = 1;
pub(super) const UNCLEAN: u8 = 2;

/// The file, and what was written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How much of the file is not cut off.
    of_file: u64,
    length: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    /// Opens a file to be read, unless a process that writes has it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::File { path: path.to_owned(), source: Arc::new(error.into()) };
        let file = File::open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse(path.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
        let length = file.metadata().map_err(failed)?.len();
        let state = State { of_file: length, length, blocks: BTreeMap::new() };
        Ok(Self { file, state: Mutex::new(state) })
    }

    /// Changes the bits that say how the file was left.
    pub(super) fn turn(&self, clear: u8, flip: u8) -> io::Result<()> {
        let mut state = [0];
        self.read(STATE, &mut state)?;
        self.write(STATE, &[(state[0] & !clear) ^ flip])
    }

    fn block(&self, state: &State, index: u64) -> io::Result<Box<[u8; BLOCK]>> {
        if let Some(block) = state.blocks.get(&index) {
            return Ok(block.clone());
        }
        let mut block = Box::new([0; BLOCK]);
        let start = index * BLOCK as u64;
        let there = usize::try_from(state.of_file.saturating_sub(start)).unwrap_or(BLOCK).min(BLOCK);
        if let Some(target) = block.get_mut(..there) {
            self.file.read_exact_at(target, start)?;
        }
        Ok(block)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The blocks that `length` bytes from `offset` on lie in, each with the part of it that they are.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let (size, end) = (BLOCK as u64, offset + length as u64);
    (offset / size..end.div_ceil(size)).map(move |index| {
        let start = index * size;
        let within = |at: u64| usize::try_from(at.clamp(start, start + size) - start).unwrap_or(BLOCK);
        (index, within(offset)..within(end))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (index, part) in pieces(offset, out.len()) {
            let block = self.block(&state, index)?;
            let Some((target, rest)) = out.split_at_mut_checked(part.len()) else { break };
            target.copy_from_slice(block.get(part).unwrap_or_default());
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        if length < state.length {
            // What is behind the end reads as zeros when the file grows again.
            let last = length / BLOCK as u64;
            let mut block = self.block(&state, last)?;
            let kept = usize::try_from(length % BLOCK as u64).unwrap_or(0);
            block.get_mut(kept..).unwrap_or_default().fill(0);
            state.blocks.split_off(&last);
            state.blocks.insert(last, block);
            state.of_file = state.of_file.min(length);
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        for (index, part) in pieces(offset, data.len()) {
            let mut block = self.block(&state, index)?;
            let Some((source, rest)) = data.split_at_checked(part.len()) else { break };
            if let Some(target) = block.get_mut(part) {
                target.copy_from_slice(source);
            }
            data = rest;
            state.blocks.insert(index, block);
        }
        Ok(())
    }

    // The lock was taken when the file was opened.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLength(u64),
        Read(u64, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let place = 0_u64..20_000;
        let step = prop_oneof![
            (place.clone(), 1_u8.., 0_usize..9000).prop_map(|(at, byte, n)| Step::Write(at, vec![byte; n])),
            place.clone().prop_map(Step::SetLength),
            (place, 0_usize..9000).prop_map(|(at, length)| Step::Read(at, length)),
        ];
        prop::collection::vec(step, 0..20)
    }

    proptest! {
        #[test]
        fn it_is_as_a_file_that_is_written_to_and_the_file_stays(steps in steps()) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let original: Vec<u8> = (0..10_000_u32).map(|n| (n % 250) as u8 + 1).collect();
            std::fs::write(&path, &original).unwrap();
            let overlay = Overlay::open(&path).unwrap();
            let mut model = original.clone();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        let end = at as usize + bytes.len();
                        if end <= model.len() {
                            overlay.write(at, &bytes).unwrap();
                            model[at as usize..end].copy_from_slice(&bytes);
                        }
                    }
                    Step::SetLength(length) => {
                        overlay.set_len(length).unwrap();
                        model.resize(length as usize, 0);
                    }
                    Step::Read(at, length) => {
                        let mut out = vec![9; length];
                        let expected = model.get(at as usize..at as usize + length);
                        prop_assert_eq!(overlay.read(at, &mut out).is_ok(), expected.is_some());
                        if let Some(expected) = expected {
                            prop_assert_eq!(&out, expected);
                        }
                    }
                }
                prop_assert_eq!(overlay.len().unwrap(), model.len() as u64);
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), original);
        }
    }
}
