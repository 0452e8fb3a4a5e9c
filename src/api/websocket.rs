//! The websocket upgrade (RFC 6455, section 4.2): checked here, then the connection is the gateway's.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::header::SEC_WEBSOCKET_ACCEPT;
use hyper::header::SEC_WEBSOCKET_KEY;
use hyper::header::SEC_WEBSOCKET_PROTOCOL;
use hyper::header::SEC_WEBSOCKET_VERSION;
use hyper::header::UPGRADE;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tungstenite::handshake::derive_accept_key;

use crate::api::Means;
use crate::api::admission;
use crate::api::admission::Refused;
use crate::api::admission::SESSION_ID;
use crate::api::admission::refuse;
use crate::api::client::Client;
use crate::api::query;
use crate::api::reply::Answer;
use crate::config::Carrier;
use crate::config::Dialect;
use crate::config::Route;
use crate::gateway::Arriving;
use crate::gateway::Credentials;
use crate::gateway::Transport;
use crate::net::Peer;
use crate::net::Slot;
use crate::net::Stream;
use crate::tasks;
use crate::tasks::OnExit;
use crate::wire::centrifuge::Encoding;

/// The subprotocol that asks for Protobuf instead of JSON.
const PROTOBUF: &str = "centrifuge-protobuf";

/// The subprotocol that asks for JSON, as the absence of any does.
const JSON: &str = "centrifuge-json";

/// Answers an upgrade request; when it is granted, the connection goes to the gateway.
pub(super) fn upgrade(
    means: &Arc<Means>,
    (client, slot): (Client, Option<Arc<Slot>>),
    route: Route,
    request: &mut Request<Incoming>,
) -> Answer {
    let checked = check(means, &route, request);
    let admitted = checked.and_then(|protocol| admission::admit(means, &client).map(|()| protocol));
    let (protocol, encoding) = match admitted {
        Ok(protocol) => protocol,
        Err(refused) => {
            let (answer, why) = *refused;
            means.trail.wsconn_failed(&client.subject(), answer.status().as_u16(), &why);
            return answer;
        }
    };
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let accept = derive_accept_key(key);
    let credentials = credentials(request.uri().query().unwrap_or_default());
    let worker = tasks::worker();
    let session_id = means.gateway.session_id(worker);
    let session_header = HeaderValue::from_str(session_id.as_str());
    hand_over(means, hyper::upgrade::on(request), client, move |stream, leftover, client| Arriving {
        stream,
        leftover,
        connect: None,
        route,
        transport: Transport::WebSocket,
        encoding,
        credentials,
        client: client.address,
        request_id: client.request_id,
        session_id,
        worker,
        slot,
    });

    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Ok(session) = session_header {
        headers.insert(SESSION_ID, session);
    }
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    answer
}

/// Gives a connection that speaks goim's packets without HTTP to the gateway.
pub(super) fn welcome_packets(means: &Arc<Means>, peer: &Peer, slot: Option<Arc<Slot>>, stream: Stream) {
    let worker = tasks::worker();
    let client = match peer {
        Peer::Unix { .. } => None,
        Peer::Tcp(address) => Some(address.ip().to_canonical()),
    };
    let route = Route {
        path: String::new(),
        dialect: Dialect::Goim,
        carrier: Carrier::WebSocket,
        auth: None,
        ping_interval: None,
    };
    means.gateway.welcome(Arriving {
        stream,
        leftover: Bytes::new(),
        connect: None,
        route,
        transport: Transport::Bare,
        encoding: Encoding::Json,
        credentials: Credentials::default(),
        client,
        request_id: means.gateway.fresh_request_id(),
        session_id: means.gateway.session_id(worker),
        worker,
        slot,
    });
}

/// Checks the request; gives the subprotocol to confirm, and what it means.
fn check(
    means: &Means,
    route: &Route,
    request: &Request<Incoming>,
) -> Result<(Option<&'static str>, Encoding), Refused> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(admission::refuse_method(request.method(), "GET"));
    }
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(refuse(
            StatusCode::UPGRADE_REQUIRED,
            "this path takes websockets: send Upgrade: websocket and Connection: Upgrade \
             (nginx needs proxy_http_version 1.1 and both headers set)",
        ));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refused = refuse(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13");
        refused.0.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(refused);
    }
    if headers.get(SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
        return Err(refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    admission::check_origin(means, headers)?;
    let asks_for = |protocol| {
        route.dialect == Dialect::Centrifuge && has_token(headers, &SEC_WEBSOCKET_PROTOCOL, protocol)
    };
    if asks_for(PROTOBUF) {
        return Ok((Some(PROTOBUF), Encoding::Protobuf));
    }
    Ok((asks_for(JSON).then_some(JSON), Encoding::Json))
}

/// True when one of a header's comma-separated words is `token`, whatever its case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// What a client brings in its address: `token`, and in trials the rooms (`cid`) that it wants to be in.
fn credentials(query: &str) -> Credentials {
    let mut credentials = Credentials::default();
    for (name, value) in query::pairs(query) {
        match name {
            "token" if !value.is_empty() => credentials.token = Some(value),
            "cid" if !value.is_empty() => credentials.rooms.push(value),
            _ => {}
        }
    }
    credentials.rooms.sort_unstable();
    credentials.rooms.dedup();
    credentials
}

/// Waits until the answer is written, then gives the bare connection to the gateway.
fn hand_over(
    means: &Arc<Means>,
    upgrade: OnUpgrade,
    client: Client,
    arriving: impl FnOnce(Stream, Bytes, Client) -> Arriving + Send + 'static,
) {
    let means_there = Arc::clone(means);
    means.tasks.spawn("upgrade", OnExit::Ignore, async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                let why = format!("the connection broke during the upgrade: {error}");
                means_there.trail.wsconn_failed(&client.subject(), 1006, &why);
                return;
            }
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
            tracing::error!("an upgraded connection is not the kind that was accepted");
            return;
        };
        // A copy, so that the server's read buffer is not kept alive by a few bytes in it.
        let leftover = Bytes::copy_from_slice(&parts.read_buf);
        means_there.gateway.welcome(arriving(parts.io.into_inner(), leftover, client));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_rooms_come_from_the_query() {
        let read = credentials("a=1&token=a%20b%2Bc+d&cid=r2&cid=r1&cid=r2&x");
        assert_eq!(read.token.as_deref(), Some("a b+c d"));
        assert_eq!(read.rooms, ["r1", "r2"]);
        assert_eq!(credentials("token="), Credentials::default());
    }

    #[test]
    fn header_words_are_found_in_any_place_and_case() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive, UPGRADE"));
        assert!(has_token(&headers, &CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &UPGRADE, "websocket"));
    }
}
