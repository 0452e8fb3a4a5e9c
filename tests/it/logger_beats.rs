//! The acknowledged protocol against a log server that does whatever a log server may do.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pillion::buffer::Buffer;
use pillion::buffer::DropCause;
use pillion::config;
use pillion::config::Beats;
use pillion::config::Format;
use pillion::config::Target;
use pillion::logger::DeadLetters;
use pillion::logger::Logger;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;
use pillion::wire::lumberjack::Event;
use pillion::wire::lumberjack::Limits;
use pillion::wire::lumberjack::Reader;
use pillion::wire::lumberjack::ack_into;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::log_server::DEADLINE;
use crate::log_server::config;
use crate::log_server::start;
use crate::log_server::tcp_target;

/// What the log server has seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    connections: usize,
    /// All records, in the order of their arrival, acknowledged or not.
    records: Vec<String>,
    /// The sizes of all windows that came whole.
    windows: Vec<u32>,
}

/// What a log server does with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Acknowledge,
    /// Says that it is at work some times before.
    AliveThenAcknowledge(usize),
    /// The first so many, then all.
    InTwoSteps(u32),
    /// The first so many, then it resets the connection.
    PartlyThenReset(u32),
    Close,
    Reset,
    Garbage,
    /// One more than there are.
    TooMuch,
    /// Nothing, ever.
    Silence,
}

/// Decides by the number of the connection, counted from 1, and the records of the window.
type Script = dyn Fn(usize, &[String]) -> Answer + Send + Sync;

struct BeatsServer {
    seen: watch::Receiver<Seen>,
    target: Target,
    tasks: Tasks,
}

impl BeatsServer {
    async fn start(script: impl Fn(usize, &[String]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = tcp_target(listener.local_addr().unwrap().port());
        let (sender, seen) = watch::channel(Seen::default());
        let (sender, script): (_, Arc<Script>) = (Arc::new(sender), Arc::new(script));
        let tasks = Tasks::new();
        let own = tasks.clone();
        tasks.spawn("beats server", OnExit::Ignore, async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                sender.send_modify(|seen| seen.connections = number);
                let serve = serve(stream, number, Arc::clone(&sender), Arc::clone(&script));
                own.spawn("beats connection", OnExit::Ignore, serve);
            }
        });
        Self { seen, target, tasks }
    }

    async fn until(&mut self, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let waited = tokio::time::timeout(DEADLINE, self.seen.wait_for(condition)).await;
        let waited = waited.map(|seen| seen.unwrap().clone());
        waited.unwrap_or_else(|_| panic!("in vain: {:?}", *self.seen.borrow()))
    }

    fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

impl Drop for BeatsServer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

async fn serve(mut stream: TcpStream, number: usize, seen: Arc<watch::Sender<Seen>>, script: Arc<Script>) {
    let mut reader = Reader::new(Limits::default());
    let (mut window, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let mut bytes = &buffer[..length];
        while let Some(event) = reader.next(&mut bytes).unwrap() {
            match event {
                Event::Window(_) => window.clear(),
                Event::Json { json, .. } => window.push(String::from_utf8(json.to_vec()).unwrap()),
                Event::End(last) => {
                    seen.send_modify(|seen| {
                        seen.records.extend(window.iter().cloned());
                        seen.windows.push(last);
                    });
                    if !answer(&mut stream, script(number, &window), last).await {
                        return;
                    }
                }
            }
        }
    }
}

/// False when the connection is over.
async fn answer(stream: &mut TcpStream, answer: Answer, last: u32) -> bool {
    let mut out = Vec::new();
    match answer {
        Answer::Acknowledge => ack_into(&mut out, last),
        Answer::AliveThenAcknowledge(times) => {
            (0..times).for_each(|_| ack_into(&mut out, 0));
            ack_into(&mut out, last);
        }
        Answer::InTwoSteps(first) => {
            ack_into(&mut out, first);
            ack_into(&mut out, last);
        }
        Answer::PartlyThenReset(first) => {
            ack_into(&mut out, first);
            stream.write_all(&out).await.unwrap();
            // The acknowledgement must not be overtaken by the reset: it is read first, as its sender sees.
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
            return false;
        }
        Answer::Close => return false,
        Answer::Reset => {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
            return false;
        }
        Answer::Garbage => out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Answer::TooMuch => ack_into(&mut out, last + 1),
        Answer::Silence => {}
    }
    // The client may have gone.
    stream.write_all(&out).await.is_ok()
}

