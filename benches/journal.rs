//! What the journal costs: appends by one and many senders, each beside a raw loop that writes the same payloads to one
//! file, and the time to open a large one, beside reading its files.
//!
//! The raw loop writes one payload at a time and, for `Synced`, calls fdatasync after each: what a program does that
//! has no journal. Every sender waits for its answer before it appends again, so with one sender there is nothing to
//! share. Payloads are never acknowledged while appends are measured.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and stops at the first surprise"
)]

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use pillion::clock;
use pillion::journal;
use pillion::journal::Durability;
use pillion::journal::Journal;
use pillion::journal::Options;
use pillion::journal::Position;
use pillion::journal::Queue;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const ROUNDS: usize = 3;
const OPTIONS: Options = Options { segment_bytes: 64 << 20, limit_bytes: 8 << 30, headroom_bytes: 1 << 30 };
const BYTES_MAX: u64 = 2 << 30;

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let time = Duration::from_millis(if is_bench { 1000 } else { 10 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{:<34} {:>11} {:>9} {:>12} {:>10}", "", "appends/s", "x raw", "per sync", "MiB/s");
    for length in [300, 64 << 10] {
        for durability in [Durability::Written, Durability::Synced] {
            let raw = median(|| (raw(length, durability, time), f64::INFINITY));
            row(&format!("raw loop, {durability:?}, {length} B"), raw, raw, length);
            for senders in [1, 16, 64] {
                let cost = median(|| appends(&runtime, senders, length, durability, time));
                row(&format!("{senders} sender(s), {durability:?}, {length} B"), cost, raw, length);
            }
        }
    }
    println!();
    println!("{:<34} {:>11} {:>9} {:>12} {:>10}", "", "open ms", "x read", "ns/frame", "B/frame");
    let (large, many) = if is_bench { (16_384, 1_000_000) } else { (16, 1000) };
    recovery("1 GiB in frames of 64 KiB", 64 << 10, large);
    recovery("a million frames of 300 B", 300, many);
}

fn row(name: &str, (rate, share): (f64, f64), (raw, _): (f64, f64), length: usize) {
    let bytes = rate * length as f64 / f64::from(1 << 20);
    let share = if share.is_finite() { format!("{share:.1}") } else { "-".to_owned() };
    println!("{name:<34} {rate:>11.0} {:>9.2} {share:>12} {bytes:>10.1}", rate / raw);
}

fn median(mut run: impl FnMut() -> (f64, f64)) -> (f64, f64) {
    let mut found: Vec<_> = (0..ROUNDS).map(|_| run()).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    *found.get(ROUNDS / 2).unwrap()
}

/// On the disk that the build is on: a temporary directory may be memory.
fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn raw(length: usize, durability: Durability, time: Duration) -> f64 {
    let directory = directory();
    let mut file = File::create(directory.path().join("raw")).unwrap();
    let payload = vec![b'x'; length];
    let begin = clock::now();
    let mut count = 0_u64;
    while begin.elapsed() < time && count * (length as u64) < BYTES_MAX {
        file.write_all(&payload).unwrap();
        if durability == Durability::Synced {
            file.sync_data().unwrap();
        }
        count += 1;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Appends per second, and how many shared a sync.
fn appends(
    runtime: &Runtime,
    senders: usize,
    length: usize,
    durability: Durability,
    time: Duration,
) -> (f64, f64) {
    let directory = directory();
    let (journal, _) = Journal::open(directory.path(), OPTIONS).unwrap();
    let handle = journal::spawn(journal, "journal-bench", Queue::default()).unwrap();
    let begin = clock::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let most = BYTES_MAX / length as u64 / senders as u64;
        for _ in 0..senders {
            let handle = handle.clone();
            tasks.spawn(async move {
                for _ in 0..most {
                    handle.append(1, vec![b'x'; length], durability).await.unwrap();
                    if begin.elapsed() >= time {
                        break;
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let stats = handle.stats();
    runtime.block_on(handle.close()).unwrap();
    (stats.appended as f64 / elapsed, stats.appended as f64 / stats.syncs as f64)
}

fn recovery(name: &str, length: usize, frames: u64) {
    let directory = directory();
    let (mut journal, _) = Journal::open(directory.path(), OPTIONS).unwrap();
    let payload = vec![b'x'; length];
    for n in 0..frames {
        journal.append(1, &[&payload]).unwrap();
        if n % 1000 == 0 {
            journal.commit(Durability::Written).unwrap();
        }
    }
    journal.commit(Durability::Synced).unwrap();
    // The cursor in the middle of the first segment, so that nothing is deleted.
    journal.acknowledge(Position::new(1)).unwrap();
    drop(journal);
    let before = memory();
    let (open, _) = median(|| {
        let begin = clock::now();
        let (journal, recovery) = Journal::open(directory.path(), OPTIONS).unwrap();
        let elapsed = begin.elapsed().as_secs_f64();
        assert_eq!(recovery.frames, frames - 1);
        (elapsed, journal.stats().bytes as f64)
    });
    let (journal, _) = Journal::open(directory.path(), OPTIONS).unwrap();
    let memory = memory().saturating_sub(before) as f64 / frames as f64;
    drop(journal);
    let (read, _) = median(|| (read_all(directory.path()), 0.0));
    let each = open * 1e9 / frames as f64;
    println!("{name:<34} {:>11.1} {:>9.2} {each:>12.1} {memory:>10.1}", open * 1e3, open / read);
}

/// Seconds to read every file.
fn read_all(directory: &Path) -> f64 {
    let mut buffer = vec![0; 256 << 10];
    let begin = clock::now();
    for entry in std::fs::read_dir(directory).unwrap() {
        let mut file = File::open(entry.unwrap().path()).unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    }
    begin.elapsed().as_secs_f64()
}

/// Resident bytes of this process.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
