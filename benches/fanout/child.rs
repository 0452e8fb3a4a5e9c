//! The processes that are measured: the daemon, and the floor.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::ops::Sub;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Signs the tokens.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A process and the directory of its sockets.
pub(crate) struct Child {
    process: process::Child,
    directory: TempDir,
}

/// CPU time.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) total: Duration,
    /// Clock ticks outside and inside the kernel.
    ticks: (f64, f64),
}

impl Spent {
    /// The share that was not spent in the kernel.
    pub(crate) fn user(&self) -> f64 {
        let (user, kernel) = self.ticks;
        user / (user + kernel)
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let ticks = (self.ticks.0 - before.ticks.0, self.ticks.1 - before.ticks.1);
        Self { total: self.total - before.total, ticks }
    }
}

impl Child {
    /// The daemon, with a log server that reads and throws away.
    pub(crate) fn daemon() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let log = UnixListener::bind(at("sink.sock")).unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = log.accept() {
                thread::spawn(move || drain(stream));
            }
        });
        let sets = [
            format!("data_dir={}", at("data")),
            format!("listen.public=[\"unix:{}\"]", at("socket")),
            format!("listen.admin=[\"unix:{}\"]", at("admin.sock")),
            format!("ingest.listen=[\"unixgram:{}\"]", at("log.sock")),
            format!("logger.path={}", at("sink.sock")),
            // Sent records that are kept for a while would count as memory of the sessions they tell of.
            "logger.replay_tail=0".to_owned(),
            "log.level=error".to_owned(),
            "auth.mode=jwt".to_owned(),
            format!("auth.jwt_secret={SECRET}"),
            "gateway.namespace=[{ name = \"\", subscribe = \"token\", publish = \"authenticated\" }]"
                .to_owned(),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_pillion"));
        command.arg("run").env_clear();
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        Self::start(command, directory)
    }

    /// A bare process that writes what it reads to `subscribers` sockets.
    pub(crate) fn floor_of(subscribers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("floor").arg(directory.path().join("socket")).env("SUBSCRIBERS", subscribers.to_string());
        Self::start(command, directory)
    }

    fn start(mut command: Command, directory: TempDir) -> Self {
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let mut child = Self { process, directory };
        while UnixStream::connect(child.socket()).is_err() {
            assert!(child.process.try_wait().unwrap().is_none(), "the process ended");
            thread::park_timeout(Duration::from_millis(5));
        }
        child
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The memory of the process in bytes: what it shares with others counts in part.
    pub(crate) fn memory(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    }

    /// The CPU time of the process so far: to the nanosecond in total, in ticks outside and inside the kernel.
    pub(crate) fn spent(&self) -> Spent {
        let id = self.process.id();
        let of_thread = |path: PathBuf| -> u64 {
            let text = fs::read_to_string(path.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let total = threads.map(|thread| of_thread(thread.unwrap().path())).sum();
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        // The name in brackets may have blanks; user and kernel ticks are the 12th and 13th field behind it.
        let mut ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11);
        let mut tick = || ticks.next().unwrap().parse().unwrap();
        Spent { total: Duration::from_nanos(total), ticks: (tick(), tick()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn drain(mut stream: UnixStream) {
    let mut buffer = vec![0; 64 * 1024];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

/// The floor: frames of one length come from the first client; each goes to all other clients, then is answered.
pub(crate) fn floor(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    // Whoever started this process looked whether it listens.
    drop(listener.accept().unwrap());
    let (mut publisher, _) = listener.accept().unwrap();
    let mut number = [0; 4];
    publisher.read_exact(&mut number).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(number) as usize];
    let subscribers: usize = std::env::var("SUBSCRIBERS").unwrap().parse().unwrap();
    let mut subscribers: Vec<_> = (0..subscribers).map(|_| listener.accept().unwrap().0).collect();
    while publisher.read_exact(&mut frame).is_ok() {
        for subscriber in &mut subscribers {
            subscriber.write_all(&frame).unwrap();
        }
        publisher.write_all(b"\x81\x09\"publish\"").unwrap();
    }
}
