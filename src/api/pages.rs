//! The trial page, built into the binary; served only where `auth.insecure` lets anybody in.

use hyper::StatusCode;
use hyper::header::CONTENT_SECURITY_POLICY;
use hyper::header::HeaderValue;
use hyper::header::REFERRER_POLICY;
use hyper::header::X_CONTENT_TYPE_OPTIONS;

use crate::api::reply;
use crate::api::reply::Answer;

/// What the page may do: load its own script and style, and connect to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page is made of: path, type, content.
const PAGES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("../../web/trial/index.html")),
    ("/trial/trial.js", "text/javascript; charset=utf-8", include_str!("../../web/trial/trial.js")),
    ("/trial/trial.css", "text/css; charset=utf-8", include_str!("../../web/trial/trial.css")),
];

/// The part of the page at a path.
pub(super) fn at(path: &str) -> Option<Answer> {
    let (_, content_type, body) = PAGES.iter().find(|(at, ..)| *at == path)?;
    let mut answer = reply::with(StatusCode::OK, content_type, *body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BUILT_IN_PATHS;

    #[test]
    fn no_route_of_the_configuration_can_hide_a_page() {
        for (path, ..) in PAGES {
            let reserved = |built_in: &&str| {
                *built_in == path
                    || (built_in.len() > 1 && built_in.ends_with('/') && path.starts_with(built_in))
            };
            assert!(BUILT_IN_PATHS.iter().any(reserved), "{path}");
        }
        assert!(at("/nothing").is_none());
    }
}
