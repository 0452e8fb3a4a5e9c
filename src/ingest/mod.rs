//! Log ingest: syslog and JSON lines from nginx and from elsewhere become records of our own log.
//!
//! ```text
//! udp:, unixgram: ──> datagrams ─┐
//!                                ├─> intake ──> syslog | json | nginx ──> trail ──> buffer
//! unix:, tcp: ──> streams ─> frames ─┘
//! ```
//!
//! What it is: sockets, and behind them pure functions that take one line apart and write one record. It forwards
//! nothing itself and keeps nothing: what a line became lies in the log's bounded buffer before the next is read.
//!
//! **Lines.** A datagram is one line, whatever it holds, or several JSON objects, one per line. Streams hold lines
//! that end with a line break, or begin with their length (RFC 6587). A line that begins with `{` is a JSON object
//! whose keys stay as they are; one that begins with `<` is syslog, whose body may be JSON (nginx's access log) or
//! text (nginx's error log, anything else); the rest is text. No line is refused: what can not be read becomes the
//! `message` of a record, and is counted with its reason.
//!
//! **Names.** `node`, `boot_id`, `log.sequence` and `event.id` are always ours: a line that brings them has them as
//! `source.node` and so on. In syslog bodies that also goes for what the header says, and for a few names that an
//! index needs as objects.
//!
//! **Limits.** A line is cut at `logger.max_line`; JSON may be nested 32 deep and have 1000 members; a listener has
//! at most [`CONNECTIONS`] connections, further ones wait in the kernel's queue. A connection may be idle for ever
//! and holds no more than one unfinished line.
//!
//! **Loss.** Datagrams that come faster than they are read are dropped by the kernel, which is why it is asked for
//! `ingest.receive_buffer`; its own count of them is a metric, and each burst is told of once. A full log buffer drops records and says so in a `log_gap`. A crash loses what the
//! kernel and the log buffer hold.
//!
//! **Stop.** Connections that wait are still accepted, and every socket is read until it is silent for
//! [`LAST_CALL`]; unfinished lines are taken as they are. Unix streams and their listeners refuse what comes after the
//! stop, so that a sender sees a failed write for exactly what was not taken, and can send it to the next process.

mod counts;
mod datagrams;
mod drops;
mod intake;
mod json;
mod nginx;
mod pace;
mod scan;
mod streams;
mod syslog;

use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::config;
use crate::metrics::Metrics;
use crate::net;
use crate::net::Datagram;
use crate::net::Listener;
use crate::tasks::OnExit;
use crate::tasks::Tasks;
use crate::trail::Trail;

use counts::Counts;
use drops::Drops;
use intake::Intake;

/// How many connections one listener serves at once.
pub const CONNECTIONS: usize = 1024;

/// How long a socket must be silent at the end before it is closed.
pub const LAST_CALL: Duration = Duration::from_millis(20);

/// Why ingest can not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address of `ingest.listen` can not be bound.
    #[error("can not take in logs: one of \"ingest.listen\" fails")]
    Bind(#[source] net::Error),
}

/// Knows where lines are taken in.
#[derive(Clone, Debug)]
pub struct Ingest {
    addresses: Arc<[Address]>,
}

impl Ingest {
    /// Where it listens, with real ports, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

/// Binds every address of `config`; `mode` is that of socket files. Called within a runtime.
///
/// # Errors
/// When an address can not be bound.
pub fn build(
    config: &config::Ingest,
    mode: u32,
    trail: &Arc<Trail>,
    metrics: &Metrics,
) -> Result<(Ingest, Worker), Error> {
    let counts = Arc::new(Counts::new(metrics));
    let mut sockets = Vec::new();
    for address in &config.listen {
        let socket = match address {
            Address::Unix(_) | Address::Tcp(_) => net::bind_stream(address, mode).map(Socket::Stream),
            Address::Unixgram(_) | Address::Udp(_) => {
                net::bind_datagram(address, mode, config.receive_buffer)
                    .map(|socket| Socket::Datagram(Drops::of(&socket), socket))
            }
        };
        sockets.push(socket.map_err(Error::Bind)?);
    }
    let drops: Vec<_> = sockets.iter().filter_map(Socket::drops).collect();
    metrics.watch_ingest(move || drops.iter().filter_map(|drops| drops.total()).collect());
    let addresses = sockets.iter().map(Socket::address).collect();
    let worker = Worker { sockets, trail: Arc::clone(trail), counts, receive_buffer: config.receive_buffer };
    Ok((Ingest { addresses }, worker))
}

/// Owns the sockets.
#[derive(Debug)]
pub struct Worker {
    sockets: Vec<Socket>,
    trail: Arc<Trail>,
    counts: Arc<Counts>,
    receive_buffer: usize,
}

#[derive(Debug)]
enum Socket {
    Stream(Listener),
    Datagram(Option<Arc<Drops>>, Datagram),
}

impl Socket {
    fn address(&self) -> Address {
        match self {
            Self::Stream(listener) => listener.address(),
            Self::Datagram(_, socket) => socket.address(),
        }
    }

    fn drops(&self) -> Option<Arc<Drops>> {
        match self {
            Self::Stream(_) => None,
            Self::Datagram(drops, _) => drops.clone(),
        }
    }
}

impl Worker {
    /// Takes lines in until `tasks` are stopped; each socket and connection is one of the tasks.
    pub async fn run(self, tasks: Tasks) {
        for socket in self.sockets {
            let intake = Intake::new(Arc::clone(&self.trail), Arc::clone(&self.counts));
            match socket {
                Socket::Stream(listener) => {
                    tasks.spawn(
                        "ingest streams",
                        OnExit::Stop,
                        streams::accept(listener, intake, tasks.clone()),
                    );
                }
                Socket::Datagram(drops, socket) => {
                    if let Some(drops) = &drops {
                        let watch = Arc::clone(drops).watch(tasks.clone());
                        tasks.spawn("ingest drops", OnExit::Stop, watch);
                    }
                    datagrams::warn_of_small_buffer(&socket, self.receive_buffer);
                    tasks.spawn(
                        "ingest datagrams",
                        OnExit::Stop,
                        datagrams::receive(socket, drops, intake, tasks.clone()),
                    );
                }
            }
        }
        tasks.stopping().await;
    }
}
