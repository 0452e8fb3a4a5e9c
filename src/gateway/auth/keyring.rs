//! The keys that signatures are checked with, and which of them may check which token.
//!
//! A key is only ever used with algorithms of its own kind: the public half of an RSA key is no HMAC secret, whatever
//! the header of a token says.

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::AlgorithmParameters;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::jwk::PublicKeyUse;

use crate::config;
use crate::config::KeyKind;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// One key.
pub(super) struct VerifyKey {
    /// The name that tokens call it by.
    pub(super) id: Option<String>,
    /// What it may be used with.
    algorithms: Vec<Algorithm>,
    /// The key.
    pub(super) key: DecodingKey,
}

impl VerifyKey {
    /// The secret of a configuration.
    pub(super) fn secret(secret: &config::Secret) -> Self {
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Self { id: None, algorithms: HMAC.to_vec(), key }
    }

    /// The public key of a configuration, which was looked at when that was read.
    pub(super) fn public(public: &config::PublicKey) -> Result<Self, jsonwebtoken::errors::Error> {
        let pem = public.pem.as_bytes();
        let key = match public.kind {
            KeyKind::Rsa => DecodingKey::from_rsa_pem(pem),
            KeyKind::P256 | KeyKind::P384 => DecodingKey::from_ec_pem(pem),
            KeyKind::Ed25519 => DecodingKey::from_ed_pem(pem),
        };
        Ok(Self { id: None, algorithms: algorithms(public.kind).to_vec(), key: key? })
    }

    /// A key of a JSON Web Key Set; `None` when it is none that can check a signature here.
    pub(super) fn of_set(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => KeyKind::Rsa,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => KeyKind::P256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => KeyKind::P384,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => KeyKind::Ed25519,
            // A secret that is published is none.
            _ => return None,
        };
        let mut algorithms = algorithms(kind).to_vec();
        if let Some(named) = common.key_algorithm {
            algorithms.retain(|algorithm| Algorithm::try_from(named).is_ok_and(|named| named == *algorithm));
        }
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| !algorithms.is_empty())?;
        Some(Self { id: common.key_id.clone(), algorithms, key })
    }

    /// True if the key may check a token with this algorithm in its header.
    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The algorithms in words, for whoever made the token.
    pub(super) fn words(&self) -> String {
        let names: Vec<String> = self.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        names.join(", ")
    }
}

fn algorithms(kind: KeyKind) -> &'static [Algorithm] {
    match kind {
        KeyKind::Rsa => RSA,
        KeyKind::P256 => &[Algorithm::ES256],
        KeyKind::P384 => &[Algorithm::ES384],
        KeyKind::Ed25519 => &[Algorithm::EdDSA],
    }
}

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyKey").field("id", &self.id).field("algorithms", &self.algorithms).finish()
    }
}
