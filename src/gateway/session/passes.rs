//! Rooms that a session may be in for a time, by a token of their own.

use std::sync::Arc;

use crate::gateway::CloseReason;
use crate::gateway::auth::Grant;
use crate::gateway::auth::GrantRefusal;
use crate::gateway::frame::Frame;
use crate::gateway::room::step::Welcome;
use crate::gateway::session::Effect;
use crate::gateway::session::Entrance;
use crate::gateway::session::Pass;
use crate::gateway::session::Session;
use crate::gateway::session::State;
use crate::gateway::session::Vouching;
use crate::gateway::session::World;
use crate::gateway::session::centrifuge;
use crate::wire::centrifuge::Error;
use crate::wire::centrifuge::Unsubscribed;
use crate::wire::payload::Payload;

impl Session {
    /// A token for one room was checked.
    pub(in crate::gateway) fn vouched(
        &mut self,
        vouching: Vouching,
        outcome: Result<Grant, GrantRefusal>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(encoding), State::Ready(_)) = (self.form.encoding(), &self.state) else { return };
        let Vouching { command, mut entrance, renews, .. } = vouching;
        let refuse = |error: Error| centrifuge::not_vouched(encoding, command, error, "");
        match outcome {
            Ok(grant) if renews => {
                let pass = pass(&grant, world);
                if self.rooms.contains(&entrance.room) {
                    self.stay_until(&entrance.room, grant.expires);
                }
                effects.push(centrifuge::stays(encoding, command, pass.ttl));
                effects.push(Effect::Renewed);
            }
            Ok(grant) => {
                // Others may have entered while the token was checked.
                if let Err(denied) = world.rules.may_join_with_token(&entrance.room, &self.standing()) {
                    effects.push(centrifuge::not_vouched(
                        encoding,
                        command,
                        Error::LimitExceeded,
                        &denied.to_string(),
                    ));
                    return;
                }
                entrance.pass = pass(&grant, world);
                entrance.join_leave |= grant.overrides.force_push_join_leave == Some(true);
                self.stay_until(&entrance.room, grant.expires);
                self.join(entrance, Welcome::Subscribed(command), effects);
                effects.push(Effect::Renewed);
            }
            Err(GrantRefusal::Expired) => effects.push(refuse(Error::TokenExpired)),
            Err(GrantRefusal::Invalid(why)) if renews => {
                effects.push(Effect::Close(CloseReason::TokenInvalid(why)));
            }
            Err(GrantRefusal::Invalid(why)) => {
                effects.push(refuse(Error::PermissionDenied));
                effects.push(Effect::Refused(format!("the token for {:?}: {why}", entrance.room)));
            }
            Err(GrantRefusal::Foreign(why)) => effects.push(Effect::Close(CloseReason::TokenInvalid(why))),
            Err(GrantRefusal::Unavailable(why)) => {
                effects.push(refuse(Error::Internal));
                effects.push(Effect::Refused(format!("the token for {:?}: {why}", entrance.room)));
            }
        }
    }

    /// Enters a room that the rules allow.
    pub(super) fn join(&mut self, entrance: Entrance, welcome: Welcome, effects: &mut Vec<Effect>) {
        // A room that the login joined may be subscribed to as well: its messages then reach that subscription.
        if !self.rooms.contains(&entrance.room) {
            self.rooms.push(entrance.room.clone());
        }
        effects.push(Effect::Join { entrance, welcome });
    }

    /// The session must leave a room at this Unix time; never without one.
    pub(super) fn stay_until(&mut self, room: &str, expires: Option<u64>) {
        self.stays.retain(|(name, _)| name != room);
        if let Some(expires) = expires {
            self.stays.push((room.to_owned(), expires));
        }
    }

    /// When the next thing of the session expires, in Unix seconds.
    pub(in crate::gateway) fn expires(&self) -> Option<u64> {
        let login = self.identity().and_then(|identity| identity.expires);
        let stays = self.stays.iter().map(|(_, expires)| *expires);
        stays.chain(login).min()
    }

    /// Something of the session has expired: the login ends the session, a stay ends in its room.
    pub(super) fn expire(&mut self, world: &World<'_>, effects: &mut Vec<Effect>) {
        let overdue = |expires: u64| world.unix >= expires.saturating_add(GRACE_SECONDS);
        if self.identity().and_then(|identity| identity.expires).is_some_and(overdue) {
            effects.push(Effect::Close(CloseReason::Expired));
            return;
        }
        let (over, stays): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.stays).into_iter().partition(|(_, expires)| overdue(*expires));
        self.stays = stays;
        for (room, _) in over {
            self.rooms.retain(|joined| *joined != room);
            let why = Unsubscribed::Expired;
            let notice = self.form.unsubscribed(&room, why.code(), why.words()).map(Frame::control);
            effects.push(Effect::Leave { room, notice });
        }
        effects.push(Effect::Renewed);
    }
}

/// A client that renews a token does so when it expires: it may be so many seconds late.
pub(in crate::gateway) const GRACE_SECONDS: u64 = 10;

/// Seconds until a Unix time, at least one.
pub(super) fn ttl(expires: u64, world: &World<'_>) -> u32 {
    u32::try_from(expires.saturating_sub(world.unix).max(1)).unwrap_or(u32::MAX)
}

/// What a token says, as the room takes it.
pub(super) fn pass(grant: &Grant, world: &World<'_>) -> Pass {
    let payload = |value: &Option<Box<serde_json::value::RawValue>>| {
        value.as_deref().map(|value| Arc::new(Payload::from_json(value)))
    };
    Pass {
        info: payload(&grant.info),
        data: payload(&grant.data),
        ttl: grant.expires.map(|expires| ttl(expires, world)),
        hidden: grant.overrides.presence == Some(false),
    }
}
