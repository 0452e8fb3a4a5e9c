//! The keys of backends: who may use the server API, for what, and how often.
//!
//! What it is: the `[[auth.key]]` of a configuration, and the check of what a request presents. It knows neither HTTP
//! nor the gateway: the caller takes the key out of its header, and turns a [`KeyError`] into an answer.
//!
//! A key is compared by its SHA-256, in constant time, with every known one, so that the time an answer takes tells
//! nothing. A rate limits each key by itself; a refusal because of a scope costs nothing of it.
//!
//! With `auth.insecure` nobody needs a key, and whatever is presented is taken for `Key::anyone`, unless it is known.

use std::time::Duration;

use aws_lc_rs::digest;
use subtle::ConstantTimeEq as _;

use crate::config;
use crate::config::Scope;
use crate::limiter::Cell;
use crate::units::Rate;

/// The length of a SHA-256.
const DIGEST: usize = 32;

/// Why a request may not do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It presents no key.
    #[error("this needs an API key: send it in the header X-API-Key")]
    Missing,
    /// No key of the configuration is like that.
    #[error("the API key is not known: it must be one of [[auth.key]]")]
    Unknown,
    /// The key is for other things.
    #[error("the API key is not for this: its scopes lack \"{}\"", .0.word())]
    Scope(Scope),
    /// The key was used too often.
    #[error("the API key is used more often than its rate allows; try again in {}", seconds(*.retry_after))]
    TooMany {
        /// The time after which the next request is let through.
        retry_after: Duration,
    },
}

/// A wait as whole seconds, at least one, as `Retry-After` has it.
fn seconds(wait: Duration) -> String {
    format!("{} s", wait.as_millis().div_ceil(1000).max(1))
}

/// One key.
#[derive(Debug)]
pub struct Key {
    name: String,
    digest: [u8; DIGEST],
    scopes: Vec<Scope>,
    rate: Option<Rate>,
    uses: Cell,
}

impl Key {
    /// Whoever it is, where no key is needed.
    fn anyone() -> Self {
        let (name, scopes) = ("anyone".to_owned(), vec![Scope::All]);
        Self { name, digest: [0; DIGEST], scopes, rate: None, uses: Cell::default() }
    }

    /// The name, for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if the key is for `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == Scope::All || *own == scope)
    }
}

/// The keys in force.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<Key>,
    anyone: Option<Key>,
}

impl Keys {
    /// The keys of a configuration.
    #[must_use]
    pub fn new(config: &config::Auth) -> Self {
        let key = |key: &config::ApiKey| Key {
            name: key.name.clone(),
            digest: digest_of(key.secret.expose()),
            scopes: key.scopes.clone(),
            rate: key.rate,
            uses: Cell::default(),
        };
        Self { keys: config.keys.iter().map(key).collect(), anyone: config.insecure.then(Key::anyone) }
    }

    /// The key that `presented` is, if it is for `scope` and not used too often; `now` is on any clock that does not go
    /// backwards.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says what is missing.
    pub fn check(&self, presented: Option<&str>, scope: Scope, now: Duration) -> Result<&Key, KeyError> {
        let known = presented.and_then(|presented| self.find(presented));
        let Some(key) = known.or(self.anyone.as_ref()) else {
            return Err(if presented.is_some() { KeyError::Unknown } else { KeyError::Missing });
        };
        if !key.may(scope) {
            return Err(KeyError::Scope(scope));
        }
        match key.rate.map_or(Ok(()), |rate| key.uses.check(rate, now)) {
            Ok(()) => Ok(key),
            Err(retry_after) => Err(KeyError::TooMany { retry_after }),
        }
    }

    /// Looks at all keys, whichever it is.
    fn find(&self, presented: &str) -> Option<&Key> {
        let digest = digest_of(presented);
        let mut found = None;
        for key in &self.keys {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found
    }
}

fn digest_of(key: &str) -> [u8; DIGEST] {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    digest.as_ref().first_chunk().copied().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::units::rate;

    fn keys(insecure: bool) -> Keys {
        let key = |name: &str, scopes: &[Scope], rate: Option<Rate>| config::ApiKey {
            name: name.to_owned(),
            secret: Secret::new(format!("the key of {name}")),
            scopes: scopes.to_vec(),
            rate,
        };
        let keys = vec![
            key("shop", &[Scope::Publish, Scope::Info], Some(rate("1/s burst 2").unwrap())),
            key("admin", &[Scope::All], None),
        ];
        Keys::new(&config::Auth { keys, insecure, ..config::Config::default().auth })
    }

    const NOW: Duration = Duration::from_secs(7);

    #[test]
    fn a_key_is_known_by_its_text_and_is_for_its_scopes() {
        let keys = keys(false);
        let name = |presented, scope| keys.check(presented, scope, NOW).map(Key::name);
        assert_eq!(name(Some("the key of shop"), Scope::Publish), Ok("shop"));
        assert_eq!(name(Some("the key of admin"), Scope::Goim), Ok("admin"));
        assert_eq!(name(Some("the key of shop"), Scope::Disconnect), Err(KeyError::Scope(Scope::Disconnect)));
        assert_eq!(name(Some("the key of nobody"), Scope::Publish), Err(KeyError::Unknown));
        assert_eq!(name(Some(""), Scope::Publish), Err(KeyError::Unknown));
        assert_eq!(name(None, Scope::Publish), Err(KeyError::Missing));
        let said = KeyError::Scope(Scope::Disconnect).to_string();
        assert_eq!(said, "the API key is not for this: its scopes lack \"disconnect\"");
    }

    #[test]
    fn each_key_has_its_own_rate_and_a_wrong_scope_costs_nothing() {
        let keys = keys(false);
        let shop = |scope| keys.check(Some("the key of shop"), scope, NOW).map(Key::name);
        assert!(shop(Scope::Goim).is_err());
        assert_eq!([shop(Scope::Publish), shop(Scope::Info)], [Ok("shop"); 2]);
        let retry_after = Duration::from_secs(1);
        assert_eq!(shop(Scope::Publish), Err(KeyError::TooMany { retry_after }));
        assert!(KeyError::TooMany { retry_after }.to_string().ends_with("try again in 1 s"));
        assert!(keys.check(Some("the key of shop"), Scope::Publish, NOW + retry_after).is_ok());
        assert!(keys.check(Some("the key of admin"), Scope::Publish, NOW).is_ok());
    }

    #[test]
    fn in_trials_nobody_needs_a_key_and_a_known_one_still_counts_as_itself() {
        let keys = keys(true);
        let name = |presented| keys.check(presented, Scope::Chat, NOW).map(Key::name);
        assert_eq!(name(None), Ok("anyone"));
        assert_eq!(name(Some("whatever")), Ok("anyone"));
        assert_eq!(name(Some("the key of admin")), Ok("admin"));
        assert_eq!(name(Some("the key of shop")), Err(KeyError::Scope(Scope::Chat)));
    }

    #[test]
    fn no_dump_shows_a_key() {
        assert!(!format!("{:?}", keys(false)).contains("the key of"));
    }
}
