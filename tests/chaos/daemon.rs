//! The daemon: a process that is started, stopped and killed, always with the same directory.

use std::fs::OpenOptions;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::process::Command;

use super::within;

/// Where the producer's lines go, in the directory of the daemon.
pub(super) const LINES: &str = "lines.sock";

/// What the daemon says, in the same directory.
const SAID: &str = "stderr";

/// The daemon, running or not.
#[derive(Debug)]
pub(super) struct Daemon {
    program: PathBuf,
    folder: PathBuf,
    sets: Vec<String>,
    child: Option<Child>,
}

impl Daemon {
    pub(super) fn new(program: &Path, folder: &Path, more: Vec<String>) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut sets = vec![
            format!("data_dir={}", at("data")),
            format!("listen.public=[\"unix:{}\"]", at("pillion.sock")),
            format!("listen.admin=[\"unix:{}\"]", at("admin.sock")),
            format!("ingest.listen=[\"unix:{}\"]", at(LINES)),
            "logger.retry_max_interval=500ms".to_owned(),
            "node=chaos".to_owned(),
            "shutdown_timeout=3s".to_owned(),
            "log.level=warn".to_owned(),
        ];
        sets.extend(more);
        Self { program: program.to_owned(), folder: folder.to_owned(), sets, child: None }
    }

    /// Starts it and waits until it takes lines.
    pub(super) async fn start(&mut self) {
        let said = OpenOptions::new().create(true).append(true).open(self.folder.join(SAID)).unwrap();
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .kill_on_drop(true)
            .arg("run")
            .args(self.sets.iter().flat_map(|set| ["--set", set]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let mut child = command.spawn().unwrap();
        let lines = self.folder.join(LINES);
        let ready = async {
            while UnixStream::connect(&lines).await.is_err() {
                assert!(child.try_wait().unwrap().is_none(), "pillion ended: {}", self.said());
                tokio::time::sleep(super::producer::TICK).await;
            }
        };
        within("pillion listens", ready).await;
        self.child = Some(child);
    }

    /// Asks it to stop, or kills it.
    pub(super) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).unwrap();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) {
        let mut child = self.child.take().unwrap();
        within("pillion ends", child.wait()).await.unwrap();
    }

    /// Stops it in good order.
    pub(super) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.ended().await;
    }

    /// The last of what it has said.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join(SAID)).unwrap_or_default();
        let from = text.len().saturating_sub(4000);
        text.get(from..).unwrap_or(&text).to_owned()
    }

    /// How many records it has put aside.
    pub(super) fn dead_letters(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join("data/dead-letters.ndjson")).unwrap_or_default();
        text.lines().count() as u64
    }
}
