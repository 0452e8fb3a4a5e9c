//! A process that appends to a journal is killed in the middle, again and again: what was answered is there.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use futures_util::future::join_all;
use pillion::journal;
use pillion::journal::Durability;
use pillion::journal::Journal;
use pillion::journal::Options;
use pillion::journal::Position;
use pillion::journal::Queue;
use pillion::journal::Which;

/// Where the process that is killed finds the journal; without it, it has nothing to do.
const DIRECTORY: &str = "PILLION_TEST_JOURNAL";

const SENDERS: u64 = 4;

const OPTIONS: Options = Options { segment_bytes: 200_000, limit_bytes: 64 << 20, headroom_bytes: 0 };

/// The payload of a frame, which says itself what it must be: sender, number, and bytes that follow from them.
fn payload(sender: u64, number: u64) -> Vec<u8> {
    let length = (number * 37 + sender * 11) % 3000;
    let head = [sender.to_le_bytes(), number.to_le_bytes()].concat();
    head.into_iter().chain((0..length).map(|n| (n * 7 + number) as u8)).collect()
}

fn check_payload(found: &[u8]) {
    let word = |at: usize| u64::from_le_bytes(found[at..at + 8].try_into().unwrap());
    assert_eq!(found, payload(word(0), word(8)));
}

/// Not a test by itself: the process that [`what_was_answered_survives_a_kill`] starts and kills.
#[tokio::test]
async fn a_process_that_appends_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (journal, recovery) = Journal::open(Path::new(&directory), OPTIONS).unwrap();
    assert!(!recovery.is_damaged(), "{recovery:?}");
    let handle = journal::spawn(journal, "journal-killed", Queue::default()).unwrap();
    let sender = async |sender: u64| {
        for number in 0.. {
            let durability = if number % 50 == 0 { Durability::Synced } else { Durability::Written };
            let group = vec![(1, payload(sender, number * 2)), (2, payload(sender, number * 2 + 1))];
            let positions = handle.append_all(group, durability).await.unwrap();
            let mut line = String::new();
            for position in positions {
                line += &format!("+{position}\n");
                // Every third is acknowledged, every second of them at once.
                if position.sequence() % 6 == 0 {
                    line += &format!("-{position}\n");
                    handle.acknowledge(position);
                }
            }
            // One write, so that the line is there as a whole.
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    };
    join_all((0..SENDERS).map(sender)).await;
}

/// What the processes that were killed had said.
#[derive(Default)]
struct Told {
    answered: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Told {
    /// A line of theirs, or of the test harness.
    fn take(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix('+').and_then(|text| text.parse().ok()) {
            assert!(self.answered.insert(number), "{number} was given twice");
        } else if let Some(number) = line.strip_prefix('-').and_then(|text| text.parse().ok()) {
            self.acknowledged.insert(number);
        }
    }

    /// Runs the process until it has got so many more answers, and kills it.
    fn run(&mut self, directory: &Path, count: usize) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "journal::a_process_that_appends_until_it_is_killed"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let enough = self.answered.len() + count;
        while self.answered.len() < enough {
            self.take(&lines.next().unwrap());
        }
        // SIGKILL; what it had said before is still read.
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| self.take(&line));
    }
}

#[test]
fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 0..8 {
        told.run(directory.path(), 300 + round * 77);
        let scanned = journal::scan(directory.path(), Which::All).unwrap().map(Result::unwrap);
        let scanned: BTreeSet<u64> = scanned.map(|frame| frame.position.sequence()).collect();
        let (mut journal, recovery) = Journal::open(directory.path(), OPTIONS).unwrap();
        assert!(!recovery.is_damaged(), "{recovery:?}");
        let found: BTreeSet<u64> =
            journal.unacknowledged(None).map(|meta| meta.position.sequence()).collect();
        assert!(found.is_subset(&scanned));
        for number in &found {
            check_payload(&journal.read(Position::new(*number)).unwrap().payload);
        }
        let missing: Vec<&u64> =
            told.answered.iter().filter(|n| !found.contains(n) && !told.acknowledged.contains(n)).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} were answered and are gone");
    }
    assert!(told.answered.len() > 4000);
}
