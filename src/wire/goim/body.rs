//! What goim's clients ask for.

use serde::Deserialize;

use crate::wire::goim::List;
use crate::wire::goim::Loose;
use crate::wire::goim::Packet;
use crate::wire::goim::object;
use crate::wire::goim::operation;

/// What a packet of a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A sign of life: answer with [`online`].
    Heartbeat,
    /// Log in; must come first.
    Auth(Box<Auth>),
    /// Go to another room, or to none.
    ChangeRoom(Option<String>),
    /// Accept pushes of these operations.
    Sub(Vec<i32>),
    /// Accept pushes of these operations no more.
    Unsub(Vec<i32>),
    /// An operation of the application's own, or none at all: the original answers with its number and no body.
    Other,
}

/// The body of a login. The original believes it as it stands; `token` is where its users put what can be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user; empty when anonymous, which the original writes as 0.
    pub user: String,
    /// The device; empty to be given one.
    pub key: String,
    /// The room, with its type when the client names one (`live://1000`).
    pub room: Option<String>,
    /// What the client runs on.
    pub platform: String,
    /// The operations of pushes to the user and to all that the client accepts; pushes to the room it gets in any case.
    pub accepts: Vec<i32>,
    /// The token, when the client brings one.
    pub token: Option<String>,
}

/// Why the body of a packet cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad body of operation {operation}: {why}")]
pub struct BadBody {
    /// The packet's operation.
    pub operation: i32,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// Reads what a client asks for.
///
/// # Errors
///
/// [`BadBody`] says what is wrong with the packet's body.
pub fn request(packet: &Packet<'_>) -> Result<Request, BadBody> {
    let bad = |why: String| BadBody { operation: packet.operation, why };
    Ok(match packet.operation {
        operation::HEARTBEAT => Request::Heartbeat,
        operation::AUTH => Request::Auth(Box::new(auth(packet.body).map_err(bad)?)),
        operation::CHANGE_ROOM => {
            let room = text(packet.body).map_err(bad)?;
            Request::ChangeRoom((!room.is_empty()).then(|| room.to_owned()))
        }
        operation::SUB => Request::Sub(numbers(packet.body).map_err(bad)?),
        operation::UNSUB => Request::Unsub(numbers(packet.body).map_err(bad)?),
        _ => Request::Other,
    })
}

/// The body that answers a sign of life: how many are in the client's room.
#[must_use]
pub fn online(count: usize) -> [u8; 4] {
    i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes()
}

fn auth(body: &[u8]) -> Result<Auth, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Members {
        mid: Loose,
        key: Loose,
        room_id: Loose,
        platform: Loose,
        accepts: List,
        token: Loose,
    }
    let members: Members = object("a login", body, r#"{"mid":1,"room_id":"live://1","accepts":[1000]}"#)?;
    let Loose(user) = members.mid;
    Ok(Auth {
        user: if user == "0" { String::new() } else { user },
        key: members.key.0,
        room: Some(members.room_id.0).filter(|room| !room.is_empty()),
        platform: members.platform.0,
        accepts: members.accepts.0.iter().map(|item| number(item)).collect::<Result<_, _>>()?,
        token: Some(members.token.0).filter(|token| !token.is_empty()),
    })
}

/// Operations with commas between them.
fn numbers(body: &[u8]) -> Result<Vec<i32>, String> {
    let List(items) = List::of_text(text(body)?)?;
    items.iter().map(|item| number(item)).collect()
}

fn number(item: &str) -> Result<i32, String> {
    item.parse().map_err(|_| format!("{item:?} is no operation: a whole number of 32 bits is expected"))
}

fn text(body: &[u8]) -> Result<&str, String> {
    str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())
}
