//! Reads datagrams, as many as there are each time the socket wakes us, and lets them gather when they come one by one.
//!
//! One call of the kernel takes one datagram. `recvmmsg`, which takes several, was measured: it saves nothing, because
//! what costs is waking up. So a busy socket is looked at each millisecond or two, and nobody is woken meanwhile; where
//! its receive buffer is too small for that, each datagram wakes us.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::LAST_CALL;
use super::drops::Drops;
use super::intake::Intake;
use super::pace::GATHER;
use super::pace::Pace;
use crate::clock;
use crate::host::Host;
use crate::net::Datagram;
use crate::tasks::Tasks;

/// The longest datagram. UDP ends at 65507 bytes; unix sockets at `net.core.wmem_max`, 212992 bytes by default.
const DATAGRAM_MAX: usize = 256 * 1024;

/// How many datagrams are read before other tasks get their turn: 64 of 2 µs each.
const BATCH: usize = 64;

/// A receive buffer of so many bytes holds what 400 000 datagrams of 300 bytes a second bring in two milliseconds.
const ROOMY: usize = 1 << 20;

/// So many datagrams on a unix socket are what 250 000 a second bring in two milliseconds.
const ROOMY_QUEUE: u64 = 512;

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

/// True when the kernel keeps what a busy sender sends while nobody looks.
fn has_room(socket: &Datagram) -> bool {
    match socket.receive_buffer() {
        Some(bytes) => bytes >= ROOMY,
        // nginx drops what a unix socket has no room for.
        None => Host::read().max_dgram_qlen.is_some_and(|length| length >= ROOMY_QUEUE),
    }
}

/// Takes datagrams in until the tasks are stopped.
pub(super) async fn receive(socket: Datagram, drops: Option<Arc<Drops>>, intake: Intake, tasks: Tasks) {
    let mut intake = intake;
    let mut buffer = vec![0; DATAGRAM_MAX];
    let may_gather = has_room(&socket);
    let mut socket = socket;
    let (mut stopping, mut pace) = (pin!(tasks.stopping()), Pace::default());
    loop {
        let ready = tokio::select! {
            () = &mut stopping => break,
            ready = socket.readable() => ready,
        };
        match ready.and_then(|()| drain(&socket, &mut intake, &mut buffer, BATCH)) {
            Ok((BATCH, _)) => tokio::task::yield_now().await,
            Ok((_, received)) if may_gather && pace.is_busy(received) => {
                socket = match socket.gather(GATHER).await {
                    Ok(socket) => socket,
                    Err(error) => {
                        tracing::error!(%error, "a socket for log lines can not be waited for any more");
                        return;
                    }
                };
            }
            Ok(_) => {}
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

/// Takes in what is there, up to `limit` datagrams; how many it was, and when.
fn drain(
    socket: &Datagram,
    intake: &mut Intake,
    buffer: &mut [u8],
    limit: usize,
) -> io::Result<(usize, Duration)> {
    let received = clock::wall();
    let mut taken = 0;
    let failure = loop {
        if taken == limit {
            break None;
        }
        match socket.try_recv(buffer) {
            Ok(length) => {
                taken += 1;
                // A datagram that fills the buffer was probably longer; the kernel does not keep its end.
                let cut = length == buffer.len();
                intake.datagram(buffer.get(..length).unwrap_or_default(), received, cut);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Some(error),
        }
    };
    intake.settle();
    failure.map_or(Ok((taken, received)), Err)
}
