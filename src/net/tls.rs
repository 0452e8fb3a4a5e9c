//! TLS towards a server: what is trusted, what is shown, and under which name.
//!
//! Certificates are trusted as the system does, or by a file of authorities. Files are read when the settings are
//! built, so a mistake shows at start or reload and not at the first connection; building again reads them again.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::ConfigBuilder;
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config::Tls;
use crate::net::verify::Verifier;

/// Why the TLS settings can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, unreadable or no PEM.
    #[error("cannot read {what} from {}", path.display())]
    Read {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A readable file without what it is for.
    #[error("{} does not hold {what}", path.display())]
    Empty {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Only one of certificate and key is set.
    #[error("a client certificate needs both \"ssl_cert\" and \"ssl_key\"")]
    HalfIdentity,
    /// There is no name to verify the certificate against.
    #[error(
        "TLS to a unix socket needs \"sni_host\" to verify the certificate; set it, or turn \"ssl_verify\" off"
    )]
    NameNeeded,
    /// The name can not be a server's name.
    #[error("{name:?} is not a valid host name for TLS; set \"sni_host\"")]
    Name {
        /// The name as configured.
        name: String,
    },
    /// The certificates or the key are not usable.
    #[error("the TLS settings are not usable")]
    Unusable(#[from] rustls::Error),
}

/// Settings of one TLS client: how to shake hands, and with whom.
#[derive(Clone, Debug)]
pub struct Client {
    /// The handshake settings, shared by all connections, with the sessions to resume.
    pub config: Arc<ClientConfig>,
    /// The name that is verified, and asked for by SNI if it is a host name.
    pub name: ServerName<'static>,
    /// Whether a client certificate is shown.
    pub identified: bool,
}

/// Builds the settings; `host` is the name of the target when it has one.
///
/// # Errors
/// When a file can not be used, or the name that the certificate must match is missing or wrong.
pub fn client(settings: &Tls, host: Option<&str>) -> Result<Client, Error> {
    let named = settings.sni_host.as_deref().or(host);
    let name = match named {
        Some(name) => server_name(name)?,
        None if settings.verify => return Err(Error::NameNeeded),
        // Nothing verifies this name, and it is not sent.
        None => server_name("unnamed.invalid")?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &settings.ca {
        _ if !settings.verify => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier::anyone(provider)))
        }
        Some(path) => {
            let trusted = Verifier::file(provider, certificates(path, "an authority's certificate")?)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(trusted))
        }
        None => builder.with_platform_verifier()?,
    };
    let (mut config, identified) = identity(builder, settings)?;
    config.enable_sni = named.is_some();
    Ok(Client { config: Arc::new(config), name, identified })
}

fn identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    settings: &Tls,
) -> Result<(ClientConfig, bool), Error> {
    match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "a certificate")?;
            let what = "a private key";
            let key = PrivateKeyDer::from_pem_file(key).map_err(|source| match source {
                pem::Error::NoItemsFound => Error::Empty { what, path: key.clone() },
                source => Error::Read { what, path: key.clone(), source },
            })?;
            Ok((builder.with_client_auth_cert(chain, key)?, true))
        }
        (None, None) => Ok((builder.with_no_client_auth(), false)),
        (Some(_), None) | (None, Some(_)) => Err(Error::HalfIdentity),
    }
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = |source| Error::Read { what, path: path.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(Error::Empty { what, path: path.to_owned() }),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(read(source)),
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(name.to_owned()).map_err(|_| Error::Name { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn settings() -> Tls {
        Tls { verify: true, sni_host: None, ca: None, cert: None, key: None }
    }

    fn error(settings: &Tls, host: Option<&str>) -> String {
        client(settings, host).unwrap_err().to_string()
    }

    #[test]
    fn a_unix_socket_without_a_name_works_only_unverified() {
        assert!(error(&settings(), None).contains("needs \"sni_host\""));
        let unverified = client(&Tls { verify: false, ..settings() }, None).unwrap();
        assert!(!unverified.config.enable_sni, "a name that means nothing is not sent");
    }

    #[test]
    fn the_configured_name_goes_before_the_host() {
        let named = Tls { verify: false, sni_host: Some("logs.example.com".to_owned()), ..settings() };
        let built = client(&named, Some("10.0.0.1")).unwrap();
        assert_eq!(built.name, ServerName::try_from("logs.example.com").unwrap());
        let built = client(&Tls { verify: false, ..settings() }, Some("10.0.0.1")).unwrap();
        assert!(matches!(built.name, ServerName::IpAddress(_)));
        assert!(error(&settings(), Some("a b")).contains("not a valid host name"));
    }

    #[test]
    fn a_file_that_can_not_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent.pem");
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "no certificate here").unwrap();
        let message = error(&Tls { ca: Some(absent), ..settings() }, Some("a"));
        assert!(
            message.contains("cannot read an authority's certificate from") && message.contains("absent.pem")
        );
        let message = error(&Tls { ca: Some(empty.clone()), ..settings() }, Some("a"));
        assert!(message.ends_with("empty.pem does not hold an authority's certificate"), "{message}");
        let half = Tls { verify: false, cert: Some(empty), ..settings() };
        assert!(error(&half, Some("a")).contains("both"));
    }
}
