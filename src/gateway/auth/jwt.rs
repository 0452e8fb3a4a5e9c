//! Signed tokens: HS256, with the claims that Centrifugo's tokens have.
//!
//! `sub` is the user, `exp` and `nbf` the time it counts, `channels` the rooms that the login grants (`subs` names
//! them as keys), `info` what others learn about the user. A token without `sub` is an anonymous user.

use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::config;
use crate::config::Secret;
use crate::gateway::CloseReason;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use crate::wire::payload::Payload;

/// Checks signed tokens.
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    exp: Option<u64>,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    subs: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    info: Option<Box<RawValue>>,
}

impl Verifier {
    pub(super) fn new(secret: &Secret, config: &config::Auth) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The times are compared below, with the caller's clock.
        validation.validate_exp = false;
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
        Self { key: DecodingKey::from_secret(secret.expose().as_bytes()), validation }
    }

    /// Says who has this token, at the Unix time `unix`.
    pub(super) fn check(&self, token: &str, unix: u64) -> Result<Identity, Refusal> {
        let invalid = |why: &str| Refusal::Close(CloseReason::TokenInvalid(why.to_owned()));
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| invalid(&words(error.kind())))?
            .claims;
        if claims.exp.is_some_and(|exp| exp <= unix) {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > unix) {
            return Err(invalid("it counts only from a later time on (nbf)"));
        }
        let mut rooms = claims.channels;
        rooms.extend(claims.subs.into_keys());
        rooms.sort_unstable();
        rooms.dedup();
        Ok(Identity {
            user: claims.sub.into(),
            rooms,
            expires: claims.exp,
            info: claims.info.as_deref().map(Payload::from_json),
        })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(HS256)")
    }
}

/// What is wrong with a token, in words for whoever made it.
fn words(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidToken => "it is no JSON Web Token".into(),
        ErrorKind::InvalidSignature => "the signature does not match auth.jwt_secret".into(),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "its algorithm is not HS256".into(),
        ErrorKind::InvalidAudience => "its aud is not auth.jwt_audience".into(),
        ErrorKind::InvalidIssuer => "its iss is not auth.jwt_issuer".into(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no {claim}"),
        ErrorKind::Json(error) => format!("its claims can not be read: {error}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::EncodingKey;
    use jsonwebtoken::Header;
    use serde_json::json;
    use std::time::Duration;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn verifier(audience: Option<&str>) -> Verifier {
        let config = config::Auth {
            mode: config::AuthMode::Jwt,
            api_url: None,
            api_timeout: Duration::from_secs(1),
            api_concurrency: 1,
            jwt_secret: None,
            jwt_audience: audience.map(ToOwned::to_owned),
            jwt_issuer: None,
            insecure: false,
            keys: Vec::new(),
        };
        Verifier::new(&Secret::new(SECRET.to_owned()), &config)
    }

    fn token(algorithm: Algorithm, secret: &str, claims: &serde_json::Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn refused(token: &str) -> String {
        match verifier(None).check(token, 1000) {
            Err(Refusal::Close(CloseReason::TokenInvalid(why))) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_claims_name_user_rooms_and_expiry() {
        let claims = json!({"sub":"u1","exp":1060,"channels":["b"],"subs":{"a":{}},"info":{"name":"U"}});
        let identity = verifier(None).check(&token(Algorithm::HS256, SECRET, &claims), 1000).unwrap();
        assert_eq!(&*identity.user, "u1");
        assert_eq!(identity.rooms, ["a", "b"]);
        assert_eq!(identity.expires, Some(1060));
        assert_eq!(identity.info.unwrap().json(), r#"{"name":"U"}"#);
    }

    #[test]
    fn an_expired_token_is_told_apart_from_a_bad_one() {
        let expired = token(Algorithm::HS256, SECRET, &json!({"sub":"u1","exp":1000}));
        assert!(matches!(verifier(None).check(&expired, 1000), Err(Refusal::Expired)));
        assert!(verifier(None).check(&expired, 999).is_ok());
    }

    #[test]
    fn bad_tokens_are_refused_with_the_reason() {
        let claims = json!({"sub":"u1"});
        assert_eq!(refused("nonsense"), "it is no JSON Web Token");
        assert_eq!(
            refused(&token(Algorithm::HS256, "another secret", &claims)),
            "the signature does not match auth.jwt_secret"
        );
        assert_eq!(refused(&token(Algorithm::HS512, SECRET, &claims)), "its algorithm is not HS256");
        let later = token(Algorithm::HS256, SECRET, &json!({"sub":"u1","nbf":1001}));
        assert_eq!(refused(&later), "it counts only from a later time on (nbf)");
        let numbers = token(Algorithm::HS256, SECRET, &json!({"sub":7}));
        assert!(refused(&numbers).starts_with("its claims can not be read: invalid type"));
        assert!(refused("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9.").starts_with("its "));
    }

    #[test]
    fn the_audience_must_match_when_it_is_configured() {
        let with = |aud: serde_json::Value| token(Algorithm::HS256, SECRET, &json!({"sub":"u","aud":aud}));
        assert!(verifier(Some("pillion")).check(&with("pillion".into()), 1).is_ok());
        assert!(verifier(Some("pillion")).check(&with("other".into()), 1).is_err());
        assert!(verifier(Some("pillion")).check(&token(Algorithm::HS256, SECRET, &json!({})), 1).is_err());
        assert!(verifier(None).check(&with("other".into()), 1).is_ok());
    }
}
