//! A stand-in for the log server: it keeps what it receives and lets a test wait for it.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pillion::address::HostPort;
use pillion::buffer::Buffer;
use pillion::config;
use pillion::config::Target;
use pillion::logger;
use pillion::logger::Logger;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What a log server has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The bytes of each connection, in the order of their opening.
    pub(crate) streams: Vec<Vec<u8>>,
    /// Connections that have ended.
    pub(crate) closed: usize,
    /// The name asked for by SNI, for each TLS connection.
    pub(crate) names: Vec<Option<String>>,
    /// Handshakes that failed.
    pub(crate) refused: usize,
}

impl Seen {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.streams.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn lines(&self) -> usize {
        self.streams.iter().flatten().filter(|byte| **byte == b'\n').count()
    }
}

/// How a log server behaves.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Greets, and answers to everything it reads.
    pub(crate) talks: bool,
}

/// A log server that reads everything.
pub(crate) struct LogServer {
    seen: watch::Receiver<Seen>,
    tasks: Tasks,
    pub(crate) target: Target,
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl LogServer {
    pub(crate) async fn tcp() -> Self {
        Self::tcp_with(Manners::default()).await
    }

    pub(crate) async fn tcp_with(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = tcp_target(listener.local_addr().unwrap().port());
        Self::start(Door::Tcp(listener), target, manners)
    }

    pub(crate) fn unix(path: &Path) -> Self {
        Self::unix_with(path, Manners::default())
    }

    pub(crate) fn unix_with(path: &Path, manners: Manners) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::start(Door::Unix(listener), Target::Unix(path.to_owned()), manners)
    }

    fn start(door: Door, target: Target, manners: Manners) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let sender = Arc::new(sender);
        let tasks = Tasks::new();
        let own = tasks.clone();
        tasks.spawn("log server", OnExit::Ignore, async move {
            loop {
                let (own, sender, manners) = (own.clone(), Arc::clone(&sender), manners.clone());
                tokio::select! {
                    () = own.stopping() => return,
                    accepted = async {
                        match &door {
                            Door::Tcp(listener) => {
                                let (stream, _) = listener.accept().await.unwrap();
                                own.spawn("connection", OnExit::Ignore, connection(own.clone(), stream, sender, manners));
                            }
                            Door::Unix(listener) => {
                                let (stream, _) = listener.accept().await.unwrap();
                                own.spawn("connection", OnExit::Ignore, connection(own.clone(), stream, sender, manners));
                            }
                        }
                    } => accepted,
                }
            }
        });
        Self { seen, tasks, target }
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&mut self, condition: impl Fn(&Seen) -> bool) -> Seen {
        let waited = tokio::time::timeout(DEADLINE, self.seen.wait_for(condition)).await;
        let seen = waited.map(|seen| seen.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("the log server waited in vain; it has seen {}", self.summary()))
    }

    /// Waits until these bytes and no others have arrived.
    pub(crate) async fn expect(&mut self, text: &str) {
        self.until(|seen| seen.bytes().len() >= text.len()).await;
        assert_eq!(self.seen().text(), text);
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Dies with all its connections.
    pub(crate) async fn kill(self) -> Seen {
        self.tasks.stop();
        self.tasks.wait().await;
        if let Target::Unix(path) = &self.target {
            std::fs::remove_file(path).unwrap();
        }
        self.seen()
    }

    fn summary(&self) -> String {
        let seen = self.seen.borrow();
        let sizes: Vec<_> = seen.streams.iter().map(Vec::len).collect();
        format!("{} lines, streams of {sizes:?} bytes, {} refused", seen.lines(), seen.refused)
    }
}

async fn connection<S>(tasks: Tasks, stream: S, seen: Arc<watch::Sender<Seen>>, manners: Manners)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    tokio::select! {
        () = tasks.stopping() => {}
        () = async {
            match manners.tls.clone() {
                None => receive(stream, &seen, &manners).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => {
                        let name = stream.get_ref().1.server_name().map(str::to_owned);
                        seen.send_modify(|seen| seen.names.push(name));
                        receive(stream, &seen, &manners).await;
                    }
                    Err(_) => seen.send_modify(|seen| seen.refused += 1),
                },
            }
        } => {}
    }
}

async fn receive<S>(mut stream: S, seen: &watch::Sender<Seen>, manners: &Manners)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut index = 0;
    seen.send_modify(|seen| {
        index = seen.streams.len();
        seen.streams.push(Vec::new());
    });
    if manners.talks {
        stream.write_all(b"220 welcome\n").await.unwrap();
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(len) => seen.send_modify(|seen| {
                seen.streams.get_mut(index).unwrap().extend_from_slice(buffer.get(..len).unwrap());
            }),
        }
        if manners.talks {
            stream.write_all(b"250 thank you\n").await.unwrap();
        }
    }
    seen.send_modify(|seen| seen.closed += 1);
}

pub(crate) fn tcp_target(port: u16) -> Target {
    Target::Tcp(HostPort { host: "127.0.0.1".to_owned(), port })
}

/// The original's defaults, without the periodic flush, as in its own tests. It had no replay tail.
pub(crate) fn config(target: Target) -> config::Logger {
    config::Logger {
        target,
        flush_limit: 4096,
        drop_limit: 1_048_576,
        periodic_flush: None,
        replay_tail: 0,
        data_dir: None,
        ..config::Config::default().logger
    }
}

/// A logger with its shipper running, and its buffer.
pub(crate) fn start(config: &config::Logger) -> (Logger, Arc<Buffer>) {
    start_with(config, logger::buffer(config), || {})
}

pub(crate) fn start_with(
    config: &config::Logger,
    buffer: Arc<Buffer>,
    on_room: impl Fn() + Send + Sync + 'static,
) -> (Logger, Arc<Buffer>) {
    let (logger, shipper) = logger::build(config, Arc::clone(&buffer), on_room).unwrap();
    Tasks::new().spawn("shipper", OnExit::Ignore, shipper.run());
    (logger, buffer)
}

/// A folder for sockets that goes with the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// No wait of a test takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
