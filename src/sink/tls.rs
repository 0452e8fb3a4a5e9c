//! TLS for the sink: a certificate and a key from PEM files, no client certificates.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Error;
use crate::net::Stream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Speaks TLS on accepted connections.
#[derive(Clone)]
pub(super) struct Acceptor(TlsAcceptor);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Acceptor {
    /// Shakes hands.
    pub(super) async fn accept(&self, stream: Stream) -> io::Result<TlsStream<Stream>> {
        tokio::time::timeout(HANDSHAKE, self.0.accept(stream)).await?
    }
}

/// Reads the files.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<Acceptor, Error> {
    let pem = |path: &Path, what: &'static str| {
        let path = path.to_owned();
        move |source| Error::Pem { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(certificate, "no certificates can be read from this file, which must be PEM"))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(pem(key, "no private key can be read from this file, which must be PEM"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(Error::Tls)?;
    Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
}
