//! Reads lines from a connection: JSON, or syslog, whose lines may have their length before them.

use super::Format;
use super::faults::Next;
use super::faults::Script;
use super::intake::Ending;
use super::intake::Intake;
use super::socket::Ear;
use super::socket::Heard;
use super::socket::Socket;
use crate::wire::frames::Frames;
use crate::wire::opening::Opening;

/// Reads until the connection ends or the tasks are stopped.
pub(super) async fn read(mut ear: Ear<impl Socket>, intake: &Intake) {
    let mut splitter = Splitter::new(intake.format);
    let (mut first, mut usual) = (true, Ending::Whole);
    loop {
        match ear.hear(splitter.room(), intake).await {
            Heard::Bytes => {}
            end @ (Heard::Closed | Heard::Silence) => {
                if end == Heard::Silence {
                    ear.reset_at_end();
                }
                if let Some(rest) = splitter.rest() {
                    intake.give(rest, Ending::Torn).await;
                }
                return;
            }
            Heard::Stopped => return,
        }
        intake.gate().await;
        if std::mem::take(&mut first) {
            match intake.foreign(splitter.room()).await {
                None => {}
                Some(Opening::Json | Opening::Syslog) => usual = Ending::Foreign,
                // There are no lines in that.
                Some(_) => return,
            }
        }
        for (bytes, ending) in splitter.ready(intake.max_line) {
            let ending = if ending == Ending::Whole { usual } else { ending };
            let go_on = match &intake.script {
                None => intake.give(bytes, ending).await,
                Some(script) => stage(script, &mut ear, (bytes, ending), &splitter, intake).await,
            };
            if !go_on {
                return;
            }
        }
    }
}

/// Hands lines on as far as nothing goes wrong on purpose; false when the connection must end.
async fn stage<S: Socket>(
    script: &Script,
    ear: &mut Ear<S>,
    (bytes, ending): (Vec<u8>, Ending),
    splitter: &Splitter,
    intake: &Intake,
) -> bool {
    let mut rest = bytes;
    loop {
        let (taken, trouble) = script.take(&rest);
        let behind = rest.split_off(taken);
        if !rest.is_empty() && !intake.give(rest, ending).await {
            return false;
        }
        let Some(trouble) = trouble else { return true };
        let within = !behind.is_empty() || splitter.is_within();
        if script.play(trouble, (ear, within), intake).await == Next::Leave {
            return false;
        }
        rest = behind;
    }
}

/// Finds the lines.
enum Splitter {
    Breaks(Breaks),
    Syslog { bytes: Vec<u8>, frames: Frames },
}

impl Splitter {
    fn new(format: Format) -> Self {
        match format {
            Format::Ndjson | Format::Beats => Self::Breaks(Breaks::default()),
            Format::Syslog3164 | Format::Syslog5424 => {
                Self::Syslog { bytes: Vec::new(), frames: Frames::default() }
            }
        }
    }

    /// Where what is read goes.
    fn room(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Breaks(lines) => &mut lines.held,
            Self::Syslog { bytes, .. } => bytes,
        }
    }

    /// Takes out what is ready: whole lines, and those that are too long.
    fn ready(&mut self, max: usize) -> Vec<(Vec<u8>, Ending)> {
        match self {
            Self::Breaks(lines) => lines.ready(max).into_iter().flatten().collect(),
            Self::Syslog { bytes, frames } => {
                let mut ready: Vec<(Vec<u8>, Ending)> = Vec::new();
                frames.feed(bytes, max, &mut |line, cut| {
                    let ending = if cut { Ending::TooLong } else { Ending::Whole };
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    match ready.last_mut() {
                        Some((batch, Ending::Whole)) if !cut => batch.extend_from_slice(line),
                        _ => ready.push((line.to_vec(), ending)),
                    }
                    if let Some((batch, _)) = ready.last_mut() {
                        batch.push(b'\n');
                    }
                });
                bytes.clear();
                ready
            }
        }
    }

    /// True when a line has begun and not ended.
    fn is_within(&self) -> bool {
        match self {
            Self::Breaks(lines) => !lines.held.is_empty(),
            Self::Syslog { frames, .. } => frames.is_within(),
        }
    }

    /// What is left when the connection has closed.
    fn rest(self) -> Option<Vec<u8>> {
        let rest = match self {
            Self::Breaks(lines) if lines.skipping => Vec::new(),
            Self::Breaks(lines) => lines.held,
            Self::Syslog { mut frames, .. } => {
                let mut rest = Vec::new();
                frames.finish(&mut |line, _| rest.extend_from_slice(line));
                rest
            }
        };
        Some(rest).filter(|rest| !rest.is_empty())
    }
}

/// The bytes of a stream that are not handed on yet.
#[derive(Default)]
struct Breaks {
    held: Vec<u8>,
    skipping: bool,
}

impl Breaks {
    /// Takes out what is ready: whole lines, and the beginning of one that is too long.
    fn ready(&mut self, max: usize) -> [Option<(Vec<u8>, Ending)>; 2] {
        if self.skipping {
            let Some(end) = self.held.iter().position(|&byte| byte == b'\n') else {
                self.held.clear();
                return [None, None];
            };
            self.held.drain(..=end);
            self.skipping = false;
        }
        let whole = memchr::memrchr(b'\n', &self.held).map(|end| {
            let rest = self.held.split_off(end + 1);
            (std::mem::replace(&mut self.held, rest), Ending::Whole)
        });
        let long = (self.held.len() > max).then(|| {
            self.skipping = true;
            self.held.truncate(max);
            (std::mem::take(&mut self.held), Ending::TooLong)
        });
        [whole, long]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, ending: Ending) -> (String, Ending) {
        (text.to_owned(), ending)
    }

    fn feed(splitter: &mut Splitter, bytes: &[u8]) -> Vec<(String, Ending)> {
        splitter.room().extend_from_slice(bytes);
        let ready = splitter.ready(5).into_iter();
        ready.map(|(bytes, ending)| (String::from_utf8(bytes).unwrap(), ending)).collect()
    }

    #[test]
    fn lines_are_handed_on_whole_and_long_ones_cut() {
        let mut lines = Splitter::new(Format::Ndjson);
        assert_eq!(feed(&mut lines, b"ab"), []);
        assert_eq!(feed(&mut lines, b"c\nde\nf"), [line("abc\nde\n", Ending::Whole)]);
        assert_eq!(feed(&mut lines, b"ghijklmn"), [line("fghij", Ending::TooLong)]);
        assert_eq!(feed(&mut lines, b"opq"), []);
        assert_eq!(feed(&mut lines, b"r\ns\nt"), [line("s\n", Ending::Whole)]);
        assert!(lines.is_within());
        assert_eq!(lines.rest().unwrap(), b"t");
    }

    #[test]
    fn counted_lines_become_lines_with_a_break() {
        let mut lines = Splitter::new(Format::Syslog3164);
        assert_eq!(feed(&mut lines, b"4 <1>a5 <1>bcd\n"), [line("<1>a\n<1>bc\nd\n", Ending::Whole)]);
        assert_eq!(
            feed(&mut lines, b"e\nlonger "),
            [line("e\n", Ending::Whole), line("longe\n", Ending::TooLong)]
        );
        assert_eq!(feed(&mut lines, b"still\nf\n5 <1"), [line("f\n", Ending::Whole)]);
        assert!(lines.is_within());
        assert_eq!(lines.rest().unwrap(), b"<1");
    }
}
