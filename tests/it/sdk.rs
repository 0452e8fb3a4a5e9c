//! The published Centrifuge SDK, unchanged, against a gateway that is cut off and killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;

use crate::daemon::Daemon;
use crate::shipped;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Rooms of every kind that the scripts use.
const SETTINGS: &[&str] = &[
    "auth.mode=jwt",
    "auth.jwt_secret=0123456789abcdef0123456789abcdef",
    "gateway.client_queue=64KiB",
    "limits.frame=16KiB",
    r#"gateway.namespace=[
        { name = "open", subscribe = "authenticated", publish = "authenticated", join_leave = true },
        { name = "durable", subscribe = "authenticated", publish = "authenticated", durable = true },
        { name = "patient", subscribe = "authenticated", publish = "authenticated", slow = "drop_oldest", history_size = 1000 },
        { name = "forgetful", subscribe = "authenticated", history_size = 0 },
        { name = "closed", subscribe = "token" }]"#,
];

/// The scripts have a patience of their own, and say what did not happen.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen in time: {what}"))
}

/// A script of tests/sdk at work.
fn script(name: &str, socket: &Path, encoding: &str) -> Child {
    let folder = shipped::root().join("tests/sdk");
    assert!(
        folder.join("node_modules/centrifuge").is_dir(),
        "the published SDKs are not installed, and these tests run it: npm --prefix tests/sdk ci"
    );
    Command::new("node")
        .arg(folder.join(name))
        .arg(socket)
        .args([encoding, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed")
}

async fn conforms(encoding: &str) {
    let daemon = Daemon::start(SETTINGS).await;
    let script = script("conform.mjs", &daemon.path("pillion.sock"), encoding);
    let output = within("the script ends", script.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "conforms\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// The script says when the daemon is to be killed, and is told when it is there again.
async fn survives(encoding: &str) {
    let mut daemon = Daemon::start(SETTINGS).await;
    let mut script = script("restart.mjs", &daemon.path("pillion.sock"), encoding);
    let mut stdin = script.stdin.take().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut restarts = 0;
    while let Some(line) = within("a word of the script", lines.next_line()).await.unwrap() {
        if line == "restarted" {
            assert_eq!(restarts, 2);
            return;
        }
        assert_eq!(line, "kill");
        let (directory, log) = daemon.kill().await;
        daemon = Daemon::start_in(directory, log, SETTINGS).await;
        restarts += 1;
        stdin.write_all(b"again\n").await.unwrap();
    }
    let mut said = String::new();
    script.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    panic!("{said}");
}

#[tokio::test]
async fn the_published_sdk_does_all_it_can_in_json() {
    conforms("json").await;
}

#[tokio::test]
async fn the_published_sdk_does_all_it_can_in_protobuf() {
    conforms("protobuf").await;
}

#[tokio::test]
async fn the_published_sdk_recovers_from_a_killed_gateway_in_json() {
    survives("json").await;
}

#[tokio::test]
async fn the_published_sdk_recovers_from_a_killed_gateway_in_protobuf() {
    survives("protobuf").await;
}
