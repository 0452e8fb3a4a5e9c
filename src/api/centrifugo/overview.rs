//! `channels` and `info`: what is going on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::api::call::Call;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::api::centrifugo::pattern::Pattern;
use crate::clock;

/// The most rooms of one answer.
const ROOMS_MAX: usize = 100_000;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default, deserialize_with = "lenient")]
    pattern: String,
}

#[derive(Debug, Serialize)]
struct ChannelInfo {
    num_clients: usize,
}

/// Rooms by their names.
#[derive(Debug, Serialize)]
pub(super) struct ChannelsResult {
    channels: BTreeMap<String, ChannelInfo>,
}

#[derive(Debug, Serialize)]
struct Node {
    uid: String,
    name: String,
    version: &'static str,
    num_clients: usize,
    num_users: usize,
    num_channels: usize,
    uptime: u64,
    num_subs: usize,
}

/// The nodes of the system.
#[derive(Debug, Serialize)]
pub(super) struct InfoResult {
    nodes: Vec<Node>,
}

/// The rooms with somebody in them whose names fit a pattern.
pub(super) fn channels(call: &Call<'_>, params: &[u8]) -> Result<ChannelsResult, Fault> {
    let Request { pattern } = read(params)?;
    let pattern = Pattern::of(&pattern).map_err(|error| Fault::BadRequest(error.to_string()))?;
    let rooms = call.means.gateway.rooms(|room| pattern.fits(room));
    if rooms.len() > ROOMS_MAX {
        let why = format!("{} rooms fit; at most {ROOMS_MAX} are listed: narrow the pattern", rooms.len());
        return Err(Fault::NotAvailable(why));
    }
    let listed = rooms.into_iter().map(|(room, num_clients)| (room.to_string(), ChannelInfo { num_clients }));
    Ok(ChannelsResult { channels: listed.collect() })
}

/// This node, which is the only one.
pub(super) fn info(call: &Call<'_>) -> InfoResult {
    let means = call.means;
    let (online, rooms) = (means.gateway.online(), means.gateway.rooms(|_| true));
    let node = Node {
        uid: means.status.boot().to_owned(),
        name: means.status.node().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        num_clients: online.sessions,
        num_users: online.users,
        num_channels: rooms.len(),
        uptime: clock::uptime().as_secs(),
        num_subs: rooms.iter().map(|(_, sessions)| sessions).sum(),
    };
    InfoResult { nodes: vec![node] }
}
