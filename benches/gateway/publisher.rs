//! The one who publishes: at a pace, or as fast as the answers come.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use pillion::clock;

use crate::child::Child;
use crate::frames;
use crate::route::Route;
use crate::route::Tongue;

/// How many paced publications may be without an answer: more than there ever are in a healthy run.
const PACED_MAX: usize = 64;

/// When publications are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// So many per second.
    Paced(u32),
    /// So many without an answer.
    Pipelined(usize),
}

/// A client that publishes.
pub(crate) struct Publisher {
    stream: UnixStream,
    script: Script,
    /// The length of a message.
    size: usize,
    next: u64,
    unanswered: usize,
    answers: Vec<u8>,
}

/// What a publication looks like on the wire.
enum Script {
    At(Route),
    /// For the floor: the frame that the daemon's subscribers get.
    Floor(Vec<u8>),
}

impl Publisher {
    /// A session that is not in the room and publishes messages of `size` bytes.
    pub(crate) fn join(route: &Route, size: usize) -> Self {
        Self::new(route.open_publisher(), Script::At(route.clone()), size)
    }

    /// The client that feeds the floor with frames like `template`.
    pub(crate) fn join_floor(floor: &Child, template: &[u8], size: usize) -> Self {
        let mut stream = floor.place().connect();
        stream.write_all(&u32::try_from(template.len()).unwrap().to_be_bytes()).unwrap();
        Self::new(stream, Script::Floor(template.to_vec()), size)
    }

    fn new(stream: UnixStream, script: Script, size: usize) -> Self {
        Self { stream, script, size, next: 0, unanswered: 0, answers: Vec::new() }
    }

    /// Publishes for `time` and waits for all answers; gives how many it published.
    ///
    /// Each message carries its number, beginning with 0, and the time it was due, counted from `epoch`.
    pub(crate) fn publish(&mut self, epoch: Instant, pace: Pace, time: Duration) -> u64 {
        self.next = 0;
        let start = clock::now();
        loop {
            let (due, window) = match pace {
                Pace::Paced(rate) => {
                    let due = start + Duration::from_secs(self.next) / rate;
                    wait_until(due);
                    (due, PACED_MAX)
                }
                Pace::Pipelined(window) => (clock::now(), window),
            };
            if due.duration_since(start) >= time {
                break;
            }
            self.answered(window - 1);
            let due = if matches!(pace, Pace::Paced(_)) { due } else { clock::now() };
            self.send(u64::try_from(due.duration_since(epoch).as_nanos()).unwrap());
        }
        self.answered(0);
        self.next
    }

    fn send(&mut self, due: u64) {
        let message = frames::message(self.next, due, self.size);
        let frame = match &mut self.script {
            Script::At(route) => route.publication(self.next + 2, &message),
            Script::Floor(template) => {
                let place = frames::place(template).unwrap();
                template[place..place + self.size].copy_from_slice(&message);
                template.clone()
            }
        };
        self.stream.write_all(&frame).unwrap();
        self.next += 1;
        self.unanswered += 1;
    }

    /// Reads until no more than `left` publications are without an answer.
    fn answered(&mut self, left: usize) {
        while self.unanswered > left {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the connection ended");
            self.answers.extend_from_slice(&buffer[..read]);
            while let Some((head, whole)) = frames::lengths(&self.answers)
                && whole <= self.answers.len()
            {
                let answer = String::from_utf8(self.answers.drain(..whole).skip(head).collect()).unwrap();
                if answer == "{}" {
                    self.stream.write_all(&frames::from_client(b"{}")).unwrap();
                } else {
                    assert!(self.is_done(&answer), "{answer}");
                    self.unanswered -= 1;
                }
            }
        }
    }

    fn is_done(&self, answer: &str) -> bool {
        match &self.script {
            Script::At(route) if route.tongue == Tongue::Nchan => answer.contains("last message id"),
            Script::At(_) | Script::Floor(_) => answer.contains("publish") && !answer.contains("error"),
        }
    }
}

/// Waits until `due`.
pub(crate) fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(clock::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
