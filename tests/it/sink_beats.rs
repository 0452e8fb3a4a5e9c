//! The sink as a receiver of beats, over real sockets, spoken to by hand.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pillion::sink::Faults;
use pillion::sink::Format;
use pillion::sink::Options;
use rcgen::CertifiedIssuer;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use crate::sink::Bench;
use crate::sink::local;
use crate::sink::options;
use crate::sink::record;

pub(crate) fn beats(listen: &str) -> Options {
    Options { format: Format::Beats, ..options(listen) }
}

/// A window around lines, as bytes.
pub(crate) fn window(lines: &[String]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let mut bytes = [b"2W".as_slice(), &number(lines.len())].concat();
    for (index, line) in lines.iter().enumerate() {
        let json = line.trim_end();
        let head = [b"2J".as_slice(), &number(index + 1), &number(json.len())].concat();
        bytes.extend([head.as_slice(), json.as_bytes()].concat());
    }
    bytes
}

pub(crate) fn ack(sequence: u32) -> Vec<u8> {
    [b"2A".as_slice(), &sequence.to_be_bytes()].concat()
}

/// The next answer; the bytes of a connection that ended are what came before its end.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; 6];
    let read = tokio::time::timeout(Duration::from_secs(600), stream.read_exact(&mut answer)).await;
    read.expect("an answer or an end").map(|_| answer)
}

pub(crate) async fn ended(stream: &mut (impl AsyncRead + Unpin)) -> io::ErrorKind {
    answer(stream).await.unwrap_err().kind()
}

#[tokio::test]
async fn windows_are_printed_and_then_acknowledged() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..3).map(record).collect();
        for listen in ["tcp:127.0.0.1:0".to_owned(), format!("unix:{}", directory.path().join("s").display())]
        {
            let bench = Bench::start(beats(&listen));
            let out = bench.out.clone();
            let talk = async |mut stream: Box<dyn Stream>| {
                stream.write_all(&window(&lines[..2])).await.unwrap();
                assert_eq!(answer(&mut stream).await.unwrap(), ack(2));
                assert_eq!(out.text(), lines[..2].concat(), "an acknowledgement comes after the lines");
                // Two windows at once, the second one empty: a sign of life is asked for.
                stream.write_all(&[window(&lines[2..]), window(&[])].concat()).await.unwrap();
                assert_eq!(answer(&mut stream).await.unwrap(), ack(1));
                assert_eq!(answer(&mut stream).await.unwrap(), ack(0));
            };
            if listen.starts_with("tcp") {
                talk(Box::new(TcpStream::connect(&bench.address).await.unwrap())).await;
            } else {
                talk(Box::new(UnixStream::connect(&bench.address).await.unwrap())).await;
            }
            let (totals, out, complaints) = bench.end().await;
            assert_eq!((totals.lines, totals.bad, totals.broken), (3, 0, 0), "{complaints}");
            assert_eq!(out, lines.concat());
        }
    })
    .await;
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

