//! Why something did not happen: the questions of troubleshooting, answered from log records.
//!
//! ```text
//! records, in any order ──> Case::take ──> what concerns the question ──> Case::close ──> conclusion, evidence, advice
//! ```
//!
//! What it is: pure reading of records about one user, session or token, by the recipes of the original gateway:
//! a login that fails (`login`, `wsconn`), messages that are not sent (`msg_send`, `memory_msg`), sessions that drop
//! (`logout`), messages that are late (`send_time_delay`), Redis that is gone (`redis_connected_msg`); and where one
//! message stopped. Lost log lines (`log_gap`) are told too, because they may hide the answer. The original's
//! spellings of fields are understood. What it is not: it reads nothing itself and knows no current state.
//!
//! **Limit.** The [`LINES`] latest lines that concern the question are kept; that older ones were left out is told.

mod line;
mod message;
mod words;

use std::collections::VecDeque;

use line::Line;
use words::counted;
use words::narrate;
use words::seconds;

/// How many lines about the question are kept.
pub const LINES: usize = 10_000;

/// From so many seconds on a message is late.
const LATE_SECONDS: f64 = 1.0;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// A session, a user, or a login token.
    pub who: String,
    /// The hash under which records have it, if it is a token.
    pub token_hash: String,
    /// A message.
    pub message: Option<String>,
}

impl Question {
    fn is_about(&self, line: &Line) -> bool {
        let is = |value: &Option<String>, wanted: &str| value.as_deref() == Some(wanted);
        is(&line.session, &self.who)
            || is(&line.user, &self.who)
            || is(&line.token, &self.who)
            || is(&line.token, &self.token_hash)
    }

    /// Whether a line is worth keeping: about whom it is asked, about the message, or about everybody.
    fn concerns(&self, line: &Line) -> bool {
        let message = self.message.is_some() && line.message_id == self.message;
        let everybody = matches!(line.action.as_str(), "log_gap" | "redis_connected_msg" | "drain");
        message || everybody || self.is_about(line)
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether any line was about the question.
    pub found: bool,
    /// What happened, on one line.
    pub conclusion: String,
    /// The lines that show it, in the order of time.
    pub evidence: Vec<String>,
    /// What to check next.
    pub advice: Vec<String>,
}

/// A question, and what was read about it so far.
#[derive(Debug)]
pub struct Case {
    question: Question,
    lines: VecDeque<Line>,
    read: u64,
    left_out: u64,
    /// The times of the first and the last record that was read.
    span: Option<(String, String)>,
}

impl Case {
    /// A case without records.
    #[must_use]
    pub fn new(question: Question) -> Self {
        Self { question, lines: VecDeque::new(), read: 0, left_out: 0, span: None }
    }

