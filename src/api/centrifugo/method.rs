//! What can be asked for: the methods of the API, and what a key must be good for.

use crate::config::Scope;

/// A method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// A message into a room.
    Publish,
    /// A message into several rooms.
    Broadcast,
    /// Sessions enter a room.
    Subscribe,
    /// Sessions leave a room.
    Unsubscribe,
    /// Sessions end.
    Disconnect,
    /// Sessions are given more time.
    Refresh,
    /// Who is in a room.
    Presence,
    /// How many are in a room.
    PresenceStats,
    /// What was said in a room.
    History,
    /// Forgets that.
    HistoryRemove,
    /// Which rooms there are.
    Channels,
    /// Which nodes there are.
    Info,
    /// A message to a user or session.
    Send,
    /// Ends a room.
    Dissolve,
    /// Keeps a user out.
    Ban,
    /// Lets a user in again.
    Unban,
    /// Who is kept out.
    Bans,
}

impl Method {
    /// All of them.
    const ALL: [Self; 17] = [
        Self::Publish,
        Self::Broadcast,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Refresh,
        Self::Presence,
        Self::PresenceStats,
        Self::History,
        Self::HistoryRemove,
        Self::Channels,
        Self::Info,
        Self::Send,
        Self::Dissolve,
        Self::Ban,
        Self::Unban,
        Self::Bans,
    ];

    /// The method of a name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The method of a number, as the oldest clients write it.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.number() == Some(number))
    }

    /// Its name: the last part of its path, and the key of a command in a batch.
    pub(super) fn name(self) -> &'static str {
        let path = self.endpoint();
        path.strip_prefix("/api/").unwrap_or(path)
    }

    /// Its path.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::Publish => "/api/publish",
            Self::Broadcast => "/api/broadcast",
            Self::Subscribe => "/api/subscribe",
            Self::Unsubscribe => "/api/unsubscribe",
            Self::Disconnect => "/api/disconnect",
            Self::Refresh => "/api/refresh",
            Self::Presence => "/api/presence",
            Self::PresenceStats => "/api/presence_stats",
            Self::History => "/api/history",
            Self::HistoryRemove => "/api/history_remove",
            Self::Channels => "/api/channels",
            Self::Info => "/api/info",
            Self::Send => "/api/send",
            Self::Dissolve => "/api/dissolve",
            Self::Ban => "/api/ban",
            Self::Unban => "/api/unban",
            Self::Bans => "/api/bans",
        }
    }

    /// The original's number; its API has not all of these methods.
    fn number(self) -> Option<u64> {
        Some(match self {
            Self::Publish => 0,
            Self::Broadcast => 1,
            Self::Unsubscribe => 2,
            Self::Disconnect => 3,
            Self::Presence => 4,
            Self::PresenceStats => 5,
            Self::History => 6,
            Self::HistoryRemove => 7,
            Self::Channels => 8,
            Self::Info => 9,
            Self::Subscribe => 11,
            Self::Refresh => 12,
            Self::Send | Self::Dissolve | Self::Ban | Self::Unban | Self::Bans => return None,
        })
    }

    /// What a key must be good for.
    pub(super) fn scope(self) -> Scope {
        match self {
            Self::Publish | Self::Broadcast | Self::Send => Scope::Publish,
            Self::Subscribe | Self::Unsubscribe => Scope::Subscribe,
            Self::Disconnect | Self::Refresh | Self::Dissolve => Scope::Disconnect,
            Self::Ban | Self::Unban | Self::Bans => Scope::Disconnect,
            Self::Presence | Self::PresenceStats => Scope::Presence,
            Self::History | Self::HistoryRemove => Scope::History,
            Self::Channels | Self::Info => Scope::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_name_and_its_number() {
        for method in Method::ALL {
            assert_eq!(Method::of(method.name()), Some(method));
            if let Some(number) = method.number() {
                assert_eq!(Method::numbered(number), Some(method));
            }
        }
        assert_eq!(Method::of("connections"), None);
        assert_eq!(Method::numbered(10), None, "rpc");
    }
}
