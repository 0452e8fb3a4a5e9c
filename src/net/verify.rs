//! Whom a TLS client believes to be the server.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::VerifierBuilderError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::server::ParsedCertificate;

/// Whose word counts. The signatures of the handshake are checked in any case.
#[derive(Debug)]
enum Trust {
    /// Nobody's: any certificate will do, so that anybody on the way can pose as the server.
    Anyone,
    /// The operator's: certificates that these authorities issued, and those that are in the file themselves.
    File { issued: Arc<WebPkiServerVerifier>, listed: Vec<CertificateDer<'static>> },
}

/// Decides about a server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
}

impl Verifier {
    /// Takes any certificate.
    pub(super) fn anyone(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, trust: Trust::Anyone }
    }

    /// Takes what the certificates of a file stand for.
    ///
    /// A server may show one of these certificates itself, as with a self-signed one that is its own authority,
    /// which `openssl req -x509` makes: then its name must match, and its dates are not looked at, since the
    /// operator named this very certificate.
    pub(super) fn file(
        provider: Arc<CryptoProvider>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone())?;
        }
        let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error: VerifierBuilderError| rustls::Error::General(error.to_string()))?;
        Ok(Self { provider, trust: Trust::File { issued, listed: certificates } })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::File { issued, listed } = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        if listed.iter().any(|listed| listed == certificate) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        issued.verify_server_cert(certificate, chain, name, ocsp, now).map_err(|error| match error {
            // The library's own words for this are the names of its types.
            rustls::Error::InvalidCertificate(CertificateError::Other(_)) => {
                rustls::Error::General("the server shows an authority's certificate as its own".into())
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A self-signed certificate that is its own authority, for `name`.
    fn authority(name: &str) -> CertificateDer<'static> {
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verdict(
        listed: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        name: &str,
    ) -> Result<(), String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier::file(provider, vec![listed.clone()]).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_000_000));
        verifier.verify_server_cert(shown, &[], &name, &[], now).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_that_is_in_the_file_is_taken_under_its_name_only() {
        let certificate = authority("logs.example");
        assert_eq!(verdict(&certificate, &certificate, "logs.example"), Ok(()));
        let refused = verdict(&certificate, &certificate, "other.example").unwrap_err();
        assert!(refused.contains("not valid for name"), "{refused}");
    }

    #[test]
    fn an_authority_that_is_not_in_the_file_is_refused() {
        let (listed, shown) = (authority("logs.example"), authority("logs.example"));
        assert!(verdict(&listed, &shown, "logs.example").is_err());
    }
}
