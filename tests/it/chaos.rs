//! The loss proof, in small: every fault in the modes that promise something. `make chaos` has the whole table.

use std::path::Path;
use std::time::Duration;

use crate::chaos::proof::Fault;
use crate::chaos::proof::Mode;
use crate::chaos::proof::Scale;

#[path = "../chaos/mod.rs"]
mod proof;

const SCALE: Scale = Scale {
    rate: 5000,
    lead: 500,
    stall: Duration::from_millis(300),
    away: Duration::from_millis(300),
    late: Duration::from_millis(200),
    spool_interval: Duration::from_millis(100),
};

/// Lets everything happen to pillion in a mode, and holds each outcome against the promise.
async fn prove(mode: Mode) {
    let program = Path::new(env!("CARGO_BIN_EXE_pillion"));
    let mut broken = Vec::new();
    for fault in Fault::ALL.into_iter().filter(|fault| fault.concerns(mode)) {
        let outcome = proof::run(program, mode, fault, &SCALE).await;
        if let Some(found) = outcome.fault_found(&SCALE) {
            broken.push(format!("{}: {found}: {outcome:?}", fault.name(&SCALE)));
        }
    }
    assert!(broken.is_empty(), "{}:\n{}", mode.name(), broken.join("\n"));
}

#[tokio::test]
async fn acknowledged_delivery_loses_nothing_that_was_not_only_in_the_memory_of_a_process_that_was_killed() {
    prove(Mode::Beats).await;
}

#[tokio::test]
async fn acknowledged_delivery_with_a_spool_loses_nothing_and_a_kill_costs_less_than_its_interval() {
    prove(Mode::BeatsSpool).await;
}

#[tokio::test]
async fn a_spool_and_the_replay_tail_lose_nothing_and_a_kill_costs_less_than_the_interval() {
    prove(Mode::TcpSpool).await;
}
