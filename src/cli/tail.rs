//! `pillion tail`: log lines as they are written, from the running daemon, and those on disk when it is away.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use clap::Args;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;

use crate::backoff::Backoff;
use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::admin;
use crate::cli::admin::Admin;
use crate::cli::complain;
use crate::cli::spool;
use crate::config::Config;
use crate::filter::Filter;
use crate::filter::Terms;
use crate::members::members;
use crate::sink;
use crate::tap::SKIPPED;

/// How many of the last lines come before the live ones.
const LAST: usize = 10;

/// How many of the last lines are asked for after the daemon was away, so that its start is seen too.
const MISSED: usize = 1000;

/// The pauses between tries to reach the daemon again.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The longest line that is taken from the daemon, in bytes: the upper end of logger.max_line, and some more.
const LINE_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// Go on when the daemon ends, or is not there yet: try again with growing pauses
    #[arg(long, short, conflicts_with = "no_follow")]
    follow: bool,
    /// Print what is kept, in the daemon's memory and on disk, and end
    #[arg(long)]
    no_follow: bool,
    /// Print a readable line for each record; what is done on a terminal
    #[arg(long, conflicts_with = "json")]
    pretty: bool,
    /// Print each record as it is; what is done when the output is no terminal
    #[arg(long)]
    json: bool,
    /// How many of the last lines come first: of all but messages and nginx's lines, which are not kept in memory.
    /// Without it 10 before live lines, else all
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    #[command(flatten)]
    configured: Configured,
}

/// Which records are wanted.
#[derive(Debug, Args)]
struct Which {
    /// Only records of this room; several: any of them
    #[arg(long, value_name = "ROOM")]
    room: Vec<String>,
    /// Only records of this user; several: any of them
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// Only records of this session; several: any of them
    #[arg(long, value_name = "SESSION")]
    session: Vec<String>,
    /// Only records of this action, as in --action msg_send; several: any of them
    #[arg(long, value_name = "ACTION")]
    action: Vec<String>,
    /// Only records of this level and graver ones: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// Only records for which FIELD OP VALUE is true, as in 'send_time_delay>1'; OP is = != < <= > >= or ~ (contains);
    /// several: all of them
    #[arg(long = "where", value_name = "EXPR")]
    conditions: Vec<String>,
}

/// What is done at the end of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    /// It ends.
    Never,
    /// Live lines follow, until the daemon ends.
    Daemon,
    /// Live lines follow, from this daemon and the next.
    Always,
}

/// Prints lines until there are no more, or nobody reads them.
pub(super) fn tail(options: Options) -> Exit {
    let loaded = match options.configured.load() {
        Ok(loaded) => loaded,
        Err(unloaded) => return unloaded.complain(),
    };
    let follow = match (options.follow, options.no_follow) {
        (true, _) => Follow::Always,
        (_, true) => Follow::Never,
        _ => Follow::Daemon,
    };
    let terminal = io::stdout().is_terminal();
    let pretty = options.pretty || (terminal && !options.json);
    let Which { room, user, session, action, level, conditions } = options.which;
    let terms = Terms { rooms: room, users: user, sessions: session, actions: action, level, conditions };
    let filter = match Filter::new(&terms) {
        Ok(filter) => filter,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Usage;
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("can not start: {error}"));
            return Exit::Failed;
        }
    };
    let printer = Printer { pretty, colour: pretty && terminal, last: None };
    let mut tail = Tail { terms, filter, follow, lines: options.lines, printer };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = tail.run(&loaded.config) => outcome,
            () = closed_stdout() => Ok(Exit::Clean),
        }
    });
    match outcome {
        Ok(exit) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Clean,
        Err(error) => {
            complain(&format!("the output can not be written: {error}"));
            Exit::Failed
        }
    }
}

/// Resolves when nobody reads the output any more: a filter that fits nothing would not notice for days.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that may change their descriptor; this one keeps its own until it is \
              dropped"
)]
async fn closed_stdout() {
    if let Ok(output) = io::stdout().as_fd().try_clone_to_owned()
        && let Ok(output) = AsyncFd::with_interest(output, Interest::ERROR)
        && output.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    // A file can not be watched; it has no reader that could go.
    pending::<()>().await;
}

