//! The HTTP door: which path leads where.
//!
//! Two listeners have two route tables. The public one is for clients and backends behind nginx: the routes of the
//! configuration, on websockets or plain HTTP, the server APIs and, in trials, a page. The admin one is for operators:
//! health, readiness, metrics, the live log, dead letters, the rules of rooms. Adding an endpoint is one line in a table
//! here and one function in the file of its subject.
//!
//! Limits: `limits.connections` connections, `limits.header` bytes of request head within `limits.header_timeout`.
//! Whatever is wrong with a request is answered with a status and a sentence that says what would be right.

mod access;
mod admission;
mod body;
mod call;
mod centrifugo;
mod chat;
mod client;
mod dead_letters;
mod goim;
mod health;
mod message;
mod namespaces;
mod pages;
mod query;
mod reply;
mod server;
mod streaming;
mod tail;
mod websocket;

pub use body::Bodies;
pub use goim::PUSHES_MAX;
pub use namespaces::Error as NamespacesError;
pub use namespaces::Namespaces;
pub use namespaces::Turn;
pub use server::Server;

use std::sync::Arc;

use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::api::call::Call;
use crate::api::client::Client;
use crate::api::reply::Answer;
use crate::config::Carrier;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::keys::Keys;
use crate::logger::Logger;
use crate::metrics::Metrics;
use crate::net::Slot;
use crate::status::Status;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::trail::Trail;

/// What the endpoints work with.
#[derive(Debug)]
pub struct Means {
    /// Sessions.
    pub gateway: Gateway,
    /// Ships them.
    pub logger: Logger,
    /// Writes records.
    pub trail: Arc<Trail>,
    /// What outlives the process.
    pub store: Store,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How the daemon is.
    pub status: Arc<Status>,
    /// Runs tasks.
    pub tasks: Tasks,
    /// Room for the bodies of requests.
    pub bodies: Bodies,
    /// Places for pushes to everybody, which take their time.
    pub pushes: Arc<Semaphore>,
    /// The rules of rooms that were changed while the daemon ran.
    pub namespaces: Namespaces,
    /// The keys of backends.
    pub keys: arc_swap::ArcSwap<Keys>,
    /// The configuration in force.
    pub config: arc_swap::ArcSwap<Config>,
}

/// The routes of the public listener.
async fn public(
    means: &Arc<Means>,
    (client, slot): (Client, Option<Arc<Slot>>),
    mut request: Request<Incoming>,
) -> Answer {
    let path = request.uri().path().to_owned();
    if let Some(route) = means.gateway.route(&path) {
        return match route.carrier {
            Carrier::WebSocket => websocket::upgrade(means, (client, slot), route, &mut request),
            // In a box, because most connections carry websockets.
            _ => Box::pin(streaming::answer(means, (client, slot), route, request)).await,
        };
    }
    // In boxes, because most connections carry websockets and should not have room for the APIs.
    match path.split('/').nth(1).unwrap_or_default() {
        "api" => {
            let (head, body) = request.into_parts();
            Box::pin(centrifugo::answer(&Call::new(means, &client, &head), body)).await
        }
        "goim" => {
            let (head, body) = request.into_parts();
            Box::pin(goim::answer(&Call::new(means, &client, &head), body)).await
        }
        "open" | "upload" => {
            let (head, body) = request.into_parts();
            Box::pin(chat::answer(&Call::new(means, &client, &head), body)).await
        }
        _ => page(means, &client, request.method(), &path),
    }
}

/// What is there for browsers, in trials.
fn page(means: &Means, client: &Client, method: &Method, path: &str) -> Answer {
    let page = means.config.load().auth.insecure.then(|| pages::at(path)).flatten();
    let answer = match (method, page) {
        (&Method::GET | &Method::HEAD, Some(page)) => return page,
        (_, Some(_)) => reply::method_not_allowed("GET, HEAD"),
        (_, None) => reply::not_found(path),
    };
    means.trail.web_err(&client.subject(), answer.status().as_u16(), &format!("{method} {path}"));
    answer
}

/// The routes of the admin listener.
async fn admin(means: &Means, request: Request<Incoming>) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => health::live(),
        (&Method::GET | &Method::HEAD, "/readyz") => health::ready(means),
        (&Method::GET | &Method::HEAD, "/metrics") => health::metrics(means),
        (&Method::GET, "/tail") => tail::tail(means, query),
        (&Method::GET, "/dead-letters") => dead_letters::list(means),
        (&Method::POST, "/dead-letters/retry") => dead_letters::retry(means, query),
        (&Method::POST, "/dead-letters/drop") => dead_letters::drop_letters(means, query),
        (_, path) if path == "/namespaces" || path.starts_with("/namespaces/") => {
            namespaces::answer(means, request).await
        }
        (_, "/healthz" | "/readyz" | "/metrics") => reply::method_not_allowed("GET, HEAD"),
        (_, "/tail" | "/dead-letters") => reply::method_not_allowed("GET"),
        (_, "/dead-letters/retry" | "/dead-letters/drop") => reply::method_not_allowed("POST"),
        (_, path) => reply::error(
            StatusCode::NOT_FOUND,
            &format!(
                "nothing is at {path}; the admin listener has /healthz, /readyz, /metrics, /tail, /dead-letters and \
                 /namespaces"
            ),
        ),
    }
}
