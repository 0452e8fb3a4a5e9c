//! `pillion sink`: a stand-in for Logstash, for trials and tests.

use std::io;
use std::io::IsTerminal as _;
use std::path::PathBuf;

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

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen: tcp:host:port, udp:host:port, unix:/path or unixgram:/path
    #[arg(long, value_name = "ADDRESS", default_value = "tcp:127.0.0.1:5170")]
    listen: Address,
    /// How lines are framed
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
}

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
    let (sink, address) = Sink::build(sink::Options {
        listen: options.listen,
        format: options.format,
        show,
        colour: io::stdout().is_terminal(),
        tls: options.tls_cert.zip(options.tls_key),
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
    sink.run(stop, io::stdout(), io::stderr()).await?;
    Ok(())
}
