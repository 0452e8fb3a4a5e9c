//! `presence` and `presence_stats`: who is in a room.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::call::Call;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::gateway::Card;
use crate::wire::payload::Payload;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
}

/// Who a session is.
#[derive(Debug, Serialize)]
pub(super) struct ClientInfo {
    /// Its user.
    user: String,
    /// The session.
    client: String,
    /// What the login says about the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    /// What a subscription token says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

impl ClientInfo {
    /// A session, and what a subscription token says about it.
    pub(super) fn of(card: &Card, info: Option<&Payload>) -> Result<Self, Fault> {
        Ok(Self {
            user: card.user.to_string(),
            client: card.session.to_string(),
            conn_info: card.info.as_ref().map(raw).transpose()?,
            chan_info: info.map(raw).transpose()?,
        })
    }
}

/// A payload as JSON.
pub(super) fn raw(payload: &Payload) -> Result<Box<RawValue>, Fault> {
    RawValue::from_string(payload.json().into_owned())
        .map_err(|error| Fault::Internal(format!("a payload is no JSON: {error}")))
}

/// All sessions of a room, by their ids.
#[derive(Debug, Serialize)]
pub(super) struct PresenceResult {
    presence: BTreeMap<String, ClientInfo>,
}

/// How many there are.
#[derive(Debug, Serialize)]
pub(super) struct StatsResult {
    num_clients: usize,
    num_users: usize,
}

/// Who is in a room.
pub(super) async fn presence(call: &Call<'_>, params: &[u8]) -> Result<PresenceResult, Fault> {
    let Request { channel } = read(params)?;
    call.check_room(&channel).map_err(Fault::BadRequest)?;
    let present = call.means.gateway.presence(&channel).await?;
    let named = present.iter().map(|present| {
        let info = ClientInfo::of(&present.card, present.info.as_deref())?;
        Ok((info.client.clone(), info))
    });
    Ok(PresenceResult { presence: named.collect::<Result<_, Fault>>()? })
}

/// How many are in a room.
pub(super) async fn stats(call: &Call<'_>, params: &[u8]) -> Result<StatsResult, Fault> {
    let Request { channel } = read(params)?;
    call.check_room(&channel).map_err(Fault::BadRequest)?;
    let (num_clients, num_users) = call.means.gateway.presence_stats(&channel).await?;
    Ok(StatsResult { num_clients, num_users })
}