    /// Reads a record, one JSON object.
    pub fn take(&mut self, record: &[u8]) {
        let line = Line::read(record);
        self.read += 1;
        if !line.stamp.is_empty() {
            match &mut self.span {
                Some((_, last)) => last.clone_from(&line.stamp),
                None => self.span = Some((line.stamp.clone(), line.stamp.clone())),
            }
        }
        if !self.question.concerns(&line) {
            return;
        }
        if let Some(last) = self.lines.back_mut()
            && self.question.message.is_none()
            && line.is("room_msg")
            && last.is("room_msg")
            && last.session == line.session
            && last.room == line.room
        {
            // One line for a talk, so that it does not push out what is looked for.
            last.more += 1;
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.lines.push_back(line);
    }

    /// The answer.
    #[must_use]
    pub fn close(self) -> Answer {
        let Self { question, lines, read, left_out, span } = self;
        let mut lines = Vec::from(lines);
        lines.sort_by(Line::order);
        lines.dedup_by(|one, other| one.is_same(other));
        let about: Vec<&Line> = lines.iter().filter(|line| question.is_about(line)).collect();
        let found = !about.is_empty() || lines.iter().any(|line| line.message_id.is_some());
        if !found {
            return nothing(&question, &lines, read, span);
        }
        let mut told = Told::default();
        if let Some(id) = &question.message {
            told.sentences.push(message::verdict(&lines, &question.who, id, |line| question.is_about(line)));
        }
        told.redis(&lines);
        told.logins(&about);
        told.unsent(&about);
        told.ends(&about);
        told.rules(&about);
        told.late(&about);
        let gaps: Vec<&Line> =
            lines.iter().filter(|line| line.is("log_gap") && is_near(line, &about)).collect();
        told.gaps(&gaps);
        if told.sentences.is_empty() {
            told.sentences.push(quiet(&about));
        }
        let mut evidence: Vec<String> = lines
            .iter()
            .filter(|line| !line.is("log_gap") || gaps.iter().any(|gap| std::ptr::eq(*gap, *line)))
            .map(|line| evidence(line, &question))
            .collect();
        if left_out > 0 {
            evidence.insert(0, format!("{} before these were left out", counted(left_out, "line")));
        }
        let conclusion = format!("{}: {}", question.who, told.sentences.join("; "));
        Answer { found, conclusion, evidence, advice: told.advice }
    }
}

/// What can be said when no line is about the question.
fn nothing(question: &Question, lines: &[Line], read: u64, span: Option<(String, String)>) -> Answer {
    let span = span.map(|(first, last)| format!(", from {first} to {last}")).unwrap_or_default();
    let message = question.message.as_deref().map(|id| format!(" or message {id}")).unwrap_or_default();
    let conclusion =
        format!("{}: nothing about it{message} among {}{span}", question.who, counted(read, "line"));
    // What concerns everybody may be all that there is to know.
    let mut told = Told { sentences: vec![conclusion], advice: Vec::new() };
    told.redis(lines);
    told.gaps(&lines.iter().filter(|line| line.is("log_gap")).collect::<Vec<_>>());
    told.advice.extend(NOTHING.map(str::to_owned));
    let everybody = lines.iter().map(|line| evidence(line, question)).collect();
    Answer { found: false, conclusion: told.sentences.join("; "), evidence: everybody, advice: told.advice }
}

/// What to check when no line is about the question.
const NOTHING: [&str; 3] = [
    "is it written as in the log? users, sessions and tokens are compared letter by letter",
    "did the client get here at all? nginx's logs, and the action wsconn with its address, tell",
    "lines that were sent are in the log server: search there, or hand them over with --from FILE",
];

/// True for a gap of a run in which the lines about the question were written.
fn is_near(gap: &Line, about: &[&Line]) -> bool {
    about.iter().any(|line| line.boot == gap.boot)
}

/// One line as evidence: when, whom it is about, what it says.
fn evidence(line: &Line, question: &Question) -> String {
    let stamp = if line.stamp.is_empty() { "(no time)" } else { &line.stamp };
    let mut whom = String::new();
    for (name, value) in [("user", &line.user), ("session", &line.session)] {
        if let Some(value) = value.as_deref().filter(|value| *value != question.who) {
            whom.push_str(&format!("  {name} {value}"));
        }
    }
    format!("{stamp}{whom}  {}", narrate(line))
}

/// What is said when nothing went wrong on record.
fn quiet(about: &[&Line]) -> String {
    let logins = about.iter().filter(|line| line.is("login")).count() as u64;
    let logouts = about.iter().filter(|line| line.is("logout")).count() as u64;
    let sessions = format!("{} and {}", counted(logins, "login"), counted(logouts, "logout"));
    format!("nothing went wrong on record; {sessions} among {}", counted(about.len() as u64, "line"))
}

/// The sentences of the conclusion, the gravest first, and what to check.
#[derive(Debug, Default)]
struct Told {
    sentences: Vec<String>,
    advice: Vec<String>,
}

impl Told {
    fn tell(&mut self, sentence: String, advice: &str) {
        self.sentences.push(sentence);
        if !advice.is_empty() && !self.advice.iter().any(|given| given == advice) {
            self.advice.push(advice.to_owned());
        }
    }

