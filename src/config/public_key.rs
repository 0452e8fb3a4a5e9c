//! `auth.jwt_public_key`: a public key in PEM, and what kind it is.

use std::io;
use std::path::Path;

use aws_lc_rs::signature;
use aws_lc_rs::signature::ParsedPublicKey;
use jsonwebtoken::DecodingKey;

use super::read::Reader;
use super::secret;
use super::settings::KeyKind;
use super::settings::PublicKey;

/// The key that stands in the configuration or in the file that it names.
pub(super) fn public_key(
    read: Reader<'_>,
    read_secret: &dyn Fn(&Path) -> io::Result<String>,
) -> Option<PublicKey> {
    let keys = ("auth.jwt_public_key", "auth.jwt_public_key_file");
    let (key, text) = secret::secret(read, keys, read_secret)?;
    let pem = text.expose();
    match kind(pem) {
        Ok(kind) => Some(PublicKey { pem: pem.to_owned(), kind }),
        Err((problem, remedy)) => {
            read.wrong(key, problem, remedy);
            None
        }
    }
}

/// What kind of key it is, or what is wrong and what would be right.
fn kind(pem: &str) -> Result<KeyKind, (&'static str, &'static str)> {
    if pem.contains("PRIVATE KEY") {
        let remedy = "keep it with whoever signs, and take its public half: openssl pkey -pubout";
        return Err(("this is a private key, which would let pillion sign tokens too", remedy));
    }
    if pem.contains("BEGIN CERTIFICATE") {
        return Err(("this is a certificate", "take the key out of it: openssl x509 -pubkey -noout"));
    }
    let bytes = |key: Result<DecodingKey, jsonwebtoken::errors::Error>| {
        key.ok().and_then(|key| key.try_get_as_bytes().map(<[u8]>::to_vec).ok())
    };
    if let Some(point) = bytes(DecodingKey::from_ec_pem(pem.as_bytes())) {
        let p256 = || ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &point);
        let p384 = || ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, &point);
        let kind = p256().map(|_| KeyKind::P256).or_else(|_| p384().map(|_| KeyKind::P384));
        return kind.map_err(|_| ("its curve is neither P-256 nor P-384", "make a key on one of these"));
    }
    if bytes(DecodingKey::from_ed_pem(pem.as_bytes())).is_some_and(|key| key.len() == 32) {
        return Ok(KeyKind::Ed25519);
    }
    match bytes(DecodingKey::from_rsa_pem(pem.as_bytes())) {
        Some(der) if der.len() >= RSA_MIN => Ok(KeyKind::Rsa),
        Some(_) => Err(("the RSA key has less than 2048 bits", "make a larger one")),
        None => Err(("this is no public key in PEM", "it begins with -----BEGIN PUBLIC KEY-----")),
    }
}

/// The modulus of a 2048-bit key, and what is around it at the least.
const RSA_MIN: usize = 256 + 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
        rcgen::KeyPair::generate_for(algorithm).unwrap().public_key_pem()
    }

    #[test]
    fn the_kind_of_a_key_is_seen() {
        assert_eq!(kind(&pem(&rcgen::PKCS_ECDSA_P256_SHA256)), Ok(KeyKind::P256));
        assert_eq!(kind(&pem(&rcgen::PKCS_ECDSA_P384_SHA384)), Ok(KeyKind::P384));
        assert_eq!(kind(&pem(&rcgen::PKCS_ED25519)), Ok(KeyKind::Ed25519));
        assert_eq!(kind(&pem(&rcgen::PKCS_RSA_SHA256)), Ok(KeyKind::Rsa));
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_the_way_out() {
        let private = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        assert!(kind(&private).unwrap_err().0.contains("private key"));
        assert!(kind(&pem(&rcgen::PKCS_ECDSA_P521_SHA512)).unwrap_err().0.contains("neither P-256"));
        assert!(kind("-----BEGIN CERTIFICATE-----").unwrap_err().1.contains("openssl x509"));
        assert!(kind("swordfish").unwrap_err().0.contains("no public key"));
    }
}
