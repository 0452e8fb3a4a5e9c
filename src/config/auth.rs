//! `[auth]`: who clients are, and what each way of finding out needs.

use std::io;
use std::path::Path;

use http::Uri;

use super::keys;
use super::read::Reader;
use super::secret;
use super::secret::Secret;
use super::settings::Auth;
use super::settings::AuthMode;
use super::settings::Config;
use crate::units::Bare;

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
        api_url: api_url(read),
        api_timeout: read.duration("auth.api_timeout", Bare::Seconds, "would leave no time for an answer"),
        api_concurrency: read.amount("auth.api_concurrency", 1..=65_536),
        jwt_secret: jwt_secret(read, insecure, read_secret),
        jwt_audience: read.optional_text("auth.jwt_audience"),
        jwt_issuer: read.optional_text("auth.jwt_issuer"),
        insecure,
        keys: keys::keys(read, insecure, read_secret),
    }
}

fn api_url(read: Reader<'_>) -> Option<String> {
    let text = read.optional_text("auth.api_url")?;
    if !is_http_url(&text) {
        let guess = format!("http://{text}");
        let remedy = if !text.contains("://") && is_http_url(&guess) {
            format!("did you mean \"{guess}\"?")
        } else {
            "write it such as \"http://127.0.0.1:9000/login\"".to_owned()
        };
        read.wrong("auth.api_url", format!("\"{text}\" is no http:// or https:// URL"), remedy);
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
        let problem = format!("{user} needs \"jwt_secret\" or \"jwt_secret_file\", to check tokens");
        let keys = &[key, "auth.jwt_secret", "auth.jwt_secret_file"];
        read.relation(keys, auth.jwt_secret.is_some(), problem, "write one of them under [auth]");
    }
    let api_keys = ["auth.api_url", "auth.api_timeout", "auth.api_concurrency"];
    let jwt_keys = ["auth.jwt_secret", "auth.jwt_secret_file", "auth.jwt_audience", "auth.jwt_issuer"];
    let unused = [(AuthMode::Api, "api", &api_keys[..]), (AuthMode::Jwt, "jwt", &jwt_keys[..])];
    for (_, word, keys) in unused.into_iter().filter(|(mode, ..)| known && !used(*mode)) {
        for key in keys.iter().filter(|key| read.is_changed(key)) {
            read.notice(
                key,
                &format!("without effect, because neither mode nor a route's auth is \"{word}\""),
            );
        }
    }
}
