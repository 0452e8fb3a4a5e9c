//! Builds every room, starts them, stops them in order: the only file that knows them all.
//!
//! Sockets are bound when the [`App`] is built, so that addresses are known and mistakes end the start; nothing is
//! served before [`App::run`]. Stopping takes the opposite way: no new connections, sessions end one by one, log
//! intake closes, and the log is sent last, so that the way out is on record too.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::api;
use crate::api::Bodies;
use crate::api::Namespaces;
use crate::api::Server;
use crate::buffer::Buffer;
use crate::chat;
use crate::clock;
use crate::config;
use crate::config::Changes;
use crate::config::Config;
use crate::config::TokenMode;
use crate::data_dir;
use crate::data_dir::DataDir;
use crate::gateway;
use crate::ids::BootId;
use crate::ingest;
use crate::keys::Keys;
use crate::logger;
use crate::logger::Logger;
use crate::logger::Shipper;
use crate::metrics::Metrics;
use crate::metrics::Shipping;
use crate::metrics::Spooling;
use crate::metrics::Storing;
use crate::net;
use crate::net::Listener;
use crate::record::Origin;
use crate::status::Addresses;
use crate::status::Phase;
use crate::status::Status;
use crate::store;
use crate::store::Store;
use crate::tasks::OnExit;
use crate::tasks::Tasks;
use crate::trail::Style;
use crate::trail::Trail;

