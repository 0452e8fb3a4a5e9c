//! Who speaks in a chat: what a token says, or a backend with a key; with `auth.insecure`, what the query says.
//!
//! A token comes as `?token=`, as the header `token`, as `Authorization: Bearer`, or in the cookie that `/open/im` gave;
//! the first of them counts.

use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use hyper::header::COOKIE;
use hyper::http::request::Parts;

use crate::api::call::Call;
use crate::api::chat::query::Query;
use crate::api::chat::reply::Fault;
use crate::config::Scope;
use crate::gateway::Bearer;

/// The cookie that holds the token of a chat page.
pub(super) const COOKIE_NAME: &str = "pillion_chat";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The user of a token, and the rooms that it grants.
    User(Bearer),
    /// A backend, by the name of its key.
    Backend(String),
    /// Nobody showed anything, where nothing is needed.
    Anyone,
}

/// Who asks; none when nothing was shown that is needed.
pub(super) async fn of(call: &Call<'_>, query: &Query) -> Result<Option<Who>, Fault> {
    let insecure = call.means.config.load().auth.insecure;
    if call.access.has_key() {
        return Ok(Some(Who::Backend(call.access.check(call.means, Scope::Chat)?.name)));
    }
    if insecure {
        // Pages of other sites may not use a trial either.
        call.access.check(call.means, Scope::Chat)?;
        return Ok(Some(Who::Anyone));
    }
    let Some(token) = token(call.head, query) else { return Ok(None) };
    let bearer = call.means.gateway.bearer(&token).await;
    match bearer {
        Ok(bearer) if !bearer.user.is_empty() => Ok(Some(Who::User(bearer))),
        Ok(_) => Err(Fault::Token(StatusCode::FORBIDDEN, "the token names no user".to_owned())),
        Err(why) => Err(Fault::Token(StatusCode::UNAUTHORIZED, why)),
    }
}

/// Who asks, where something must be shown.
pub(super) async fn needed(call: &Call<'_>, query: &Query) -> Result<Who, Fault> {
    of(call, query).await?.ok_or_else(missing)
}

/// The user who speaks in a room: of the token, which must grant the room, or as a backend or a trial says.
pub(super) async fn speaker(call: &Call<'_>, query: &Query, room: &str) -> Result<String, Fault> {
    call.check_room(room).map_err(Fault::Request)?;
    match needed(call, query).await? {
        Who::User(bearer) => {
            let user = bearer.user.to_string();
            if bearer.rooms.iter().any(|granted| granted == room) || is_staff(call, &user, room)? {
                return Ok(user);
            }
            let why = format!("the token does not grant the room {room:?}");
            Err(Fault::Token(StatusCode::FORBIDDEN, why))
        }
        Who::Backend(_) | Who::Anyone => match query.text("mid") {
            Some(mid) => Ok(mid.to_owned()),
            None => Err(Fault::Request("mid is missing".to_owned())),
        },
    }
}

/// The user who says or does something in a room, no more often than its sessions may publish.
pub(super) async fn actor(call: &Call<'_>, query: &Query, room: &str) -> Result<String, Fault> {
    let user = speaker(call, query, room).await?;
    call.means.gateway.check_pace(&user).map_err(Fault::TooOften)?;
    Ok(user)
}

/// Whoever may act for a shop: a backend, its staff, and anybody in a trial.
pub(super) async fn staff(call: &Call<'_>, query: &Query, shop: &str) -> Result<Who, Fault> {
    let who = needed(call, query).await?;
    if let Who::User(bearer) = &who
        && !call.means.gateway.chat().is_staff_of(&bearer.user, shop)?
    {
        let why = format!("the token's user is not of the staff of the shop {shop:?}");
        return Err(Fault::Token(StatusCode::FORBIDDEN, why));
    }
    Ok(who)
}

fn is_staff(call: &Call<'_>, user: &str, room: &str) -> Result<bool, Fault> {
    Ok(call.means.gateway.chat().is_staff(user, room)?)
}

fn missing() -> Fault {
    let why = "a token is needed: the one of the chat page, or the staff's; or a key with the scope \"chat\"";
    Fault::Token(StatusCode::UNAUTHORIZED, why.to_owned())
}

fn token(head: &Parts, query: &Query) -> Option<String> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION.as_str()).and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    let found = query.text("token").or_else(|| text("token")).or(bearer);
    found
        .map(|token| token.trim().to_owned())
        .or_else(|| cookie(head, COOKIE_NAME))
        .filter(|token| !token.is_empty())
}

/// The value of a cookie.
pub(super) fn cookie(head: &Parts, wanted: &str) -> Option<String> {
    let cookies = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
}
