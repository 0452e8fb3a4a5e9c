//! `pillion why`: what happened to a session, a user or a message, in plain words.

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde::de::IgnoredAny;
use tokio::runtime::Builder;

use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::admin::Admin;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::spool;
use crate::config::Config;
use crate::trail;
use crate::why::Answer;
use crate::why::Case;
use crate::why::Question;

/// The longest line that is read from a file, in bytes; longer ones are passed over and counted.
const LINE_MAX: usize = 16 * 1024 * 1024;

/// Everything that the daemon has in memory.
const KEPT: &str = "/tail?follow=no&lines=1000000";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Options {
    /// The session, the user, or the login token (or its hash, as in the log)
    #[arg(value_name = "SESSION_OR_USER")]
    who: String,
    /// Follow this message: the msg_id of its room_msg line
    #[arg(long, value_name = "ID")]
    msg: Option<String>,
    /// Read records from this file instead, one JSON object a line, as `pillion sink` and `pillion tail --json` print
    /// them; - is stdin; may be given several times
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    #[command(flatten)]
    configured: Configured,
}

const AFTER_HELP: &str = "Without --from it reads what this machine still has: unsent lines on disk, and the running \
                          daemon's last lines in memory, which are about sessions and not of messages or nginx. Lines \
                          that were sent are in the log server: export them from there and hand them over with --from.";

/// Reads what there is and answers.
pub(super) fn why(options: Options) -> Exit {
    let Options { who, msg, from, configured } = options;
    let token_hash = trail::hashed(&who);
    let mut case = Case::new(Question { who, token_hash, message: msg });
    let read = if from.is_empty() {
        let loaded = match configured.load() {
            Ok(loaded) => loaded,
            Err(unloaded) => return unloaded.complain(),
        };
        read_own(&mut case, &loaded.config)
    } else {
        from.iter().all(|path| read_file(&mut case, path))
    };
    let answer = case.close();
    let printed = say(&written(&answer));
    if read && answer.found { printed } else { Exit::Failed }
}

/// Reads the unsent lines and what the daemon has; whether either could be had.
fn read_own(case: &mut Case, config: &Config) -> bool {
    let mut read = false;
    match spool::records(config) {
        Ok(Some(records)) => {
            read = true;
            for record in records {
                match record {
                    Ok(record) => case.take(&record),
                    Err(error) => {
                        complain(&format!("not all unsent lines can be read: {error}"));
                        break;
                    }
                }
            }
        }
        Ok(None) => {}
        Err(error) => complain(&format!("the unsent lines can not be read: {error}")),
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    let kept = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let admin = Admin::new(config)?;
        Ok(runtime.block_on(admin.ask(Method::GET, KEPT, Bytes::new()))?)
    });
    match kept {
        Ok(lines) => {
            read = true;
            lines
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty())
                .for_each(|line| case.take(line));
        }
        Err(error) => complain(&error.to_string()),
    }
    read
}

/// Reads a file of records; whether that could be done to its end.
fn read_file(case: &mut Case, path: &Path) -> bool {
    let opened: io::Result<Box<dyn BufRead>> = if path == Path::new("-") {
        Ok(Box::new(io::stdin().lock()))
    } else {
        File::open(path).map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead>)
    };
    let read = opened.and_then(|reader| read_lines(case, reader));
    match read {
        Ok(None) => true,
        Ok(Some(odd)) => {
            complain(&format!(
                "{}: {} lines are no JSON objects, the first of them line {}; wanted is what `pillion sink` prints \
                 without --pretty",
                path.display(),
                odd.count,
                odd.first
            ));
            true
        }
        Err(error) => {
            complain(&format!("{}: can not be read: {error}", path.display()));
            false
        }
    }
}

/// Lines that are no records.
#[derive(Debug, PartialEq, Eq)]
struct Odd {
    count: u64,
    first: u64,
}

fn read_lines(case: &mut Case, mut reader: impl BufRead) -> io::Result<Option<Odd>> {
    let (mut odd, mut line): (Option<Odd>, Vec<u8>) = (None, Vec::new());
    for number in 1.. {
        line.clear();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        if (&mut reader).take(limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_whole = line.len() < LINE_MAX || line.ends_with(b"\n");
        if !is_whole {
            reader.skip_until(b'\n')?;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if is_whole && text.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
            case.take(text);
        } else {
            odd.get_or_insert(Odd { count: 0, first: number }).count += 1;
        }
    }
    Ok(odd)
}

/// The answer as it is printed. Records hold what clients sent: nothing in it may steer a terminal.
fn written(answer: &Answer) -> String {
    let mut text = String::new();
    let mut line = |indent: &str, said: &str| {
        text.push_str(indent);
        for letter in said.chars() {
            if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
        }
        text.push('\n');
    };
    line("", &answer.conclusion);
    if !answer.evidence.is_empty() {
        line("", "");
        answer.evidence.iter().for_each(|said| line("  ", said));
    }
    if !answer.advice.is_empty() {
        line("", "");
        line("", "What to check:");
        answer.advice.iter().for_each(|said| line("  - ", said));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_records_are_counted_and_passed_over() {
        let mut case = Case::new(Question { who: "u".to_owned(), ..Question::default() });
        let text = "{\"user_id\":\"u\",\"action\":\"login\"}\r\n\nhello\n[1]\n{\"user_id\":\n{\"a\":1}";
        let odd = read_lines(&mut case, text.as_bytes()).unwrap();
        assert_eq!(odd, Some(Odd { count: 3, first: 3 }));
        let answer = case.close();
        assert!(answer.found && answer.evidence.len() == 1);
    }

    #[test]
    fn a_line_without_an_end_is_passed_over() {
        let mut case = Case::new(Question { who: "u".to_owned(), ..Question::default() });
        let mut text = vec![b'x'; LINE_MAX + 10];
        text.extend_from_slice(b"\n{\"user_id\":\"u\"}\n");
        assert_eq!(read_lines(&mut case, text.as_slice()).unwrap(), Some(Odd { count: 1, first: 1 }));
        assert!(case.close().found);
    }

    #[test]
    fn nothing_that_is_printed_steers_a_terminal() {
        let answer = Answer {
            found: true,
            conclusion: "u: \x1b[31mred\nline".to_owned(),
            evidence: vec!["one".to_owned()],
            advice: vec!["two".to_owned()],
        };
        let expected = "u: \\u{1b}[31mred\\nline\n\n  one\n\nWhat to check:\n  - two\n";
        assert_eq!(written(&answer), expected);
    }
}
