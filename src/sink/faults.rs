//! How the sink misbehaves on demand, for trials of what a sender does then.
//!
//! A fault with a number happens once, when so many lines of all connections together have been taken. Of a batch
//! or a window it comes behind the line with that number, so that what is behind it has been read and not taken. A
//! fault without a number happens every time. A stall is one of the whole sink: nothing is read, handed on or answered
//! on any connection; whoever connects is accepted and not read.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use memchr::memmem::Finder;
use tokio::sync::watch;

use super::intake::Intake;
use super::socket::Ear;
use super::socket::Heard;
use super::socket::Socket;
use crate::units;

/// What to do wrong; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Stop reading and answering, on all connections.
    pub stall: Option<Stall>,
    /// Reset a connection within a line, after so many lines.
    pub reset_after: Option<u64>,
    /// Close a connection after so many lines; without the answer that they are due.
    pub close_after: Option<u64>,
    /// Answer something that is no acknowledgement, after so many lines.
    pub garbage_after: Option<u64>,
    /// Acknowledge the first half of every window of two records or more, and reset the connection.
    pub ack_partly: bool,
    /// Acknowledge every window so much later.
    pub ack_late: Option<Duration>,
    /// Close the connection when a line contains this; neither the line nor its window is taken.
    pub refuse: Option<String>,
}

/// A pause in reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// After so many lines.
    pub after: u64,
    /// For so long; for ever without it.
    pub pause: Option<Duration>,
}

impl FromStr for Stall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (after, pause) = text.split_once(':').map_or((text, None), |(after, pause)| (after, Some(pause)));
        let after = after.parse().map_err(|_| {
            format!("\"{after}\" is no number of lines; write N or N:DURATION, such as 1000 or 1000:1.5s")
        })?;
        let pause =
            pause.map(|pause| units::duration(pause).map_err(|error| error.to_string())).transpose()?;
        Ok(Self { after, pause })
    }
}

impl Faults {
    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        let Self { stall, reset_after, close_after, garbage_after, ack_partly, ack_late, refuse } = self;
        let numbered =
            stall.is_some() || [reset_after, close_after, garbage_after].iter().any(|n| n.is_some());
        !numbered && !ack_partly && ack_late.is_none() && refuse.is_none()
    }

    /// True when one of them needs a connection.
    pub(super) fn need_streams(&self) -> bool {
        !Self { stall: None, ..self.clone() }.is_empty()
    }

    /// True when one of them needs acknowledgements.
    pub(super) fn need_acks(&self) -> bool {
        self.ack_partly || self.ack_late.is_some() || self.garbage_after.is_some()
    }
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Stalls.
    pub stalls: u64,
    /// Resets, those after a part of a window among them.
    pub resets: u64,
    /// Connections that were closed.
    pub closes: u64,
    /// Answers that were no acknowledgements.
    pub garbage: u64,
    /// Acknowledgements of half a window.
    pub partial_acks: u64,
    /// Acknowledgements that were late.
    pub late_acks: u64,
    /// Lines and windows that were refused.
    pub refused: u64,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stalls, resets, closes, garbage, partial_acks, late_acks, refused } = self;
        write!(
            f,
            "{stalls} stalls, {resets} resets, {closes} closes, {garbage} answers of garbage, {partial_acks} partial \
             acks, {late_acks} late acks, {refused} refusals"
        )
    }
}

/// Something that happens behind a certain line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Stall(Option<Duration>),
    Reset,
    Close,
    Garbage,
    /// The next line must not be taken.
    Refuse,
}

/// The faults of one sink, and how far they have come.
#[derive(Debug)]
pub(super) struct Script {
    faults: Faults,
    poison: Option<Finder<'static>>,
    progress: Mutex<Progress>,
    /// True during a stall, which is one of all connections.
    stalled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Progress {
    lines: u64,
    /// What will happen, by the number of lines; the next one last.
    coming: Vec<(u64, Trouble)>,
    happened: Happened,
}

/// What goes on after some trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The connection has to end.
    Leave,
}

