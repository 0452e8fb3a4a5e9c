//! The log server is killed and started again while the daemon logs: no line is missing on all its lives together.

use std::collections::BTreeMap;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
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
use crate::daemon::program;
use crate::daemon::within;

/// Lines that the test logs: less than a MiB in all, so that the default tail holds everything in doubt.
const LINES: usize = 2500;

/// A real `pillion sink`.
struct Sink {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    /// Held open, so that it can speak.
    _said: Lines<BufReader<ChildStderr>>,
    port: u16,
    records: Vec<Value>,
}

impl Sink {
    async fn start(port: u16) -> Self {
        let mut child = program()
            .args(["sink", "--listen", &format!("tcp:127.0.0.1:{port}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = within("the sink speaks", said.next_line()).await.unwrap().unwrap();
        let port =
            first.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{first}"));
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out, _said: said, port, records: Vec::new() }
    }

    /// Reads one more line; false at the end of the output, where a kill may have torn the last one.
    async fn read(&mut self) -> bool {
        let Some(line) = within("a line of the sink", self.out.next_line()).await.unwrap() else {
            return false;
        };
        self.records.extend(serde_json::from_str::<Value>(&line));
        true
    }

    async fn read_until(&mut self, fits: impl Fn(&[Value]) -> bool) {
        while !fits(&self.records) {
            assert!(self.read().await, "the sink ended");
        }
    }

    /// Ends it by a signal; all that it printed.
    async fn end(mut self, signal: Signal) -> Vec<Value> {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        while self.read().await {}
        within("the end of the sink", self.child.wait()).await.unwrap();
        self.records
    }
}

fn sequence(record: &Value) -> u64 {
    record["log.sequence"].as_u64().unwrap()
}

#[tokio::test]
async fn a_log_server_that_is_killed_twice_during_traffic_costs_duplicates_and_no_line() {
    let mut first = Sink::start(0).await;
    let port = first.port;
    let directory = tempfile::tempdir().unwrap();
    let unused = LogServer::start(&directory.path().join("unused.sock"));
    let sets = [
        "logger.path=".to_owned(),
        format!("logger.port={port}"),
        "logger.retry_interval=5ms".to_owned(),
        "logger.retry_max_interval=20ms".to_owned(),
    ];
    let daemon =
        Daemon::start_in(directory, unused, &sets.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut lines = UnixStream::connect(daemon.path("lines.sock")).await.unwrap();
    let (died, mut dead) = tokio::sync::oneshot::channel();
    let traffic = async {
        for number in 0..LINES {
            lines.write_all(format!("{{\"message\":\"line {number}\"}}\n").as_bytes()).await.unwrap();
            if number == LINES / 2 {
                (&mut dead).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let deaths = async {
        first.read_until(|records| records.len() >= 300).await;
        let mut records = first.end(Signal::KILL).await;
        died.send(()).unwrap();
        let mut second = Sink::start(port).await;
        second.read_until(|records| !records.is_empty()).await;
        records.extend(second.end(Signal::KILL).await);
        (records, Sink::start(port).await)
    };
    let ((), (mut records, mut third)) = tokio::join!(traffic, deaths);
    let last = format!("line {}", LINES - 1);
    third.read_until(|records| records.iter().any(|record| record["message"] == *last)).await;
    let (_, metrics) = daemon.admin("/metrics").await;
    let resent = metrics.lines().find_map(|line| line.strip_prefix("pillion_logger_resent_records_total "));
    assert!(resent.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
    let (status, said, _) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    records.extend(third.end(Signal::TERM).await);

    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    for record in &records {
        let id = record["event.id"].as_str().unwrap().to_owned();
        let before = seen.insert(sequence(record), id.clone());
        assert!(before.is_none_or(|before| before == id), "a line that comes again has the id it had");
    }
    let told = |number: u64| {
        records.iter().any(|gap| {
            let edge = |key: &str| gap[key].as_u64();
            edge("gap.from_sequence").is_some_and(|from| from <= number)
                && edge("gap.to_sequence").is_some_and(|to| to >= number)
        })
    };
    let end = *seen.keys().last().unwrap();
    assert!(end >= LINES as u64);
    let missing: Vec<u64> = (0..=end).filter(|number| !seen.contains_key(number) && !told(*number)).collect();
    assert_eq!(missing, [0; 0], "{} records, {} of them different", records.len(), seen.len());
    assert!(said.contains("log lines were sent again"), "{said}");
}
