//! The replay tail: a log server dies in every way there is, and no line is missing on all of them together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pillion::buffer::Buffer;
use pillion::buffer::Tally;
use pillion::config;
use pillion::config::Target;
use pillion::logger::Logger;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::UnixListener;
use tokio_rustls::TlsAcceptor;

use crate::log_server::DEADLINE;
use crate::log_server::Folder;
use crate::log_server::LogServer;
use crate::log_server::config;
use crate::log_server::start;
use crate::log_server::tcp_target;
use crate::logger_faults::Authority;
use crate::logger_faults::in_time;
use crate::logger_faults::trusting;

/// Bytes of a line, its newline included.
const LINE: usize = 100;

const MIB: usize = 1 << 20;

fn line(number: u64) -> Vec<u8> {
    format!("{number:08} {:x<1$}\n", "", LINE - 10).into_bytes()
}

/// The numbers of the whole lines; they follow each other, or the test ends here.
fn numbers(received: &[u8]) -> Vec<u64> {
    let whole = received.chunks_exact(LINE);
    let numbers: Vec<u64> = whole
        .map(|bytes| {
            let number = std::str::from_utf8(&bytes[..8]).unwrap().parse().unwrap();
            assert_eq!(bytes, line(number), "a line is whole and at its place");
            number
        })
        .collect();
    assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "in order and without a hole: {numbers:?}");
    numbers
}

/// A log server in the hands of the test. Its connections hold little unread, and end with a reset when dropped.
enum Door {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener),
}

type Stream = Box<dyn AsyncRead + Unpin + Send>;

impl Door {
    fn tcp(tls: Option<TlsAcceptor>) -> (Self, Target) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let target = tcp_target(listener.local_addr().unwrap().port());
        (Self::Tcp(listener, tls), target)
    }

    fn unix(folder: &Folder) -> (Self, Target) {
        let path = folder.path("log.sock");
        (Self::Unix(UnixListener::bind(&path).unwrap()), Target::Unix(path))
    }

    async fn accept(&self) -> Stream {
        in_time(async {
            match self {
                Self::Tcp(listener, tls) => {
                    let (stream, _) = listener.accept().await.unwrap();
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    match tls {
                        None => Box::new(stream) as Stream,
                        Some(acceptor) => Box::new(acceptor.accept(stream).await.unwrap()),
                    }
                }
                Self::Unix(listener) => Box::new(listener.accept().await.unwrap().0),
            }
        })
        .await
    }
}

/// Reads this many bytes.
async fn read(stream: &mut Stream, bytes: usize) -> Vec<u8> {
    let mut received = vec![0; bytes];
    in_time(stream.read_exact(&mut received)).await.unwrap();
    received
}

/// Reads until the line with this number has come.
async fn read_until(stream: &mut Stream, last: u64) -> Vec<u8> {
    let mut received = Vec::new();
    let end = line(last);
    while !received.ends_with(&end) {
        assert!(
            in_time(stream.read_buf(&mut received)).await.unwrap() > 0,
            "the logger closed the connection"
        );
    }
    received
}

fn quick(target: Target, replay_tail: usize) -> config::Logger {
    config::Logger {
        flush_limit: 1,
        drop_limit: 64 * MIB,
        timeout: DEADLINE,
        max_retry_times: None,
        retry_interval: Duration::from_millis(1),
        retry_max_interval: Duration::from_millis(5),
        replay_tail,
        ..config(target)
    }
}

fn log(buffer: &Buffer, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| assert_eq!(buffer.log(&line(number)), Ok(LINE)));
}

