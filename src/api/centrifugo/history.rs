//! `history` and `history_remove`: what was said in a room.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::centrifugo::envelope::Empty;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::api::centrifugo::presence::ClientInfo;
use crate::api::centrifugo::presence::raw;
use crate::gateway;
use crate::gateway::Position;
use crate::gateway::Query;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
    /// 0, or not there: the position alone; below 0: all.
    #[serde(default, deserialize_with = "lenient")]
    limit: i32,
    since: Option<params::Position>,
    #[serde(default, deserialize_with = "lenient")]
    reverse: bool,
}

#[derive(Debug, Serialize)]
struct Publication {
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<ClientInfo>,
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

/// A part of a room's history, and where the room stands.
#[derive(Debug, Serialize)]
pub(super) struct HistoryResult {
    publications: Vec<Publication>,
    epoch: String,
    offset: u64,
}

/// What was said in a room.
pub(super) async fn history(call: &Call<'_>, params: &[u8]) -> Result<HistoryResult, Fault> {
    let request: Request = read(params)?;
    call.check_room(&request.channel).map_err(Fault::BadRequest)?;
    let (since, epoch) = match request.since {
        Some(position) => (Some(position.offset), position.epoch()?),
        None => (None, None),
    };
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let query = Query { limit, since, reverse: request.reverse };
    let page = call.means.gateway.history(&request.channel, query, epoch).await?;
    let publications = page.publications.iter().map(|said| shown(said)).collect::<Result<_, _>>()?;
    let Position { offset, epoch } = page.position;
    Ok(HistoryResult { publications, epoch: epoch.to_string(), offset })
}

fn shown(said: &gateway::Publication) -> Result<Publication, Fault> {
    let publisher = said.publisher.as_ref().map(|card| ClientInfo::of(card, None)).transpose()?;
    Ok(Publication {
        data: raw(&said.payload)?,
        info: publisher,
        offset: said.offset,
        tags: said.tags.clone(),
    })
}

/// Forgets what was said in a room.
pub(super) async fn remove(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: Request = read(params)?;
    call.check_room(&request.channel).map_err(Fault::BadRequest)?;
    call.means.gateway.history_remove(&request.channel).await?;
    let desc = format!("history removed, by the key {}", caller.name);
    call.managed((None, None), Some(&request.channel), &desc);
    Ok(Empty {})
}
