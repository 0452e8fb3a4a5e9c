//! The spool: what can not be delivered goes to disk, comes back in order, and survives the process.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pillion::buffer::Buffer;
use pillion::config;
use pillion::config::Overflow;
use pillion::config::Spool;
use pillion::config::SpoolOrder;
use pillion::config::Target;
use pillion::journal;
use pillion::logger;
use pillion::logger::Logger;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;

use crate::log_server::DEADLINE;
use crate::log_server::Folder;
use crate::log_server::LogServer;
use crate::log_server::config;

/// A logger with a spool in `folder` that sends to `target`.
fn spooling(folder: &Folder, target: Target) -> config::Logger {
    config::Logger {
        overflow: Overflow::Spool,
        spool: Spool {
            limit: 64 << 20,
            interval: Duration::from_millis(100),
            order: SpoolOrder::OldestFirst,
        },
        data_dir: Some(folder.path("data")),
        drop_limit: 256 << 10,
        max_line: 64 << 10,
        retry_interval: Duration::from_millis(1),
        retry_max_interval: Duration::from_millis(2),
        ..config(target)
    }
}

/// A logger whose shipper can be killed.
struct Running {
    logger: Logger,
    buffer: Arc<Buffer>,
    tasks: Tasks,
    kill: Option<tokio::sync::oneshot::Sender<()>>,
}

fn start(config: &config::Logger) -> Running {
    let buffer = logger::buffer(config);
    let (logger, shipper) = logger::build(config, Arc::clone(&buffer), || {}).unwrap();
    let (kill, killed) = tokio::sync::oneshot::channel();
    let tasks = Tasks::new();
    tasks.spawn("shipper", OnExit::Ignore, async move {
        tokio::select! {
            () = shipper.run() => {}
            _ = killed => {}
        }
    });
    Running { logger, buffer, tasks, kill: Some(kill) }
}

impl Running {
    async fn until(&self, what: &str, condition: impl Fn(&pillion::buffer::Stats) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while !condition(&self.buffer.stats()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.logger.stats());
        assert!(self.buffer.stats().balanced());
    }

    /// Ends without a farewell, as a kill would: what is in memory is gone. `spool` is free for another one then.
    async fn die(mut self, spool: &Path) {
        self.kill.take().unwrap().send(()).unwrap();
        self.tasks.stop();
        self.tasks.wait().await;
        drop(self.logger);
        let free = tokio::time::timeout(DEADLINE, async {
            while journal::Journal::open(spool, journal::Options::default()).is_err() {
                tokio::task::yield_now().await;
            }
        });
        free.await.unwrap();
    }
}

fn line(n: usize) -> String {
    format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "x".repeat(n % 300))
}

fn log(logger: &Logger, numbers: std::ops::Range<usize>) {
    for n in numbers {
        logger.log(line(n).as_bytes()).unwrap();
    }
}

/// Every line came, and in order if repetitions are left out; gives how many came again.
fn check_all(text: &str, lines: usize) -> usize {
    let mut known = HashSet::new();
    let first: Vec<_> = text.lines().filter(|line| known.insert(*line)).collect();
    assert_eq!(first.len(), lines, "no line is missing");
    assert!(first.iter().enumerate().all(|(n, found)| *found == line(n).trim_end()), "in their order");
    text.lines().count() - lines
}

fn waiting_on_disk(folder: &Path) -> usize {
    let frames = journal::scan(&folder.join("spool"), journal::Which::Unacknowledged).unwrap();
    frames.map(|frame| logger::decode(frame.unwrap().payload).unwrap().records()).sum()
}

#[tokio::test]
async fn an_outage_of_more_than_the_memory_holds_costs_nothing_and_keeps_the_order() {
    let folder = Folder::new();
    let socket = folder.path("log.sock");
    let running = start(&spooling(&folder, Target::Unix(socket.clone())));
    for batch in 0..40 {
        log(&running.logger, batch * 500..(batch + 1) * 500);
        running.until("room in memory", |stats| stats.queued.bytes < 128 << 10).await;
    }
    assert!(running.buffer.stats().spooled.records > 15_000);
    let mut server = LogServer::unix(&socket);
    running.until("all sent", |stats| stats.sent.records == 20_000).await;
    let seen = server.until(|seen| seen.lines() >= 20_000).await;
    assert_eq!(check_all(&seen.text(), 20_000), 0);
    assert!(running.buffer.stats().dropped.total().is_zero());
    log(&running.logger, 20_000..20_010);
    running.logger.flush().await.unwrap();
    server.until(|seen| seen.lines() == 20_010).await;
    running.logger.shutdown(DEADLINE).await;
    assert_eq!(waiting_on_disk(&folder.path("data")), 0);
}

