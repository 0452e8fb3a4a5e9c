//! The claims of Centrifugo's tokens, and what they come to.
//!
//! A connection token has `sub` (the user; none is an anonymous one), `channels` or `subs` (the rooms that the login
//! grants; `subs` counts alone when both are there), `info` or `b64info` (what others learn about the user) and `meta`
//! (what backends learn). A subscription token has `sub`, `channel`, perhaps `client`, and the members of one entry of
//! `subs`. Both have `exp` and `nbf` (when the token counts), `expire_at` (when what it grants ends, in place of `exp`;
//! 0: never), `aud`, `iss`, `iat` and `jti`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;

use super::grant::Grant;
use super::grant::GrantRefusal;
use super::grant::Overrides;
use crate::gateway::CloseReason;
use crate::gateway::session::Identity;
use crate::gateway::session::Refusal;
use crate::wire::payload::Payload;

/// The claims of both kinds of tokens.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    exp: Option<Number>,
    #[serde(default)]
    nbf: Option<Number>,
    #[serde(default)]
    expire_at: Option<Number>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    subs: Option<BTreeMap<String, Subscription>>,
    #[serde(default)]
    meta: Option<Box<RawValue>>,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    client: String,
    // Those of one entry of `subs`, which can not be flattened: raw values need their own text.
    #[serde(default)]
    info: Option<Box<RawValue>>,
    #[serde(default)]
    b64info: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    b64data: String,
    #[serde(default, rename = "override")]
    overrides: Option<Override>,
}

/// What `subs` says about one room, and a subscription token about its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Subscription {
    info: Option<Box<RawValue>>,
    b64info: String,
    data: Option<Box<RawValue>>,
    b64data: String,
    #[serde(rename = "override")]
    overrides: Option<Override>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Override {
    presence: Option<Switch>,
    join_leave: Option<Switch>,
    force_push_join_leave: Option<Switch>,
    force_recovery: Option<Switch>,
    force_positioning: Option<Switch>,
}

/// `{"value": true}`, so that "no" and "not said" differ.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Switch {
    value: bool,
}

/// When a token counts.
enum Timely {
    Now,
    NoLonger,
    NotYet,
}

impl Claims {
    /// The identity that a connection token gives, at the Unix time `unix`.
    pub(super) fn identity(self, unix: u64) -> Result<Identity, Refusal> {
        let invalid = |why: &str| Refusal::Close(CloseReason::TokenInvalid(why.to_owned()));
        if !self.channel.is_empty() {
            return Err(invalid("it is a token for one room (channel), and no login"));
        }
        match self.timely(unix) {
            Timely::Now => {}
            Timely::NoLonger => return Err(Refusal::Expired),
            Timely::NotYet => return Err(invalid(NOT_YET)),
        }
        let expires = self.expires();
        let mut grants = BTreeMap::new();
        let mut rooms = Vec::new();
        match self.subs.filter(|subs| !subs.is_empty()) {
            Some(subs) => {
                for (room, options) in subs {
                    let grant = options.grant(None).map_err(|why| invalid(&why))?;
                    rooms.push(room.clone());
                    grants.insert(room, grant);
                }
            }
            None => rooms = self.channels.unwrap_or_default(),
        }
        rooms.sort_unstable();
        rooms.dedup();
        let info = either(self.info, &self.b64info, "b64info").map_err(|why| invalid(&why))?;
        Ok(Identity {
            user: self.sub.into(),
            rooms,
            expires,
            info: info.as_deref().map(Payload::from_json),
            meta: self.meta.filter(|meta| meta.get() != "null").as_deref().map(Payload::from_json),
            grants,
            token_id: self.jti,
        })
    }

