//! `/open/push`, and what people do besides: `/open/{typing,read,recall,unread}`.

use hyper::body::Incoming;
use serde_json::Value;
use serde_json::json;

use crate::api::call::Call;
use crate::api::chat::form;
use crate::api::chat::query::Query;
use crate::api::chat::reply;
use crate::api::chat::reply::Fault;
use crate::api::chat::who;
use crate::api::chat::who::Who;
use crate::api::message;
use crate::api::reply::Answer;
use crate::chat::room_of;
use crate::gateway::ROOMS_MAX;
use crate::gateway::Standing;
use crate::ids::MessageId;

/// The original's words for a room that is not that of the two.
const WRONG_ROOM: &str = "参数错误,发送失败~";

/// The most bytes of the kind of a message.
const KIND_MAX: usize = 32;

/// Somebody says something. The room must be that of the two, and who speaks is who the token says.
pub(super) async fn push(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let form = form(call, body).await?;
    let room = form.text("room_id").ok_or(Fault::Original(WRONG_ROOM))?;
    let mut user = who::actor(call, &query, room).await?;
    let shop = query.text("shop_id").or_else(|| form.text("shop_id")).unwrap_or_default();
    if let Some(mid) = query.text("mid").filter(|mid| *mid != user)
        && call.means.gateway.chat().is_staff_of(&user, mid)?
    {
        // A member of the staff with a token of its own speaks as the shop.
        user = mid.to_owned();
    }
    if room_of(shop, &user) != room {
        return Err(Fault::Original(WRONG_ROOM));
    }
    let kind = form.text("type").unwrap_or("text");
    let msg = form.words("msg").ok_or_else(|| Fault::Request("msg is missing".to_owned()))?;
    if kind.len() > KIND_MAX {
        return Err(Fault::Request(format!("type is longer than {KIND_MAX} bytes")));
    }
    let said = json!({ "shop_id": shop, "type": kind, "msg": msg, "mid": user });
    let payload = message::of_bytes(call.means, said.to_string().as_bytes())?;
    let published = call.means.gateway.say(&user, room, payload).await?;
    call.published(&user, room, published.id, msg.len());
    Ok(reply::done(None))
}

/// Somebody types.
pub(super) async fn typing(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let (query, room) = asked(call, query, body).await?;
    let user = who::actor(call, &query, &room).await?;
    let told = call.means.gateway.tell_typing(&user, &room)?;
    Ok(reply::done(Some(json!({ "told": told }))))
}

/// Somebody has read a room up to a message.
pub(super) async fn read(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let (query, room) = asked(call, query, body).await?;
    let user = who::actor(call, &query, &room).await?;
    let moved = call.means.gateway.mark_read(&user, &room, id(&query)?)?;
    Ok(reply::done(Some(json!({ "moved": moved }))))
}

/// Somebody takes a message back.
pub(super) async fn recall(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let (query, room) = asked(call, query, body).await?;
    let user = who::actor(call, &query, &room).await?;
    let id = id(&query)?;
    call.means.gateway.recall(&user, &room, id).await?;
    call.managed((Some(&user), None), Some(&room), &format!("the message {id} is taken back"));
    Ok(reply::done(None))
}

/// What somebody has not read, in the rooms that are named.
pub(super) async fn unread(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let query = query.and(form(call, body).await?);
    let rooms = query.texts("room_id");
    let rooms: Vec<String> = rooms.iter().flat_map(|rooms| rooms.split(',')).map(ToOwned::to_owned).collect();
    if rooms.is_empty() || rooms.len() > ROOMS_MAX {
        return Err(Fault::Request(format!(
            "room_id should be 1 to {ROOMS_MAX} rooms, with commas between them"
        )));
    }
    let mut user = String::new();
    for room in &rooms {
        user = who::speaker(call, &query, room).await?;
    }
    let standings = call.means.gateway.unread(&user, &rooms).await?;
    let standings: Vec<Value> = standings.iter().map(Standing::json).collect();
    Ok(reply::done(Some(Value::Array(standings))))
}

async fn asked(call: &Call<'_>, query: Query, body: Incoming) -> Result<(Query, String), Fault> {
    let query = query.and(form(call, body).await?);
    let room = query.text("room_id").map(ToOwned::to_owned);
    let room = room.ok_or_else(|| Fault::Request("room_id is missing".to_owned()))?;
    Ok((query, room))
}

fn id(query: &Query) -> Result<MessageId, Fault> {
    let id = query.text("id").and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| Fault::Request("id should be the decimal id of a message".to_owned()))?;
    Ok(MessageId::from_number(id))
}

/// Whoever may see what was said in a room: who may speak there, and a backend.
pub(super) async fn reader(call: &Call<'_>, query: &Query, room: &str) -> Result<(), Fault> {
    match who::needed(call, query).await? {
        Who::Backend(_) | Who::Anyone => Ok(()),
        Who::User(_) => who::speaker(call, query, room).await.map(drop),
    }
}
