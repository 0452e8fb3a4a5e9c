//! The processes that are measured.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::sink::Sink;

/// The first argument of this program when it is to be the bare loop.
pub(crate) const LOOP: &str = "loop";

/// How lines come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Tcp,
    Unix,
    Unixgram,
    Udp,
}

/// What carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relay {
    Pillion,
    Rsyslog,
    Loop,
}

impl Relay {
    /// What this machine lacks of it.
    pub(crate) fn is_missing(self, tls: bool) -> Option<&'static str> {
        let is_rsyslog = self == Self::Rsyslog;
        if is_rsyslog && rsyslogd().is_none() {
            Some("rsyslog")
        } else if is_rsyslog && tls && driver().is_none() {
            Some("rsyslog-openssl")
        } else {
            None
        }
    }
}

/// A relay that listens, with the directory of its files.
pub(crate) struct Process {
    child: process::Child,
    port: u16,
    directory: TempDir,
}

impl Process {
    pub(crate) fn start(relay: Relay, input: Input, sink: &Sink) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The kernel names a free port; the relay takes it a moment later.
        let port = match input {
            Input::Udp => UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            _ => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        };
        let mut command = match relay {
            Relay::Pillion => pillion(directory.path(), input, port, sink),
            Relay::Rsyslog => rsyslog(directory.path(), input, port, sink),
            Relay::Loop => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg(LOOP).arg(format!("{input:?}")).arg(directory.path().join("lines"));
                command.arg(port.to_string()).arg(sink.address().to_string());
                command
            }
        };
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut process = Self { child, port, directory };
        while !process.listens(input) {
            assert!(process.child.try_wait().unwrap().is_none(), "the relay ended");
            thread::sleep(Duration::from_millis(5));
        }
        process
    }

    /// Where it listens on a unix socket.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("lines")
    }

    /// Where it listens otherwise.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// User and system time of all its threads, in the kernel's ticks of 10 ms.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// The most bytes of memory that it ever had.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn listens(&self, input: Input) -> bool {
        // The tables tell without a connection, which the bare loop would take for the sender's.
        let port = format!(":{:04X}", self.port);
        let listed = |table: &str, state: &str| {
            let text = fs::read_to_string(table).unwrap();
            text.lines().any(|line| {
                let mut columns = line.split_whitespace().skip(1);
                columns.next().is_some_and(|at| at.ends_with(&port)) && columns.nth(1) == Some(state)
            })
        };
        match input {
            Input::Unix | Input::Unixgram => self.path().exists(),
            Input::Tcp => listed("/proc/net/tcp", "0A"),
            Input::Udp => listed("/proc/net/udp", "07"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn pillion(directory: &Path, input: Input, port: u16, sink: &Sink) -> Command {
    let at = |name: &str| directory.join(name).display().to_string();
    let listen = match input {
        Input::Tcp => format!("tcp:127.0.0.1:{port}"),
        Input::Udp => format!("udp:127.0.0.1:{port}"),
        Input::Unix => format!("unix:{}", at("lines")),
        Input::Unixgram => format!("unixgram:{}", at("lines")),
    };
    let mut sets = vec![
        format!("data_dir={}", at("data")),
        format!("listen.public=[\"unix:{}\"]", at("socket")),
        format!("listen.admin=[\"unix:{}\"]", at("admin.sock")),
        format!("ingest.listen=[\"{listen}\"]"),
        "logger.host=127.0.0.1".to_owned(),
        format!("logger.port={}", sink.address().port()),
        "log.level=error".to_owned(),
        "node=edge-1".to_owned(),
    ];
    if let Some(authority) = sink.authority() {
        sets.push("logger.ssl=true".to_owned());
        sets.push(format!("logger.ssl_ca={}", authority.display()));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillion"));
    command.arg("run").env_clear().args(sets.iter().flat_map(|set| ["--set", set]));
    command
}

fn rsyslog(directory: &Path, input: Input, port: u16, sink: &Sink) -> Command {
    let at = |name: &str| directory.join(name).display().to_string();
    let input = match input {
        Input::Tcp => {
            format!("module(load=\"imptcp\")\ninput(type=\"imptcp\" address=\"127.0.0.1\" port=\"{port}\")")
        }
        Input::Unix => format!("module(load=\"imptcp\")\ninput(type=\"imptcp\" path=\"{}\")", at("lines")),
        Input::Udp => format!(
            "module(load=\"imudp\" batchSize=\"128\" timeRequery=\"8\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\" rcvbufSize=\"4m\")"
        ),
        Input::Unixgram => format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{}\" UseSpecialParser=\"off\" RateLimit.Interval=\"0\")",
            at("lines")
        ),
    };
    let tls = sink.authority().map_or_else(String::new, |authority| {
        let authority = authority.display();
        format!(
            " StreamDriver=\"ossl\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"anon\" \
             StreamDriver.CAFile=\"{authority}\""
        )
    });
    let config = format!(
        "global(workDirectory=\"{work}\" maxMessageSize=\"64k\")\n\
         main_queue(queue.type=\"FixedArray\" queue.size=\"200000\" queue.dequeueBatchSize=\"1024\")\n\
         {input}\n\
         template(name=\"raw\" type=\"string\" string=\"%rawmsg-after-pri%\\n\")\n\
         action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{to}\" protocol=\"tcp\" template=\"raw\"{tls})\n",
        work = directory.display(),
        to = sink.address().port(),
    );
    fs::write(directory.join("rsyslog.conf"), config).unwrap();
    let mut command = Command::new(rsyslogd().unwrap());
    command.arg("-n").arg("-f").arg(at("rsyslog.conf")).arg("-i").arg(at("pid"));
    command
}

fn rsyslogd() -> Option<&'static str> {
    ["/usr/sbin/rsyslogd", "/sbin/rsyslogd", "/usr/bin/rsyslogd"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

/// rsyslog's TLS by OpenSSL, wherever Debian puts libraries on this machine.
fn driver() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let mut paths = folders.filter_map(|folder| Some(folder.ok()?.path().join("rsyslog/lmnsd_ossl.so")));
    paths.find(|path| path.exists())
}

/// The floor: what is read is written, 64 KiB at most, each datagram with a newline behind it.
pub(crate) fn bare_loop(arguments: &[String]) {
    let [input, path, port, sink] = arguments else { panic!("{arguments:?}") };
    let at = ("127.0.0.1", port.parse().unwrap());
    let mut out = TcpStream::connect(sink).unwrap();
    let mut stream = |mut stream: Box<dyn Read>| {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            out.write_all(bytes.get(..length).unwrap()).unwrap();
        }
    };
    match input.as_str() {
        "Tcp" => stream(Box::new(TcpListener::bind(at).unwrap().accept().unwrap().0)),
        "Unix" => stream(Box::new(UnixListener::bind(path).unwrap().accept().unwrap().0)),
        "Unixgram" => {
            let socket = UnixDatagram::bind(path).unwrap();
            datagrams(out, |bytes| socket.recv(bytes).ok(), |wait| socket.set_nonblocking(!wait).unwrap());
        }
        _ => {
            let socket = UdpSocket::bind(at).unwrap();
            socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
            datagrams(out, |bytes| socket.recv(bytes).ok(), |wait| socket.set_nonblocking(!wait).unwrap());
        }
    }
    // A stream that ends is the end; whoever started this ends it otherwise.
    loop {
        thread::park();
    }
}

/// Gathers datagrams while there are some, then writes them together.
fn datagrams(mut out: TcpStream, receive: impl Fn(&mut [u8]) -> Option<usize>, wait: impl Fn(bool)) {
    let mut bytes = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let received = receive(bytes.get_mut(filled..filled + 1024).unwrap());
        if let Some(length) = received {
            if filled == 0 {
                wait(false);
            }
            filled += length + 1;
            *bytes.get_mut(filled - 1).unwrap() = b'\n';
        }
        if received.is_none() || filled + 1025 > bytes.len() {
            out.write_all(bytes.get(..filled).unwrap()).unwrap();
            filled = 0;
            wait(true);
        }
    }
}
