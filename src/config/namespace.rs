//! `[[gateway.namespace]]`: the rules of rooms.

use std::time::Duration;

use super::read::Reader;
use super::settings::Namespace;
use super::settings::Publish;
use super::settings::Slow;
use super::settings::Subscribe;
use crate::units::Bare;

/// The namespace of chats: what they say is kept, or there would be no unread counts.
const CHATS: &str = "live";

/// The most messages that a room may keep.
const HISTORY_MAX: i64 = 1_000_000;

/// The words for [`Subscribe`].
pub(super) const SUBSCRIBE: &[(&str, Subscribe)] = &[
    ("token", Subscribe::Token),
    ("authenticated", Subscribe::Authenticated),
    ("anyone", Subscribe::Anyone),
];
/// The words for [`Publish`].
pub(super) const PUBLISH: &[(&str, Publish)] =
    &[("nobody", Publish::Nobody), ("members", Publish::Members), ("authenticated", Publish::Authenticated)];
/// The words for [`Slow`].
pub(super) const SLOW: &[(&str, Slow)] =
    &[("disconnect", Slow::Disconnect), ("drop_oldest", Slow::DropOldest), ("conflate", Slow::Conflate)];

/// The rules that were written. Where none has the empty name, the built-in ones are added, so that every room has
/// rules.
pub(super) fn namespaces(read: Reader<'_>) -> Vec<Namespace> {
    let mut namespaces: Vec<Namespace> = Vec::new();
    for (table, place) in read.tables("gateway.namespace", "gateway.namespace.") {
        let name = table.written_text("name");
        match &name {
            Some(name) => check_name(table, name, &namespaces),
            None if table.has("name") => {}
            None => {
                let remedy = "write name = \"chat\", or name = \"\" for all other rooms";
                table.wrong_at(place, "name", "a namespace needs a name", remedy);
            }
        }
        namespaces.push(rules(table, name.unwrap_or_default()));
    }
    for name in ["", CHATS] {
        if !namespaces.iter().any(|namespace| namespace.name == name) {
            namespaces.push(Namespace::named(name));
        }
    }
    namespaces
}

/// The rules as they are written; what is not written is as in [`Namespace::named`].
fn rules(table: Reader<'_>, name: String) -> Namespace {
    let usual = Namespace::named(&name);
    let switch = |key: &str, usual: bool| if table.has(key) { table.switch(key) } else { usual };
    let history_size = if table.has("history_size") {
        table.amount("history_size", 0..=HISTORY_MAX)
    } else {
        usual.history_size
    };
    let history_ttl = if table.has("history_ttl") {
        table.duration(
            "history_ttl",
            Bare::Seconds,
            "would forget every message at once: write history_size = 0",
        )
    } else {
        usual.history_ttl
    };
    let durable = switch("durable", usual.durable);
    if durable && history_size == 0 {
        let problem = "\"durable\" rooms keep messages, and \"history_size\" is 0";
        table.wrong("durable", problem, "raise history_size, or write durable = false");
    }
    Namespace {
        subscribe: table.word("subscribe", SUBSCRIBE).unwrap_or(usual.subscribe),
        publish: table.word("publish", PUBLISH).unwrap_or(usual.publish),
        history_size,
        history_ttl,
        durable,
        presence: switch("presence", usual.presence),
        join_leave: switch("join_leave", usual.join_leave),
        slow: table.word("slow", SLOW).unwrap_or(usual.slow),
        name,
    }
}

impl Namespace {
    /// The rules where nothing else is written: those that the manual shows.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let usual = Self {
            name: name.to_owned(),
            subscribe: Subscribe::Token,
            publish: Publish::Members,
            history_size: 100,
            history_ttl: Duration::from_secs(300),
            durable: false,
            presence: true,
            join_leave: false,
            slow: Slow::Disconnect,
        };
        match name {
            CHATS => Self {
                history_size: 10_000,
                history_ttl: Duration::from_secs(30 * 86_400),
                durable: true,
                ..usual
            },
            _ => usual,
        }
    }
}

fn check_name(table: Reader<'_>, name: &str, others: &[Namespace]) {
    if name.contains(':') {
        let problem = format!("\"{name}\" has a colon, which ends the prefix of a room name");
        table.wrong(
            "name",
            problem,
            format!("write name = \"{}\"", name.split(':').next().unwrap_or_default()),
        );
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace()) || name.len() > 255 {
        let problem = format!("\"{name}\" can not begin a room name");
        table.wrong("name", problem, "write at most 255 bytes without white space");
    } else if others.iter().any(|other| other.name == name) {
        table.wrong(
            "name",
            format!("\"{name}\" has a namespace already"),
            "give each namespace its own name",
        );
    }
}
