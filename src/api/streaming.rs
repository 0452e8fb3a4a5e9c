//! The Centrifuge protocol without websockets: an answer that goes on as server-sent events, lines or Protobuf.
//!
//! The request brings the login: a GET in its query (`cf_connect`), a POST in its body. Whatever a client says later
//! comes by POST to a route of its own (`centrifuge-emulation`), or not at all, on the unidirectional routes. Browsers
//! send these requests from pages of other sites too, and first ask whether they may: both are answered here.
//!
//! The session writes into a [`Pipe`], whose other end is the body of the answer. An answer is the last of its
//! connection: when its session has ended, the connection ends as well.
//!
//! Limits: a body has `limits.frame` bytes and must come within `limits.body_timeout`; a login in the address is part of
//! the request's head (`limits.header`).

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
use hyper::header::ACCESS_CONTROL_ALLOW_HEADERS;
use hyper::header::ACCESS_CONTROL_ALLOW_METHODS;
use hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use hyper::header::ACCESS_CONTROL_MAX_AGE;
use hyper::header::ACCESS_CONTROL_REQUEST_HEADERS;
use hyper::header::CACHE_CONTROL;
use hyper::header::CONNECTION;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::header::ORIGIN;
use hyper::header::VARY;
use tokio::sync::Notify;

use crate::api::Means;
use crate::api::admission;
use crate::api::admission::Refused;
use crate::api::admission::SESSION_ID;
use crate::api::admission::refuse;
use crate::api::body;
use crate::api::client::Client;
use crate::api::query;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::config::Carrier;
use crate::config::Limits;
use crate::config::Route;
use crate::gateway::Arriving;
use crate::gateway::Credentials;
use crate::gateway::EmulationError;
use crate::gateway::Transport;
use crate::net::Pipe;
use crate::net::Slot;
use crate::net::Stream;
use crate::tasks;
use crate::wire::centrifuge::Connect;
use crate::wire::centrifuge::Encoding;
use crate::wire::centrifuge::Subscribe;
use crate::wire::event_stream;

/// The parameter of the address in which a GET brings its login.
const CONNECT: &str = "cf_connect";

/// With this, a browser says which event it has got last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Tells proxies to pass on what comes as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The type of Protobuf, in requests and answers.
const PROTOBUF: &str = "application/octet-stream";

/// Told when the session on a connection has ended; travels with the request.
#[derive(Clone, Debug, Default)]
pub(super) struct Over(pub(super) Arc<Notify>);

/// What a client wants to begin with.
struct Opening {
    transport: Transport,
    encoding: Encoding,
    /// The login, with a command around it.
    commands: Bytes,
    /// The login as such, of a client that can only listen.
    connect: Option<Box<Connect>>,
}

/// Answers a request at a route that is carried by plain HTTP.
pub(super) async fn answer(
    means: &Arc<Means>,
    (client, slot): (Client, Option<Arc<Slot>>),
    route: Route,
    request: Request<Incoming>,
) -> Answer {
    let headers = request.headers().clone();
    let over = request.extensions().get::<Over>().cloned().unwrap_or_default();
    let carrier = route.carrier;
    let outcome = match admission::check_origin(means, &headers) {
        Err(refused) => Err(refused),
        Ok(()) if request.method() == Method::OPTIONS => Ok(preflight(carrier)),
        Ok(()) if carrier == Carrier::Emulation => emulate(means, request).await,
        Ok(()) => match open(means, &client, carrier, request).await {
            Ok(opening) => Ok(begin(means, (client.clone(), slot), route, opening, over)),
            Err(refused) => Err(refused),
        },
    };
    let mut answer = outcome.unwrap_or_else(|refused| {
        let (answer, why) = *refused;
        let (trail, status) = (&means.trail, answer.status().as_u16());
        match carrier {
            Carrier::Emulation => trail.web_err(&client.subject(), status, &why),
            _ => trail.wsconn_failed(&client.subject(), status, &why),
        }
        answer
    });
    allow_origin(means, &headers, &mut answer);
    answer
}

/// The methods of a route.
fn methods(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Sse | Carrier::UniSse => "GET, POST, OPTIONS",
        _ => "POST, OPTIONS",
    }
}

/// What browsers want to know before they send a request from a page of another site.
fn preflight(carrier: Carrier) -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods(carrier)));
    answer
}

