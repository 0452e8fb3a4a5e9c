//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: orders to sessions.
//!
//! `client` and `session` are both the id of a session; when both are there, `client` counts. An order for sessions
//! that are not there is done, as in the original: the log says how many there were.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::centrifugo::envelope::Empty;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::params;
use crate::api::centrifugo::params::any;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::gateway::Position;
use crate::gateway::Stay;
use crate::gateway::Target;
use crate::wire::payload::Payload;

/// Why a session ends when the caller does not say.
const REASON: &str = "force disconnect";

/// How a session ends that a caller calls expired: at once, and its client comes back with a new token.
const EXPIRED: (u16, &str) = (3005, "connection expired");

/// The close codes that a caller may choose.
const CODES: std::ops::RangeInclusive<u32> = 3000..=4999;

/// The longest reason in bytes: a close frame has no room for more.
const REASON_MAX: usize = 123;

#[derive(Debug, Deserialize)]
struct SubscribeRequest {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
    #[serde(default, deserialize_with = "lenient")]
    user: String,
    #[serde(default, deserialize_with = "lenient")]
    client: String,
    #[serde(default, deserialize_with = "lenient")]
    session: String,
    recover_since: Option<params::Position>,
    #[serde(default, deserialize_with = "lenient")]
    expire_at: i64,
    #[serde(default, deserialize_with = "any")]
    info: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "any")]
    data: Option<Box<RawValue>>,
    #[serde(rename = "override", default)]
    overrides: Option<Overrides>,
}

#[derive(Debug, Default, Deserialize)]
struct Overrides {
    presence: Option<Override>,
}

/// Where a caller departs from the rules of the room.
#[derive(Debug, Default, Deserialize)]
struct Override {
    #[serde(default, deserialize_with = "lenient")]
    value: bool,
}

#[derive(Debug, Deserialize)]
struct UnsubscribeRequest {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
    #[serde(default, deserialize_with = "lenient")]
    user: String,
    #[serde(default, deserialize_with = "lenient")]
    client: String,
    #[serde(default, deserialize_with = "lenient")]
    session: String,
}

#[derive(Debug, Default, Deserialize)]
struct Disconnect {
    #[serde(default, deserialize_with = "lenient")]
    code: u32,
    #[serde(default, deserialize_with = "lenient")]
    reason: String,
}

#[derive(Debug, Deserialize)]
struct DisconnectRequest {
    #[serde(default, deserialize_with = "lenient")]
    user: String,
    #[serde(default, deserialize_with = "lenient")]
    client: String,
    #[serde(default, deserialize_with = "lenient")]
    session: String,
    #[serde(default, deserialize_with = "lenient")]
    whitelist: Vec<String>,
    disconnect: Option<Disconnect>,
}

#[derive(Debug, Deserialize)]
struct RefreshRequest {
    #[serde(default, deserialize_with = "lenient")]
    user: String,
    #[serde(default, deserialize_with = "lenient")]
    client: String,
    #[serde(default, deserialize_with = "lenient")]
    session: String,
    #[serde(default, deserialize_with = "lenient")]
    expired: bool,
    #[serde(default, deserialize_with = "lenient")]
    expire_at: i64,
}

/// Lets sessions enter a room.
pub(super) fn subscribe(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: SubscribeRequest = read(params)?;
    call.check_room(&request.channel).map_err(Fault::BadRequest)?;
    let target = target(&request.user, &request.client, &request.session)?;
    // Without an epoch nobody knows in which stream the offset lies: then the session begins with what comes.
    let since = request.recover_since.as_ref().map(|position| (position.offset, position.epoch()));
    let since = since.and_then(|(offset, epoch)| Some(Position { offset, epoch: epoch.ok()?? }));
    let payload = |value: &Option<Box<RawValue>>| value.as_deref().map(Payload::from_json);
    let presence = request.overrides.as_ref().and_then(|overrides| overrides.presence.as_ref());
    let stay = Stay {
        since,
        info: payload(&request.info),
        data: payload(&request.data),
        expires: expires(request.expire_at)?,
        hidden: presence.is_some_and(|presence| !presence.value),
    };
    let count = call.means.gateway.subscribe(&target, &request.channel, &stay);
    record(call, caller, (&target, Some(&request.channel)), &format!("subscribe {count} sessions"));
    Ok(Empty {})
}

/// Lets sessions leave a room.
pub(super) fn unsubscribe(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: UnsubscribeRequest = read(params)?;
    call.check_room(&request.channel).map_err(Fault::BadRequest)?;
    let target = target(&request.user, &request.client, &request.session)?;
    let count = call.means.gateway.unsubscribe(&target, &request.channel);
    record(call, caller, (&target, Some(&request.channel)), &format!("unsubscribe {count} sessions"));
    Ok(Empty {})
}

