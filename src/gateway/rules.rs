//! Who may enter a room and who may publish there: the namespaces, and the limits of names and numbers.

use crate::config::Namespace;
use crate::config::Publish;
use crate::config::Slow;
use crate::config::Subscribe;
use crate::gateway::room::stream::Keeping;

/// Why a session may not do what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// The name is no name for a room.
    #[error("{0}")]
    BadName(String),
    /// The rules of the room's namespace say no.
    #[error("{0}")]
    Forbidden(String),
    /// The session is in too many rooms.
    #[error("a session may be in {max} rooms")]
    TooManyRooms {
        /// The limit.
        max: usize,
    },
}

/// The rules in force.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    namespaces: Vec<Namespace>,
    name_max: usize,
    rooms_max: usize,
    insecure: bool,
}

/// What the rules need to know of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    /// The rooms that its login names.
    pub(super) granted: &'a [String],
    /// True without a token.
    pub(super) anonymous: bool,
    /// The rooms it is in.
    pub(super) joined: &'a [String],
}

/// What a room's namespace says about the room itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomRules {
    /// What it keeps in memory, or altogether when it is not durable.
    pub(super) keeping: Keeping,
    /// True when what it keeps outlives the process.
    pub(super) durable: bool,
    /// True when members may ask who is there.
    pub(super) presence: bool,
    /// True when members are told who comes and goes.
    pub(super) join_leave: bool,
    /// What happens to a client that does not read.
    pub(super) slow: Slow,
}

impl RoomRules {
    /// True when the room keeps anything.
    pub(super) fn keeps(&self) -> bool {
        self.keeping.size > 0
    }
}

impl Rules {
    /// The rules of a configuration: `name_max` in bytes, `rooms_max` per session.
    pub(super) fn new(namespaces: &[Namespace], name_max: usize, rooms_max: usize, insecure: bool) -> Self {
        Self { namespaces: namespaces.to_vec(), name_max, rooms_max, insecure }
    }

    /// The same rules with other namespaces.
    pub(super) fn with_namespaces(&self, namespaces: &[Namespace]) -> Self {
        Self { namespaces: namespaces.to_vec(), ..self.clone() }
    }

    /// How many rooms a session may be in.
    pub(super) fn rooms_max(&self) -> usize {
        self.rooms_max
    }

    /// May the session enter `room`?
    pub(super) fn may_join(&self, room: &str, standing: &Standing<'_>) -> Result<(), Denied> {
        self.check_name(room)?;
        if !standing.joined.iter().any(|joined| joined == room) && standing.joined.len() >= self.rooms_max {
            return Err(Denied::TooManyRooms { max: self.rooms_max });
        }
        let open = match self.subscribe(room) {
            Subscribe::Anyone => true,
            Subscribe::Authenticated => !standing.anonymous,
            Subscribe::Token => standing.granted.iter().any(|granted| granted == room),
        };
        if open || self.insecure {
            return Ok(());
        }
        Err(Denied::Forbidden(format!(
            "the login does not name the room {room:?}, and its namespace is not open"
        )))
    }

    /// May the session enter `room` with a token of its own for it?
    pub(super) fn may_join_with_token(&self, room: &str, standing: &Standing<'_>) -> Result<(), Denied> {
        let granted = [room.to_owned()];
        self.may_join(room, &Standing { granted: &granted, ..*standing })
    }

    /// May the session publish into `room`?
    pub(super) fn may_publish(&self, room: &str, standing: &Standing<'_>) -> Result<(), Denied> {
        self.check_name(room)?;
        let member = standing.joined.iter().any(|joined| joined == room);
        let allowed = match self.publish(room) {
            Publish::Nobody => false,
            Publish::Members => member,
            Publish::Authenticated => !standing.anonymous,
        };
        if allowed || (self.insecure && self.publish(room) != Publish::Nobody) {
            return Ok(());
        }
        let why = if self.publish(room) == Publish::Members && !member {
            format!("join the room {room:?} first")
        } else {
            format!("the namespace of the room {room:?} does not let clients publish")
        };
        Err(Denied::Forbidden(why))
    }

    /// May the session ask who is in `room`, or what was said there? Members may.
    pub(super) fn may_ask(&self, room: &str, standing: &Standing<'_>) -> Result<(), Denied> {
        self.check_name(room)?;
        if self.insecure || standing.joined.iter().any(|joined| joined == room) {
            return Ok(());
        }
        Err(Denied::Forbidden(format!("join the room {room:?} first")))
    }

