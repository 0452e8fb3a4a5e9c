//! TLS for the sink: a certificate and a key from PEM files, and the authorities of its clients if they must show one.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
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

/// Reads the files. With a file of authorities, a client must show a certificate that one of them issued.
pub(super) fn acceptor(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Acceptor, Error> {
    let pem = |path: &Path, what: &'static str| {
        let path = path.to_owned();
        move |source| Error::Pem { path, what, source }
    };
    let certificates = |path: &Path| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(pem(path, "no certificates can be read from this file, which must be PEM"))
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(pem(key, "no private key can be read from this file, which must be PEM"))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(Error::Tls)?;
            }
            let roots = Arc::new(roots);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| Error::ClientCa { path: path.to_owned(), source: error })?
        }
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_client_cert_verifier(clients).with_single_cert(chain, key))
        .map_err(Error::Tls)?;
    Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
}

/// What is to say of a handshake that failed.
pub(super) fn explain(error: &io::Error) -> &'static str {
    use rustls::Error::InvalidMessage;
    use rustls::Error::NoCertificatesPresented;
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(InvalidMessage(_)) => ": it does not seem to speak TLS",
        Some(NoCertificatesPresented) => ": it must show a certificate of the authorities in --tls-client-ca",
        _ => "",
    }
}
