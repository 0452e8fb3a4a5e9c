//! Who may connect: from which pages, and how often. What is refused is answered, and has words for the log.

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::header::ORIGIN;
use hyper::header::RETRY_AFTER;

use crate::api::Means;
use crate::api::client::Client;
use crate::api::reply;
use crate::api::reply::Answer;

/// Tells nginx the session, for its access log; nginx does not pass it on to the client.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// Why a connection is refused: the answer, and the words for the log.
pub(super) type Refused = Box<(Answer, String)>;

/// Refuses, with the same words for both.
pub(super) fn refuse(status: StatusCode, why: &str) -> Refused {
    Box::new((reply::error(status, why), why.to_owned()))
}

/// Refuses a method, and says which ones would do.
pub(super) fn refuse_method(method: &hyper::Method, allowed: &'static str) -> Refused {
    Box::new((reply::method_not_allowed(allowed), format!("{method} instead of {allowed}")))
}

/// Lets pages in that the configuration names.
pub(super) fn check_origin(means: &Means, headers: &HeaderMap) -> Result<(), Refused> {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let Some(origin) = origin.filter(|origin| !means.gateway.allows_origin(origin)) else { return Ok(()) };
    let why = format!("the origin {origin:?} is not among gateway.allowed_origins");
    Err(refuse(StatusCode::FORBIDDEN, &why))
}

/// Lets a client in that does not connect more often than `limits.connect_rate`.
pub(super) fn admit(means: &Means, client: &Client) -> Result<(), Refused> {
    let Err(wait) = means.gateway.admit(client.address) else { return Ok(()) };
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let why = format!("too many connects from this address; try again in {seconds} s");
    let mut refused = refuse(StatusCode::TOO_MANY_REQUESTS, &why);
    if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
        refused.0.headers_mut().insert(RETRY_AFTER, seconds);
    }
    Err(refused)
}