#[tokio::test]
async fn what_was_on_disk_when_the_process_died_is_sent_by_the_next_one() {
    let folder = Folder::new();
    let socket = folder.path("log.sock");
    let settings = spooling(&folder, Target::Unix(socket.clone()));
    let running = start(&settings);
    log(&running.logger, 0..1000);
    // The line in the shipper's hands is on disk as well.
    running.until("all on disk", |stats| stats.spooled.records == 1000).await;
    running.die(&folder.path("data/spool")).await;
    assert_eq!(waiting_on_disk(&folder.path("data")), 1000);

    let running = start(&settings);
    log(&running.logger, 1000..1100);
    let mut server = LogServer::unix(&socket);
    running.until("all sent", |stats| stats.sent.records == 1100).await;
    let seen = server.until(|seen| seen.lines() >= 1100).await;
    assert_eq!(check_all(&seen.text(), 1100), 0);
    let stats = running.buffer.stats();
    assert_eq!(
        (stats.accepted.records, stats.spooled.records),
        (1100, 0),
        "the old ones are counted as accepted"
    );
}

#[tokio::test]
async fn a_stop_without_a_log_server_puts_everything_on_disk_and_drops_nothing() {
    let folder = Folder::new();
    let socket = folder.path("log.sock");
    let settings = spooling(&folder, Target::Unix(socket.clone()));
    let running = start(&settings);
    log(&running.logger, 0..500);
    let dropped = running.logger.shutdown(Duration::from_millis(10)).await;
    assert!(dropped.is_zero(), "{dropped:?}");
    assert!(running.buffer.stats().balanced());
    assert_eq!(running.buffer.stats().spooled.records, 500);
    drop(running);
    let _running = start(&config::Logger { overflow: Overflow::DropNewest, ..settings });
    let mut server = LogServer::unix(&socket);
    let seen = server.until(|seen| seen.lines() == 500).await;
    assert_eq!(check_all(&seen.text(), 500), 0, "also where the spool is no longer wanted");
}

/// Lines that a log server may have taken to its grave, and one that it never got.
async fn in_doubt(folder: &Folder) -> (Running, config::Logger) {
    let socket = folder.path("log.sock");
    let settings = config::Logger {
        replay_tail: 1 << 20,
        flush_limit: 1,
        ..spooling(folder, Target::Unix(socket.clone()))
    };
    let mut server = LogServer::unix(&socket);
    let running = start(&settings);
    log(&running.logger, 0..100);
    server.until(|seen| seen.lines() == 100).await;
    server.kill().await;
    running.until("all sent", |stats| stats.sent.records == 100).await;
    // A child that another test is starting may hold the dead server's sockets open for a moment.
    running.until("its death is noticed", |_| !running.logger.stats().shipper.connected).await;
    log(&running.logger, 100..101);
    (running, settings)
}

#[tokio::test]
async fn what_a_dead_log_server_may_not_have_read_outlives_a_stop() {
    let folder = Folder::new();
    let (running, settings) = in_doubt(&folder).await;
    assert!(running.logger.shutdown(Duration::from_millis(10)).await.is_zero());
    drop(running);
    let mut server = LogServer::unix(&folder.path("log.sock"));
    let _running = start(&settings);
    let seen = server.until(|seen| seen.text().lines().any(|found| found == line(100).trim_end())).await;
    // Twice where the stop came while they were being written.
    assert!(check_all(&seen.text(), 101) <= 100);
}

