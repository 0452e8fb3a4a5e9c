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
}

impl Method {
    /// All of them.
    const ALL: [Self; 12] = [
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
    ];

    /// The method of a name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The method of a number, as the oldest clients write it.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.number() == number)
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
        }
    }

    fn number(self) -> u64 {
        match self {
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
        }
    }

    /// What a key must be good for.
    pub(super) fn scope(self) -> Scope {
        match self {
            Self::Publish | Self::Broadcast => Scope::Publish,
            Self::Subscribe | Self::Unsubscribe => Scope::Subscribe,
            Self::Disconnect | Self::Refresh => Scope::Disconnect,
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
            assert_eq!(Method::numbered(method.number()), Some(method));
        }
        assert_eq!(Method::of("connections"), None);
        assert_eq!(Method::numbered(10), None, "rpc");
    }
}
