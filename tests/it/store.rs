//! The store from outside: a process that writes to it is killed again and again, and what was answered is there; and
//! what the daemon and the command line say of it.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use pillion::store;
use pillion::store::Batch;
use pillion::store::Direction;
use pillion::store::Durability;
use pillion::store::Key;
use pillion::store::Limit;
use pillion::store::Options;
use pillion::store::Parts;
use pillion::store::Span;
use pillion::store::Table;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::daemon::LogServer;
use crate::daemon::arguments;
use crate::daemon::program;

/// Where the process that is killed finds the store; without it, it has nothing to do.
const DIRECTORY: &str = "PILLION_TEST_STORE";

const SENDERS: u64 = 4;

/// Publications that a room keeps.
const KEPT: u64 = 10;

fn options() -> Options {
    // Short, so that many kills hit a checkpoint.
    let checkpoint_interval = Duration::from_millis(3);
    Options { headroom_bytes: 0, checkpoint_interval, ..Options::default() }
}

fn room(sender: u64) -> Key {
    Key::new().text(format!("room-{sender}"))
}

fn text(sender: u64, offset: u64) -> Vec<u8> {
    format!("{sender}:{offset} ").repeat((offset % 50) as usize + 1).into_bytes()
}

/// Not a test by itself: the process that [`what_was_answered_survives_a_kill`] starts and kills.
#[tokio::test]
async fn a_process_that_stores_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (store, recovery) = store::open(Path::new(&directory), options()).unwrap();
    assert!(!recovery.is_damaged(), "{recovery:?}");
    let sender = async |sender: u64| {
        let stood = store.read(Table::Rooms, room(sender)).unwrap();
        let stood = stood.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
        for offset in stood + 1.. {
            let mut batch = Batch::new();
            batch.put(Table::Publications, room(sender).number(offset), text(sender, offset));
            batch.put(Table::Rooms, room(sender), offset.to_be_bytes());
            let oldest = room(sender).number((offset + 1).saturating_sub(KEPT));
            batch.delete_range(Table::Publications, &Span::between(room(sender), oldest));
            if offset % 50 == 0 {
                batch.durability(Durability::Synced);
            }
            store.submit(batch).unwrap().await.unwrap();
            // One write, so that the line is there as a whole.
            std::io::stdout().write_all(format!("+{sender} {offset}\n").as_bytes()).unwrap();
        }
    };
    join_all((0..SENDERS).map(sender)).await;
}

/// Runs the process until it has got so many more answers, and kills it; gives the last offset of each sender.
fn run(directory: &Path, mut count: usize, told: &mut BTreeMap<u64, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "store::a_process_that_stores_until_it_is_killed"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut take = |line: String| {
        let Some((sender, offset)) = line.strip_prefix('+').and_then(|text| text.split_once(' ')) else {
            return false;
        };
        told.insert(sender.parse().unwrap(), offset.parse().unwrap());
        true
    };
    while count > 0 {
        count -= usize::from(take(lines.next().unwrap()));
    }
    // SIGKILL; what it had said before is still read.
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        take(line);
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = BTreeMap::new();
    for round in 0..10 {
        run(directory.path(), 50 + round * 173, &mut told);
        let found = store::check(directory.path()).unwrap().unwrap();
        assert_eq!((found.findings, found.is_clean), (Vec::new(), false));
        let (store, recovery) = store::open(directory.path(), options()).unwrap();
        assert!(!recovery.is_damaged() && !store.is_clean_start(), "{recovery:?}");
        for (sender, offset) in &told {
            let stands = store.read(Table::Rooms, room(*sender)).unwrap().unwrap();
            let stands = u64::from_be_bytes(stands.try_into().unwrap());
            assert!(stands == *offset || stands == offset + 1, "{stands} and {offset} was told");
            let limit = Limit { items: 1000, bytes: 1 << 20 };
            let kept =
                store.range(Table::Publications, &Span::prefix(room(*sender)), Direction::Up, limit).unwrap();
            let offsets: Vec<u64> = kept
                .entries
                .iter()
                .map(|(key, value)| {
                    let mut parts = Parts::new(key);
                    assert_eq!(parts.text().unwrap(), format!("room-{sender}"));
                    let offset = parts.number().unwrap();
                    assert_eq!(*value, text(*sender, offset));
                    offset
                })
                .collect();
            let first = (stands + 1).saturating_sub(KEPT).max(1);
            assert_eq!(offsets, (first..=stands).collect::<Vec<_>>());
        }
        // A stop in good order now and then, so that both kinds of start are met.
        if round % 3 == 0 {
            store.close().await.unwrap();
            let (store, _) = store::open(directory.path(), options()).unwrap();
            assert!(store.is_clean_start());
            store.close().await.unwrap();
        } else {
            store.close().await.unwrap();
            std::fs::remove_file(directory.path().join("clean")).unwrap();
        }
    }
}

