//! `pillion store`: the store, looked at while the daemon is stopped, and made anew when it is damaged.

use std::panic;

use clap::Args;
use clap::Subcommand;

use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::complain;
use crate::cli::say;
use crate::config::Config;
use crate::store;
use crate::store::Checked;
use crate::store::Rebuilt;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Look at every page of the store and at its journal, and change nothing; exit code 0 when all is well, or 1
    Check(Configured),
    /// Make a new store of what can be read of the old one and of its journal; the old file stays beside it
    Rebuild(Configured),
}

/// Does what is asked for; the daemon must not run meanwhile.
pub(super) fn store(options: &Options) -> Exit {
    let (Action::Check(configured) | Action::Rebuild(configured)) = &options.action;
    let config = match configured.load() {
        Ok(loaded) => loaded.config,
        Err(unloaded) => return unloaded.complain(),
    };
    quiet_about_damage();
    let outcome = match &options.action {
        Action::Check(_) => store::check(&config.store.path).map(|found| checked(&config, found)),
        Action::Rebuild(_) => {
            store::rebuild(&config.store.path, (&config.store).into()).map(|made| rebuilt(&config, made))
        }
    };
    outcome.unwrap_or_else(|error| {
        let stop =
            matches!(error, store::Error::InUse(_) | store::Error::Journal(crate::journal::Error::InUse(_)));
        complain(&error.told());
        if stop {
            complain("stop the daemon first: it has the store to itself");
        }
        Exit::Failed
    })
}

/// What redb panics over in a damaged file is told as a finding, in one line; other panics are printed as ever.
fn quiet_about_damage() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|location| location.file().contains("redb")) {
            before(info);
        }
    }));
}

fn checked(config: &Config, found: Option<Checked>) -> Exit {
    let Some(found) = found else {
        return say(&format!("{}: there is no store yet\n", config.store.path.display()));
    };
    let mut text =
        format!("file            {}\nfile bytes      {}\n", found.path.display(), found.file_bytes);
    let (entries, bytes) =
        found.tables.iter().fold((0, 0), |(entries, bytes), table| (entries + table.1, bytes + table.2));
    text += &format!("entries         {entries}\nstored bytes    {bytes} of {}\n", config.store.limit);
    for (table, entries, bytes) in &found.tables {
        text += &format!("  {:<14}{entries} entries, {bytes} bytes\n", table.name());
    }
    text += &format!("in the journal  {} batches, {} bytes\n", found.batches, found.batch_bytes);
    let stop = if found.is_clean { "in good order" } else { "a kill, a power failure, or none yet" };
    text += &format!("last stop       {stop}\n");
    if found.findings.is_empty() {
        return say(&(text + "all is well\n"));
    }
    say(&text);
    for finding in &found.findings {
        complain(finding);
    }
    complain(
        "\"pillion store rebuild\" makes a new file of what can be read and of the journal; keep a copy first",
    );
    Exit::Failed
}

fn rebuilt(config: &Config, made: Option<Rebuilt>) -> Exit {
    let Some(made) = made else {
        return say(&format!("{}: there is no store yet\n", config.store.path.display()));
    };
    let aside = made.set_aside.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let expected = made.expected.map_or_else(|| "unknown".to_owned(), |expected| expected.to_string());
    let text = format!(
        "old file        {aside}\nread of it      {} of {expected} entries\nfrom journal    {} batches\n\
         new file        {} entries, {} bytes\n",
        made.read, made.batches, made.entries, made.stored_bytes
    );
    for loss in &made.losses {
        complain(&format!("lost: {loss}"));
    }
    // What was lost is known now, and the store works again.
    say(&text)
}
