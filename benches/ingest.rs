//! Lines of nginx's access log over unix stream, unix datagram and UDP loopback, into a log whose records nobody sends.
//!
//! The baseline reads the same bytes from the same kind of socket in the same round and counts newlines, or
//! datagrams: what the kernel costs. CPU time is that of the receiving thread alone; the sender is another one. On
//! streams and unix datagrams the sender waits for the receiver. UDP does not wait: the sender keeps at most
//! [`WINDOW`] lines on their way, so that nothing is dropped. "Paced" is UDP with a line about every 100 µs, as from
//! a site that is not busy: there most of the time is spent on waking up. An argument names the one way to measure.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench prints, waits, and stops at the first surprise"
)]

use std::io::Read;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pillion::address::Address;
use pillion::buffer::Buffer;
use pillion::buffer::Limits;
use pillion::buffer::Outcome;
use pillion::buffer::Tally;
use pillion::clock;
use pillion::config;
use pillion::ingest;
use pillion::metrics::Metrics;
use pillion::record::Origin;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;
use pillion::trail::Style;
use pillion::trail::Trail;

const ROUNDS: usize = 5;
const WINDOW: u64 = 1000;
const PACE: Duration = Duration::from_micros(50);

/// A line as the shipped `log_format` writes it.
const BODY: &str = r#"{"time":1795217940.123,"request_id":"0f5c1a9e7b3d2468ace013579bdf0246","client":"203.0.113.42","method":"GET","path":"/api/rooms/r42/messages","status":200,"bytes_sent":1532,"request_time":0.012,"upstream_time":"0.011","upstream":"unix:/run/pillion/pillion.sock","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0","referer":"https://chat.example.com/rooms","server_name":"chat.example.com","protocol":"HTTP/2.0","session_id":"","room_id":"","user_id":""}"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Stream,
    Unixgram,
    Udp,
    Paced,
}

/// Lines per second, and CPU seconds of the receiver per million lines.
#[derive(Clone, Copy)]
struct Cost {
    rate: f64,
    cpu: f64,
}

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let full = std::env::args().any(|argument| argument == "--bench");
    let line = format!("<190>Nov 20 23:40:00 edge-1 nginx_access: {BODY}");
    println!("ingest: nginx access lines of {} bytes, median of {ROUNDS} rounds", line.len());
    println!("{:<16} {:>12} {:>12} {:>14} {:>14}", "", "lines/s", "baseline", "CPU s/M lines", "baseline");
    let named: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for way in [Way::Stream, Way::Unixgram, Way::Udp, Way::Paced] {
        if !named.is_empty() && !named.contains(&format!("{way:?}")) {
            continue;
        }
        let lines = match (full, way) {
            (false, _) => 2000,
            (true, Way::Paced) => 20_000,
            (true, _) => 300_000,
        };
        let mut rounds = Vec::new();
        for _ in 0..if full { ROUNDS } else { 1 } {
            let directory = tempfile::tempdir().unwrap();
            rounds.push((
                take_in(way, &line, lines, &directory.path().join("lines")),
                count(way, &line, lines, &directory.path().join("raw")),
            ));
        }
        let figure = |of: fn(&(Cost, Cost)) -> f64| median(rounds.iter().map(of).collect());
        println!(
            "{:<16} {:>12.0} {:>12.0} {:>14.2} {:>14.2}",
            format!("{way:?}"),
            figure(|round| round.0.rate),
            figure(|round| round.1.rate),
            figure(|round| round.0.cpu),
            figure(|round| round.1.cpu),
        );
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    *figures.get(figures.len() / 2).unwrap()
}

/// pillion's own intake, on a runtime of one thread.
fn take_in(way: Way, line: &str, lines: u64, path: &Path) -> Cost {
    let (hand, address) = mpsc::channel();
    let listen = match way {
        Way::Stream => Address::Unix(path.to_owned()),
        Way::Unixgram => Address::Unixgram(path.to_owned()),
        Way::Udp | Way::Paced => "udp:127.0.0.1:0".parse().unwrap(),
    };
    let taken = Arc::new(AtomicU64::new(0));
    // Paced lines need no window, and a look each millisecond would be part of their cost.
    let look = Duration::from_millis(if way == Way::Paced { 20 } else { 1 });
    let receiver = {
        let taken = Arc::clone(&taken);
        thread::spawn(move || receive(listen, &hand, &taken, lines, look))
    };
    let address = address.recv().unwrap();
    let start = clock::now();
    send(way, &address, line, lines, &taken);
    let cpu = receiver.join().unwrap();
    cost(start.elapsed(), cpu, lines)
}

