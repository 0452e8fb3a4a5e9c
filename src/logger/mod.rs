//! The logger: finished records in, one long-lived connection to a log server out.
//!
//! It is the successor of lua-resty-logger-socket, with its keys, its rules for flushing and dropping and its error
//! texts, and without its faults. A record is any run of bytes; nothing is changed in it, so a line ends with a newline
//! because whoever wrote it put one there. What a record says is the business of others.
//!
//! ```text
//! log() ──> Buffer ──chunks──> Backlog ──> Shipper ──> Transport: stream | datagrams | windows that are acknowledged
//!                              │    ^        │ ^
//!        too old, too many     v    │        v │  sent last on a stream, first on the next
//!                              Spool: journal  Tail
//! flush(), reload(), shutdown() ──orders──> Shipper ──report──> stats(), last_error()
//! ```
//!
//! **When it sends.** A flush starts when `flush_limit` bytes are queued, every `periodic_flush`, on demand and at
//! the end. It sends what is queued at its start, and after it the shipper looks again, so nothing lies stranded: a
//! lone record waits at most `periodic_flush`. Once the limit is reached, records gather for one more millisecond or
//! until a chunk is full, so that a busy time makes few writes and few wakes.
//!
//! **When it fails.** A flush is one try and `max_retry_times` more, with growing, scattered pauses between
//! `retry_interval` and `retry_max_interval`; `timeout` bounds lookup, connect, handshake and each wait for a write. A
//! try goes through all targets; one that failed lately comes last for a while (`targets`). After the last try nothing
//! is discarded: the error is kept for [`Logger::last_error`], and the shipper rests for one more pause before anything
//! starts the next flush. A kept connection that died since the last flush is replaced without costing a try. A
//! connection that dies again and again after one flush is opened with the same pauses, because it may swallow what it
//! is fed. One that is older than `max_connection_age` is replaced between two records.
//!
//! **What is sent twice or not at all.** With `format = "beats"` a record counts as sent when the log server
//! acknowledged it. Up to eight windows of one chunk each are under way; what was not acknowledged when a connection ends
//! is sent again, and nothing else. So no death of a log server costs a record, and each costs at most those windows in
//! duplicates. A record on which it hangs up again and again is found by halving windows (`suspicion`) and put among
//! the [`DeadLetters`].
//!
//! Elsewhere there is no acknowledgement, and a record counts as sent when the kernel took its last byte. What the kernel
//! did not take is certainly not delivered, and goes on where it was, a cut record from its start; the receiver of the
//! old stream sees a cut last line. What the kernel took may be anywhere up to the log server's hands. So when a stream
//! ends in doubt, the next one begins with the last `replay_tail` bytes of it, without waiting for a new record to come:
//! a death costs duplicates, counted as resent and not as sent, instead of lines. The module `tail` says which ends
//! leave doubt and what is too old. Lost without notice is what goes beyond that: what a dying log server had not used
//! before the last `replay_tail` bytes, and what one had not used whose connection ended in good order, by us or idle.
//! Without a tail, with TLS up to one chunk (64 KiB) may arrive twice. A datagram is one record and is never sent again;
//! one that is too large is dropped with the cause `datagram`.
//!
//! **When the log server stays away.** Records wait in memory up to `drop_limit`; then the newest go, or with
//! `overflow = "drop_oldest"` the oldest. With `overflow = "spool"` whatever was not delivered within `spool_interval`, or
//! fills half of the memory, is written to a journal and synced, what the shipper holds included, and comes back in
//! order, also in the next process. A disk that is full or errs leaves records in memory, and that is told.
//!
//! **Limits.** Queued bytes: `drop_limit`. In the shipper's hands and on disk at once: the windows under way. On disk:
//! `spool_limit`, and 40 bytes of memory for each chunk there. Sent bytes that are kept: `replay_tail`, in up to twice
//! that memory. The kernel's send buffer on TCP: 256 KiB. Wishes: one of a kind. Its own complaints go to the tracing
//! target `pillion::logger`, at most one line per cause in ten seconds; they must not be fed back into it.
//!
//! **How it stops.** [`Logger::shutdown`] tells the shipper to send what is left, with the usual tries, within a
//! time, and again what is in doubt by then. What is left then, and what is in doubt, is put on disk for the next
//! process, whatever `overflow` says; where that can not be, it is dropped and counted with the cause `exit`, and so is
//! what comes later. A crash of the process loses what is queued: with a spool, the records of at most one
//! `spool_interval`, and what is in doubt is on disk as soon as no log server can be had (`doubt`).