    /// What a subscription token grants to the session `session` of `user` that wants to be in `room`.
    pub(super) fn grant(self, asks: &Bearer, unix: u64) -> Result<Grant, GrantRefusal> {
        match self.timely(unix) {
            Timely::Now => {}
            Timely::NoLonger => return Err(GrantRefusal::Expired),
            Timely::NotYet => return Err(GrantRefusal::Invalid(NOT_YET.to_owned())),
        }
        if self.channel.is_empty() {
            return Err(GrantRefusal::Invalid("it names no room (channel)".to_owned()));
        }
        let foreign =
            |what: &str, named: &str| Err(GrantRefusal::Foreign(format!("it is for the {what} {named:?}")));
        if self.channel != asks.room {
            return foreign("room", &self.channel);
        }
        if *self.sub != *asks.user {
            return foreign("user", &self.sub);
        }
        if !self.client.is_empty() && self.client != asks.session {
            return foreign("session", &self.client);
        }
        let expires = self.expires();
        let options = Subscription {
            info: self.info,
            b64info: self.b64info,
            data: self.data,
            b64data: self.b64data,
            overrides: self.overrides,
        };
        options.grant(expires).map_err(GrantRefusal::Invalid)
    }

    fn timely(&self, unix: u64) -> Timely {
        let over = |end: &Option<Number>| end.as_ref().is_some_and(|end| seconds(end) <= unix);
        // An `expire_at` of 0 is never, and one that is over grants nothing any more.
        let granted_no_longer = over(&self.expire_at) && self.expires().is_some();
        if over(&self.exp) || granted_no_longer {
            return Timely::NoLonger;
        }
        if self.nbf.as_ref().is_some_and(|begin| seconds(begin) > unix) {
            Timely::NotYet
        } else {
            Timely::Now
        }
    }

    /// When what the token grants ends.
    fn expires(&self) -> Option<u64> {
        match &self.expire_at {
            Some(end) => Some(seconds(end)).filter(|end| *end > 0),
            None => self.exp.as_ref().map(seconds),
        }
    }
}

const NOT_YET: &str = "it counts only from a later time on (nbf)";

/// Who shows a subscription token, and for which room.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Bearer {
    /// The user of the session; empty when anonymous.
    pub user: Arc<str>,
    /// The session's id.
    pub session: String,
    /// The room it wants to be in.
    pub room: String,
}

impl Subscription {
    fn grant(self, expires: Option<u64>) -> Result<Grant, String> {
        let told = self.overrides.unwrap_or_default();
        let value = |switch: Option<Switch>| switch.map(|switch| switch.value);
        Ok(Grant {
            info: either(self.info, &self.b64info, "b64info")?,
            data: either(self.data, &self.b64data, "b64data")?,
            expires,
            overrides: Overrides {
                presence: value(told.presence),
                join_leave: value(told.join_leave),
                force_push_join_leave: value(told.force_push_join_leave),
                force_recovery: value(told.force_recovery),
                force_positioning: value(told.force_positioning),
            },
        })
    }
}

/// The JSON value, or in its place what stands in Base64: JSON as it is, else a text, else the Base64 itself.
fn either(json: Option<Box<RawValue>>, base64: &str, name: &str) -> Result<Option<Box<RawValue>>, String> {
    if base64.is_empty() {
        return Ok(json.filter(|json| json.get() != "null"));
    }
    let bytes = STANDARD.decode(base64).map_err(|error| format!("its {name} is no Base64: {error}"))?;
    let value = serde_json::from_slice::<Box<RawValue>>(&bytes).or_else(|_| {
        let text = std::str::from_utf8(&bytes).unwrap_or(base64);
        to_raw_value(text)
    });
    value.map(Some).map_err(|error| format!("its {name} can not be kept: {error}"))
}

/// The last second of the year 9999: whoever writes more means never, and clocks can not count much further.
const END: u64 = 253_402_300_799;

/// Whole seconds; what lies before 1970 is 0, which is over.
fn seconds(moment: &Number) -> u64 {
    // Fractions are allowed, and beyond the range the nearest moment is taken.
    moment.as_u64().or_else(|| moment.as_f64().map(|moment| moment as u64)).unwrap_or_default().min(END)
}
