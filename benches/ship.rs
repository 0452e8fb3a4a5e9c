//! Buffer to TCP sink, end to end, against a raw loop that writes 64 KiB blocks, in the same run.
//!
//! The sink is a thread that reads and throws away. The raw loop is run with the kernel's own send buffer and with
//! that of the logger (256 KiB); the ratios are against each of them, beside it in the same round. Three threads are
//! busy here where the raw loop has two, so on two cores the CPU time tells more than the wall time. Producers slow down when half the buffer is full, so nothing is
//! dropped. Rounds of both kinds take turns, so that a noisy neighbour hits both. Beside lines as they are stand those
//! with syslog headers and the acknowledged protocol, whose sinks look at every line and answer.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and stops at the first surprise"
)]

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pillion::address::HostPort;
use pillion::buffer::Buffer;
use pillion::clock;
use pillion::config;
use pillion::config::Beats;
use pillion::config::Format;
use pillion::config::Syslog;
use pillion::config::SyslogDialect;
use pillion::config::Target;
use pillion::logger;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;
use pillion::wire::lumberjack::Event;
use pillion::wire::lumberjack::Limits;
use pillion::wire::lumberjack::Reader;
use pillion::wire::lumberjack::ack_into;
use socket2::SockRef;

const RECORD: usize = 300;
const BLOCK: usize = 64 * 1024;
const ROUNDS: usize = 7;
const RECORDS: usize = 4_000_000;

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let records = if std::env::args().any(|argument| argument == "--bench") { RECORDS } else { 10_000 };
    println!("buffer to TCP sink: {RECORD}-byte records, {records} records, median of {ROUNDS} rounds");
    println!(
        "{:<40} {:>12} {:>8} {:>12} {:>8} {:>8}",
        "", "lines/s", "MB/s", "CPU ns/line", "x raw", "x 256K"
    );
    let rows = [
        Row { name: "1 producer, flush_limit 4 KiB", ..Row::PLAIN },
        Row { name: "1 producer, 4 KiB, no replay tail", replay_tail: 0, ..Row::PLAIN },
        Row { name: "2 producers, 4 KiB", producers: 2, ..Row::PLAIN },
        Row { name: "1 producer, 64 KiB", flush_limit: BLOCK, ..Row::PLAIN },
        Row { name: "2 producers, 64 KiB", producers: 2, flush_limit: BLOCK, ..Row::PLAIN },
        Row { name: "1 producer, syslog3164", form: Form::Syslog, ..Row::PLAIN },
        Row { name: "1 producer, beats", form: Form::Beats(0), ..Row::PLAIN },
        Row { name: "2 producers, beats", form: Form::Beats(0), producers: 2, ..Row::PLAIN },
        Row { name: "1 producer, beats, compression 1", form: Form::Beats(1), ..Row::PLAIN },
    ];
    let (mut raw, mut raw_small) = (Vec::new(), Vec::new());
    let mut shipped = vec![(Vec::new(), Vec::new()); rows.len()];
    for _ in 0..ROUNDS {
        for (row, (costs, ratios)) in rows.iter().zip(&mut shipped) {
            let base = measure(|| write_raw(records, None));
            let base_small = measure(|| write_raw(records, Some(SEND_BUFFER)));
            let cost = measure(|| ship(records, row));
            raw.push(base);
            raw_small.push(base_small);
            costs.push(cost);
            let ratio = |base: Cost| base.wall.as_secs_f64() / cost.wall.as_secs_f64();
            ratios.push((ratio(base), ratio(base_small)));
        }
    }
    row("raw 64 KiB writes", &raw, records, &[]);
    row("raw, send buffer 256 KiB", &raw_small, records, &[]);
    for (shipped_row, (costs, ratios)) in rows.iter().zip(shipped) {
        let (to_raw, to_small): (Vec<_>, Vec<_>) = ratios.into_iter().unzip();
        row(shipped_row.name, &costs, records, &[median(to_raw), median(to_small)]);
    }
}

/// What is shipped, and how.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    producers: usize,
    flush_limit: usize,
    replay_tail: usize,
    form: Form,
}

impl Row {
    const PLAIN: Self =
        Self { name: "", producers: 1, flush_limit: 4096, replay_tail: TAIL, form: Form::Ndjson };
}

#[derive(Clone, Copy)]
enum Form {
    Ndjson,
    Syslog,
    /// With this compression.
    Beats(u32),
}

/// The time of one round, and the CPU time of all threads in it, the sink's included.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn row(name: &str, costs: &[Cost], records: usize, ratios: &[f64]) {
    let seconds = median(costs.iter().map(|cost| cost.wall.as_secs_f64()).collect());
    let cpu = median(costs.iter().map(|cost| cost.cpu.as_secs_f64()).collect()) * 1e9 / records as f64;
    let rate = records as f64 / seconds;
    print!("{name:<40} {rate:>12.0} {:>8.0} {cpu:>12.0}", rate * RECORD as f64 / 1e6);
    ratios.iter().for_each(|ratio| print!(" {ratio:>8.2}"));
    println!();
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    *figures.get(figures.len() / 2).unwrap()
}

