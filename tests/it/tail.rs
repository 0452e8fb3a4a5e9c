//! Watching the log of a running daemon, and asking it why: `/tail`, `pillion tail` and `pillion why`.

use std::path::Path;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use pillion::tap;
use serde_json::Value;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::process::ChildStderr;
use tokio::process::ChildStdout;

use crate::daemon::BRIEF;
use crate::daemon::Daemon;
use crate::daemon::LogServer;
use crate::daemon::arguments;
use crate::daemon::is;
use crate::daemon::program;
use crate::daemon::within;

const CENTRIFUGE: &str = "/connection/websocket";
const TRIAL: &str = "auth.insecure=true";

/// A running `pillion tail`.
struct Tail {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    said: Lines<BufReader<ChildStderr>>,
}

impl Tail {
    fn start(directory: &Path, more: &[&str]) -> Self {
        let mut command = program();
        command.arg("tail").args(arguments(directory, &[TRIAL])).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, said }
    }

    async fn line(&mut self) -> String {
        within("a line", self.out.next_line()).await.unwrap().expect("the output goes on")
    }

    async fn record(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next record of an action.
    async fn action(&mut self, action: &'static str) -> Value {
        loop {
            let record = self.record().await;
            if is(action)(&record) {
                return record;
            }
        }
    }

    /// Waits until it says something with these words on stderr.
    async fn says(&mut self, words: &str) {
        loop {
            let line = within(words, self.said.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it did not say {words}"));
            if line.contains(words) {
                return;
            }
        }
    }

    async fn exit(mut self) -> i32 {
        within("the end of tail", self.child.wait()).await.unwrap().code().expect("it ends by itself")
    }
}

/// A raw GET of a stream, of which only the head is read.
async fn open(daemon: &Daemon, path: &str) -> (String, UnixStream) {
    let mut stream = UnixStream::connect(daemon.path("admin.sock")).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the head of an answer", stream.read_u8()).await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

async fn run(directory: &Path, command: &str, more: &[&str]) -> Output {
    let mut program = program();
    program.arg(command).args(arguments(directory, &[TRIAL])).args(more);
    within("the end of the command", program.output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Ends the daemon and starts another one in its place.
async fn restart(mut daemon: Daemon) -> Daemon {
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    daemon.stop().await;
    for name in ["sink.sock", "notify.sock"] {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    let log = LogServer::start(&directory.path().join("sink.sock"));
    Daemon::start_in(directory, log, &[TRIAL]).await
}

#[tokio::test]
async fn records_appear_as_they_are_written_and_the_last_ones_first() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut client = daemon.websocket(CENTRIFUGE).await;
    let session = client.connect("alice").await;
    let mut tail = Tail::start(daemon.directory.path(), &[]);
    let login = tail.action("login").await;
    assert_eq!(login["session_id"], session.as_str(), "written before the tail came");
    client.subscribe("r1").await;
    assert_eq!(tail.action("room_manage").await["room_id"], "r1");
    client.send(r#"{"id":3,"publish":{"channel":"r1","data":1}}"#).await;
    let shown = tail.action("room_msg").await;
    assert_eq!(daemon.log.record("the same record", is("room_msg")).await, shown);
    let (status, said, _) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    tail.action("drain").await;
    tail.says("it stops").await;
    assert_eq!(tail.exit().await, 0);
}

#[tokio::test]
async fn filters_choose_and_lines_are_readable_on_wish() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let filters =
        ["--user", "bob", "--user", "carol", "--action", "login", "--where", "desc~ROOMS", "--pretty"];
    let mut tail = Tail::start(daemon.directory.path(), &filters);
    for user in ["alice", "bob", "dave", "carol"] {
        daemon.websocket(CENTRIFUGE).await.connect(user).await;
    }
    for user in ["bob", "carol"] {
        let line = tail.line().await;
        assert!(
            line.contains(" info  login        session=") && line.contains(&format!(" user={user} ")),
            "{line}"
        );
    }
    let kept =
        run(daemon.directory.path(), "tail", &["--no-follow", "--user", "dave", "--json", "-n", "1"]).await;
    let (out, said) = (text(&kept.stdout), text(&kept.stderr));
    assert_eq!((kept.status.code(), out.lines().count(), said.as_str()), (Some(0), 1, ""), "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["user_id"], "dave");
}

#[tokio::test]
async fn a_filter_that_can_not_be_used_is_refused_here_and_there() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let wrong = run(daemon.directory.path(), "tail", &["--where", "status==500"]).await;
    let said = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(
        said.contains("\"status==500\", column 7: == is no comparison")
            && said.contains("right would be status=500")
    );
    for (query, words) in
        [("where=status", "column 7: a comparison is missing"), ("rom=1", "is no parameter of /tail")]
    {
        let (status, body) = daemon.admin(&format!("/tail?{query}")).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(status == 400 && body["message"].as_str().unwrap().contains(words), "{body}");
    }
    let answer =
        crate::daemon::exchange(&daemon.path("admin.sock"), "POST /tail HTTP/1.1\r\nHost: test\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET\r\n"), "{answer}");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_what_it_missed_and_the_log_loses_nothing() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let (head, slow) = open(&daemon, "/tail?action=line").await;
    assert!(head.contains("content-type: application/x-ndjson\r\n"), "{head}");
    let mut lines = UnixStream::connect(daemon.path("lines.sock")).await.unwrap();
    let filler = "x".repeat(1000);
    let count = 8 * tap::QUEUE / filler.len();
    for number in 0..count {
        lines.write_all(format!("{{\"n\":{number},\"filler\":\"{filler}\"}}\n").as_bytes()).await.unwrap();
    }
    let last = u64::try_from(count - 1).unwrap();
    daemon.log.record("the last line", |record| record["n"] == last).await;
    let logged = daemon.log.records();
    assert_eq!(logged.iter().filter(|record| record["filler"].is_string()).count(), count, "the log has all");
    // Reading again: what waited, how many are missing, and what comes now.
    lines.write_all(b"{\"n\":\"again\"}\n").await.unwrap();
    let mut slow = BufReader::new(slow).lines();
    let (mut seen, mut skipped) = (0, 0);
    loop {
        let line = within("a line of the slow stream", slow.next_line()).await.unwrap().unwrap();
        if let Some(rest) = line.strip_prefix(tap::SKIPPED) {
            skipped += rest.trim_end_matches('}').parse::<usize>().unwrap();
            if seen + skipped > count {
                break;
            }
            lines.write_all(b"{\"n\":\"again\"}\n").await.unwrap();
        } else if line.contains("\"n\":\"again\"") {
            break;
        } else {
            seen += usize::from(line.contains("\"n\":"));
        }
    }
    assert!(skipped > 0 && seen > 0, "{seen} seen, {skipped} skipped");
    assert!((count..=count + 2).contains(&(seen + skipped)), "{seen} seen, {skipped} skipped of {count}");
}

#[tokio::test]
async fn there_is_room_for_so_many_watchers_and_again_when_one_leaves() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut streams = Vec::new();
    for _ in 0..tap::WATCHERS {
        let (head, stream) = open(&daemon, "/tail").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        streams.push(stream);
    }
    let (status, body) = daemon.admin("/tail").await;
    assert!(status == 503 && body.contains("16 others watch already"), "{status} {body}");
    let refused = run(daemon.directory.path(), "tail", &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("16 others watch already"), "{}", text(&refused.stderr));
    streams.pop();
    // The daemon notices that a client has gone without a record to send it.
    within("a place", async {
        while !open(&daemon, "/tail").await.0.starts_with("HTTP/1.1 200") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_tail_outlives_the_daemon_on_wish() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut tail =
        Tail::start(daemon.directory.path(), &["--follow", "--action", "login", "--action", "drain"]);
    daemon.websocket(CENTRIFUGE).await.connect("alice").await;
    assert_eq!(tail.record().await["user_id"], "alice");
    let daemon = restart(daemon).await;
    tail.says("the daemon has ended the flow of lines").await;
    // A try of the tail, if not the next one, then a later one, finds the new daemon.
    daemon.websocket(CENTRIFUGE).await.connect("bob").await;
    tail.says("the daemon is there again").await;
    let mut users = Vec::new();
    while users.last().is_none_or(|user| user != "bob") {
        let record = tail.record().await;
        users.extend(record["user_id"].as_str().map(str::to_owned));
    }
    assert_eq!(users, ["bob"], "what was printed before does not come again");
    let (_, _, records) = daemon.stop().await;
    assert!(records.iter().any(is("drain")));
}

#[tokio::test]
async fn open_tails_do_not_hold_up_the_end() {
    let daemon = Daemon::start(&[TRIAL, "shutdown_timeout=60s"]).await;
    let mut reading = Tail::start(daemon.directory.path(), &["--action", "login", "--action", "drain"]);
    let mut client = daemon.websocket(CENTRIFUGE).await;
    client.connect("alice").await;
    reading.action("login").await;
    drop(client);
    // One that reads nothing while more waits for it than sockets hold.
    let (_, _stuck) = open(&daemon, "/tail").await;
    let mut lines = UnixStream::connect(daemon.path("lines.sock")).await.unwrap();
    for _ in 0..3000 {
        lines.write_all(format!("{{\"filler\":\"{}\"}}\n", "x".repeat(1000)).as_bytes()).await.unwrap();
    }
    drop(lines);
    let begin = pillion::clock::now();
    let (status, said, _) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(!said.contains("connections are cut"), "{said}");
    reading.action("drain").await;
    assert_eq!(reading.exit().await, 0);
}

#[tokio::test]
async fn without_a_daemon_there_is_what_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    for more in [&[] as &[&str], &["--no-follow"]] {
        let output = run(directory.path(), "tail", more).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("pillion does not run: nothing listens on unix:"), "{said}");
        assert!(said.contains("there are no unsent lines in "), "{said}");
    }
    let mut waiting = Tail::start(directory.path(), &["--follow"]);
    waiting.says("waiting for the daemon").await;
    let log = LogServer::start(&directory.path().join("sink.sock"));
    let daemon = Daemon::start_in(directory, log, &[TRIAL]).await;
    waiting.says("the daemon is there again").await;
    daemon.websocket(CENTRIFUGE).await.connect("alice").await;
    assert_eq!(waiting.action("login").await["user_id"], "alice");
}

#[tokio::test]
async fn a_closed_output_ends_a_tail_quietly_even_without_a_line() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let Tail { mut child, out, mut said } = Tail::start(daemon.directory.path(), &["--room", "nowhere"]);
    assert!(tokio::time::timeout(BRIEF, child.wait()).await.is_err(), "it waits for lines");
    drop(out);
    assert_eq!(within("the end", child.wait()).await.unwrap().code(), Some(0));
    assert_eq!(said.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn why_answers_from_the_running_daemon() {
    let daemon = Daemon::start(&["auth.mode=jwt", "auth.jwt_secret=0123456789abcdef0123456789abcdef"]).await;
    let mut client = daemon.websocket(CENTRIFUGE).await;
    client.send(r#"{"id":1,"connect":{"token":"nonsense"}}"#).await;
    while !client.next().await.starts_with("close") {}
    daemon.log.record("the refused login", is("login")).await;
    let output = run(daemon.directory.path(), "why", &["nonsense"]).await;
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{said}");
    let mut lines = out.lines();
    assert!(lines.next().unwrap().starts_with("nonsense: login refused (code 3500): invalid token"), "{out}");
    assert!(out.contains("What to check:"), "{out}");
    let output = run(daemon.directory.path(), "why", &["nobody"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("nobody: nothing about it among "));
}

#[tokio::test]
async fn why_answers_from_what_a_log_server_kept() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    alice.connect("alice").await;
    alice.subscribe("r1").await;
    let mut bob = daemon.websocket(CENTRIFUGE).await;
    bob.connect("bob").await;
    bob.subscribe("r1").await;
    bob.send(r#"{"id":3,"publish":{"channel":"r1","data":1}}"#).await;
    let message =
        daemon.log.record("the message", is("room_msg")).await["msg_id"].as_str().unwrap().to_owned();
    drop(alice);
    daemon
        .log
        .record("the end of alice", |record| record["action"] == "logout" && record["user_id"] == "alice")
        .await;
    let (_, _, records) = daemon.stop().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.ndjson");
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let from = ["--from", file.to_str().unwrap()];
    let output = run(directory.path(), "why", &["alice", from[0], from[1]]).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.starts_with("alice: logged out by peer_gone"), "{out}");
    assert!(out.contains("joined room r1"), "{out}");
    let output = run(directory.path(), "why", &["alice", "--msg", &message, from[0], from[1]]).await;
    let out = text(&output.stdout);
    assert!(out.starts_with(&format!("alice: message {message}, published into room r1 at ")), "{out}");
    assert!(out.contains("it was written to session "), "{out}");
    let output = run(directory.path(), "why", &["alice", "--from", "/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere: can not be read"));
}
