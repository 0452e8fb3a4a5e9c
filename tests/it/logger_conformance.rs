//! The test catalogue of lua-resty-logger-socket against this logger, each test named after its origin.
//!
//! Not here, with the reason:
//! - sanity 3 (a number is logged): records are bytes; the type system leaves nothing to convert.
//! - sanity 5 (log before init): there is no logger before it is built.
//! - sanity 6, 7, 8 (subrequests): an nginx feature; a record has no request here.
//! - sanity 9, 10, 20 (arguments of init), proto 1 (`sock_type` left out): questions of the configuration, asked in
//!   `logger_conformance_keys`.
//!
//! Where the original counts attempts by its debug log, the statistics are asked. Where it checks that a log call
//! made a flush of kept data happen, there is a difference on purpose: the shipper does not need the call.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pillion::buffer::DropCause;
use pillion::buffer::Dropped;
use pillion::config::Target;
use pillion::config::Tls;
use pillion::logger;
use pillion::logger::FlushError;
use pillion::logger::Logger;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpSocket;
use tokio_rustls::TlsAcceptor;

use crate::log_server::Folder;
use crate::log_server::LogServer;
use crate::log_server::Manners;
use crate::log_server::config;
use crate::log_server::start;
use crate::log_server::tcp_target;

const URI: &str = "/t?a=1&b=2";

// === sanity ===

#[tokio::test]
async fn sanity_01_tcp_sends_the_message_as_it_is() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    logger.log(URI.as_bytes()).unwrap();
    server.expect(URI).await;
    assert_eq!(logger.last_error(), None);
}

#[tokio::test]
async fn sanity_02_unix_sends_the_message_as_it_is() {
    let folder = Folder::new();
    let mut server = LogServer::unix(&folder.path("log.sock"));
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    logger.log(URI.as_bytes()).unwrap();
    server.expect(URI).await;
}

#[tokio::test(start_paused = true)]
async fn sanity_04_below_the_flush_limit_there_is_no_connection() {
    let server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 500, ..config(server.target.clone()) });
    logger.log(URI.as_bytes()).unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(logger.stats().shipper.connects, 0);
    // A connection opened in the meantime would be one more than this one.
    tokio::time::resume();
    assert_eq!(logger.flush().await, Ok(10));
    assert_eq!(logger.stats().shipper.connects, 1);
}

#[tokio::test]
async fn sanity_11_the_flush_limit_must_be_below_the_drop_limit() {
    let config = pillion::config::Logger { flush_limit: 2, drop_limit: 1, ..config(tcp_target(1)) };
    let error = logger::build(&config, logger::buffer(&config), || {}).err().unwrap();
    assert_eq!(error.to_string(), "\"flush_limit\" should be < \"drop_limit\"");
}

#[tokio::test]
async fn sanity_12_the_message_that_would_pass_the_drop_limit_is_dropped() {
    let folder = Folder::new();
    let mut server = LogServer::unix(&folder.path("log.sock"));
    let config = pillion::config::Logger { flush_limit: 4, drop_limit: 6, ..config(server.target.clone()) };
    let (logger, buffer) = start(&config);
    assert_eq!(logger.log(b"000"), Ok(3));
    assert_eq!(logger.log(b"aaaaa"), Err(Dropped(DropCause::Overflow)));
    assert_eq!(logger.log(b"bbb"), Ok(3));
    server.expect("000bbb").await;
    assert_eq!(buffer.stats().dropped.of(DropCause::Overflow).bytes, 5);
}

#[tokio::test]
async fn sanity_13_log_returns_the_length() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    assert_eq!(logger.log(URI.as_bytes()), Ok(10));
    server.expect(URI).await;
}

#[tokio::test]
async fn sanity_14_the_second_message_does_not_fit() {
    let mut server = LogServer::tcp().await;
    let config = pillion::config::Logger { flush_limit: 10, drop_limit: 11, ..config(server.target.clone()) };
    let (logger, _) = start(&config);
    assert_eq!(logger.log(URI.as_bytes()), Ok(10));
    assert_eq!(logger.log(URI.as_bytes()), Err(Dropped(DropCause::Overflow)));
    logger.flush().await.unwrap();
    server.expect(URI).await;
}

