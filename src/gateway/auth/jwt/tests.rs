use super::*;
use crate::config::Secret;
use crate::gateway::CloseReason;
use crate::gateway::auth::Bearer;
use crate::gateway::auth::GrantRefusal;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use futures_util::FutureExt as _;
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// Keys of every kind, made once: RSA keys take their time.
struct Pair {
    public: String,
    signing: EncodingKey,
    algorithms: Vec<Algorithm>,
}

fn pairs() -> [Pair; 4] {
    let pair = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
    let made = |pair: &rcgen::KeyPair,
                signing: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>,
                algorithms: &[Algorithm]| Pair {
        public: pair.public_key_pem(),
        signing: signing(pair.serialize_pem().as_bytes()).unwrap(),
        algorithms: algorithms.to_vec(),
    };
    let rsa = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];
    [
        made(&pair(&rcgen::PKCS_RSA_SHA256), EncodingKey::from_rsa_pem, &rsa),
        made(&pair(&rcgen::PKCS_ECDSA_P256_SHA256), EncodingKey::from_ec_pem, &[Algorithm::ES256]),
        made(&pair(&rcgen::PKCS_ECDSA_P384_SHA384), EncodingKey::from_ec_pem, &[Algorithm::ES384]),
        made(&pair(&rcgen::PKCS_ED25519), EncodingKey::from_ed_pem, &[Algorithm::EdDSA]),
    ]
}

fn verifier(change: impl FnOnce(&mut config::Auth)) -> Verifier {
    let mut config = config::Config::default().auth;
    change(&mut config);
    Verifier::new(&config, &Arc::new(Metrics::new()), &Tasks::new()).unwrap().unwrap()
}

fn with_secret() -> Verifier {
    verifier(|config| config.jwt_secret = Some(Secret::new(SECRET)))
}

