//! Who a client is: asked of the business API, read from a signed token, or not asked at all.
//!
//! Nothing here decides what a user may do: it only says who it is and which rooms the login grants. A token for one
//! room ([`Auth::check_subscription`]) is checked with the keys for signed tokens in every mode.
//!
//! Limits: `auth.api_concurrency` questions to the business API at once, `auth.api_cache_size` bytes of its answers,
//! tokens of 64 KiB, key sets of 256 KiB and 100 keys. Answers, keys and the breaker live in memory: after a start each
//! token is asked about anew. There is nothing to stop: a question ends with the last client that waits for it.

mod api;
mod breaker;
mod cache;
mod claims;
mod flight;
mod grant;
mod jwks;
mod jwt;
mod keyring;

pub(super) use claims::Bearer;
pub(super) use grant::Grant;
pub(super) use grant::GrantRefusal;

use std::sync::Arc;

use crate::config;
use crate::config::AuthMode;
use crate::gateway::CloseReason;
use crate::gateway::Error;
use crate::gateway::session::Credentials;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use crate::metrics::Metrics;
use crate::tasks::Tasks;

/// Checks credentials in the way that the configuration says.
#[derive(Debug)]
pub(super) struct Auth {
    config: config::Auth,
    api: Option<api::Api>,
    jwt: Option<jwt::Verifier>,
}

impl Auth {
    /// The checks of a configuration.
    pub(super) fn new(config: &config::Auth, metrics: &Arc<Metrics>, tasks: &Tasks) -> Result<Self, Error> {
        metrics.auth_api_away.set(0);
        let api = config.api_url.as_deref().map(|url| api::Api::new(url, config, metrics)).transpose()?;
        let jwt = jwt::Verifier::new(config, metrics, tasks)?;
        Ok(Self { config: config.clone(), api, jwt })
    }

    /// True if these are the checks of that configuration.
    pub(super) fn is_of(&self, config: &config::Auth) -> bool {
        self.config == *config
    }

    /// Says who shows these credentials, on a route that may have a mode of its own; `unix` is the time.
    pub(super) async fn check(
        self: Arc<Self>,
        credentials: Credentials,
        route: Option<AuthMode>,
        unix: u64,
    ) -> Result<Identity, Refusal> {
        let Some(token) = credentials.token else {
            return if self.config.insecure {
                self.check_claimed(credentials.user.as_deref().unwrap_or_default(), credentials.rooms)
            } else {
                Err(Refusal::Close(CloseReason::TokenMissing))
            };
        };
        match (route.unwrap_or(self.config.mode), &self.api, &self.jwt) {
            (AuthMode::Api, Some(api), _) => api.check(&token).await,
            (AuthMode::Jwt, _, Some(jwt)) => match jwt.claims(&token).await {
                Ok(claims) => claims.identity(unix),
                Err(jwt::Fault::Invalid(why)) => Err(Refusal::Close(CloseReason::TokenInvalid(why))),
                Err(jwt::Fault::Unavailable(why)) => Err(Refusal::Close(CloseReason::AuthUnavailable(why))),
            },
            // A trial without any check: the token is taken for the user's name.
            (AuthMode::None, ..) if self.config.insecure => {
                Ok(Identity { user: token.into(), rooms: credentials.rooms, ..Identity::default() })
            }
            _ => {
                let why = "no way to check tokens is configured: set auth.mode".to_owned();
                Err(Refusal::Close(CloseReason::AuthUnavailable(why)))
            }
        }
    }

    /// Says what a token for one room grants, at a join and when it is renewed; `unix` is the time.
    pub(super) async fn check_subscription(
        self: Arc<Self>,
        token: String,
        bearer: Bearer,
        unix: u64,
    ) -> Result<Grant, GrantRefusal> {
        let Some(jwt) = &self.jwt else {
            let why =
                "no key for tokens is configured: set auth.jwt_secret, auth.jwt_public_key or auth.jwks_url";
            return Err(GrantRefusal::Unavailable(why.to_owned()));
        };
        match jwt.claims(&token).await {
            Ok(claims) => claims.grant(&bearer, unix),
            Err(jwt::Fault::Invalid(why)) => Err(GrantRefusal::Invalid(why)),
            Err(jwt::Fault::Unavailable(why)) => Err(GrantRefusal::Unavailable(why)),
        }
    }

    /// Takes a client's word for who it is, as the originals of some dialects do: in trials only.
    pub(super) fn check_claimed(&self, user: &str, rooms: Vec<String>) -> Result<Identity, Refusal> {
        if self.config.insecure {
            return Ok(Identity { user: user.into(), rooms, ..Identity::default() });
        }
        let why = "the login names its user itself, which is for trials (auth.insecure): send a token";
        Err(Refusal::Close(CloseReason::TokenInvalid(why.to_owned())))
    }
}

/// Spreads what many nodes do at once; without randomness all wait the whole time.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
