//! The file of a unix socket: claimed before the bind, removed at the end.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use socket2::Domain;
use socket2::SockAddr;
use socket2::Socket;
use socket2::Type;

use super::Error;
use super::PATH_MAX;
use super::directory_of;
use crate::address::Address;

/// A socket file of ours; dropping it removes the file, unless somebody has put another one in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Binds a new socket of `kind` to `path`, in place of a dead one, and gives the file `mode`.
    pub(super) fn bind(
        address: &Address,
        path: &Path,
        kind: Type,
        mode: u32,
    ) -> Result<(Socket, Self), Error> {
        let failed = |source| Error::of(address, source);
        let length = path.as_os_str().as_bytes().len();
        if length > PATH_MAX {
            return Err(Error::TooLong { address: address.clone(), length });
        }
        make_directory(address, path)?;
        remove_dead(address, path, kind)?;
        let at = SockAddr::unix(path).map_err(failed)?;
        let socket = Socket::new(Domain::UNIX, kind.nonblocking(), None).map_err(failed)?;
        // The kernel gives the new file the mode of the socket less the umask, so that it is never too open;
        // what the umask took away is given back afterwards.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode)).map_err(|error| failed(error.into()))?;
        socket.bind(&at).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        let found = fs::symlink_metadata(path).map_err(failed)?;
        Ok((socket, Self { path: path.to_owned(), device: found.dev(), inode: found.ino() }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if !ours {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a socket file");
        }
    }
}

/// Creates the directory of `path` when only that is missing; a whole missing tree is a typing error.
fn make_directory(address: &Address, path: &Path) -> Result<(), Error> {
    let directory = directory_of(path);
    if directory.is_dir() {
        return Ok(());
    }
    match fs::create_dir(&directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::Denied {
            address: address.clone(),
            hint: format!("create {} and make it writable for this user", directory.display()),
            source: error,
        }),
        Err(_) => {
            Err(Error::NoDirectory { address: address.clone(), directory: directory.display().to_string() })
        }
    }
}

/// Removes the file of a socket that nobody serves any more.
fn remove_dead(address: &Address, path: &Path, kind: Type) -> Result<(), Error> {
    let failed = |source| Error::of(address, source);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(Error::NotSocket { address: address.clone() });
    }
    match alive(path, kind) {
        Ok(false) => {}
        Ok(true) => return Err(Error::InUse { address: address.clone() }),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            let hint =
                "the socket there belongs to another user: remove it or choose another path".to_owned();
            return Err(Error::Denied { address: address.clone(), hint, source });
        }
        Err(source) => return Err(failed(source)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// True when a process serves the socket at `path`; only a refusal proves that none does.
fn alive(path: &Path, kind: Type) -> io::Result<bool> {
    // Non-blocking: a living server with a full backlog must not hold us up, it answers "would block".
    let socket = Socket::new(Domain::UNIX, kind.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // A wrong type of socket also means that somebody serves it.
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::os::unix::net::UnixListener;

    fn bind(path: &Path, kind: Type) -> Result<(Socket, SocketFile), Error> {
        SocketFile::bind(&Address::Unix(path.to_owned()), path, kind, 0o660)
    }

    #[test]
    fn the_file_has_the_wanted_mode_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/x.sock");
        let (_socket, file) = bind(&path, Type::STREAM).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_dead_process_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        for kind in [Type::STREAM, Type::DGRAM] {
            drop(UnixListener::bind(&path).unwrap());
            assert!(path.exists());
            drop(bind(&path, kind).unwrap());
        }
    }

    #[test]
    fn the_file_of_a_living_process_is_not_stolen() {
        let directory = tempfile::tempdir().unwrap();
        let (stream, datagram) = (directory.path().join("s"), directory.path().join("d"));
        let _stream = UnixListener::bind(&stream).unwrap();
        let _datagram = UnixDatagram::bind(&datagram).unwrap();
        for path in [&stream, &datagram] {
            for kind in [Type::STREAM, Type::DGRAM] {
                let error = bind(path, kind).unwrap_err();
                assert!(matches!(error, Error::InUse { .. }), "{error:?}");
                assert!(path.exists());
            }
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path, Type::STREAM).unwrap_err(), Error::NotSocket { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn the_file_of_a_successor_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let (_socket, file) = bind(&path, Type::STREAM).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn missing_directories_and_long_paths_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/x.sock");
        let text = bind(&deep, Type::STREAM).unwrap_err().to_string();
        assert!(text.contains("a/b does not exist: create it"), "{text}");
        let long = directory.path().join("x".repeat(120));
        let text = bind(&long, Type::STREAM).unwrap_err().to_string();
        assert!(text.contains("a unix socket can have 107"), "{text}");
    }
}
