//! How commands talk to the running daemon: HTTP over its admin socket, one connection for each request.
//!
//! Limits: [`CONNECT`] for the connection, [`ANSWER`] for the head of an answer, and for the whole of one that is read
//! at once, which may have [`LENGTH`] bytes. Whatever fails says what to do about it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::address::Address;
use crate::config::Config;
use crate::net::dial;
use crate::tasks::OnExit;
use crate::tasks::Tasks;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long the daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest answer that is read at once, in bytes.
const LENGTH: usize = 16 * 1024 * 1024;

/// The send buffer of a TCP connection: requests are short.
const SEND_BUFFER: usize = 64 * 1024;

/// Why the daemon gave no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configuration has no admin listener.
    #[error(
        "the daemon can not be asked: listen.admin is empty, or names only ports that the daemon chooses itself"
    )]
    NoAddress,
    /// Nothing listens.
    #[error(
        "pillion does not run: nothing listens on {0} (--config FILE and --set KEY=VALUE name another configuration)"
    )]
    NotRunning(Address),
    /// The socket belongs to others.
    #[error(
        "permission denied on {0}: ask as the user of the daemon or a member of its group, for example with sudo"
    )]
    Denied(Address),
    /// Anything else between here and there.
    #[error("{0} can not be reached: {1}")]
    Unreachable(Address, #[source] io::Error),
    /// No answer in time.
    #[error("{0} gave no answer within {1:?}")]
    TimedOut(Address, Duration),
    /// It is no HTTP, or it broke off.
    #[error("{0}: the answer broke off, or what listens there is not pillion: {1}")]
    Broken(Address, #[source] hyper::Error),
    /// The answer is longer than anything that the daemon says.
    #[error("{0}: the answer is longer than {LENGTH} bytes: what listens there is not pillion")]
    TooLong(Address),
    /// The daemon says no.
    #[error("pillion refuses ({status}): {message}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// It answers, but not as pillion does.
    #[error(
        "{address} answers {status} and gives no reason: what listens there is not pillion, or an older one"
    )]
    Foreign {
        /// Where.
        address: Address,
        /// The status of the answer.
        status: StatusCode,
    },
}

impl Error {
    /// False when the daemon answered and a second try would have the same end.
    pub(super) fn is_worth_another_try(&self) -> bool {
        !matches!(self, Self::NoAddress | Self::Denied(_) | Self::Refused { .. } | Self::Foreign { .. })
    }
}

/// The way to the running daemon.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    address: Address,
    tasks: Tasks,
}

