//! How many datagrams the kernel dropped at one of our UDP sockets, because they came faster than they were read.
//!
//! The kernel can put the count beside each datagram (`SO_RXQ_OVFL`), but nothing that we build on can ask for it or
//! read it without unsafe code, and it would cost every datagram something. The kernel's table of UDP sockets has the
//! same count in its last column: it is read when somebody asks. Our line is the one with the inode of our socket,
//! because several sockets may share a port. Unix sockets drop nothing: there the sender waits, or loses.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::Datagram;

/// The drop count of one UDP socket. It outlives the socket: then it stays as it was when last read.
#[derive(Debug)]
pub struct DropCount {
    inode: u64,
    table: &'static str,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The kernel's own count, of 32 bits.
    raw: u32,
    total: u64,
}

impl DropCount {
    /// The count of `socket`; `None` when it is a unix socket.
    ///
    /// # Errors
    /// When the kernel's table can not be read, as in some containers.
    pub fn of(socket: &Datagram) -> io::Result<Option<Self>> {
        let Datagram::Udp(socket) = socket else { return Ok(None) };
        let six = socket.local_addr()?.is_ipv6();
        let table = if six { "/proc/self/net/udp6" } else { "/proc/self/net/udp" };
        let inode = rustix::fs::fstat(socket.as_fd())?.st_ino;
        let count = Self { inode, table, seen: Mutex::default() };
        count.read()?;
        Ok(Some(count))
    }

    /// How many datagrams were dropped since the socket was bound.
    ///
    /// # Errors
    /// When the kernel's table can not be read.
    pub fn read(&self) -> io::Result<u64> {
        // Under the lock, so that of two readers the later one also has the later count.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(raw) = find(&fs::read_to_string(self.table)?, self.inode) {
            seen.count(raw);
        }
        Ok(seen.total)
    }
}

impl Seen {
    /// Takes a later reading; the kernel's count begins again at zero after 2³² drops.
    fn count(&mut self, raw: u32) {
        self.total += u64::from(raw.wrapping_sub(self.raw));
        self.raw = raw;
    }
}

/// The drops of the socket with `inode` in the kernel's table.
fn find(table: &str, inode: u64) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(9);
        let ours = columns.next()?.parse() == Ok(inode);
        ours.then(|| columns.nth(2)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::bind_datagram;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
  394: 0100007F:158A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 12
 2711: 00000000:158A 00000000:0000 07 00000000:00021C00 00:00000000 00000000   998        0 815 2 0000000000000000 0
";

    #[test]
    fn the_line_of_a_socket_is_found_by_its_inode() {
        assert_eq!(find(TABLE, 4711), Some(12));
        assert_eq!(find(TABLE, 815), Some(0));
        for inode in [0, 12, 998] {
            assert_eq!(find(TABLE, inode), None);
        }
        assert_eq!(find("", 0), None);
    }

    #[test]
    fn the_kernels_count_may_begin_again() {
        let mut seen = Seen::default();
        [5, 5, u32::MAX, 3].into_iter().for_each(|raw| seen.count(raw));
        assert_eq!(seen.total, u64::from(u32::MAX) + 4);
    }

    #[tokio::test]
    async fn what_a_full_socket_drops_is_counted_for_it_alone() {
        for address in ["udp:127.0.0.1:0", "udp:[::1]:0"] {
            let bind = || bind_datagram(&address.parse().unwrap(), 0o600, 4096).unwrap();
            let (full, other) = (bind(), bind());
            let count = DropCount::of(&full).unwrap().unwrap();
            let others = DropCount::of(&other).unwrap().unwrap();
            let Datagram::Udp(socket) = &full else { panic!("{full:?}") };
            let to = socket.local_addr().unwrap();
            let sender = std::net::UdpSocket::bind((to.ip(), 0)).unwrap();
            for _ in 0..100 {
                sender.send_to(&[b'x'; 1000], to).unwrap();
            }
            let mut received = 0;
            full.readable().await.unwrap();
            while full.try_recv(&mut [0; 2000]).is_ok() {
                received += 1;
            }
            assert!(received < 100, "{received}");
            assert_eq!(count.read().unwrap(), 100 - received);
            assert_eq!(others.read().unwrap(), 0);
            drop(full);
            assert_eq!(count.read().unwrap(), 100 - received, "the count outlives the socket");
        }
    }

    #[tokio::test]
    async fn a_unix_socket_has_no_count() {
        let directory = tempfile::tempdir().unwrap();
        let address = crate::address::Address::Unixgram(directory.path().join("s"));
        let socket = bind_datagram(&address, 0o600, 4096).unwrap();
        assert!(DropCount::of(&socket).unwrap().is_none());
    }
}
