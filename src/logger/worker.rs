//! The shipper's loop: what it waits for, and what it does then.

use std::collections::VecDeque;
use std::future::pending;
use std::future::poll_fn;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

use crate::buffer::Buffer;
use crate::buffer::Drops;
use crate::clock;
use crate::logger::Logger;
use crate::logger::backlog::Backlog;
use crate::logger::complaints::Complaint;
use crate::logger::complaints::Complaints;
use crate::logger::dead_letters::DeadLetters;
use crate::logger::doubt::Doubt;
use crate::logger::flush::End;
use crate::logger::line::aged;
use crate::logger::orders::Ended;
use crate::logger::orders::Order;
use crate::logger::orders::Orders;
use crate::logger::orders::Rank;
use crate::logger::parcel::Parcel;
use crate::logger::report::Report;
use crate::logger::settings::Settings;
use crate::logger::suspicion::Suspicion;
use crate::logger::tail::Ending;
use crate::logger::tail::Tail;
use crate::logger::targets::Targets;
use crate::logger::transport::Transport;
use crate::logger::windows::Window;

/// The worker behind a [`Logger`]: it owns the connection and carries the records.
pub struct Shipper {
    pub(super) buffer: Arc<Buffer>,
    pub(super) orders: Arc<Orders>,
    pub(super) report: Arc<Report>,
    pub(super) settings: Settings,
    pub(super) on_room: Box<dyn Fn() + Send + Sync>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) dead_letters: Option<DeadLetters>,
    pub(super) targets: Targets,
    pub(super) line: Option<Transport>,
    /// The target of the connection, or of the last try to make one.
    pub(super) current: usize,
    /// When the connection is to be replaced.
    pub(super) renew_at: Option<Instant>,
    /// Flushes that the present connection has carried.
    pub(super) flushes_carried: u32,
    pub(super) parcel: Option<Parcel>,
    /// Windows under way, the oldest first; on a connection that acknowledges.
    pub(super) flight: VecDeque<Window>,
    pub(super) suspicion: Suspicion,
    pub(super) tail: Tail,
    pub(super) doubt: Doubt,
    /// Failed tries since the last one that went well: how far the pauses have grown.
    pub(super) failures: u32,
    /// True from the order to stop on: nothing interrupts a flush any more.
    pub(super) draining: bool,
    periodic: Option<Interval>,
    complaints: Complaints,
    drops_told: Drops,
    _ended: Ended,
}

