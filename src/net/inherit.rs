//! Sockets that the service manager opened for us (systemd socket activation).

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::process::getpid;
use rustix::process::pidfd_getfd;
use rustix::process::pidfd_open;

use crate::net::Listener;

/// The listening sockets that came with the process, none when it was not started by socket activation.
///
/// Their numbers come from the environment, so they are only numbers; a copy of each is taken through a handle on
/// this very process, which is how a number becomes an owned socket without unsafe code (Linux 5.6).
///
/// # Errors
///
/// When the environment contradicts itself, or a number is no listening socket.
pub fn inherited() -> io::Result<Vec<Listener>> {
    let given = sd_notify::listen_fds_with_names()?;
    if given.len() == 0 {
        return Ok(Vec::new());
    }
    let this: Pid = getpid();
    let process = pidfd_open(this, PidfdFlags::empty())?;
    given
        .map(|(number, _)| {
            let copy: OwnedFd = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
            Listener::inherit(copy)
        })
        .collect()
}
