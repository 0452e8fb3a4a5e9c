//! How fast clients come back: many connect and log in at once.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

use pillion::clock;
use pillion::tasks::OnExit;
use pillion::tasks::Tasks;

use crate::Plan;
use crate::child::Child;
use crate::round::median;
use crate::round::pause;
use crate::route::Place;
use crate::route::Route;
use crate::route::Tongue;
use crate::route::is_frame;
use crate::route::is_welcome;

/// How many connect at once.
const AT_ONCE: usize = 64;

/// How long one login may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs this part.
pub(crate) fn run(plan: &Plan) {
    let daemon = Child::daemon("disconnect");
    let (nginx, nchan) = (Child::nginx(&daemon), Child::nchan());
    let mut ways = vec![("unix socket", vec![&daemon], daemon.route())];
    if let Some(nginx) = &nginx {
        ways.push(("through nginx", vec![nginx, &daemon], nginx.route()));
    }
    if let Some(nchan) = &nchan {
        ways.push(("nchan (no login)", vec![nchan], nchan.route()));
    }
    let logins: Arc<Vec<Vec<u8>>> =
        Arc::new((0..plan.connects).map(|number| daemon.route().login(number)).collect());
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut results = vec![Vec::new(); ways.len()];
    for _ in 0..plan.rounds {
        for ((_, children, route), results) in ways.iter().zip(&mut results) {
            let before: Vec<_> = children.iter().map(|child| child.spent()).collect();
            let (rate, sessions) = connect(&runtime, route, &logins);
            let spent = children.iter().zip(before).map(|(child, before)| child.spent() - before);
            let cpu: f64 = spent.map(|spent| spent.total.as_secs_f64()).sum();
            results.push((rate, cpu / plan.connects as f64 * 1e6));
            drop(sessions);
            // What it costs that they go is not counted.
            pause(Duration::from_millis(500));
        }
    }
    println!(
        "connects and logins: {} with a token, {AT_ONCE} at once, medians of {} rounds",
        plan.connects, plan.rounds
    );
    println!("{:<30} {:>10} {:>14}", "", "connects/s", "CPU us/connect");
    for ((name, ..), results) in ways.iter().zip(&results) {
        let rate = median(results.iter().map(|(rate, _)| *rate));
        let cpu = median(results.iter().map(|(_, cpu)| *cpu));
        println!("{name:<30} {rate:>10.0} {cpu:>14.1}");
    }
}

/// Opens a session for each login; gives how many per second, and keeps them open.
fn connect(runtime: &Runtime, route: &Route, logins: &Arc<Vec<Vec<u8>>>) -> (f64, Vec<Session>) {
    let next = Arc::new(AtomicUsize::new(0));
    let sessions = Arc::new(Mutex::new(Vec::new()));
    let tasks = Tasks::new();
    let begin = clock::now();
    {
        let _guard = runtime.enter();
        for _ in 0..AT_ONCE {
            let (route, logins) = (route.clone(), Arc::clone(logins));
            let (next, sessions) = (Arc::clone(&next), Arc::clone(&sessions));
            tasks.spawn("client", OnExit::Ignore, async move {
                while let Some(login) = logins.get(next.fetch_add(1, Relaxed)) {
                    let session = open(&route, login).await.unwrap();
                    sessions.lock().unwrap().push(session);
                }
            });
        }
    }
    while sessions.lock().unwrap().len() < logins.len() {
        assert!(begin.elapsed() < PATIENCE, "{} of {} came", sessions.lock().unwrap().len(), logins.len());
        pause(Duration::from_micros(500));
    }
    let rate = logins.len() as f64 / begin.elapsed().as_secs_f64();
    let sessions = std::mem::take(&mut *sessions.lock().unwrap());
    (rate, sessions)
}

/// A connection that stays open until this is dropped.
type Session = Box<dyn Send>;

async fn open(route: &Route, login: &[u8]) -> io::Result<Session> {
    match &route.place {
        Place::Unix(path) => {
            let mut stream = UnixStream::connect(path).await?;
            enter(&mut stream, route, login).await?;
            Ok(Box::new(stream))
        }
        Place::Tcp(address) => {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            enter(&mut stream, route, login).await?;
            Ok(Box::new(stream))
        }
    }
}

async fn enter(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    route: &Route,
    login: &[u8],
) -> io::Result<()> {
    stream.write_all(&route.upgrade("/sub")).await?;
    let answer = until(stream, |bytes| bytes.ends_with(b"\r\n\r\n")).await?;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    if route.tongue == Tongue::Centrifuge {
        stream.write_all(login).await?;
        let reply = until(stream, is_frame).await?;
        assert!(is_welcome(&reply), "{}", String::from_utf8_lossy(&reply));
    }
    Ok(())
}

async fn until(stream: &mut (impl AsyncRead + Unpin), done: fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !done(&bytes) {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, String::from_utf8_lossy(&bytes)));
        }
    }
    Ok(bytes)
}
