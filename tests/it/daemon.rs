//! The real program, started as an operator does, with the test as its log server and its service manager.

#![allow(clippy::disallowed_methods, reason = "the tasks of a test end with its runtime")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::trial::PATIENCE;

/// Waits for something, and says what did not happen.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen in time: {what}"))
}

/// A log server on a unix socket: keeps every record.
pub(crate) struct LogServer {
    records: watch::Receiver<Vec<Value>>,
    accepting: JoinHandle<()>,
}

impl LogServer {
    pub(crate) fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (sender, records) = watch::channel(Vec::new());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut lines = BufReader::new(stream).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let record: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                    sender.send_modify(|records| records.push(record));
                }
            }
        });
        Self { records, accepting }
    }

    /// The first record that fits; waits for it.
    pub(crate) async fn record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut records = self.records.clone();
        let found = within(what, records.wait_for(|records| records.iter().any(&fits))).await.unwrap();
        found.iter().find(|record| fits(record)).unwrap().clone()
    }

    /// All records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.records.borrow().clone()
    }

    /// Dies with its connections.
    pub(crate) fn kill(self) -> Vec<Value> {
        self.accepting.abort();
        self.records()
    }
}

/// True for a record of an action.
pub(crate) fn is(action: &'static str) -> impl Fn(&Value) -> bool {
    move |record| record["action"] == action
}

/// A running pillion with a directory of its own.
pub(crate) struct Daemon {
    child: Child,
    notices: tokio::net::UnixDatagram,
    said: JoinHandle<String>,
    pub(crate) log: LogServer,
    pub(crate) directory: TempDir,
}

/// The arguments of a daemon whose sockets and data are all in `directory`.
pub(crate) fn arguments(directory: &Path, more: &[&str]) -> Vec<String> {
    let at = |name: &str| directory.join(name).display().to_string();
    let mut sets = vec![
        format!("data_dir={}", at("data")),
        format!("listen.public=[\"unix:{}\"]", at("pillion.sock")),
        format!("listen.admin=[\"unix:{}\"]", at("admin.sock")),
        format!("ingest.listen=[\"unixgram:{}\", \"unix:{}\"]", at("log.sock"), at("lines.sock")),
        format!("logger.path={}", at("sink.sock")),
        "logger.periodic_flush=0.05".to_owned(),
        "node=test-node".to_owned(),
        "shutdown_timeout=5s".to_owned(),
    ];
    sets.extend(more.iter().map(ToString::to_string));
    sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]).collect()
}

/// The program, with none of the test's own variables.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillion"));
    command.env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

impl Daemon {
    /// Starts the daemon with a log server, and waits until it says that it is ready.
    pub(crate) async fn start(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = LogServer::start(&directory.path().join("sink.sock"));
        Self::start_in(directory, log, more).await
    }

    /// Starts the daemon in a directory that is there already.
    pub(crate) async fn start_in(directory: TempDir, log: LogServer, more: &[&str]) -> Self {
        let mut command = program();
        command.arg("run").args(arguments(directory.path(), more));
        Self::start_as(command, directory, log).await
    }

    /// Starts the daemon by a command of the test's own.
    pub(crate) async fn start_as(mut command: Command, directory: TempDir, log: LogServer) -> Self {
        let notify = directory.path().join("notify.sock");
        let notices = UnixDatagram::bind(&notify).unwrap();
        notices.set_nonblocking(true).unwrap();
        let notices = tokio::net::UnixDatagram::from_std(notices).unwrap();
        command.env("NOTIFY_SOCKET", &notify).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = tokio::spawn(async move {
            let mut text = String::new();
            stderr.read_to_string(&mut text).await.unwrap();
            text
        });
        let mut daemon = Self { child, notices, said, log, directory };
        daemon.told("READY=1").await;
        daemon
    }

