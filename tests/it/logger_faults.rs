//! What the logger does when its partner does not: down, killed, hanging, breaking off, talking, refusing.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pillion::address::HostPort;
use pillion::buffer::Buffer;
use pillion::buffer::DropCause;
use pillion::buffer::Rank;
use pillion::buffer::Tally;
use pillion::config;
use pillion::config::Target;
use pillion::config::Tls;
use pillion::logger;
use pillion::logger::FlushError;
use pillion::logger::Logger;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio_rustls::TlsAcceptor;

use crate::log_server::DEADLINE;
use crate::log_server::Folder;
use crate::log_server::LogServer;
use crate::log_server::Manners;
use crate::log_server::Seen;
use crate::log_server::config;
use crate::log_server::start;
use crate::log_server::start_with;
use crate::log_server::tcp_target;

const SECOND: Duration = Duration::from_secs(1);

/// Settings with short pauses, so that the tests do not wait for them.
fn quick(target: Target) -> config::Logger {
    config::Logger {
        flush_limit: 1,
        timeout: Duration::from_millis(50),
        retry_interval: Duration::from_millis(1),
        retry_max_interval: Duration::from_millis(5),
        ..config(target)
    }
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}

/// Flushes until a flush succeeds.
async fn flush_at_last(logger: &Logger) {
    in_time(async { while logger.flush().await.is_err() {} }).await;
}

// === down, killed, hanging ===

#[tokio::test]
async fn lines_wait_for_a_log_server_that_comes_later() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let (logger, buffer) = start(&quick(Target::Unix(path.clone())));
    logger.log(b"early\n").unwrap();
    let error = in_time(logger.flush()).await.unwrap_err().to_string();
    assert!(error.contains("failed after 3 retries: try to connect"), "{error}");
    assert_eq!(buffer.stats().queued, Tally::one(6));
    let mut server = LogServer::unix(&path);
    server.expect("early\n").await;
    flush_at_last(&logger).await;
    assert!(logger.stats().records.queued.is_zero());
}

/// Writes a line about each gap as soon as there is room, as the daemon does.
fn gap_writer(buffer: &Arc<Buffer>) -> impl Fn() + Send + Sync + use<> {
    let buffer = Arc::clone(buffer);
    move || {
        let Some(gap) = buffer.take_gap() else { return };
        let line = format!(
            "gap of {} from {:?} to {:?}\n",
            gap.total().records,
            gap.first_sequence,
            gap.last_sequence
        );
        if !buffer.offer(line.as_bytes()) {
            buffer.restore_gap(&gap);
        }
    }
}

#[tokio::test]
async fn a_restart_during_traffic_costs_only_counted_lines_and_is_told_as_a_gap() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let mut server = LogServer::unix(&path);
    let settings = config::Logger { drop_limit: 1000, ..quick(server.target.clone()) };
    let buffer = logger::buffer(&settings);
    let (logger, _) = start_with(&settings, Arc::clone(&buffer), gap_writer(&buffer));
    let line = |n: u64| format!("{n:09}\n").into_bytes();
    for n in 0..10 {
        buffer.log_ranked(&line(n), Rank::High, Some(n)).unwrap();
    }
    server.until(|seen| seen.lines() == 10).await;
    flush_at_last(&logger).await;
    server.kill().await;

    for n in 10..200 {
        let kept = buffer.log_ranked(&line(n), Rank::High, Some(n)).is_ok();
        assert_eq!(kept, n < 110, "100 lines of 10 bytes fit");
        assert!(buffer.stats().balanced());
        tokio::task::yield_now().await;
    }
    assert_eq!(buffer.stats().dropped.of(DropCause::Overflow), Tally::new(90, 900));

    let mut server = LogServer::unix(&path);
    let seen = server.until(|seen| seen.text().contains("gap")).await;
    let expected: Vec<_> = (10..110).flat_map(line).collect();
    assert_eq!(seen.text(), String::from_utf8(expected).unwrap() + "gap of 90 from Some(110) to Some(199)\n");
    flush_at_last(&logger).await;
    let stats = logger.stats();
    assert!(stats.records.balanced() && stats.records.queued.is_zero());
    assert_eq!(stats.shipper.reconnects, 1);
}

#[tokio::test]
async fn a_restart_between_flushes_costs_nothing_and_no_error() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let server = LogServer::unix(&path);
    let (logger, _) = start(&config::Logger { max_retry_times: Some(0), ..quick(server.target.clone()) });
    for line in ["one\n", "two\n"] {
        logger.log(line.as_bytes()).unwrap();
        logger.flush().await.unwrap();
    }
    server.kill().await;
    let mut server = LogServer::unix(&path);
    logger.log(b"three\n").unwrap();
    in_time(logger.flush()).await.unwrap();
    server.expect("three\n").await;
    assert_eq!(logger.last_error(), None);
    assert_eq!(logger.stats().shipper.flushes_failed, 0);
}

