//! The loss proof as a table: every fault in every mode, with the real daemon, and exit code 1 when a promise breaks.
//!
//! A cell says: lines lost (of them without notice) / lines that came twice / lines that came after a later one. The table
//! goes to stdout, each cell as soon as it is known to stderr. It is no measurement of time. A name of a mode or of a fault as an argument runs only those cells.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints a table, and stops at the first surprise"
)]

#[path = "../tests/chaos/mod.rs"]
mod chaos;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use chaos::Fault;
use chaos::Mode;
use chaos::Outcome;
use chaos::Scale;

const SCALE: Scale = Scale {
    rate: 50_000,
    lead: 10_000,
    stall: Duration::from_millis(1500),
    away: Duration::from_secs(2),
    late: Duration::from_secs(1),
    spool_interval: Duration::from_millis(500),
};

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut outcomes = Vec::new();
    for fault in Fault::ALL {
        for mode in Mode::ALL.into_iter().filter(|mode| fault.concerns(*mode)) {
            let name = format!("{mode:?} {fault:?}");
            if wanted.iter().all(|word| name.split(' ').any(|part| part == word)) {
                let program = Path::new(env!("CARGO_BIN_EXE_pillion"));
                let outcome = runtime.block_on(chaos::run(program, mode, fault, &SCALE));
                let found = outcome.fault_found(&SCALE);
                eprintln!("{name}: {outcome}: {}", found.as_deref().unwrap_or("as promised"));
                outcomes.push(outcome);
            }
        }
    }
    print_table(&outcomes);
    let broken: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.fault_found(&SCALE)).collect();
    println!("\n{} cells, {} of them not as promised", outcomes.len(), broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_table(outcomes: &[Outcome]) {
    println!("\n| | {} |", Mode::ALL.map(Mode::name).join(" | "));
    println!("|---|{}", "---|".repeat(Mode::ALL.len()));
    for fault in Fault::ALL {
        let cells = Mode::ALL.map(|mode| {
            let outcome = outcomes.iter().find(|outcome| (outcome.mode, outcome.fault) == (mode, fault));
            outcome.map_or_else(|| "–".to_owned(), Outcome::cell)
        });
        println!("| {} | {} |", fault.name(&SCALE), cells.join(" | "));
    }
}
