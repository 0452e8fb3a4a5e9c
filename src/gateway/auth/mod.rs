//! Who a client is: asked of the business API, read from a signed token, or not asked at all.
//!
//! Nothing here decides what a user may do: it only says who it is and which rooms the login grants.

mod api;
mod jwt;

use std::sync::Arc;

use crate::config;
use crate::config::AuthMode;
use crate::gateway::CloseReason;
use crate::gateway::Error;
use crate::gateway::session::Credentials;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;

/// Checks credentials in the way that the configuration says.
#[derive(Debug)]
pub(super) struct Auth {
    mode: AuthMode,
    insecure: bool,
    api: Option<api::Api>,
    jwt: Option<jwt::Verifier>,
}

impl Auth {
    /// The checks of a configuration.
    pub(super) fn new(config: &config::Auth) -> Result<Self, Error> {
        let api = config.api_url.as_deref().map(|url| api::Api::new(url, config)).transpose()?;
        let jwt = config.jwt_secret.as_ref().map(|secret| jwt::Verifier::new(secret, config));
        Ok(Self { mode: config.mode, insecure: config.insecure, api, jwt })
    }

    /// Says who shows these credentials, on a route that may have a mode of its own; `unix` is the time.
    pub(super) async fn check(
        self: Arc<Self>,
        credentials: Credentials,
        route: Option<AuthMode>,
        unix: u64,
    ) -> Result<Identity, Refusal> {
        let Some(token) = credentials.token else {
            return if self.insecure {
                let user = credentials.user.unwrap_or_default().into();
                Ok(Identity { user, rooms: credentials.rooms, ..Identity::default() })
            } else {
                Err(Refusal::Close(CloseReason::TokenMissing))
            };
        };
        match (route.unwrap_or(self.mode), &self.api, &self.jwt) {
            (AuthMode::Api, Some(api), _) => api.check(&token).await,
            (AuthMode::Jwt, _, Some(jwt)) => jwt.check(&token, unix),
            // A trial without any check: the token is taken for the user's name.
            (AuthMode::None, ..) if self.insecure => {
                Ok(Identity { user: token.into(), rooms: credentials.rooms, ..Identity::default() })
            }
            _ => {
                let why = "no way to check tokens is configured: set auth.mode".to_owned();
                Err(Refusal::Close(CloseReason::AuthUnavailable(why)))
            }
        }
    }
}