/// A verifier with a public key, as the configuration reads it.
fn with_public_key(pem: &str) -> Verifier {
    let arguments = [format!("auth.jwt_public_key={pem}"), "auth.mode=jwt".to_owned()];
    let loaded = config::load(&config::Sources { arguments: &arguments, ..config::Sources::default() });
    verifier(|config| *config = loaded.unwrap().config.auth)
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

fn token(claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

async fn login(claims: &Value, unix: u64) -> Result<Identity, Refusal> {
    with_secret().claims(&token(claims)).await.map_err(|fault| panic!("{fault:?}")).unwrap().identity(unix)
}

async fn fault(verifier: &Verifier, token: &str) -> String {
    match verifier.claims(token).await.err() {
        Some(Fault::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_claims_name_user_rooms_and_expiry() {
    let claims = json!({
        "sub": "u1", "exp": 1060.5, "iat": 900, "jti": "t-7", "channels": ["b", "a", "b"],
        "info": {"name": "U"}, "meta": {"plan": "gold"}
    });
    let identity = login(&claims, 1000).await.unwrap();
    assert_eq!(&*identity.user, "u1");
    assert_eq!(identity.rooms, ["a", "b"]);
    assert_eq!(identity.expires, Some(1060));
    assert_eq!(identity.info.unwrap().json(), r#"{"name":"U"}"#);
    assert_eq!(identity.meta.unwrap().json(), r#"{"plan":"gold"}"#);
    assert_eq!(identity.token_id.as_deref(), Some("t-7"));
    let nobody = login(&json!({}), 1000).await.unwrap();
    assert_eq!((&*nobody.user, nobody.rooms.len(), nobody.expires), ("", 0, None));
}

#[tokio::test]
async fn subs_say_more_about_each_room_and_count_alone() {
    let claims = json!({"sub": "u1", "channels": ["c"], "subs": {
        "a": {"info": {"nick": "x"}, "data": [1], "override": {
            "presence": {"value": true}, "join_leave": {"value": false}, "force_recovery": {"value": true}
        }},
        "b": {"b64info": "eyJrIjoxfQ==", "b64data": "aGVsbG8="},
        "d": {"b64info": "/w=="}
    }});
    let identity = login(&claims, 1000).await.unwrap();
    assert_eq!(identity.rooms, ["a", "b", "d"]);
    let info = |room: &str| identity.grants[room].info.as_ref().map(|info| info.get().to_owned());
    assert_eq!(info("a").as_deref(), Some(r#"{"nick":"x"}"#));
    assert_eq!(info("b").as_deref(), Some(r#"{"k":1}"#), "JSON in Base64 is JSON");
    assert_eq!(info("d").as_deref(), Some(r#""/w==""#), "bytes that are no text stay in Base64");
    assert_eq!(identity.grants["b"].data.as_ref().unwrap().get(), r#""hello""#);
    let overrides = identity.grants["a"].overrides;
    assert_eq!((overrides.presence, overrides.join_leave), (Some(true), Some(false)));
    assert_eq!((overrides.force_recovery, overrides.force_positioning), (Some(true), None));
    assert_eq!(overrides.force_push_join_leave, None);
}

#[tokio::test]
async fn a_token_counts_in_its_time_only() {
    let expired = json!({"sub": "u1", "exp": 1000});
    assert_eq!(login(&expired, 1000).await.unwrap_err(), Refusal::Expired);
    assert!(login(&expired, 999).await.is_ok());
    let later = login(&json!({"nbf": 1001}), 1000).await.unwrap_err();
    let why = "it counts only from a later time on (nbf)".to_owned();
    assert_eq!(later, Refusal::Close(CloseReason::TokenInvalid(why)));
    assert_eq!(login(&json!({"exp": -5}), 1000).await.unwrap_err(), Refusal::Expired);
    assert_eq!(login(&json!({"exp": 1e300}), 1000).await.unwrap().expires, Some(253_402_300_799));
}

#[tokio::test]
async fn expire_at_says_how_long_the_session_may_last() {
    let expires = async |claims: Value| login(&claims, 1000).await.map(|identity| identity.expires);
    assert_eq!(expires(json!({"exp": 1060, "expire_at": 5000})).await, Ok(Some(5000)));
    assert_eq!(expires(json!({"exp": 1060, "expire_at": 0})).await, Ok(None));
    assert_eq!(expires(json!({"exp": 1060, "expire_at": 1000})).await, Err(Refusal::Expired));
    assert_eq!(expires(json!({"exp": 1000, "expire_at": 0})).await, Err(Refusal::Expired));
}

#[tokio::test]
async fn bad_tokens_are_refused_with_the_reason() {
    let verifier = with_secret();
    let claims = json!({"sub": "u1"});
    assert_eq!(fault(&verifier, "nonsense").await, "it is no JSON Web Token");
    assert_eq!(fault(&verifier, "").await, "it is no JSON Web Token");
    let other = sign(Algorithm::HS256, &EncodingKey::from_secret(b"another secret"), &claims);
    assert_eq!(fault(&verifier, &other).await, "its signature does not match the key");
    assert!(
        fault(&verifier, &token(&json!({"sub": 7})))
            .await
            .starts_with("its claims can not be read: invalid type")
    );
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9.";
    assert!(fault(&verifier, none).await.starts_with("its claims can not be read: unknown variant `none`"));
    assert_eq!(fault(&verifier, &"x".repeat(TOKEN_MAX + 1)).await, "it is longer than 65536 bytes");
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["exp".to_owned()]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let asks = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    assert_eq!(fault(&verifier, &asks).await, "its header asks for extensions (crit)");
    let Err(Refusal::Close(CloseReason::TokenInvalid(why))) = login(&json!({"b64info": "%"}), 1).await else {
        panic!("no Base64 was accepted");
    };
    assert!(why.starts_with("its b64info is no Base64"), "{why}");
}

#[tokio::test]
async fn secrets_sign_with_each_length_of_hash() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = sign(algorithm, &EncodingKey::from_secret(SECRET.as_bytes()), &json!({"sub": "u1"}));
        assert!(with_secret().claims(&token).await.is_ok(), "{algorithm:?}");
    }
}

#[tokio::test]
async fn each_kind_of_public_key_checks_its_own_algorithms_and_no_other() {
    let (pairs, strangers, claims) = (pairs(), pairs(), json!({"sub": "u1"}));
    for (index, pair) in pairs.iter().enumerate() {
        let verifier = with_public_key(&pair.public);
        for (other, signer) in pairs.iter().enumerate() {
            for algorithm in &signer.algorithms {
                let checked = verifier.claims(&sign(*algorithm, &signer.signing, &claims)).await;
                assert_eq!(checked.is_ok(), index == other, "{algorithm:?} with key {index}");
            }
        }
        let forged = sign(pair.algorithms[0], &strangers[index].signing, &claims);
        assert_eq!(fault(&verifier, &forged).await, "its signature does not match the key");
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    for pair in pairs() {
        let verifier = with_public_key(&pair.public);
        // What a careless verifier would take for the secret: the text of the public key.
        for secret in [pair.public.as_str(), pair.public.trim()] {
            let forged = sign(
                Algorithm::HS256,
                &EncodingKey::from_secret(secret.as_bytes()),
                &json!({"sub": "admin"}),
            );
            assert!(
                fault(&verifier, &forged)
                    .await
                    .starts_with("its algorithm is HS256; the keys of [auth] take ")
            );
        }
    }
}

#[tokio::test]
async fn a_secret_and_a_public_key_stand_side_by_side() {
    let [_, pair, ..] = pairs();
    let mut verifier = with_public_key(&pair.public);
    verifier.own.insert(0, VerifyKey::secret(&Secret::new(SECRET)));
    assert!(verifier.claims(&token(&json!({}))).await.is_ok());
    assert!(verifier.claims(&sign(Algorithm::ES256, &pair.signing, &json!({}))).await.is_ok());
}

#[tokio::test]
async fn audience_and_issuer_must_match_when_they_are_configured() {
    let verifier = verifier(|config| {
        config.jwt_secret = Some(Secret::new(SECRET));
        config.jwt_audience = Some("pillion".to_owned());
        config.jwt_issuer = Some("login".to_owned());
    });
    let checked = async |claims: Value| verifier.claims(&token(&claims)).await.is_ok();
    assert!(checked(json!({"aud": "pillion", "iss": "login"})).await);
    assert!(checked(json!({"aud": ["other", "pillion"], "iss": "login"})).await);
    assert!(!checked(json!({"aud": "other", "iss": "login"})).await);
    assert!(!checked(json!({"aud": "pillion", "iss": "another"})).await);
    assert_eq!(fault(&verifier, &token(&json!({"iss": "login"}))).await, "it has no aud");
    assert!(with_secret().claims(&token(&json!({"aud": "other"}))).await.is_ok());
}

async fn grant(claims: &Value, unix: u64) -> Result<Option<u64>, GrantRefusal> {
    let bearer = Bearer { user: "u1".into(), session: "s1".to_owned(), room: "r1".to_owned() };
    let claims = with_secret().claims(&token(claims)).await.unwrap_or_else(|fault| panic!("{fault:?}"));
    claims.grant(&bearer, unix).map(|grant| grant.expires)
}

#[tokio::test]
async fn a_subscription_token_is_for_one_user_room_and_perhaps_session() {
    assert_eq!(grant(&json!({"sub": "u1", "channel": "r1", "exp": 1060}), 1000).await, Ok(Some(1060)));
    assert_eq!(
        grant(&json!({"sub": "u1", "channel": "r1", "exp": 1060, "expire_at": 0}), 1000).await,
        Ok(None)
    );
    assert_eq!(grant(&json!({"sub": "u1", "channel": "r1", "client": "s1"}), 1000).await, Ok(None));
    assert_eq!(
        grant(&json!({"sub": "u1", "channel": "r1", "exp": 999}), 1000).await,
        Err(GrantRefusal::Expired)
    );
    let foreign = |why: &str| Err(GrantRefusal::Foreign(why.to_owned()));
    assert_eq!(
        grant(&json!({"sub": "u2", "channel": "r1"}), 1000).await,
        foreign("it is for the user \"u2\"")
    );
    assert_eq!(
        grant(&json!({"sub": "u1", "channel": "r2"}), 1000).await,
        foreign("it is for the room \"r2\"")
    );
    let elsewhere = json!({"sub": "u1", "channel": "r1", "client": "s2"});
    assert_eq!(grant(&elsewhere, 1000).await, foreign("it is for the session \"s2\""));
    let no_room = Err(GrantRefusal::Invalid("it names no room (channel)".to_owned()));
    assert_eq!(grant(&json!({"sub": "u1"}), 1000).await, no_room);
}

#[tokio::test]
async fn a_token_for_a_room_is_no_login() {
    let refused = login(&json!({"sub": "u1", "channel": "r1"}), 1000).await.unwrap_err();
    let why = "it is a token for one room (channel), and no login".to_owned();
    assert_eq!(refused, Refusal::Close(CloseReason::TokenInvalid(why)));
}

/// JSON of any shape under the names of claims.
fn claims() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[a-z/=+]{0,12}".prop_map(Value::from),
        Just(json!({"r": {"override": {"presence": {"value": true}}, "b64info": "eA=="}})),
        Just(json!(["r", "r"])),
        Just(Value::Null),
    ];
    let name = prop::sample::select(vec![
        "sub",
        "exp",
        "nbf",
        "iat",
        "expire_at",
        "jti",
        "aud",
        "iss",
        "channels",
        "subs",
        "info",
        "b64info",
        "meta",
        "channel",
        "client",
        "data",
        "b64data",
        "override",
    ]);
    prop::collection::btree_map(name, value, 0..8).prop_map(|claims| json!(claims))
}

proptest! {
    #[test]
    fn claims_of_any_shape_are_an_identity_or_an_error(claims in claims(), unix in any::<u32>()) {
        let verifier = with_secret();
        let bearer = Bearer { user: "u1".into(), session: "s1".to_owned(), room: "r".to_owned() };
        for is_login in [true, false] {
            let checked = verifier.claims(&token(&claims)).now_or_never();
            if let Some(Ok(claims)) = checked {
                let granted = if is_login {
                    claims.identity(unix.into()).ok().and_then(|identity| identity.expires)
                } else {
                    claims.grant(&bearer, unix.into()).ok().and_then(|grant| grant.expires)
                };
                prop_assert!(granted.is_none_or(|expires| expires > u64::from(unix)));
            }
        }
    }

    #[test]
    fn a_text_that_nobody_signed_is_never_a_token(text in ".{0,80}|[A-Za-z0-9_-]{0,60}(\\.[A-Za-z0-9_-]{0,60}){0,3}") {
        prop_assert!(with_secret().claims(&text).now_or_never().is_some_and(|checked| checked.is_err()));
    }
}
