//! What sessions cost the daemon: idle ones in memory and CPU, and each delivery in CPU and time.
//!
//! The daemon is the real program in a process of its own; this process is all its clients, over the unix socket.
//! Every session logs in with a signed token that grants the room. The baseline of deliveries is a bare process
//! that writes the same frames, one system call for each subscriber and message, to the same number of sockets; its
//! rounds and the daemon's take turns, so that a noisy neighbour hits both. CPU is what the kernel counted for the
//! threads of the other process, memory its proportional set size.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench prints, and stops at the first surprise"
)]

#[path = "fanout/child.rs"]
mod child;
#[path = "fanout/frames.rs"]
mod frames;
#[path = "fanout/publisher.rs"]
mod publisher;
#[path = "fanout/subscribers.rs"]
mod subscribers;

use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;

use pillion::clock;

use crate::child::Child;
use crate::publisher::Pace;
use crate::publisher::Publisher;
use crate::subscribers::Subscribers;

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
}

/// Messages per second when they are paced.
const RATE: u32 = 50;

/// Publications without an answer when they are not.
const IN_FLIGHT: usize = 4;

/// What one round of deliveries came to.
#[derive(Clone, Copy)]
struct Round {
    cpu: f64,
    user: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    lost: u64,
    disordered: u64,
}

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
            rounds: 3,
            paced_for: Duration::from_secs(2),
            pipelined_for: Duration::from_millis(1500),
        }
    } else {
        let brief = Duration::from_millis(200);
        Plan { idle: 50, idle_for: brief, subscribers: 20, rounds: 1, paced_for: brief, pipelined_for: brief }
    };
    idle(&plan);
    deliveries(&plan);
}

/// Sessions that are in a room and do nothing but answer pings.
fn idle(plan: &Plan) {
    let daemon = Child::daemon();
    // What the first session costs alone, such as the scratch buffers of the workers, is not a session's.
    let mut subscribers = Subscribers::new();
    subscribers.join(&daemon, 10);
    subscribers.receive(&mut Publisher::join(&daemon), Pace::Pipelined(IN_FLIGHT), Duration::from_millis(50));
    let (memory, spent, begin) = (daemon.memory(), daemon.spent(), clock::now());
    subscribers.join(&daemon, plan.idle);
    let (login, took) = (daemon.spent() - spent, begin.elapsed());
    let sessions = plan.idle as f64;
    pause(Duration::from_secs(1).min(plan.idle_for));
    let held = daemon.memory() - memory;

    let (spent, begin) = (daemon.spent(), clock::now());
    pause(plan.idle_for);
    let (idle, lasted) = (daemon.spent() - spent, begin.elapsed());
    let pings = subscribers.pings();
    subscribers.receive(&mut Publisher::join(&daemon), Pace::Paced(20), Duration::from_millis(500));
    let held_after = daemon.memory() - memory;
    println!("idle sessions: {} over one unix socket, in one room, with a token", plan.idle);
    let row = |name: &str, value: f64, unit: &str| println!("{name:<58} {value:>10.2} {unit}");
    row("memory (PSS) per session", held / sessions / 1024.0, "KiB");
    row("memory (PSS) per session after 10 messages to each", held_after / sessions / 1024.0, "KiB");
    let per_second = idle.total.as_secs_f64() / lasted.as_secs_f64() / sessions * 1e6;
    row(
        &format!("CPU per session, over {:.0} s with {pings} pings", lasted.as_secs_f64()),
        per_second,
        "us/s",
    );
    row("CPU per connect and login", login.total.as_secs_f64() / sessions * 1e6, "us");
    row("connects and logins, one after the other", sessions / took.as_secs_f64(), "/s");
    println!();
}

/// One room, one publisher: the daemon and the floor take turns.
fn deliveries(plan: &Plan) {
    let (daemon, floor) = (Child::daemon(), Child::floor_of(plan.subscribers));
    let mut at_daemon = Subscribers::new();
    at_daemon.join(&daemon, plan.subscribers);
    let mut to_daemon = Publisher::join(&daemon);
    at_daemon.receive(&mut to_daemon, Pace::Pipelined(IN_FLIGHT), Duration::from_millis(50));
    let mut at_floor = Subscribers::new();
    let mut to_floor = Publisher::join_floor(&floor, &at_daemon.template());
    at_floor.join_floor(&floor, plan.subscribers);

    println!(
        "deliveries: {} subscribers, frames of {} bytes with a message of {}, median of {} rounds",
        plan.subscribers,
        at_daemon.template().len(),
        frames::MESSAGE,
        plan.rounds
    );
    println!(
        "{:<30} {:>9} {:>9} {:>11} {:>9} {:>9} {:>6} {:>10}",
        "", "CPU us", "of it user", "deliveries/s", "p50 ms", "p99 ms", "lost", "disordered"
    );
    let paced = format!("{RATE} messages/s");
    let pipelined = format!("{IN_FLIGHT} in flight");
    for (what, pace, time) in [
        (paced, Pace::Paced(RATE), plan.paced_for),
        (pipelined, Pace::Pipelined(IN_FLIGHT), plan.pipelined_for),
    ] {
        let (mut rounds, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            let round = deliver(&daemon, &mut at_daemon, &mut to_daemon, (pace, time));
            let base = deliver(&floor, &mut at_floor, &mut to_floor, (pace, time));
            ratios.push(round.cpu / base.cpu);
            rounds.push(round);
            floors.push(base);
        }
        row(&format!("floor, {what}"), &floors);
        row(&format!("daemon, {what}"), &rounds);
        println!("{:<30} {:>9.2}", format!("daemon/floor, {what}"), median(ratios.into_iter()));
    }
}

fn row(name: &str, rounds: &[Round]) {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    let sum = |value: fn(&Round) -> u64| rounds.iter().map(value).sum::<u64>();
    println!(
        "{name:<30} {:>9.2} {:>9.2} {:>12.0} {:>9.2} {:>9.2} {:>6} {:>10}",
        of(|round| round.cpu),
        of(|round| round.user),
        of(|round| round.rate),
        of(|round| round.p50),
        of(|round| round.p99),
        sum(|round| round.lost),
        sum(|round| round.disordered),
    );
}

fn deliver(
    child: &Child,
    subscribers: &mut Subscribers,
    publisher: &mut Publisher,
    (pace, time): (Pace, Duration),
) -> Round {
    let (spent, begin) = (child.spent(), clock::now());
    let mut received = subscribers.receive(publisher, pace, time);
    let took = begin.elapsed();
    let spent = child.spent() - spent;
    received.delays.sort_unstable();
    let deliveries = received.delays.len();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries as f64;
    let quantile = |percent: usize| {
        let nearest = received.delays.get((deliveries * percent / 100).min(deliveries.saturating_sub(1)));
        nearest.map_or(f64::NAN, |delay| f64::from(*delay) / 1e3)
    };
    Round {
        cpu: each(spent.total),
        user: each(spent.total) * spent.user(),
        rate: deliveries as f64 / took.as_secs_f64(),
        p50: quantile(50),
        p99: quantile(99),
        lost: received.lost,
        disordered: received.disordered,
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets this process, and the daemon after it, open as many files as they may.
fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}

fn pause(time: Duration) {
    let until = clock::now() + time;
    while let Some(left) = until.checked_duration_since(clock::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
