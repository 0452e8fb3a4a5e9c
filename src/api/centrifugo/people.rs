//! `send`, `ban`, `unban` and `bans`: users, whether they are there or not. The original's API has none of these.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::centrifugo::envelope::Empty;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params::any;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::api::message;
use crate::clock;
use crate::gateway::Ban;
use crate::gateway::BanError;
use crate::gateway::Outgoing;

/// The longest reason in bytes: a close frame has no room for more.
const REASON_MAX: usize = 100;

#[derive(Debug, Deserialize)]
struct SendRequest {
    #[serde(default, deserialize_with = "lenient")]
    user: String,
    #[serde(default, deserialize_with = "lenient")]
    client: String,
    #[serde(default, deserialize_with = "any")]
    data: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    b64data: String,
    /// True when it waits for a user who is not there.
    #[serde(default, deserialize_with = "lenient")]
    offline: bool,
    /// Milliseconds after which it is not delivered any longer.
    #[serde(default, deserialize_with = "lenient")]
    ttl: u64,
}

/// What became of a message.
#[derive(Debug, Serialize)]
pub(super) struct SendResult {
    /// Sessions that it was sent to.
    sessions: usize,
    /// True when it waits for the user.
    kept: bool,
}

#[derive(Debug, Deserialize)]
struct BanRequest {
    #[serde(default, deserialize_with = "lenient")]
    user: String,
    /// How long; 0: for ever.
    #[serde(default, deserialize_with = "lenient")]
    seconds: u64,
    #[serde(default, deserialize_with = "lenient")]
    reason: String,
}

/// Who is kept out.
#[derive(Debug, Serialize)]
pub(super) struct BansResult {
    bans: Vec<Banned>,
}

#[derive(Debug, Serialize)]
struct Banned {
    user: String,
    #[serde(flatten)]
    ban: Ban,
}

/// Sends a message to a user or a session.
pub(super) async fn send(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<SendResult, Fault> {
    let request: SendRequest = read(params)?;
    let payload = message::of(call.means, request.data.as_deref(), &request.b64data)?;
    let ttl = Some(Duration::from_millis(request.ttl)).filter(|ttl| !ttl.is_zero());
    let message = Outgoing { ttl, ..Outgoing::new(payload) };
    let gateway = &call.means.gateway;
    let (sessions, kept) = match (request.user.as_str(), request.client.as_str()) {
        ("", "") => return Err(Fault::BadRequest("user is missing, or client for one session".to_owned())),
        ("", client) => (usize::from(gateway.send_to_session(client, &message)), false),
        (user, _) => gateway.send_or_keep(user, &message, request.offline).await?,
    };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (user, session) = (some(&request.user), some(&request.client));
    let what = format!("send to {sessions} sessions, kept: {kept}, by the key {}", caller.name);
    call.managed((user.as_deref(), session.as_deref()), None, &what);
    Ok(SendResult { sessions, kept })
}

/// Keeps a user out.
pub(super) async fn ban(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: BanRequest = read(params)?;
    let user = named(&request)?;
    if request.reason.len() > REASON_MAX {
        return Err(Fault::BadRequest(format!("reason is longer than {REASON_MAX} bytes")));
    }
    let until = (request.seconds > 0).then(|| clock::wall().as_secs().saturating_add(request.seconds));
    let count = call.means.gateway.ban(user, Ban { until, reason: request.reason.clone() }).await?;
    let what = format!("ban, which ends {count} sessions, by the key {}", caller.name);
    call.managed((Some(user), None), None, &what);
    Ok(Empty {})
}

/// Lets a user in again.
pub(super) async fn unban(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: BanRequest = read(params)?;
    let user = named(&request)?;
    call.means.gateway.unban(user).await?;
    call.managed((Some(user), None), None, &format!("unban, by the key {}", caller.name));
    Ok(Empty {})
}

/// Who is kept out.
pub(super) fn bans(call: &Call<'_>) -> BansResult {
    let bans = call.means.gateway.bans().into_iter();
    BansResult { bans: bans.map(|(user, ban)| Banned { user, ban }).collect() }
}

fn named(request: &BanRequest) -> Result<&str, Fault> {
    if request.user.is_empty() {
        return Err(Fault::BadRequest("user is missing".to_owned()));
    }
    Ok(&request.user)
}

impl From<BanError> for Fault {
    fn from(error: BanError) -> Self {
        Self::Internal(error.to_string())
    }
}
