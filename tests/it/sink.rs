//! The sink over real sockets: what it prints, what it complains about, and what it counts.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;

use pillion::address::Address;
use pillion::sink::Options;
use pillion::sink::Show;
use pillion::sink::Sink;
use pillion::sink::Totals;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::net::UnixDatagram;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::oneshot;

/// A writer that can be read while the sink has it.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>, Arc<Notify>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Waits for so many lines.
    pub(crate) async fn lines(&self, count: usize) {
        while self.text().lines().count() < count {
            self.1.notified().await;
        }
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = Write::write(&mut *self.0.lock().unwrap(), bytes);
        self.1.notify_one();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink at work.
pub(crate) struct Bench {
    pub(crate) address: String,
    stop: oneshot::Sender<()>,
    run: tokio::task::JoinHandle<io::Result<Totals>>,
    pub(crate) out: Paper,
    complaints: Paper,
}

impl Bench {
    pub(crate) fn start(options: Options) -> Self {
        let (sink, address) = Sink::build(options).unwrap();
        let address = address.to_string().split_once(':').unwrap().1.to_owned();
        let (stop, stopped) = oneshot::channel::<()>();
        let (out, complaints) = (Paper::default(), Paper::default());
        let shutdown = async { stopped.await.unwrap_or(()) };
        let run = tokio::task::spawn_local(sink.run(shutdown, out.clone(), complaints.clone()));
        Self { address, stop, run, out, complaints }
    }

    pub(crate) async fn end(self) -> (Totals, String, String) {
        self.stop.send(()).unwrap();
        let totals = self.run.await.unwrap().unwrap();
        (totals, self.out.text(), self.complaints.text())
    }
}

pub(crate) fn options(listen: &str) -> Options {
    Options { listen: listen.parse::<Address>().unwrap(), max_line: 1000, ..Options::default() }
}

pub(crate) fn record(number: u64) -> String {
    format!("{{\"action\":\"login\",\"boot_id\":\"b\",\"log.sequence\":{number}}}\n")
}

pub(crate) async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn lines_are_printed_as_they_are_over_every_kind_of_socket() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let line = record(0);

        let tcp = Bench::start(options("tcp:127.0.0.1:0"));
        TcpStream::connect(&tcp.address).await.unwrap().write_all(line.as_bytes()).await.unwrap();
        let udp = Bench::start(options("udp:127.0.0.1:0"));
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sender.send_to(line.as_bytes(), &udp.address).await.unwrap();
        let unix = Bench::start(options(&format!("unix:{}", path("s").display())));
        UnixStream::connect(&unix.address).await.unwrap().write_all(line.as_bytes()).await.unwrap();
        let gram = Bench::start(options(&format!("unixgram:{}", path("d").display())));
        UnixDatagram::unbound().unwrap().send_to(line.trim_end().as_bytes(), &gram.address).await.unwrap();

        for bench in [tcp, udp, unix, gram] {
            let (totals, out, complaints) = bench.end().await;
            assert_eq!(out, line);
            let bytes = u64::try_from(line.len()).unwrap();
            assert_eq!(totals, Totals { lines: 1, bytes, ..Totals::default() });
            let total = format!(
                "total: 1 lines, {bytes} bytes, 0 bad, 0 missing, 0 repeated, 0 lost by the sender\n"
            );
            assert_eq!(complaints, total);
        }
        assert!(!path("s").exists() && !path("d").exists());
    })
    .await;
}