    fn redis(&mut self, lines: &[Line]) {
        let of_redis = lines.iter().filter(|line| line.is("redis_connected_msg"));
        if let Some(last) = of_redis.clone().next_back() {
            let count = counted(of_redis.count() as u64, "line");
            let sentence = format!("Redis: {count}, the last at {}: {}", last.stamp, words::said(last));
            self.tell(sentence, "when nobody gets anything: whether Redis runs and can be reached from here");
        }
    }

    fn logins(&mut self, about: &[&Line]) {
        let is_refused = |line: &&&Line| line.is("wsconn") || (line.is("login") && line.err.is_some());
        let refused: Vec<_> = about.iter().filter(is_refused).collect();
        let Some(last) = refused.last() else { return };
        let later =
            about.iter().any(|line| line.is("login") && line.err.is_none() && line.order(last).is_gt());
        let times = if refused.len() == 1 { String::new() } else { format!(" ({} times)", refused.len()) };
        let later = if later { "; a later login succeeded" } else { "" };
        let sentence = format!("{}{times} at {}{later}", narrate(last), last.stamp);
        self.tell(
            sentence,
            "a refused login: the words behind the code, then the token and whoever checks it",
        );
    }

    fn unsent(&mut self, about: &[&Line]) {
        let failed = |line: &&&Line| (line.is("msg_send") && line.err.is_some()) || line.is("memory_msg");
        let failed: Vec<_> = about.iter().filter(failed).collect();
        if let Some(last) = failed.last() {
            let sentence = format!(
                "messages were not sent ({}), the last time at {}: {}",
                counted(failed.len() as u64, "line"),
                last.stamp,
                words::said(last)
            );
            self.tell(
                sentence,
                "unsent messages: how the session ended, and whether the client reads fast enough",
            );
        }
    }

    fn ends(&mut self, about: &[&Line]) {
        let dropped: Vec<_> = about.iter().filter(|line| line.is("logout") && words::is_drop(line)).collect();
        let Some(last) = dropped.last() else { return };
        let times = if dropped.len() == 1 { String::new() } else { format!(" ({} times)", dropped.len()) };
        let known = last.err.as_deref().and_then(words::reason);
        let (means, check) = known.unwrap_or(("", "the words of the line"));
        let means = if means.is_empty() { String::new() } else { format!(" - {means}") };
        self.tell(format!("{}{times} at {}{means}", narrate(last), last.stamp), check);
    }

    fn rules(&mut self, about: &[&Line]) {
        let broken: Vec<_> = about.iter().filter(|line| line.is("web_err")).collect();
        if let Some(last) = broken.last() {
            let sentence = format!(
                "{} ({}), the last at {}",
                narrate(last),
                counted(broken.len() as u64, "line"),
                last.stamp
            );
            self.tell(sentence, "broken rules: what the client sends, or which room it may use; docs/PROTOCOL.md has the rules");
        }
    }

    fn late(&mut self, about: &[&Line]) {
        let late = about.iter().filter(|line| line.delay.is_some_and(|delay| delay >= LATE_SECONDS));
        let slowest = late
            .max_by(|one, other| one.delay.partial_cmp(&other.delay).unwrap_or(std::cmp::Ordering::Equal));
        if let Some(slowest) = slowest {
            let sentence =
                format!("messages were up to {} late, told at {}", seconds(slowest.delay), slowest.stamp);
            self.tell(sentence, "late messages: the client's network first, then the load of this machine");
        }
    }

    fn gaps(&mut self, gaps: &[&Line]) {
        if gaps.is_empty() {
            return;
        }
        let lines = gaps.iter().fold(0_u64, |sum, gap| sum.saturating_add(gap.gap.lines));
        let gaps = counted(gaps.len() as u64, "gap");
        self.tell(
            format!(
                "{} of the log were lost in {gaps}, so that something may be missing here",
                counted(lines, "line")
            ),
            "lost log lines: whether the log server takes them, and logger.drop_limit",
        );
    }
}

#[cfg(test)]
mod tests;
