//! The shape of openresty-im's replies, `{"success","msg"}` with something beside it, and the faults in it.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use hyper::header::RETRY_AFTER;
use serde_json::Value;
use serde_json::json;

use crate::api::access::Refusal;
use crate::api::body;
use crate::api::call::Outcome;
use crate::api::message;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::chat;
use crate::gateway::ChatError;
use crate::gateway::RoomError;
use crate::keys::KeyError;

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// Something about it is wrong: HTTP 200, as the original answers, because its pages read no other status.
    Request(String),
    /// The original's words for that.
    Original(&'static str),
    /// The body could not be taken.
    Body(StatusCode, String),
    /// The key is not good enough.
    Refused(Refusal),
    /// No token, or one that is not good enough.
    Token(StatusCode, String),
    /// Too often: so many seconds until the next time.
    TooOften(u64),
    /// There is nothing of that name.
    Nothing(String),
    /// It may work later.
    Busy(String),
    /// It failed for a reason that is not the caller's.
    Server(String),
}

impl Fault {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::Original(_) => StatusCode::OK,
            Self::Body(status, _) | Self::Token(status, _) => *status,
            Self::Refused(refusal) => refusal.status(),
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Nothing(_) => StatusCode::NOT_FOUND,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Server(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The number for the log.
    pub(super) fn err_code(&self) -> u16 {
        match self {
            Self::Request(_) | Self::Original(_) => 400,
            other => other.status().as_u16(),
        }
    }

    /// What was wrong.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Original(why) => (*why).to_owned(),
            Self::TooOften(seconds) => format!("this often is too often; try again in {seconds} s"),
            Self::Request(why)
            | Self::Body(_, why)
            | Self::Token(_, why)
            | Self::Nothing(why)
            | Self::Busy(why)
            | Self::Server(why) => why.clone(),
            Self::Refused(refusal) => refusal.to_string(),
        }
    }

    /// How the call ended, for the metric.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Request(_) | Self::Original(_) | Self::Body(..) => Outcome::BadRequest,
            Self::TooOften(_) | Self::Refused(Refusal::Key(KeyError::TooMany { .. })) => Outcome::TooMany,
            Self::Refused(_) | Self::Token(..) => Outcome::Refused,
            Self::Nothing(_) => Outcome::Unavailable,
            Self::Busy(_) | Self::Server(_) => Outcome::Failed,
        }
    }

    /// The answer.
    pub(super) fn answer(&self) -> Answer {
        let mut answer = with(self.status(), &json!({ "success": false, "msg": self.message() }));
        let seconds = match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::TooOften(seconds) => Some(*seconds),
            Self::Busy(_) => Some(1),
            _ => None,
        };
        if let Some(seconds) = seconds {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
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

impl From<chat::Error> for Fault {
    fn from(error: chat::Error) -> Self {
        let told = error.to_string();
        match error {
            chat::Error::RoomTaken { .. } | chat::Error::UploadKind => Self::Request(told),
            chat::Error::UploadTooLong { .. } => Self::Body(StatusCode::PAYLOAD_TOO_LARGE, told),
            error if error.retryable() => Self::Busy(told),
            _ => Self::Server(told),
        }
    }
}

impl From<RoomError> for Fault {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Busy => Self::Busy(error.to_string()),
            RoomError::Store(_) | RoomError::Stopping => Self::Server(error.to_string()),
            _ => Self::Request(error.to_string()),
        }
    }
}

impl From<ChatError> for Fault {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Room(error) => error.into(),
            ChatError::Chat(error) => error.into(),
        }
    }
}

/// It was done, in the original's words.
pub(super) fn done(data: Option<Value>) -> Answer {
    let mut reply = json!({ "success": true, "msg": "发送成功." });
    if let (Some(data), Some(members)) = (data, reply.as_object_mut()) {
        members.insert("data".to_owned(), data);
    }
    with(StatusCode::OK, &reply)
}

/// A reply of any shape.
pub(super) fn with(status: StatusCode, reply: &Value) -> Answer {
    reply::with(status, "application/json; charset=utf-8", reply.to_string())
}
