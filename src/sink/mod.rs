//! The sink: a stand-in for Logstash, for trials, demonstrations and tests.
//!
//! ```text
//! tcp, tls, unix ──> intake ─┐
//!                            ├─ batches of lines ──> run: check, count, print
//! udp, unixgram ───> intake ─┘
//! ```
//!
//! It takes newline-delimited JSON objects, prints them as they are, in a compact readable form, or as counts per
//! second, and complains about every line that Logstash would choke on: no JSON, no object, invalid UTF-8, torn when
//! the connection closed, too long. It follows `log.sequence` of each run (`boot_id`) and says what is missing;
//! a record that is late is waited for [`PATIENCE`], because threads number their records before they queue them.
//!
//! It keeps nothing and acknowledges nothing. What is slow to read its output slows it down, and with it the
//! sender: that is also how a slow Logstash behaves.
//!
//! **Limits.** [`CONNECTIONS`] at once, further ones wait; lines of [`Options::max_line`]; [`QUEUE`] batches of
//! about 64 KiB between readers and printer; [`COMPLAINTS`] complaints per second, the others are counted.
//!
//! **Stop.** What has been sent is still read, until every socket is silent for a moment; then the totals are told.
//! When the reader of the output has gone, the sink ends without a word.

mod check;
mod intake;
mod pretty;
mod report;
mod sequences;
mod tls;

use std::future::Future;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::address::Address;
use crate::address::HostPort;
use crate::clock;
use crate::net;
use crate::net::Datagram;
use crate::net::Listener;
use crate::tasks::OnExit;
use crate::tasks::Tasks;

pub use pretty::readable;
use report::Report;
pub use report::Totals;

/// How many connections are served at once.
pub const CONNECTIONS: usize = 1024;

/// How many batches may lie between the readers and the printer.
pub const QUEUE: usize = 64;

/// How long a missing record is waited for before it counts as missing.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How many complaints about single lines are printed per second.
pub const COMPLAINTS: u64 = 20;

/// The interval of counts and of the search for what is missing.
const TICK: Duration = Duration::from_secs(1);

/// What the sink does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens. Default `tcp:127.0.0.1:5170`.
    pub listen: Address,
    /// How lines are framed.
    pub format: Format,
    /// What it prints.
    pub show: Show,
    /// Colours in readable lines: for terminals.
    pub colour: bool,
    /// Certificate chain and key, PEM files: then TLS is spoken, on `tcp:` and `unix:` addresses.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The longest line in bytes; what is longer is a bad line. Default 1 MiB.
    pub max_line: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Address::Tcp(HostPort { host: "127.0.0.1".to_owned(), port: 5170 }),
            format: Format::Ndjson,
            show: Show::Lines,
            colour: false,
            tls: None,
            max_line: 1024 * 1024,
        }
    }
}

/// How lines are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Ndjson,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ndjson" => Ok(Self::Ndjson),
            _ => Err(format!("\"{text}\" is no format; there is ndjson")),
        }
    }
}

/// What the sink prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Each line as it is.
    Lines,
    /// One readable line for each record.
    Pretty,
    /// Counts, once a second.
    Counts,
}

/// Why the sink can not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can not be bound.
    #[error("the sink can not listen")]
    Bind(#[source] net::Error),
    /// TLS needs a stream.
    #[error("TLS needs a tcp: or unix: address")]
    TlsDatagrams,
    /// A PEM file can not be used.
    #[error("{path}: {what}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// What the reader said.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not work together.
    #[error("the certificate and the key can not be used")]
    Tls(#[source] rustls::Error),
}

/// A bound sink.
#[derive(Debug)]
pub struct Sink {
    socket: Socket,
    acceptor: Option<tls::Acceptor>,
    options: Options,
}

#[derive(Debug)]
enum Socket {
    Stream(Listener),
    Datagram(Datagram),
}

impl Sink {
    /// Binds; returns the sink and where it listens, with the real port. Called within a runtime.
    ///
    /// # Errors
    /// When the address can not be bound, or the TLS files can not be used.
    pub fn build(options: Options) -> Result<(Self, Address), Error> {
        if options.tls.is_some() && matches!(options.listen, Address::Unixgram(_) | Address::Udp(_)) {
            return Err(Error::TlsDatagrams);
        }
        let acceptor =
            options.tls.as_ref().map(|(certificate, key)| tls::acceptor(certificate, key)).transpose()?;
        let (socket, address) = match &options.listen {
            Address::Unix(_) | Address::Tcp(_) => {
                let listener = net::bind_stream(&options.listen, SOCKET_MODE).map_err(Error::Bind)?;
                let address = listener.address();
                (Socket::Stream(listener), address)
            }
            Address::Unixgram(_) | Address::Udp(_) => {
                let socket = net::bind_datagram(&options.listen, SOCKET_MODE, RECEIVE_BUFFER);
                let socket = socket.map_err(Error::Bind)?;
                let address = socket.address();
                (Socket::Datagram(socket), address)
            }
        };
        Ok((Self { socket, acceptor, options }, address))
    }

    /// Takes lines until `shutdown`; prints to `out`, and complaints and the totals to `complaints`.
    ///
    /// # Errors
    /// When `out` can not be written to. A closed pipe is no error, but the end.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        out: impl Write,
        complaints: impl Write,
    ) -> io::Result<Totals> {
        let mut report = Report::new(&self.options, out, complaints);
        let tasks = Tasks::new();
        // However this ends, the readers end with it.
        let _stop = StopOnDrop(tasks.clone());
        let result = self.take(&tasks, shutdown, &mut report).await;
        tasks.stop();
        tasks.wait().await;
        match result {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(report.totals()),
        }
    }

    async fn take<O: Write, C: Write>(
        self,
        tasks: &Tasks,
        shutdown: impl Future<Output = ()>,
        report: &mut Report<O, C>,
    ) -> io::Result<()> {
        let (batches, mut arrived) = mpsc::channel(QUEUE);
        let intake = intake::Intake { batches, tasks: tasks.clone(), max_line: self.options.max_line };
        match self.socket {
            Socket::Stream(listener) => {
                let accept = intake::accept(listener, self.acceptor, intake);
                tasks.spawn("sink streams", OnExit::Ignore, accept);
            }
            Socket::Datagram(socket) => {
                tasks.spawn("sink datagrams", OnExit::Ignore, intake::receive(socket, intake));
            }
        }
        let mut shutdown = pin!(shutdown);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            tokio::select! {
                () = &mut shutdown, if !tasks.is_stopping() => tasks.stop(),
                _ = ticks.tick() => report.tick(clock::now())?,
                batch = arrived.recv() => match batch {
                    Some(batch) => report.batch(&batch, clock::now())?,
                    None => return report.end(),
                },
            }
        }
    }
}

/// The mode of the sink's socket file: for its user only.
const SOCKET_MODE: u32 = 0o600;

/// What the kernel keeps of datagrams that were not read yet.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

struct StopOnDrop(Tasks);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
