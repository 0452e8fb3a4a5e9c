//! `history` and `history_remove`: what was said in a room.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::centrifugo::envelope::Empty;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params::Position;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::api::centrifugo::params::required;
use crate::api::centrifugo::presence::ClientInfo;
use crate::gateway::HistoryQuery;
use crate::gateway::Kept;

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
    /// 0, or not there: the position alone; below 0: all.
    #[serde(default, deserialize_with = "lenient")]
    limit: i32,
    since: Option<Position>,
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
    required("channel", &request.channel)?;
    let query = HistoryQuery {
        limit: i64::from(request.limit).max(-1),
        since: request.since.map(Into::into),
        reverse: request.reverse,
    };
    let page = call.means.gateway.history(&request.channel, query).await?;
    let publications = page.publications.iter().map(|kept| shown(kept)).collect::<Result<_, _>>()?;
    Ok(HistoryResult { publications, epoch: page.epoch, offset: page.offset })
}

fn shown(kept: &Kept) -> Result<Publication, Fault> {
    let data = RawValue::from_string(kept.payload.json().to_owned())
        .map_err(|error| Fault::Internal(format!("message {} is no JSON: {error}", kept.offset)))?;
    let info = kept.publisher.as_ref().map(|publisher| ClientInfo {
        user: publisher.user.clone(),
        client: publisher.client.clone(),
        conn_info: publisher.conn_info.clone(),
    });
    Ok(Publication { data, info, offset: kept.offset, tags: kept.tags.clone() })
}

/// Forgets what was said in a room.
pub(super) async fn remove(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: Request = read(params)?;
    required("channel", &request.channel)?;
    call.means.gateway.history_remove(&request.channel).await?;
    let desc = format!("history removed, by the key {}", caller.name);
    call.managed((None, None), Some(&request.channel), &desc);
    Ok(Empty {})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::centrifuge::Publisher;
    use crate::wire::payload::Payload;

    #[test]
    fn a_message_is_shown_as_the_original_shows_it() {
        let mut kept = Kept {
            payload: Payload::from_text(r#"{"a": 1}"#),
            publisher: None,
            offset: 7,
            tags: BTreeMap::new(),
        };
        let show = |kept: &Kept| serde_json::to_string(&shown(kept).unwrap()).unwrap();
        assert_eq!(show(&kept), r#"{"data":{"a": 1},"offset":7}"#);
        kept.publisher = Some(Publisher { user: "u".into(), client: "c".into(), conn_info: None });
        kept.tags.insert("t".into(), "1".into());
        let expected = r#"{"data":{"a": 1},"info":{"user":"u","client":"c"},"offset":7,"tags":{"t":"1"}}"#;
        assert_eq!(show(&kept), expected);
    }
}
