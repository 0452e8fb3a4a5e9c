//! `/tail`: the log as it is written, one record a line, as long as the client stays.
//!
//! Limits: see [`crate::tap`]. A piece of the answer has at most [`PIECE`] bytes, so that a slow client holds one of
//! them besides its queue. The answer ends when the daemon is asked to stop, after what waits by then.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use hyper::StatusCode;

use crate::api::Means;
use crate::api::query;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::filter;
use crate::filter::Filter;
use crate::filter::Terms;
use crate::tap::Watcher;
use crate::tap::Wish;

/// The longest piece that is handed to the connection at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Why a request can not be met.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Filter(#[from] filter::Error),
    #[error(
        "\"{0}\" is no parameter of /tail; there are room, user, session, action, level, where, lines and follow"
    )]
    Unknown(String),
    #[error("lines is \"{0}\"; it should be a number: how many of the last lines come first")]
    Lines(String),
    #[error("follow is \"{0}\"; it should be yes or no: whether new lines follow")]
    Follow(String),
}

/// Streams the records that the query asks for.
pub(super) fn tail(means: &Means, query: &str) -> Answer {
    let wish = match wish(query) {
        Ok(wish) => wish,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match means.trail.tap().watch(wish) {
        Ok(watcher) => {
            let tasks = means.tasks.clone();
            let stopping = Box::pin(async move { tasks.stopping().await });
            reply::live(Live { watcher, stopping: Some(stopping), piece: Bytes::new() })
        }
        Err(error) => reply::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// What a query asks for: everything that comes, unless it says otherwise.
fn wish(query: &str) -> Result<Wish, Error> {
    let (mut terms, mut last, mut follow) = (Terms::default(), 0, true);
    for (name, value) in query::pairs(query) {
        match (name, value.as_str()) {
            ("lines", _) => last = value.parse().map_err(|_| Error::Lines(value))?,
            ("follow", "yes") => follow = true,
            ("follow", "no") => follow = false,
            ("follow", _) => return Err(Error::Follow(value)),
            _ => terms.add(name, value).map_err(|error| match error {
                filter::Error::Unknown(name) => Error::Unknown(name),
                error => Error::Filter(error),
            })?,
        }
    }
    Ok(Wish { filter: Filter::new(&terms)?, last, follow })
}

/// Lines on their way to a client.
pub(super) struct Live {
    watcher: Watcher,
    /// Resolves when the daemon is asked to stop; gone when it has.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What was taken from the watcher and not handed on yet.
    piece: Bytes,
}

impl Live {
    /// The next bytes, or `None` at the end.
    pub(super) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            self.stopping = None;
            self.watcher.close();
        }
        if self.piece.is_empty() {
            match ready!(self.watcher.poll_piece(context)) {
                Some(piece) => self.piece = piece.into(),
                None => return Poll::Ready(None),
            }
        }
        let size = self.piece.len().min(PIECE);
        Poll::Ready(Some(self.piece.split_to(size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_lines_and_how_many_of_the_last() {
        let read = wish("room=r%201&where=d%3E1&lines=7&follow=no").unwrap();
        assert_eq!((read.last, read.follow), (7, false));
        assert!(read.filter.fits(br#"{"room_id":"r 1","d":2}"#));
        assert!(!read.filter.fits(br#"{"room_id":"r 1","d":1}"#));
        let read = wish("").unwrap();
        assert_eq!((read.last, read.follow), (0, true));
    }

    #[test]
    fn a_query_that_can_not_be_met_says_what_would_be_right() {
        for (query, words) in [
            ("rom=1", "\"rom\" is no parameter of /tail; there are room"),
            ("lines=all", "it should be a number"),
            ("follow=maybe", "it should be yes or no"),
            ("level=loud", "there are error, warn"),
            ("where=a%3D%3D1", "column 2"),
        ] {
            let error = wish(query).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