fn measure(run: impl FnOnce() -> Duration) -> Cost {
    let before = cpu_time();
    let wall = run();
    Cost { wall, cpu: cpu_time() - before }
}

/// User and system time of the process, in the kernel's ticks of 10 ms.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = text.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// A sink that reads `bytes` and ends.
fn sink(bytes: usize) -> (u16, thread::JoinHandle<()>) {
    serve(move |mut stream| {
        let mut buffer = vec![0; 4 * BLOCK];
        let mut left = bytes;
        while left > 0 {
            left -= stream.read(&mut buffer).unwrap();
        }
    })
}

/// A sink that reads so many lines and ends.
fn line_sink(lines: usize) -> (u16, thread::JoinHandle<()>) {
    serve(move |mut stream| {
        let mut buffer = vec![0; 4 * BLOCK];
        let mut left = lines;
        while left > 0 {
            let length = stream.read(&mut buffer).unwrap();
            left -= memchr::memchr_iter(b'\n', buffer.get(..length).unwrap()).count();
        }
    })
}

/// A sink that takes so many records and acknowledges them.
fn beats_sink(records: usize) -> (u16, thread::JoinHandle<()>) {
    serve(move |mut stream| {
        let mut reader = Reader::new(Limits::default());
        let mut buffer = vec![0; 4 * BLOCK];
        let mut left = records;
        while left > 0 {
            let length = stream.read(&mut buffer).unwrap();
            let mut bytes = buffer.get(..length).unwrap();
            let mut answer = Vec::new();
            while let Some(event) = reader.next(&mut bytes).unwrap() {
                match event {
                    Event::Window(_) => {}
                    Event::Json { json, .. } => left -= usize::from(!json.is_empty()),
                    Event::End(last) => ack_into(&mut answer, last),
                }
            }
            stream.write_all(&answer).unwrap();
        }
    })
}

fn serve(serve: impl FnOnce(TcpStream) + Send + 'static) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn write_raw(records: usize, send_buffer: Option<usize>) -> Duration {
    let bytes = records * RECORD;
    let (port, reader) = sink(bytes);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    if let Some(bytes) = send_buffer {
        SockRef::from(&stream).set_send_buffer_size(bytes).unwrap();
    }
    let block = vec![b'x'; BLOCK];
    let begin = clock::now();
    let mut left = bytes;
    while left > 0 {
        let len = left.min(BLOCK);
        stream.write_all(block.get(..len).unwrap()).unwrap();
        left -= len;
    }
    reader.join().unwrap();
    begin.elapsed()
}

fn ship(records: usize, row: &Row) -> Duration {
    let Row { producers, flush_limit, replay_tail, form, .. } = *row;
    let ack_timeout = Duration::from_secs(10);
    let defaults = config::Config::default().logger;
    let ((port, reader), format) = match form {
        Form::Ndjson => (sink(records * RECORD), Format::Ndjson),
        Form::Syslog => (line_sink(records), Format::Syslog(syslog())),
        Form::Beats(compression) => (beats_sink(records), Format::Beats(Beats { compression, ack_timeout })),
    };
    let config = config::Logger {
        target: Target::Tcp(HostPort { host: "127.0.0.1".to_owned(), port }),
        flush_limit,
        drop_limit: LIMIT,
        timeout: Duration::from_secs(10),
        retry_max_interval: Duration::from_secs(1),
        periodic_flush: Some(Duration::from_millis(10)),
        replay_tail,
        format,
        data_dir: None,
        ..defaults
    };
    let buffer = logger::buffer(&config);
    let (_logger, shipper) = logger::build(&config, Arc::clone(&buffer), || {}).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    Tasks::new().spawn("shipper", OnExit::Ignore, shipper.run());
    drop(guard);
    let begin = clock::now();
    thread::scope(|scope| {
        for _ in 0..producers {
            scope.spawn(|| produce(&buffer, records / producers));
        }
    });
    reader.join().unwrap();
    let time = begin.elapsed();
    assert_eq!(buffer.stats().dropped.total().records, 0);
    time
}

fn syslog() -> Syslog {
    Syslog {
        dialect: SyslogDialect::Rfc3164,
        facility: 16,
        host: "edge-1".to_owned(),
        tag: "pillion".to_owned(),
        octet_counting: false,
    }
}

/// A record as the program writes them.
fn record() -> Vec<u8> {
    let head = concat!(
        r#"{"@timestamp":"2026-11-20T23:38:59.404Z","action":"room_msg","log.level":"info","node":"edge-1","#,
        r#""boot_id":"00000000000000aa","log.sequence":7,"event.id":"00000000000000aa-7","desc":""#
    );
    format!("{head}{}\"}}\n", "x".repeat(RECORD - head.len() - 3)).into_bytes()
}

fn produce(buffer: &Buffer, records: usize) {
    let record = record();
    assert_eq!(record.len(), RECORD);
    for n in 0..records {
        buffer.log(&record).unwrap();
        if n % 256 == 0 {
            while buffer.stats().queued.bytes > LIMIT as u64 / 2 {
                thread::yield_now();
            }
        }
    }
}

const LIMIT: usize = 8 << 20;
const TAIL: usize = 1 << 20;
const SEND_BUFFER: usize = 256 << 10;
