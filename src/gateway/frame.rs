//! A frame on its way to clients: bytes that all receivers share, and where the messages in it come from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Slow;
use crate::gateway::room::receipt::Receipt;

/// A frame on its way to clients.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The bytes, shared by all receivers.
    pub(super) bytes: Bytes,
    /// The messages in it; none for what is no message.
    pub(super) origin: Option<Arc<Origin>>,
}

/// Where the messages in a frame come from, and what may become of them.
#[derive(Debug)]
pub(super) struct Origin {
    /// The room; empty for a message to a user or session.
    pub(super) room: Arc<str>,
    /// When the first of them was published, on the gateway's clock.
    pub(super) at: Duration,
    /// How many there are.
    pub(super) messages: u32,
    /// What happens when a client does not read them.
    pub(super) slow: Slow,
    /// The newest with this key is enough for a slow client.
    pub(super) key: Option<Arc<str>>,
    /// When they are no longer worth sending, on the gateway's clock.
    pub(super) expires: Option<Duration>,
    /// Who wants to know how it went.
    pub(super) receipt: Option<Arc<Receipt>>,
}

impl Frame {
    /// A frame that carries no message.
    pub(super) fn control(bytes: Bytes) -> Self {
        Self { bytes, origin: None }
    }

    /// How many messages it carries.
    pub(super) fn messages(&self) -> usize {
        self.origin.as_ref().map_or(0, |origin| origin.messages())
    }
}

impl Origin {
    /// How many messages there are.
    pub(super) fn messages(&self) -> usize {
        usize::try_from(self.messages).unwrap_or(usize::MAX)
    }

    /// True when it is too late to send them.
    pub(super) fn is_expired(&self, now: Duration) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// How many messages the frames carry.
pub(super) fn messages(frames: &[Frame]) -> usize {
    frames.iter().map(Frame::messages).sum()
}