    /// Waits until the daemon tells its service manager `what`.
    pub(crate) async fn told(&mut self, what: &str) {
        let mut notice = vec![0; 4096];
        loop {
            tokio::select! {
                size = self.notices.recv(&mut notice) => {
                    let text = String::from_utf8_lossy(&notice[..size.unwrap()]).into_owned();
                    if text.lines().any(|line| line == what) {
                        return;
                    }
                }
                status = self.child.wait() => {
                    let said = (&mut self.said).await.unwrap();
                    panic!("pillion ended with {status:?} instead of telling {what}:\n{said}");
                }
                () = tokio::time::sleep(PATIENCE) => panic!("pillion did not tell {what}"),
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens a websocket at a path of the public listener.
    pub(crate) async fn websocket(&self, path: &str) -> Client {
        Client::open(&self.path("pillion.sock"), path, &[]).await
    }

    /// A GET to the admin listener: status and body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        get(&self.path("admin.sock"), path).await
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().expect("pillion runs")).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// SIGKILL, then another daemon in the same directory, with the same log server.
    pub(crate) async fn killed_and_started(self, more: &[&str]) -> Self {
        let (directory, log) = self.kill().await;
        Self::start_in(directory, log, more).await
    }

    /// SIGTERM, then waits for the end: exit status, what was said on stderr, all records.
    pub(crate) async fn stop(self) -> (ExitStatus, String, Vec<Value>) {
        self.signal(rustix::process::Signal::TERM);
        self.ended().await
    }

    /// Waits until a daemon that was killed is gone.
    pub(crate) async fn gone(&mut self) {
        within("pillion is gone", self.child.wait()).await.unwrap();
    }

    /// SIGKILL: what remains is the directory, and the log server that goes on listening.
    pub(crate) async fn kill(mut self) -> (TempDir, LogServer) {
        self.signal(rustix::process::Signal::KILL);
        within("pillion ends", self.child.wait()).await.unwrap();
        std::fs::remove_file(self.path("notify.sock")).unwrap();
        (self.directory, self.log)
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String, Vec<Value>) {
        let status = within("pillion ends", self.child.wait()).await.unwrap();
        let said = within("stderr closes", self.said).await.unwrap();
        (status, said, self.log.kill())
    }
}

/// A GET over a unix socket: status and body.
pub(crate) async fn get(socket: &Path, path: &str) -> (u16, String) {
    let answer = exchange(socket, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// Sends a request over a unix socket and reads the whole answer.
pub(crate) async fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", async {
        while !is_whole(&answer) {
            let mut piece = vec![0; 64 * 1024];
            let size = stream.read(&mut piece).await.unwrap();
            assert!(size > 0, "the connection ended after {answer:?}");
            answer.push_str(std::str::from_utf8(&piece[..size]).unwrap());
        }
    })
    .await;
    answer
}

/// True when an answer has its head and as many bytes as the head says.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = crate::trial::header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// A websocket client over a unix socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<UnixStream>,
}

impl Client {
    pub(crate) async fn open(socket: &Path, path: &str, headers: &[(&'static str, &str)]) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let mut request = format!("ws://test{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let opened = within("the upgrade", tokio_tungstenite::client_async(request, stream)).await;
        Self { socket: opened.unwrap().0 }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text, or how the connection ended: `close CODE REASON`.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return format!("close {} {}", u16::from(frame.code), frame.reason);
                }
                Some(Ok(Message::Close(None))) | None => return "close".to_owned(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return format!("error {error}"),
            }
        }
    }

    /// The next text as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.next().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    /// Logs in with the Centrifuge protocol and gives the session's id.
    pub(crate) async fn connect(&mut self, token: &str) -> String {
        self.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)).await;
        let reply = self.json().await;
        reply["connect"]["client"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    }

    /// Joins a room with the Centrifuge protocol.
    pub(crate) async fn subscribe(&mut self, room: &str) {
        self.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"}}}}"#)).await;
        let reply = self.json().await;
        assert!(reply.get("subscribe").is_some(), "{reply}");
    }
}

/// The longest that something which must not happen is waited for.
pub(crate) const BRIEF: Duration = Duration::from_millis(100);
