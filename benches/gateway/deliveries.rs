//! One room, one publisher, many subscribers: over the unix socket beside the floor, through nginx beside nchan.

use std::time::Duration;

use crate::Plan;
use crate::child::Child;
use crate::publisher::Pace;
use crate::publisher::Publisher;
use crate::round::IN_FLIGHT;
use crate::round::MESSAGE;
use crate::round::Scene;
use crate::round::heads;
use crate::round::ratios;
use crate::round::row;
use crate::subscribers::Subscribers;

/// Messages per second when they are paced.
const RATE: u32 = 50;

/// Runs the part over the unix socket.
pub(crate) fn run(plan: &Plan) {
    let daemon = Child::daemon("disconnect");
    let floor = Child::floor_of(plan.subscribers);
    let mut to_daemon = scene(&daemon, vec![&daemon], plan);
    let template = to_daemon.subscribers.template();
    let publisher = Publisher::join_floor(&floor, &template, MESSAGE);
    let mut at_floor = Subscribers::new(MESSAGE);
    at_floor.join_floor(&floor, plan.subscribers);
    let mut to_floor = Scene { children: vec![&floor], publisher, subscribers: at_floor };
    println!(
        "deliveries: {} subscribers over the unix socket, messages of {MESSAGE} bytes in frames of {}, medians of {} rounds",
        plan.subscribers,
        template.len(),
        plan.rounds
    );
    compare(plan, ("daemon", &mut to_daemon), ("floor", &mut to_floor));
}

/// Runs the part through nginx.
pub(crate) fn run_through(plan: &Plan) {
    let daemon = Child::daemon("disconnect");
    let (Some(nginx), Some(nchan)) = (Child::nginx(&daemon), Child::nchan()) else {
        println!("deliveries through nginx: left out, nginx with nchan is not installed (`make deps-bench`)");
        return;
    };
    let mut to_daemon = scene(&nginx, vec![&nginx, &daemon], plan);
    let mut to_nchan = scene(&nchan, vec![&nchan], plan);
    println!(
        "through nginx: {} subscribers over TCP, messages of {MESSAGE} bytes in frames of {} (nchan {}), medians of {} rounds",
        plan.subscribers,
        to_daemon.subscribers.template().len(),
        to_nchan.subscribers.template().len(),
        plan.rounds
    );
    compare(plan, ("nginx and daemon", &mut to_daemon), ("nchan", &mut to_nchan));
}

/// Subscribers that come to `front`, of which the `children` do the work, and somebody who publishes.
fn scene<'a>(front: &Child, children: Vec<&'a Child>, plan: &Plan) -> Scene<'a> {
    let mut subscribers = Subscribers::new(MESSAGE);
    subscribers.join(&front.route(), plan.subscribers);
    let publisher = Publisher::join(&front.route(), MESSAGE);
    let mut scene = Scene { children, publisher, subscribers };
    scene.round(Pace::Pipelined(IN_FLIGHT), Duration::from_millis(50));
    scene
}

fn compare(plan: &Plan, (name, scene): (&str, &mut Scene<'_>), (base_name, base): (&str, &mut Scene<'_>)) {
    heads();
    let paced = format!("{RATE} messages/s");
    let pipelined = format!("{IN_FLIGHT} in flight");
    for (what, pace, time) in [
        (paced, Pace::Paced(RATE), plan.paced_for),
        (pipelined, Pace::Pipelined(IN_FLIGHT), plan.pipelined_for),
    ] {
        let (mut rounds, mut bases) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            rounds.push(scene.round(pace, time));
            bases.push(base.round(pace, time));
        }
        println!("{what}:");
        row(&format!("  {base_name}"), &bases);
        row(&format!("  {name}"), &rounds);
        ratios("  ratio", &rounds, &bases);
    }
}
