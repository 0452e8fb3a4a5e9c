//! The public keys of whoever issues tokens, as it publishes them (RFC 7517).
//!
//! They are read at the first token, again when a token names a key that is not known, and when they are older than
//! `auth.jwks_refresh`; never more often than `auth.jwks_pause` allows, so that tokens made up by anybody do not become
//! questions to the issuer. While the issuer can not be reached, the keys known so far count on.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::Uri;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::sync::oneshot;

use super::keyring::VerifyKey;
use crate::clock;
use crate::config;
use crate::gateway::Error;
use crate::metrics::ByReason;
use crate::metrics::Metrics;
use crate::net::http::Client;
use crate::tasks::OnExit;
use crate::tasks::Tasks;

/// The longest set that is read, in bytes.
const SET_MAX: usize = 256 * 1024;

/// The most keys of a set that are used; an issuer has a handful.
const KEYS_MAX: usize = 100;

/// Keys that were read together.
#[derive(Debug)]
pub(super) struct Set {
    /// The keys.
    pub(super) keys: Vec<VerifyKey>,
    read_at: Duration,
}

/// Reads the keys and keeps them.
#[derive(Debug)]
pub(super) struct Jwks {
    url: String,
    client: Client,
    timeout: Duration,
    refresh: Duration,
    pause: Duration,
    set: ArcSwapOption<Set>,
    /// One reads at a time; the others wait for what it finds.
    last: Mutex<Option<Reading>>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

/// The last try to read the keys.
#[derive(Debug)]
struct Reading {
    began: Duration,
    /// Why it failed, when it did.
    failure: Option<String>,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

impl Jwks {
    pub(super) fn new(
        url: &str,
        config: &config::Auth,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        Ok(Self {
            url: url.to_owned(),
            client: Client::new().map_err(Error::HttpClient)?,
            timeout: config.api_timeout,
            refresh: config.jwks_refresh,
            pause: config.jwks_pause,
            set: ArcSwapOption::empty(),
            last: Mutex::new(None),
            metrics: Arc::clone(metrics),
            tasks: tasks.clone(),
        })
    }

    /// The keys; read now when there are none, and in the background when they are old.
    pub(super) async fn keys(self: &Arc<Self>) -> Result<Arc<Set>, String> {
        let Some(set) = self.set.load_full() else { return self.newer(None).await };
        let is_old = clock::uptime().saturating_sub(set.read_at) >= self.refresh;
        // Whoever finds another one reading has nothing to do.
        if is_old && self.last.try_lock().is_ok_and(|last| !self.is_too_soon(last.as_ref())) {
            drop(self.spawn(Some(Arc::clone(&set))));
        }
        Ok(set)
    }

    /// Keys that were read after `old`, if it is not too soon to read again; else the same ones.
    pub(super) async fn newer(self: &Arc<Self>, old: Option<Arc<Set>>) -> Result<Arc<Set>, String> {
        self.spawn(old).await.unwrap_or_else(|_| Err("the reading was given up".to_owned()))
    }

    /// Reads in a task of its own, so that no client can spoil it for others by leaving.
    fn spawn(self: &Arc<Self>, old: Option<Arc<Set>>) -> oneshot::Receiver<Result<Arc<Set>, String>> {
        let (tell, told) = oneshot::channel();
        let there = Arc::clone(self);
        self.tasks.spawn("jwks", OnExit::Ignore, async move {
            let read = there.renew(old.as_ref()).await;
            // Whoever waited for it may have left.
            drop(tell.send(read));
        });
        told
    }

    async fn renew(&self, old: Option<&Arc<Set>>) -> Result<Arc<Set>, String> {
        let mut last = self.last.lock().await;
        if let Some(set) = self.set.load_full().filter(|set| old.is_none_or(|old| !Arc::ptr_eq(old, set))) {
            return Ok(set);
        }
        if self.is_too_soon(last.as_ref()) {
            let failure = last.as_ref().and_then(|last| last.failure.clone());
            return match (failure, self.set.load_full()) {
                (None, Some(set)) => Ok(set),
                (failure, _) => Err(failure.unwrap_or_else(|| "there are no keys yet".to_owned())),
            };
        }
        let began = clock::uptime();
        let read = self.read().await;
        let was_away = last.as_ref().is_some_and(|last| last.failure.is_some());
        *last = Some(Reading { began, failure: read.as_ref().err().cloned() });
        self.tell(&read, was_away, old);
        let set = Arc::new(Set { keys: read?, read_at: clock::uptime() });
        self.set.store(Some(Arc::clone(&set)));
        Ok(set)
    }

    /// A change is one line in the log.
    fn tell(&self, read: &Result<Vec<VerifyKey>, String>, was_away: bool, old: Option<&Arc<Set>>) {
        let reason = if read.is_ok() { "read" } else { "failed" };
        self.metrics.auth_jwks_reads.get_or_create(&ByReason { reason }).inc();
        let known = old.map_or(0, |old| old.keys.len());
        match read {
            Ok(keys) if was_away || old.is_none() => {
                tracing::info!(keys = keys.len(), "the keys that tokens are signed with were read");
            }
            Err(why) if !was_away => {
                tracing::warn!(%why, known, "the keys that tokens are signed with can not be read");
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn is_too_soon(&self, last: Option<&Reading>) -> bool {
        last.is_some_and(|last| clock::uptime().saturating_sub(last.began) < self.pause)
    }

    async fn read(&self) -> Result<Vec<VerifyKey>, String> {
        let uri: Uri = self.url.parse().map_err(|error| format!("auth.jwks_url is no URL: {error}"))?;
        let (status, body) =
            self.client.get(&uri, self.timeout, SET_MAX).await.map_err(|error| error.to_string())?;
        if status != StatusCode::OK {
            return Err(format!("status {status}"));
        }
        keys(&body)
    }
}

/// The keys of a set that can check signatures here. One that can not be read does not spoil the others.
fn keys(body: &[u8]) -> Result<Vec<VerifyKey>, String> {
    let published: Published =
        serde_json::from_slice(body).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
    let jwks = published.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let keys: Vec<VerifyKey> = jwks.filter_map(|jwk| VerifyKey::of_set(&jwk)).take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err("no key in it can check signatures here (RSA, P-256, P-384 or Ed25519)".to_owned());
    }
    Ok(keys)
}
