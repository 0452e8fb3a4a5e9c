//! What one record costs its producer: `log()` of a finished one of 300 bytes, and one written from its fields.
//!
//! CPU time of the producing threads, with a consumer that empties the buffer as the shipper does (it waits until a
//! flush is due, lets records gather for a millisecond, takes and releases chunks) but sends nothing. Producers
//! wait, unmeasured, while the buffer is half full, because a drop is cheaper than a record. The baseline
//! copies the same record into a `Vec` that is cleared every 64 KiB: what the memory itself costs. The record from its
//! fields is a message published in a room, with time stamp, number, subject and count, as the gateway writes it; also
//! while somebody watches the log and keeps up with nothing, once for records that the filter refuses and once for
//! records that it wants.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and stops at the first surprise"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::thread;
use std::thread::Thread;
use std::time::Duration;

use pillion::buffer::Buffer;
use pillion::buffer::Limits;
use pillion::buffer::Outcome;
use pillion::buffer::Tally;
use pillion::clock;
use pillion::filter::Filter;
use pillion::filter::Terms;
use pillion::ids::BootId;
use pillion::ids::MessageIds;
use pillion::ids::SessionIds;
use pillion::metrics::Metrics;
use pillion::record::Origin;
use pillion::tap::Wish;
use pillion::trail::Style;
use pillion::trail::Subject;
use pillion::trail::Trail;

const RECORD: usize = 300;
const CHUNK: usize = 64 * 1024;
const DROP_LIMIT: usize = 64 << 20;
const ROUNDS: usize = 5;
const RECORDS: usize = 8_000_000;

/// Cost of one record in nanoseconds, and the share of records dropped.
#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    wall: f64,
    dropped: f64,
}

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let records = if std::env::args().any(|argument| argument == "--bench") { RECORDS } else { 10_000 };
    println!("log(): {RECORD}-byte record, {records} records, median of {ROUNDS} rounds");
    println!("{:<34} {:>10} {:>10} {:>10} {:>8}", "", "CPU ns", "wall ns", "x memcpy", "dropped");
    let base = median(|| copy(records));
    row("memcpy into a Vec, 1 thread", base, base);
    for producers in [1, 2, 8] {
        let cost = median(|| log(producers, records / producers));
        row(&format!("Buffer::log, {producers} producer(s)"), cost, base);
    }
    for producers in [1, 2] {
        let cost = median(|| trail(producers, records / 4 / producers, None));
        row(&format!("Trail::room_msg, {producers} producer(s)"), cost, base);
    }
    for (room, name) in [("room-2", "another room"), ("room-1", "this room")] {
        let cost = median(|| trail(1, records / 4, Some(room)));
        row(&format!("  1 producer, {name} is watched"), cost, base);
    }
}

fn row(name: &str, cost: Cost, base: Cost) {
    let Cost { cpu, wall, dropped } = cost;
    println!("{name:<34} {cpu:>10.1} {wall:>10.1} {:>10.2} {:>7.2}%", cpu / base.cpu, dropped * 100.0);
}

fn median(mut run: impl FnMut() -> Cost) -> Cost {
    let mut costs: Vec<_> = (0..ROUNDS).map(|_| run()).collect();
    costs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    *costs.get(ROUNDS / 2).unwrap()
}

fn copy(records: usize) -> Cost {
    let record = [b'x'; RECORD];
    let mut target = Vec::with_capacity(CHUNK);
    let (wall, cpu) = (clock::now(), cpu_time());
    for _ in 0..records {
        if target.len() + RECORD > CHUNK {
            target.clear();
        }
        target.extend_from_slice(black_box(&record));
        black_box(&mut target);
    }
    cost(cpu_time() - cpu, wall.elapsed(), records, 0)
}

fn log(producers: usize, records: usize) -> Cost {
    let buffer = buffer();
    let record = [b'x'; RECORD];
    produce(&buffer, producers, records, || {
        // Drops are counted at the end.
        black_box(buffer.log(black_box(&record))).ok();
    })
}

