//! The business API: `GET {url}?token=…`, answered `{"error": "", "uid": "…", "cids": ["room", …]}`.
//!
//! The question and the answer are those of the original push gateway, which the operator's backend speaks
//! already. Two faults of the original do not come along: the token is escaped, and the question has a time limit.
//!
//! ```text
//! check -> cache (a fresh answer) -> flight (one question per token) -> breaker -> turn -> tries
//!                └── a stale answer, when the API is away <──────────────── failure ──┘
//! ```
//!
//! An answer about the token ends the matter, whether it is yes or no; a status below 500 is one (but 408 and 429),
//! so that nobody can make the API look broken with broken tokens. What fails otherwise is tried again, within
//! `auth.api_timeout` overall, and counts for the breaker.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::StatusCode;
use http::Uri;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::breaker::Admission;
use super::breaker::Breaker;
use super::breaker::Change;
use super::cache::Cache;
use super::cache::TokenHash;
use super::flight::Flight;
use super::random;
use crate::backoff::Backoff;
use crate::clock;
use crate::config;
use crate::gateway::CloseReason;
use crate::gateway::Error;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use crate::metrics::ByReason;
use crate::metrics::Metrics;
use crate::net::http::Client;

/// The longest answer that is read, in bytes: a user in ten thousand rooms fits.
const ANSWER_MAX: usize = 1024 * 1024;

/// How often one question is asked.
const TRIES: u32 = 3;

/// The pauses between the tries of one question.
const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// Asks the business API, remembers what it said, and leaves it alone while it is away.
#[derive(Debug)]
pub(super) struct Api {
    asker: Arc<Asker>,
    flight: Flight<Outcome>,
}

/// What a question leads to.
type Outcome = Result<Arc<Identity>, Failure>;

#[derive(Clone, Debug)]
enum Failure {
    /// The API said no.
    Refused(CloseReason),
    /// It did not say.
    Away(CloseReason),
}

/// What a question needs, whoever waits for it.
#[derive(Debug)]
struct Asker {
    url: String,
    client: Client,
    timeout: Duration,
    turns: Semaphore,
    breaker: Mutex<Breaker>,
    cache: Mutex<Cache>,
    metrics: Arc<Metrics>,
}

impl Api {
    pub(super) fn new(url: &str, config: &config::Auth, metrics: &Arc<Metrics>) -> Result<Self, Error> {
        let cache = Cache::new(config.api_cache, config.api_stale, config.api_cache_size);
        let asker = Asker {
            url: url.to_owned(),
            client: Client::new().map_err(Error::HttpClient)?,
            timeout: config.api_timeout,
            turns: Semaphore::new(config.api_concurrency),
            breaker: Mutex::new(Breaker::new(config.api_failures, config.api_timeout)),
            cache: Mutex::new(cache),
            metrics: Arc::clone(metrics),
        };
        Ok(Self { asker: Arc::new(asker), flight: Flight::new() })
    }

    /// Says who has this token.
    pub(super) async fn check(&self, token: &str) -> Result<Identity, Refusal> {
        let hash = TokenHash::of(token);
        if let Some(identity) = self.asker.kept(|cache| cache.fresh(&hash, clock::uptime())) {
            self.asker.count("cached");
            return Ok((*identity).clone());
        }
        let ask = || {
            let (asker, token) = (Arc::clone(&self.asker), token.to_owned());
            async move { asker.ask(hash, &token).await }
        };
        let (outcome, joined) = self.flight.join(hash, ask).await;
        let count = |word| self.asker.count(if joined { "shared" } else { word });
        match outcome {
            Ok(identity) => {
                count("accepted");
                Ok((*identity).clone())
            }
            Err(Failure::Refused(reason)) => {
                count("refused");
                Err(Refusal::Close(reason))
            }
            Err(Failure::Away(reason)) => {
                match self.asker.kept(|cache| cache.stale(&hash, clock::uptime())) {
                    Some(identity) => {
                        self.asker.count("stale");
                        Ok((*identity).clone())
                    }
                    None => {
                        self.asker.count("failed");
                        Err(Refusal::Close(reason))
                    }
                }
            }
        }
    }
}

/// How one try ended.
enum Try {
    /// The API has said what there is to say.
    Done(Result<Identity, CloseReason>),
    /// The API answered, but this is no answer to this token; another try would get the same.
    Odd(CloseReason),
    /// It may be better in a while.
    Failed(CloseReason),
}