#[tokio::test]
async fn what_a_dead_log_server_may_not_have_read_outlives_a_crash_and_leaves_the_disk_when_it_was_sent_again()
 {
    let folder = Folder::new();
    let (running, settings) = in_doubt(&folder).await;
    // The line in the shipper's hands and those in doubt.
    let on_disk = tokio::time::timeout(DEADLINE, async {
        while waiting_on_disk(&folder.path("data")) < 101 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    on_disk.await.unwrap();
    running.die(&folder.path("data/spool")).await;

    let running = start(&settings);
    let mut server = LogServer::unix(&folder.path("log.sock"));
    let seen = server.until(|seen| seen.lines() >= 101).await;
    assert_eq!(check_all(&seen.text(), 101), 0);
    server.kill().await;
    // Once more, and this time another one comes in time.
    log(&running.logger, 101..102);
    running.until("in doubt again", |_| running.logger.stats().spool.unwrap().appended > 0).await;
    let mut server = LogServer::unix(&folder.path("log.sock"));
    let seen = server.until(|seen| seen.lines() >= 102).await;
    assert_eq!(check_all(&seen.text(), 102), 0);
    running.logger.shutdown(DEADLINE).await;
    assert_eq!(waiting_on_disk(&folder.path("data")), 0, "the copies are gone");
}

#[tokio::test]
async fn a_stop_keeps_lines_for_the_next_start_also_where_nothing_goes_to_disk_otherwise() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let folder = Folder::new();
        let socket = folder.path("log.sock");
        let settings = config::Logger { overflow, ..spooling(&folder, Target::Unix(socket.clone())) };
        let running = start(&settings);
        log(&running.logger, 0..500);
        assert!(running.logger.shutdown(Duration::from_millis(10)).await.is_zero());
        assert!(running.buffer.stats().balanced());
        drop(running);
        let running = start(&settings);
        let mut server = LogServer::unix(&socket);
        let seen = server.until(|seen| seen.lines() == 500).await;
        assert_eq!(check_all(&seen.text(), 500), 0);
        running.until("all sent", |stats| stats.sent.records == 500 && stats.spooled.is_zero()).await;
    }
}

#[tokio::test]
async fn errors_come_first_and_the_newest_of_them_before_all_where_that_is_wished() {
    let folder = Folder::new();
    let socket = folder.path("log.sock");
    let mut settings = spooling(&folder, Target::Unix(socket.clone()));
    settings.spool.order = SpoolOrder::ErrorsFirst;
    let running = start(&settings);
    for (round, level) in ["info", "error", "info", "error"].into_iter().enumerate() {
        let record = format!("{{\"log.level\":\"{level}\",\"n\":{round}}}\n");
        running.logger.log(record.as_bytes()).unwrap();
        running.until("on disk", |stats| stats.spooled.records == round as u64 + 1).await;
    }
    let mut server = LogServer::unix(&socket);
    let seen = server.until(|seen| seen.lines() == 4).await;
    let numbers: Vec<_> =
        seen.text().lines().map(|line| line.chars().nth_back(1).unwrap().to_string()).collect();
    assert_eq!(numbers, ["3", "1", "0", "2"]);
}

#[tokio::test]
async fn a_full_spool_leaves_the_rest_to_memory_and_says_what_is_dropped() {
    let folder = Folder::new();
    let socket = folder.path("log.sock");
    let mut settings = spooling(&folder, Target::Unix(socket.clone()));
    settings.spool.limit = 1 << 20;
    let running = start(&settings);
    let mut logged = 0;
    let waited = tokio::time::timeout(DEADLINE, async {
        while running.buffer.stats().dropped.total().records < 1000 {
            for n in logged..logged + 100 {
                running.logger.log(line(n).as_bytes()).ok();
            }
            logged += 100;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
    let stats = running.buffer.stats();
    assert!(
        stats.balanced() && stats.spooled.bytes > 512 << 10 && stats.spooled.bytes < 1 << 20,
        "{stats:?}"
    );
    let server = LogServer::unix(&socket);
    running.until("all sent", |stats| stats.queued.is_zero() && stats.spooled.is_zero()).await;
    let stats = running.buffer.stats();
    assert_eq!(stats.sent.records + stats.dropped.total().records, logged as u64);
    assert_eq!(server.kill().await.lines() as u64, stats.sent.records);
}

#[tokio::test]
async fn a_log_server_in_good_health_leaves_nothing_on_disk() {
    let folder = Folder::new();
    let mut server = LogServer::unix(&folder.path("log.sock"));
    let settings = config::Logger {
        periodic_flush: Some(Duration::from_millis(20)),
        ..spooling(&folder, server.target.clone())
    };
    let running = start(&settings);
    for n in 0..200 {
        log(&running.logger, n..n + 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.until(|seen| seen.lines() == 200).await;
    assert_eq!(running.logger.stats().spool.unwrap().appended, 0);
}
