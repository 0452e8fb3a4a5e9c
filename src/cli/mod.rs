//! The command line: the only reader of arguments, environment and configuration files.

mod admin;
mod check;
mod dlq;
mod run;
mod sink;
mod spool;
mod store;
mod tail;
mod why;

use std::env;
use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::config;
use crate::config::File;
use crate::config::Loaded;
use crate::config::Mistake;
use crate::config::Sources;

/// How a command ended; the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well: 0.
    Clean,
    /// Something failed: 1.
    Failed,
    /// The arguments or the configuration are wrong: 64, so that a service manager does not try again.
    Usage,
}

impl Exit {
    /// The number that the process exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Usage => 64,
        }
    }
}

#[derive(Debug, Parser)]
#[command(name = "pillion", version, about = "The realtime sidecar behind nginx", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(Configured),
    /// Check a configuration and this host: every mistake at once; exit code 0 or 64
    Check(Configured),
    /// Print the commented default configuration
    Defaults,
    /// Stand in for Logstash: receive log lines and print or count them
    Sink(Box<sink::Options>),
    /// Print log lines as they are written, by room, user, session, action and more
    Tail(tail::Options),
    /// Look at the log lines on disk that could not be sent yet
    Spool(spool::Options),
    /// Look at the log lines that the log server refuses, send them once more, or drop them
    Dlq(dlq::Options),
    /// Look at the store, or make it anew when it is damaged; the daemon must be stopped
    Store(store::Options),
    /// Say what happened to a session, a user or a message: refused, dropped, late, not sent
    Why(why::Options),
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Configured {
    /// The configuration file; without it the built-in defaults count
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, over file and environment, as in --set logger.flush_limit=64KiB
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
enum Unloaded {
    /// The file can not be read.
    #[error("{0}: can not be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It has mistakes.
    #[error("{} in the configuration", counted(.0.len()))]
    Mistakes(Vec<Mistake>),
}

/// Does what the arguments of the process say.
#[must_use]
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = !error.use_stderr();
            // Nobody reads it when it can not be printed.
            drop(error.print());
            return if asked { Exit::Clean } else { Exit::Usage };
        }
    };
    match arguments.command {
        Command::Run(configured) => run::run(&configured),
        Command::Check(configured) => check::check(&configured),
        Command::Defaults => say(config::DEFAULTS),
        Command::Sink(options) => sink::sink(*options),
        Command::Spool(options) => spool::spool(&options),
        Command::Dlq(options) => dlq::dlq(&options),
        Command::Store(options) => store::store(&options),
        Command::Tail(options) => tail::tail(options),
        Command::Why(options) => why::why(options),
    }
}

impl Configured {
    /// Reads file and environment and makes the configuration of them.
    fn load(&self) -> Result<Loaded, Unloaded> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path).map_err(|error| Unloaded::Unreadable(path.clone(), error))
        };
        let text = self.config.as_ref().map(read).transpose()?;
        let name = self.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let environment: Vec<(String, String)> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let sources = Sources {
            file: text.as_deref().map(|text| File { name: &name, text }),
            environment: &environment,
            arguments: &self.set,
            host_name: &host_name(),
            read_secret: &|path: &Path| fs::read_to_string(path),
        };
        config::load(&sources).map_err(Unloaded::Mistakes)
    }
}

impl Unloaded {
    /// Prints everything that is wrong, a line each.
    fn complain(&self) -> Exit {
        if let Self::Mistakes(mistakes) = self {
            for mistake in mistakes {
                complain(&mistake.to_string());
            }
        }
        complain(&self.to_string());
        Exit::Usage
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn counted(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

/// Prints to stdout; a reader that has gone away is no failure.
fn say(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Clean,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Clean,
        Err(_) => Exit::Failed,
    }
}

/// Prints a line to stderr.
fn complain(line: &str) {
    // There is no third place to complain that stderr is closed.
    drop(writeln!(io::stderr(), "pillion: {line}"));
}