/// Messages in `room-1`, while somebody who takes nothing watches a room.
fn trail(producers: usize, records: usize, watched: Option<&str>) -> Cost {
    let buffer = Arc::new(buffer());
    let origin = Origin::new("node-1.example.org", "8f14e45fceea167a");
    let style = Style { plain_tokens: false, legacy_fields: false, max_line: 256 << 10 };
    let trail = Trail::new(origin, style, clock::wall, (Arc::clone(&buffer), Arc::new(Metrics::new())));
    let _watcher = watched.map(|room| {
        let terms = Terms { rooms: vec![room.to_owned()], ..Terms::default() };
        let wish = Wish { filter: Filter::new(&terms).unwrap(), last: 0, follow: true };
        trail.tap().watch(wish).unwrap()
    });
    let session = SessionIds::new("node-1.example.org", BootId::new(1)).next(0);
    let message = MessageIds::new("n").next(1_795_217_939_404);
    let subject = Subject {
        session_id: Some(&session),
        user_id: Some("user-000001"),
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        request_id: Some("0123456789abcdef0123456789abcdef"),
        dialect: Some("centrifuge"),
        worker: Some(0),
        token: None,
    };
    produce(&buffer, producers, records, || {
        trail.room_msg(black_box(&subject), black_box("room-1"), message, "100 bytes");
    })
}

fn buffer() -> Buffer {
    Buffer::new(Limits { flush_limit: 4096, drop_limit: DROP_LIMIT, max_line: 256 << 10 })
}

/// What `one` costs, which hands in one record, when so many threads each do it `records` times.
fn produce(buffer: &Buffer, producers: usize, records: usize, one: impl Fn() + Sync) -> Cost {
    let (finished, start) = (AtomicBool::new(false), Barrier::new(producers + 1));
    let (cpu, wall) = thread::scope(|scope| {
        scope.spawn(|| consume(buffer, &finished));
        let producers: Vec<_> = (0..producers)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let (cpu, mut waited) = (cpu_time(), Duration::ZERO);
                    for n in 0..records {
                        one();
                        if n % 256 == 0 && is_half_full(buffer) {
                            let before = cpu_time();
                            while is_half_full(buffer) {
                                thread::yield_now();
                            }
                            waited += cpu_time() - before;
                        }
                    }
                    cpu_time() - cpu - waited
                })
            })
            .collect();
        start.wait();
        let begin = clock::now();
        let cpu: Duration = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
        let wall = begin.elapsed();
        finished.store(true, Ordering::Relaxed);
        (cpu, wall)
    });
    let stats = buffer.stats();
    assert!(stats.balanced());
    cost(cpu, wall, producers * records, stats.dropped.total().records)
}

fn is_half_full(buffer: &Buffer) -> bool {
    buffer.stats().queued.bytes > DROP_LIMIT as u64 / 2
}

fn cost(cpu: Duration, wall: Duration, records: usize, dropped: u64) -> Cost {
    let each = |time: Duration| time.as_secs_f64() * 1e9 / records as f64;
    Cost { cpu: each(cpu), wall: each(wall), dropped: dropped as f64 / records as f64 }
}

fn consume(buffer: &Buffer, finished: &AtomicBool) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let context = Context::from_waker(&waker);
    while !finished.load(Ordering::Relaxed) {
        wait(|| buffer.poll_due(&context), Duration::from_millis(100));
        wait(|| buffer.poll_full(&context), Duration::from_millis(1));
        while let Some(chunk) = buffer.take() {
            buffer.release(Outcome::Sent, Tally::new(chunk.records(), chunk.bytes().len()));
            buffer.recycle(chunk);
        }
    }
}

fn wait(mut poll: impl FnMut() -> Poll<()>, patience: Duration) {
    if poll().is_pending() {
        thread::park_timeout(patience);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    // The kernel brings the figure up to date when the thread gives way.
    thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
