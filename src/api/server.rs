//! HTTP/1.1 on the listeners: accept, read requests, answer them, stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;

use crate::address::Address;
use crate::api;
use crate::api::Means;
use crate::api::client::Client;
use crate::api::reply::Answer;
use crate::api::streaming::Over;
use crate::api::websocket;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::host;
use crate::metrics::ByReason;
use crate::metrics::ByStatus;
use crate::net;
use crate::net::Listener;
use crate::net::Peer;
use crate::net::Slot;
use crate::net::Slots;
use crate::net::Stream;
use crate::tasks::OnExit;

/// Pauses after a failed accept, for example when the process is out of file descriptors.
const ACCEPT_BASE: Duration = Duration::from_millis(10);
const ACCEPT_MAX: Duration = Duration::from_secs(1);

/// How long an operator's connection may take to end at a stop, and one whose session has ended at any time: one that
/// does not read must not hold up the others, or a place.
const FAREWELL: Duration = Duration::from_secs(1);

/// The least buffer that the HTTP library takes.
const HEADER_MIN: usize = 8 * 1024;

/// Which route table a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Public,
    Admin,
    /// goim's packets, without HTTP.
    Packets,
}

/// Who is on a connection.
struct Visitor {
    door: Door,
    peer: Peer,
    /// Its place, which it keeps when it becomes a websocket.
    slot: Option<Arc<Slot>>,
    /// Told when the session that an answer belongs to has ended.
    over: Over,
}

/// Bound listeners that do not accept yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(Door, Listener)>,
}

impl Server {
    /// Binds every listener of the configuration; those in `inherited` come from the service manager instead.
    ///
    /// # Errors
    ///
    /// The first address that can not be bound, and why.
    pub fn bind(config: &Config, inherited: Vec<Listener>) -> Result<Self, net::Error> {
        let mut inherited = inherited;
        let mut listeners = Vec::new();
        let public = config.listen.public.iter().map(|address| (Door::Public, address));
        let admin = config.listen.admin.iter().map(|address| (Door::Admin, address));
        let packets = config.gateway.tcp.iter().map(|address| (Door::Packets, address));
        for (door, address) in public.chain(admin).chain(packets) {
            let given = inherited.iter().position(|listener| listener.address() == *address);
            let listener = match given {
                Some(index) => inherited.swap_remove(index),
                None => net::bind_stream(address, config.listen.socket_mode)?,
            };
            listeners.push((door, listener));
        }
        for listener in inherited {
            tracing::warn!(address = %listener.address(), "an inherited socket is not in the configuration");
        }
        Ok(Self { listeners })
    }

    /// Where the public listeners listen.
    #[must_use]
    pub fn public(&self) -> Vec<Address> {
        self.addresses(Door::Public)
    }

    /// Where the admin listeners listen.
    #[must_use]
    pub fn admin(&self) -> Vec<Address> {
        self.addresses(Door::Admin)
    }

    /// Where clients connect that speak goim's packets without HTTP.
    #[must_use]
    pub fn packets(&self) -> Vec<Address> {
        self.addresses(Door::Packets)
    }

    fn addresses(&self, door: Door) -> Vec<Address> {
        let of_door = self.listeners.iter().filter(|(of, _)| *of == door);
        of_door.map(|(_, listener)| listener.address()).collect()
    }

    /// Serves: public listeners until the tasks are asked to stop, admin ones until the process ends.
    pub fn serve(self, means: &Arc<Means>) {
        let places = host::connections(means.config.load().limits.connections);
        let slots = Slots::new(places, means.metrics.connections_open.clone());
        for (door, listener) in self.listeners {
            let (means, slots) = (Arc::clone(means), slots.clone());
            let tasks = means.tasks.clone();
            tasks.spawn("listener", OnExit::Stop, async move {
                let accepting = accept(&means, door, listener, &slots);
                tokio::select! {
                    () = accepting => {}
                    () = means.tasks.stopping() => {}
                }
            });
        }
    }
}

/// Accepts for ever. An error never ends the loop: it is counted, told, and waited out.
async fn accept(means: &Arc<Means>, door: Door, listener: Listener, slots: &Slots) {
    let backoff = Backoff::new(ACCEPT_BASE, ACCEPT_MAX);
    let mut failures = 0;
    loop {
        // At the limit connections wait in the kernel's queue; operators can always come in.
        let slot = match door {
            Door::Public | Door::Packets => Some(Arc::new(slots.take().await)),
            Door::Admin => None,
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                failures = 0;
                means.metrics.connections_accepted.inc();
                if door == Door::Packets {
                    websocket::welcome_packets(means, &peer, slot, stream);
                    continue;
                }
                let there = Arc::clone(means);
                means.tasks.spawn("http", OnExit::Ignore, async move {
                    serve(&there, Visitor { door, peer, slot, over: Over::default() }, stream).await;
                });
            }
            Err(error) => {
                means.metrics.connections_refused.get_or_create(&ByReason { reason: "accept" }).inc();
                tracing::error!(%error, address = %listener.address(), "a connection could not be accepted");
                tokio::time::sleep(backoff.delay(failures, 1.0)).await;
                failures += 1;
            }
        }
    }
}

/// Serves one connection until it ends, becomes a websocket, or the tasks are asked to stop.
async fn serve(means: &Arc<Means>, visitor: Visitor, stream: Stream) {
    let limits = means.config.load().limits.clone();
    let service = service_fn(|request| async {
        let answer = answer(means, &visitor, request).await;
        means.metrics.http_answers.get_or_create(&ByStatus { status: answer.status().as_u16() }).inc();
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header.max(HEADER_MIN))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = visitor.over.0.notified() => farewell(connection).await,
        () = means.tasks.stopping() => {
            connection.as_mut().graceful_shutdown();
            match visitor.door {
                Door::Public | Door::Packets => tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = visitor.over.0.notified() => farewell(connection).await,
                },
                Door::Admin => farewell(connection).await,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle of a request");
    }
}

/// Waits for the end of a connection; whoever has not read to the end by then does without it.
async fn farewell(connection: impl Future<Output = hyper::Result<()>>) -> hyper::Result<()> {
    tokio::time::timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
}

async fn answer(means: &Arc<Means>, visitor: &Visitor, mut request: Request<Incoming>) -> Answer {
    match visitor.door {
        Door::Admin => api::admin(means, request).await,
        Door::Public | Door::Packets => {
            let config = means.config.load_full();
            let fresh = || means.gateway.fresh_request_id();
            let client = Client::of(&visitor.peer, request.headers(), &config.listen.trusted, fresh);
            request.extensions_mut().insert(visitor.over.clone());
            api::public(means, (client, visitor.slot.clone()), request).await
        }
    }
}
