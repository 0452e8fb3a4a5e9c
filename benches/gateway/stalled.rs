//! Those who never read, beside those who do: what they cost the others, and what they cost in memory.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use crate::Plan;
use crate::child::Child;
use crate::publisher::Pace;
use crate::publisher::Publisher;
use crate::round::Round;
use crate::round::Scene;
use crate::round::median;
use crate::round::pause;
use crate::subscribers::Subscribers;

/// The length of a message in bytes.
const SIZE: usize = 4000;

/// Messages per second.
const RATE: u32 = 500;

/// Runs this part.
pub(crate) fn run(plan: &Plan) {
    println!(
        "stalled readers: {} beside {} who read, {RATE} messages/s of {SIZE} bytes, medians of {} rounds",
        plan.stalled, plan.healthy, plan.rounds
    );
    println!(
        "{:<24} {:>9} {:>9} {:>6} {:>6} {:>10} {:>9} {:>9} {:>9}",
        "", "alone us", "with us", "ratio", "lost", "disordered", "MiB", "most MiB", "gone MiB"
    );
    for slow in ["disconnect", "drop_oldest", "conflate"] {
        row(slow, &Child::daemon(slow), plan);
    }
    match Child::nchan() {
        Some(nchan) => row("nchan (TCP)", &nchan, plan),
        None => println!("nchan is not installed (`make deps-bench`)"),
    }
}

fn row(name: &str, child: &Child, plan: &Plan) {
    let mut subscribers = Subscribers::new(SIZE);
    subscribers.join(&child.route(), plan.healthy);
    let publisher = Publisher::join(&child.route(), SIZE);
    let mut scene = Scene { children: vec![child], publisher, subscribers };
    let pace = Pace::Paced(RATE);
    // Buffers of the workers and of the healthy are no cost of the stalled.
    scene.round(pace, plan.stalled_for / 4);
    let (mut alone, mut with) = (Vec::new(), Vec::new());
    let (mut before, mut most, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        alone.push(scene.round(pace, plan.stalled_for / 2));
        before.push(child.memory());
        let readers: Vec<UnixStream> =
            (0..plan.stalled).map(|number| child.route().open_subscriber(1_000_000 + number)).collect();
        let (round, peak) = watched(child, || scene.round(pace, plan.stalled_for));
        with.push(round);
        most.push(peak);
        drop(readers);
        pause(Duration::from_millis(200));
        gone.push(child.memory());
    }
    let cpu = |rounds: &[Round]| median(rounds.iter().map(|round| round.cpu));
    let ratio = median(with.iter().zip(&alone).map(|(with, alone)| with.cpu / alone.cpu));
    let mib = |value: Option<&f64>| value.map_or(f64::NAN, |value| value / (1024.0 * 1024.0));
    let both = || alone.iter().chain(&with);
    println!(
        "{name:<24} {:>9.2} {:>9.2} {ratio:>6.2} {:>6} {:>10} {:>9.1} {:>9.1} {:>9.1}",
        cpu(&alone),
        cpu(&with),
        both().map(|round| round.lost).sum::<u64>(),
        both().map(|round| round.disordered).sum::<u64>(),
        mib(before.first()),
        mib(most.iter().max_by(|one, other| one.total_cmp(other))),
        mib(gone.last()),
    );
}

/// Does something, and gives the most memory that the child held meanwhile.
fn watched<T>(child: &Child, what: impl FnOnce() -> T) -> (T, f64) {
    let done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = child.memory();
            while !done.load(Relaxed) {
                thread::park_timeout(Duration::from_millis(50));
                most = most.max(child.memory());
            }
            most
        });
        let outcome = what();
        done.store(true, Relaxed);
        (outcome, watcher.join().unwrap())
    })
}
