//! The shape of answers: JSON, and one place that turns errors into statuses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::SizeHint;
use hyper::header::ALLOW;
use hyper::header::CACHE_CONTROL;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncRead as _;
use tokio::io::ReadBuf;

use crate::api::tail::Live;
use crate::net::PipeReader;

/// An answer to a request.
pub(super) type Answer = Response<Content>;

/// What an answer consists of.
pub(super) enum Content {
    /// A text of known length.
    Whole(Full<Bytes>),
    /// Lines that come as they are written.
    Live(Live),
    /// What a session writes.
    Stream(PipeReader),
    /// A file, read as it is sent.
    File(Reading),
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(text) => Pin::new(text).poll_frame(context),
            Self::Live(lines) => lines.poll_piece(context).map(|piece| Some(Ok(Frame::data(piece?)))),
            Self::Stream(pipe) => pipe.poll_piece(context).map(|piece| Some(Ok(Frame::data(piece?)))),
            Self::File(reading) => reading.poll_piece(context).map(|piece| Some(Ok(Frame::data(piece?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(text) => text.is_end_stream(),
            Self::Live(_) | Self::Stream(_) | Self::File(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => text.size_hint(),
            Self::Live(_) | Self::Stream(_) => SizeHint::default(),
            Self::File(reading) => SizeHint::with_exact(reading.left),
        }
    }
}

/// An answer with a body of a type.
pub(super) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    of(status, content_type, Content::Whole(Full::new(body.into())))
}

/// A file on its way to a client.
pub(super) struct Reading {
    file: File,
    left: u64,
}

/// The most bytes that are read of a file at once.
const PIECE: usize = 64 * 1024;

impl Reading {
    /// The next piece; none at the end, and where the file can not be read: the client sees that it is too short.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let most = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        if most == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; most];
        let mut buffer = ReadBuf::new(&mut piece);
        let read = Pin::new(&mut self.file).poll_read(context, &mut buffer);
        if read.is_pending() {
            return Poll::Pending;
        }
        let filled = buffer.filled().len();
        piece.truncate(filled);
        self.left = self.left.saturating_sub(filled as u64);
        Poll::Ready(Some(Bytes::from(piece)).filter(|piece| !piece.is_empty()))
    }
}

/// An answer that is a file of a length.
pub(super) fn file(file: File, length: u64) -> Answer {
    of(StatusCode::OK, "application/octet-stream", Content::File(Reading { file, left: length }))
}

/// An answer that goes on as long as there are lines, one JSON object each.
pub(super) fn live(lines: Live) -> Answer {
    of(StatusCode::OK, "application/x-ndjson", Content::Live(lines))
}

/// An answer that goes on as long as its session.
pub(super) fn stream(content_type: &'static str, pipe: PipeReader) -> Answer {
    of(StatusCode::OK, content_type, Content::Stream(pipe))
}

fn of(status: StatusCode, content_type: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
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
