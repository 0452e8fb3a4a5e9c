//! Several log servers, connections that grow old, and the forms in which lines travel.

use std::time::Duration;

use pillion::config;
use pillion::config::Format;
use pillion::config::Syslog;
use pillion::config::SyslogDialect;
use pillion::config::Target;
use pillion::config::TargetOrder;
use tokio::net::UnixDatagram;

use crate::log_server::DEADLINE;
use crate::log_server::Folder;
use crate::log_server::LogServer;
use crate::log_server::config;
use crate::log_server::start;

fn quick(target: Target) -> config::Logger {
    config::Logger {
        flush_limit: 1,
        retry_interval: Duration::from_millis(1),
        retry_max_interval: Duration::from_millis(2),
        ..config(target)
    }
}

#[tokio::test]
async fn without_the_first_log_server_the_second_gets_the_lines_in_the_same_try() {
    let folder = Folder::new();
    let mut second = LogServer::unix(&folder.path("b.sock"));
    let settings = config::Logger {
        alternatives: vec![second.target.clone()],
        max_retry_times: Some(0),
        ..quick(Target::Unix(folder.path("a.sock")))
    };
    let (logger, _) = start(&settings);
    logger.log(b"one\n").unwrap();
    logger.flush().await.unwrap();
    second.expect("one\n").await;
}

#[tokio::test]
async fn when_the_first_log_server_dies_the_second_takes_over() {
    let folder = Folder::new();
    let mut first = LogServer::unix(&folder.path("a.sock"));
    let mut second = LogServer::unix(&folder.path("b.sock"));
    let settings =
        config::Logger { alternatives: vec![second.target.clone()], ..quick(first.target.clone()) };
    let (logger, buffer) = start(&settings);
    logger.log(b"one\n").unwrap();
    first.expect("one\n").await;
    first.kill().await;
    // A child that another test is starting may hold the dead server's sockets open for a moment.
    let noticed = tokio::time::timeout(DEADLINE, async {
        while logger.stats().shipper.connected {
            tokio::task::yield_now().await;
        }
    });
    noticed.await.unwrap();
    logger.log(b"two\n").unwrap();
    logger.flush().await.unwrap();
    second.expect("two\n").await;
    assert_eq!(buffer.stats().sent.records, 2);
}

#[tokio::test]
async fn balanced_log_servers_all_get_their_share() {
    let folder = Folder::new();
    let servers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| LogServer::unix(&folder.path(&format!("{name}.sock"))))
        .collect();
    let settings = config::Logger {
        alternatives: servers[1..].iter().map(|server| server.target.clone()).collect(),
        target_order: TargetOrder::Balanced,
        max_connection_age: Some(Duration::from_micros(1)),
        ..quick(servers[0].target.clone())
    };
    let (logger, _) = start(&settings);
    let mut sent = 0;
    // Each connection goes somewhere at random: a server without one after so many would be a wonder.
    while servers.iter().any(|server| server.seen().streams.is_empty()) {
        sent += 1;
        assert!(sent < 1000);
        logger.log(b"x\n").unwrap();
        logger.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_old_connection_is_replaced_between_two_lines_and_costs_none() {
    let mut server = LogServer::tcp().await;
    let settings = config::Logger {
        max_connection_age: Some(Duration::from_millis(5)),
        replay_tail: 1 << 20,
        ..quick(server.target.clone())
    };
    let (logger, _) = start(&settings);
    let mut expected = String::new();
    while server.seen().streams.len() < 5 {
        let line = format!("{}\n", expected.len());
        logger.log(line.as_bytes()).unwrap();
        expected.push_str(&line);
        logger.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let seen = server.until(|seen| seen.bytes().len() >= expected.len()).await;
    assert_eq!(seen.text(), expected, "each line once, and whole");
    assert!(seen.streams.iter().all(|stream| stream.is_empty() || stream.ends_with(b"\n")));
}

fn syslog(target: Target, dialect: SyslogDialect, octet_counting: bool) -> config::Logger {
    let syslog = Syslog {
        dialect,
        facility: 16,
        host: "edge-1".to_owned(),
        tag: "pillion".to_owned(),
        octet_counting,
    };
    config::Logger { format: Format::Syslog(syslog), ..quick(target) }
}

const LINE: &str =
    "{\"@timestamp\":\"2026-11-20T23:38:59.404Z\",\"action\":\"login\",\"log.level\":\"warn\"}\n";

#[tokio::test]
async fn syslog_headers_stand_before_lines_on_streams() {
    let mut server = LogServer::tcp().await;
    let (logger, buffer) = start(&syslog(server.target.clone(), SyslogDialect::Rfc3164, false));
    logger.log(LINE.as_bytes()).unwrap();
    logger.log(LINE.as_bytes()).unwrap();
    logger.flush().await.unwrap();
    let header = format!("<132>2026-11-20T23:38:59.404Z edge-1 pillion[{}]: ", std::process::id());
    server.expect(&format!("{header}{LINE}{header}{LINE}")).await;
    assert_eq!(buffer.stats().sent.bytes, 2 * LINE.len() as u64, "headers are not counted");
}

#[tokio::test]
async fn syslog_datagrams_hold_one_line_without_its_newline() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let server = UnixDatagram::bind(&path).unwrap();
    let (logger, buffer) = start(&syslog(Target::Unixgram(path), SyslogDialect::Rfc5424, false));
    for _ in 0..3 {
        logger.log(LINE.as_bytes()).unwrap();
    }
    logger.log(&[b'x'; 250_000]).unwrap();
    logger.log(LINE.as_bytes()).unwrap();
    let expected = format!(
        "<132>1 2026-11-20T23:38:59.404Z edge-1 pillion {} login - {}",
        std::process::id(),
        LINE.trim_end()
    );
    let mut datagram = vec![0; 65536];
    for _ in 0..4 {
        let length = server.recv(&mut datagram).await.unwrap();
        assert_eq!(str::from_utf8(&datagram[..length]).unwrap(), expected);
    }
    logger.flush().await.unwrap();
    let stats = buffer.stats();
    assert!(stats.balanced());
    assert_eq!(
        (stats.sent.records, stats.dropped.total().records),
        (4, 1),
        "one was too large, the next went on"
    );
}

#[tokio::test]
async fn a_framed_line_that_was_cut_starts_again_whole() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let mut first = LogServer::unix(&path);
    let settings = syslog(first.target.clone(), SyslogDialect::Rfc3164, true);
    let (logger, _) = start(&config::Logger { drop_limit: 64 << 20, ..settings });
    let long = format!("{{\"x\":\"{}\"}}\n", "x".repeat(200_000));
    // Much more than the socket holds: the log server dies in the middle of a line.
    for _ in 0..100 {
        logger.log(long.as_bytes()).unwrap();
    }
    first.until(|seen| !seen.bytes().is_empty()).await;
    first.kill().await;
    let mut second = LogServer::unix(&path);
    logger.flush().await.unwrap();
    let seen = second.until(|seen| !seen.streams.is_empty() && seen.streams[0].ends_with(b"\"}")).await;
    let mut rest = seen.text();
    while let Some((length, line)) = rest.split_once(' ') {
        let length: usize = length.parse().unwrap();
        assert!(line[..length].starts_with("<134>") && line[..length].ends_with("\"}"));
        rest = line[length..].to_owned();
    }
    assert!(rest.is_empty());
}
