//! What sessions cost the daemon: idle ones, logins, each delivery, and those who do not read.
//!
//! The daemon is the real program in a process of its own, and so is nginx in front of it, with the shipped files;
//! this process is all their clients, over the unix socket or over TCP. Every session logs in with a signed token
//! that grants the room. Baselines of the same run are a bare process that writes the same frames, one system call
//! for each subscriber and message, to the same number of sockets; nchan, in an nginx of its own, with the same
//! client; and the daemon itself where it has less to do. Rounds of both take turns, so that a noisy neighbour hits
//! both. CPU is what the kernel counted for the threads of the other processes, memory their proportional set size.
//!
//! Arguments that are no options are the names of the parts to run: `idle`, `deliveries`, `through`, `accepts`,
//! `stalled`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench prints, and stops at the first surprise"
)]

#[path = "gateway/accepts.rs"]
mod accepts;
#[path = "gateway/child.rs"]
mod child;
#[path = "gateway/deliveries.rs"]
mod deliveries;
#[path = "gateway/frames.rs"]
mod frames;
#[path = "gateway/idle.rs"]
mod idle;
#[path = "gateway/publisher.rs"]
mod publisher;
#[path = "gateway/round.rs"]
mod round;
#[path = "gateway/route.rs"]
mod route;
#[path = "gateway/stalled.rs"]
mod stalled;
#[path = "gateway/subscribers.rs"]
mod subscribers;

use std::path::Path;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;

/// File descriptors that are for something else than sessions.
const SPARE_FILES: u64 = 200;

/// How much there is to do.
struct Plan {
    idle: usize,
    idle_for: Duration,
    subscribers: usize,
    rounds: usize,
    paced_for: Duration,
    pipelined_for: Duration,
    connects: usize,
    healthy: usize,
    stalled: usize,
    /// How long is published to those who do not read.
    stalled_for: Duration,
}

/// A part of the bench.
type Part = (&'static str, fn(&Plan));

const PARTS: [Part; 5] = [
    ("idle", idle::run),
    ("deliveries", deliveries::run),
    ("through", deliveries::run_through),
    ("accepts", accepts::run),
    ("stalled", stalled::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, path] = arguments.as_slice()
        && role == "floor"
    {
        child::floor(Path::new(path));
        return;
    }
    let files = raise_file_limit();
    // `cargo test --benches` runs this too, and wants to know only that it works.
    let plan = if arguments.iter().any(|argument| argument == "--bench") {
        Plan {
            idle: 10_000.min(usize::try_from(files.saturating_sub(SPARE_FILES)).unwrap()),
            idle_for: Duration::from_secs(25),
            subscribers: 1000,
            rounds: 5,
            paced_for: Duration::from_secs(2),
            pipelined_for: Duration::from_millis(1500),
            connects: 3000,
            healthy: 100,
            stalled: 50,
            stalled_for: Duration::from_secs(3),
        }
    } else {
        let brief = Duration::from_millis(200);
        Plan {
            idle: 50,
            idle_for: brief,
            subscribers: 20,
            rounds: 1,
            paced_for: brief,
            pipelined_for: brief,
            connects: 100,
            healthy: 10,
            stalled: 5,
            stalled_for: brief,
        }
    };
    let wanted: Vec<&String> = arguments[1..].iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, run) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            run(&plan);
            println!();
        }
    }
}

/// Lets this process, and the daemon after it, open as many files as they may.
fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}
