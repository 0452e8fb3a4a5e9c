//! Who may call the server APIs: the key that a request shows, and what it is good for.
//!
//! A key comes as `X-API-Key: KEY`, as `Authorization: apikey KEY`, or as `?api_key=KEY`; the first of them counts.
//! With `auth.insecure` none is needed, but a page of another site is refused: a browser on the trial machine
//! would send its requests too.

use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use hyper::header::HOST;
use hyper::header::ORIGIN;
use hyper::http::request::Parts;

use crate::api::Means;
use crate::api::query;
use crate::clock;
use crate::config::Scope;
use crate::keys::KeyError;

/// Why a request may not do what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The key is not good enough.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A browser sends it for another site.
    #[error("the page of another site ({0:?}) may not call this")]
    Foreign(String),
}

impl Refusal {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Key(KeyError::Missing | KeyError::Unknown) => StatusCode::UNAUTHORIZED,
            Self::Key(KeyError::Scope(_)) | Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::Key(KeyError::TooMany { .. }) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// When another try makes sense, in seconds.
    pub(super) fn retry_after(&self) -> Option<u64> {
        let Self::Key(KeyError::TooMany { retry_after }) = self else { return None };
        Some(retry_after.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX))
    }
}

/// What a key may be good for, except for everything.
const SCOPES: [Scope; 6] =
    [Scope::Publish, Scope::Subscribe, Scope::Disconnect, Scope::Presence, Scope::History, Scope::Info];

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The name of the key.
    pub(super) name: String,
}

/// What a request shows.
#[derive(Debug)]
pub(super) struct Access {
    key: Option<String>,
    /// The site of the page that a browser sends the request for, when it is not this one.
    foreign: Option<String>,
}

impl Access {
    /// Reads what a request shows off its head.
    pub(super) fn of(head: &Parts) -> Self {
        Self { key: key(head), foreign: foreign(head) }
    }

    /// True when it shows a key, whatever it is good for.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// May the request do this? Each time is one use of the key.
    pub(super) fn check(&self, means: &Means, scope: Scope) -> Result<Caller, Refusal> {
        if let Some(origin) = self.foreign.as_ref().filter(|_| means.config.load().auth.insecure) {
            return Err(Refusal::Foreign(origin.clone()));
        }
        let keys = means.keys.load();
        let key = keys.check(self.key.as_deref(), scope, clock::uptime())?;
        Ok(Caller { name: key.name().to_owned() })
    }

    /// May the request do anything at all? For those that say in their body what they want.
    pub(super) fn check_any(&self, means: &Means) -> Result<Caller, Refusal> {
        let mut refusal = Refusal::Key(KeyError::Missing);
        for scope in SCOPES {
            match self.check(means, scope) {
                Err(refused @ Refusal::Key(KeyError::Scope(_))) => refusal = refused,
                decided => return decided,
            }
        }
        Err(refusal)
    }
}

fn key(head: &Parts) -> Option<String> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = text("x-api-key").filter(|key| !key.is_empty()) {
        return Some(key.to_owned());
    }
    let authorization = text(AUTHORIZATION.as_str()).and_then(|value| value.trim().split_once(' '));
    if let Some((_, key)) = authorization.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("apikey")) {
        return Some(key.trim().to_owned());
    }
    let query = head.uri.query().unwrap_or_default();
    query::pairs(query).find(|(name, _)| *name == "api_key").map(|(_, key)| key)
}

fn foreign(head: &Parts) -> Option<String> {
    let origin = head.headers.get(ORIGIN)?.to_str().unwrap_or("unreadable");
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = origin.split_once("://").is_some_and(|(_, site)| site.eq_ignore_ascii_case(host));
    (!own).then(|| origin.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use std::time::Duration;

    fn access(uri: &str, headers: &[(&str, &str)]) -> Access {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Access::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_key_is_found_where_the_original_looks_for_it() {
        for (uri, headers, key) in [
            ("/", &[("x-api-key", "a")][..], Some("a")),
            ("/", &[("authorization", "apikey b")], Some("b")),
            ("/", &[("authorization", "APIKEY  b ")], Some("b")),
            ("/", &[("authorization", "Bearer b")], None),
            ("/?api_key=c%20d", &[], Some("c d")),
            ("/?api_key=c", &[("x-api-key", "a"), ("authorization", "apikey b")], Some("a")),
            ("/?api_key=c", &[("x-api-key", "")], Some("c")),
            ("/", &[], None),
        ] {
            assert_eq!(access(uri, headers).key.as_deref(), key, "{uri} {headers:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_apart() {
        for (origin, foreign) in
            [("http://here:8080", None), ("http://there", Some("http://there")), ("null", Some("null"))]
        {
            let access = access("/", &[("host", "here:8080"), ("origin", origin)]);
            assert_eq!(access.foreign.as_deref(), foreign);
        }
        assert_eq!(access("/", &[("host", "here")]).foreign, None);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let refusal = Refusal::Key(KeyError::TooMany { retry_after: Duration::from_millis(1200) });
        assert_eq!((refusal.status().as_u16(), refusal.retry_after()), (429, Some(2)));
        let refusal = Refusal::Key(KeyError::Missing);
        assert_eq!((refusal.status().as_u16(), refusal.retry_after()), (401, None));
    }
}