fn beats(target: Target) -> config::Logger {
    config::Logger {
        format: Format::Beats(Beats { compression: 0, ack_timeout: Duration::from_secs(10) }),
        flush_limit: 1,
        drop_limit: 16 << 20,
        retry_interval: Duration::from_millis(1),
        retry_max_interval: Duration::from_millis(2),
        max_retry_times: None,
        ..config(target)
    }
}

fn line(n: usize) -> String {
    format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(n % 300))
}

fn log(logger: &Logger, numbers: std::ops::Range<usize>) {
    for n in numbers {
        logger.log((line(n) + "\n").as_bytes()).unwrap();
    }
}

/// Each line came, in order if the repetitions are left out; gives how many were repeated.
fn check_all(seen: &Seen, lines: usize) -> usize {
    let mut known = HashSet::new();
    let first: Vec<_> = seen.records.iter().filter(|record| known.insert(record.as_str())).collect();
    assert_eq!(first.len(), lines, "no line is missing");
    assert!(first.iter().enumerate().all(|(n, record)| **record == line(n)), "in their order");
    seen.records.len() - lines
}

fn check_settled(buffer: &Buffer, lines: u64) {
    let stats = buffer.stats();
    assert!(stats.balanced() && stats.queued.is_zero(), "{stats:?}");
    assert_eq!(stats.sent.records, lines);
}

