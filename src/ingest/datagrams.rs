//! Reads datagrams, as many as there are each time the socket wakes us.
//!
//! One call of the kernel takes one datagram. `recvmmsg` takes several, but is in none of the crates that we build
//! on; a trial with one that has it (UDP loopback, 330 bytes, 32 at a time) needed 0.40 to 0.55 µs per datagram, and
//! so did `recv`: copying and the sender's part cost far more than the calls do.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::LAST_CALL;
use super::drops::Drops;
use super::intake::Intake;
use crate::clock;
use crate::net::Datagram;
use crate::tasks::Tasks;

/// The longest datagram. UDP ends at 65507 bytes; unix sockets at `net.core.wmem_max`, 212992 bytes by default.
const DATAGRAM_MAX: usize = 256 * 1024;

/// How many datagrams are read before other tasks get their turn: 64 of 2 µs each.
const BATCH: usize = 64;

/// How many batches are read at the end: 16384 datagrams, more than 4 MiB of receive buffer can hold.
const LAST_BATCHES: usize = 256;

/// The pause after an error that is not about one datagram.
const PAUSE: Duration = Duration::from_millis(100);

/// Says so when the kernel keeps fewer unread bytes than it was asked for.
pub(super) fn warn_of_small_buffer(socket: &Datagram, wanted: usize) {
    let Some(granted) = socket.receive_buffer().filter(|&granted| granted < wanted) else { return };
    tracing::warn!(
        address = %socket.address(),
        wanted,
        granted,
        "the kernel grants a smaller receive buffer, so bursts may be lost: set it with \
         `sysctl -w net.core.rmem_max={wanted}`, and in /etc/sysctl.d/ for good"
    );
}

/// Takes datagrams in until the tasks are stopped.
pub(super) async fn receive(socket: Datagram, drops: Option<Arc<Drops>>, intake: Intake, tasks: Tasks) {
    let mut intake = intake;
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut stopping = pin!(tasks.stopping());
    loop {
        let ready = tokio::select! {
            () = &mut stopping => break,
            ready = socket.readable() => ready,
        };
        match ready.and_then(|()| drain(&socket, &mut intake, &mut buffer, BATCH)) {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => {
                tracing::warn!(address = %socket.address(), %error, "could not receive log lines");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    for _ in 0..LAST_BATCHES {
        // The runtime may not know yet what has arrived, so that a look without a wait could miss it.
        let Ok(Ok(())) = tokio::time::timeout(LAST_CALL, socket.readable()).await else { break };
        if let Err(error) = drain(&socket, &mut intake, &mut buffer, BATCH) {
            tracing::warn!(address = %socket.address(), %error, "could not receive the last log lines");
            break;
        }
    }
    if let Some(drops) = drops {
        drops.last();
    }
}

/// Takes in what is there, up to `limit` datagrams.
fn drain(socket: &Datagram, intake: &mut Intake, buffer: &mut [u8], limit: usize) -> io::Result<()> {
    let drained = read(socket, intake, buffer, limit);
    intake.settle();
    drained
}

fn read(socket: &Datagram, intake: &mut Intake, buffer: &mut [u8], limit: usize) -> io::Result<()> {
    let received = clock::wall();
    for _ in 0..limit {
        match socket.try_recv(buffer) {
            Ok(length) => {
                // A datagram that fills the buffer was probably longer; the kernel does not keep its end.
                let cut = length == buffer.len();
                intake.datagram(buffer.get(..length).unwrap_or_default(), received, cut);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
