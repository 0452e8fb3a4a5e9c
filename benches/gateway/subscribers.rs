//! Those who receive: one thread with a task for each socket, which reads every frame and checks it.

use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;

use pillion::clock;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;

use crate::child::Child;
use crate::frames;
use crate::publisher::Pace;
use crate::publisher::Publisher;
use crate::route::Route;

/// How long the last message may take.
const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// All subscribers of one process.
pub(crate) struct Subscribers {
    runtime: Runtime,
    tasks: Tasks,
    score: Arc<Score>,
    count: usize,
}

/// What came in one round.
pub(crate) struct Received {
    /// The delay of each message in microseconds, from the time it was due.
    pub(crate) delays: Vec<u32>,
    /// Messages that did not come.
    pub(crate) lost: u64,
    /// Messages that came before an earlier one, or again.
    pub(crate) disordered: u64,
}

struct Score {
    epoch: Instant,
    /// The length of a message.
    size: usize,
    /// The first message as it comes: the others stand in the same place of theirs.
    template: OnceLock<(Vec<u8>, usize)>,
    delays: Mutex<Vec<u32>>,
    disordered: AtomicU64,
    pings: AtomicU64,
}

impl Subscribers {
    /// Nobody yet; those who come will get messages of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        // The only worker is the thread of all clients.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let score = Score {
            epoch: clock::now(),
            size,
            template: OnceLock::new(),
            delays: Mutex::default(),
            disordered: AtomicU64::new(0),
            pings: AtomicU64::new(0),
        };
        Self { runtime, tasks: Tasks::new(), score: Arc::new(score), count: 0 }
    }

    /// Opens `count` more sessions in the room, one after the other.
    pub(crate) fn join(&mut self, route: &Route, count: usize) {
        for _ in 0..count {
            self.add(route.open_subscriber(self.count));
        }
    }

    /// Opens `count` more bare connections.
    pub(crate) fn join_floor(&mut self, floor: &Child, count: usize) {
        for _ in 0..count {
            self.add(floor.place().connect());
        }
    }

    fn add(&mut self, stream: UnixStream) {
        let _guard = self.runtime.enter();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        let subscriber = Subscriber { stream, score: Arc::clone(&self.score), next: 0, rest: Vec::new() };
        self.tasks.spawn("subscriber", OnExit::Ignore, subscriber.run());
        self.count += 1;
    }

    /// A frame with a message, as the daemon sends it.
    pub(crate) fn template(&self) -> Vec<u8> {
        frames::from_server(&self.score.template.get().unwrap().0)
    }

    /// The pings that came so far.
    pub(crate) fn pings(&self) -> u64 {
        self.score.pings.load(Relaxed)
    }

    /// Lets `publisher` publish for `time`, and waits until everybody has everything.
    pub(crate) fn receive(&mut self, publisher: &mut Publisher, pace: Pace, time: Duration) -> Received {
        self.score.delays.lock().unwrap().clear();
        let disordered = self.score.disordered.load(Relaxed);
        let published = publisher.publish(self.score.epoch, pace, time);
        let wanted = published * self.count as u64;
        let deadline = clock::now() + PATIENCE;
        while (self.score.delays.lock().unwrap().len() as u64) < wanted && clock::now() < deadline {
            thread::park_timeout(Duration::from_micros(500));
        }
        let delays = std::mem::take(&mut *self.score.delays.lock().unwrap());
        let lost = wanted.saturating_sub(delays.len() as u64);
        Received { delays, lost, disordered: self.score.disordered.load(Relaxed) - disordered }
    }
}

struct Subscriber {
    stream: tokio::net::UnixStream,
    score: Arc<Score>,
    /// The number of the next message of the round.
    next: u64,
    /// The beginning of a frame that has not come whole.
    rest: Vec<u8>,
}

impl Subscriber {
    async fn run(mut self) {
        while self.stream.readable().await.is_ok() {
            let read = SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
                Ok(0) => false,
                Ok(read) => {
                    self.read(&scratch[..read]);
                    true
                }
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            });
            if !read {
                return;
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let joined;
        let mut bytes = if self.rest.is_empty() {
            bytes
        } else {
            joined = [&self.rest, bytes].concat();
            &joined
        };
        let now = u64::try_from(clock::now().duration_since(self.score.epoch).as_nanos()).unwrap();
        let score = Arc::clone(&self.score);
        let mut delays = score.delays.lock().unwrap();
        while let Some((head, whole)) = frames::lengths(bytes)
            && whole <= bytes.len()
        {
            let (frame, others) = bytes.split_at(whole);
            // One frame may hold several messages, one a line.
            for text in frame[head..].split(|byte| *byte == b'\n') {
                if text == b"{}" {
                    self.pong();
                } else {
                    delays.push(self.message(text, now));
                }
            }
            bytes = others;
        }
        self.rest = bytes.to_vec();
    }

    /// Checks a message; gives its delay.
    fn message(&mut self, text: &[u8], now: u64) -> u32 {
        let (_, place) = self.score.template.get_or_init(|| {
            let place = frames::place(text);
            (text.to_vec(), place.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(text))))
        });
        let (number, due) = frames::read(text, *place, self.score.size).unwrap();
        // Each round begins with number 0.
        if number != self.next && number != 0 {
            self.score.disordered.fetch_add(1, Relaxed);
        }
        self.next = number + 1;
        u32::try_from(now.saturating_sub(due) / 1000).unwrap()
    }

    fn pong(&self) {
        self.score.pings.fetch_add(1, Relaxed);
        // A socket that took no pong would be closed by the daemon, and its messages be missed.
        drop(self.stream.try_write(&frames::from_client(b"{}")));
    }
}
