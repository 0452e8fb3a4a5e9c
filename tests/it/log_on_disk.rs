//! What the daemon keeps on disk of the log, as operators see it: the spool, the dead letters, and readiness.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::process::ChildStderr;
use tokio::process::ChildStdout;

use crate::daemon::Daemon;
use crate::daemon::LogServer;
use crate::daemon::arguments;
use crate::daemon::program;
use crate::daemon::within;

/// What a command printed, on stdout and stderr, and its exit code.
struct Ran {
    out: String,
    said: String,
    code: i32,
}

/// Runs a command against the configuration of the daemon in `directory`.
async fn run(directory: &Path, words: &[&str], more: &[&str]) -> Ran {
    let mut command = program();
    command.args(words).args(arguments(directory, more));
    let output = within("the end of a command", command.output()).await.unwrap();
    Ran {
        out: String::from_utf8(output.stdout).unwrap(),
        said: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// Runs it again until what it prints fits.
async fn run_until(directory: &Path, words: &[&str], fits: impl Fn(&str) -> bool) -> String {
    within(&format!("{words:?} prints what it should"), async {
        loop {
            let ran = run(directory, words, &[]).await;
            if fits(&ran.out) {
                return ran.out;
            }
        }
    })
    .await
}

async fn hand_in(daemon: &Daemon, lines: &[&str]) {
    let mut stream = UnixStream::connect(daemon.path("lines.sock")).await.unwrap();
    for line in lines {
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
}

/// A daemon whose log server is at `socket`, which is a path in its directory.
async fn start(directory: TempDir, socket: &str, more: &[&str]) -> Daemon {
    let log = LogServer::start(&directory.path().join("unused.sock"));
    let target = format!("logger.path={}", directory.path().join(socket).display());
    let mut sets = vec![target.as_str()];
    sets.extend(more);
    Daemon::start_in(directory, log, &sets).await
}

const SPOOL: &[&str] = &[
    "logger.overflow=spool",
    "logger.spool_interval=100ms",
    "logger.ready_max_age=1ms",
    "shutdown_timeout=1s",
];

#[tokio::test]
async fn lines_without_a_log_server_are_on_disk_and_can_be_read_and_the_daemon_says_that_it_is_not_ready() {
    let daemon = start(tempfile::tempdir().unwrap(), "nobody.sock", SPOOL).await;
    hand_in(&daemon, &["{\"room_id\":\"r1\",\"n\":1}", "{\"room_id\":\"r2\",\"n\":2}"]).await;
    let directory = daemon.directory.path();
    let cat = run_until(directory, &["spool", "cat"], |out| out.contains("\"n\":2")).await;
    let records: Vec<Value> = cat.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stat = run(directory, &["spool", "stat"], &[]).await;
    assert!(stat.out.contains(&format!("waiting lines   {}\n", records.len())), "{}", stat.out);
    let (status, report) = daemon.admin("/readyz").await;
    assert!(status == 503 && report.contains("the oldest unsent log line is "), "{status} {report}");
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(metrics.contains(&format!("pillion_logger_spooled_records {}\n", records.len())), "{metrics}");

    daemon.signal(rustix::process::Signal::KILL);
    within("its end", async { while daemon_answers(&daemon).await {} }).await;
    let tail = run(directory, &["tail", "--no-follow", "--room", "r2"], &[]).await;
    assert_eq!((tail.out.lines().count(), tail.code), (1, 0), "{}", tail.said);
    assert!(tail.out.contains("\"n\":2") && tail.said.contains("pillion does not run"), "{}", tail.said);
}

async fn daemon_answers(daemon: &Daemon) -> bool {
    UnixStream::connect(daemon.path("admin.sock")).await.is_ok()
}

#[tokio::test]
async fn without_a_spool_the_commands_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let stat = run(directory.path(), &["spool", "stat"], &[]).await;
    assert!(stat.out.contains("there is no spool") && stat.code == 0, "{}", stat.out);
    let cat = run(directory.path(), &["spool", "cat"], &[]).await;
    assert_eq!((cat.out.as_str(), cat.code), ("", 0));
    let bare = within("usage", program().arg("spool").output()).await.unwrap();
    assert_eq!(bare.status.code(), Some(64));
}

/// A real `pillion sink` for the acknowledged protocol.
struct Sink {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    /// Held open, so that it can speak.
    _said: Lines<BufReader<ChildStderr>>,
}

impl Sink {
    async fn start(socket: &Path, more: &[&str]) -> Self {
        let listen = format!("unix:{}", socket.display());
        let mut command = program();
        command.args(["sink", "--format", "beats", "--listen", &listen]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        within("the sink speaks", said.next_line()).await.unwrap().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out, _said: said }
    }

    async fn reads(&mut self, words: &str) {
        within(words, async {
            while !self.out.next_line().await.unwrap().expect("the sink goes on").contains(words) {}
        })
        .await;
    }

    async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn dead_letters_are_listed_sent_once_more_and_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("beats.sock");
    let mut sink = Sink::start(&socket, &["--refuse-json", "poison"]).await;
    let more = ["logger.format=beats", "logger.retry_interval=1ms", "logger.retry_max_interval=5ms"];
    let daemon = start(directory, "beats.sock", &more).await;
    let directory = daemon.directory.path();
    hand_in(&daemon, &["{\"n\":1}", "{\"n\":2,\"x\":\"poison\"}", "{\"n\":3}", "{\"n\":4,\"x\":\"poison\"}"])
        .await;
    sink.reads("\"n\":3").await;
    let list = run_until(directory, &["dlq", "list"], |out| out.lines().count() == 2).await;
    assert!(list.starts_with("1 ") && list.contains("hung up") && list.contains("\"n\":2"), "{list}");

    let dropped = run(directory, &["dlq", "drop", "2"], &[]).await;
    assert_eq!((dropped.out.as_str(), dropped.code), ("1 dropped\n", 0), "{}", dropped.said);
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(metrics.contains("pillion_logger_dropped_records_total{cause=\"dead_letter\"} 2\n"), "{metrics}");

    sink.stop().await;
    let mut sink = Sink::start(&socket, &[]).await;
    let retried = run(directory, &["dlq", "retry", "--all"], &[]).await;
    assert_eq!((retried.out.as_str(), retried.code), ("1 to be sent once more\n", 0), "{}", retried.said);
    sink.reads("\"n\":2").await;
    let empty = run(directory, &["dlq", "list"], &[]).await;
    assert_eq!(empty.out, "no dead letters\n");
    let unclear = run(directory, &["dlq", "retry"], &[]).await;
    assert_eq!(unclear.code, 64, "{}", unclear.said);
    daemon.stop().await;
}
