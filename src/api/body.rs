//! The bodies of requests: of limited length, within a limited time, and within one budget of memory for all.
//!
//! Limits: `limits.body` bytes each, `limits.body_timeout` from the head to the last byte, and [`BUDGET`] bytes for all
//! bodies that are read or worked on at the same time; more wait for room, which counts as their own time.

use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Limited;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;

use crate::config::Limits;

/// The bytes of all bodies at the same time.
const BUDGET: usize = 64 << 20;

/// What the budget is counted in, in bytes.
const UNIT: usize = 1024;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It is too long.
    #[error("the body is longer than {limit} bytes (limits.body)")]
    TooLong {
        /// The most.
        limit: usize,
    },
    /// It took too long.
    #[error("the body was not complete within {0:?} (limits.body_timeout)")]
    TooSlow(Duration),
    /// It broke off.
    #[error("the body broke off: {0}")]
    Broken(String),
}

impl Error {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Room in memory for bodies.
#[derive(Debug)]
pub struct Bodies {
    room: Semaphore,
}

/// A body, and its part of the budget.
#[derive(Debug)]
pub(super) struct Body<'a> {
    bytes: Bytes,
    _room: SemaphorePermit<'a>,
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// Room for `BUDGET` bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { room: Semaphore::new(BUDGET / UNIT) }
    }

    /// Reads a whole body.
    pub(super) async fn read(&self, body: Incoming, limits: &Limits) -> Result<Body<'_>, Error> {
        let most = limits.body;
        // What is announced as too long is not read at all; what is not announced may be as long as is allowed.
        let size = body.size_hint().exact().map_or(most, |size| usize::try_from(size).unwrap_or(usize::MAX));
        if size > most {
            return Err(Error::TooLong { limit: most });
        }
        let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let reading = async {
            let room = self.room.acquire_many(units).await.expect("nobody closes the budget");
            match Limited::new(body, most).collect().await {
                Ok(whole) => Ok(Body { bytes: whole.to_bytes(), _room: room }),
                Err(error) => Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => Error::Broken(error.to_string()),
                    // The limit is the only other reason that reading can end for.
                    Err(_) => Error::TooLong { limit: most },
                }),
            }
        };
        let timeout = limits.body_timeout;
        tokio::time::timeout(timeout, reading).await.unwrap_or(Err(Error::TooSlow(timeout)))
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self::new()
    }
}