mod backlog;
mod complaints;
mod dead_letters;
mod doubt;
mod flush;
mod line;
mod orders;
mod parcel;
mod report;
mod settings;
mod suspicion;
mod tail;
mod targets;
mod transport;
mod windows;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use crate::buffer::Buffer;
use crate::buffer::Dropped;
use crate::buffer::Tally;
use crate::clock;
use crate::config;
use crate::journal;
use crate::logger::backlog::Backlog;
use crate::logger::backlog::spool::Spool;
use crate::logger::orders::Orders;
use crate::logger::report::Report;
use crate::logger::settings::Settings;
use crate::net::tls;

pub use backlog::spool::SPOOL;
pub use backlog::spool::decode;
pub use dead_letters::DeadLetter;
pub use dead_letters::DeadLetterError;
pub use dead_letters::DeadLetters;
pub use report::ShipperStats;
pub use worker::Shipper;

/// Why a logger can not be built from a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing would be flushed before it is dropped.
    #[error("\"flush_limit\" should be < \"drop_limit\"")]
    Limits,
    /// TLS needs a stream.
    #[error("\"ssl\" needs a stream: set \"sock_type\" to \"tcp\" or turn \"ssl\" off")]
    TlsOnDatagrams,
    /// The spool can not be opened.
    #[error("the log spool can not be opened")]
    Spool(#[from] journal::Error),
    /// The certificates or the name are not usable.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Why a flush did not send everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The last retry failed; the records are still queued.
    #[error("{0}")]
    Failed(String),
    /// The shipper has ended, or was never run.
    #[error("the logger has stopped")]
    Stopped,
}

/// Everything there is to know about a logger at one instant.
#[derive(Clone, Debug)]
pub struct Stats {
    /// What became of the records; the identity holds at every moment.
    pub records: crate::buffer::Stats,
    /// What the shipper did.
    pub shipper: ShipperStats,
    /// The age of the oldest record that is not delivered, to a quarter of a second; `None` without one.
    pub oldest: Option<Duration>,
    /// What the journal of the spool says of itself, where there is a spool.
    pub spool: Option<journal::Stats>,
}

/// The handle: cheap to clone, never blocks, usable from threads and tasks alike.
#[derive(Clone, Debug)]
pub struct Logger {
    buffer: Arc<Buffer>,
    backlog: Arc<Backlog>,
    dead_letters: Option<DeadLetters>,
    orders: Arc<Orders>,
    report: Arc<Report>,
}

/// An empty buffer with the limits of the configuration.
#[must_use]
pub fn buffer(config: &config::Logger) -> Arc<Buffer> {
    Arc::new(Buffer::new(settings::limits(config)))
}

/// Builds a logger over `buffer`, whose limits become those of the configuration.
///
/// The shipper does nothing until [`Shipper::run`] is spawned. `on_room` is called by it each time records left the
/// buffer and before the last flush: the moment to write a record about a gap. It must not block.
///
/// # Errors
/// When the limits contradict each other or TLS can not be set up.
pub fn build(
    config: &config::Logger,
    buffer: Arc<Buffer>,
    on_room: impl Fn() + Send + Sync + 'static,
) -> Result<(Logger, Shipper), Error> {
    let settings = Settings::new(config)?;
    buffer.set_limits(settings::limits(config));
    buffer.set_policy(settings::policy(config.shed_limit, config.overflow));
    let backlog = Backlog::new(Arc::clone(&buffer), config.clone())?;
    let dead_letters = config.data_dir.as_ref();
    let dead_letters = dead_letters.map(|directory| DeadLetters::new(directory, config.dead_letter_limit));
    let backlog = Arc::new(backlog);
    let logger = Logger { buffer, backlog, dead_letters, orders: Arc::default(), report: Arc::default() };
    let shipper = Shipper::new(&logger, settings, Box::new(on_room));
    Ok((logger, shipper))
}