impl Asker {
    fn kept<T>(&self, look: impl FnOnce(&mut Cache) -> T) -> T {
        look(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, reason: &'static str) {
        self.metrics.auth_api_logins.get_or_create(&ByReason { reason }).inc();
    }

    /// Asks until there is an answer or no time, and keeps it.
    async fn ask(&self, hash: TokenHash, token: &str) -> Outcome {
        let unavailable = |why: String| Failure::Away(CloseReason::AuthUnavailable(why));
        let uri: Uri = question(&self.url, token)
            .parse()
            .map_err(|error| unavailable(format!("auth.api_url is no URL: {error}")))?;
        let tries = match self.watch(|breaker| breaker.admit(clock::uptime())) {
            Admission::Ask => TRIES,
            Admission::Probe => 1,
            Admission::Away { pause } => {
                let why = format!("it failed too often and is left alone for another {}", seconds(pause));
                return Err(unavailable(why));
            }
        };
        // The wait for a turn has the same limit as the question: a login storm ends in answers, not in silence.
        let turn = tokio::time::timeout(self.timeout, self.turns.acquire());
        let Ok(Ok(_permit)) = turn.await else {
            return Err(unavailable(format!("no free turn to ask within {:?}", self.timeout)));
        };
        match self.tries(&uri, tries).await {
            Try::Done(Ok(identity)) => {
                let identity = Arc::new(identity);
                self.kept(|cache| cache.keep(hash, &identity, clock::uptime()));
                Ok(identity)
            }
            Try::Done(Err(reason)) => {
                self.kept(|cache| cache.forget(&hash));
                Err(Failure::Refused(reason))
            }
            Try::Odd(reason) => Err(Failure::Refused(reason)),
            Try::Failed(reason) => Err(Failure::Away(reason)),
        }
    }

    /// Tries up to `tries` times, all within the time for one question.
    async fn tries(&self, uri: &Uri, tries: u32) -> Try {
        let deadline = Instant::now() + self.timeout;
        let backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        let mut failures = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let tried = self.try_once(uri, left).await;
            let is_failure = matches!(tried, Try::Failed(_));
            let (now, random) = (clock::uptime(), random());
            self.tell(self.watch(
                |breaker| {
                    if is_failure { breaker.failed(now, random) } else { breaker.succeeded() }
                },
            ));
            let pause = backoff.delay(failures, random);
            failures += 1;
            let again = is_failure
                && failures < tries
                && Instant::now() + pause < deadline
                && !self.watch(|breaker| breaker.is_open());
            if !again {
                return tried;
            }
            self.metrics.auth_api_retries.inc();
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once(&self, uri: &Uri, left: Duration) -> Try {
        let (status, body) = match self.client.get(uri, left, ANSWER_MAX).await {
            Ok(answer) => answer,
            Err(error) => return Try::Failed(CloseReason::AuthUnavailable(error.to_string())),
        };
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        match read(&body) {
            _ if status.is_client_error() && !passing.contains(&status) => {
                Try::Odd(CloseReason::AuthUnavailable(format!("status {status}")))
            }
            _ if status != StatusCode::OK => {
                Try::Failed(CloseReason::AuthUnavailable(format!("status {status}")))
            }
            Err(nonsense @ CloseReason::AuthNonsense(_)) => Try::Failed(nonsense),
            answer => Try::Done(answer),
        }
    }

    fn watch<T>(&self, look: impl FnOnce(&mut Breaker) -> T) -> T {
        look(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A change of the breaker is one line in the log.
    fn tell(&self, change: Option<Change>) {
        match change {
            Some(Change::Opened) => {
                self.metrics.auth_api_away.set(1);
                tracing::warn!("the business API fails: it is left alone, and tried again now and then");
            }
            Some(Change::Closed) => {
                self.metrics.auth_api_away.set(0);
                tracing::info!("the business API answers again");
            }
            None => {}
        }
    }
}

fn seconds(pause: Duration) -> String {
    format!("{:.1} s", pause.as_secs_f64())
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<Uid>,
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
    let error = answer.error.map(String::from).filter(|error| !error.is_empty() && error != "0");
    if let Some(error) = error {
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
        assert_eq!(&*read(br#"{"error":0,"uid":"u1"}"#).unwrap().user, "u1");
    }

    #[test]
    fn refusals_and_nonsense_are_told_apart() {
        let refused = |body: &str| read(body.as_bytes()).unwrap_err();
        assert_eq!(refused(r#"{"error":"bad token"}"#), CloseReason::Refused("bad token".into()));
        assert_eq!(refused(r#"{"error":7}"#), CloseReason::Refused("7".into()));
        assert_eq!(refused(r#"{"error":"","uid":""}"#), CloseReason::NoUser);
        assert_eq!(refused(r#"{"error":null,"cids":null}"#), CloseReason::NoUser);
        assert!(matches!(refused("<html>"), CloseReason::AuthNonsense(_)));
        assert!(matches!(refused(""), CloseReason::AuthNonsense(_)));
        assert!(matches!(refused("[]"), CloseReason::AuthNonsense(_)));
        assert!(matches!(refused(r#"{"uid":["x"]}"#), CloseReason::AuthNonsense(_)));
    }
}