impl Shipper {
    pub(super) fn new(logger: &Logger, settings: Settings, on_room: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            buffer: Arc::clone(&logger.buffer),
            orders: Arc::clone(&logger.orders),
            report: Arc::clone(&logger.report),
            backlog: Arc::clone(&logger.backlog),
            dead_letters: logger.dead_letters.clone(),
            targets: Targets::new(settings.order, settings.destinations.len()),
            tail: Tail::new(settings.replay_tail),
            doubt: Doubt::default(),
            settings,
            on_room,
            line: None,
            current: 0,
            renew_at: None,
            flushes_carried: 0,
            parcel: None,
            flight: VecDeque::new(),
            suspicion: Suspicion::default(),
            failures: 0,
            draining: false,
            periodic: None,
            complaints: Complaints::default(),
            drops_told: Drops::default(),
            _ended: Ended(Arc::clone(&logger.orders)),
        }
    }

    /// Ships until it is told to stop; to be spawned once, as a task that must not end by itself.
    ///
    /// Dropping the future instead of stopping it loses what is queued.
    pub async fn run(self) {
        let backlog = Arc::clone(&self.backlog);
        tokio::select! {
            () = self.ship() => {}
            () = backlog.keep() => {}
        }
    }

    async fn ship(mut self) {
        self.periodic = self.settings.periodic.map(every);
        loop {
            match self.wait().await {
                Order::Flush => {
                    self.flush().await;
                }
                Order::Reload(settings) => self.apply(*settings).await,
                Order::Stop(within) => return self.finish(within).await,
            }
            self.tell_drops();
        }
    }

    /// Waits for the next thing to do.
    async fn wait(&mut self) -> Order {
        loop {
            let Self { buffer, backlog, orders, periodic, line, renew_at, tail, flight, parcel, .. } = self;
            let owes = tail.owes() || !flight.is_empty() || backlog.inherits();
            tokio::select! {
                biased;
                order = orders.next(Rank::Any) => return order,
                () = ready(()), if owes => return Order::Flush,
                () = poll_fn(|context| buffer.poll_due(context)) => {
                    self.linger().await;
                    return Order::Flush;
                }
                () = tick(periodic) => {
                    if !self.backlog.is_empty() {
                        return Order::Flush;
                    }
                    self.tell_drops();
                    let Self { buffer, tail, .. } = self;
                    tail.expire(clock::now(), &mut |parcel| parcel.recycle(buffer));
                }
                // With a record under way it is the next flush that renews; waiting here would be no wait.
                () = aged(*renew_at), if parcel.is_none() => self.renew().await,
                error = closed(line) => self.note_close(&error).await,
            }
        }
    }

    /// Lets a few more records come together.
    ///
    /// One write per record costs 25 times as much as one per full chunk, and waking this task costs the producer
    /// more than 20 records do.
    async fn linger(&mut self) {
        let Self { buffer, orders, .. } = self;
        tokio::select! {
            () = orders.wait(Rank::Awaited) => {}
            () = poll_fn(|context| buffer.poll_full(context)) => {}
            () = tokio::time::sleep(LINGER) => {}
        }
    }

    async fn note_close(&mut self, error: &io::Error) {
        self.lose_line(Ending::of(error));
        self.complain(Complaint::Closed, 1, error);
        self.spare_the_server().await;
    }

    /// A server that dies after each connection is not fed at full speed.
    pub(super) async fn spare_the_server(&mut self) {
        if !self.proven() {
            self.failures = self.failures.saturating_add(1);
            self.pause(Rank::Awaited).await;
        }
    }

    /// True when the present connection has shown that it lasts longer than one flush.
    pub(super) fn proven(&self) -> bool {
        self.flushes_carried >= PROVEN
    }

    async fn apply(&mut self, settings: Settings) {
        if !settings.same_line(&self.settings) {
            self.hang_up().await;
            self.targets = Targets::new(settings.order, settings.destinations.len());
            self.current = 0;
        }
        self.periodic = settings.periodic.map(every);
        let Self { buffer, tail, .. } = self;
        tail.set_limit(settings.replay_tail, &mut |parcel| parcel.recycle(buffer));
        self.settings = settings;
        self.failures = 0;
    }

    /// Sends what can be sent within the time, and drops and counts the rest.
    async fn finish(mut self, within: Duration) {
        self.draining = true;
        // Pauses that have grown for hours would use up the time for the last tries.
        self.failures = 0;
        (self.on_room)();
        let drained = tokio::time::timeout(within, async {
            self.drain().await;
        });
        if drained.await.is_err() {
            tracing::warn!(target: TARGET, "the time to send the last log lines is over");
            // Who took nothing for so long may never read what it was sent.
            self.lose_line(Ending::Broken);
        }
        if !self.secure_doubt(true).await {
            self.tell_owed();
        }
        self.buffer.shut();
        self.backlog.save().await;
        let dropped = self.backlog.abandon() + self.buffer.close();
        let saved = self.buffer.stats().spooled.records;
        if saved > 0 {
            tracing::warn!(
                target: TARGET, lines = saved,
                "log lines could not be sent before the end: they are in the spool, for the next start"
            );
        }
        if !dropped.is_zero() {
            tracing::error!(
                target: TARGET,
                destination = %self.destination(),
                records = dropped.records,
                bytes = dropped.bytes,
                "log lines could not be sent before the end and are lost"
            );
        }
        self.orders.end(dropped);
    }

    /// Sends everything, and all of it again that a connection leaves in doubt which ends meanwhile.
    async fn drain(&mut self) {
        loop {
            while self.flush().await == End::Done && !self.backlog.is_empty() {}
            if self.line.is_none() || !self.hang_up().await {
                return;
            }
            self.spare_the_server().await;
        }
    }

    /// Waits as long as the failures so far ask for, or until there is a wish of this rank.
    pub(super) async fn pause(&mut self, rank: Rank) {
        let delay = self.settings.backoff.delay(self.failures.saturating_sub(1), random());
        let sleep = tokio::time::sleep(delay);
        if self.draining {
            return sleep.await;
        }
        tokio::select! {
            biased;
            () = self.orders.wait(rank) => {}
            () = sleep => {}
        }
    }

    // === Complaints ===

    /// The target that is used, or was tried last, as it is written.
    fn destination(&self) -> String {
        self.settings.destinations.get(self.current).map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn complain(&mut self, complaint: Complaint, count: u64, error: &io::Error) {
        if let Some(count) = self.complaints.raise(complaint, count, clock::now()) {
            say(&self.destination(), complaint, count, &describe(error));
        }
    }

    /// Tells at the end of lines that could not be sent again.
    fn tell_owed(&self) {
        let owed = self.tail.owed();
        if !owed.is_zero() {
            let (to, records, bytes) = (self.destination(), owed.records, owed.bytes);
            tracing::warn!(
                target: TARGET, destination = %to, records, bytes,
                "log lines that the log server may not have read could not be sent again before the end"
            );
        }
    }

    pub(super) fn tell_resent(&mut self, records: u64) {
        if let Some(count) = self.complaints.raise(Complaint::Resent, records, clock::now()) {
            say(&self.destination(), Complaint::Resent, count, "");
        }
    }

    pub(super) fn tell_recovery(&mut self) {
        if self.complaints.raise(Complaint::Recovered, 1, clock::now()).is_some() {
            say(&self.destination(), Complaint::Recovered, 1, "");
        }
    }

    /// Tells of new drops and of what was held back long enough.
    pub(super) fn tell_drops(&mut self) {
        let now = clock::now();
        let drops = self.buffer.stats().dropped;
        for (cause, tally) in drops.iter() {
            let count = tally.records - self.drops_told.of(cause).records;
            if let Some(count) = self.complaints.raise(Complaint::Dropped(cause), count, now) {
                say(&self.destination(), Complaint::Dropped(cause), count, cause.name());
            }
        }
        self.drops_told = drops;
        let error = self.report.stats().last_error.unwrap_or_default();
        let destination = self.destination();
        for (complaint, count) in self.complaints.overdue(now) {
            say(&destination, complaint, count, &error);
        }
    }
}