#[tokio::test]
async fn sanity_15_buffers_are_used_again_and_the_order_stays() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    let mut expected = String::new();
    for message in ["111", "222", "333", "444", "555"] {
        assert_eq!(logger.log(message.as_bytes()), Ok(3));
        expected.push_str(message);
        server.expect(&expected).await;
    }
    assert_eq!(logger.stats().shipper.connects, 1);
}

#[tokio::test]
async fn sanity_16_the_periodic_flush_does_not_wait_for_the_flush_limit() {
    let mut server = LogServer::tcp().await;
    let config = pillion::config::Logger {
        flush_limit: 1000,
        periodic_flush: Some(Duration::from_millis(30)),
        ..config(server.target.clone())
    };
    let (logger, _) = start(&config);
    assert_eq!(logger.log(b"foo"), Ok(3));
    server.expect("foo").await;
    assert_eq!(logger.log(b"bar"), Ok(3));
    server.expect("foobar").await;
}

const REQUEST: &str =
    "GET / HTTP/1.1\r\nHost: test.com\r\nConnection: close\r\nUser-Agent: lua-resty\r\n\r\n";

/// A TLS server over a unix socket for `test.com`, whose certificate nobody trusts.
fn tls_server(path: &Path) -> LogServer {
    let certified = rcgen::generate_simple_self_signed(["test.com".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    LogServer::unix_with(path, Manners { tls: Some(TlsAcceptor::from(Arc::new(server))), talks: false })
}

fn tls(verify: bool, sni_host: Option<&str>) -> Option<Tls> {
    Some(Tls { verify, sni_host: sni_host.map(str::to_owned), ca: None, cert: None, key: None })
}

#[tokio::test]
async fn sanity_17_tls_over_unix_asks_for_the_configured_name() {
    let folder = Folder::new();
    let mut server = tls_server(&folder.path("log.sock"));
    let config = pillion::config::Logger {
        flush_limit: 1,
        tls: tls(false, Some("test.com")),
        ..config(server.target.clone())
    };
    let (logger, _) = start(&config);
    assert_eq!(logger.log(REQUEST.as_bytes()), Ok(REQUEST.len()));
    server.expect(REQUEST).await;
    assert_eq!(server.seen().names, [Some("test.com".to_owned())]);
}

#[tokio::test]
async fn sanity_18_an_untrusted_certificate_is_refused() {
    let folder = Folder::new();
    let mut server = tls_server(&folder.path("log.sock"));
    let other = rcgen::generate_simple_self_signed(["other.com".to_owned()]).unwrap();
    std::fs::write(folder.path("ca.pem"), other.cert.pem()).unwrap();
    let config = pillion::config::Logger {
        flush_limit: 1,
        max_retry_times: Some(0),
        tls: tls(true, Some("test.com")).map(|tls| Tls { ca: Some(folder.path("ca.pem")), ..tls }),
        ..config(server.target.clone())
    };
    let (logger, _) = start(&config);
    assert_eq!(logger.log(REQUEST.as_bytes()), Ok(REQUEST.len()));
    let error = logger.flush().await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    server.until(|seen| seen.refused > 0).await;
    assert!(server.seen().bytes().is_empty());
}

#[tokio::test]
async fn sanity_19_tls_over_unix_without_a_name_asks_for_none() {
    let folder = Folder::new();
    let mut server = tls_server(&folder.path("log.sock"));
    let config =
        pillion::config::Logger { flush_limit: 1, tls: tls(false, None), ..config(server.target.clone()) };
    let (logger, _) = start(&config);
    logger.log(REQUEST.as_bytes()).unwrap();
    server.expect(REQUEST).await;
    assert_eq!(server.seen().names, [None]);
}

// === flush ===

#[tokio::test]
async fn flush_01_sends_what_is_below_the_flush_limit() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 100, ..config(server.target.clone()) });
    logger.log(b"abc").unwrap();
    logger.log(b"efg").unwrap();
    assert_eq!(logger.flush().await, Ok(6));
    server.expect("abcefg").await;
    assert_eq!(logger.flush().await, Ok(0), "an empty flush is fine");
}

// === proto ===

