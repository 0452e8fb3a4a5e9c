//! The same lines through pillion, through rsyslog and through a bare loop: what it costs to take lines in and to send
//! them on.
//!
//! JSON lines of 300 bytes come over a TCP or unix stream, over unix datagrams or UDP loopback, and go out over TCP to
//! a sink that counts newlines; the last rows go out over TLS. Each relay is a process of its own. Its CPU time is
//! what the kernel books for it (user and system, all threads), from before the first line until the sink has the
//! last; peak memory is `VmHWM`. Streams and unix datagrams are as fast as the relay reads. UDP does not wait, so the
//! sender keeps at most [`WINDOW`] lines on their way; "paced" is one line every 33 µs, with nobody waiting for
//! anybody. rsyslog has the configuration of its manual for speed: its plain inputs, a queue in memory, batches of
//! 1024, the line passed on as it came. pillion adds a head of about 190 bytes to each line, which the others do not.
//!
//! Three rounds, in which the relays take turns; medians. An argument names the one input to measure.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench prints, waits, and stops at the first surprise"
)]

#[path = "relay/process.rs"]
mod process;
#[path = "relay/sink.rs"]
mod sink;

use std::fmt;
use std::io::Write;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use process::Input;
use process::Process;
use process::Relay;
use sink::Sink;

const ROUNDS: usize = 3;

/// Lines on their way over UDP: 1.3 KiB of the kernel's memory each, of the 8 MiB that it books for 4.
const WINDOW: u64 = 3000;

/// The time between two paced lines: 30 000 a second.
const PACE: Duration = Duration::from_micros(33);

/// How long nothing arrives before the rest counts as lost.
const SILENCE: Duration = Duration::from_secs(2);

/// What comes in, how, and what is between the relay and the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    input: Input,
    paced: bool,
    tls: bool,
    lines: u64,
}

impl Way {
    const fn new(input: Input, lines: u64) -> Self {
        Self { input, paced: false, tls: false, lines }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (paced, tls) = (if self.paced { ", paced" } else { "" }, if self.tls { ", TLS out" } else { "" });
        write!(f, "{:?}{paced}{tls}", self.input)
    }
}

const WAYS: [Way; 8] = [
    Way::new(Input::Tcp, 1_000_000),
    Way::new(Input::Unix, 1_000_000),
    Way::new(Input::Unixgram, 500_000),
    Way { paced: true, ..Way::new(Input::Unixgram, 150_000) },
    Way::new(Input::Udp, 500_000),
    Way { paced: true, ..Way::new(Input::Udp, 150_000) },
    Way { tls: true, ..Way::new(Input::Tcp, 1_000_000) },
    Way { tls: true, ..Way::new(Input::Unix, 1_000_000) },
];

/// What one round cost.
#[derive(Clone, Copy)]
struct Cost {
    rate: f64,
    cpu: f64,
    memory: f64,
    lost: u64,
}

fn main() {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == process::LOOP) {
        return process::bare_loop(&arguments.split_off(1));
    }
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let full = arguments.iter().any(|argument| argument == "--bench");
    let named: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let line = line();
    println!("relay: JSON lines of {} bytes to a TCP sink, median of {ROUNDS} rounds", line.len());
    println!("load average {}", load());
    println!(
        "{:<18} {:<10} {:>11} {:>14} {:>10} {:>8}",
        "", "", "lines/s", "CPU s/M lines", "peak MiB", "lost"
    );
    for way in WAYS {
        if !named.is_empty() && !named.iter().any(|name| **name == way.to_string()) {
            continue;
        }
        let way = if full { way } else { Way { lines: 2000, ..way } };
        measure(way, &line, if full { ROUNDS } else { 1 });
    }
    println!("load average {}", load());
}