/// Ends sessions.
pub(super) fn disconnect(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: DisconnectRequest = read(params)?;
    let mut target = target(&request.user, &request.client, &request.session)?;
    target.except = request.whitelist;
    let (code, reason) = farewell(request.disconnect)?;
    let count = call.means.gateway.disconnect(&target, code, &reason);
    record(call, caller, (&target, None), &format!("disconnect {count} sessions: {reason}"));
    Ok(Empty {})
}

/// Gives sessions more time, or ends them as expired.
pub(super) fn refresh(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: RefreshRequest = read(params)?;
    let target = target(&request.user, &request.client, &request.session)?;
    let at = expires(request.expire_at)?;
    let count = if request.expired {
        let (code, reason) = EXPIRED;
        call.means.gateway.disconnect(&target, Some(code), reason)
    } else {
        call.means.gateway.refresh(&target, at)
    };
    let how = if request.expired { "as expired".to_owned() } else { format!("until {}", request.expire_at) };
    record(call, caller, (&target, None), &format!("refresh {count} sessions {how}"));
    Ok(Empty {})
}

/// Whom an order is for. Without any name it would be for everybody who is nobody, which nobody means.
fn target(user: &str, client: &str, session: &str) -> Result<Target, Fault> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let target = Target { user: some(user), session: some(client).or(some(session)), except: Vec::new() };
    if target.user.is_none() && target.session.is_none() {
        return Err(Fault::BadRequest("user is missing, or client for one session".to_owned()));
    }
    Ok(target)
}

fn expires(unix: i64) -> Result<Option<u64>, Fault> {
    let seconds = u64::try_from(unix).map_err(|_| {
        Fault::BadRequest(format!("expire_at is {unix}; it should be a time in Unix seconds, or 0 for none"))
    })?;
    Ok(Some(seconds).filter(|seconds| *seconds > 0))
}

/// The code and the reason with which sessions end; without a code each dialect has its own.
fn farewell(wish: Option<Disconnect>) -> Result<(Option<u16>, String), Fault> {
    let wish = wish.unwrap_or_default();
    let reason = if wish.reason.is_empty() { REASON.to_owned() } else { wish.reason };
    if reason.len() > REASON_MAX {
        return Err(Fault::BadRequest(format!("disconnect.reason is longer than {REASON_MAX} bytes")));
    }
    if wish.code == 0 {
        return Ok((None, reason));
    }
    let code = u16::try_from(wish.code).ok().filter(|_| CODES.contains(&wish.code)).ok_or_else(|| {
        let (least, most) = (CODES.start(), CODES.end());
        Fault::BadRequest(format!("disconnect.code is {}; it should be {least} to {most}", wish.code))
    })?;
    Ok((Some(code), reason))
}

fn record(call: &Call<'_>, caller: &Caller, (target, room): (&Target, Option<&str>), what: &str) {
    let whom = (target.user.as_deref(), target.session.as_deref());
    call.managed(whom, room, &format!("{what}, by the key {}", caller.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_for_a_user_or_a_session_and_never_for_everybody() {
        let user = target("alice", "", "").unwrap();
        assert_eq!((user.user.as_deref(), user.session), (Some("alice"), None));
        assert_eq!(target("alice", "c", "s").unwrap().session.as_deref(), Some("c"));
        assert_eq!(target("", "", "s").unwrap().user, None);
        assert_eq!(
            target("", "", "").unwrap_err().message(),
            "bad request: user is missing, or client for one session"
        );
    }

    #[test]
    fn a_farewell_fits_into_a_close_frame() {
        let wish = |code, reason: &str| farewell(Some(Disconnect { code, reason: reason.to_owned() }));
        assert_eq!(farewell(None), Ok((None, "force disconnect".to_owned())));
        assert_eq!(wish(0, ""), farewell(None));
        assert_eq!(wish(0, "out"), Ok((None, "out".to_owned())));
        assert_eq!(wish(4000, "out"), Ok((Some(4000), "out".to_owned())));
        for code in [1, 1000, 2999, 5000, 65536 + 4000, u32::MAX] {
            assert!(wish(code, "").unwrap_err().message().contains("3000 to 4999"), "{code}");
        }
        assert!(wish(4000, &"x".repeat(123)).is_ok());
        assert!(wish(4000, &"x".repeat(124)).is_err());
    }

    #[test]
    fn an_end_lies_in_unix_seconds() {
        assert_eq!(expires(0), Ok(None));
        assert_eq!(expires(7), Ok(Some(7)));
        assert!(expires(-1).is_err());
    }
}
