//! Where the lines go: counts newlines, in plain or under TLS.

use std::io::Read;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;

/// A log server; it ends with the connections to it.
pub(crate) struct Sink {
    lines: Arc<AtomicU64>,
    address: SocketAddr,
    certificate: Option<TempDir>,
}

impl Sink {
    pub(crate) fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(AtomicU64::new(0));
        let certificate = tls.then(|| tempfile::tempdir().unwrap());
        let config = certificate.as_ref().map(|directory| server(directory.path()));
        let counter = Arc::clone(&lines);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (lines, config) = (Arc::clone(&counter), config.clone());
                thread::spawn(move || serve(stream, config, &lines));
            }
        });
        Self { lines, address, certificate }
    }

    /// How many lines have come.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that the server is to be believed by, when it speaks TLS.
    pub(crate) fn authority(&self) -> Option<PathBuf> {
        self.certificate.as_ref().map(|directory| directory.path().join("ca.pem"))
    }
}

fn serve(stream: TcpStream, config: Option<Arc<ServerConfig>>, lines: &AtomicU64) {
    match config {
        None => count(stream, lines),
        Some(config) => {
            let session = ServerConnection::new(config).unwrap();
            count(StreamOwned::new(session, stream), lines);
        }
    }
}

fn count(mut stream: impl Read, lines: &AtomicU64) {
    let mut bytes = vec![0; 256 * 1024];
    while let Ok(length) = stream.read(&mut bytes) {
        if length == 0 {
            return;
        }
        let found = memchr::memchr_iter(b'\n', bytes.get(..length).unwrap()).count();
        lines.fetch_add(found as u64, Ordering::Relaxed);
    }
}

fn server(directory: &Path) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(directory.join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}
