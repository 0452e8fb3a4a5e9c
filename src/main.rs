//! The program: does what the command line says and exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(pillion::cli::main().code())
}
