//! The marker of a clean stop: a file that is there only between a stop in good order and the next start.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;

const MARKER: &str = "clean";

/// Takes the marker away, for good; true when it was there.
pub(super) fn take(directory: &Path) -> io::Result<bool> {
    match fs::remove_file(directory.join(MARKER)) {
        Ok(()) => sync(directory).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// True when the marker is there.
pub(super) fn is_there(directory: &Path) -> bool {
    directory.join(MARKER).exists()
}

/// Leaves the marker: everything is on disk.
pub(super) fn leave(directory: &Path) -> io::Result<()> {
    let mut file = File::create(directory.join(MARKER))?;
    file.write_all(b"pillion stopped in good order\n")?;
    file.sync_all()?;
    sync(directory)
}

/// Puts what was made, renamed or removed in a directory on disk.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
