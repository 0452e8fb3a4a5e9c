//! The shape of replies: `{"result":{}}`, or `{"error":{"code":107,"message":"bad request"}}`.

use serde::Serialize;

use crate::api::centrifugo::fault::Fault;

/// What stands for a call that was not done.
#[derive(Debug, Serialize)]
pub(super) struct Error {
    code: u16,
    message: String,
}

impl From<&Fault> for Error {
    fn from(fault: &Fault) -> Self {
        Self { code: fault.code(), message: fault.message() }
    }
}

/// The reply to one call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply<T> {
    /// It was done.
    Result(T),
    /// It was not.
    Error(Error),
}

impl<T> From<Result<T, Fault>> for Reply<T> {
    fn from(done: Result<T, Fault>) -> Self {
        match done {
            Ok(result) => Self::Result(result),
            Err(fault) => Self::Error(Error::from(&fault)),
        }
    }
}

/// A result without members.
#[derive(Debug, Serialize)]
pub(super) struct Empty {}
