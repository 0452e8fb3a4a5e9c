//! The log server: reads lines, syslog or windows, and behaves as it is told.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pillion::tasks::OnExit;
use pillion::tasks::Tasks;
use pillion::wire::lumberjack::Event;
use pillion::wire::lumberjack::Limits;
use pillion::wire::lumberjack::Reader;
use pillion::wire::lumberjack::ack_into;
use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Mode;
use super::book::Book;
use super::mode::Address;
use super::mode::Wire;
use super::within;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    Healthy,
    /// Does nothing at all.
    Still,
    /// Its disk is full: it says that it lives where the protocol has a word for it, and takes nothing.
    Full,
    /// Acknowledges so long after a window came.
    Late(Duration),
    /// Resets the next connections, so many of them, when it has read a part of a line, or of a window.
    CutsLine(u32),
    /// Acknowledges half of the next window and resets, on so many connections.
    AcknowledgesPartly(u32),
    /// Answers so many times in the words of another protocol.
    Garbage(u32),
}

/// The log server.
#[derive(Debug)]
pub(super) struct Receiver {
    mode: Mode,
    place: Place,
    shared: Arc<Shared>,
    conduct: Arc<watch::Sender<Conduct>>,
    /// Everything that ends when it dies.
    life: Tasks,
    /// The door alone.
    door: Tasks,
}

#[derive(Debug)]
struct Shared {
    book: Arc<Book>,
    deaths: AtomicU64,
}

#[derive(Clone, Debug)]
enum Place {
    Port(u16),
    Path(PathBuf),
}

impl Receiver {
    pub(super) async fn open(mode: Mode, folder: &Path, book: &Arc<Book>) -> Self {
        let place = match mode {
            Mode::Unix => Place::Path(folder.join("receiver.sock")),
            _ => Place::Port(0),
        };
        let shared = Arc::new(Shared { book: Arc::clone(book), deaths: AtomicU64::new(0) });
        let conduct = Arc::new(watch::channel(Conduct::Healthy).0);
        let mut receiver = Self { mode, place, shared, conduct, life: Tasks::new(), door: Tasks::new() };
        receiver.live().await;
        receiver
    }

