//! The loss proof, in small: every fault in the modes that promise something. `make chaos` has the whole table.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

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

/// Lets everything happen to pillion in a mode; what is not as promised.
async fn prove(mode: Mode) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_pillion"));
    let mut broken = Vec::new();
    for fault in Fault::ALL.into_iter().filter(|fault| fault.concerns(mode)) {
        let outcome = proof::run(program, mode, fault, &SCALE).await;
        if let Some(found) = outcome.fault_found(&SCALE) {
            broken.push(format!("{}, {}: {found}: {outcome}", mode.name(), fault.name(&SCALE)));
        }
    }
    broken
}

#[tokio::test]
async fn acknowledgements_and_spools_lose_nothing_and_a_kill_costs_at_most_the_lines_of_the_spool_interval() {
    let promising = Mode::ALL.into_iter().filter(|mode| mode.acknowledges() || mode.spools());
    let broken = join_all(promising.map(prove)).await.concat();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