struct Tail {
    terms: Terms,
    filter: Filter,
    follow: Follow,
    lines: Option<usize>,
    printer: Printer,
}

impl Tail {
    /// Errors are those of the output.
    async fn run(&mut self, config: &Config) -> io::Result<Exit> {
        let last = if self.follow == Follow::Never { usize::MAX } else { LAST };
        let admin = match Admin::new(config) {
            Ok(admin) => admin,
            Err(error) => return self.without_daemon(config, &error),
        };
        let path = self.path(self.lines.unwrap_or(last));
        let ended = match admin.watch(&path).await {
            Ok(pieces) => {
                if let Err(error) = self.spooled(config, self.lines.unwrap_or(last))? {
                    complain(&error);
                }
                self.print(pieces).await?
            }
            Err(error @ admin::Error::Refused { .. }) => {
                complain(&error.to_string());
                return Ok(Exit::Failed);
            }
            Err(error) => {
                let again = self.follow == Follow::Always && error.is_worth_another_try();
                let exit = self.without_daemon(config, &error)?;
                if !again {
                    return Ok(exit);
                }
                complain("waiting for the daemon");
                true
            }
        };
        match (self.follow, ended) {
            (Follow::Always, _) => self.again(&admin).await,
            (_, true) => Ok(Exit::Clean),
            (_, false) => Ok(Exit::Failed),
        }
    }

    /// Reaches the daemon again and again.
    async fn again(&mut self, admin: &Admin) -> io::Result<Exit> {
        let (backoff, mut failures) = (Backoff::new(PAUSE, PAUSE_MAX), 0);
        let path = self.path(MISSED);
        loop {
            tokio::time::sleep(backoff.delay(failures, 1.0)).await;
            match admin.watch(&path).await {
                Ok(pieces) => {
                    complain("the daemon is there again");
                    failures = 0;
                    self.print(pieces).await?;
                }
                Err(error) if error.is_worth_another_try() => {
                    if failures == 0 {
                        complain(&format!("{error}; trying again"));
                    }
                    failures += 1;
                }
                Err(error) => {
                    complain(&error.to_string());
                    return Ok(Exit::Failed);
                }
            }
        }
    }

    /// Prints what is on disk, because the daemon can not be asked.
    fn without_daemon(&mut self, config: &Config, error: &admin::Error) -> io::Result<Exit> {
        complain(&error.to_string());
        complain("reading the unsent lines on disk alone");
        match self.spooled(config, self.lines.unwrap_or(usize::MAX))? {
            Ok(true) => Ok(Exit::Clean),
            Ok(false) => {
                complain(&format!("there are no unsent lines in {}", config.data_dir.display()));
                Ok(Exit::Failed)
            }
            Err(error) => {
                complain(&error);
                Ok(Exit::Failed)
            }
        }
    }

    /// Prints the last lines on disk; whether there are any at all, or why they can not be read.
    fn spooled(&mut self, config: &Config, last: usize) -> io::Result<Result<bool, String>> {
        let unreadable = |error: io::Error| {
            format!("the unsent lines in {} can not be read: {error}", config.data_dir.display())
        };
        let records = match spool::records(config) {
            Ok(Some(records)) => records,
            Ok(None) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(unreadable(error))),
        };
        let mut kept = VecDeque::new();
        for record in records {
            match record {
                Ok(record) if !self.filter.fits(&record) => {}
                // All are wanted: nothing needs to be kept to find the last ones.
                Ok(record) if last == usize::MAX => self.printer.line(record.trim_ascii_end())?,
                Ok(record) => {
                    kept.push_back(record);
                    if kept.len() > last {
                        kept.pop_front();
                    }
                }
                Err(error) => return Ok(Err(unreadable(error))),
            }
        }
        for record in kept {
            self.printer.line(record.trim_ascii_end())?;
        }
        self.printer.flush()?;
        Ok(Ok(true))
    }

    /// Prints what comes from the daemon; true when the daemon ended it, false when it broke off.
    async fn print(&mut self, mut pieces: admin::Pieces) -> io::Result<bool> {
        let mut rest: Vec<u8> = Vec::new();
        // Lines that were printed before this connection come again among the last ones.
        let printed = self.printer.last.clone();
        loop {
            let piece = match pieces.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    if self.follow != Follow::Never {
                        complain("the daemon has ended the flow of lines: it stops");
                    }
                    return Ok(true);
                }
                Err(error) => {
                    complain(&error.to_string());
                    return Ok(false);
                }
            };
            rest.extend_from_slice(&piece);
            let Some(end) = memchr::memrchr(b'\n', &rest) else {
                if rest.len() > LINE_MAX {
                    complain("what listens there sends no lines: it is not pillion");
                    return Ok(false);
                }
                continue;
            };
            let open = rest.split_off(end + 1);
            for line in rest.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                if let Some(skipped) = skipped(line) {
                    complain(&format!(
                        "{skipped} lines were skipped here: they came faster than they were printed; the log has them"
                    ));
                } else if !printed.as_ref().is_some_and(|place| place.covers(line)) {
                    self.printer.line(line)?;
                    self.printer.remember(line);
                }
            }
            self.printer.flush()?;
            rest = open;
        }
    }

    /// What to ask the daemon for.
    fn path(&self, last: usize) -> String {
        let last = last.to_string();
        let follow = if self.follow == Follow::Never { "no" } else { "yes" };
        let pairs = self.terms.pairs().chain([("lines", last.as_str()), ("follow", follow)]);
        admin::with_query("/tail", pairs)
    }
}