/// A TCP listener with small buffers, whose connections the test reads by itself.
async fn slow_listener() -> (TcpListener, Target) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(64).unwrap();
    let target = tcp_target(listener.local_addr().unwrap().port());
    (listener, target)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    in_time(listener.accept()).await.unwrap().0
}

/// More than the two kernels hold between a sender and a receiver that does not read.
const TOO_MUCH: usize = 4 * 1024 * 1024;

fn roomy(target: Target) -> config::Logger {
    config::Logger { drop_limit: 4 * TOO_MUCH, max_line: 2 * TOO_MUCH, ..quick(target) }
}

#[tokio::test]
async fn a_log_server_that_hangs_is_left_after_the_timeout_and_the_line_starts_again() {
    let (listener, target) = slow_listener().await;
    let (logger, buffer) = start(&roomy(target));
    let mut line = vec![b'x'; TOO_MUCH];
    line.push(b'\n');
    logger.log(b"first\n").unwrap();
    logger.log(&line).unwrap();
    let hanging = accept(&listener).await;
    let mut next = accept(&listener).await;
    drop(hanging);
    assert_eq!(buffer.stats().sent, Tally::one(6), "the short line is in the kernel, the long one is cut");
    let mut received = vec![0; line.len()];
    in_time(next.read_exact(&mut received)).await.unwrap();
    assert!(
        received == line,
        "the new connection starts with the line that was cut, and not with the one before"
    );
    let error = logger.stats().shipper.last_error;
    assert_eq!(error.as_deref(), Some("timeout"));
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_line_resends_that_line_only() {
    let (listener, target) = slow_listener().await;
    let (logger, buffer) = start(&config::Logger { timeout: 10 * SECOND, ..roomy(target) });
    let long = vec![b'x'; TOO_MUCH];
    for record in [&b"first\n"[..], &long, b"\nlast\n"] {
        logger.log(record).unwrap();
    }
    let mut broken = accept(&listener).await;
    let mut start = [0; 100_000];
    in_time(broken.read_exact(&mut start)).await.unwrap();
    assert!(start.starts_with(b"first\nxxx"));
    socket2::SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
    drop(broken);
    let mut next = accept(&listener).await;
    let mut received = vec![0; long.len() + 6];
    in_time(next.read_exact(&mut received)).await.unwrap();
    assert!(received.starts_with(b"xxx") && received.ends_with(b"x\nlast\n"));
    flush_at_last(&logger).await;
    assert_eq!(buffer.stats().sent, Tally::new(3, long.len() + 12));
}

#[tokio::test]
async fn a_log_server_that_talks_is_not_taken_for_a_broken_one() {
    let mut server = LogServer::tcp_with(Manners { talks: true, tls: None }).await;
    let (logger, _) = start(&config::Logger { timeout: SECOND, ..quick(server.target.clone()) });
    for n in 0..5 {
        logger.log(format!("{n}\n").as_bytes()).unwrap();
        logger.flush().await.unwrap();
    }
    server.expect("0\n1\n2\n3\n4\n").await;
    assert_eq!(logger.stats().shipper.connects, 1);
}

#[tokio::test]
async fn a_closed_connection_is_noticed_while_nothing_is_sent() {
    let (listener, target) = slow_listener().await;
    let (logger, _) = start(&quick(target));
    logger.log(b"one\n").unwrap();
    let mut first = accept(&listener).await;
    in_time(first.read_exact(&mut [0; 4])).await.unwrap();
    drop(first);
    in_time(async {
        while logger.stats().shipper.connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
    logger.log(b"two\n").unwrap();
    let mut second = accept(&listener).await;
    let mut line = [0; 4];
    in_time(second.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"two\n");
    assert_eq!(logger.stats().shipper.retries, 0);
}

// === datagrams ===

#[tokio::test]
async fn a_record_too_large_for_udp_is_dropped_and_stops_nothing() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target =
        Target::Udp(HostPort { host: "127.0.0.1".to_owned(), port: server.local_addr().unwrap().port() });
    let (logger, buffer) = start(&config::Logger { timeout: SECOND, ..quick(target) });
    let largest = vec![b'l'; 65_507];
    let too_large = vec![b't'; 65_508];
    for record in [&b"first\n"[..], &too_large, &largest, b"last\n"] {
        logger.log(record).unwrap();
    }
    let mut datagram = vec![0; 70_000];
    let mut lens = Vec::new();
    for _ in 0..3 {
        lens.push(in_time(server.recv(&mut datagram)).await.unwrap());
    }
    assert_eq!(lens, [6, 65_507, 5]);
    flush_at_last(&logger).await;
    let stats = buffer.stats();
    assert_eq!(stats.dropped.of(DropCause::Datagram), Tally::one(65_508));
    assert!(stats.balanced() && stats.queued.is_zero());
}

#[tokio::test]
async fn a_udp_port_where_nobody_listens_is_an_error() {
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let target = Target::Udp(HostPort { host: "127.0.0.1".to_owned(), port });
    let (logger, buffer) = start(&quick(target));
    for n in 0..100 {
        logger.log(format!("{n}\n").as_bytes()).unwrap();
    }
    let error = in_time(logger.flush()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "try to send log messages to the log server failed after 3 retries: connection refused"
    );
    assert!(buffer.stats().balanced());
}

#[tokio::test]
async fn a_datagram_receiver_that_restarts_gets_the_lines_that_waited() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let receive = |receiver: tokio::net::UnixDatagram| async move {
        let mut datagram = [0; 100];
        let len = in_time(receiver.recv(&mut datagram)).await.unwrap();
        String::from_utf8(datagram.get(..len).unwrap().to_vec()).unwrap()
    };
    let receiver = tokio::net::UnixDatagram::bind(&path).unwrap();
    let (logger, _) = start(&quick(Target::Unixgram(path.clone())));
    logger.log(b"one\n").unwrap();
    assert_eq!(receive(receiver).await, "one\n");
    std::fs::remove_file(&path).unwrap();
    logger.log(b"two\n").unwrap();
    in_time(logger.flush()).await.unwrap_err();
    let receiver = tokio::net::UnixDatagram::bind(&path).unwrap();
    assert_eq!(receive(receiver).await, "two\n");
}

// === TLS ===

/// An authority, with its certificate as a file.
pub(crate) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new(file: &Path) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // Authorities are told apart by their names.
        params.distinguished_name.push(rcgen::DnType::CommonName, file.display().to_string());
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer =
            rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(file, issuer.pem()).unwrap();
        Self { issuer }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Accepts TLS for `name`, from clients with a certificate of `clients` if that is given.
    pub(crate) fn acceptor(&self, name: &str, clients: Option<&CertificateDer<'static>>) -> TlsAcceptor {
        let (certificate, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub(crate) fn trusting(ca: &Path, name: &str) -> Option<Tls> {
    Some(Tls {
        verify: true,
        sni_host: Some(name.to_owned()),
        ca: Some(ca.to_owned()),
        cert: None,
        key: None,
    })
}

/// The outcome of one flush over TLS: what arrived, or the error.
async fn ship_over_tls(acceptor: TlsAcceptor, tls: Option<Tls>) -> Result<String, String> {
    let mut server = LogServer::tcp_with(Manners { tls: Some(acceptor), talks: false }).await;
    let settings = config::Logger {
        max_retry_times: Some(0),
        timeout: 10 * SECOND,
        tls,
        ..quick(server.target.clone())
    };
    let (logger, buffer) = start(&settings);
    logger.log(b"secret\n").unwrap();
    match in_time(logger.flush()).await {
        Ok(_) => {
            server.expect("secret\n").await;
            Ok(server.seen().text())
        }
        Err(error) => {
            assert_eq!(buffer.stats().queued, Tally::one(7), "a refused line is kept");
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn tls_with_an_own_authority_and_the_right_name_works() {
    let folder = Folder::new();
    let ca = folder.path("ca.pem");
    let acceptor = Authority::new(&ca).acceptor("logs.example.com", None);
    assert_eq!(ship_over_tls(acceptor, trusting(&ca, "logs.example.com")).await.unwrap(), "secret\n");
}

#[tokio::test]
async fn tls_with_a_wrong_name_says_both_names() {
    let folder = Folder::new();
    let ca = folder.path("ca.pem");
    let acceptor = Authority::new(&ca).acceptor("logs.example.com", None);
    let error = ship_over_tls(acceptor, trusting(&ca, "other.example.com")).await.unwrap_err();
    assert!(error.contains("other.example.com") && error.contains("logs.example.com"), "{error}");
}

#[tokio::test]
async fn tls_with_an_unknown_authority_is_refused_unless_nothing_is_verified() {
    let folder = Folder::new();
    let (ca, other) = (folder.path("ca.pem"), folder.path("other.pem"));
    Authority::new(&other);
    let acceptor = Authority::new(&ca).acceptor("logs.example.com", None);
    let error = ship_over_tls(acceptor.clone(), trusting(&other, "logs.example.com")).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let unverified = trusting(&other, "logs.example.com").map(|tls| Tls { verify: false, ..tls });
    assert_eq!(ship_over_tls(acceptor, unverified).await.unwrap(), "secret\n");
}

#[tokio::test]
async fn a_refused_client_certificate_loses_no_line() {
    let folder = Folder::new();
    let (ca, strangers) = (folder.path("ca.pem"), folder.path("strangers.pem"));
    let authority = Authority::new(&ca);
    let stranger = Authority::new(&strangers);
    let acceptor = authority.acceptor("logs.example.com", Some(authority.issuer.der()));
    let identified = |issuer: &Authority| {
        let (certificate, key) = issuer.issue("client");
        std::fs::write(folder.path("client.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path("client.key"), key.serialize_pem()).unwrap();
        trusting(&ca, "logs.example.com").map(|tls| Tls {
            cert: Some(folder.path("client.pem")),
            key: Some(folder.path("client.key")),
            ..tls
        })
    };
    assert_eq!(ship_over_tls(acceptor.clone(), identified(&authority)).await.unwrap(), "secret\n");
    let error = ship_over_tls(acceptor, identified(&stranger)).await.unwrap_err();
    assert!(error.contains("alert"), "{error}");
}

// === the end, and changes on the way ===

#[tokio::test]
async fn the_shutdown_sends_what_is_below_the_flush_limit() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&config::Logger { flush_limit: 4096, ..quick(server.target.clone()) });
    logger.log(b"goodbye\n").unwrap();
    assert_eq!(in_time(logger.shutdown(SECOND)).await, Tally::default());
    let seen = server.until(|seen| seen.closed == 1).await;
    assert_eq!(seen.text(), "goodbye\n");
    assert_eq!(logger.flush().await, Err(FlushError::Stopped));
}

#[tokio::test]
async fn the_shutdown_counts_what_it_can_not_send() {
    let folder = Folder::new();
    let (logger, buffer) = start(&quick(Target::Unix(folder.path("nobody.sock"))));
    logger.log(b"one\n").unwrap();
    logger.log(b"two\n").unwrap();
    assert_eq!(in_time(logger.shutdown(SECOND)).await, Tally::new(2, 8));
    logger.log(b"late\n").unwrap_err();
    let stats = buffer.stats();
    assert_eq!(stats.dropped.of(DropCause::Exit), Tally::new(3, 13));
    assert!(stats.balanced() && stats.queued.is_zero());
}

/// A logger that is in the middle of a write which the log server does not take.
fn blocked(settings: &config::Logger) -> (Logger, Arc<Buffer>) {
    let (logger, buffer) = start(settings);
    logger.log(b"taken\n").unwrap();
    logger.log(&vec![b'x'; TOO_MUCH]).unwrap();
    (logger, buffer)
}

#[tokio::test]
async fn the_shutdown_ends_with_its_time_when_the_log_server_hangs() {
    let (_listener, target) = slow_listener().await;
    let (logger, buffer) = blocked(&config::Logger { timeout: 3600 * SECOND, ..roomy(target) });
    in_time(async {
        while buffer.stats().sent.is_zero() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let waiting = logger.clone();
    let flush = async move { waiting.flush().await };
    let (dropped, flushed) =
        in_time(async { tokio::join!(logger.shutdown(Duration::from_millis(20)), flush) }).await;
    assert_eq!(dropped, Tally::one(TOO_MUCH));
    assert_eq!(flushed, Err(FlushError::Stopped));
    assert!(buffer.stats().balanced());
}

#[tokio::test]
async fn a_tls_write_that_the_shutdown_interrupts_goes_on_where_it_was() {
    let folder = Folder::new();
    let ca = folder.path("ca.pem");
    let acceptor = Authority::new(&ca).acceptor("logs.example.com", None);
    let (listener, target) = slow_listener().await;
    let tls = trusting(&ca, "logs.example.com");
    let (logger, _) = blocked(&config::Logger { timeout: 3600 * SECOND, tls, ..roomy(target) });
    let mut stream = in_time(acceptor.accept(accept(&listener).await)).await.unwrap();
    in_time(async {
        while logger.stats().shipper.connects == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut received = Vec::new();
    let (dropped, read) =
        in_time(async { tokio::join!(logger.shutdown(DEADLINE), stream.read_to_end(&mut received)) }).await;
    assert_eq!((dropped, read.unwrap()), (Tally::default(), 6 + TOO_MUCH));
    assert!(
        received.starts_with(b"taken\nxxx")
            && received.iter().filter(|byte| **byte == b'x').count() == TOO_MUCH
    );
}

#[tokio::test]
async fn a_flush_without_a_shipper_does_not_wait_for_ever() {
    let settings = config(tcp_target(1));
    let (logger, shipper) = logger::build(&settings, logger::buffer(&settings), || {}).unwrap();
    drop(shipper);
    assert_eq!(in_time(logger.flush()).await, Err(FlushError::Stopped));
    assert_eq!(in_time(logger.shutdown(SECOND)).await, Tally::default());
}

fn produce(buffer: &Arc<Buffer>, producers: usize, lines: usize) -> Vec<thread::JoinHandle<()>> {
    (0..producers)
        .map(|producer| {
            let buffer = Arc::clone(buffer);
            thread::spawn(move || {
                for n in 0..lines {
                    buffer.log(format!("{producer} {n} {}\n", "x".repeat(n % 300)).as_bytes()).unwrap();
                }
            })
        })
        .collect()
}

#[tokio::test]
async fn lines_of_eight_producers_arrive_whole_and_in_their_order() {
    let mut server = LogServer::tcp().await;
    let settings =
        config::Logger { flush_limit: 4096, drop_limit: 64 << 20, ..config(server.target.clone()) };
    let (logger, buffer) = start(&settings);
    let producers = produce(&buffer, 8, 2000);
    let seen = server.until(|seen| seen.lines() > 8000).await;
    assert_eq!(seen.streams.len(), 1);
    tokio::task::spawn_blocking(|| producers.into_iter().for_each(|producer| producer.join().unwrap()))
        .await
        .unwrap();
    logger.flush().await.unwrap();
    let seen = server.until(|seen| seen.lines() == 16_000).await;
    let mut next = [0; 8];
    for line in seen.text().lines() {
        let words: Vec<_> = line.split(' ').collect();
        let producer: usize = words.first().unwrap().parse().unwrap();
        let n: usize = words.get(1).unwrap().parse().unwrap();
        assert_eq!((n, words.get(2).unwrap().len()), (next[producer], n % 300));
        next[producer] += 1;
    }
    assert_eq!(next, [2000; 8]);
}

#[tokio::test]
async fn nothing_lies_stranded_after_a_burst() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    for n in 0..1000 {
        logger.log(format!("{n}\n").as_bytes()).unwrap();
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    server.until(|seen| seen.lines() == 1000).await;
}

#[tokio::test]
async fn a_reload_moves_the_traffic_to_another_target_without_a_loss() {
    let folder = Folder::new();
    let servers = [LogServer::unix(&folder.path("a.sock")), LogServer::unix(&folder.path("b.sock"))];
    let settings = |target: &Target| config::Logger {
        drop_limit: 64 << 20,
        replay_tail: 1 << 20,
        ..config(target.clone())
    };
    let (logger, buffer) = start(&settings(&servers[0].target));
    let producers = produce(&buffer, 4, 5000);
    let mut turn = 0;
    // The producers may be done before the first turn is: each turn brings a line of its own.
    while turn < 10 || producers.iter().any(|producer| !producer.is_finished()) {
        turn += 1;
        logger.log(format!("turn {turn}\n").as_bytes()).unwrap();
        logger.reload(&settings(&servers[turn % 2].target)).unwrap();
        logger.flush().await.unwrap();
    }
    logger.flush().await.unwrap();
    logger.shutdown(DEADLINE).await;
    let [a, b] = servers;
    let opened = logger.stats().shipper.connects as usize;
    // Every connection was closed in good order, so what it carried has been read when its end has been.
    in_time(async {
        while a.seen().closed + b.seen().closed < opened {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let lines = |seen: Seen| seen.text().lines().map(str::to_owned).collect::<Vec<_>>();
    let mut all = lines(a.seen());
    all.extend(lines(b.seen()));
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (20_000 + turn, 20_000 + turn), "each line once");
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_wait_for_a_pause_to_end() {
    let folder = Folder::new();
    let settings = config::Logger {
        retry_interval: 3600 * SECOND,
        retry_max_interval: 3600 * SECOND,
        ..quick(Target::Unix(folder.path("nobody.sock")))
    };
    let (logger, _) = start(&settings);
    logger.log(b"line\n").unwrap();
    while logger.stats().shipper.retries == 0 {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let before = tokio::time::Instant::now();
    let mut server = LogServer::unix(&folder.path("log.sock"));
    logger.reload(&quick(server.target.clone())).unwrap();
    logger.flush().await.unwrap();
    server.expect("line\n").await;
    assert!(before.elapsed() < 3600 * SECOND);
}
