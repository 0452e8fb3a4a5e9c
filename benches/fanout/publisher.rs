//! The one who publishes: at a pace, or as fast as the answers come.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use serde_json::json;

use pillion::clock;

use crate::child::Child;
use crate::child::SECRET;
use crate::frames;

/// The room.
const ROOM: &str = "bench";

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
    /// For the floor: the frame that the daemon's subscribers get.
    template: Option<Vec<u8>>,
    next: u64,
    unanswered: usize,
    answers: Vec<u8>,
}

impl Publisher {
    /// A session at the daemon that is not in the room.
    pub(crate) fn join(daemon: &Child) -> Self {
        Self::new(open(&daemon.socket(), "publisher", &[]), None)
    }

    /// The client that feeds the floor with frames like `template`.
    pub(crate) fn join_floor(floor: &Child, template: &[u8]) -> Self {
        let mut stream = UnixStream::connect(floor.socket()).unwrap();
        stream.write_all(&u32::try_from(template.len()).unwrap().to_be_bytes()).unwrap();
        Self::new(stream, Some(template.to_vec()))
    }

    fn new(stream: UnixStream, template: Option<Vec<u8>>) -> Self {
        Self { stream, template, next: 0, unanswered: 0, answers: Vec::new() }
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
        let message = frames::message(self.next, due);
        let frame = match &mut self.template {
            Some(template) => {
                let place = frames::place(template).unwrap();
                template[place..place + frames::MESSAGE].copy_from_slice(&message);
                template.clone()
            }
            None => {
                let mut command =
                    format!(r#"{{"id":{},"publish":{{"channel":"{ROOM}","data":"#, self.next + 2);
                command.push_str(std::str::from_utf8(&message).unwrap());
                command.push_str("}}");
                frames::from_client(command.as_bytes())
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
                    assert!(answer.contains("publish") && !answer.contains("error"), "{answer}");
                    self.unanswered -= 1;
                }
            }
        }
    }
}

/// Opens a session of `user`, whose token grants `rooms`.
fn open(path: &Path, user: &str, rooms: &[&str]) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream
        .write_all(
            b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Real-IP: 192.0.2.1\r\n\
              X-Request-Id: 0123456789abcdef0123456789abcdef\r\n\r\n",
        )
        .unwrap();
    let answer = until(&mut stream, |bytes| bytes.ends_with(b"\r\n\r\n"));
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    let claims = json!({ "sub": user, "channels": rooms });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let connect = json!({ "id": 1, "connect": { "token": token, "name": "bench" } });
    stream.write_all(&frames::from_client(connect.to_string().as_bytes())).unwrap();
    let reply =
        until(&mut stream, |bytes| frames::lengths(bytes).is_some_and(|(_, whole)| whole <= bytes.len()));
    assert!(reply.windows(9).any(|part| part == b"\"connect\""), "{}", String::from_utf8_lossy(&reply));
    stream
}

/// Opens a session of the `number`th subscriber, which is in the room.
pub(crate) fn open_subscriber(path: &Path, number: usize) -> UnixStream {
    open(path, &format!("user-{number:06}"), &[ROOM])
}

fn until(stream: &mut UnixStream, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while !done(&bytes) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
    bytes
}

/// Waits until `due`.
pub(crate) fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(clock::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
