//! `/goim/online/{top,room,total}`: how many are where.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::api::call::Call;
use crate::api::goim::push::room_name;
use crate::api::goim::query::Query;
use crate::api::goim::reply;
use crate::api::goim::reply::Fault;
use crate::api::reply::Answer;

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Top {
    room_id: String,
    count: usize,
}

#[derive(Debug, Serialize)]
struct Total {
    ip_count: usize,
    conn_count: usize,
}

/// The fullest rooms whose names begin with a type, which is a prefix, as in the original.
pub(super) fn top(call: &Call<'_>, query: &Query) -> Result<Answer, Fault> {
    let kind = query.text("type")?;
    let limit = query.required::<i64>("limit")?;
    let limit = usize::try_from(limit)
        .map_err(|_| Fault::Query(format!("limit is {limit}; it should be how many rooms")))?;
    reply::done(Some(fullest(call.means.gateway.rooms(|room| room.starts_with(&kind)), limit)))
}

/// A room without a type is not listed, as in the original.
fn fullest(rooms: Vec<(Arc<str>, usize)>, limit: usize) -> Vec<Top> {
    let top = |(name, count): (Arc<str>, usize)| {
        name.split_once("://").map(|(_, room)| Top { room_id: room.to_owned(), count })
    };
    let mut tops: Vec<Top> = rooms.into_iter().filter_map(top).collect();
    tops.sort_by(|one, other| {
        (Reverse(one.count), &one.room_id).cmp(&(Reverse(other.count), &other.room_id))
    });
    tops.truncate(limit);
    tops
}

/// How many are in each of these rooms.
pub(super) fn room(call: &Call<'_>, query: &Query) -> Result<Answer, Fault> {
    let kind = query.text("type")?;
    let rooms = query.texts("rooms")?;
    if rooms.is_empty() {
        return Err(Fault::Query("rooms is missing".to_owned()));
    }
    let count = |room: &str| call.means.gateway.room_count(&room_name(&kind, room));
    let counts: BTreeMap<&str, usize> = rooms.into_iter().map(|room| (room, count(room))).collect();
    reply::done(Some(counts))
}

/// How many there are at all.
pub(super) fn total(call: &Call<'_>) -> Result<Answer, Fault> {
    let online = call.means.gateway.online();
    reply::done(Some(Total { ip_count: online.addresses, conn_count: online.sessions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_rooms_come_first_and_lose_their_type() {
        let rooms = [("live://1", 3), ("live://2", 9), ("lively://3", 5), ("plain", 7)];
        let listed = |limit| {
            let rooms = rooms.iter().map(|(name, count)| (Arc::from(*name), *count)).collect();
            let tops = fullest(rooms, limit);
            tops.iter().map(|top| format!("{}:{}", top.room_id, top.count)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(listed(9), "2:9 3:5 1:3");
        assert_eq!(listed(1), "2:9");
    }
}
