//! The sink: a stand-in for Logstash, for trials, demonstrations and tests.
//!
//! ```text
//!                            ┌─ lines ─┐
//! tcp, tls, unix ──> intake ─┴─ beats ─┤
//!                                      ├─ batches of lines ──> run: check, count, print
//! udp, unixgram ───> datagrams ────────┘         │
//!                       beats <── all printed ───┘
//! ```
//!
//! It takes JSON objects, one a line, behind syslog headers or in the windows of beats; prints them as they are, in a
//! compact readable form, or as counts per second; and complains about every line that Logstash would choke on: no
//! JSON, no object, invalid UTF-8, torn when the connection closed, too long, a header that it does not know. A
//! connection that speaks something else is told of once, with what it looks like. The sink follows `log.sequence` of
//! each run (`boot_id`) and says what is missing and how much came twice; a record that is late is waited for
//! [`PATIENCE`], because threads number their records before they queue them, and when it comes even later it is not
//! missing any more. Records without a number are known by their `event.id`.
//!
//! It keeps nothing, and acknowledges only beats: a window, when all of it has been printed. What is slow to read its
//! output slows it down, and with it the sender: that is also how a slow Logstash behaves. On demand it goes wrong in
//! many ways, see [`Faults`].
//!
//! **Limits.** [`CONNECTIONS`] at once, further ones wait; lines of [`Options::max_line`]; [`QUEUE`] batches of
//! about 64 KiB, or of one window, between readers and printer; windows of 64 MiB; [`COMPLAINTS`] complaints per
//! second, the others are counted; holes in 1024 runs and 65 536 ids are remembered.
//!
//! **Stop.** What has been sent is still read, until every socket is silent for a moment; then the totals are told.
//! When the reader of the output has gone, the sink ends without a word.

mod beats;
mod check;
mod datagrams;
mod faults;
mod intake;
mod lines;
mod pretty;
mod report;
mod sequences;
mod socket;
mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
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
use crate::wire::opening::Opening;
use crate::wire::syslog::Dialect;

pub use faults::Faults;
pub use faults::Happened;
use faults::Script;
pub use faults::Stall;
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
    /// The authorities of the clients, a PEM file: then a client must show a certificate.
    pub tls_client_ca: Option<PathBuf>,
    /// The longest line in bytes; what is longer is a bad line. Default 1 MiB.
    pub max_line: usize,
    /// How long a connection may be silent before it is reset; for ever without it. Default none; Logstash's `beats`
    /// input has [`IDLE`].
    pub idle: Option<Duration>,
    /// What goes wrong on purpose. Default nothing.
    pub faults: Faults,
}

/// How long Logstash's `beats` input lets a connection be silent (`client_inactivity_timeout`).
pub const IDLE: Duration = Duration::from_secs(60);

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Address::Tcp(HostPort { host: "127.0.0.1".to_owned(), port: 5170 }),
            format: Format::Ndjson,
            show: Show::Lines,
            colour: false,
            tls: None,
            tls_client_ca: None,
            max_line: 1024 * 1024,
            idle: None,
            faults: Faults::default(),
        }
    }
}

/// How lines are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Ndjson,
    /// The same behind a header of RFC 3164, as Logstash's `syslog` input takes it.
    Syslog3164,
    /// The same behind a header of RFC 5424.
    Syslog5424,
    /// Windows of JSON objects, acknowledged: lumberjack, version 2.
    Beats,
}

impl Format {
    /// All of them, with their names.
    const ALL: [(&'static str, Self); 4] = [
        ("ndjson", Self::Ndjson),
        ("syslog3164", Self::Syslog3164),
        ("syslog5424", Self::Syslog5424),
        ("beats", Self::Beats),
    ];

    /// The header before each line.
    fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Ndjson | Self::Beats => None,
            Self::Syslog3164 => Some(Dialect::Rfc3164),
            Self::Syslog5424 => Some(Dialect::Rfc5424),
        }
    }

    /// True when a connection of this format may begin so.
    fn opens(self, opening: Opening) -> bool {
        opening
            == match self {
                Self::Ndjson => Opening::Json,
                Self::Syslog3164 | Self::Syslog5424 => Opening::Syslog,
                Self::Beats => Opening::Lumberjack2,
            }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, format)| *format).ok_or_else(|| {
            format!("\"{text}\" is no format; there are ndjson, syslog3164, syslog5424 and beats")
        })
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
    /// Acknowledgements need a stream.
    #[error("beats needs a tcp: or unix: address")]
    BeatsDatagrams,
    /// Datagrams have no connection to do anything to.
    #[error("of the faults, only a stall can happen to a udp: or unixgram: address")]
    FaultDatagrams,
    /// There are no acknowledgements in this format.
    #[error("only beats has acknowledgements that could be late, partial or garbage")]
    FaultAcks,
    /// The authorities of the clients do not count without TLS.
    #[error("the authorities of clients need a certificate and a key of the sink")]
    ClientCaAlone,
    /// The authorities of the clients can not be used.
    #[error("{path}: these certificates can not be used as authorities", path = path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: rustls::server::VerifierBuilderError,
    },
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

impl Options {
    /// Refuses what can not work together.
    fn check(&self) -> Result<(), Error> {
        let datagrams = matches!(self.listen, Address::Unixgram(_) | Address::Udp(_));
        let beats = self.format == Format::Beats;
        for (wrong, error) in [
            (datagrams && self.tls.is_some(), Error::TlsDatagrams),
            (datagrams && beats, Error::BeatsDatagrams),
            (!beats && self.faults.need_acks(), Error::FaultAcks),
            (datagrams && self.faults.need_streams(), Error::FaultDatagrams),
            (self.tls.is_none() && self.tls_client_ca.is_some(), Error::ClientCaAlone),
        ] {
            if wrong {
                return Err(error);
            }
        }
        Ok(())
    }
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
        options.check()?;
        let clients = options.tls_client_ca.as_deref();
        let acceptor = options
            .tls
            .as_ref()
            .map(|(certificate, key)| tls::acceptor(certificate, key, clients))
            .transpose()?;
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
        let faults = &self.options.faults;
        let script = (!faults.is_empty()).then(|| Arc::new(Script::new(faults.clone())));
        let mut report = Report::new(&self.options, script.clone(), (out, complaints));
        let tasks = Tasks::new();
        // However this ends, the readers end with it.
        let _stop = StopOnDrop(tasks.clone());
        let result = self.take(&tasks, script, shutdown, &mut report).await;
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
        script: Option<Arc<Script>>,
        shutdown: impl Future<Output = ()>,
        report: &mut Report<O, C>,
    ) -> io::Result<()> {
        let (items, mut arrived) = mpsc::channel(QUEUE);
        let Options { format, max_line, idle, .. } = self.options;
        let intake = intake::Intake { items, tasks: tasks.clone(), format, max_line, idle, script };
        match self.socket {
            Socket::Stream(listener) => {
                let accept = intake::accept(listener, self.acceptor, intake);
                tasks.spawn("sink streams", OnExit::Ignore, accept);
            }
            Socket::Datagram(socket) => {
                tasks.spawn("sink datagrams", OnExit::Ignore, datagrams::receive(socket, intake));
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
                item = arrived.recv() => match item {
                    Some(item) => report.item(item, clock::now())?,
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
