//! The token of a chat page: who speaks, in which room, until when.

use std::time::Duration;

use hyper::StatusCode;
use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use jsonwebtoken::encode;
use serde::Serialize;
use serde_json::Value;

use crate::api::chat::reply::Fault;
use crate::clock;
use crate::config::Config;

/// What it claims; in Centrifugo's words, so that every dialect takes it.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    channels: [&'a str; 1],
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Value>,
}

/// A token for a user in a room; `info` is what others in the room see beside the user.
pub(super) fn issue(config: &Config, user: &str, room: &str, info: Option<Value>) -> Result<String, Fault> {
    let auth = &config.auth;
    let Some(secret) = &auth.jwt_secret else {
        let why = "chats need tokens, and nothing signs them: set auth.jwt_secret";
        return Err(Fault::Token(StatusCode::SERVICE_UNAVAILABLE, why.to_owned()));
    };
    let now = clock::wall();
    let claims = Claims {
        sub: user,
        channels: [room],
        iat: now.as_secs(),
        exp: now.saturating_add(ttl(config)).as_secs(),
        aud: auth.jwt_audience.as_deref(),
        iss: auth.jwt_issuer.as_deref(),
        info,
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|error| Fault::Server(error.to_string()))
}

/// How long a token is good.
pub(super) fn ttl(config: &Config) -> Duration {
    config.chat.token_ttl
}
