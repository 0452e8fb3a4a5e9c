//! `pillion sink`: a stand-in for Logstash, for trials and tests.

use std::io;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::address::Address;
use crate::cli::Exit;
use crate::cli::complain;
use crate::sink;
use crate::sink::Format;
use crate::sink::Show;
use crate::sink::Sink;
use crate::sink::Stall;
use crate::units;
use crate::units::UnitError;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen: tcp:host:port, udp:host:port, unix:/path or unixgram:/path
    #[arg(long, value_name = "ADDRESS", default_value = "tcp:127.0.0.1:5170")]
    listen: Address,
    /// How lines are framed: ndjson, syslog3164, syslog5424 or beats (lumberjack v2, acknowledged)
    #[arg(long, default_value = "ndjson")]
    format: Format,
    /// Print a readable line for each record instead of the record
    #[arg(long, conflicts_with = "count")]
    pretty: bool,
    /// Print counts once a second instead of lines
    #[arg(long)]
    count: bool,
    /// Speak TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Demand a certificate of clients, issued by one of these authorities (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Reset connections that were silent for so long, or never with "off" [default: 60s for beats, as Logstash does;
    /// off for the others]
    #[arg(long, value_name = "DURATION", value_parser = idle)]
    idle_timeout: Option<Idle>,
    #[command(flatten)]
    faults: Faults,
}

/// What goes wrong on purpose.
#[derive(Debug, Args)]
#[command(next_help_heading = "Going wrong on purpose")]
struct Faults {
    /// Stop reading and answering on all connections after N lines, for ever or for a while; once, as all that has a
    /// number, and N counts the lines of all connections together
    #[arg(long, value_name = "N[:DURATION]")]
    stall_after: Option<Stall>,
    /// Reset the connection that brings the N-th line, in the middle of the next one; once, and go on accepting
    #[arg(long, value_name = "N")]
    reset_after: Option<u64>,
    /// Close the connection that brings the N-th line, once; beats: without the ack of that window
    #[arg(long, value_name = "N")]
    close_after: Option<u64>,
    /// Beats: ack half of every window of two lines or more, and reset the connection each time
    #[arg(long)]
    ack_partly: bool,
    /// Beats: ack every window so much later; signs of life are sent every 5 s
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    ack_late: Option<Duration>,
    /// Beats: answer something that is no ack to the window with the N-th line, once
    #[arg(long, value_name = "N")]
    garbage_after: Option<u64>,
    /// Close the connection, without an ack, whenever a line contains this; neither
    /// the line nor its window is taken
    #[arg(long, value_name = "SUBSTRING")]
    refuse_json: Option<String>,
}

/// How long a connection may be silent; `None` is for ever.
#[derive(Clone, Copy, Debug)]
struct Idle(Option<Duration>);

fn idle(text: &str) -> Result<Idle, UnitError> {
    if text == "off" { Ok(Idle(None)) } else { units::duration(text).map(|idle| Idle(Some(idle))) }
}

/// How much of the output is written at once.
const OUTPUT: usize = 64 * 1024;

/// Takes lines until it is told to stop.
pub(super) fn sink(options: Options) -> Exit {
    let outcome = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(receive(options)));
    match outcome {
        Ok(()) => Exit::Clean,
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Failed
        }
    }
}

async fn receive(options: Options) -> anyhow::Result<()> {
    let show = match (options.pretty, options.count) {
        (true, _) => Show::Pretty,
        (_, true) => Show::Counts,
        _ => Show::Lines,
    };
    let usual = (options.format == Format::Beats).then_some(sink::IDLE);
    let (sink, address) = Sink::build(sink::Options {
        listen: options.listen,
        format: options.format,
        show,
        colour: io::stdout().is_terminal(),
        tls: options.tls_cert.zip(options.tls_key),
        tls_client_ca: options.tls_client_ca,
        idle: options.idle_timeout.map_or(usual, |Idle(idle)| idle),
        faults: sink::Faults {
            stall: options.faults.stall_after,
            reset_after: options.faults.reset_after,
            close_after: options.faults.close_after,
            garbage_after: options.faults.garbage_after,
            ack_partly: options.faults.ack_partly,
            ack_late: options.faults.ack_late,
            refuse: options.faults.refuse_json,
        },
        ..sink::Options::default()
    })?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    complain(&format!("the sink listens on {address}"));
    // Each batch is flushed when it is complete; before that, lines gather.
    let out = io::BufWriter::with_capacity(OUTPUT, io::stdout());
    sink.run(stop, out, io::stderr()).await?;
    Ok(())
}
