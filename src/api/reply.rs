//! The shape of answers: JSON, and one place that turns errors into statuses.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::StatusCode;
use hyper::header::ALLOW;
use hyper::header::CACHE_CONTROL;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use serde_json::Value;

/// An answer to a request.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer with a body of a type.
pub(super) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer that is JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    with(status, "application/json", format!("{value}\n"))
}

/// An answer that says what was wrong and what would be right.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    json(status, &serde_json::json!({ "code": status.as_u16(), "message": message }))
}

/// Nothing is at this path.
pub(super) fn not_found(path: &str) -> Answer {
    error(StatusCode::NOT_FOUND, &format!("nothing is at {path}"))
}

/// The path is right, the method is not.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allowed}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