fn receive(
    listen: Address,
    hand: &mpsc::Sender<Address>,
    taken: &AtomicU64,
    lines: u64,
    look: Duration,
) -> Duration {
    let limits = Limits { flush_limit: 1 << 16, drop_limit: 64 << 20, max_line: 256 << 10 };
    let buffer = Arc::new(Buffer::new(limits));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let metrics = Arc::new(Metrics::new());
        let style = Style { plain_tokens: false, legacy_fields: false, max_line: 256 << 10 };
        let sinks = (Arc::clone(&buffer), Arc::clone(&metrics));
        let trail = Arc::new(Trail::new(Origin::new("edge-1", "aa"), style, clock::wall, sinks));
        let config = config::Ingest { listen: vec![listen], receive_buffer: 4 << 20 };
        let (ingest, worker) = ingest::build(&config, 0o600, &trail, &metrics).unwrap();
        let tasks = Tasks::new();
        hand.send(ingest.addresses().first().unwrap().clone()).unwrap();
        let cpu = cpu_time();
        tasks.spawn("ingest", OnExit::Stop, worker.run(tasks.clone()));
        while taken.load(Ordering::Relaxed) < lines {
            // What the shipper would do, without sending.
            tokio::time::sleep(look).await;
            while let Some(chunk) = buffer.take() {
                buffer.release(Outcome::Sent, Tally::new(chunk.records(), chunk.bytes().len()));
                buffer.recycle(chunk);
            }
            taken.store(buffer.stats().accepted.records, Ordering::Relaxed);
        }
        let used = cpu_time() - cpu;
        assert_eq!(buffer.stats().dropped.total().records, 0);
        tasks.stop();
        tasks.wait().await;
        used
    })
}

/// The plain loop: reads, and counts newlines or datagrams.
fn count(way: Way, line: &str, lines: u64, path: &Path) -> Cost {
    let (hand, address) = mpsc::channel();
    let taken = Arc::new(AtomicU64::new(0));
    let receiver = {
        let (taken, path) = (Arc::clone(&taken), path.to_owned());
        thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            let mut next: Next = match way {
                Way::Stream => {
                    let listener = UnixListener::bind(&path).unwrap();
                    hand.send(Address::Unix(path)).unwrap();
                    let (mut stream, _) = listener.accept().unwrap();
                    Box::new(move |bytes| {
                        let length = stream.read(bytes).unwrap();
                        bytes.iter().take(length).filter(|&&byte| byte == b'\n').count() as u64
                    })
                }
                Way::Unixgram => {
                    let socket = UnixDatagram::bind(&path).unwrap();
                    hand.send(Address::Unixgram(path)).unwrap();
                    Box::new(move |bytes| u64::from(socket.recv(bytes).unwrap() > 0))
                }
                Way::Udp | Way::Paced => {
                    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
                    hand.send(format!("udp:{}", socket.local_addr().unwrap()).parse().unwrap()).unwrap();
                    Box::new(move |bytes| u64::from(socket.recv(bytes).unwrap() > 0))
                }
            };
            let cpu = cpu_time();
            let mut received = 0;
            while received < lines {
                received += next(&mut bytes);
                taken.store(received, Ordering::Relaxed);
            }
            cpu_time() - cpu
        })
    };
    let address = address.recv().unwrap();
    let start = clock::now();
    send(way, &address, line, lines, &taken);
    let cpu = receiver.join().unwrap();
    cost(start.elapsed(), cpu, lines)
}

/// Reads once into a buffer, and counts lines.
type Next = Box<dyn FnMut(&mut [u8]) -> u64>;

fn send(way: Way, address: &Address, line: &str, lines: u64, taken: &AtomicU64) {
    match address {
        Address::Unix(path) => {
            let mut stream = UnixStream::connect(path).unwrap();
            let block = format!("{line}\n").repeat(100);
            (0..lines / 100).for_each(|_| stream.write_all(block.as_bytes()).unwrap());
        }
        Address::Unixgram(path) => {
            let socket = UnixDatagram::unbound().unwrap();
            socket.connect(path).unwrap();
            (0..lines).for_each(|_| assert!(socket.send(line.as_bytes()).unwrap() > 0));
        }
        Address::Udp(at) => {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect((at.host.as_str(), at.port)).unwrap();
            for sent in 0..lines {
                if way == Way::Paced {
                    thread::sleep(PACE);
                }
                while way == Way::Udp && sent - taken.load(Ordering::Relaxed) >= WINDOW {
                    thread::yield_now();
                }
                assert!(socket.send(line.as_bytes()).unwrap() > 0);
            }
        }
        Address::Tcp(_) => panic!("not measured"),
    }
}

fn cost(wall: Duration, cpu: Duration, lines: u64) -> Cost {
    Cost { rate: lines as f64 / wall.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / lines as f64 }
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    // The kernel brings the figure up to date when the thread gives way.
    thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