fn measure(way: Way, line: &str, rounds: usize) {
    // The bare loop has no TLS: it stands for what the kernel costs.
    let relays: Vec<_> = [Relay::Pillion, Relay::Rsyslog, Relay::Loop]
        .into_iter()
        .filter(|relay| !(way.tls && *relay == Relay::Loop))
        .filter(|relay| match relay.is_missing(way.tls) {
            Some(what) => {
                println!("{way:<18} {relay:?} is left out: {what} is not installed");
                false
            }
            None => true,
        })
        .collect();
    let mut costs = vec![Vec::new(); relays.len()];
    for _ in 0..rounds {
        for (relay, costs) in relays.iter().zip(&mut costs) {
            costs.push(run(way, *relay, line));
        }
    }
    for (relay, costs) in relays.iter().zip(costs) {
        let figure = |of: fn(&Cost) -> f64| median(costs.iter().map(of).collect());
        println!(
            "{:<18} {:<10} {:>11.0} {:>14.2} {:>10.1} {:>8}",
            way.to_string(),
            format!("{relay:?}"),
            figure(|cost| cost.rate),
            figure(|cost| cost.cpu),
            figure(|cost| cost.memory),
            figure(|cost| cost.lost as f64),
        );
    }
}

fn run(way: Way, relay: Relay, line: &str) -> Cost {
    let sink = Sink::start(way.tls);
    let process = Process::start(relay, way.input, &sink);
    // What the relay says of itself at its start is no line of ours.
    let before = settled(&sink);
    let (cpu, start) = (process.cpu_time(), Instant::now());
    send(way, &process, line, || sink.lines() - before);
    let (mut arrived, mut at) = (sink.lines(), Instant::now());
    while arrived < before + way.lines && at.elapsed() < SILENCE {
        thread::sleep(Duration::from_millis(1));
        if sink.lines() > arrived {
            (arrived, at) = (sink.lines(), Instant::now());
        }
    }
    let (wall, cpu) = (at - start, process.cpu_time() - cpu);
    Cost {
        rate: (arrived - before) as f64 / wall.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / way.lines as f64,
        memory: process.peak_memory() as f64 / f64::from(1 << 20),
        lost: (before + way.lines).saturating_sub(arrived),
    }
}

/// The lines that came before anything was sent, when no more follow.
fn settled(sink: &Sink) -> u64 {
    let mut lines = sink.lines();
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = sink.lines();
        if now == lines {
            return lines;
        }
        lines = now;
    }
}

fn send(way: Way, process: &Process, line: &str, arrived: impl Fn() -> u64) {
    let datagrams = |send: &dyn Fn(&[u8])| {
        let start = Instant::now();
        for sent in 0..way.lines {
            if way.paced {
                let due = PACE * u32::try_from(sent).unwrap();
                // A sleep is at least 50 µs longer than it should be; what is late by then follows at once.
                if let Some(wait) = due.checked_sub(start.elapsed()) {
                    thread::sleep(wait);
                }
            } else if way.input == Input::Udp && sent % 64 == 0 {
                let begin = Instant::now();
                while sent - arrived().min(sent) >= WINDOW && begin.elapsed() < SILENCE {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            send(line.as_bytes());
        }
    };
    let block = format!("{line}\n").repeat(200);
    let blocks = way.lines / 200;
    match way.input {
        Input::Tcp => {
            let mut stream = TcpStream::connect(process.address()).unwrap();
            (0..blocks).for_each(|_| stream.write_all(block.as_bytes()).unwrap());
        }
        Input::Unix => {
            let mut stream = UnixStream::connect(process.path()).unwrap();
            (0..blocks).for_each(|_| stream.write_all(block.as_bytes()).unwrap());
        }
        Input::Unixgram => {
            let socket = UnixDatagram::unbound().unwrap();
            socket.connect(process.path()).unwrap();
            datagrams(&|line| assert!(socket.send(line).unwrap() > 0));
        }
        Input::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(process.address()).unwrap();
            datagrams(&|line| assert!(socket.send(line).unwrap() > 0));
        }
    }
}

/// A line of 300 bytes, as an application writes it, without its line break.
fn line() -> String {
    let start = concat!(
        r#"{"time":1795217940.123,"level":"info","service.name":"cart","request_id":"0f5c1a9e7b3d2468ace013579bdf0246","#,
        r#""client":"203.0.113.42","user_id":"user-000042","room_id":"r42","status":200,"request_time":0.012,"cached":false,"#,
        r#""message":"added 2 of \"blue chair\" to the cart"#
    );
    let end = "\"}";
    format!("{start}{}{end}", ".".repeat(300 - start.len() - end.len()))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    *figures.get(figures.len() / 2).unwrap()
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').take(2).collect::<Vec<_>>().join(" ")
}
