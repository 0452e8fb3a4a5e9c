//! `pillion dlq`: the log lines that a log server refused again and again.
//!
//! While the daemon runs it is asked; else list and drop work on the file, and the daemon can not start meanwhile.

use bytes::Bytes;
use clap::Args;
use clap::Subcommand;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::runtime::Builder;

use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::admin;
use crate::cli::admin::Admin;
use crate::cli::complain;
use crate::cli::say;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::logger::DeadLetter;
use crate::logger::DeadLetters;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print them: number, time, reason, and the line
    List {
        /// Print JSON, one object each
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        configured: Configured,
    },
    /// Send some or all once more; the daemon must run
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        configured: Configured,
    },
    /// Throw some or all away
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        configured: Configured,
    },
}

/// Which dead letters are meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Their numbers, as `list` prints them
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Deserialize)]
struct Listed {
    dead_letters: Vec<DeadLetter>,
}

#[derive(Deserialize)]
struct Retried {
    retried: usize,
    stayed: usize,
}

#[derive(Deserialize)]
struct Dropped {
    dropped: usize,
}

/// Does what is asked for.
pub(super) fn dlq(options: &Options) -> Exit {
    let configured = match &options.action {
        Action::List { configured, .. }
        | Action::Retry { configured, .. }
        | Action::Drop { configured, .. } => configured,
    };
    let config = match configured.load() {
        Ok(loaded) => loaded.config,
        Err(unloaded) => return unloaded.complain(),
    };
    let done = Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from);
    match done.and_then(|runtime| runtime.block_on(act(&options.action, &config))) {
        Ok(text) => say(&text),
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Failed
        }
    }
}

async fn act(action: &Action, config: &Config) -> anyhow::Result<String> {
    match action {
        Action::List { json, .. } => {
            let letters = match ask(config, Method::GET, "/dead-letters").await? {
                Some(answer) => serde_json::from_slice::<Listed>(&answer)?.dead_letters,
                None => letters(config).list()?,
            };
            listed(&letters, *json)
        }
        Action::Retry { which, .. } => {
            let path = which.path("/dead-letters/retry");
            let Some(answer) = ask(config, Method::POST, &path).await? else {
                anyhow::bail!("pillion does not run: start it, then try again");
            };
            let Retried { retried, stayed } = serde_json::from_slice(&answer)?;
            let rest = if stayed > 0 {
                format!("; {stayed} stay, because the log buffer is full")
            } else {
                String::new()
            };
            Ok(format!("{retried} to be sent once more{rest}\n"))
        }
        Action::Drop { which, .. } => {
            let dropped = match ask(config, Method::POST, &which.path("/dead-letters/drop")).await? {
                Some(answer) => serde_json::from_slice::<Dropped>(&answer)?.dropped,
                None => {
                    let _data_dir = DataDir::take(&config.data_dir)?;
                    letters(config).take(|letter| which.all || which.ids.contains(&letter.id))?.len()
                }
            };
            Ok(format!("{dropped} dropped\n"))
        }
    }
}

impl Which {
    fn path(&self, path: &str) -> String {
        let ids: Vec<_> = self.ids.iter().map(u64::to_string).collect();
        let all = self.all.then_some(("all", "true"));
        admin::with_query(path, ids.iter().map(|id| ("id", id.as_str())).chain(all))
    }
}

/// The daemon's answer; `None` when it does not run.
async fn ask(config: &Config, method: Method, path: &str) -> Result<Option<Bytes>, admin::Error> {
    let asked = match Admin::new(config) {
        Ok(admin) => admin.ask(method, path, Bytes::new()).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(admin::Error::NotRunning(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn letters(config: &Config) -> DeadLetters {
    DeadLetters::new(&config.data_dir, config.logger.dead_letter_limit)
}

fn listed(letters: &[DeadLetter], json: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for letter in letters {
        if json {
            text += &serde_json::to_string(letter)?;
        } else {
            let at = i64::try_from(letter.at).ok().and_then(|at| Timestamp::from_second(at).ok());
            let at = at.map_or_else(|| letter.at.to_string(), |at| at.to_string());
            text += &format!("{} {at} {}: {}", letter.id, letter.reason, letter.record);
        }
        text.push('\n');
    }
    if letters.is_empty() && !json {
        text += "no dead letters\n";
    }
    Ok(text)
}