fn say(to: &str, complaint: Complaint, count: u64, error: &str) {
    match complaint {
        Complaint::Unreachable => {
            tracing::warn!(target: TARGET, destination = %to, count, error, "the log server cannot be reached");
        }
        Complaint::Broken => {
            tracing::warn!(target: TARGET, destination = %to, count, error, "sending log lines failed");
        }
        Complaint::Closed => {
            tracing::info!(target: TARGET, destination = %to, count, error, "the log server closed the connection");
        }
        Complaint::Dropped(cause) => {
            let cause = cause.name();
            tracing::error!(target: TARGET, destination = %to, lines = count, cause, "log lines were dropped");
        }
        Complaint::Buried => {
            tracing::error!(
                target: TARGET, destination = %to, count, error,
                "a log line that the log server refuses is lost, because it can not be kept"
            );
        }
        // Whoever keeps the spool speaks for itself.
        Complaint::Spool | Complaint::Filling | Complaint::Emptied => {}
        Complaint::Resent => {
            tracing::info!(
                target: TARGET, destination = %to, lines = count,
                "log lines were sent again, because a connection ended and they may not have been read"
            );
        }
        Complaint::Recovered => {
            tracing::info!(target: TARGET, destination = %to, "the log server takes lines again");
        }
    }
}

/// A short text for a failed network call, in the words that operators search for.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed by the log server".to_owned(),
        kind @ (io::ErrorKind::ConnectionRefused | io::ErrorKind::BrokenPipe) => kind.to_string(),
        _ => error.to_string(),
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}

async fn closed(line: &mut Option<Transport>) -> io::Error {
    match line {
        Some(line) => line.closed().await,
        None => pending().await,
    }
}

/// A number in 0..=1 to spread pauses by; without a random source they are simply not spread.
pub(super) fn random() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

/// The tracing target of the logger's own words; they go to stderr and never through the logger itself.
pub(super) const TARGET: &str = "pillion::logger";

/// How long records may gather once a flush is due: nobody who reads logs notices, and the writes become few.
const LINGER: Duration = Duration::from_millis(1);

/// Flushes after which a connection counts as one that works.
const PROVEN: u32 = 2;
