//! The loss proof: the real daemon between a producer that counts and a log server that fails in every way it can.
//!
//! ```text
//! producer ──unix stream──> pillion (a process) ──mode──> receiver (here) ──> book
//!                              ^ signals                     ^ faults
//!                              └────────── script ───────────┘
//! ```
//!
//! A cell of the table is one fault in one mode. The producer hands numbered lines to the kernel at a steady pace;
//! when enough have come through, the script does its worst, and when as many again have come through after it, the
//! producer sends a last line, again and again until it arrives. Then the daemon is stopped in good order, what is
//! under way is read to its end, and the book says what is missing, what came twice and what came late.
//!
//! **How lines are counted.** A line counts as given when the kernel has taken its last byte from the producer. So
//! what lay in the socket of a daemon that is killed counts as lost by it. A line counts as taken, on a connection
//! without acknowledgements, when the receiver has read its newline; with acknowledgements, when the receiver has the
//! whole window and has decided to acknowledge it: what it had read without that is no more than what a process
//! had in memory that dies. Lost without notice is what no `log_gap` record and no dead letter accounts for.

#![allow(
    clippy::disallowed_methods,
    reason = "a wait here is what a log server or a producer does, or a deadline"
)]

mod book;
mod daemon;
mod fault;
mod mode;
mod producer;
mod receiver;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pillion::clock;

pub(crate) use fault::Fault;
pub(crate) use mode::Mode;

use book::Book;
use daemon::Daemon;
use receiver::Receiver;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Lines a second.
    pub(crate) rate: u32,
    /// Lines that come through before the fault, and after it.
    pub(crate) lead: u64,
    /// How long a receiver stalls.
    pub(crate) stall: Duration,
    /// How long a dead receiver is away.
    pub(crate) away: Duration,
    /// How late acknowledgements come.
    pub(crate) late: Duration,
    /// `logger.spool_interval`.
    pub(crate) spool_interval: Duration,
}

/// What came of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) mode: Mode,
    pub(crate) fault: Fault,
    /// Lines that the producer gave.
    pub(crate) given: u64,
    pub(crate) lost: u64,
    /// Those of them that no `log_gap` record and no dead letter tells of.
    pub(crate) unnoticed: u64,
    pub(crate) duplicates: u64,
    /// Lines that came for the first time after a later one.
    pub(crate) disordered: u64,
    /// Lines that came whole and are no records.
    pub(crate) torn: u64,
    /// Connections that the receiver ended, in a death or by itself.
    pub(crate) deaths: u64,
    /// Bytes of the shortest numbered line that came.
    pub(crate) shortest: u64,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Lost (of them without notice) / came twice / came after a later one.
    pub(crate) fn cell(&self) -> String {
        let Self { lost, unnoticed, duplicates, disordered, .. } = self;
        format!("{lost} ({unnoticed}) / {duplicates} / {disordered}")
    }

    /// What is not as it has to be; `None` when all is well, or nothing is required.
    pub(crate) fn fault_found(&self, scale: &Scale) -> Option<String> {
        let mut found = Vec::new();
        let most = self.most_lost(scale);
        if let Some(most) = most.filter(|most| self.lost > *most) {
            found.push(format!("{} lines lost, at most {most} may be", self.lost));
        }
        if self.torn > 0 {
            found.push(format!("{} lines are no records", self.torn));
        }
        if self.mode.acknowledges() && !self.fault.ends_pillion() {
            let most = self.deaths * WINDOW_BYTES / self.shortest.max(1);
            if self.duplicates > most {
                found.push(format!("{} duplicates, at most {most} may be", self.duplicates));
            }
        }
        (!found.is_empty()).then(|| found.join("; "))
    }

    /// How many lines may be lost; `None` when nothing is promised.
    pub(crate) fn most_lost(&self, scale: &Scale) -> Option<u64> {
        match (self.mode.spools(), self.mode.acknowledges(), self.fault) {
            (true, ..) if self.fault.kills_pillion() => Some(scale.kill_bound()),
            (true, ..) => Some(0),
            (false, true, _) if !self.fault.kills_pillion() => Some(0),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, deaths, took, .. } = self;
        write!(f, "{} of {given} lines, {deaths} deaths, in {took:.1?}", self.cell())
    }
}

impl Scale {
    /// The lines that a kill may cost a mode with a spool: those of one `spool_interval`, and what the socket of the
    /// producer holds.
    pub(crate) fn kill_bound(&self) -> u64 {
        let interval = (f64::from(self.rate) * self.spool_interval.as_secs_f64()).round() as u64;
        interval + SOCKET_BYTES / producer::LINE as u64
    }
}

/// Runs a cell.
pub(crate) async fn run(program: &Path, mode: Mode, fault: Fault, scale: &Scale) -> Outcome {
    let begin = clock::now();
    let folder = tempfile::tempdir().unwrap();
    let book = Arc::new(Book::default());
    let mut receiver = Receiver::open(mode, folder.path(), &book).await;
    let mut daemon = Daemon::new(program, folder.path(), mode.settings(receiver.address(), scale));
    daemon.start().await;
    let finish = tokio_util::sync::CancellationToken::new();
    let script = async {
        book.until("lines before the fault", |tally| tally.distinct >= scale.lead).await;
        fault.happen(&mut receiver, &mut daemon, scale).await;
        let so_far = book.tally().distinct;
        book.until("lines after the fault", |tally| tally.distinct >= so_far + scale.lead).await;
        finish.cancel();
    };
    let lines = folder.path().join(daemon::LINES);
    let all = async { tokio::join!(producer::produce(&lines, scale.rate, &finish, &book), script) };
    let watched = tokio::time::timeout(PATIENCE, all).await;
    let Ok((given, ())) = watched else {
        panic!("{mode:?}, {fault:?}: stuck at {:?}; pillion says: {}", book.tally(), daemon.said())
    };
    daemon.stop().await;
    receiver.read_to_the_end().await;
    let letters = daemon.dead_letters();
    let tally = book.tally();
    let lost = given - tally.distinct;
    Outcome {
        mode,
        fault,
        given,
        lost,
        unnoticed: lost.saturating_sub(tally.gap_lines + letters),
        duplicates: tally.duplicates,
        disordered: tally.disordered,
        torn: tally.torn,
        deaths: receiver.deaths(),
        shortest: tally.shortest,
        took: begin.elapsed(),
    }
}

/// Waits for something, and says what did not happen.
async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen in time: {what}"))
}

/// No wait is longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What may be under way to a log server that acknowledges: eight windows of one chunk.
const WINDOW_BYTES: u64 = 8 * 64 * 1024;

/// What the kernel keeps for a unix stream, by default.
const SOCKET_BYTES: u64 = 212_992;