impl Logger {
    /// Queues a record exactly as given and returns its length; never blocks, never fails for the network.
    ///
    /// # Errors
    /// When the record was dropped; that is counted, and told to the log server as a gap if somebody writes one.
    pub fn log(&self, record: &[u8]) -> Result<usize, Dropped> {
        self.buffer.log(record)
    }

    /// Sends what is queued and returns the bytes sent, once everything that was queued at the call is through.
    ///
    /// # Errors
    /// When the last retry failed (nothing is lost by that), or the shipper has ended.
    pub async fn flush(&self) -> Result<usize, FlushError> {
        let answer = self.orders.await_flush().await.unwrap_or(Err(FlushError::Stopped))?;
        Ok(usize::try_from(answer).unwrap_or(usize::MAX))
    }

    /// Asks for a flush without waiting for it.
    pub fn request_flush(&self) {
        self.orders.request_flush();
    }

    /// All counters, coherent with each other on the side of the records.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            records: self.buffer.stats(),
            shipper: self.report.stats(),
            oldest: self.backlog.oldest(clock::now()),
            spool: self.backlog.spool().map(Spool::stats),
        }
    }

    /// How long flushes took that sent something, in seconds; a handle to what is counted on.
    #[must_use]
    pub fn flush_times(&self) -> Histogram {
        self.report.flush_times.clone()
    }

    /// The records that the log server refused, where there is a place for them.
    #[must_use]
    pub fn dead_letters(&self) -> Option<&DeadLetters> {
        self.dead_letters.as_ref()
    }

    /// Sends dead letters once more, those that `wanted` picks; returns how many, and how many stayed because the
    /// buffer had no room for them.
    ///
    /// # Errors
    /// When the letters can not be read or written.
    pub fn retry(&self, wanted: impl FnMut(&DeadLetter) -> bool) -> Result<(usize, usize), DeadLetterError> {
        let Some(letters) = &self.dead_letters else { return Ok((0, 0)) };
        let (mut sent, mut stayed) = (0, 0);
        for letter in letters.take(wanted)? {
            if self.buffer.log(format!("{}\n", letter.record).as_bytes()).is_ok() {
                sent += 1;
            } else {
                letters.keep(letter.record.as_bytes(), &letter.reason, Duration::from_secs(letter.at))?;
                stayed += 1;
            }
        }
        Ok((sent, stayed))
    }

    /// The error of the last flush that failed, once: like the second result of the original's `log`.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.report.take_error()
    }

    /// Works by another configuration from now on: limits at once, the target after the write that is under way.
    ///
    /// No record is lost by it; with TLS the connection is renewed and certificates are read again.
    ///
    /// # Errors
    /// When the new configuration can not be used; then the old one stays in force.
    pub fn reload(&self, config: &config::Logger) -> Result<(), Error> {
        let settings = Settings::new(config)?;
        self.buffer.set_limits(settings::limits(config));
        self.buffer.set_policy(settings::policy(config.shed_limit, self.backlog.config.overflow));
        self.orders.reload(Box::new(settings));
        Ok(())
    }

    /// Sends what is left, with the usual tries and at most for `within`; returns what had to be dropped.
    ///
    /// Records that are logged later are dropped and counted with the cause `exit`.
    pub async fn shutdown(&self, within: Duration) -> Tally {
        self.orders.stop(within).await.unwrap_or_default()
    }
}
