//! The directory of everything durable, held by one process at a time.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::fs::flock;

/// Why the directory can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is missing and can not be made.
    #[error("data_dir {0} does not exist and can not be made: make it, owned by this user, or set data_dir")]
    Missing(PathBuf, #[source] io::Error),
    /// Nothing can be written there.
    #[error("data_dir {0} can not be written: give it to this user, or set data_dir")]
    ReadOnly(PathBuf, #[source] io::Error),
    /// Another process has it.
    #[error("data_dir {0} is in use by another pillion: stop that one, or set another data_dir")]
    InUse(PathBuf),
}

/// The directory; other processes are kept out until this is dropped, also by a kill.
#[derive(Debug)]
pub struct DataDir {
    lock: File,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // By word and not by closing the file, which a child that is being started may have open as well. What can not
        // be given back goes with the process.
        flock(&self.lock, FlockOperation::Unlock).unwrap_or_default();
    }
}

impl DataDir {
    /// Takes the directory, making it when it is missing.
    ///
    /// # Errors
    ///
    /// [`Error`] says what to do.
    pub fn take(path: &Path) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(|error| Error::Missing(path.to_owned(), error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(|error| Error::ReadOnly(path.to_owned(), error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(path.to_owned())),
            Err(error) => Err(Error::ReadOnly(path.to_owned(), error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_it_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = DataDir::take(&path).unwrap();
        assert!(matches!(DataDir::take(&path), Err(Error::InUse(_))));
        drop(held);
        assert!(DataDir::take(&path).is_ok());
    }

    #[test]
    fn what_can_not_be_made_is_told_with_what_to_do() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::take(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("does not exist and can not be made"), "{error}");
    }
}