    pub(super) fn address(&self) -> Address<'_> {
        match &self.place {
            Place::Port(port) => Address::Port(*port),
            Place::Path(path) => Address::Path(path),
        }
    }

    /// Connections that it has ended.
    pub(super) fn deaths(&self) -> u64 {
        self.shared.deaths.load(Ordering::SeqCst)
    }

    pub(super) fn conduct(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    /// Behaves badly until that is over.
    pub(super) async fn misbehave(&self, conduct: Conduct) {
        self.conduct(conduct);
        let mut seen = self.conduct.subscribe();
        within("the receiver has misbehaved", seen.wait_for(|conduct| *conduct == Conduct::Healthy))
            .await
            .unwrap();
    }

    /// Dies with everything that it had not read.
    pub(super) async fn die(&mut self) {
        self.door.stop();
        self.life.stop();
        self.door.wait().await;
        self.life.wait().await;
        if let Place::Path(path) = &self.place {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Comes to life again, in good health, where it was before.
    pub(super) async fn live(&mut self) {
        self.conduct(Conduct::Healthy);
        (self.life, self.door) = (Tasks::new(), Tasks::new());
        match (self.place.clone(), self.mode) {
            (Place::Path(path), _) => self.open_unix(UnixListener::bind(path).unwrap()),
            (Place::Port(port), Mode::Udp) => {
                let socket = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
                SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
                self.place = Place::Port(socket.local_addr().unwrap().port());
                let (shared, conduct) = (Arc::clone(&self.shared), self.conduct.subscribe());
                let life = self.life.clone();
                self.life.spawn("datagrams", OnExit::Ignore, async move {
                    tokio::select! {
                        () = life.stopping() => {}
                        () = datagrams(socket, &shared, conduct) => {}
                    }
                });
            }
            (Place::Port(port), _) => {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
                // Inherited by each connection.
                SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
                self.place = Place::Port(listener.local_addr().unwrap().port());
                self.open_tcp(listener);
            }
        }
    }

    /// Takes no more connections, and reads those there are to their end.
    pub(super) async fn read_to_the_end(&mut self) {
        self.conduct(Conduct::Healthy);
        if self.mode == Mode::Udp {
            self.life.stop();
        }
        self.door.stop();
        within("the door is closed", self.door.wait()).await;
        within("the end of all connections", self.life.wait()).await;
    }

    fn open_tcp(&self, listener: TcpListener) {
        let (door, shell) = (self.door.clone(), self.shell());
        self.door.spawn("door", OnExit::Ignore, async move {
            loop {
                tokio::select! {
                    () = door.stopping() => return,
                    accepted = listener.accept() => shell.receive(accepted.unwrap().0),
                }
            }
        });
    }

    fn open_unix(&self, listener: UnixListener) {
        let (door, shell) = (self.door.clone(), self.shell());
        self.door.spawn("door", OnExit::Ignore, async move {
            loop {
                tokio::select! {
                    () = door.stopping() => return,
                    accepted = listener.accept() => shell.receive(accepted.unwrap().0),
                }
            }
        });
    }

    fn shell(&self) -> Shell {
        let Self { mode, shared, conduct, life, .. } = self;
        Shell {
            wire: mode.wire(),
            shared: Arc::clone(shared),
            conduct: Arc::clone(conduct),
            life: life.clone(),
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Shell {
    wire: Wire,
    shared: Arc<Shared>,
    conduct: Arc<watch::Sender<Conduct>>,
    life: Tasks,
}

impl Shell {
    fn receive<S: Socket>(&self, stream: S) {
        let Self { wire, shared, conduct, life } = self.clone();
        self.life.spawn("connection", OnExit::Ignore, async move {
            let seen = conduct.subscribe();
            let mut connection = Connection {
                stream,
                shared,
                conduct,
                seen,
                lines: Vec::new(),
                reader: Reader::new(Limits::default()),
                window: Vec::new(),
                open: false,
                late: VecDeque::new(),
            };
            tokio::select! {
                () = life.stopping() => {
                    connection.shared.deaths.fetch_add(1, Ordering::SeqCst);
                }
                _ = connection.serve(wire) => {}
            }
        });
    }
}

/// A stream that can be reset.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes its end a reset, where that is possible.
    fn prepare_reset(&self);
}

impl Socket for TcpStream {
    fn prepare_reset(&self) {
        SockRef::from(self).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Socket for UnixStream {
    /// The kernel resets one that has unread bytes.
    fn prepare_reset(&self) {}
}

struct Connection<S> {
    stream: S,
    shared: Arc<Shared>,
    conduct: Arc<watch::Sender<Conduct>>,
    seen: watch::Receiver<Conduct>,
    /// The beginning of a line.
    lines: Vec<u8>,
    reader: Reader,
    /// The records of the window that is being read.
    window: Vec<Vec<u8>>,
    /// True within a window.
    open: bool,
    /// Acknowledgements that are held back, and until when.
    late: VecDeque<(Instant, u32)>,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Read,
    End,
}

impl<S: Socket> Connection<S> {
    async fn serve(&mut self, wire: Wire) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let conduct = *self.seen.borrow_and_update();
            let silent = match conduct {
                Conduct::Still => true,
                Conduct::Full => wire != Wire::Beats,
                _ => false,
            };
            let most = if matches!(conduct, Conduct::CutsLine(_)) { 1000 } else { buffer.len() };
            let due = self.late.front().map(|(due, _)| *due);
            let Self { stream, seen, .. } = self;
            tokio::select! {
                biased;
                _ = seen.changed() => {}
                () = at(due) => self.acknowledge_late().await?,
                length = stream.read(buffer.get_mut(..most).unwrap()), if !silent => {
                    let length = length?;
                    if length == 0 {
                        return Ok(());
                    }
                    let bytes = buffer.get(..length).unwrap();
                    let next = match wire {
                        Wire::Beats => self.read_windows(bytes, conduct).await?,
                        Wire::Lines | Wire::Syslog => self.read_lines(bytes, conduct).await?,
                    };
                    if next == Next::End {
                        self.shared.deaths.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                }
                () = tokio::time::sleep(KEEP_ALIVE), if conduct == Conduct::Full && !silent => {
                    let mut out = Vec::new();
                    ack_into(&mut out, 0);
                    self.stream.write_all(&out).await?;
                }
            }
        }
    }

    async fn read_lines(&mut self, bytes: &[u8], conduct: Conduct) -> io::Result<Next> {
        self.lines.extend_from_slice(bytes);
        let whole = self.lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = self.lines.get(..whole).unwrap();
        self.shared.book.take(lines.split_terminator_newline());
        self.lines.drain(..whole);
        match conduct {
            Conduct::CutsLine(left) if !self.lines.is_empty() => {
                self.misbehaved(Conduct::CutsLine, left);
                self.stream.prepare_reset();
                return Ok(Next::End);
            }
            Conduct::Garbage(left) => {
                self.misbehaved(Conduct::Garbage, left);
                self.stream.write_all(GARBAGE).await?;
            }
            _ => {}
        }
        Ok(Next::Read)
    }

    async fn read_windows(&mut self, bytes: &[u8], conduct: Conduct) -> io::Result<Next> {
        let mut bytes = bytes;
        loop {
            match self.reader.next(&mut bytes).map_err(io::Error::other)? {
                None => break,
                Some(Event::Window(_)) => {
                    self.window.clear();
                    self.open = true;
                }
                Some(Event::Json { json, .. }) => self.window.push(json.to_vec()),
                Some(Event::End(last)) => {
                    self.open = false;
                    if self.end_window(last, conduct).await? == Next::End {
                        return Ok(Next::End);
                    }
                }
            }
        }
        match conduct {
            Conduct::CutsLine(left) if self.open => {
                self.misbehaved(Conduct::CutsLine, left);
                self.stream.prepare_reset();
                Ok(Next::End)
            }
            _ => Ok(Next::Read),
        }
    }

    async fn end_window(&mut self, last: u32, conduct: Conduct) -> io::Result<Next> {
        let mut out = Vec::new();
        match conduct {
            Conduct::Full => return Ok(Next::Read),
            Conduct::Garbage(left) if last > 0 => {
                self.misbehaved(Conduct::Garbage, left);
                self.stream.write_all(GARBAGE).await?;
                return Ok(Next::End);
            }
            Conduct::AcknowledgesPartly(left) if last > 1 => {
                let half = last / 2;
                self.take(half);
                ack_into(&mut out, half);
                self.misbehaved(Conduct::AcknowledgesPartly, left);
                self.stream.write_all(&out).await?;
                self.stream.prepare_reset();
                return Ok(Next::End);
            }
            _ => {}
        }
        self.take(last);
        let wait = if let Conduct::Late(wait) = conduct { wait } else { Duration::ZERO };
        if wait.is_zero() && self.late.is_empty() {
            ack_into(&mut out, last);
            self.stream.write_all(&out).await?;
        } else {
            self.late.push_back((Instant::now() + wait, last));
        }
        Ok(Next::Read)
    }

    async fn acknowledge_late(&mut self) -> io::Result<()> {
        let Some((_, last)) = self.late.pop_front() else { return Ok(()) };
        let mut out = Vec::new();
        ack_into(&mut out, last);
        self.stream.write_all(&out).await
    }

    /// The first `count` records of the window are in safe hands.
    fn take(&self, count: u32) {
        self.shared.book.take(self.window.iter().take(count as usize).map(Vec::as_slice));
    }

    /// Once more done.
    fn misbehaved(&self, conduct: fn(u32) -> Conduct, left: u32) {
        self.conduct.send_replace(if left > 1 { conduct(left - 1) } else { Conduct::Healthy });
    }
}

/// The lines of bytes that end with one.
trait Lines {
    fn split_terminator_newline(&self) -> impl Iterator<Item = &[u8]>;
}

impl Lines for [u8] {
    fn split_terminator_newline(&self) -> impl Iterator<Item = &[u8]> {
        self.split_inclusive(|byte| *byte == b'\n').map(body)
    }
}

/// A line without the header that may stand before it.
fn body(line: &[u8]) -> &[u8] {
    let at = if line.starts_with(b"<") { line.iter().position(|byte| *byte == b'{') } else { None };
    line.get(at.unwrap_or(0)..).unwrap_or_default()
}

async fn datagrams(socket: UdpSocket, shared: &Shared, mut conduct: watch::Receiver<Conduct>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let silent = matches!(*conduct.borrow_and_update(), Conduct::Still | Conduct::Full);
        tokio::select! {
            _ = conduct.changed() => {}
            length = socket.recv(&mut buffer), if !silent => {
                let Ok(length) = length else { continue };
                shared.book.take([buffer.get(..length).unwrap()]);
            }
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What the kernel may hold unread for a connection: the kernel doubles it to the 6 MiB to which Linux grows it by
/// default, whatever this machine's own limit is.
const RECEIVE_BUFFER: usize = 3 << 20;

/// How often a receiver with a full disk says that it lives.
const KEEP_ALIVE: Duration = Duration::from_millis(100);

/// The words of another protocol.
const GARBAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
