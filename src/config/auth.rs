//! `[auth]`: who clients are, and what each way of finding out needs.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::Uri;

use super::keys;
use super::public_key;
use super::read::Reader;
use super::read::SIZE_MAX;
use super::secret;
use super::secret::Secret;
use super::settings::Auth;
use super::settings::AuthMode;
use super::settings::Config;
use crate::units::Bare;

/// What only the business API needs.
const API_KEYS: &[&str] = &[
    "auth.api_url",
    "auth.api_concurrency",
    "auth.api_failures",
    "auth.api_cache",
    "auth.api_stale",
    "auth.api_cache_size",
];

/// The ways to the keys that tokens are checked with.
const JWT_KEYS: &[&str] = &[
    "auth.jwt_secret",
    "auth.jwt_secret_file",
    "auth.jwt_public_key",
    "auth.jwt_public_key_file",
    "auth.jwks_url",
];

/// The words for [`AuthMode`].
pub(super) const MODES: &[(&str, AuthMode)] =
    &[("none", AuthMode::None), ("api", AuthMode::Api), ("jwt", AuthMode::Jwt)];

/// The least length of an HS256 secret in bytes: that of the hash. A shorter one can be guessed.
const SECRET_MIN: usize = 32;

/// The section. The file of the secret is read with `read_secret`.
pub(super) fn auth(read: Reader<'_>, read_secret: &dyn Fn(&Path) -> io::Result<String>) -> Auth {
    let insecure = read.switch("auth.insecure");
    Auth {
        mode: read.word("auth.mode", MODES).unwrap_or(AuthMode::None),
        api_url: url(read, "auth.api_url", "http://127.0.0.1:9000/login"),
        api_timeout: read.duration("auth.api_timeout", Bare::Seconds, "would leave no time for an answer"),
        api_concurrency: read.amount("auth.api_concurrency", 1..=65_536),
        api_failures: u32::try_from(read.count("auth.api_failures", 1..=1000)).unwrap_or_default(),
        api_cache: optional_duration(read, "auth.api_cache"),
        api_stale: optional_duration(read, "auth.api_stale"),
        api_cache_size: read.size("auth.api_cache_size", 64 << 10..=SIZE_MAX),
        jwt_secret: jwt_secret(read, insecure, read_secret),
        jwt_public_key: public_key::public_key(read, read_secret),
        jwks_url: jwks_url(read),
        jwks_refresh: read.duration(
            "auth.jwks_refresh",
            Bare::Seconds,
            "would read the keys without a pause",
        ),
        jwks_pause: read.duration(
            "auth.jwks_pause",
            Bare::Seconds,
            "would let every bad token read the keys",
        ),
        jwt_audience: read.optional_text("auth.jwt_audience"),
        jwt_issuer: read.optional_text("auth.jwt_issuer"),
        insecure,
        keys: keys::keys(read, insecure, read_secret),
    }
}

/// A duration that can be off.
fn optional_duration(read: Reader<'_>, key: &str) -> Option<Duration> {
    (!read.is_off(key)).then(|| read.duration(key, Bare::Seconds, "is written \"off\""))
}

fn url(read: Reader<'_>, key: &str, example: &str) -> Option<String> {
    let text = read.optional_text(key)?;
    if !is_http_url(&text) {
        let guess = format!("http://{text}");
        let remedy = if !text.contains("://") && is_http_url(&guess) {
            format!("did you mean \"{guess}\"?")
        } else {
            format!("write it such as \"{example}\"")
        };
        read.wrong(key, format!("\"{text}\" is no http:// or https:// URL"), remedy);
    }
    Some(text)
}

/// Keys that come unprotected over a network are not worth much.
fn jwks_url(read: Reader<'_>) -> Option<String> {
    let key = "auth.jwks_url";
    let text = url(read, key, "https://login.example.org/.well-known/jwks.json")?;
    let uri: Option<Uri> = text.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("http"));
    let is_local = |host: &str| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    if uri.is_some_and(|uri| !uri.host().is_some_and(is_local)) {
        read.notice(key, "whoever is between can put in keys of their own; https:// prevents that");
    }
    Some(text)
}

fn is_http_url(text: &str) -> bool {
    let uri: Option<Uri> = text.parse().ok().filter(|_| !text.contains('#'));
    uri.is_some_and(|uri| {
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        web && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn jwt_secret(
    read: Reader<'_>,
    insecure: bool,
    read_secret: &dyn Fn(&Path) -> io::Result<String>,
) -> Option<Secret> {
    let (key, secret) = secret::secret(read, ("auth.jwt_secret", "auth.jwt_secret_file"), read_secret)?;
    if secret.len() < SECRET_MIN && !insecure {
        let problem = format!(
            "the secret has {} bytes, and one below {SECRET_MIN} can be guessed from any token",
            secret.len()
        );
        read.wrong(key, problem, "make one with: openssl rand -base64 48");
    }
    Some(secret)
}

/// Whatever way of logging in is used anywhere must be fully set, and what is not used anywhere is mentioned.
pub(super) fn modes_have_what_they_need(read: Reader<'_>, config: &Config) {
    let auth = &config.auth;
    let routes = || config.gateway.routes.iter();
    let used = |mode| auth.mode == mode || routes().any(|route| route.auth == Some(mode));
    let user = |mode, word: &str| {
        if auth.mode == mode {
            ("auth.mode", format!("mode = \"{word}\""))
        } else {
            ("gateway.route", format!("a route with auth = \"{word}\""))
        }
    };
    let known = read.sound(&["auth.mode", "gateway.route.auth"]);
    if used(AuthMode::Api) {
        let (key, user) = user(AuthMode::Api, "api");
        let problem = format!("{user} needs \"api_url\", to ask it who a client is");
        let remedy = "write api_url = \"http://...\" under [auth]";
        read.relation(&[key, "auth.api_url"], auth.api_url.is_some(), problem, remedy);
    }
    if used(AuthMode::Jwt) {
        let (key, user) = user(AuthMode::Jwt, "jwt");
        let problem = format!(
            "{user} needs \"jwt_secret\", \"jwt_public_key\" (or a file with one of them) or \"jwks_url\", to check tokens"
        );
        let has_key = auth.jwt_secret.is_some() || auth.jwt_public_key.is_some() || auth.jwks_url.is_some();
        let mut keys = vec![key];
        keys.extend(JWT_KEYS);
        read.relation(&keys, has_key, problem, "write one of them under [auth]");
    }
    let stale_is_longer =
        auth.api_stale.is_none_or(|stale| auth.api_cache.is_none_or(|cache| cache <= stale));
    read.relation(
        &["auth.api_stale", "auth.api_cache"],
        stale_is_longer,
        "\"api_stale\" is below \"api_cache\", so an answer would end while it still counts",
        "raise api_stale or lower api_cache",
    );
    let effect = |key: &str, text: &str| {
        if known && read.is_changed(key) {
            read.notice(key, text);
        }
    };
    if !used(AuthMode::Api) {
        let text = "without effect, because neither mode nor a route's auth is \"api\"";
        API_KEYS.iter().for_each(|key| effect(key, text));
    }
    if !used(AuthMode::Jwt) {
        let text = "for tokens for single rooms only, because neither mode nor a route's auth is \"jwt\"";
        JWT_KEYS.iter().for_each(|key| effect(key, text));
    }
}