#[tokio::test]
async fn a_compressed_window_is_taken_byte_by_byte() {
    // {"a":1} and {"b":2}, by Python's zlib: an example of tests/golden/lumberjack.
    let golden = include_str!("../golden/lumberjack/windows.txt");
    let example = golden.split("\n\n").find(|example| example.contains("level 3, as Filebeat")).unwrap();
    let hex = example.lines().nth(1).unwrap().rsplit_once("'2C'").unwrap().1.replace(' ', "");
    let content: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let bytes = [b"2W\0\0\0\x022C".as_slice(), &content].concat();
    local(async {
        let bench = Bench::start(beats("tcp:127.0.0.1:0"));
        let mut stream = TcpStream::connect(&bench.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in bytes {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(answer(&mut stream).await.unwrap(), ack(2));
        let (totals, out, _) = bench.end().await;
        assert_eq!((totals.lines, out.as_str()), (2, "{\"a\":1}\n{\"b\":2}\n"));
    })
    .await;
}

#[tokio::test]
async fn a_window_that_did_not_end_is_not_taken() {
    local(async {
        let bench = Bench::start(beats("tcp:127.0.0.1:0"));
        let mut stream = TcpStream::connect(&bench.address).await.unwrap();
        let bytes = window(&[record(0), record(1)]);
        stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(ended(&mut stream).await, io::ErrorKind::UnexpectedEof);
        let (totals, out, complaints) = bench.end().await;
        assert_eq!((totals.lines, totals.broken, out.as_str()), (0, 1, ""));
        assert!(complaints.starts_with("a connection closed within a window: nothing of it was taken\n"));
    })
    .await;
}

#[tokio::test]
async fn a_window_with_a_poison_line_is_never_acknowledged() {
    local(async {
        for poison in ["{\"a\":}", "[1]", "{\"a\":\"\t\"}"] {
            let bench = Bench::start(beats("tcp:127.0.0.1:0"));
            let mut stream = TcpStream::connect(&bench.address).await.unwrap();
            stream.write_all(&window(&[record(0), poison.to_owned()])).await.unwrap();
            assert_eq!(ended(&mut stream).await, io::ErrorKind::UnexpectedEof);
            let (totals, _, complaints) = bench.end().await;
            assert_eq!((totals.lines, totals.bad), (2, 1), "{poison}");
            assert!(complaints.starts_with("bad line: not "), "{complaints}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_a_reason() {
    local(async {
        let bench = Bench::start(beats("tcp:127.0.0.1:0"));
        let mut stream = TcpStream::connect(&bench.address).await.unwrap();
        stream
            .write_all(&[window(&[record(0)]), b"2J\0\0\0\x01\0\0\0\x02{}".to_vec()].concat())
            .await
            .unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), ack(1));
        assert_eq!(ended(&mut stream).await, io::ErrorKind::UnexpectedEof);
        let (totals, _, complaints) = bench.end().await;
        assert_eq!((totals.lines, totals.broken), (1, 1));
        assert!(
            complaints
                .starts_with("a connection broke the protocol of beats: a record at offset 65 is outside"),
            "{complaints}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_waits_is_told_to_by_signs_of_life() {
    local(async {
        let faults = Faults { ack_late: Some(Duration::from_secs(12)), ..Faults::default() };
        let bench = Bench::start(Options { faults, ..beats("tcp:127.0.0.1:0") });
        let mut stream = TcpStream::connect(&bench.address).await.unwrap();
        stream.write_all(&window(&[record(0)])).await.unwrap();
        for expected in [0, 0, 1] {
            assert_eq!(answer(&mut stream).await.unwrap(), ack(expected));
        }
        let (totals, _, _) = bench.end().await;
        assert_eq!((totals.lines, totals.faults.late_acks), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_reset_when_its_time_is_over() {
    local(async {
        for format in [Format::Beats, Format::Ndjson] {
            let idle = Some(Duration::from_secs(60));
            let bench = Bench::start(Options { idle, format, ..options("tcp:127.0.0.1:0") });
            let started = tokio::time::Instant::now();
            let mut stream = TcpStream::connect(&bench.address).await.unwrap();
            assert_eq!(ended(&mut stream).await, io::ErrorKind::ConnectionReset);
            assert!(started.elapsed() >= Duration::from_secs(60));
            let (totals, _, _) = bench.end().await;
            assert_eq!((totals.lines, totals.broken), (0, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn mutual_tls_takes_those_who_show_a_certificate() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let key = || KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key()).unwrap();
        let issue = |name: &str| {
            let key = key();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (server, server_key) = issue("localhost");
        std::fs::write(path("ca.pem"), authority.pem()).unwrap();
        std::fs::write(path("cert.pem"), server.pem()).unwrap();
        std::fs::write(path("key.pem"), server_key.serialize_pem()).unwrap();

        let bench = Bench::start(Options {
            tls: Some((path("cert.pem"), path("key.pem"))),
            tls_client_ca: Some(path("ca.pem")),
            ..beats("tcp:127.0.0.1:0")
        });
        let connector = |identity: Option<(rcgen::Certificate, KeyPair)>| {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let config = match identity {
                None => config.with_no_client_auth(),
                Some((certificate, key)) => {
                    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                    config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
                }
            };
            TlsConnector::from(Arc::new(config))
        };
        let connect = async |connector: TlsConnector| {
            let stream = TcpStream::connect(&bench.address).await.unwrap();
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
        };
        let mut known = connect(connector(Some(issue("client")))).await;
        known.write_all(&window(&[record(0)])).await.unwrap();
        known.flush().await.unwrap();
        assert_eq!(answer(&mut known).await.unwrap(), ack(1));

        // In TLS 1.3 the refusal is seen with the first read.
        let mut unknown = connect(connector(None)).await;
        answer(&mut unknown).await.unwrap_err();
        let mut plain = TcpStream::connect(&bench.address).await.unwrap();
        plain.write_all(&window(&[record(1)])).await.unwrap();
        plain.read_to_end(&mut Vec::new()).await.unwrap_or_default();

        let (totals, _, complaints) = bench.end().await;
        assert_eq!((totals.lines, totals.broken), (1, 2), "{complaints}");
        assert!(
            complaints.contains("it must show a certificate of the authorities in --tls-client-ca"),
            "{complaints}"
        );
        assert!(complaints.contains("it does not seem to speak TLS"), "{complaints}");
    })
    .await;
}
