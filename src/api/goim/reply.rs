//! The shape of goim's replies: `{"code":0,"message":"","data":...}`.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use hyper::header::RETRY_AFTER;
use serde::Serialize;

use crate::api::access::Refusal;
use crate::api::body;
use crate::api::call::Outcome;
use crate::api::message;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::gateway::RoomError;
use crate::keys::KeyError;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The query is wrong: the original answers that with HTTP 400 and the code -400.
    Query(String),
    /// Something else about the request is wrong: HTTP 200 and the code -400.
    Request(String),
    /// The body could not be taken.
    Body(StatusCode, String),
    /// It failed for a reason that is not the caller's: HTTP 200 and the code -500.
    Server(String),
    /// The key is not good enough.
    Refused(Refusal),
}

impl Fault {
    /// The number in the reply.
    fn code(&self) -> i32 {
        match self {
            Self::Query(_) | Self::Request(_) | Self::Body(..) => -400,
            Self::Server(_) => -500,
            Self::Refused(refusal) => -i32::from(refusal.status().as_u16()),
        }
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) => StatusCode::BAD_REQUEST,
            Self::Body(status, _) => *status,
            Self::Request(_) | Self::Server(_) => StatusCode::OK,
            Self::Refused(refusal) => refusal.status(),
        }
    }

    /// What was wrong.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Query(why) | Self::Request(why) | Self::Body(_, why) | Self::Server(why) => why.clone(),
            Self::Refused(refusal) => refusal.to_string(),
        }
    }

    /// The number for the log.
    pub(super) fn err_code(&self) -> u16 {
        u16::try_from(self.code().unsigned_abs()).unwrap_or(500)
    }

    /// How the call ended, for the metric.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Query(_) | Self::Request(_) | Self::Body(..) => Outcome::BadRequest,
            Self::Server(_) => Outcome::Failed,
            Self::Refused(Refusal::Key(KeyError::TooMany { .. })) => Outcome::TooMany,
            Self::Refused(_) => Outcome::Refused,
        }
    }
}

impl From<body::Error> for Fault {
    fn from(error: body::Error) -> Self {
        Self::Body(error.status(), error.to_string())
    }
}

impl From<message::Error> for Fault {
    fn from(error: message::Error) -> Self {
        Self::Request(error.to_string())
    }
}

impl From<RoomError> for Fault {
    fn from(error: RoomError) -> Self {
        Self::Server(error.to_string())
    }
}

#[derive(Debug, Serialize)]
struct Reply<'a, T> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

/// It was done; there may be something to say.
pub(super) fn done<T: Serialize>(data: Option<T>) -> Result<Answer, Fault> {
    let text = serde_json::to_string(&Reply { code: 0, message: "", data })
        .map_err(|error| Fault::Server(error.to_string()))?;
    Ok(reply::with(StatusCode::OK, "application/json; charset=utf-8", text))
}

/// It was not done.
pub(super) fn failed(fault: &Fault) -> Answer {
    let message = fault.message();
    let reply = Reply::<()> { code: fault.code(), message: &message, data: None };
    let text = serde_json::to_string(&reply).unwrap_or_default();
    let mut answer = reply::with(fault.status(), "application/json; charset=utf-8", text);
    if let Fault::Refused(refusal) = fault
        && let Some(seconds) = refusal.retry_after()
    {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}
