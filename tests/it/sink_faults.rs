//! The sink going wrong on purpose: what a sender sees of it.

use std::io;
use std::time::Duration;

use pillion::address::Address;
use pillion::sink::Faults;
use pillion::sink::Format;
use pillion::sink::Happened;
use pillion::sink::Options;
use pillion::sink::Sink;
use pillion::sink::Stall;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::sink::Bench;
use crate::sink::local;
use crate::sink::options;
use crate::sink::record;
use crate::sink_beats::ack;
use crate::sink_beats::answer;
use crate::sink_beats::beats;
use crate::sink_beats::ended;
use crate::sink_beats::window;

const TCP: &str = "tcp:127.0.0.1:0";

fn ndjson(faults: Faults) -> Bench {
    Bench::start(Options { faults, ..options(TCP) })
}

fn acked(faults: Faults) -> Bench {
    Bench::start(Options { faults, ..beats(TCP) })
}

fn lines(count: u64) -> Vec<String> {
    (0..count).map(record).collect()
}

async fn connect(bench: &Bench) -> TcpStream {
    TcpStream::connect(&bench.address).await.unwrap()
}

#[tokio::test]
async fn a_reset_comes_in_the_middle_of_a_line_and_once() {
    local(async {
        let bench = ndjson(Faults { reset_after: Some(2), ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(lines(2).concat().as_bytes()).await.unwrap();
        bench.out.lines(2).await;
        stream.write_all(b"{\"half").await.unwrap();
        assert_eq!(ended(&mut stream).await, io::ErrorKind::ConnectionReset);
        let mut stream = connect(&bench).await;
        stream.write_all(lines(4).concat().as_bytes()).await.unwrap();
        drop(stream);
        let (totals, _, complaints) = bench.end().await;
        assert_eq!((totals.lines, totals.bad, totals.repeated), (6, 0, 2));
        assert_eq!(totals.faults, Happened { resets: 1, ..Happened::default() });
        assert!(complaints.contains("faults on purpose: 0 stalls, 1 resets, "), "{complaints}");
    })
    .await;
}

#[tokio::test]
async fn a_close_throws_away_what_follows_its_line() {
    local(async {
        let bench = ndjson(Faults { close_after: Some(2), ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(lines(3).concat().as_bytes()).await.unwrap();
        let kind = ended(&mut stream).await;
        assert!(matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{kind:?}");
        let (totals, out, _) = bench.end().await;
        assert_eq!((totals.lines, totals.bad, totals.faults.closes), (2, 0, 1));
        assert_eq!(out, lines(2).concat());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stall_lets_what_follows_its_line_wait() {
    local(async {
        let stall = Some(Stall { after: 2, pause: Some(Duration::from_secs(30)) });
        let bench = ndjson(Faults { stall, ..Faults::default() });
        let started = tokio::time::Instant::now();
        let mut stream = connect(&bench).await;
        stream.write_all(lines(3).concat().as_bytes()).await.unwrap();
        bench.out.lines(2).await;
        assert!(started.elapsed() < Duration::from_secs(30));
        bench.out.lines(3).await;
        assert!(started.elapsed() >= Duration::from_secs(30));
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.stalls), (3, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_receiver_of_beats_gives_no_sign_of_life() {
    local(async {
        let stall = Some(Stall { after: 1, pause: Some(Duration::from_secs(30)) });
        let bench = acked(Faults { stall, ..Faults::default() });
        let started = tokio::time::Instant::now();
        let mut stream = connect(&bench).await;
        stream.write_all(&window(&lines(2))).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), ack(2));
        assert!(started.elapsed() >= Duration::from_secs(30));
        bench.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_one_of_all_connections() {
    local(async {
        let stall = Some(Stall { after: 1, pause: Some(Duration::from_secs(30)) });
        let bench = acked(Faults { stall, ..Faults::default() });
        let started = tokio::time::Instant::now();
        let mut first = connect(&bench).await;
        first.write_all(&window(&lines(1))).await.unwrap();
        bench.out.lines(1).await;
        let mut second = connect(&bench).await;
        second.write_all(&window(&lines(1))).await.unwrap();
        assert_eq!(answer(&mut second).await.unwrap(), ack(1));
        assert!(started.elapsed() >= Duration::from_secs(30));
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.stalls), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn a_stall_for_ever_ends_with_the_sink() {
    local(async {
        let bench = ndjson(Faults { stall: Some(Stall { after: 1, pause: None }), ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(lines(2).concat().as_bytes()).await.unwrap();
        bench.out.lines(1).await;
        let (totals, _, _) = bench.end().await;
        assert_eq!(totals.faults.stalls, 1);
    })
    .await;
}

#[tokio::test]
async fn half_a_window_is_acknowledged_before_a_reset() {
    local(async {
        let bench = acked(Faults { ack_partly: true, ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(&window(&lines(5))).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), ack(2));
        assert_eq!(ended(&mut stream).await, io::ErrorKind::ConnectionReset);
        let mut stream = connect(&bench).await;
        stream.write_all(&window(&lines(1))).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), ack(1), "one record has no half");
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.repeated), (6, 1));
        assert_eq!(totals.faults, Happened { partial_acks: 1, resets: 1, ..Happened::default() });
    })
    .await;
}

#[tokio::test]
async fn garbage_comes_instead_of_an_acknowledgement() {
    local(async {
        let bench = acked(Faults { garbage_after: Some(3), ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(&window(&lines(2))).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), ack(2));
        stream.write_all(&window(&lines(2))).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), b"HTTP/1");
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.garbage), (4, 1));
    })
    .await;
}

#[tokio::test]
async fn a_window_is_left_without_an_answer_by_a_close() {
    local(async {
        let bench = acked(Faults { close_after: Some(1), ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(&window(&lines(2))).await.unwrap();
        assert_eq!(ended(&mut stream).await, io::ErrorKind::UnexpectedEof);
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.closes), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn a_reset_of_beats_comes_within_the_window_after_its_line() {
    local(async {
        let bench = acked(Faults { reset_after: Some(1), ..Faults::default() });
        let mut stream = connect(&bench).await;
        stream.write_all(&window(&lines(2))).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), ack(2));
        stream.write_all(b"2W").await.unwrap();
        assert_eq!(ended(&mut stream).await, io::ErrorKind::ConnectionReset);
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.resets, totals.broken), (2, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_poison_line_is_refused_every_time() {
    local(async {
        let faults = Faults { refuse: Some("\"log.sequence\":1}".to_owned()), ..Faults::default() };
        let bench = acked(faults.clone());
        for _ in 0..2 {
            let mut stream = connect(&bench).await;
            stream.write_all(&window(&lines(3))).await.unwrap();
            assert_eq!(ended(&mut stream).await, io::ErrorKind::UnexpectedEof);
        }
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.refused), (0, 2));

        let bench = ndjson(faults);
        let mut stream = connect(&bench).await;
        stream.write_all(lines(3).concat().as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap_or_default();
        let (totals, out, _) = bench.end().await;
        assert_eq!((totals.lines, totals.bad, totals.faults.refused), (1, 0, 1));
        assert_eq!(out, record(0));
    })
    .await;
}

#[tokio::test]
async fn faults_that_can_not_happen_are_refused() {
    let error = |options| Sink::build(options).unwrap_err().to_string();
    let udp = |format, faults| Options {
        format,
        faults,
        listen: "udp:127.0.0.1:0".parse::<Address>().unwrap(),
        ..Options::default()
    };
    let partly = Faults { ack_partly: true, ..Faults::default() };
    assert_eq!(error(udp(Format::Beats, Faults::default())), "beats needs a tcp: or unix: address");
    assert_eq!(
        error(Options { faults: partly, ..options(TCP) }),
        "only beats has acknowledgements that could be late, partial or garbage"
    );
    assert_eq!(
        error(udp(Format::Ndjson, Faults { reset_after: Some(1), ..Faults::default() })),
        "of the faults, only a stall can happen to a udp: or unixgram: address"
    );
    assert_eq!(
        error(Options { tls_client_ca: Some("ca.pem".into()), ..options(TCP) }),
        "the authorities of clients need a certificate and a key of the sink"
    );
}