/// Why the daemon can not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of everything durable.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A listener.
    #[error("can not listen")]
    Listen(#[from] net::Error),
    /// The log intake.
    #[error(transparent)]
    Ingest(#[from] ingest::Error),
    /// The logger.
    #[error("the keys of [logger] do not go together")]
    Logger(#[from] logger::Error),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// The rules of rooms that were changed while the daemon ran.
    #[error(transparent)]
    Namespaces(#[from] api::NamespacesError),
    /// The chats.
    #[error("the memory of chats can not be opened")]
    Chat(#[from] chat::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A task that must not end has ended.
    #[error("the task {0:?} ended: see the log above")]
    TaskEnded(&'static str),
}

/// What everything else stands on: made first, so that the start itself can be logged.
#[derive(Clone, Debug)]
pub struct Ground {
    boot: BootId,
    buffer: Arc<Buffer>,
    metrics: Arc<Metrics>,
    trail: Arc<Trail>,
}

impl Ground {
    /// The ground of the run `boot`.
    #[must_use]
    pub fn new(config: &Config, boot: BootId) -> Self {
        let (buffer, metrics) = (logger::buffer(&config.logger), Arc::new(Metrics::new()));
        let origin = Origin::new(&config.node, &boot.to_string());
        let sinks = (Arc::clone(&buffer), Arc::clone(&metrics));
        let trail = Arc::new(Trail::new(origin, style(config), clock::wall, sinks));
        trail.sample(&config.log.samples);
        Self { boot, buffer, metrics, trail }
    }

    /// Writes records.
    #[must_use]
    pub fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }
}

/// The daemon, built and not yet running.
pub struct App {
    means: Arc<api::Means>,
    server: Server,
    intake: ingest::Worker,
    logger: Logger,
    shipper: Shipper,
    groups: Groups,
    _data_dir: DataDir,
}

/// Three groups of tasks, in the order in which they stop.
#[derive(Clone, Debug, Default)]
struct Groups {
    /// Listeners, connections, sessions.
    front: Tasks,
    /// Log intake.
    intake: Tasks,
    /// The shipper.
    shipping: Tasks,
}

impl App {
    /// Builds every room and binds every socket. Called within a runtime.
    ///
    /// # Errors
    ///
    /// The first thing that can not be had, and what to do about it.
    pub fn build(mut config: Config, ground: Ground, inherited: Vec<Listener>) -> Result<Self, Error> {
        let Ground { boot, buffer, metrics, trail } = ground;
        let data_dir = DataDir::take(&config.data_dir)?;
        let namespaces = Namespaces::open(&config.data_dir)?;
        namespaces.turn().lay_over(&mut config);
        let (store, recovery) = store::open(&config.store.path, (&config.store).into())?;
        recovery.tell(&config.store.path);
        watch_store(&metrics, &store);
        let groups = Groups::default();
        let server = Server::bind(&config, inherited)?;
        let (intake, worker) = ingest::build(&config.ingest, config.listen.socket_mode, &trail, &metrics)?;
        let teller = Arc::clone(&trail);
        let (logger, shipper) = logger::build(&config.logger, Arc::clone(&buffer), move || teller.log_gap())?;
        watch(&metrics, &buffer, &logger);
        let tasks = groups.front.clone();
        let uploads = config.data_dir.join(UPLOADS);
        let place = (config.node.as_str(), uploads.as_path());
        let chat = chat::build(&config.chat, place, store.clone(), Arc::clone(&metrics))?;
        let gateway_means = gateway::Means {
            trail: Arc::clone(&trail),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            chat: chat.clone(),
            store: store.clone(),
        };
        let gateway = gateway::build(&config, boot, gateway_means)?;
        let status = Arc::new(Status::new(&config.node, boot.to_string(), buffer));
        status.listens(Addresses {
            public: server.public(),
            admin: server.admin(),
            packets: server.packets(),
            ingest: intake.addresses().to_vec(),
        });
        let keys = ArcSwap::from_pointee(Keys::new(&config.auth));
        let config = ArcSwap::from_pointee(config);
        let logger_there = logger.clone();
        let means = Arc::new(api::Means {
            gateway,
            logger: logger_there,
            store,
            trail,
            metrics,
            status,
            tasks,
            bodies: Bodies::new(),
            pushes: Arc::new(Semaphore::new(api::PUSHES_MAX)),
            namespaces,
            keys,
            config,
        });
        Ok(Self { means, server, intake: worker, logger, shipper, groups, _data_dir: data_dir })
    }

    /// The handle that takes a new configuration while the daemon runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader { means: Arc::clone(&self.means), logger: self.logger.clone() }
    }

    /// Serves until `shutdown` resolves, then stops in order, within `shutdown_timeout`; `ready` is called as soon as
    /// clients are welcome.
    ///
    /// # Errors
    ///
    /// [`Error::TaskEnded`] when it stopped because it could not go on.
    pub async fn run(
        self,
        ready: impl FnOnce(&Status),
        shutdown: impl Future<Output = &'static str>,
    ) -> Result<(), Error> {
        let Self { means, server, intake, logger, shipper, groups, _data_dir } = self;
        groups.shipping.spawn("shipper", OnExit::Stop, shipper.run());
        groups.intake.spawn("ingest", OnExit::Stop, intake.run(groups.intake.clone()));
        groups.front.spawn("heartbeats", OnExit::Stop, means.gateway.clone().sweep());
        let tasks = groups.front.clone();
        groups.front.spawn("chats", OnExit::Stop, means.gateway.chat().clone().sweep(tasks));
        server.serve(&means);
        means.status.enter(Phase::Ready);
        ready(&means.status);

        let why = tokio::select! {
            why = shutdown => why,
            () = groups.front.stopping() => "a task ended",
            () = groups.intake.stopping() => "the log intake ended",
            () = groups.shipping.stopping() => "the shipper ended",
        };
        let failed = [&groups.front, &groups.intake, &groups.shipping].into_iter().find_map(Tasks::failed);
        leave(&means, &logger, &groups, why).await;
        failed.map_or(Ok(()), |task| Err(Error::TaskEnded(task)))
    }
}

/// Stops everything in order: each step has what the former ones left of the time.
async fn leave(means: &Arc<api::Means>, logger: &Logger, groups: &Groups, why: &str) {
    let timeout = means.config.load().shutdown_timeout;
    let deadline = Instant::now() + timeout;
    let left = || deadline.saturating_duration_since(Instant::now());
    means.status.enter(Phase::Draining);
    let sessions = means.gateway.sessions();
    tracing::info!(why, sessions, ?timeout, "stopping");
    means.trail.drain(&format!("{why}; {sessions} sessions to end within {timeout:?}"));

    groups.front.stop();
    // The log has the last third of the time for itself.
    means.gateway.drain(left() * 2 / 3).await;
    let quiet = tokio::time::timeout(left() / 2, groups.front.wait()).await;
    if quiet.is_err() {
        tracing::warn!("connections are cut: they did not end within shutdown_timeout");
    }
    groups.intake.stop();
    let quiet = tokio::time::timeout(left() / 2, groups.intake.wait()).await;
    if quiet.is_err() {
        tracing::warn!("log connections are cut: they did not end within shutdown_timeout");
    }
    // Nobody is left who changes anything; what goes wrong here is still logged.
    match tokio::time::timeout((left() / 2).max(LAST_CHECKPOINT), means.store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = error.told(), "the store did not stop in good order"),
        Err(_) => tracing::error!("the store could not write everything in time: the next start will"),
    }
    means.status.enter(Phase::Flushing);
    means.trail.drain("all sessions ended; sending the rest of the log");
    // From here on the shipper's end is what is wanted.
    groups.shipping.stop();
    let dropped = logger.shutdown(left().max(LAST_FLUSH)).await;
    groups.shipping.wait().await;
    means.status.enter(Phase::Stopped);
    if dropped.records > 0 {
        tracing::error!(
            records = dropped.records,
            bytes = dropped.bytes,
            "the log could not be sent in time: these records are lost"
        );
    }
    tracing::info!("stopped");
}

/// The least time that the log has at the end, whatever happened before.
const LAST_FLUSH: Duration = Duration::from_millis(200);

/// The directory of uploads, within that of everything durable.
const UPLOADS: &str = "uploads";

/// The least time that the store has at the end.
const LAST_CHECKPOINT: Duration = Duration::from_secs(1);

/// Takes a new configuration while the daemon runs.
#[derive(Clone, Debug)]
pub struct Reloader {
    means: Arc<api::Means>,
    logger: Logger,
}

impl Reloader {
    /// Puts a new configuration in force, as far as it can be without a restart; gives what changed.
    ///
    /// # Errors
    ///
    /// When the new configuration can not be used; the old one stays in force.
    pub fn reload(&self, mut new: Config) -> Result<Changes, Error> {
        let mut turn = self.means.namespaces.turn();
        turn.lay_over(&mut new);
        let old = self.means.config.load_full();
        let changes = config::changes(&old, &new);
        self.means.gateway.reload(&new)?;
        self.means.gateway.chat().reload(&new.chat);
        if old.logger != new.logger {
            self.logger.reload(&new.logger)?;
        }
        self.means.trail.restyle(style(&new));
        self.means.trail.sample(&new.log.samples);
        if old.auth != new.auth {
            self.means.keys.store(Arc::new(Keys::new(&new.auth)));
        }
        self.means.config.store(Arc::new(new));
        let restart = if changes.restart.is_empty() {
            String::new()
        } else {
            format!("; at the next start: {}", changes.restart.join(", "))
        };
        let desc = format!("changed: {}{restart}", listed(&changes.live));
        self.means.trail.config_reload(&desc, None);
        Ok(changes)
    }

    /// Writes down that a new configuration was refused.
    pub fn refused(&self, mistakes: &str) {
        self.means.trail.config_reload("the old configuration stays in force", Some(mistakes));
    }
}

fn listed(keys: &[&'static str]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

/// How records are written, as the configuration says.
fn style(config: &Config) -> Style {
    Style {
        plain_tokens: config.log.token == TokenMode::Plain,
        legacy_fields: config.log.legacy_fields,
        max_line: config.logger.max_line,
    }
}

/// Lets the metrics read the store's counters.
fn watch_store(metrics: &Metrics, store: &Store) {
    let store = store.clone();
    metrics.watch_store(move || {
        let stats = store.stats();
        Storing {
            entries: stats.entries,
            stored_bytes: stats.stored_bytes,
            file_bytes: stats.file_bytes,
            journal_bytes: stats.journal.disk_bytes,
            batches: stats.batches,
            changes: stats.changes,
            bytes: stats.bytes,
            checkpoints: stats.checkpoints,
            checkpoint_time: stats.checkpoint_time,
            checkpoint_time_max: stats.checkpoint_time_max,
            syncs: stats.journal.syncs,
            sync_time: stats.journal.sync_time,
            queued_batches: stats.queued_batches as u64,
            queued_bytes: stats.queued_bytes as u64,
            refused_busy: stats.refused_busy,
            refused_full: stats.refused_full,
            is_failed: stats.is_failed,
        }
    });
}

/// Lets the metrics read the log's counters.
fn watch(metrics: &Metrics, buffer: &Arc<Buffer>, logger: &Logger) {
    let logger = logger.clone();
    metrics.watch_log(Arc::clone(buffer), logger.flush_times(), move || {
        let logger::Stats { shipper, oldest, spool, .. } = logger.stats();
        Shipping {
            flushes: shipper.flushes,
            flushes_failed: shipper.flushes_failed,
            retries: shipper.retries,
            reconnects: shipper.reconnects,
            resent: shipper.resent,
            acknowledged: shipper.acknowledged,
            connected: shipper.connected,
            oldest: oldest.unwrap_or_default(),
            spool: spool.map(|spool| Spooling {
                disk_bytes: spool.disk_bytes,
                frames: spool.frames,
                syncs: spool.syncs,
                sync_time: spool.sync_time,
                rotten: spool.rotten,
                refused: spool.refused_full + spool.refused_space,
                failed: spool.poisoned.is_some(),
            }),
        }
    });
}