#[tokio::test]
async fn proto_02_tcp() {
    let mut server = LogServer::tcp().await;
    assert!(matches!(server.target, Target::Tcp(_)));
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    logger.log(URI.as_bytes()).unwrap();
    server.expect(URI).await;
}

#[tokio::test]
async fn proto_03_udp() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let Target::Tcp(address) = tcp_target(server.local_addr().unwrap().port()) else { unreachable!() };
    let config = pillion::config::Logger { flush_limit: 1, ..config(Target::Udp(address)) };
    let (logger, _) = start(&config);
    logger.log(URI.as_bytes()).unwrap();
    let mut datagram = [0; 100];
    let len = server.recv(&mut datagram).await.unwrap();
    assert_eq!(datagram.get(..len), Some(URI.as_bytes()));
}

// === bug ===

/// A unix datagram socket whose queue is full: what is sent to it waits, however short it is.
fn blocked_receiver(path: &Path) -> UnixDatagram {
    let receiver = UnixDatagram::bind(path).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    filler.connect(path).unwrap();
    while filler.send(b"").is_ok() {}
    receiver
}

/// Reads until nothing is left; only what is not a filler.
fn drain(receiver: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(len) = receiver.recv(&mut buffer) {
        datagrams.extend(buffer.get(..len).filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec));
    }
    datagrams
}

#[tokio::test(start_paused = true)]
async fn bug_01_drops_the_new_message_and_keeps_trying_the_old_one() {
    let folder = Folder::new();
    let receiver = blocked_receiver(&folder.path("log.sock"));
    let config = pillion::config::Logger {
        flush_limit: 5,
        drop_limit: 11,
        max_retry_times: Some(0),
        timeout: Duration::from_millis(10),
        ..config(Target::Unixgram(folder.path("log.sock")))
    };
    let (logger, buffer) = start(&config);
    assert_eq!(logger.log(b"helloworld"), Ok(10));
    for attempt in 0..3 {
        let error = "try to send log messages to the log server failed after 0 retries: timeout";
        assert_eq!(logger.flush().await, Err(FlushError::Failed(error.to_owned())));
        assert!(logger.stats().shipper.flushes_failed > attempt);
        assert_eq!(logger.log(b"bb"), Err(Dropped(DropCause::Overflow)), "10 + 2 > 11");
    }
    assert!(drain(&receiver).is_empty());
    tokio::time::resume();
    logger.flush().await.unwrap();
    assert_eq!(drain(&receiver), [b"helloworld"]);
    assert!(buffer.stats().balanced());
}

#[tokio::test]
async fn bug_02_messages_during_a_send_arrive_in_order() {
    let folder = Folder::new();
    let receiver = blocked_receiver(&folder.path("log.sock"));
    let config =
        pillion::config::Logger { flush_limit: 6, ..config(Target::Unixgram(folder.path("log.sock"))) };
    let (logger, _) = start(&config);
    logger.log(b"123456").unwrap();
    while logger.stats().shipper.connects == 0 {
        tokio::task::yield_now().await;
    }
    logger.log(b"aaaa").unwrap();
    logger.log(b"bb").unwrap();
    drain(&receiver);
    logger.flush().await.unwrap();
    assert_eq!(drain(&receiver), [&b"123456"[..], b"aaaa", b"bb"]);
}

#[tokio::test]
async fn bug_03_an_empty_message_blocks_nothing() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 0, ..config(server.target.clone()) });
    assert_eq!(logger.log(b""), Ok(0));
    assert_eq!(logger.flush().await, Ok(0));
    assert_eq!(logger.log(URI.as_bytes()), Ok(10));
    server.expect(URI).await;
}

// === timeout ===

/// A TCP port that neither takes nor refuses a connection: its queue is full and nobody accepts.
fn black_hole() -> (Target, Vec<Box<dyn std::any::Any>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut kept: Vec<Box<dyn std::any::Any>> = vec![Box::new(listener)];
    for _ in 0..4 {
        let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        // "In progress" is what is wanted here.
        filler.connect(&address.into()).ok();
        kept.push(Box::new(filler));
    }
    (tcp_target(address.port()), kept)
}

