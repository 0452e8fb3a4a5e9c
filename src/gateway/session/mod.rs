//! One session as a state machine: what a client's frames ask for, and what is to be done. No I/O, no clock.
//!
//! A session begins when its websocket is open and lives through three states: [`State::New`], where only a login
//! is welcome; [`State::LoggingIn`], while the token is checked, where commands wait; [`State::Ready`]. Whatever
//! it decides comes out as [`Effect`]s, in the order in which the connection must carry them out.

mod centrifuge;
mod openresty_push;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::config::Dialect;
use crate::gateway::CloseReason;
use crate::gateway::auth::Grant;
use crate::gateway::rules::Rules;
use crate::gateway::rules::Standing;
use crate::gateway::throttle::Act;
use crate::gateway::throttle::Pace;
use crate::gateway::throttle::seconds;
use crate::ids::SessionId;
use crate::wire::centrifuge::Command;
use crate::wire::payload::Payload;

/// What a client shows to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The token; none when the client brought none.
    pub token: Option<String>,
    /// Rooms asked for in the address: honoured only where anybody may enter any room.
    pub rooms: Vec<String>,
}

/// Who a client is, once its credentials are accepted.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Identity {
    /// The user; empty when anonymous.
    pub user: Arc<str>,
    /// The rooms that the login grants; they are joined at once.
    pub rooms: Vec<String>,
    /// When the token expires, in Unix seconds.
    pub expires: Option<u64>,
    /// What the token says about the user, for receivers of the user's messages.
    pub info: Option<Box<RawValue>>,
    /// What the token says about the user for backends only.
    #[allow(dead_code, reason = "for whoever answers backends")]
    pub meta: Option<Box<RawValue>>,
    /// What the token says about single rooms of those above.
    #[allow(dead_code, reason = "for rooms with presence and recovery")]
    pub grants: BTreeMap<String, Grant>,
    /// The number of the token, for logs.
    #[allow(dead_code, reason = "for the record of the login")]
    pub token_id: Option<String>,
}

/// Why credentials were not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Refusal {
    /// The token was valid once: the client should get a new one.
    Expired,
    /// The session must end.
    Close(CloseReason),
}

/// What the connection must do for the session.
#[derive(Debug)]
pub(super) enum Effect {
    /// Write a frame.
    Send(Bytes),
    /// Check credentials, then call [`Session::login`].
    Login(Credentials),
    /// The login succeeded: enter the rooms, then write the greeting, with no message in between lost.
    Enter {
        /// The rooms that the login grants.
        rooms: Vec<String>,
        /// The frame that must come before any message.
        greeting: Option<Bytes>,
    },
    /// Enter a room; the answer must come before the room's first message.
    Join {
        /// The room.
        room: String,
        /// The answer.
        answer: Bytes,
    },
    /// Leave a room.
    Leave {
        /// The room.
        room: String,
    },
    /// Publish into a room; the answers tell the client how it went.
    Publish(Publishing),
    /// A renewed token is to be checked, then call [`Session::refreshed`].
    Refresh(Credentials),
    /// The renewed token counts from now on.
    Renewed,
    /// The rules say no: for the log, the client has its answer.
    Refused(String),
    /// End the session.
    Close(CloseReason),
}

/// A message on its way into a room.
#[derive(Debug)]
pub(super) struct Publishing {
    /// The room.
    pub(super) room: String,
    /// The message.
    pub(super) payload: Payload,
    /// The answer when it was taken.
    pub(super) taken: Option<Bytes>,
    /// The answer when the room has too much to do.
    pub(super) busy: Option<Bytes>,
}

/// A frame from the client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary,
}

/// What a session needs to know of the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    /// The rules in force.
    pub(super) rules: &'a Rules,
    /// The node's name.
    pub(super) node: &'a str,
    /// Seconds between pings, as the client is told.
    pub(super) ping_seconds: u32,
    /// The Unix time in seconds.
    pub(super) unix: u64,
    /// How often it may do things.
    pub(super) pace: Pace<'a>,
}

/// Where a session stands.
#[derive(Debug)]
enum State {
    /// No login yet.
    New,
    /// The token is being checked; commands that come meanwhile wait.
    LoggingIn(Box<LoggingIn>),
    /// Logged in.
    Ready(Box<Identity>),
}

/// A login under way.
#[derive(Debug, Default)]
struct LoggingIn {
    /// The number of the command to answer.
    login: u32,
    /// What came since, and how long the frames were that brought it.
    backlog: Vec<Command>,
    bytes: usize,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    dialect: Dialect,
    state: State,
    rooms: Vec<String>,
    refreshing: Option<u32>,
}

impl Session {
    /// A session that has just connected.
    pub(super) fn new(id: SessionId, dialect: Dialect) -> Self {
        Self { id, dialect, state: State::New, rooms: Vec::new(), refreshing: None }
    }

