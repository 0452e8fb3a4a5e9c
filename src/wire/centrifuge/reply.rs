//! What a Centrifuge client is told.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::wire::payload::Payload;

/// An error that a reply can carry, with the protocol's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something failed here; worth another try.
    Internal,
    /// The session may not do this.
    PermissionDenied,
    /// The protocol has no such method.
    MethodNotFound,
    /// A limit of the session is reached.
    LimitExceeded,
    /// The command makes no sense.
    BadRequest,
    /// The server does not offer this.
    NotAvailable,
    /// The token has expired: get a new one and try again.
    TokenExpired,
    /// Too much at once; worth another try.
    TooManyRequests,
}

impl Error {
    /// Code, message, and whether another try may succeed.
    fn parts(self) -> (u32, &'static str, bool) {
        match self {
            Self::Internal => (100, "internal server error", true),
            Self::PermissionDenied => (103, "permission denied", false),
            Self::MethodNotFound => (104, "method not found", false),
            Self::LimitExceeded => (106, "limit exceeded", false),
            Self::BadRequest => (107, "bad request", false),
            Self::NotAvailable => (108, "not available", false),
            Self::TokenExpired => (109, "token expired", false),
            Self::TooManyRequests => (111, "too many requests", true),
        }
    }
}

/// What a client learns at login.
#[derive(Debug)]
pub struct ConnectResult<'a> {
    /// The session's id.
    pub client: &'a str,
    /// Seconds until the token expires.
    pub ttl: Option<u32>,
    /// Seconds between the server's pings.
    pub ping: u32,
    /// The node that carries the session.
    pub node: &'a str,
    /// The rooms that the server joined for the client.
    pub rooms: &'a [String],
}

/// Who published a message, as far as the receivers may know.
#[derive(Clone, Debug, Serialize)]
pub struct Publisher {
    /// The user.
    pub user: String,
    /// The session.
    pub client: String,
    /// What the token says about the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn_info: Option<Box<RawValue>>,
}

/// The reply to a login.
#[must_use]
pub fn connected(id: u32, result: &ConnectResult<'_>) -> String {
    let rooms: serde_json::Map<_, _> =
        result.rooms.iter().map(|room| (room.clone(), serde_json::json!({}))).collect();
    let mut connect = serde_json::json!({
        "client": result.client,
        "version": env!("CARGO_PKG_VERSION"),
        "ping": result.ping,
        "pong": true,
        "node": result.node,
    });
    if let Some(connect) = connect.as_object_mut() {
        if let Some(ttl) = result.ttl {
            connect.insert("expires".into(), true.into());
            connect.insert("ttl".into(), ttl.into());
        }
        if !rooms.is_empty() {
            connect.insert("subs".into(), rooms.into());
        }
    }
    serde_json::json!({ "id": id, "connect": connect }).to_string()
}

/// The empty reply to `method`.
#[must_use]
pub fn done(id: u32, method: &'static str) -> String {
    format!(r#"{{"id":{id},"{method}":{{}}}}"#)
}

/// The reply to a renewed token.
#[must_use]
pub fn refreshed(id: u32, client: &str, ttl: Option<u32>) -> String {
    let refresh = match ttl {
        Some(ttl) => serde_json::json!({ "client": client, "expires": true, "ttl": ttl }),
        None => serde_json::json!({ "client": client }),
    };
    serde_json::json!({ "id": id, "refresh": refresh }).to_string()
}

/// The reply to a command that failed: `detail` says what would be right.
#[must_use]
pub fn failed(id: u32, error: Error, detail: &str) -> String {
    #[derive(Serialize)]
    struct Failed {
        id: u32,
        error: Body,
    }
    #[derive(Serialize)]
    struct Body {
        code: u32,
        message: String,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        temporary: bool,
    }
    let (code, words, temporary) = error.parts();
    let message = if detail.is_empty() { words.to_owned() } else { format!("{words}: {detail}") };
    let reply = Failed { id, error: Body { code, message, temporary } };
    serde_json::to_string(&reply).unwrap_or_else(|_| done(id, "error"))
}

/// A message from a room.
#[must_use]
pub fn publication(room: &str, payload: &Payload, publisher: Option<&Publisher>) -> String {
    let room = serde_json::Value::from(room);
    let info = publisher
        .and_then(|publisher| serde_json::to_string(publisher).ok())
        .map(|publisher| format!(r#","info":{publisher}"#))
        .unwrap_or_default();
    format!(r#"{{"push":{{"channel":{room},"pub":{{"data":{}{info}}}}}}}"#, payload.json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_answered_with_the_session_and_its_rooms() {
        let rooms = ["r1".to_owned()];
        let result = ConnectResult { client: "n.b.0.1", ttl: Some(60), ping: 25, node: "n", rooms: &rooms };
        let reply: serde_json::Value = serde_json::from_str(&connected(1, &result)).unwrap();
        let expected = serde_json::json!({"id":1,"connect":{
            "client":"n.b.0.1","version":env!("CARGO_PKG_VERSION"),"ping":25,"pong":true,"node":"n",
            "expires":true,"ttl":60,"subs":{"r1":{}}}});
        assert_eq!(reply, expected);
    }

    #[test]
    fn errors_carry_the_protocols_codes() {
        assert_eq!(
            failed(7, Error::PermissionDenied, "the token names no rooms"),
            r#"{"id":7,"error":{"code":103,"message":"permission denied: the token names no rooms"}}"#
        );
        assert_eq!(
            failed(7, Error::TooManyRequests, ""),
            r#"{"id":7,"error":{"code":111,"message":"too many requests","temporary":true}}"#
        );
    }

    #[test]
    fn a_publication_carries_data_and_publisher() {
        let publisher = Publisher { user: "u1".into(), client: "s1".into(), conn_info: None };
        let push = publication("r\"1", &Payload::from_text("hi"), Some(&publisher));
        assert_eq!(
            push,
            r#"{"push":{"channel":"r\"1","pub":{"data":"hi","info":{"user":"u1","client":"s1"}}}}"#
        );
    }
}