/// What is answered instead of an acknowledgement.
const GARBAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

impl Script {
    pub(super) fn new(faults: Faults) -> Self {
        let stall = faults.stall.map(|stall| (stall.after, Trouble::Stall(stall.pause)));
        let others = [
            faults.reset_after.map(|after| (after, Trouble::Reset)),
            faults.close_after.map(|after| (after, Trouble::Close)),
            faults.garbage_after.map(|after| (after, Trouble::Garbage)),
        ];
        let mut coming: Vec<_> = stall.into_iter().chain(others.into_iter().flatten()).collect();
        coming.sort_by_key(|(after, _)| std::cmp::Reverse(*after));
        let poison = faults.refuse.as_ref().map(|text| Finder::new(text.as_bytes()).into_owned());
        let progress = Mutex::new(Progress { coming, ..Progress::default() });
        Self { faults, poison, progress, stalled: watch::Sender::new(false) }
    }

    /// How often each fault has happened.
    pub(super) fn happened(&self) -> Happened {
        self.with(|progress| progress.happened)
    }

    /// Takes as many of `lines` as come before the next trouble: their bytes, and what happens then.
    pub(super) fn take(&self, lines: &[u8]) -> (usize, Option<Trouble>) {
        let poison = self.poison.as_ref().and_then(|poison| poison.find(lines));
        // The bytes before the line that is refused.
        let clean = poison
            .map(|at| memchr::memrchr(b'\n', lines.get(..at).unwrap_or_default()).map_or(0, |end| end + 1));
        let lines = lines.get(..clean.unwrap_or(lines.len())).unwrap_or(lines);
        let (taken, trouble) = self.with(|progress| {
            let left = progress.coming.last().map(|(after, _)| after.saturating_sub(progress.lines));
            let mut ends = memchr::memchr_iter(b'\n', lines).map(|end| end + 1);
            let Some(left) = left else { return (lines.len(), None) };
            if left == 0 {
                return (0, progress.coming.pop().map(|(_, trouble)| trouble));
            }
            let skipped = usize::try_from(left - 1).unwrap_or(usize::MAX);
            match ends.nth(skipped) {
                Some(end) => {
                    progress.lines += left;
                    (end, progress.coming.pop().map(|(_, trouble)| trouble))
                }
                None => {
                    progress.lines += memchr::memchr_iter(b'\n', lines).count() as u64;
                    (lines.len(), None)
                }
            }
        });
        (taken, trouble.or(clean.map(|_| Trouble::Refuse)))
    }

    /// Everything that happens behind one of the lines of a window, which is taken whole.
    pub(super) fn troubles(&self, window: &[u8]) -> Vec<Trouble> {
        let (mut rest, mut troubles) = (window, Vec::new());
        loop {
            let (taken, trouble) = self.take(rest);
            rest = rest.get(taken..).unwrap_or_default();
            match trouble {
                None | Some(Trouble::Refuse) => return troubles,
                Some(trouble) => troubles.push(trouble),
            }
        }
    }

    /// True when a window contains what is to be refused.
    pub(super) fn refuses(&self, window: &[u8]) -> bool {
        let refused = self.poison.as_ref().is_some_and(|poison| poison.find(window).is_some());
        if refused {
            self.count(|happened| &mut happened.refused);
        }
        refused
    }

    /// How much later acknowledgements are.
    pub(super) fn ack_late(&self) -> Option<Duration> {
        self.faults.ack_late.inspect(|_| self.count(|happened| &mut happened.late_acks))
    }

    /// What is acknowledged of a window of which `highest` is due.
    pub(super) fn ack_partly(&self, highest: u32) -> Option<u32> {
        let half = Some(highest / 2).filter(|half| self.faults.ack_partly && *half > 0);
        half.inspect(|_| {
            self.count(|happened| &mut happened.partial_acks);
            self.count(|happened| &mut happened.resets);
        })
    }

