//! A real nginx on the shipped files, with the test on both of its ends: client and upstream.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::nginx::Nginx;

/// How long anything may take before the test says that it did not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate for localhost in the directory, and the same in the form a client trusts.
pub(crate) fn certificate(directory: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A real nginx on the shipped files, with the test on both of its ends.
pub(crate) struct Trial {
    pub(crate) nginx: Nginx,
    syslog: UdpSocket,
    heads: mpsc::Receiver<String>,
    pub(crate) certificate: rustls::pki_types::CertificateDer<'static>,
    _directory: tempfile::TempDir,
}

impl Trial {
    /// Starts nginx by the script that `make run` uses; the upstream answers unless `upstream` is false.
    pub(crate) fn start(upstream: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = certificate(directory.path());
        let syslog = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        syslog.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket = directory.path().join("pillion.sock");
        let (sender, heads) = mpsc::channel();
        if upstream {
            let listener = UnixListener::bind(&socket).unwrap();
            thread::spawn(move || serve(&listener, &sender));
        }
        let nginx = Nginx::start(directory.path(), &socket, &syslog.local_addr().unwrap().to_string());
        Self { nginx, syslog, heads, certificate, _directory: directory }
    }

    /// Sends bytes from an address of this machine and reads until nginx closes.
    pub(crate) fn exchange_from(&self, source: Ipv4Addr, request: &[u8]) -> String {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, self.nginx.http)).into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn exchange(&self, request: &[u8]) -> String {
        self.exchange_from(Ipv4Addr::LOCALHOST, request)
    }

    /// A GET with more header lines, each ending in CR LF.
    pub(crate) fn get(&self, target: &str, headers: &[u8]) -> String {
        let mut request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
        request.extend_from_slice(headers);
        request.extend_from_slice(b"\r\n");
        self.exchange(&request)
    }

    /// The head of the next request that reached the upstream.
    pub(crate) fn head(&self) -> String {
        self.heads.recv_timeout(PATIENCE).expect("a request reaches the upstream")
    }

    /// The next log line as (tag, text), whatever it is.
    pub(crate) fn line(&self) -> (String, Vec<u8>) {
        let mut datagram = vec![0; 65536];
        let size = self.syslog.recv(&mut datagram).expect("nginx writes a log line");
        datagram.truncate(size);
        // <PRI>Mmm dd hh:mm:ss host tag: text
        let header = datagram.windows(2).position(|pair| pair == b": ").unwrap();
        let head = String::from_utf8(datagram[..header].to_vec()).unwrap();
        assert!(head.starts_with('<'), "{head}");
        assert_eq!(head.split_whitespace().count(), 5, "date, host and tag: {head}");
        (head.rsplit(' ').next().unwrap().to_owned(), datagram[header + 2..].to_vec())
    }

    /// The next access line as JSON; with bytes that are not UTF-8 replaced, as the ingest does it.
    pub(crate) fn access(&self) -> Value {
        loop {
            let (tag, text) = self.line();
            if tag == "nginx_access" {
                let text = String::from_utf8_lossy(&text);
                return serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            }
        }
    }
}

/// An upstream that reports every head: websockets are echoed, everything else is answered with two bytes.
fn serve(listener: &UnixListener, heads: &mpsc::Sender<String>) {
    while let Ok((stream, _)) = listener.accept() {
        let heads = heads.clone();
        thread::spawn(move || answer(stream, &heads));
    }
}

fn answer(mut stream: UnixStream, heads: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if !reader.read_until(b'\n', &mut head).is_ok_and(|size| size > 0) {
                return;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let upgrade = head.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n");
        // Nobody may be interested in the head any more.
        _ = heads.send(head);
        if upgrade {
            let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Session-Id: session-7\r\n\r\n";
            stream.write_all(switched.as_bytes()).unwrap();
            // The echo ends with whichever side goes first.
            _ = std::io::copy(&mut reader, &mut stream);
            return;
        }
        let ok =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: of-pillion\r\nX-Room-Id: r42\r\n\r\nok";
        if stream.write_all(ok.as_bytes()).is_err() {
            return;
        }
    }
}

/// The value of a header line of a request or an answer.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}