#[tokio::test]
async fn every_line_is_acknowledged_and_only_then_counted_as_sent() {
    for compression in [0, 3] {
        let mut server = BeatsServer::start(|_, _| Answer::Acknowledge).await;
        let format = Format::Beats(Beats { compression, ack_timeout: Duration::from_secs(10) });
        let (logger, buffer) = start(&config::Logger { format, ..beats(server.target.clone()) });
        log(&logger, 0..5000);
        logger.flush().await.unwrap();
        let seen = server.until(|seen| seen.records.len() >= 5000).await;
        assert_eq!(check_all(&seen, 5000), 0);
        assert_eq!(seen.connections, 1);
        check_settled(&buffer, 5000);
        assert_eq!(logger.stats().shipper.acknowledged, buffer.stats().sent);
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_stays_queued() {
    let mut server = BeatsServer::start(|_, _| Answer::Silence).await;
    let (logger, buffer) = start(&beats(server.target.clone()));
    log(&logger, 0..10);
    server.until(|seen| seen.records.len() == 10).await;
    let stats = buffer.stats();
    assert_eq!((stats.sent.records, stats.queued.records), (0, 10));
    assert!(stats.balanced());
}

#[tokio::test]
async fn keep_alive_and_partial_acknowledgements_are_understood() {
    let mut server = BeatsServer::start(|_, window| match window.len() {
        1 => Answer::AliveThenAcknowledge(3),
        count => Answer::InTwoSteps(count as u32 / 2),
    })
    .await;
    let (logger, buffer) = start(&beats(server.target.clone()));
    log(&logger, 0..1);
    logger.flush().await.unwrap();
    log(&logger, 1..1000);
    logger.flush().await.unwrap();
    let seen = server.until(|seen| seen.records.len() >= 1000).await;
    assert_eq!((check_all(&seen, 1000), seen.connections), (0, 1));
    check_settled(&buffer, 1000);
}

#[tokio::test]
async fn after_a_partial_acknowledgement_only_the_rest_is_sent_again() {
    let mut server = BeatsServer::start(|connection, window| match (connection, window.len()) {
        (1, 2..) => Answer::PartlyThenReset(1),
        _ => Answer::Acknowledge,
    })
    .await;
    let (logger, buffer) = start(&config::Logger { flush_limit: 60_000, ..beats(server.target.clone()) });
    log(&logger, 0..3);
    logger.flush().await.unwrap();
    let seen = server.until(|seen| seen.records.len() >= 5).await;
    assert_eq!(seen.records, [0, 1, 2, 1, 2].map(line), "the first one was acknowledged");
    check_settled(&buffer, 3);
    assert_eq!(logger.stats().shipper.resent.records, 2);
}

#[tokio::test]
async fn whatever_ends_a_connection_costs_no_line() {
    for bad in [Answer::Close, Answer::Reset, Answer::Garbage, Answer::TooMuch] {
        // Each third connection lasts for some windows, the others end at once.
        let windows = std::sync::Mutex::new(HashMap::<usize, usize>::new());
        let mut server = BeatsServer::start(move |connection, _| {
            let mut windows = windows.lock().unwrap();
            let count = windows.entry(connection).or_default();
            *count += 1;
            let lasts = if connection.is_multiple_of(3) { 5 } else { 0 };
            if *count > lasts { bad } else { Answer::Acknowledge }
        })
        .await;
        let (logger, buffer) = start(&beats(server.target.clone()));
        log(&logger, 0..5000);
        tokio::time::timeout(DEADLINE, async {
            while buffer.stats().sent.records < 5000 {
                logger.flush().await.unwrap();
            }
        })
        .await
        .unwrap();
        let seen = server.until(|seen| seen.records.len() >= 5000).await;
        let repeated = check_all(&seen, 5000);
        assert!(seen.connections > 2 && repeated > 0, "{bad:?}: {} connections", seen.connections);
        check_settled(&buffer, 5000);
    }
}

#[tokio::test]
async fn a_log_server_that_says_nothing_is_given_up_after_a_while() {
    let mut server = BeatsServer::start(|connection, _| match connection {
        1 => Answer::Silence,
        _ => Answer::Acknowledge,
    })
    .await;
    let format = Format::Beats(Beats { compression: 0, ack_timeout: Duration::from_millis(100) });
    let (logger, buffer) = start(&config::Logger { format, ..beats(server.target.clone()) });
    log(&logger, 0..100);
    logger.flush().await.unwrap();
    let seen = server.until(|seen| seen.connections == 2).await;
    check_settled(&buffer, 100);
    assert!(check_all(&seen, 100) <= 100);
}

#[tokio::test]
async fn a_line_that_makes_the_log_server_hang_up_is_found_and_put_aside() {
    let poison = line(777);
    let bad = poison.clone();
    let mut server =
        BeatsServer::start(
            move |_, window| {
                if window.contains(&bad) { Answer::Close } else { Answer::Acknowledge }
            },
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Some(folder.path().to_owned());
    let (logger, buffer) = start(&config::Logger { data_dir, ..beats(server.target.clone()) });
    log(&logger, 0..2000);
    logger.flush().await.unwrap();
    let seen = server.until(|seen| seen.records.iter().any(|record| *record == line(1999))).await;
    let distinct: HashSet<_> = seen.records.iter().filter(|record| **record != poison).collect();
    assert_eq!(distinct.len(), 1999);
    let stats = buffer.stats();
    assert_eq!((stats.sent.records, stats.dropped.of(DropCause::DeadLetter).records), (1999, 1));
    assert!(stats.balanced());
    let letters = DeadLetters::new(folder.path(), 1 << 20).list().unwrap();
    assert_eq!(letters.iter().map(|letter| letter.record.as_str()).collect::<Vec<_>>(), [poison.as_str()]);
    assert!(seen.windows.contains(&0), "it was asked whether it is there");
}

#[tokio::test]
async fn what_is_no_object_never_reaches_the_log_server() {
    let mut server = BeatsServer::start(|_, _| Answer::Acknowledge).await;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Some(folder.path().to_owned());
    let (logger, buffer) = start(&config::Logger { data_dir, ..beats(server.target.clone()) });
    for record in ["{\"a\":1}\n", "hello\n", "\n", "[1]\n", "{\"b\":2}\n"] {
        logger.log(record.as_bytes()).unwrap();
    }
    logger.flush().await.unwrap();
    let seen = server.until(|seen| seen.records.len() == 2).await;
    assert_eq!(seen.records, ["{\"a\":1}", "{\"b\":2}"]);
    assert_eq!(buffer.stats().dropped.of(DropCause::DeadLetter).records, 3);
    assert_eq!(DeadLetters::new(folder.path(), 1 << 20).list().unwrap().len(), 3);
}

#[tokio::test]
async fn a_reload_waits_for_what_is_under_way_and_sends_nothing_twice() {
    let servers = [
        BeatsServer::start(|_, _| Answer::Acknowledge).await,
        BeatsServer::start(|_, _| Answer::Acknowledge).await,
    ];
    let (logger, buffer) = start(&beats(servers[0].target.clone()));
    for turn in 1..=10 {
        log(&logger, (turn - 1) * 100..turn * 100);
        logger.reload(&beats(servers[turn % 2].target.clone())).unwrap();
        logger.flush().await.unwrap();
    }
    logger.shutdown(DEADLINE).await;
    let mut records: Vec<_> = servers.iter().flat_map(|server| server.seen().records).collect();
    records.sort();
    let mut expected: Vec<_> = (0..1000).map(line).collect();
    expected.sort();
    assert_eq!(records, expected);
    check_settled(&buffer, 1000);
}

#[tokio::test]
async fn what_is_put_aside_within_a_chunk_costs_its_neighbours_neither_their_order_nor_themselves() {
    let servers = [
        BeatsServer::start(|_, _| Answer::Acknowledge).await,
        BeatsServer::start(|_, _| Answer::Acknowledge).await,
    ];
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Some(folder.path().to_owned());
    let settings =
        |n: usize| config::Logger { data_dir: data_dir.clone(), ..beats(servers[n % 2].target.clone()) };
    let (logger, buffer) = start(&settings(0));
    for turn in 1..=10 {
        for n in (turn - 1) * 2000..turn * 2000 {
            // Each chunk has several of these, so that its objects travel in more than one window.
            let record = if n % 97 == 0 { format!("line {n}\n") } else { line(n) + "\n" };
            logger.log(record.as_bytes()).unwrap();
            if n % 500 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // Whatever is under way is awaited by this, the rest goes to the other one.
        logger.reload(&settings(turn)).unwrap();
        logger.flush().await.unwrap();
    }
    logger.shutdown(DEADLINE).await;
    let put_aside = (0..20_000).filter(|n| n % 97 == 0).count();
    check_settled(&buffer, 20_000 - put_aside as u64);
    let number =
        |record: &String| record["{\"n\":".len()..].split(',').next().unwrap().parse::<usize>().unwrap();
    let mut all = Vec::new();
    for server in &servers {
        let numbers: Vec<_> = server.seen().records.iter().map(number).collect();
        assert!(numbers.is_sorted(), "in their order");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert_eq!(all, (0..20_000).filter(|n| n % 97 != 0).collect::<Vec<_>>(), "each once");
    assert_eq!(DeadLetters::new(folder.path(), 1 << 20).list().unwrap().len(), put_aside);
}

#[tokio::test]
async fn several_windows_are_under_way_at_once() {
    let mut server = BeatsServer::start(|_, _| Answer::Silence).await;
    let (logger, _) = start(&config::Logger { flush_limit: 60_000, ..beats(server.target.clone()) });
    for n in 0..20_000 {
        logger.log((line(n) + "\n").as_bytes()).unwrap();
    }
    let seen = server.until(|seen| seen.windows.len() == 8).await;
    assert!(seen.windows.iter().all(|count| *count > 100), "{:?}", seen.windows);
}
