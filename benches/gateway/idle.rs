//! Sessions that are in a room and do nothing but answer pings.

use std::time::Duration;

use pillion::clock;

use crate::Plan;
use crate::child::Child;
use crate::publisher::Pace;
use crate::publisher::Publisher;
use crate::round::IN_FLIGHT;
use crate::round::MESSAGE;
use crate::round::pause;
use crate::subscribers::Subscribers;

/// Runs this part.
pub(crate) fn run(plan: &Plan) {
    let daemon = Child::daemon("disconnect");
    let route = daemon.route();
    // What the first session costs alone, such as the scratch buffers of the workers, is not a session's.
    let mut subscribers = Subscribers::new(MESSAGE);
    subscribers.join(&route, 10);
    let mut publisher = Publisher::join(&route, MESSAGE);
    subscribers.receive(&mut publisher, Pace::Pipelined(IN_FLIGHT), Duration::from_millis(50));
    let (memory, spent, begin) = (daemon.memory(), daemon.spent(), clock::now());
    subscribers.join(&route, plan.idle);
    let (login, took) = (daemon.spent() - spent, begin.elapsed());
    let sessions = plan.idle as f64;
    pause(Duration::from_secs(1).min(plan.idle_for));
    let held = daemon.memory() - memory;

    let (spent, begin) = (daemon.spent(), clock::now());
    pause(plan.idle_for);
    let (idle, lasted) = (daemon.spent() - spent, begin.elapsed());
    let pings = subscribers.pings();
    subscribers.receive(&mut publisher, Pace::Paced(20), Duration::from_millis(500));
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
}