    /// The session's id.
    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }

    /// The user, after the login.
    pub(super) fn user(&self) -> Option<&Arc<str>> {
        self.identity().map(|identity| &identity.user)
    }

    /// Who the client is, after the login.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.state {
            State::Ready(identity) => Some(identity),
            State::New | State::LoggingIn(_) => None,
        }
    }

    /// The rooms that the session is in.
    pub(super) fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// The connection is open: a client that brought its token in the address logs in now.
    pub(super) fn start(&mut self, credentials: Credentials, effects: &mut Vec<Effect>) {
        match self.dialect {
            Dialect::Centrifuge => {}
            Dialect::OpenrestyPush => openresty_push::start(self, credentials, effects),
        }
    }

    /// A frame came.
    pub(super) fn receive(&mut self, input: Input<'_>, world: &World<'_>, effects: &mut Vec<Effect>) {
        match (self.dialect, input) {
            (Dialect::Centrifuge, Input::Text(text)) => centrifuge::receive(self, text, world, effects),
            (Dialect::OpenrestyPush, Input::Text(text)) => {
                openresty_push::receive(self, text, world, effects);
            }
            (_, Input::Binary) => {
                let why = "a binary frame; this dialect speaks text".to_owned();
                effects.push(Effect::Close(CloseReason::BadRequest(why)));
            }
        }
    }

    /// The credentials were checked.
    pub(super) fn login(
        &mut self,
        outcome: Result<Identity, Refusal>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let State::LoggingIn(waiting) = mem::replace(&mut self.state, State::New) else { return };
        let LoggingIn { login, backlog, .. } = *waiting;
        match outcome {
            Ok(identity) if identity.rooms.len() > world.rules.rooms_max() => {
                let why = format!(
                    "it names {} rooms, and limits.rooms_per_session is {}",
                    identity.rooms.len(),
                    world.rules.rooms_max()
                );
                effects.push(Effect::Close(CloseReason::TokenInvalid(why)));
            }
            Ok(identity)
                if let Err(wait) = world.pace.check(Act::Login, &identity.user, self.id.as_str()) =>
            {
                effects.push(Effect::Close(CloseReason::TooManyRequests { retry_after: seconds(wait) }));
            }
            Ok(identity) => {
                self.rooms.clone_from(&identity.rooms);
                let greeting = match self.dialect {
                    Dialect::Centrifuge => Some(centrifuge::greeting(self, login, &identity, world)),
                    Dialect::OpenrestyPush => None,
                };
                effects.push(Effect::Enter { rooms: identity.rooms.clone(), greeting });
                self.state = State::Ready(Box::new(identity));
                for command in backlog {
                    centrifuge::command(self, command, world, effects);
                }
            }
            Err(Refusal::Close(reason)) => effects.push(Effect::Close(reason)),
            Err(Refusal::Expired) => match self.dialect {
                Dialect::Centrifuge => effects.push(centrifuge::token_expired(login)),
                Dialect::OpenrestyPush => effects.push(Effect::Close(CloseReason::Expired)),
            },
        }
    }

    /// A renewed token was checked; gives its new expiry when it was accepted.
    pub(super) fn refreshed(
        &mut self,
        outcome: Result<Identity, Refusal>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(number), State::Ready(identity)) = (self.refreshing.take(), &mut self.state) else {
            return;
        };
        match outcome {
            Ok(renewed) if renewed.user == identity.user => {
                identity.expires = renewed.expires;
                let ttl = ttl(&renewed, world);
                effects.push(centrifuge::refreshed(number, &self.id, ttl));
                effects.push(Effect::Renewed);
            }
            Ok(_) => {
                let why = "the new token names another user".to_owned();
                effects.push(Effect::Close(CloseReason::TokenInvalid(why)));
            }
            Err(Refusal::Expired) => effects.push(centrifuge::token_expired(number)),
            Err(Refusal::Close(reason)) => effects.push(Effect::Close(reason)),
        }
    }

    /// May the session do this now? If not, the words that say when.
    fn paced(&self, act: Act, world: &World<'_>) -> Result<(), String> {
        let user = self.user().map_or("", |user| &**user);
        let wait = |wait| format!("this often is too often; try again in {} s", seconds(wait));
        world.pace.check(act, user, self.id.as_str()).map_err(wait)
    }

    fn standing(&self) -> Standing<'_> {
        match &self.state {
            State::Ready(identity) => Standing {
                granted: &identity.rooms,
                anonymous: identity.user.is_empty(),
                joined: &self.rooms,
            },
            State::New | State::LoggingIn(_) => {
                Standing { granted: &[], anonymous: true, joined: &self.rooms }
            }
        }
    }
}

/// Seconds until an identity expires, at least one.
fn ttl(identity: &Identity, world: &World<'_>) -> Option<u32> {
    let left = identity.expires?.saturating_sub(world.unix).max(1);
    Some(u32::try_from(left).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