/// How many lines a line of the daemon says that were skipped.
fn skipped(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(SKIPPED.as_bytes())?;
    str::from_utf8(rest.strip_suffix(b"}")?).ok()
}

/// The place of a record in its run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    boot: String,
    sequence: u64,
}

impl Place {
    fn of(record: &[u8]) -> Option<Self> {
        let (mut boot, mut sequence) = (None, None);
        for member in members(record) {
            // A gap is told when there is room again, under an older number; better twice than not at all.
            if member.is_called("action") && member.text() == "log_gap" {
                return None;
            }
            if member.is_called("boot_id") {
                boot = Some(member.text().into_owned());
            } else if member.is_called("log.sequence") {
                sequence = member.text().parse().ok();
            }
            if let (Some(boot), Some(sequence)) = (&boot, sequence) {
                return Some(Self { boot: boot.clone(), sequence });
            }
        }
        None
    }

    /// True for a record of the same run that is not newer.
    fn covers(&self, record: &[u8]) -> bool {
        Self::of(record).is_some_and(|other| other.boot == self.boot && other.sequence <= self.sequence)
    }
}

/// Prints records to stdout.
struct Printer {
    pretty: bool,
    colour: bool,
    /// The newest record that came from the daemon.
    last: Option<Place>,
}

impl Printer {
    fn line(&self, record: &[u8]) -> io::Result<()> {
        let readable = if self.pretty { sink::readable(record, self.colour) } else { None };
        let mut out = io::stdout().lock();
        out.write_all(readable.as_deref().map_or(record, str::as_bytes))?;
        out.write_all(b"\n")
    }

    fn remember(&mut self, record: &[u8]) {
        let newer = |place: &Place| {
            self.last.as_ref().is_none_or(|last| last.boot != place.boot || last.sequence < place.sequence)
        };
        if let Some(place) = Place::of(record).filter(newer) {
            self.last = Some(place);
        }
    }

    fn flush(&self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_skipped_lines_is_told_apart() {
        assert_eq!(skipped(b"{\"tail.skipped\":12}"), Some("12"));
        assert_eq!(skipped(b"{\"action\":\"login\",\"tail.skipped\":12}"), None);
    }

    #[test]
    fn what_was_printed_before_a_connection_broke_is_not_printed_again() {
        let mut printer = Printer { pretty: false, colour: false, last: None };
        for sequence in [7, 9, 8] {
            printer.remember(format!(r#"{{"boot_id":"b","log.sequence":{sequence}}}"#).as_bytes());
        }
        let place = printer.last.unwrap();
        assert!(place.covers(br#"{"boot_id":"b","log.sequence":9}"#));
        assert!(!place.covers(br#"{"boot_id":"b","log.sequence":10}"#));
        assert!(!place.covers(br#"{"boot_id":"c","log.sequence":1}"#));
        assert!(!place.covers(br#"{"log.sequence":1}"#));
        assert!(!place.covers(br#"{"action":"log_gap","boot_id":"b","log.sequence":1}"#));
    }
}
