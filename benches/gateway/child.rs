//! The processes that are measured: the daemon, nginx in front of it or with nchan, and the floor.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::ops::Add;
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

use rustix::process::Pid;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::route::Place;
use crate::route::Route;
use crate::route::Tongue;

/// Signs the tokens.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Where Debian's package puts nchan.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// A process, those that it has started, and the directory of its files.
pub(crate) struct Child {
    process: process::Child,
    directory: TempDir,
    place: Place,
    tongue: Tongue,
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

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let ticks = (self.ticks.0 + other.ticks.0, self.ticks.1 + other.ticks.1);
        Self { total: self.total + other.total, ticks }
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
    /// The daemon, with a log server that reads and throws away; `slow` is what happens to those who do not read.
    pub(crate) fn daemon(slow: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let log = UnixListener::bind(at("sink.sock")).unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = log.accept() {
                thread::spawn(move || drain(stream));
            }
        });
        let room = r#"{ name = "", subscribe = "token", publish = "authenticated""#;
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
            format!("gateway.namespace=[{room}, slow = \"{slow}\" }}]"),
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

    /// nginx with the shipped files in front of `daemon`; `None` where it is not installed.
    pub(crate) fn nginx(daemon: &Self) -> Option<Self> {
        nginx()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx/trial.sh");
        Self::listening(Tongue::Centrifuge, |prefix, port| {
            let mut command = Command::new("sh");
            command.arg(&script).arg(prefix);
            command.env("TRIAL_SOCKET", daemon.directory.path().join("socket"));
            command
                .env("TRIAL_SYSLOG", format!("unix:{}", daemon.directory.path().join("log.sock").display()));
            command.env("TRIAL_HTTP_PORT", port.to_string()).env("TRIAL_HTTPS_PORT", free_port().to_string());
            command.env("TRIAL_LOG_LEVEL", "notice");
            command
        })
    }

    /// nginx with nchan, in one process, which is where it is fastest; `None` where it is not installed.
    pub(crate) fn nchan() -> Option<Self> {
        let program = nginx().filter(|_| Path::new(NCHAN).exists())?;
        Self::listening(Tongue::Nchan, |prefix, port| {
            fs::write(prefix.join("nginx.conf"), nchan_configuration(port)).unwrap();
            let mut command = Command::new(program);
            command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(prefix);
            if rustix::process::geteuid().is_root() {
                command.args(["-g", "user root;"]);
            }
            command
        })
    }

    /// An nginx on a port that was free a moment ago: when somebody was faster, it is tried again with another.
    fn listening(tongue: Tongue, command: impl Fn(&Path, u16) -> Command) -> Option<Self> {
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut process = command(directory.path(), port).stderr(Stdio::piped()).spawn().unwrap();
            let mut said = BufReader::new(process.stderr.take().unwrap());
            if is_up(&mut said) {
                // Whatever else it says must be read, or it would block on a full pipe.
                thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                let place = Place::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                return Some(Self { process, directory, place, tongue });
            }
            process.wait().unwrap();
        }
        panic!("nginx did not start, five times");
    }

    fn start(mut command: Command, directory: TempDir) -> Self {
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let socket = directory.path().join("socket");
        let place = Place::Unix(socket.clone());
        let mut child = Self { process, directory, place, tongue: Tongue::Centrifuge };
        while UnixStream::connect(&socket).is_err() {
            assert!(child.process.try_wait().unwrap().is_none(), "the process ended");
            thread::park_timeout(Duration::from_millis(5));
        }
        child
    }

    /// Where it listens.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// How clients come to it.
    pub(crate) fn route(&self) -> Route {
        Route { place: self.place.clone(), tongue: self.tongue }
    }

    /// The memory of the processes in bytes: what they share with others counts in part.
    pub(crate) fn memory(&self) -> f64 {
        let of_process = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
        };
        self.processes().into_iter().map(of_process).sum()
    }

    /// The CPU time of the processes so far: to the nanosecond in total, in ticks outside and inside the kernel.
    pub(crate) fn spent(&self) -> Spent {
        let nothing = Spent { total: Duration::ZERO, ticks: (0.0, 0.0) };
        self.processes().into_iter().map(spent).fold(nothing, Spent::add)
    }

    /// The process and its children.
    fn processes(&self) -> Vec<u32> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        std::iter::once(id).chain(children).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.place, Place::Tcp(_)) {
            // An nginx takes its workers along.
            rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        } else {
            self.process.kill().unwrap();
        }
        self.process.wait().unwrap();
    }
}

fn spent(id: u32) -> Spent {
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

fn nginx() -> Option<&'static str> {
    ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

/// Its sockets are bound before it starts the first worker, and it says so.
fn is_up(said: &mut impl BufRead) -> bool {
    let mut line = String::new();
    while said.read_line(&mut line).is_ok_and(|size| size > 0) {
        if line.contains("start worker process ") {
            return true;
        }
        line.clear();
    }
    false
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn nchan_configuration(port: u16) -> String {
    format!(
        "daemon off;
load_module {NCHAN};
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    nchan_shared_memory_size 256m;
    server {{
        listen 127.0.0.1:{port};
        nchan_channel_id bench;
        location = /sub {{ nchan_subscriber websocket; nchan_subscriber_first_message newest; }}
        location = /pub {{ nchan_publisher websocket; }}
    }}
}}
"
    )
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