/// Lets a page that may connect read the answer. Cookies may come along only where the pages that may are named.
fn allow_origin(means: &Means, request: &HeaderMap, answer: &mut Answer) {
    let Some(origin) = request.get(ORIGIN) else { return };
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if !origin.to_str().is_ok_and(|origin| means.gateway.allows_origin(origin)) {
        return;
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    if means.gateway.names_origins() {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Hands commands to the session that they are for.
async fn emulate(means: &Means, request: Request<Incoming>) -> Result<Answer, Refused> {
    if request.method() != Method::POST {
        return Err(admission::refuse_method(request.method(), methods(Carrier::Emulation)));
    }
    let encoding = encoding(request.headers());
    let body = read(means, request.into_body()).await?;
    let commands =
        encoding.emulation(&body).map_err(|fault| refuse(StatusCode::BAD_REQUEST, &fault.to_string()))?;
    means.gateway.emulate(encoding, commands).map_err(|error| {
        let status = match error {
            EmulationError::Node { .. } | EmulationError::Session => StatusCode::NOT_FOUND,
            EmulationError::Encoding(_) => StatusCode::BAD_REQUEST,
            EmulationError::Busy => StatusCode::TOO_MANY_REQUESTS,
        };
        refuse(status, &error.to_string())
    })?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Reads what a client wants to begin with.
async fn open(
    means: &Means,
    client: &Client,
    carrier: Carrier,
    request: Request<Incoming>,
) -> Result<Opening, Refused> {
    let (transport, takes_get, listens) = match carrier {
        Carrier::Sse => (Transport::Sse, true, false),
        Carrier::UniSse => (Transport::UniSse, true, true),
        Carrier::UniHttpStream => (Transport::UniHttpStream, false, true),
        Carrier::HttpStream | Carrier::WebSocket | Carrier::Emulation => {
            (Transport::HttpStream, false, false)
        }
    };
    let is_get = request.method() == Method::GET;
    if !(request.method() == Method::POST || (is_get && takes_get)) {
        return Err(admission::refuse_method(request.method(), methods(carrier)));
    }
    admission::admit(means, client)?;
    let encoding = if carrier == Carrier::HttpStream { encoding(request.headers()) } else { Encoding::Json };
    let last = request.headers().get(LAST_EVENT_ID).and_then(|id| std::str::from_utf8(id.as_bytes()).ok());
    let places: Vec<_> = last.map(|id| event_stream::places(id).collect()).unwrap_or_default();
    let login = if is_get {
        let query = request.uri().query().unwrap_or_default();
        let login = query::pairs(query).find(|(name, _)| *name == CONNECT);
        login.map(|(_, login)| Bytes::from(login)).unwrap_or_default()
    } else {
        read(means, request.into_body()).await?
    };
    if !listens {
        if login.is_empty() {
            let why =
                "the login is missing: a connect command in ?cf_connect= of a GET, or in the body of a POST";
            return Err(refuse(StatusCode::BAD_REQUEST, why));
        }
        return Ok(Opening { transport, encoding, commands: login, connect: None });
    }
    let mut connect =
        Encoding::connect(&login).map_err(|fault| refuse(StatusCode::BAD_REQUEST, &fault.to_string()))?;
    for place in places {
        // What the browser has seen since is newer than what the page wrote into the address.
        let stands = Subscribe {
            recover: true,
            epoch: place.epoch,
            offset: place.offset,
            ..connect.subs.remove(&place.room).unwrap_or_default()
        };
        connect.subs.insert(place.room, stands);
    }
    Ok(Opening { transport, encoding, commands: Bytes::new(), connect: Some(Box::new(connect)) })
}

/// Begins the session, and the answer that it writes into.
fn begin(
    means: &Means,
    (client, slot): (Client, Option<Arc<Slot>>),
    route: Route,
    opening: Opening,
    over: Over,
) -> Answer {
    let worker = tasks::worker();
    let session_id = means.gateway.session_id(worker);
    let session_header = HeaderValue::from_str(session_id.as_str());
    let (pipe, reader) = Pipe::new(over.0);
    let content_type = match (opening.transport, opening.encoding) {
        (Transport::Sse | Transport::UniSse, _) => "text/event-stream; charset=utf-8",
        (_, Encoding::Protobuf) => PROTOBUF,
        (_, Encoding::Json) => "application/json",
    };
    let mut answer = reply::stream(content_type, reader);
    let headers = answer.headers_mut();
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache, no-store, must-revalidate, max-age=0"),
    );
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(session) = session_header {
        headers.insert(SESSION_ID, session);
    }
    means.gateway.welcome(Arriving {
        stream: Stream::Pipe(pipe),
        leftover: opening.commands,
        connect: opening.connect,
        route,
        transport: opening.transport,
        encoding: opening.encoding,
        credentials: Credentials::default(),
        client: client.address,
        request_id: client.request_id,
        session_id,
        worker,
        slot,
    });
    answer
}

/// How the body of a request is encoded.
fn encoding(headers: &HeaderMap) -> Encoding {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content_type {
        Some(PROTOBUF) => Encoding::Protobuf,
        _ => Encoding::Json,
    }
}

/// Reads a whole body, which is a frame of the client's.
async fn read(means: &Means, body: Incoming) -> Result<Bytes, Refused> {
    let limits = means.config.load().limits.clone();
    let limits = Limits { body: limits.frame, ..limits };
    match means.bodies.read(body, &limits).await {
        Ok(body) => Ok(Bytes::copy_from_slice(&body)),
        Err(body::Error::TooLong { limit }) => {
            let why = format!("the body is longer than {limit} bytes (limits.frame)");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &why))
        }
        Err(error) => Err(refuse(error.status(), &error.to_string())),
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}
