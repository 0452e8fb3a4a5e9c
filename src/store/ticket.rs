//! The ticket for a batch that was handed in.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::sync::oneshot;

use super::Error;

/// Resolves when its batch was made, or will not be.
///
/// When it is dropped, the batch is made all the same.
#[derive(Debug)]
#[must_use = "a batch is only known to be made when its ticket resolves"]
pub struct Ticket {
    answered: oneshot::Receiver<Result<(), Error>>,
}

impl Ticket {
    pub(super) const fn new(answered: oneshot::Receiver<Result<(), Error>>) -> Self {
        Self { answered }
    }
}

impl Future for Ticket {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered).poll(context).map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}