#[tokio::test]
async fn bad_lines_are_named_with_their_reason() {
    local(async {
        let bench = Bench::start(options("tcp:127.0.0.1:0"));
        let mut sender = TcpStream::connect(&bench.address).await.unwrap();
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(5000));
        let pieces: [&[u8]; 6] =
            [b"hello\n", b"[1]\n", b"\n", b"{\"a\":\"\xff\"}\n", long.as_bytes(), b"{\"a\":1}\n{\"torn\":"];
        for piece in pieces {
            sender.write_all(piece).await.unwrap();
        }
        drop(sender);
        let (totals, _, complaints) = bench.end().await;
        assert_eq!((totals.lines, totals.bad), (7, 6));
        let expected = [
            "bad line: not JSON: expected value at line 1 column 1: \"hello\"",
            "bad line: not an object: \"[1]\"",
            "bad line: empty: \"\"",
            "bad line: invalid UTF-8 at byte 6: \"{\\\"a\\\":\\\"\\xff\\\"}\"",
            "bad line: too long: \"{\\\"a\\\":\\\"xxxx",
            "bad line: torn: the connection closed within the line: \"{\\\"torn\\\":\"",
        ];
        for (line, expected) in complaints.lines().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn missing_numbers_and_confessed_losses_are_told() {
    local(async {
        let bench = Bench::start(options("tcp:127.0.0.1:0"));
        let mut sender = TcpStream::connect(&bench.address).await.unwrap();
        for number in [7, 8, 12, 11, 12, 15] {
            sender.write_all(record(number).as_bytes()).await.unwrap();
        }
        let gap = b"{\"action\":\"log_gap\",\"gap.lines\":4,\"gap.bytes\":900,\"gap.cause\":\"overflow\"}\n";
        sender.write_all(gap).await.unwrap();
        let (totals, _, complaints) = bench.end().await;
        assert_eq!((totals.missing, totals.repeated, totals.lost), (4, 1, 4));
        assert_eq!(
            complaints.lines().take(3).collect::<Vec<_>>(),
            [
                "log_gap: the sender lost 4 records: overflow",
                "gap: 2 records missing: numbers 9 to 10 of run b",
                "gap: 2 records missing: numbers 13 to 14 of run b",
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn what_comes_twice_is_counted_by_its_number_or_its_id() {
    local(async {
        let bench = Bench::start(options("tcp:127.0.0.1:0"));
        let mut sender = TcpStream::connect(&bench.address).await.unwrap();
        for number in [3, 2, 3, 4, 2] {
            sender.write_all(record(number).as_bytes()).await.unwrap();
        }
        for id in ["a", "b", "a"] {
            sender.write_all(format!("{{\"event.id\":\"{id}\"}}\n").as_bytes()).await.unwrap();
        }
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.repeated, totals.missing), (8, 3, 0));
    })
    .await;
}

#[tokio::test]
async fn readable_lines_replace_the_raw_ones() {
    local(async {
        let bench = Bench::start(Options { show: Show::Pretty, ..options("tcp:127.0.0.1:0") });
        let mut sender = TcpStream::connect(&bench.address).await.unwrap();
        let line = "{\"@timestamp\":\"2026-11-20T23:38:59.404Z\",\"action\":\"login\",\"log.level\":\"info\",\"user_id\":\"u\"}\n";
        sender.write_all(line.as_bytes()).await.unwrap();
        let (_, out, _) = bench.end().await;
        assert_eq!(out, "23:38:59.404 info  login        user=u\n");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn counts_come_once_a_second() {
    local(async {
        let bench = Bench::start(Options { show: Show::Counts, ..options("udp:127.0.0.1:0") });
        let out = bench.out.clone();
        while out.text().lines().count() < 2 {
            tokio::time::advance(std::time::Duration::from_millis(500)).await;
        }
        let (_, out, _) = bench.end().await;
        assert!(out.starts_with("0 lines 0 bytes 0 bad\n0 lines 0 bytes 0 bad\n"), "{out}");
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_has_gone_ends_the_sink_quietly() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sink, address) = Sink::build(options("tcp:127.0.0.1:0")).unwrap();
    let at = address.to_string().split_once(':').unwrap().1.to_owned();
    let sender = async {
        TcpStream::connect(at).await.unwrap().write_all(record(0).as_bytes()).await.unwrap();
    };
    let complaints = Paper::default();
    let (result, ()) = tokio::join!(sink.run(std::future::pending(), Closed, complaints.clone()), sender);
    assert_eq!(result.unwrap().lines, 1);
    assert_eq!(complaints.text(), "");
}

#[tokio::test]
async fn tls_connections_bring_lines_too() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();

        let tls = Some((certificate, key));
        let bench = Bench::start(Options { tls, ..options("tcp:127.0.0.1:0") });
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(pair.cert.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(&bench.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        stream.write_all(record(0).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let (totals, out, _) = bench.end().await;
        assert_eq!((totals.lines, totals.bad, out), (1, 0, record(0)));
    })
    .await;
}

#[tokio::test]
async fn options_that_can_not_work_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let missing = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let error = |options| Sink::build(options).unwrap_err().to_string();
    let datagrams = error(Options { tls: Some(missing.clone()), ..options("udp:127.0.0.1:0") });
    assert_eq!(datagrams, "TLS needs a tcp: or unix: address");
    let absent = error(Options { tls: Some(missing), ..options("tcp:127.0.0.1:0") });
    assert!(absent.contains("cert.pem: no certificates can be read"), "{absent}");
}
