//! What an operator does to the daemon, and what it says then: start, stop, reload, and everything in its way.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::daemon::Daemon;
use crate::daemon::LogServer;
use crate::daemon::arguments;
use crate::daemon::get;
use crate::daemon::is;
use crate::daemon::program;
use crate::daemon::within;

const CENTRIFUGE: &str = "/connection/websocket";
const TRIAL: &str = "auth.insecure=true";

/// Runs the daemon until it ends by itself: its exit code, and what it said.
async fn failing(directory: &Path, more: &[&str]) -> (i32, String) {
    let mut child =
        program().arg("run").args(arguments(directory, more)).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    within("the end of stderr", child.stderr.take().unwrap().read_to_string(&mut said)).await.unwrap();
    (within("the end", child.wait()).await.unwrap().code().unwrap(), said)
}

#[tokio::test]
async fn sigterm_ends_sessions_then_flushes_the_log_and_exits_0() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let mut alice = daemon.websocket(CENTRIFUGE).await;
    let session = alice.connect("alice").await;
    let mut carol = daemon.websocket("/ws?token=carol").await;
    carol.send("ping").await;
    carol.next().await;
    let socket = daemon.path("pillion.sock");
    daemon.signal(Signal::TERM);
    assert_eq!(alice.next().await, "close 3001 shutdown");
    assert_eq!(carol.next().await, "close 1012 shutdown");
    drop((alice, carol));
    let (status, said, records) = daemon.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    let logout = |record: &&Value| record["action"] == "logout" && record["session_id"] == session.as_str();
    assert_eq!(records.iter().filter(logout).count(), 1);
    assert_eq!(records.last().unwrap()["action"], "drain", "the way out is on record to the end");
    assert!(records.iter().filter(|record| record["action"] == "drain").count() >= 2);
    assert!(!socket.exists(), "the socket file is gone");
}

#[tokio::test]
async fn health_readiness_and_metrics_are_on_the_admin_socket() {
    let daemon = Daemon::start(&[TRIAL, "listen.public=[\"tcp:127.0.0.1:0\"]"]).await;
    assert_eq!(daemon.admin("/healthz").await, (200, "ok\n".to_owned()));
    let (status, body) = daemon.admin("/readyz").await;
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, report["phase"].as_str()), (200, Some("ready")));
    let public = report["listen"]["public"][0].as_str().unwrap();
    assert!(public.starts_with("tcp:127.0.0.1:") && !public.ends_with(":0"), "the chosen port: {public}");
    let logger = &report["logger"];
    let number = |key: &str| logger[key].as_u64().unwrap();
    assert_eq!(number("accepted"), number("sent") + number("dropped") + number("queued"));
    let (status, metrics) = daemon.admin("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.ends_with("# EOF\n"), "the whole text: {metrics}");
    let (status, body) = daemon.admin("/nothing").await;
    assert!(status == 404 && body.contains("/readyz"), "{body}");
}

