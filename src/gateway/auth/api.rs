//! The business API: `GET {url}?token=…`, answered `{"error": "", "uid": "…", "cids": ["room", …]}`.
//!
//! The question and the answer are those of the original push gateway, which the operator's backend speaks
//! already. Two faults of the original do not come along: the token is escaped, and the question has a time limit.

use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config;
use crate::gateway::CloseReason;
use crate::gateway::Error;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use crate::net::http::Client;

/// The longest answer that is read, in bytes: a user in ten thousand rooms fits.
const ANSWER_MAX: usize = 1024 * 1024;

/// Asks the business API.
#[derive(Debug)]
pub(super) struct Api {
    url: String,
    client: Client,
    timeout: Duration,
    concurrency: Semaphore,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    uid: Option<Uid>,
    #[serde(default)]
    cids: Option<Vec<Uid>>,
}

/// Backends write ids as strings or as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Uid {
    Text(String),
    Number(i64),
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        match uid {
            Uid::Text(text) => text,
            Uid::Number(number) => number.to_string(),
        }
    }
}

impl Api {
    pub(super) fn new(url: &str, config: &config::Auth) -> Result<Self, Error> {
        Ok(Self {
            url: url.to_owned(),
            client: Client::new().map_err(Error::HttpClient)?,
            timeout: config.api_timeout,
            concurrency: Semaphore::new(config.api_concurrency),
        })
    }

    /// Asks who has this token.
    pub(super) async fn check(&self, token: &str) -> Result<Identity, Refusal> {
        let unavailable = |why: String| Refusal::Close(CloseReason::AuthUnavailable(why));
        let uri: Uri = question(&self.url, token)
            .parse()
            .map_err(|error| unavailable(format!("auth.api_url is no URL: {error}")))?;
        // The wait for a turn has the same limit as the question: a login storm ends in answers, not in silence.
        let turn = tokio::time::timeout(self.timeout, self.concurrency.acquire());
        let Ok(Ok(_permit)) = turn.await else {
            return Err(unavailable(format!("no free turn to ask within {:?}", self.timeout)));
        };
        let asked = self.client.get(&uri, self.timeout, ANSWER_MAX).await;
        let (status, body) = asked.map_err(|error| unavailable(error.to_string()))?;
        if status != http::StatusCode::OK {
            return Err(unavailable(format!("status {status}")));
        }
        read(&body).map_err(Refusal::Close)
    }
}

/// The URL that asks about `token`, which may hold any character.
fn question(url: &str, token: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    let mut question = format!("{url}{separator}token=");
    for byte in token.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            question.push(char::from(byte));
        } else {
            question.push_str(&format!("%{byte:02X}"));
        }
    }
    question
}

fn read(body: &[u8]) -> Result<Identity, CloseReason> {
    // A list would be read as the members in their order; only an object names them.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(CloseReason::AuthNonsense("it is no JSON object".into()));
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| CloseReason::AuthNonsense(error.to_string()))?;
    if let Some(error) = answer.error.filter(|error| !error.is_empty()) {
        return Err(CloseReason::Refused(error));
    }
    let user = answer.uid.map(String::from).filter(|uid| !uid.is_empty()).ok_or(CloseReason::NoUser)?;
    let mut rooms: Vec<String> = answer.cids.unwrap_or_default().into_iter().map(String::from).collect();
    rooms.sort_unstable();
    rooms.dedup();
    Ok(Identity { user: user.into(), rooms, ..Identity::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_escaped() {
        assert_eq!(question("http://a/auth", "a b&c=é"), "http://a/auth?token=a%20b%26c%3D%C3%A9");
        assert_eq!(question("http://a/auth?v=1", "t"), "http://a/auth?v=1&token=t");
    }

    #[test]
    fn an_answer_names_user_and_rooms() {
        let identity = read(br#"{"error":"","uid":"u1","cids":["b","a","b",7]}"#).unwrap();
        assert_eq!((&*identity.user, identity.rooms), ("u1", vec!["7".to_owned(), "a".into(), "b".into()]));
        assert_eq!(&*read(br#"{"uid":42}"#).unwrap().user, "42");
    }

    #[test]
    fn refusals_and_nonsense_are_told_apart() {
        let refused = |body: &str| read(body.as_bytes()).unwrap_err();
        assert_eq!(refused(r#"{"error":"bad token"}"#), CloseReason::Refused("bad token".into()));
        assert_eq!(refused(r#"{"error":"","uid":""}"#), CloseReason::NoUser);
        assert_eq!(refused(r#"{"error":null,"cids":null}"#), CloseReason::NoUser);
        assert!(matches!(refused("<html>"), CloseReason::AuthNonsense(_)));
        assert!(matches!(refused(""), CloseReason::AuthNonsense(_)));
        assert!(matches!(refused("[]"), CloseReason::AuthNonsense(_)));
        assert!(matches!(refused(r#"{"uid":["x"]}"#), CloseReason::AuthNonsense(_)));
    }
}