impl Admin {
    /// The way to the first admin listener of a configuration.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let fixed = |address: &&Address| address.host_port().is_none_or(|host_port| host_port.port != 0);
        let address = config.listen.admin.iter().find(fixed).ok_or(Error::NoAddress)?;
        Ok(Self { address: address.clone(), tasks: Tasks::new() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// `path` starts with `/` and may have a query; see [`escaped`].
    pub(super) async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let answer = self.open(method, path, body).await?;
        let whole = tokio::time::timeout(ANSWER, Limited::new(answer, LENGTH).collect()).await;
        let whole = whole.map_err(|_| Error::TimedOut(self.address.clone(), ANSWER))?;
        whole.map(http_body_util::Collected::to_bytes).map_err(|error| {
            match error.downcast::<hyper::Error>() {
                Ok(error) => Error::Broken(self.address.clone(), *error),
                // The limit is the only other reason that reading can end for.
                Err(_) => Error::TooLong(self.address.clone()),
            }
        })
    }

    /// Asks for an answer that comes piece by piece, for as long as it takes.
    pub(super) async fn watch(&self, path: &str) -> Result<Pieces, Error> {
        let answer = self.open(Method::GET, path, Bytes::new()).await?;
        Ok(Pieces { address: self.address.clone(), answer })
    }

    async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Incoming, Error> {
        let exchange = self.exchange(method, path, body);
        let answer = tokio::time::timeout(CONNECT + ANSWER, exchange).await;
        let answer = answer.map_err(|_| Error::TimedOut(self.address.clone(), ANSWER))??;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let said = tokio::time::timeout(ANSWER, Limited::new(answer.into_body(), LENGTH).collect()).await;
        let said =
            said.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        Err(match said.get("message").and_then(Value::as_str) {
            Some(message) => Error::Refused { status, message: message.to_owned() },
            None => Error::Foreign { address: self.address.clone(), status },
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Error> {
        let broken = |error| Error::Broken(self.address.clone(), error);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "pillion")
            .header(http::header::USER_AGENT, concat!("pillion/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Error::Unreachable(self.address.clone(), io::Error::other(error)))?;
        let unreachable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning(self.address.clone())
            }
            io::ErrorKind::PermissionDenied => Error::Denied(self.address.clone()),
            io::ErrorKind::TimedOut => Error::TimedOut(self.address.clone(), CONNECT),
            _ => Error::Unreachable(self.address.clone(), error),
        };
        match &self.address {
            Address::Unix(path) | Address::Unixgram(path) => {
                let stream = dial::unix(path, CONNECT).await.map_err(unreachable)?;
                self.send(stream, request).await.map_err(broken)
            }
            Address::Tcp(target) | Address::Udp(target) => {
                let stream = dial::tcp(target, SEND_BUFFER, CONNECT).await.map_err(unreachable)?;
                self.send(stream, request).await.map_err(broken)
            }
        }
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn("admin connection", OnExit::Ignore, async {
            // How it ends is told to whoever reads the answer.
            drop(connection.await);
        });
        sender.send_request(request).await
    }
}

/// An answer that comes piece by piece.
#[derive(Debug)]
pub(super) struct Pieces {
    address: Address,
    answer: Incoming,
}

impl Pieces {
    /// The next bytes, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.answer.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Broken(self.address.clone(), error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// A path with a query of these names and values, whatever is in the values.
pub(super) fn with_query<'n, 'v>(path: &str, pairs: impl Iterator<Item = (&'n str, &'v str)>) -> String {
    let mut whole = path.to_owned();
    for (number, (name, value)) in pairs.enumerate() {
        whole.push(if number == 0 { '?' } else { '&' });
        whole.push_str(name);
        whole.push('=');
        whole.push_str(&escaped(value));
    }
    whole
}

/// A value as it may stand in a path or a query.
pub(super) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixListener;

    fn at(address: &str) -> Admin {
        Admin { address: address.parse().unwrap(), tasks: Tasks::new() }
    }

    async fn error(admin: &Admin) -> String {
        let error = admin.ask(Method::GET, "/healthz", Bytes::new()).await.unwrap_err();
        error.to_string()
    }

    /// The error when `answer` is what the socket says.
    async fn answered(answer: &'static str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let admin = at(&format!("unix:{}", path.display()));
        tokio::join!(serve, error(&admin)).1
    }

    #[tokio::test]
    async fn what_stands_between_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let admin = at(&format!("unix:{}/s", directory.path().display()));
        assert!(error(&admin).await.starts_with("pillion does not run: nothing listens on unix:"));
        drop(UnixListener::bind(directory.path().join("s")).unwrap());
        assert!(error(&admin).await.starts_with("pillion does not run"), "a dead socket");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(error(&at(&format!("tcp:{free}"))).await.contains("nothing listens on tcp:127.0.0.1:"));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_the_wanted_one_is_told() {
        let refused = "HTTP/1.1 503 x\r\ncontent-length: 19\r\n\r\n{\"message\":\"later\"}";
        assert_eq!(answered(refused).await, "pillion refuses (503 Service Unavailable): later");
        let foreign = "HTTP/1.1 404 x\r\ncontent-length: 2\r\n\r\nno";
        assert!(answered(foreign).await.contains("answers 404 Not Found and gives no reason"));
        assert!(answered("220 mail ready\r\n").await.contains("is not pillion"));
        assert!(answered("").await.contains("broke off"));
    }

    #[test]
    fn values_survive_a_query() {
        let pairs = [("where", "a b>=\"é\"&c"), ("room", "r-1")];
        let path = with_query("/tail", pairs.into_iter());
        assert_eq!(path, "/tail?where=a%20b%3E%3D%22%C3%A9%22%26c&room=r-1");
        assert_eq!(with_query("/tail", [].into_iter()), "/tail");
    }
}
