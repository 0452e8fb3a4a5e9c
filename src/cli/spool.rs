//! `pillion spool`: the log lines that are on disk because they could not be sent yet. `tail` and `why` read them, too.

use std::io;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;

use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::complain;
use crate::cli::say;
use crate::config::Config;
use crate::journal;
use crate::journal::Which;
use crate::logger;

/// Records, the oldest first, each one JSON object; with or without its line break.
pub(super) type Records = Box<dyn Iterator<Item = io::Result<Vec<u8>>>>;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what is in the spool: lines, bytes, files, damage
    Stat(Configured),
    /// Print the lines in the spool, the oldest first, one JSON object each
    Cat(Configured),
}

/// Looks into the spool; the daemon may run meanwhile, and nothing is changed.
pub(super) fn spool(options: &Options) -> Exit {
    let (Action::Stat(configured) | Action::Cat(configured)) = &options.action;
    let config = match configured.load() {
        Ok(loaded) => loaded.config,
        Err(unloaded) => return unloaded.complain(),
    };
    let outcome = match &options.action {
        Action::Stat(_) => stat(&config),
        Action::Cat(_) => cat(&config),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        Exit::Failed
    })
}

/// The records that wait on disk under a configuration; `None` when nothing is kept there.
///
/// The daemon may run meanwhile, so that nothing is changed and records may be gone as soon as they were read.
pub(super) fn records(config: &Config) -> io::Result<Option<Records>> {
    let directory = directory(config);
    if !directory.exists() {
        return Ok(None);
    }
    let frames = journal::scan(&directory, Which::Unacknowledged).map_err(io::Error::other)?;
    let records = frames.flat_map(|frame| match frame {
        Err(error) => vec![Err(io::Error::other(error))],
        Ok(frame) => match logger::decode(frame.payload) {
            None => vec![Err(io::Error::other(format!("frame {} holds no log lines", frame.position)))],
            Some(chunk) => (0..chunk.records())
                .filter_map(|index| chunk.record(index))
                .map(|record| Ok(record.to_vec()))
                .collect(),
        },
    });
    Ok(Some(Box::new(records)))
}

fn directory(config: &Config) -> PathBuf {
    config.data_dir.join(logger::SPOOL)
}

fn stat(config: &Config) -> anyhow::Result<Exit> {
    let directory = directory(config);
    if !directory.exists() {
        return Ok(say(&format!(
            "{}: there is no spool (logger.overflow = \"spool\" makes one)\n",
            directory.display()
        )));
    }
    let survey = journal::survey(&directory)?;
    let lines = records(config)?.map_or(0, |records| records.filter(Result::is_ok).count());
    let limit = config.logger.spool.limit;
    let mut text = format!(
        "directory       {}\nwaiting lines   {lines}\nwaiting bytes   {}\nfiles           {} of {} bytes\n\
         limit           {limit} bytes\n",
        directory.display(),
        survey.unacknowledged_bytes,
        survey.segments,
        survey.disk_bytes,
    );
    if survey.rotten_frames + survey.rotten_bytes > 0 {
        text += &format!("damaged         {} pieces, {} bytes\n", survey.rotten_frames, survey.rotten_bytes);
    }
    Ok(say(&text))
}

fn cat(config: &Config) -> anyhow::Result<Exit> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut exit = Exit::Clean;
    for record in records(config)?.into_iter().flatten() {
        match record {
            Ok(record) => {
                let line = record.strip_suffix(b"\n").unwrap_or(&record);
                let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
                if let Err(error) = written {
                    return ended(error);
                }
            }
            Err(error) => {
                complain(&error.to_string());
                exit = Exit::Failed;
            }
        }
    }
    out.flush().map_or_else(ended, |()| Ok(exit))
}

/// A reader that has gone away is no failure.
fn ended(error: io::Error) -> anyhow::Result<Exit> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Exit::Clean),
        _ => Err(error.into()),
    }
}