    /// What the room's namespace says about the room itself.
    pub(super) fn room(&self, room: &str) -> RoomRules {
        let namespace = self.namespace(room);
        let keeping =
            namespace.map(|namespace| Keeping { size: namespace.history_size, ttl: namespace.history_ttl });
        RoomRules {
            keeping: keeping.unwrap_or_default(),
            durable: namespace.is_some_and(|namespace| namespace.durable),
            presence: namespace.is_some_and(|namespace| namespace.presence),
            join_leave: namespace.is_some_and(|namespace| namespace.join_leave),
            slow: namespace.map_or(Slow::Disconnect, |namespace| namespace.slow),
        }
    }

    /// Is this a name for a room?
    pub(super) fn check_name(&self, room: &str) -> Result<(), Denied> {
        if room.is_empty() {
            return Err(Denied::BadName("the room has no name".into()));
        }
        if room.len() > self.name_max {
            return Err(Denied::BadName(format!(
                "the name of the room is longer than {} bytes",
                self.name_max
            )));
        }
        if room.chars().any(char::is_control) {
            return Err(Denied::BadName("the name of the room has a control character".into()));
        }
        Ok(())
    }

    fn subscribe(&self, room: &str) -> Subscribe {
        self.namespace(room).map_or(Subscribe::Token, |namespace| namespace.subscribe)
    }

    fn publish(&self, room: &str) -> Publish {
        self.namespace(room).map_or(Publish::Nobody, |namespace| namespace.publish)
    }

    /// The namespace of a room: the one named by the prefix before the first colon, else the one without a name.
    fn namespace(&self, room: &str) -> Option<&Namespace> {
        let named = |name: &str| self.namespaces.iter().find(|namespace| namespace.name == name);
        room.split_once(':').and_then(|(prefix, _)| named(prefix)).or_else(|| named(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let namespace =
            |name: &str, subscribe, publish| Namespace { subscribe, publish, ..Namespace::named(name) };
        let namespaces = [
            namespace("", Subscribe::Token, Publish::Members),
            namespace("lobby", Subscribe::Anyone, Publish::Nobody),
            namespace("team", Subscribe::Authenticated, Publish::Authenticated),
        ];
        Rules::new(&namespaces, 16, 2, false)
    }

    fn joins(room: &str, granted: &[&str], anonymous: bool) -> bool {
        let granted: Vec<_> = granted.iter().map(ToString::to_string).collect();
        rules().may_join(room, &Standing { granted: &granted, anonymous, joined: &[] }).is_ok()
    }

    #[test]
    fn the_prefix_before_the_colon_names_the_namespace() {
        assert!(joins("lobby:1", &[], true));
        assert!(!joins("team:1", &[], true));
        assert!(joins("team:1", &[], false));
        assert!(!joins("r1", &[], false));
        assert!(joins("r1", &["r1"], false));
        assert!(!joins("other:r1", &["r1"], false));
    }

    #[test]
    fn members_publish_where_the_namespace_lets_them() {
        let joined = ["r1".to_owned(), "lobby:1".to_owned()];
        let standing = Standing { granted: &[], anonymous: false, joined: &joined };
        assert!(rules().may_publish("r1", &standing).is_ok());
        assert!(rules().may_publish("team:x", &standing).is_ok());
        assert_eq!(
            rules().may_publish("r2", &standing).unwrap_err().to_string(),
            "join the room \"r2\" first"
        );
        assert!(rules().may_publish("lobby:1", &standing).unwrap_err().to_string().contains("does not let"));
    }

    #[test]
    fn names_and_numbers_have_limits() {
        let joined = ["a".to_owned(), "b".to_owned()];
        let standing = Standing { granted: &["c".to_owned()], anonymous: false, joined: &joined };
        let denied = |room: &str| rules().may_join(room, &standing).unwrap_err().to_string();
        assert_eq!(denied("c"), "a session may be in 2 rooms");
        assert_eq!(denied(""), "the room has no name");
        assert_eq!(denied("r\n1"), "the name of the room has a control character");
        assert_eq!(denied("12345678901234567"), "the name of the room is longer than 16 bytes");
    }

    #[test]
    fn trials_open_every_room_but_keep_silent_ones_silent() {
        let rules = Rules { insecure: true, ..rules() };
        let standing = Standing { granted: &[], anonymous: true, joined: &[] };
        assert!(rules.may_join("r1", &standing).is_ok());
        assert!(rules.may_publish("r1", &standing).is_ok());
        assert!(rules.may_publish("lobby:1", &standing).is_err());
    }
}
