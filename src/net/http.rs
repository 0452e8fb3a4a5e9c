//! A small HTTP client: one request, one answer of limited length, one deadline for both.
//!
//! Connections are kept and reused; redirects are not followed; `https` verifies against the system's roots.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::Request;
use hyper::StatusCode;
use hyper::Uri;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use rustls_platform_verifier::ConfigVerifierExt as _;

/// How long an unused connection is kept: shorter than servers usually do, so that we close first.
const IDLE: Duration = Duration::from_secs(30);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could not be made.
    #[error("the address {0:?} is no URL that can be asked: {1}")]
    BadAddress(String, #[source] http::Error),
    /// The server could not be reached, or broke off.
    #[error("{}", with_causes(.0))]
    Failed(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The system's certificates could not be read.
    #[error("the system's certificates could not be loaded: {0}")]
    Roots(#[source] rustls::Error),
}

/// An HTTP client with a pool of connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Client {
    /// A client without connections.
    ///
    /// # Errors
    ///
    /// [`Error::Roots`] when the system has no certificates to verify servers by.
    pub fn new() -> Result<Self, Error> {
        let tls = rustls::ClientConfig::with_platform_verifier().map_err(Error::Roots)?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { pool })
    }

    /// Asks for `uri` and reads an answer of at most `max` bytes, all within `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error`] says whether the server was not reached, was too slow, or said too much.
    pub async fn get(&self, uri: &Uri, timeout: Duration, max: usize) -> Result<(StatusCode, Bytes), Error> {
        let exchange = self.exchange(uri, max);
        tokio::time::timeout(timeout, exchange).await.map_err(|_| Error::Timeout(timeout))?
    }

    async fn exchange(&self, uri: &Uri, max: usize) -> Result<(StatusCode, Bytes), Error> {
        let request = Request::get(uri)
            .header(http::header::USER_AGENT, concat!("pillion/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| Error::BadAddress(uri.to_string(), error))?;
        let (head, body) = self.pool.request(request).await.map_err(Error::Failed)?.into_parts();
        match Limited::new(body, max).collect().await {
            Ok(body) => Ok((head.status, body.to_bytes())),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => Error::Broken(*error),
                // The limit is the only other reason that reading can end for.
                Err(_) => Error::TooLong(max),
            }),
        }
    }
}

/// An error and its causes in one line: the client's own words are only "client error (Connect)".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
