//! What the store costs: batches by one and by many who wait, beside a raw loop that writes the same bytes to one file,
//! and beside redb alone with a durable commit for each; then reads of what is there, and starts after a stop and after
//! a kill: files of up to 1 GiB are looked at page by page then, larger ones are not.
//!
//! A batch is what a publication in a room costs: its bytes under room and offset, where the room stands, and the
//! oldest publication of the room goes. The raw loop calls fdatasync after each write for `Synced`. Everybody waits for
//! the answer before the next batch, so with one there is nothing to share. The figures include the checkpoints.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and stops at the first surprise"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use pillion::clock;
use pillion::store;
use pillion::store::Batch;
use pillion::store::Direction;
use pillion::store::Durability;
use pillion::store::Key;
use pillion::store::Limit;
use pillion::store::Options;
use pillion::store::Span;
use pillion::store::Store;
use pillion::store::Table;
use redb::Database;
use redb::TableDefinition;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const ROUNDS: usize = 3;
const LENGTH: usize = 300;
/// Publications that a room keeps.
const KEPT: u64 = 100;

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let time = Duration::from_millis(if is_bench { 3000 } else { 10 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "{:<34} {:>11} {:>9} {:>9} {:>11} {:>12}",
        "", "batches/s", "x raw", "x redb", "per round", "longest ms"
    );
    let redb = median(|| (plain(time), f64::NAN, f64::NAN)).0;
    for durability in [Durability::Written, Durability::Synced] {
        let raw = median(|| (raw(durability, time), f64::NAN, f64::NAN)).0;
        println!("{:<34} {raw:>11.0} {:>9.2} {:>9.2}", format!("raw loop, {durability:?}"), 1.0, raw / redb);
        for senders in [1, 64] {
            let (rate, shared, longest) = median(|| batches(&runtime, senders, durability, time));
            let name = format!("{senders} who wait, {durability:?}");
            let (to_raw, to_redb) = (rate / raw, rate / redb);
            println!("{name:<34} {rate:>11.0} {to_raw:>9.2} {to_redb:>9.2} {shared:>11.1} {longest:>12.2}");
        }
    }
    println!("{:<34} {redb:>11.0} {:>9} {:>9.2}", "redb alone, Immediate", "", 1.0);
    for entries in if is_bench { [200_000, 1_000_000] } else { [100, 1000] } {
        println!();
        reads(&runtime, entries);
    }
}

fn median(mut run: impl FnMut() -> (f64, f64, f64)) -> (f64, f64, f64) {
    let mut found: Vec<_> = (0..ROUNDS).map(|_| run()).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    *found.get(ROUNDS / 2).unwrap()
}

