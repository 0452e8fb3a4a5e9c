//! What an API call answers when it was not done: the numbers and words of the original.

use hyper::StatusCode;

use crate::api::access::Refusal;
use crate::api::call::Outcome;
use crate::api::message;
use crate::gateway::RoomError;
use crate::keys::KeyError;

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something failed that is not the caller's fault; another try may succeed.
    Internal(String),
    /// The key may not do this.
    Denied(String),
    /// There is no such method.
    NotFound(String),
    /// The parameters are no JSON, or not of the right types.
    Malformed(String),
    /// A parameter is missing or wrong.
    BadRequest(String),
    /// The room's namespace does not have this.
    NotAvailable(String),
    /// The key was used too often.
    TooMany(String),
    /// The history does not reach back that far.
    Unrecoverable,
}

impl Fault {
    /// The number.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Internal(_) => 100,
            Self::Denied(_) => 103,
            Self::NotFound(_) => 104,
            Self::Malformed(_) | Self::BadRequest(_) => 107,
            Self::NotAvailable(_) => 108,
            Self::TooMany(_) => 111,
            Self::Unrecoverable => 112,
        }
    }

    /// The original's words, and what is behind them.
    pub(super) fn message(&self) -> String {
        let (words, why) = match self {
            Self::Internal(why) => ("internal server error", why.as_str()),
            Self::Denied(why) => ("permission denied", why.as_str()),
            Self::NotFound(why) => ("not found", why.as_str()),
            Self::Malformed(why) | Self::BadRequest(why) => ("bad request", why.as_str()),
            Self::NotAvailable(why) => ("not available", why.as_str()),
            Self::TooMany(why) => ("too many requests", why.as_str()),
            Self::Unrecoverable => ("unrecoverable position", ""),
        };
        if why.is_empty() { words.to_owned() } else { format!("{words}: {why}") }
    }

    /// The status for callers that ask for one.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Malformed(_) | Self::BadRequest(_) | Self::NotAvailable(_) => StatusCode::BAD_REQUEST,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unrecoverable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// How the call ended, for the metric.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Internal(_) => Outcome::Failed,
            Self::Denied(_) => Outcome::Refused,
            Self::Malformed(_) | Self::BadRequest(_) => Outcome::BadRequest,
            Self::NotFound(_) | Self::NotAvailable(_) | Self::Unrecoverable => Outcome::Unavailable,
            Self::TooMany(_) => Outcome::TooMany,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Key(KeyError::TooMany { .. }) => Self::TooMany(refusal.to_string()),
            Refusal::Key(_) | Refusal::Foreign(_) => Self::Denied(refusal.to_string()),
        }
    }
}

impl From<message::Error> for Fault {
    fn from(error: message::Error) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<RoomError> for Fault {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::NoHistory | RoomError::NoPresence | RoomError::Recall(_) => {
                Self::NotAvailable(error.to_string())
            }
            RoomError::UnknownPosition => Self::Unrecoverable,
            RoomError::Busy | RoomError::Store(_) | RoomError::Stopping => Self::Internal(error.to_string()),
        }
    }
}
