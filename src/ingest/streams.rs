//! Accepts connections and reads lines from them.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use super::CONNECTIONS;
use super::LAST_CALL;
use super::intake::Intake;
use super::pace::GATHER;
use super::pace::Pace;
use crate::clock;
use crate::net::Listener;
use crate::net::Stream;
use crate::tasks::OnExit;
use crate::tasks::Tasks;
use crate::wire::frames::Frames;

/// What one read takes at most.
const READ: usize = 64 * 1024;

/// How many reads one connection may do before the others get their turn.
const BATCH: usize = 4;

/// So much at once is not little: the sender fills the socket's buffer, and must not be kept waiting.
const LITTLE: usize = 16 * 1024;

/// How many batches are read at the end: 4 MiB, more than what the kernel keeps for a connection by default.
const LAST_BATCHES: usize = 16;

/// The pause after a failed accept, such as one without a free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// After this silence the kernel asks a TCP peer whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

thread_local! {
    /// Where a read lands. Nothing stays there, so that idle connections cost no buffer.
    static LANDING: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Accepts connections until the tasks are stopped; each is a task of its own.
pub(super) async fn accept(listener: Listener, intake: Intake, tasks: Tasks) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stopping = pin!(tasks.stopping());
    loop {
        let accepted = tokio::select! {
            () = &mut stopping => break,
            accepted = next(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                tasks.spawn(
                    "ingest connection",
                    OnExit::Ignore,
                    serve(stream, intake.another(), tasks.clone(), slot),
                );
            }
            Err(error) => {
                tracing::warn!(address = %listener.address(), %error, "could not accept a log connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if let Err(error) = listener.refuse() {
        tracing::warn!(address = %listener.address(), %error, "late log connections may be lost");
    }
    while let Ok(Ok(Some((stream, slot)))) = tokio::time::timeout(LAST_CALL, last(&listener, &slots)).await {
        tasks.spawn(
            "ingest connection",
            OnExit::Ignore,
            serve(stream, intake.another(), tasks.clone(), slot),
        );
    }
}

/// The next of the connections that came before the stop.
async fn last(
    listener: &Listener,
    slots: &Arc<Semaphore>,
) -> io::Result<Option<(Stream, OwnedSemaphorePermit)>> {
    if matches!(listener, Listener::Tcp(_)) {
        return next(listener, slots).await.map(Some);
    }
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    Ok(listener.accept_waiting()?.map(|stream| (stream, slot)))
}

/// The next connection, when there is a slot for it.
async fn next(listener: &Listener, slots: &Arc<Semaphore>) -> io::Result<(Stream, OwnedSemaphorePermit)> {
    if slots.available_permits() == 0 {
        tracing::warn!(address = %listener.address(), limit = CONNECTIONS, "too many log connections: the next ones wait");
    }
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.keep_alive(KEEP_ALIVE)?;
    Ok((stream, slot))
}

/// Reads lines until the connection ends or the tasks are stopped.
async fn serve(stream: Stream, intake: Intake, tasks: Tasks, slot: OwnedSemaphorePermit) {
    let mut connection = Connection { stream, intake, frames: Frames::default() };
    let (mut stopping, mut pace) = (pin!(tasks.stopping()), Pace::default());
    loop {
        let ready = tokio::select! {
            () = &mut stopping => {
                connection.last().await;
                break;
            }
            ready = connection.stream.ready(Interest::READABLE) => ready,
        };
        match ready.and_then(|_| connection.drain(BATCH)) {
            Ok(Progress::Full) => tokio::task::yield_now().await,
            Ok(Progress::Open(bytes, received)) => {
                if bytes < LITTLE && pace.is_busy(received) {
                    tokio::time::sleep(GATHER).await;
                }
            }
            Ok(Progress::Closed) => break,
            Err(error) => {
                tracing::debug!(%error, "a log connection broke");
                break;
            }
        }
    }
    connection.finish();
    drop(slot);
}

struct Connection {
    stream: Stream,
    intake: Intake,
    frames: Frames,
}

enum Progress {
    /// As much was read as may be in one go; there may be more.
    Full,
    /// All that was there was read: so many bytes, at this time.
    Open(usize, Duration),
    Closed,
}

impl Connection {
    /// Takes in what is there, up to `limit` reads.
    fn drain(&mut self, limit: usize) -> io::Result<Progress> {
        let received = clock::wall();
        let Self { stream, intake, frames } = self;
        let max = intake.max_line();
        let progress = LANDING.with_borrow_mut(|landing| {
            let mut taken = 0;
            for _ in 0..limit {
                match stream.try_read(landing) {
                    Ok(0) => return Ok(Progress::Closed),
                    Ok(length) => {
                        let bytes = landing.get(..length).unwrap_or_default();
                        taken += length;
                        frames.feed(bytes, max, &mut |line, cut| intake.line(line, received, cut));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Progress::Open(taken, received));
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(Progress::Full)
        });
        intake.settle();
        progress
    }

    /// Takes in what the peer had written before the stop.
    async fn last(&mut self) {
        if let Err(error) = self.stream.refuse() {
            tracing::debug!(%error, "a log connection had ended already");
        }
        for _ in 0..LAST_BATCHES {
            // The runtime may not know yet what has arrived, so that a look without a wait could miss it.
            let ready = tokio::time::timeout(LAST_CALL, self.stream.ready(Interest::READABLE)).await;
            if !matches!((ready, self.drain(BATCH)), (Ok(Ok(_)), Ok(Progress::Full | Progress::Open(..)))) {
                return;
            }
        }
    }

    fn finish(mut self) {
        let received = clock::wall();
        let Self { intake, frames, .. } = &mut self;
        frames.finish(&mut |line, cut| intake.line(line, received, cut));
        intake.settle();
    }
}
