//! `/goim/online/{top,room,total}`: how many are where.

use std::cmp::Reverse;
use std::collections::BTreeMap;

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

/// The fullest rooms whose names begin with a type.
pub(super) fn top(call: &Call<'_>, query: &Query) -> Result<Answer, Fault> {
    let kind = query.text("type")?;
    let limit = query.required::<i64>("limit")?;
    let limit = usize::try_from(limit)
        .map_err(|_| Fault::Query(format!("limit is {limit}; it should be how many rooms")))?;
    reply::done(Some(fullest(call.means.gateway.rooms(""), &kind, limit)))
}

/// As in the original, the type is a prefix, and a room without a type is not listed.
fn fullest(rooms: Vec<(String, usize)>, kind: &str, limit: usize) -> Vec<Top> {
    let of_kind = rooms.into_iter().filter(|(name, _)| name.starts_with(kind));
    let mut tops: Vec<Top> = of_kind
        .filter_map(|(name, count)| {
            name.split_once("://").map(|(_, room)| Top { room_id: room.to_owned(), count })
        })
        .collect();
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
    reply::done(Some(Total { ip_count: online.addresses, conn_count: online.connections }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_rooms_come_first_and_lose_their_type() {
        let rooms = [("live://1", 3), ("live://2", 9), ("lively://3", 5), ("game://4", 99), ("plain", 7)];
        let rooms = || rooms.map(|(name, count)| (name.to_owned(), count)).to_vec();
        let listed = |kind, limit| {
            let tops = fullest(rooms(), kind, limit);
            tops.iter().map(|top| format!("{}:{}", top.room_id, top.count)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(listed("live", 9), "2:9 3:5 1:3");
        assert_eq!(listed("live", 1), "2:9");
        assert_eq!(listed("none", 9), "");
    }
}