/// Lets time pass until `logger` has an error to tell.
async fn next_error(logger: &Logger) -> String {
    for _ in 0..1_000_000 {
        if let Some(error) = logger.last_error() {
            return error;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    panic!("no error in a thousand seconds");
}

#[tokio::test(start_paused = true)]
async fn timeout_01_a_connect_without_answer_times_out_and_is_tried_again() {
    let (target, _kept) = black_hole();
    let config =
        pillion::config::Logger { flush_limit: 1, timeout: Duration::from_millis(1), ..config(target) };
    let (logger, _) = start(&config);
    logger.log(URI.as_bytes()).unwrap();
    let error = next_error(&logger).await;
    assert!(error.ends_with("try to connect to the log server failed after 3 retries: timeout"), "{error}");
    let stats = logger.stats();
    assert_eq!((stats.shipper.retries, stats.shipper.connects), (3, 0));
    assert_eq!(stats.records.queued.bytes, 10, "nothing is discarded");
}

#[tokio::test(start_paused = true)]
async fn timeout_02_a_write_that_is_not_taken_times_out_and_is_sent_again() {
    let folder = Folder::new();
    let receiver = blocked_receiver(&folder.path("log.sock"));
    let config = pillion::config::Logger {
        flush_limit: 1,
        timeout: Duration::from_millis(100),
        retry_interval: Duration::from_millis(1),
        ..config(Target::Unixgram(folder.path("log.sock")))
    };
    let (logger, _) = start(&config);
    logger.log(URI.as_bytes()).unwrap();
    let error = next_error(&logger).await;
    assert_eq!(error, "try to send log messages to the log server failed after 3 retries: timeout");
    drain(&receiver);
    tokio::time::resume();
    logger.flush().await.unwrap();
    assert_eq!(drain(&receiver), [URI.as_bytes()]);
}

#[tokio::test]
async fn timeout_03_one_flush_carries_two_messages_of_one_request() {
    let mut server = LogServer::tcp().await;
    let (logger, _) = start(&pillion::config::Logger { flush_limit: 1, ..config(server.target.clone()) });
    let (first, second) = ("1".repeat(91), "2".repeat(91));
    logger.log(first.as_bytes()).unwrap();
    logger.log(second.as_bytes()).unwrap();
    server.expect(&format!("{first}{second}")).await;
    logger.flush().await.unwrap();
    assert_eq!(logger.stats().shipper.flushes, 1);
    assert_eq!(logger.last_error(), None);
}

#[tokio::test(start_paused = true)]
async fn timeout_04_the_error_of_a_flush_is_told_once_and_in_full() {
    let (target, _kept) = black_hole();
    let config = pillion::config::Logger {
        flush_limit: 1,
        timeout: Duration::from_millis(10),
        retry_interval: Duration::from_millis(1),
        max_retry_times: Some(1),
        ..config(target)
    };
    let (logger, _) = start(&config);
    logger.log(URI.as_bytes()).unwrap();
    let expected = "try to send log messages to the log server failed after 1 retries: \
                    try to connect to the log server failed after 1 retries: timeout";
    assert_eq!(next_error(&logger).await, expected);
    assert_eq!(logger.last_error(), None, "it is told once");
}

#[tokio::test(start_paused = true)]
async fn timeout_05_messages_that_come_while_a_send_is_blocked_start_no_second_one() {
    let folder = Folder::new();
    let receiver = blocked_receiver(&folder.path("log.sock"));
    let config = pillion::config::Logger {
        flush_limit: 1,
        timeout: Duration::from_millis(50),
        max_retry_times: Some(2),
        ..config(Target::Unixgram(folder.path("log.sock")))
    };
    let (logger, _) = start(&config);
    logger.log(URI.as_bytes()).unwrap();
    logger.log(URI.as_bytes()).unwrap();
    let error = next_error(&logger).await;
    assert_eq!(error, "try to send log messages to the log server failed after 2 retries: timeout");
    let shipper = logger.stats().shipper;
    assert_eq!((shipper.flushes_failed, shipper.retries, shipper.connects), (1, 2, 3));
    drain(&receiver);
    tokio::time::resume();
    logger.flush().await.unwrap();
    assert_eq!(drain(&receiver), [URI.as_bytes(), URI.as_bytes()]);
}