#[tokio::test]
async fn a_socket_file_of_a_dead_process_is_replaced_and_a_live_one_is_not_stolen() {
    let mut daemon = Daemon::start(&[TRIAL]).await;
    let other = tempfile::tempdir().unwrap();
    let public = format!("listen.public=[\"unix:{}\"]", daemon.path("pillion.sock").display());
    let (code, said) = failing(other.path(), &[&public]).await;
    assert!(code == 1 && said.contains("pillion.sock is in use by a running process"), "{said}");

    daemon.signal(Signal::KILL);
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    daemon.ended().await;
    assert!(directory.path().join("pillion.sock").exists(), "a kill leaves the file");
    std::fs::remove_file(directory.path().join("sink.sock")).unwrap();
    std::fs::remove_file(directory.path().join("notify.sock")).unwrap();
    let log = LogServer::start(&directory.path().join("sink.sock"));
    let again = Daemon::start_in(directory, log, &[TRIAL]).await;
    assert_eq!(again.admin("/healthz").await.0, 200);
    let mode = std::fs::metadata(again.path("pillion.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_start_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let long = "x".repeat(120);
    let cases = [
        (format!("listen.public=[\"tcp:127.0.0.1:{port}\"]"), 1, "is in use by a running process"),
        (format!("listen.public=[\"unix:{}\"]", file.display()), 1, "already a file that is not a socket"),
        (format!("listen.public=[\"unix:{}/a/b/s.sock\"]", directory.path().display()), 1, "does not exist"),
        (format!("listen.public=[\"unix:/tmp/{long}\"]"), 64, "107"),
        (format!("data_dir={}/data", file.display()), 1, "does not exist and can not be made"),
        ("logger.ssl=maybe".to_owned(), 64, "--set logger.ssl"),
        ("logger.flsh_limit=1".to_owned(), 64, "did you mean logger.flush_limit?"),
    ];
    for (set, expected, words) in cases {
        let (code, said) = failing(directory.path(), &[&set]).await;
        assert_eq!(code, expected, "{set}: {said}");
        assert!(said.contains(words), "{set}: {said}");
    }
}

#[tokio::test]
async fn the_data_directory_has_one_owner() {
    let daemon = Daemon::start(&[TRIAL]).await;
    let other = tempfile::tempdir().unwrap();
    let data = format!("data_dir={}", daemon.path("data").display());
    let (code, said) = failing(other.path(), &[&data]).await;
    assert!(code == 1 && said.contains("is in use by another pillion"), "{said}");
}

#[tokio::test]
async fn sighup_moves_the_log_to_another_target_without_losing_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("sink.sock"), directory.path().join("second.sock"));
    let file = directory.path().join("pillion.toml");
    std::fs::write(&file, format!("logger.path = {first:?}\n")).unwrap();
    let log = LogServer::start(&first);
    let other = LogServer::start(&second);
    let mut command = program();
    let mut sets = arguments(directory.path(), &[TRIAL]);
    // The file names the target, so that it can change.
    let path = sets.iter().position(|set| set.starts_with("logger.path=")).unwrap();
    sets.drain(path - 1..=path);
    command.arg("run").arg("--config").arg(&file).args(sets);
    let mut daemon = Daemon::start_as(command, directory, log).await;
    daemon.websocket(CENTRIFUGE).await.connect("before").await;
    daemon.log.record("login", is("login")).await;

    std::fs::write(&file, "logger.flush_limit = \"2 potatoes\"\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.told("READY=1").await;
    let refused = daemon.log.record("config_reload", is("config_reload")).await;
    assert_eq!(
        (refused["log.level"].as_str(), refused["err"].as_str()),
        (Some("error"), Some("1 mistake in the configuration"))
    );

    std::fs::write(&file, format!("logger.path = {second:?}\nlisten.socket_mode = \"0666\"\n")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.told("READY=1").await;
    daemon.websocket(CENTRIFUGE).await.connect("after").await;
    let after = other.record("login", is("login")).await;
    assert_eq!(after["user_id"], "after");
    let (status, said, mut records) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(
        said.contains("these keys count only after a restart") && said.contains("listen.socket_mode"),
        "{said}"
    );
    records.extend(other.kill());
    let mut numbers: Vec<u64> =
        records.iter().map(|record| record["log.sequence"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "nothing lost, nothing twice");
}

#[tokio::test]
async fn a_log_server_that_comes_late_or_goes_away_is_told_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let sink = directory.path().join("sink.sock");
    let nobody = LogServer::start(&directory.path().join("unused.sock"));
    let limits = [
        TRIAL,
        "logger.drop_limit=8KiB",
        "logger.flush_limit=1KiB",
        "logger.max_line=4KiB",
        "logger.retry_interval=10ms",
        "logger.retry_max_interval=20ms",
    ];
    let mut daemon = Daemon::start_in(directory, nobody, &limits).await;
    // Nobody listens: the log fills up and counts what it drops, and clients notice nothing.
    let mut client = daemon.websocket(CENTRIFUGE).await;
    client.connect("alice").await;
    for number in 0..100 {
        client.send(&format!(r#"{{"id":9,"publish":{{"channel":"r","data":{number}}}}}"#)).await;
        client.json().await;
    }
    daemon.log = LogServer::start(&sink);
    let gap = daemon.log.record("log_gap", is("log_gap")).await;
    assert_eq!(gap["gap.cause"], "overflow");
    let lost = gap["gap.lines"].as_u64().unwrap();
    assert!(lost > 0 && gap["gap.to_sequence"].as_u64() > gap["gap.from_sequence"].as_u64(), "{gap}");
    client.socket.close(None).await.unwrap();
    daemon.log.record("logout", is("logout")).await;
    let (_, body) = daemon.admin("/readyz").await;
    let report: Value = serde_json::from_str(&body).unwrap();
    let number = |key: &str| report["logger"][key].as_u64().unwrap();
    assert_eq!(number("accepted"), number("sent") + number("dropped") + number("queued"), "{report}");
    assert_eq!(number("dropped"), lost, "every lost line was told");
    let (status, said, records) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    let numbers: Vec<u64> = records.iter().map(|record| record["log.sequence"].as_u64().unwrap()).collect();
    let missing = (0..=*numbers.iter().max().unwrap()).filter(|number| !numbers.contains(number)).count();
    assert_eq!(missing as u64, lost, "the sequence shows the same loss");
    assert!(said.contains("pillion::logger"), "its own complaints go to stderr: {said}");
}

#[tokio::test]
async fn a_missing_log_server_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = LogServer::start(&directory.path().join("unused.sock"));
    let sets = ["shutdown_timeout=10m", "logger.retry_interval=400ms", "logger.retry_max_interval=10m"];
    let daemon = Daemon::start_in(directory, nobody, &sets).await;
    let failing = async {
        loop {
            let (_, metrics) = daemon.admin("/metrics").await;
            let failed = metrics.lines().find_map(|line| line.strip_prefix("pillion_logger_retries_total "));
            if failed.is_some_and(|retries| retries.parse::<u64>().unwrap() >= 3) {
                return;
            }
        }
    };
    within("failed tries, so that the pauses have grown", failing).await;
    let (status, said, _) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("they are in the spool, for the next start"), "{said}");
}

#[tokio::test]
async fn sockets_of_the_service_manager_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let log = LogServer::start(&directory.path().join("sink.sock"));
    let public = directory.path().join("pillion.sock");
    let listener = std::os::unix::net::UnixListener::bind(&public).unwrap();
    // systemd passes sockets from descriptor 3 on; a shell moves the one that came as stdin there.
    let sets = arguments(directory.path(), &[TRIAL]);
    let mut command = program();
    let binary = command.as_std().get_program().to_owned();
    command = tokio::process::Command::new("sh");
    command
        .env_clear()
        .kill_on_drop(true)
        .arg("-c")
        .arg("exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=public LISTEN_PID=$$ exec \"$@\"")
        .arg("sh")
        .arg(binary)
        .arg("run")
        .args(sets)
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let mut daemon = Daemon::start_as(command, directory, log).await;
    assert_eq!(get(&public, "/").await.0, 200);
    let mut client = daemon.websocket(CENTRIFUGE).await;
    client.connect("alice").await;
    drop(client);
    let _directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    let (status, said, _) = daemon.stop().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(public.exists(), "the file belongs to the service manager");
}

#[tokio::test]
async fn check_and_defaults_say_what_is_so() {
    let output = within(
        "check",
        program()
            .args(["check", "--set", "logger.flush_limit=8MiB", "--set", "logger.drop_limit=1MiB"])
            .output(),
    )
    .await
    .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\"flush_limit\" should be < \"drop_limit\""), "{said}");
    let output = within("check", program().arg("check").output()).await.unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), b"the configuration is right\n".as_slice())
    );
    let output = within("defaults", program().arg("defaults").output()).await.unwrap();
    assert_eq!(output.stdout, pillion::config::DEFAULTS.as_bytes());
    let output = within("bad usage", program().arg("fly").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let output = within("help", program().arg("--help").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
}