/// What a command says and how it ends.
async fn command(directory: &Path, words: [&str; 2]) -> (Option<i32>, String) {
    let output = program().args(words).args(arguments(directory, &[])).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), said)
}

#[tokio::test]
async fn the_daemon_has_a_store_and_says_how_it_is() {
    let daemon = Daemon::start(&[]).await;
    let (status, report) = daemon.admin("/readyz").await;
    assert_eq!(status, 200, "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["store"]["entries"], 0, "{report}");
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(metrics.contains("pillion_store_batches_total 0"), "{metrics}");
    let (code, said) = command(daemon.path("").as_path(), ["store", "check"]).await;
    assert!(code == Some(1) && said.contains("in use") && said.contains("stop"), "{code:?} {said}");
    let (code, said) = command(daemon.path("").as_path(), ["store", "rebuild"]).await;
    assert!(code == Some(1) && said.contains("in use") && said.contains("stop"), "{code:?} {said}");
    let (status, said, _) = daemon.stop().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_damaged_store_stops_the_start_and_says_what_to_do_and_that_works() {
    let directory = tempfile::tempdir().unwrap();
    let (code, said) = command(directory.path(), ["store", "check"]).await;
    assert!(code == Some(0) && said.contains("there is no store yet"), "{code:?} {said}");
    let path = directory.path().join("data/store");
    let (store, _) = store::open(&path, options()).unwrap();
    let mut batch = Batch::new();
    for n in 0..500 {
        batch.put(Table::Users, format!("key-{n:03}"), format!("value-{n:03}").repeat(20));
    }
    store.submit(batch).unwrap().await.unwrap();
    store.close().await.unwrap();
    let (code, said) = command(directory.path(), ["store", "check"]).await;
    assert!(code == Some(0) && said.contains("all is well"), "{code:?} {said}");
    assert!(said.contains("users         500 entries"), "{said}");

    std::fs::remove_file(path.join("clean")).unwrap();
    let mut bytes = std::fs::read(path.join("store.redb")).unwrap();
    let at = bytes.windows(9).rposition(|window| window == b"value-250").unwrap() / 4096 * 4096;
    bytes[at..at + 4096].fill(0);
    std::fs::write(path.join("store.redb"), bytes).unwrap();
    let output = program().arg("run").args(arguments(directory.path(), &[])).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("pillion store rebuild"), "{said}");
    let (code, said) = command(directory.path(), ["store", "check"]).await;
    assert!(code == Some(1) && said.contains("damaged") && said.contains("rebuild"), "{code:?} {said}");
    let (code, said) = command(directory.path(), ["store", "rebuild"]).await;
    assert!(code == Some(0) && said.contains("of 500 entries") && said.contains("lost: "), "{code:?} {said}");
    assert!(!said.contains("panicked"), "{said}");
    let (code, said) = command(directory.path(), ["store", "check"]).await;
    assert!(code == Some(0) && said.contains("all is well"), "{code:?} {said}");

    let log = LogServer::start(&directory.path().join("sink.sock"));
    let daemon = Daemon::start_in(directory, log, &[]).await;
    let (_, report) = daemon.admin("/readyz").await;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["store"]["entries"].as_u64().unwrap() > 400, "{report}");
    let (status, said, _) = daemon.stop().await;
    assert!(status.success(), "{said}");
}