/// On the disk that the build is on: a temporary directory may be memory.
fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn raw(durability: Durability, time: Duration) -> f64 {
    let directory = directory();
    let mut file = File::create(directory.path().join("raw")).unwrap();
    let bytes = vec![b'x'; publication("room-0", 1).len()];
    let (begin, mut count) = (clock::now(), 0_u64);
    while begin.elapsed() < time && count < 4_000_000 {
        file.write_all(&bytes).unwrap();
        if durability == Durability::Synced {
            file.sync_data().unwrap();
        }
        count += 1;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// redb as it is used without anything in front: the same changes, a durable commit for each.
fn plain(time: Duration) -> f64 {
    const PUBLICATIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("publications");
    const ROOMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rooms");
    let directory = directory();
    let database = Database::create(directory.path().join("plain")).unwrap();
    let (begin, mut count) = (clock::now(), 0_u64);
    while begin.elapsed() < time {
        count += 1;
        let transaction = database.begin_write().unwrap();
        {
            let mut publications = transaction.open_table(PUBLICATIONS).unwrap();
            let mut rooms = transaction.open_table(ROOMS).unwrap();
            let key = |offset| Key::new().text("room-0").number(offset).into_bytes();
            publications.insert(&*key(count), &*vec![b'x'; LENGTH]).unwrap();
            rooms.insert(&b"room-0"[..], &count.to_be_bytes()[..]).unwrap();
            publications.remove(&*key(count.saturating_sub(KEPT))).unwrap();
        }
        transaction.commit().unwrap();
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

fn publication(room: &str, offset: u64) -> Batch {
    let mut batch = Batch::new();
    let room = Key::new().text(room);
    batch.put(Table::Publications, room.clone().number(offset), [b'x'; LENGTH]);
    batch.put(Table::Rooms, &room, offset.to_be_bytes());
    batch.delete_range(
        Table::Publications,
        &Span::between(&room, room.clone().number(offset.saturating_sub(KEPT))),
    );
    batch
}

fn open(directory: &TempDir) -> Store {
    let options = Options { limit_bytes: 64 << 30, journal_bytes: 2 << 30, ..Options::default() };
    store::open(directory.path(), options).unwrap().0
}

/// Batches per second, how many were made together, and the longest time that one took.
fn batches(runtime: &Runtime, senders: usize, durability: Durability, time: Duration) -> (f64, f64, f64) {
    let directory = directory();
    let store = open(&directory);
    let begin = clock::now();
    let longest = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for sender in 0..senders {
            let store = store.clone();
            tasks.spawn(async move {
                let room = format!("room-{sender}");
                let mut longest = Duration::ZERO;
                for offset in 1.. {
                    let sent = clock::now();
                    let mut batch = publication(&room, offset);
                    batch.durability(durability);
                    store.submit(batch).unwrap().await.unwrap();
                    longest = longest.max(sent.elapsed());
                    if begin.elapsed() >= time {
                        break;
                    }
                }
                longest
            });
        }
        tasks.join_all().await.into_iter().max().unwrap()
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let stats = store.stats();
    runtime.block_on(store.close()).unwrap();
    (stats.batches as f64 / elapsed, stats.batches as f64 / stats.rounds as f64, longest.as_secs_f64() * 1e3)
}

/// Fills a store, reads it, and opens it as a kill would leave it.
fn reads(runtime: &Runtime, entries: u64) {
    let directory = directory();
    let store = open(&directory);
    let key = |n: u64| Key::new().text(format!("room-{}", n % 1000)).number(n / 1000);
    let begin = clock::now();
    runtime.block_on(async {
        for first in (0..entries).step_by(1000) {
            let mut batch = Batch::new();
            for n in first..entries.min(first + 1000) {
                batch.put(Table::Publications, key(n), [b'x'; LENGTH]);
            }
            store.submit(batch).unwrap().await.unwrap();
        }
    });
    let each = |count: u64, begin: std::time::Instant| begin.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("{:<34} {:>11.2} us each", format!("{entries} puts, 1000 a batch"), each(entries, begin));
    let count = entries.min(100_000);
    let begin = clock::now();
    for n in 0..count {
        assert!(store.read(Table::Publications, key(n * 7919 % entries)).unwrap().is_some());
    }
    println!("{:<34} {:>11.2} us each", "reads of one, anywhere", each(count, begin));
    let begin = clock::now();
    for n in 0..count / 100 {
        let room = Span::prefix(Key::new().text(format!("room-{}", n % 1000)));
        let limit = Limit { items: 100, bytes: 1 << 20 };
        let page = store.range(Table::Publications, &room, Direction::Down, limit).unwrap();
        assert!(!page.entries.is_empty());
    }
    println!("{:<34} {:>11.2} us each", "ranges of the last 100 of a room", each(count / 100, begin));
    let stats = store.stats();
    println!("{:<34} {:>11.2} x what is stored", "file", stats.file_bytes as f64 / stats.stored_bytes as f64);
    let killed = self::directory();
    copy(directory.path(), killed.path());
    runtime.block_on(store.close()).unwrap();
    for (name, directory) in [("start after a stop", &directory), ("start after a kill", &killed)] {
        let length = std::fs::metadata(directory.path().join("store.redb")).unwrap().len() >> 20;
        let begin = clock::now();
        let store = open(directory);
        let time = begin.elapsed().as_secs_f64() * 1e3;
        println!("{:<34} {time:>11.1} ms", format!("{name}, {length} MiB"));
        runtime.block_on(store.close()).unwrap();
    }
}

/// A directory as a kill would leave it: whoever owns it is idle.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
