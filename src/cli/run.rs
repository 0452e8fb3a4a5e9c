//! `pillion run`: the daemon, its signals, and what it tells the service manager.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Builder;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::app::App;
use crate::app::Ground;
use crate::app::Reloader;
use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::Unloaded;
use crate::cli::complain;
use crate::config::Loaded;
use crate::diagnostics;
use crate::diagnostics::Diagnostics;
use crate::host;
use crate::host::Host;
use crate::ids::BootId;
use crate::net;
use crate::status::Status;

/// Runs the daemon until it is told to stop.
pub(super) fn run(configured: &Configured) -> Exit {
    let loaded = match configured.load() {
        Ok(loaded) => loaded,
        Err(unloaded) => return unloaded.complain(),
    };
    // A second provider would be a mistake in the build: there is one, and it is chosen once.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = match Builder::new_multi_thread().enable_all().thread_name("pillion").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can not start: {error}"));
            return Exit::Failed;
        }
    };
    match runtime.block_on(serve(configured, loaded)) {
        Ok(()) => Exit::Clean,
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Failed
        }
    }
}

async fn serve(configured: &Configured, loaded: Loaded) -> anyhow::Result<()> {
    let Loaded { config, notices } = loaded;
    let ground = Ground::new(&config, BootId::new(getrandom::u64()?));
    let diagnostics = diagnostics::init(&config.log, Arc::clone(ground.trail()))?;
    host::raise_open_files(config.limits.connections);
    for notice in &notices {
        tracing::warn!("{notice}");
    }
    for warning in host::warnings(&Host::read(), &config) {
        tracing::warn!("{warning}");
    }
    let app = App::build(config, ground, net::inherited()?)?;
    let reloader = app.reloader();
    let stop = stop_signal()?;
    let hangups = signal(SignalKind::hangup())?;
    let served = app.run(announce, async {
        let why = tokio::select! {
            why = stop => why,
            () = reloads(configured, hangups, &reloader, &diagnostics) => "no more signals",
            () = watchdog() => "no watchdog",
        };
        tell(&[NotifyState::Stopping]);
        why
    });
    Ok(served.await?)
}

/// Tells the log and the service manager that clients are welcome, and where.
fn announce(status: &Status) {
    let report = status.report(0);
    let listen = report.get("listen").map(ToString::to_string).unwrap_or_default();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen, "ready");
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listens on {listen}"))]);
}

/// Resolves at SIGTERM or SIGINT, with its name.
fn stop_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Reads the configuration again at each SIGHUP.
async fn reloads(
    configured: &Configured,
    mut hangups: Signal,
    reloader: &Reloader,
    diagnostics: &Diagnostics,
) {
    while hangups.recv().await.is_some() {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
        reload(configured, reloader, diagnostics);
        tell(&[NotifyState::Ready]);
    }
}

fn reload(configured: &Configured, reloader: &Reloader, diagnostics: &Diagnostics) {
    let loaded = match configured.load() {
        Ok(loaded) => loaded,
        Err(unloaded) => {
            if let Unloaded::Mistakes(mistakes) = &unloaded {
                for mistake in mistakes {
                    tracing::error!("{mistake}");
                }
            }
            tracing::error!("{unloaded}; the old one stays in force");
            reloader.refused(&unloaded.to_string());
            return;
        }
    };
    let log = loaded.config.log.clone();
    match reloader.reload(loaded.config) {
        Ok(changes) => {
            if let Err(error) = diagnostics.reload(&log) {
                tracing::error!(%error, "log.level and log.ship stay as they were");
            }
            tracing::info!(changed = ?changes.live, "the configuration was read again");
            if !changes.restart.is_empty() {
                tracing::warn!(keys = ?changes.restart, "these keys count only after a restart");
            }
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!("{error}; the old configuration stays in force");
            reloader.refused(&error);
        }
    }
}

/// Tells the service manager at half its interval that the runtime still turns; waits for ever without one.
async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// Tells the service manager something; without one this does nothing.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
