//! The sink with each format on each kind of socket, and what it says of the wrong one.

use pillion::sink::Format;
use pillion::sink::Options;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::net::UnixDatagram;
use tokio::net::UnixStream;

use crate::sink::Bench;
use crate::sink::local;
use crate::sink::options;
use crate::sink::record;
use crate::sink_beats::window;

fn old(number: u64) -> String {
    format!("<134>2026-11-20T23:40:00.123Z edge-1 pillion[77]: {}", record(number))
}

fn new(number: u64) -> String {
    format!("<134>1 2026-11-20T23:40:00.123Z edge-1 pillion 77 login - {}", record(number))
}

fn start(format: Format, listen: &str) -> Bench {
    Bench::start(Options { format, ..options(listen) })
}

#[tokio::test]
async fn syslog_lines_are_checked_over_every_kind_of_socket() {
    local(async {
        for (format, line) in [(Format::Syslog3164, old(0)), (Format::Syslog5424, new(0))] {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name).display().to_string();

            let tcp = start(format, "tcp:127.0.0.1:0");
            TcpStream::connect(&tcp.address).await.unwrap().write_all(line.as_bytes()).await.unwrap();
            let unix = start(format, &format!("unix:{}", path("s")));
            let counted = format!("{} {}", line.trim_end().len(), line.trim_end());
            UnixStream::connect(&unix.address).await.unwrap().write_all(counted.as_bytes()).await.unwrap();
            let udp = start(format, "udp:127.0.0.1:0");
            let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            sender.send_to(line.trim_end().as_bytes(), &udp.address).await.unwrap();
            let gram = start(format, &format!("unixgram:{}", path("d")));
            UnixDatagram::unbound()
                .unwrap()
                .send_to(line.trim_end().as_bytes(), &gram.address)
                .await
                .unwrap();

            for bench in [tcp, unix, udp, gram] {
                let (totals, out, complaints) = bench.end().await;
                assert_eq!((totals.lines, totals.bad), (1, 0), "{complaints}");
                assert_eq!(out, line);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn headers_that_logstash_does_not_take_are_named() {
    local(async {
        let bench = start(Format::Syslog3164, "tcp:127.0.0.1:0");
        let mut sender = TcpStream::connect(&bench.address).await.unwrap();
        let lines = [
            old(7),
            old(9),
            old(0).replace("<134>", "<0>"),
            old(0).replace("edge-1", "edge_1"),
            new(0),
            record(0),
            old(0).replace("{", ""),
        ];
        sender.write_all(lines.concat().as_bytes()).await.unwrap();
        sender.write_all(b"<134>Nov 20 23:40:00 h app: {\"torn").await.unwrap();
        drop(sender);
        let (totals, _, complaints) = bench.end().await;
        assert_eq!((totals.lines, totals.bad, totals.missing), (8, 6, 1));
        let expected = [
            "bad line: priority 0, which Logstash takes for none",
            "bad line: an underscore in the host's name",
            "bad line: a header of RFC 5424, which Logstash's syslog input does not know",
            "bad line: bare JSON without a syslog header",
            "bad line: not JSON: ",
            "bad line: torn: the connection closed within the line",
        ];
        for (line, expected) in complaints.lines().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_format_is_told_of_once_with_what_it_looks_like() {
    let json = [record(0), record(1)].concat().into_bytes();
    let syslog = [old(0), old(1)].concat().into_bytes();
    let beats = window(&[record(0), record(1)]);
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    // What is made of lines is read on, the rest ends the connection.
    let cases = [
        (Format::Beats, &json, 0, "JSON lines, but the sink expects beats: start it with --format ndjson"),
        (
            Format::Beats,
            &syslog,
            0,
            "syslog, but the sink expects beats: start it with --format syslog3164 or",
        ),
        (Format::Beats, &http, 0, "HTTP, but the sink expects beats: it does not speak that"),
        (Format::Beats, &tls, 0, "TLS, but the sink expects beats: start it with --tls-cert and --tls-key"),
        (
            Format::Ndjson,
            &beats,
            0,
            "beats (lumberjack version 2), but the sink expects ndjson: start it with --format beats",
        ),
        (Format::Ndjson, &tls, 0, "TLS, but the sink expects ndjson"),
        (
            Format::Ndjson,
            &syslog,
            2,
            "syslog, but the sink expects ndjson: start it with --format syslog3164",
        ),
        (Format::Syslog3164, &json, 2, "JSON lines, but the sink expects syslog3164"),
        (Format::Syslog5424, &beats, 0, "beats (lumberjack version 2), but the sink expects syslog5424"),
    ];
    local(async {
        for (format, bytes, bad, expected) in cases {
            let bench = start(format, "tcp:127.0.0.1:0");
            let mut sender = TcpStream::connect(&bench.address).await.unwrap();
            sender.write_all(bytes).await.unwrap();
            sender.shutdown().await.unwrap();
            // A reset is an end too: what was not read is thrown away.
            sender.read_to_end(&mut Vec::new()).await.unwrap_or_default();
            let (totals, _, complaints) = bench.end().await;
            assert_eq!((totals.broken, totals.bad), (1, bad), "{format} got {expected}");
            assert!(complaints.starts_with(&format!("a connection brings {expected}")), "{complaints}");
            assert_eq!(complaints.lines().filter(|line| !line.contains("total")).count(), 2, "{complaints}");
        }
    })
    .await;
}

#[tokio::test]
async fn json_behind_a_foreign_first_line_is_no_bad_line() {
    local(async {
        let bench = start(Format::Ndjson, "tcp:127.0.0.1:0");
        let mut sender = TcpStream::connect(&bench.address).await.unwrap();
        sender.write_all([old(0), record(1)].concat().as_bytes()).await.unwrap();
        drop(sender);
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.bad), (2, 1));
    })
    .await;
}
