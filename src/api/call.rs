//! One call of a server API: who calls, what becomes of it, and that both are on record and counted.

use hyper::http::request::Parts;

use crate::api::Means;
use crate::api::access::Access;
use crate::api::client::Client;
use crate::ids::MessageId;
use crate::ids::SessionId;
use crate::metrics::ByCall;
use crate::trail::Subject;

/// How a call ended, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// It was wrong in itself.
    BadRequest,
    /// The key was not good enough.
    Refused,
    /// The key was used too often.
    TooMany,
    /// What it asked for is not there, or not turned on.
    Unavailable,
    /// It failed for a reason that is not the caller's.
    Failed,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::BadRequest => "bad_request",
            Self::Refused => "refused",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// A request to a server API, without its body.
pub(super) struct Call<'a> {
    /// What it works with.
    pub(super) means: &'a Means,
    /// Who sends it.
    pub(super) client: &'a Client,
    /// Its head.
    pub(super) head: &'a Parts,
    /// What it shows.
    pub(super) access: Access,
}

impl<'a> Call<'a> {
    /// A call as it comes in.
    pub(super) fn new(means: &'a Means, client: &'a Client, head: &'a Parts) -> Self {
        Self { means, client, head, access: Access::of(head) }
    }

    /// Counts how a call of an endpoint ended.
    pub(super) fn count(&self, endpoint: &'static str, outcome: Outcome) {
        let labels = ByCall { endpoint, outcome: outcome.name() };
        self.means.metrics.api_calls.get_or_create(&labels).inc();
    }

    /// Counts a call that was not done, and writes down why.
    pub(super) fn refuse(&self, endpoint: &'static str, outcome: Outcome, (code, why): (u16, &str)) {
        self.count(endpoint, outcome);
        self.means.trail.web_err(&self.client.subject(), code, &format!("{endpoint}: {why}"));
    }

    /// Is there a name, and is it one for a room?
    pub(super) fn check_room(&self, room: &str) -> Result<(), String> {
        if room.is_empty() {
            return Err("channel is missing".to_owned());
        }
        self.means.gateway.check_room(room)
    }

    /// Writes down that a message was published into a room.
    pub(super) fn published(&self, by: &str, room: &str, message: MessageId, bytes: usize) {
        let desc = format!("{bytes} bytes from the key {by}");
        self.means.trail.room_msg(&self.client.subject(), room, message, &desc);
    }

    /// Writes down that a message was sent to a user, a session, or all.
    pub(super) fn sent(&self, (user, session): (Option<&str>, Option<&str>), message: &str, desc: &str) {
        let session_id = session.and_then(SessionId::parse);
        let subject = Subject { user_id: user, session_id: session_id.as_ref(), ..self.client.subject() };
        self.means.trail.api_sent(&subject, message, desc);
    }

    /// Writes down what was done to sessions, or to a room.
    pub(super) fn managed(
        &self,
        (user, session): (Option<&str>, Option<&str>),
        room: Option<&str>,
        desc: &str,
    ) {
        let session_id = session.and_then(SessionId::parse);
        let subject = Subject { user_id: user, session_id: session_id.as_ref(), ..self.client.subject() };
        self.means.trail.api_managed(&subject, room, desc);
    }
}