/// Waits until the shipper has come so far.
async fn until(what: impl Fn() -> bool) {
    in_time(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn all_is_sent(buffer: &Arc<Buffer>) {
    until(|| buffer.stats().queued.is_zero()).await;
}

/// What holds in the end: each line was sent once and counted once, however often it came again.
fn assert_counted(logger: &Logger, lines: u64, resent: u64) {
    let stats = logger.stats();
    assert!(stats.records.balanced() && stats.records.queued.is_zero());
    let tally = |lines: u64| Tally::new(lines as usize, lines as usize * LINE);
    assert_eq!((stats.records.sent, stats.shipper.resent), (tally(lines), tally(resent)));
}

#[tokio::test]
async fn a_reset_with_unread_lines_brings_them_back_without_a_new_line_to_push_them() {
    let (door, target) = Door::tcp(None);
    let (logger, buffer) = start(&quick(target, MIB));
    log(&buffer, 0..1000);
    let mut first = door.accept().await;
    assert_eq!(numbers(&read(&mut first, 10 * LINE).await).len(), 10);
    all_is_sent(&buffer).await;
    drop(first);
    let mut second = door.accept().await;
    assert_eq!(numbers(&read_until(&mut second, 999).await), (0..1000).collect::<Vec<_>>());
    log(&buffer, 1000..1001);
    assert_eq!(numbers(&read_until(&mut second, 1000).await), [1000]);
    all_is_sent(&buffer).await;
    assert_counted(&logger, 1001, 1000);
}

#[tokio::test]
async fn no_more_than_the_tail_comes_again_and_it_begins_with_a_whole_line() {
    let (door, target) = Door::tcp(None);
    let (logger, buffer) = start(&quick(target, 50 * LINE + LINE / 2));
    log(&buffer, 0..1000);
    let first = door.accept().await;
    all_is_sent(&buffer).await;
    drop(first);
    let mut second = door.accept().await;
    assert_eq!(numbers(&read_until(&mut second, 999).await), (950..1000).collect::<Vec<_>>());
    log(&buffer, 1000..1001);
    read_until(&mut second, 1000).await;
    all_is_sent(&buffer).await;
    assert_counted(&logger, 1001, 50);
}

#[tokio::test]
async fn off_means_that_nothing_comes_again() {
    let (door, target) = Door::tcp(None);
    let (logger, buffer) = start(&quick(target, 0));
    log(&buffer, 0..1000);
    let first = door.accept().await;
    all_is_sent(&buffer).await;
    drop(first);
    until(|| !logger.stats().shipper.connected).await;
    log(&buffer, 1000..1001);
    let mut second = door.accept().await;
    assert_eq!(numbers(&read_until(&mut second, 1000).await), [1000]);
    all_is_sent(&buffer).await;
    assert_counted(&logger, 1001, 0);
}

/// Lines flow while the log server dies again and again, some of it before the replay is through.
async fn dies_often(door: Door, settings: config::Logger) {
    const LINES: u64 = 40_000;
    let (logger, buffer) = start(&settings);
    let producer = {
        let buffer = Arc::clone(&buffer);
        tokio::task::spawn_blocking(move || log(&buffer, 0..LINES))
    };
    let mut seen = BTreeSet::new();
    let (mut received, mut deaths) = (0, 0);
    // Two deaths in a row, deaths in the middle of a line, deaths during the replay, deaths after it.
    for bytes in [1, 0, 30_050, 31_000, 20 * LINE, MIB + MIB / 2, 2 * MIB + 7] {
        let mut stream = door.accept().await;
        let numbers = numbers(&read(&mut stream, bytes).await);
        received += numbers.len();
        seen.extend(numbers);
        deaths += 1;
    }
    let mut stream = door.accept().await;
    let last = numbers(&read_until(&mut stream, LINES - 1).await);
    received += last.len();
    seen.extend(last);
    assert_eq!(seen.len() as u64, LINES, "every line came at least once");
    let duplicates = received - seen.len();
    assert!(duplicates * LINE <= deaths * settings.replay_tail, "{duplicates} duplicates");
    producer.await.unwrap();
    all_is_sent(&buffer).await;
    let stats = logger.stats();
    assert!(stats.records.balanced());
    assert_eq!(stats.records.sent, Tally::new(LINES as usize, LINES as usize * LINE));
    assert!(stats.shipper.resent.bytes <= (deaths * settings.replay_tail) as u64);
    assert!(duplicates as u64 <= stats.shipper.resent.records);
}

#[tokio::test]
async fn a_log_server_on_tcp_that_dies_often_gets_every_line() {
    let (door, target) = Door::tcp(None);
    dies_often(door, quick(target, MIB)).await;
}

#[tokio::test]
async fn a_log_server_on_tls_that_dies_often_gets_every_line() {
    let folder = Folder::new();
    let ca = folder.path("ca.pem");
    let acceptor = Authority::new(&ca).acceptor("logs.example.com", None);
    let (door, target) = Door::tcp(Some(acceptor));
    dies_often(door, config::Logger { tls: trusting(&ca, "logs.example.com"), ..quick(target, MIB) }).await;
}

#[tokio::test]
async fn a_log_server_on_a_unix_stream_that_dies_often_gets_every_line() {
    let folder = Folder::new();
    let (door, target) = Door::unix(&folder);
    dies_often(door, quick(target, MIB)).await;
}

#[tokio::test]
async fn a_log_server_that_hangs_gets_its_unread_lines_again_after_the_timeout() {
    let (door, target) = Door::tcp(None);
    let (_logger, buffer) =
        start(&config::Logger { timeout: Duration::from_millis(50), ..quick(target, 8 * MIB) });
    log(&buffer, 0..20_000);
    let hanging = door.accept().await;
    let mut second = door.accept().await;
    assert_eq!(numbers(&read_until(&mut second, 19_999).await), (0..20_000).collect::<Vec<_>>());
    drop(hanging);
}

#[tokio::test]
async fn a_close_just_after_a_line_leaves_it_in_doubt_even_in_good_order() {
    let folder = Folder::new();
    let (door, target) = Door::unix(&folder);
    let (logger, buffer) = start(&quick(target, MIB));
    log(&buffer, 0..3);
    let mut first = door.accept().await;
    read_until(&mut first, 2).await;
    all_is_sent(&buffer).await;
    drop(first);
    let mut second = door.accept().await;
    assert_eq!(numbers(&read_until(&mut second, 2).await), [0, 1, 2]);
    until(|| logger.stats().shipper.resent.records == 3).await;
}

#[tokio::test]
async fn what_a_dead_target_left_in_doubt_goes_to_the_target_of_a_reload() {
    let (door, target) = Door::tcp(None);
    let (logger, buffer) = start(&quick(target, MIB));
    log(&buffer, 0..100);
    let first = door.accept().await;
    all_is_sent(&buffer).await;
    drop((first, door));
    until(|| logger.stats().shipper.retries > 0).await;
    let mut other = LogServer::tcp().await;
    logger.reload(&quick(other.target.clone(), MIB)).unwrap();
    let seen = other.until(|seen| seen.lines() == 100).await;
    assert_eq!(numbers(&seen.bytes()), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reload_in_good_order_takes_no_line_along_and_neither_does_a_shutdown() {
    let (mut first, mut second) = (LogServer::tcp().await, LogServer::tcp().await);
    let (logger, buffer) = start(&quick(first.target.clone(), MIB));
    log(&buffer, 0..100);
    logger.flush().await.unwrap();
    logger.reload(&quick(second.target.clone(), MIB)).unwrap();
    log(&buffer, 100..101);
    logger.shutdown(DEADLINE).await;
    assert_eq!(numbers(&first.until(|seen| seen.closed == 1).await.bytes()).len(), 100);
    assert_eq!(numbers(&second.until(|seen| seen.closed == 1).await.bytes()), [100]);
    assert_counted(&logger, 101, 0);
}

#[tokio::test]
async fn the_shutdown_sends_again_what_is_in_doubt() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let mut server = LogServer::unix(&path);
    let (logger, buffer) = start(&quick(server.target.clone(), MIB));
    log(&buffer, 0..100);
    server.until(|seen| seen.lines() == 100).await;
    all_is_sent(&buffer).await;
    server.kill().await;
    until(|| logger.stats().shipper.retries > 0).await;
    let (dropped, mut server) = in_time(async {
        tokio::join!(logger.shutdown(DEADLINE), async {
            tokio::task::yield_now().await;
            LogServer::unix(&path)
        })
    })
    .await;
    assert_eq!(dropped, Tally::default());
    let seen = server.until(|seen| seen.closed == 1).await;
    assert_eq!(numbers(&seen.bytes()), (0..100).collect::<Vec<_>>());
    assert_counted(&logger, 100, 100);
}

#[tokio::test]
async fn turning_the_tail_off_counts_at_once() {
    let (door, target) = Door::tcp(None);
    let (logger, buffer) = start(&quick(target.clone(), MIB));
    log(&buffer, 0..100);
    let mut first = door.accept().await;
    read_until(&mut first, 99).await;
    logger.reload(&quick(target, 0)).unwrap();
    logger.flush().await.unwrap();
    drop(first);
    until(|| !logger.stats().shipper.connected).await;
    log(&buffer, 100..101);
    let mut second = door.accept().await;
    assert_eq!(numbers(&read_until(&mut second, 100).await), [100]);
    assert_eq!(logger.stats().shipper.resent, Tally::default());
}