    /// Does it, on a connection of which something is left unread if it is `within` a line.
    pub(super) async fn play<S: Socket>(
        &self,
        trouble: Trouble,
        (ear, within): (&mut Ear<S>, bool),
        intake: &Intake,
    ) -> Next {
        match trouble {
            Trouble::Stall(_) => {
                self.stall(&[trouble], intake).await;
                Next::GoOn
            }
            Trouble::Garbage => {
                self.count(|happened| &mut happened.garbage);
                if ear.say(GARBAGE).await { Next::GoOn } else { Next::Leave }
            }
            Trouble::Reset => {
                let mut next = Vec::new();
                if within || ear.hear(&mut next, intake).await == Heard::Bytes {
                    self.count(|happened| &mut happened.resets);
                    ear.reset_at_end();
                }
                Next::Leave
            }
            Trouble::Close => {
                self.count(|happened| &mut happened.closes);
                Next::Leave
            }
            Trouble::Refuse => {
                self.count(|happened| &mut happened.refused);
                Next::Leave
            }
        }
    }

    /// Does those of `troubles` that need no connection.
    pub(super) async fn stall(&self, troubles: &[Trouble], intake: &Intake) {
        for trouble in troubles {
            if let Trouble::Stall(pause) = trouble {
                self.count(|happened| &mut happened.stalls);
                self.stalled.send_replace(true);
                stall(*pause, intake).await;
                self.stalled.send_replace(false);
            }
        }
    }

    /// Waits for the end of a stall that another connection began, or of the sink.
    pub(super) async fn gate(&self, intake: &Intake) {
        let mut stalled = self.stalled.subscribe();
        tokio::select! {
            biased;
            // The sender is in here and can not have gone.
            _ = stalled.wait_for(|stalled| !stalled) => {}
            () = intake.tasks.stopping() => {}
        }
    }

    fn count(&self, which: impl Fn(&mut Happened) -> &mut u64) {
        self.with(|progress| *which(&mut progress.happened) += 1);
    }

    fn with<R>(&self, work: impl FnOnce(&mut Progress) -> R) -> R {
        work(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Does nothing for so long, or until the sink stops.
pub(super) async fn stall(pause: Option<Duration>, intake: &Intake) {
    let over = async {
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = intake.tasks.stopping() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"a\nb\nc\nd\n";

    #[test]
    fn trouble_comes_behind_its_line_and_once() {
        let stall = Some(Stall { after: 5, pause: None });
        let script =
            Script::new(Faults { stall, reset_after: Some(3), close_after: Some(5), ..Faults::default() });
        assert_eq!(script.take(LINES), (6, Some(Trouble::Reset)));
        assert_eq!(script.take(b"d\n"), (2, None));
        // Two at the same place come one after the other.
        assert_eq!(script.take(LINES), (2, Some(Trouble::Close)));
        assert_eq!(script.take(b"b\n"), (0, Some(Trouble::Stall(None))));
        assert_eq!(script.take(LINES), (8, None));
    }

    #[test]
    fn a_refused_line_is_not_taken_and_those_before_it_are() {
        let script = Script::new(Faults { refuse: Some("c".to_owned()), ..Faults::default() });
        assert_eq!(script.take(LINES), (4, Some(Trouble::Refuse)));
        assert_eq!(script.take(b"c\n"), (0, Some(Trouble::Refuse)));
        assert_eq!(script.take(b"a\n"), (2, None));
        assert!(script.refuses(LINES) && !script.refuses(b"a\n"));
    }

    #[test]
    fn a_stall_is_a_number_and_perhaps_a_time() {
        let stall = |text: &str| text.parse::<Stall>();
        assert_eq!(stall("7"), Ok(Stall { after: 7, pause: None }));
        assert_eq!(stall("0:1.5s"), Ok(Stall { after: 0, pause: Some(Duration::from_millis(1500)) }));
        assert!(stall("x").unwrap_err().contains("write N or N:DURATION"));
        assert!(stall("7:5").unwrap_err().contains("has no unit"));
    }
}
