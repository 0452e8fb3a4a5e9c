//! `/goim/push/{keys,mids,room,all}`: the body is the message, byte for byte.

use std::sync::Arc;

use hyper::body::Incoming;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::goim::query::Query;
use crate::api::goim::reply;
use crate::api::goim::reply::Fault;
use crate::api::message;
use crate::api::reply::Answer;
use crate::gateway::Outgoing;
use crate::tasks::OnExit;

/// The most pushes to everybody at the same time.
pub const PUSHES_MAX: usize = 16;

/// To the sessions with these keys. Keys that nobody has are passed over, as in the original.
pub(super) async fn keys(
    call: &Call<'_>,
    caller: &Caller,
    query: &Query,
    body: Incoming,
) -> Result<Answer, Fault> {
    let operation = query.number("operation")?;
    let keys = query.texts("keys")?;
    let outgoing = outgoing(call, operation, body).await?;
    if keys.is_empty() {
        return Err(Fault::Request("keys is missing".to_owned()));
    }
    let message = call.means.gateway.fresh_request_id();
    for key in keys.into_iter().filter(|key| !key.is_empty()) {
        let reached = usize::from(call.means.gateway.send_to_session(key, &outgoing));
        call.sent(
            (None, Some(key)),
            &message,
            &described(caller, operation, &format!("key {key}: {reached} sessions")),
        );
    }
    reply::done::<()>(None)
}

/// To all sessions of these users.
pub(super) async fn mids(
    call: &Call<'_>,
    caller: &Caller,
    query: &Query,
    body: Incoming,
) -> Result<Answer, Fault> {
    let operation = query.number("operation")?;
    let mids = query.numbers::<i64>("mids")?;
    let outgoing = outgoing(call, operation, body).await?;
    let message = call.means.gateway.fresh_request_id();
    for mid in mids {
        let user = mid.to_string();
        let reached = call.means.gateway.send_to_user(&user, &outgoing);
        call.sent(
            (Some(&user), None),
            &message,
            &described(caller, operation, &format!("{reached} sessions")),
        );
    }
    reply::done::<()>(None)
}

/// Into a room, whose name is `type://room`.
pub(super) async fn room(
    call: &Call<'_>,
    caller: &Caller,
    query: &Query,
    body: Incoming,
) -> Result<Answer, Fault> {
    let operation = query.required("operation")?;
    let room = room_name(&query.text("type")?, &query.text("room")?);
    call.check_room(&room).map_err(Fault::Request)?;
    let outgoing = outgoing(call, operation, body).await?;
    let bytes = outgoing.payload.bytes().len();
    let published = call.means.gateway.publish(&room, outgoing).await?;
    call.published(&caller.name, &room, published.id, bytes);
    reply::done::<()>(None)
}

/// To everybody, so many a second; 0 is as fast as it goes. It goes on after the answer, as in the original.
pub(super) async fn all(
    call: &Call<'_>,
    caller: &Caller,
    query: &Query,
    body: Incoming,
) -> Result<Answer, Fault> {
    let operation = query.required("operation")?;
    let speed = query.number::<i32>("speed")?;
    let speed = usize::try_from(speed)
        .map_err(|_| Fault::Query(format!("speed is {speed}; it should be sessions a second, or 0")))?;
    let outgoing = outgoing(call, operation, body).await?;
    let Ok(place) = Arc::clone(&call.means.pushes).try_acquire_owned() else {
        let why = format!("{PUSHES_MAX} pushes to everybody are under way already: try again later");
        return Err(Fault::Server(why));
    };
    let message = call.means.gateway.fresh_request_id();
    call.sent((None, None), &message, &described(caller, operation, &format!("all, {speed} a second")));
    let (gateway, tasks) = (call.means.gateway.clone(), call.means.tasks.clone());
    call.means.tasks.spawn("push to all", OnExit::Ignore, async move {
        let _place = place;
        let speed = Some(speed).filter(|speed| *speed > 0);
        tokio::select! {
            sent = gateway.send_to_all(&outgoing, speed) => tracing::debug!(message, sent, "pushed to everybody"),
            () = tasks.stopping() => {
                tracing::warn!(message, "a push to everybody did not reach all of them: the daemon stops");
            }
        }
    });
    reply::done::<()>(None)
}

/// The name of a room in goim's two parts.
pub(super) fn room_name(kind: &str, room: &str) -> String {
    format!("{kind}://{room}")
}

async fn outgoing(call: &Call<'_>, operation: i32, body: Incoming) -> Result<Outgoing, Fault> {
    let limits = call.means.config.load().limits.clone();
    let body = call.means.bodies.read(body, &limits).await?;
    let payload = message::of_bytes(call.means, &body)?;
    Ok(Outgoing { operation: Some(operation), ..Outgoing::new(payload) })
}

fn described(caller: &Caller, operation: i32, whom: &str) -> String {
    format!("operation {operation} to {whom}, by the key {}", caller.name)
}
