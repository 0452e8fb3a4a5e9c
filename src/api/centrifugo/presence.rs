//! `presence` and `presence_stats`: who is in a room.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::call::Call;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::api::centrifugo::params::required;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
}

/// Who a session is.
#[derive(Debug, Serialize)]
pub(super) struct ClientInfo {
    /// Its user.
    pub(super) user: String,
    /// The session.
    pub(super) client: String,
    /// What the login says about the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conn_info: Option<Box<RawValue>>,
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
    required("channel", &channel)?;
    let cards = call.means.gateway.presence(&channel).await?;
    let named = cards.iter().map(|card| {
        let (user, client) = (card.user.to_string(), card.session.to_string());
        (client.clone(), ClientInfo { user, client, conn_info: card.info.clone() })
    });
    Ok(PresenceResult { presence: named.collect() })
}

/// How many are in a room.
pub(super) async fn stats(call: &Call<'_>, params: &[u8]) -> Result<StatsResult, Fault> {
    let Request { channel } = read(params)?;
    required("channel", &channel)?;
    let (num_clients, num_users) = call.means.gateway.presence_stats(&channel).await?;
    Ok(StatsResult { num_clients, num_users })
}
