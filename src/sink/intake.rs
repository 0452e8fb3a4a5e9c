//! Accepts connections, and hands lines on in batches.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::CONNECTIONS;
use super::Format;
use super::beats;
use super::faults::Script;
use super::lines;
use super::socket::Ear;
use super::socket::Socket;
use super::tls;
use super::tls::Acceptor;
use crate::net::Listener;
use crate::net::Stream;
use crate::tasks::OnExit;
use crate::tasks::Tasks;
use crate::wire::opening::Opening;

/// How much is read at once.
pub(super) const READ: usize = 64 * 1024;

/// How long a socket must be silent at the end before it is closed.
pub(super) const LAST_CALL: Duration = Duration::from_millis(20);

/// How often a socket is read at the end, against senders that never fall silent.
pub(super) const LAST_READS: usize = 1024;

/// The pause after a failed accept or receive.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How many bytes tell a format from another.
const OPENING: usize = 4;

/// What readers hand on.
#[derive(Debug)]
pub(super) enum Item {
    /// Lines.
    Lines(Batch),
    /// Something to complain of; the connection has ended for it.
    Complaint(String),
}

/// Some lines, separated by line breaks.
#[derive(Debug)]
pub(super) struct Batch {
    /// The lines.
    pub(super) bytes: Vec<u8>,
    /// How the last of them ended.
    pub(super) ending: Ending,
    /// Who wants to know when they have been printed, and whether all of them were good.
    pub(super) verdict: Option<oneshot::Sender<bool>>,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it should.
    Whole,
    /// With its connection.
    Torn,
    /// At the limit; the rest was skipped.
    TooLong,
    /// As it should, but the connection looks to be of another format, which has been complained of.
    Foreign,
}

/// What every reader has.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// Where lines go.
    pub(super) items: mpsc::Sender<Item>,
    /// The readers, and when they stop.
    pub(super) tasks: Tasks,
    /// What is expected.
    pub(super) format: Format,
    /// The longest line.
    pub(super) max_line: usize,
    /// How long a connection may be silent.
    pub(super) idle: Option<Duration>,
    /// What is to go wrong.
    pub(super) script: Option<Arc<Script>>,
}

impl Intake {
    /// Hands lines on; false when nobody takes them any more.
    pub(super) async fn give(&self, bytes: Vec<u8>, ending: Ending) -> bool {
        self.items.send(Item::Lines(Batch { bytes, ending, verdict: None })).await.is_ok()
    }

    /// Waits while the sink is stalled on purpose.
    pub(super) async fn gate(&self) {
        if let Some(script) = &self.script {
            script.gate(self).await;
        }
    }

    /// Complains.
    pub(super) async fn complain(&self, complaint: String) {
        // Nobody to complain to is no reason for a complaint.
        self.items.send(Item::Complaint(complaint)).await.unwrap_or_default();
    }

    /// Complains when the first bytes of a connection are of another format, and tells which.
    pub(super) async fn foreign(&self, bytes: &[u8]) -> Option<Opening> {
        let opening = Opening::of(bytes)
            .filter(|_| bytes.len() >= OPENING)
            .filter(|opening| !self.format.opens(*opening))?;
        let remedy = match opening {
            Opening::Json => "start it with --format ndjson for these",
            Opening::Syslog => "start it with --format syslog3164 or syslog5424 for these",
            Opening::Lumberjack2 => "start it with --format beats for these",
            Opening::Lumberjack1 => "only version 2 is understood, with --format beats",
            Opening::Tls => "start it with --tls-cert and --tls-key for these",
            Opening::Http => "it does not speak that",
        };
        let expected = self.format;
        self.complain(format!("a connection brings {opening}, but the sink expects {expected}: {remedy}"))
            .await;
        Some(opening)
    }
}

/// Accepts connections until the tasks are stopped.
pub(super) async fn accept(listener: Listener, acceptor: Option<Acceptor>, intake: Intake) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stopping = pin!(intake.tasks.stopping());
    let mut last = false;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut stopping, if !last => {
                last = true;
                continue;
            }
            () = tokio::time::sleep(LAST_CALL), if last => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, own) = (acceptor.clone(), intake.clone());
                intake.tasks.spawn("sink connection", OnExit::Ignore, async move {
                    serve(stream, acceptor, &own).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the sink could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: Stream, acceptor: Option<Acceptor>, intake: &Intake) {
    let Some(acceptor) = acceptor else {
        read(stream, intake).await;
        return;
    };
    match acceptor.accept(stream).await {
        Ok(stream) => read(stream, intake).await,
        Err(error) => {
            let why = tls::explain(&error);
            intake.complain(format!("a connection could not agree on TLS: {error}{why}")).await;
        }
    }
}

async fn read(socket: impl Socket, intake: &Intake) {
    let ear = Ear::new(socket);
    match intake.format {
        Format::Beats => beats::read(ear, intake).await,
        Format::Ndjson | Format::Syslog3164 | Format::Syslog5424 => lines::read(ear, intake).await,
    }
}
