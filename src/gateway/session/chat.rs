//! What a session asks for beside messages: the rpc methods `typing`, `read`, `recall`, `unread` and `ack`.
//!
//! Their data is a JSON object: `{"room"}`, `{"room","id"}` or `{"room","offset"}`, `{"rooms"}`; an id is a text, because scripts can not hold
//! it as a number.

use serde::Deserialize;

use crate::gateway::chat::Call;
use crate::gateway::chat::Place;
use crate::gateway::chat::ROOMS_MAX;
use crate::gateway::session::Session;
use crate::gateway::session::World;
use crate::gateway::throttle::Act;
use crate::ids::MessageId;
use crate::wire::centrifuge::Error;
use crate::wire::payload::Payload;

/// What the data may hold.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    room: String,
    id: String,
    offset: Option<u64>,
    rooms: Vec<String>,
}

/// Reads a call; or what the client is answered instead.
pub(super) fn call(
    session: &Session,
    method: &str,
    data: Option<&Payload>,
    world: &World<'_>,
) -> Result<Call, (Error, String)> {
    let needs = match method {
        "typing" => r#"{"room":"…"}"#,
        "read" | "recall" | "ack" => r#"{"room":"…","id":"…"} or {"room":"…","offset":1}"#,
        "unread" => r#"{"rooms":["…"]}"#,
        _ => return Err((Error::MethodNotFound, format!("no rpc method is called {method:?}"))),
    };
    let bad = |why: &str| (Error::BadRequest, format!("{method} needs {needs}: {why}"));
    let data = data.map_or(Ok(Data::default()), |data| serde_json::from_slice::<Data>(data.bytes()));
    let Data { room, id, offset, rooms } = data.map_err(|error| bad(&error.to_string()))?;
    if session.user().is_none_or(|user| user.is_empty()) {
        return Err((Error::PermissionDenied, "log in with a user's name".to_owned()));
    }
    // A question may come as often as a history is asked for; what others hear of, as often as messages.
    if method != "unread" {
        session.paced(Act::Publish, world).map_err(|why| (Error::TooManyRequests, why))?;
    }
    let standing = session.standing();
    let is_member = |room: &str| {
        let may = world.rules.may_ask(room, &standing).or_else(|_| world.rules.may_join(room, &standing));
        may.map_err(|denied| (Error::PermissionDenied, denied.to_string()))
    };
    if method == "unread" {
        if rooms.is_empty() || rooms.len() > ROOMS_MAX {
            return Err(bad(&format!("from 1 to {ROOMS_MAX} rooms")));
        }
        rooms.iter().try_for_each(|room| is_member(room))?;
        return Ok(Call::Unread(rooms));
    }
    is_member(&room)?;
    if method == "typing" {
        return Ok(Call::Typing(room));
    }
    let place = match offset {
        Some(offset) => Place::Offset(offset),
        None => {
            let id = id.parse().map_err(|_| bad("the id is a decimal number in quotes"))?;
            Place::Id(MessageId::from_number(id))
        }
    };
    Ok(match method {
        "read" => Call::Read(room, place),
        "ack" => Call::Acknowledge(room, place),
        _ => Call::Recall(room, place),
    })
}
