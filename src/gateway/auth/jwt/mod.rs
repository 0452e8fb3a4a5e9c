//! Signed tokens: which key checks them, and what is wrong with those that no key accepts.
//!
//! A token is checked with a key that fits the algorithm in its header (see `keyring`): the secret and the public key
//! of the configuration, and the keys that the issuer publishes (`jwks`); of these, the one that the token names. One
//! that names an unknown key may be signed with a new one, so the keys are read again then.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use jsonwebtoken::Header;
use jsonwebtoken::Validation;
use jsonwebtoken::decode;
use jsonwebtoken::decode_header;
use jsonwebtoken::errors::ErrorKind;

use crate::config;
use crate::gateway::Error;
use crate::gateway::auth::claims::Claims;
use crate::gateway::auth::jwks::Jwks;
use crate::gateway::auth::keyring::VerifyKey;
use crate::metrics::Metrics;
use crate::tasks::Tasks;

/// The longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 64 * 1024;

/// So many characters of the name of a key are shown; anybody can make up a long one.
const KID_SHOWN: usize = 64;

/// Checks signed tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The keys of the configuration, which have no names.
    own: Vec<VerifyKey>,
    jwks: Option<Arc<Jwks>>,
    validation: Validation,
}

/// Why a token was not accepted, in words for whoever made it or runs this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not right.
    Invalid(String),
    /// The keys are not to be had now.
    Unavailable(String),
}

impl Verifier {
    /// `None` when the configuration has no key at all.
    pub(super) fn new(
        config: &config::Auth,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
    ) -> Result<Option<Self>, Error> {
        let mut own: Vec<VerifyKey> = config.jwt_secret.iter().map(VerifyKey::secret).collect();
        if let Some(public) = &config.jwt_public_key {
            own.push(VerifyKey::public(public).map_err(Error::PublicKey)?);
        }
        let jwks =
            config.jwks_url.as_deref().map(|url| Jwks::new(url, config, metrics, tasks)).transpose()?;
        let has_key = !own.is_empty() || jwks.is_some();
        let validation = validation(config);
        Ok(has_key.then(|| Self { own, jwks: jwks.map(Arc::new), validation }))
    }

    /// The claims of a token whose signature, audience and issuer are right.
    pub(super) async fn claims(&self, token: &str) -> Result<Claims, Fault> {
        if token.len() > TOKEN_MAX {
            return Err(Fault::Invalid(format!("it is longer than {TOKEN_MAX} bytes")));
        }
        let header = decode_header(token).map_err(|error| Fault::Invalid(words(error.kind())))?;
        if header.crit.is_some() {
            return Err(Fault::Invalid("its header asks for extensions (crit)".to_owned()));
        }
        let mut fault = match self.with(&self.own, &header, token) {
            Verdict::Right(claims) => return Ok(*claims),
            Verdict::Wrong(why) => Some(why),
            Verdict::NoKey => None,
        };
        // A set of public keys has none for tokens that are signed with a secret.
        let is_symmetric = matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
        if let Some(jwks) = self.jwks.as_ref().filter(|_| !is_symmetric) {
            let set = jwks.keys().await.map_err(|why| unavailable(&why))?;
            match self.with_set(&set.keys, &header, token) {
                Verdict::Right(claims) => return Ok(*claims),
                Verdict::Wrong(why) if header.kid.is_some() => fault = Some(why),
                // An issuer that gives its keys no names may have a new one as well.
                Verdict::NoKey | Verdict::Wrong(_) => {
                    let newer = jwks.newer(Some(set)).await.map_err(|why| unavailable(&why))?;
                    match self.with_set(&newer.keys, &header, token) {
                        Verdict::Right(claims) => return Ok(*claims),
                        Verdict::Wrong(why) => fault = Some(why),
                        Verdict::NoKey => {}
                    }
                }
            }
        }
        Err(Fault::Invalid(fault.unwrap_or_else(|| self.no_key(&header))))
    }

    /// Checks with the published key that the token names, or with all when it names none.
    fn with_set(&self, keys: &[VerifyKey], header: &Header, token: &str) -> Verdict {
        let named = |key: &&VerifyKey| header.kid.is_none() || key.id == header.kid;
        self.with(keys.iter().filter(named), header, token)
    }

    /// Checks with each of the keys that fit.
    fn with<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k VerifyKey>,
        header: &Header,
        token: &str,
    ) -> Verdict {
        let mut verdict = Verdict::NoKey;
        let mut validation = None;
        for key in keys.into_iter().filter(|key| key.takes(header.alg)) {
            let validation = validation.get_or_insert_with(|| Validation {
                algorithms: vec![header.alg],
                ..self.validation.clone()
            });
            match decode::<Claims>(token, &key.key, validation) {
                Ok(token) => return Verdict::Right(Box::new(token.claims)),
                Err(error) => verdict = Verdict::Wrong(words(error.kind())),
            }
        }
        verdict
    }

    fn no_key(&self, header: &Header) -> String {
        let algorithm = header.alg;
        match &header.kid {
            Some(kid) if self.jwks.is_some() => {
                let kid: String = kid.chars().take(KID_SHOWN).collect();
                format!("no key of auth.jwks_url is called {kid:?} and takes {algorithm:?}")
            }
            _ => {
                let known: Vec<String> = self.own.iter().map(VerifyKey::words).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                format!("its algorithm is {algorithm:?}; the keys of [auth] take {known}")
            }
        }
    }
}

/// What keys say about a token.
enum Verdict {
    Right(Box<Claims>),
    Wrong(String),
    /// None of them fits.
    NoKey,
}

fn unavailable(why: &str) -> Fault {
    Fault::Unavailable(format!("the keys of auth.jwks_url can not be read: {why}"))
}

fn validation(config: &config::Auth) -> Validation {
    // The times are compared with the caller's clock.
    let mut validation = Validation { validate_exp: false, ..Validation::default() };
    validation.required_spec_claims.clear();
    match &config.jwt_audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        }
        None => validation.validate_aud = false,
    }
    if let Some(issuer) = &config.jwt_issuer {
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims.insert("iss".into());
    }
    validation
}

/// What is wrong with a token, in words for whoever made it.
fn words(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
            "it is no JSON Web Token".into()
        }
        ErrorKind::InvalidSignature => "its signature does not match the key".into(),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "its algorithm is not known".into(),
        ErrorKind::InvalidAudience => "its aud is not auth.jwt_audience".into(),
        ErrorKind::InvalidIssuer => "its iss is not auth.jwt_issuer".into(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no {claim}"),
        ErrorKind::Json(error) => format!("its claims can not be read: {error}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests;
