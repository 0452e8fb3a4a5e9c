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

/// The page.
pub(super) fn trial() -> Answer {
    page("text/html; charset=utf-8", include_str!("../../web/trial/index.html"))
}

/// Its script.
pub(super) fn script() -> Answer {
    page("text/javascript; charset=utf-8", include_str!("../../web/trial/trial.js"))
}

/// Its style.
pub(super) fn style() -> Answer {
    page("text/css; charset=utf-8", include_str!("../../web/trial/trial.css"))
}

fn page(content_type: &'static str, body: &'static str) -> Answer {
    let mut answer = reply::with(StatusCode::OK, content_type, body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}
