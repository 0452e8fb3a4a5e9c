//! Every key that a configuration can have, and what must happen for a changed value to count.

use super::nearest::nearest;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// The section, or empty for the keys at the top.
    pub(super) section: &'static str,
    /// The name within the section.
    pub(super) name: &'static str,
    /// What is written behind it.
    pub(super) kind: Kind,
    /// When a changed value counts.
    pub(super) reload: Reload,
}

/// The outer form of a value. What is inside is the business of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Always text, so that `7` in a variable is the text "7".
    Text,
    /// A number, a switch, or text with a unit.
    Scalar,
    /// A list of texts.
    List,
    /// A list of tables with these keys: `[[gateway.route]]`.
    Tables(&'static [&'static str]),
}

/// When a changed value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// At SIGHUP.
    Live,
    /// At the next start.
    Restart,
}

impl Key {
    /// The whole name: `logger.flush_limit`, or `node` at the top.
    pub(super) fn dotted(&self) -> String {
        dotted(self.section, self.name)
    }
}

/// The keys of `[[gateway.route]]`.
pub(super) const ROUTE: &[&str] = &["path", "dialect", "auth", "ping_interval"];
/// The keys of `[[gateway.namespace]]`.
pub(super) const NAMESPACE: &[&str] = &[
    "name",
    "subscribe",
    "publish",
    "history_size",
    "history_ttl",
    "durable",
    "presence",
    "join_leave",
    "slow",
];
/// The keys of `[[auth.key]]`.
pub(super) const KEY: &[&str] = &["name", "key", "key_file", "scopes", "rate"];

/// The keys of `[[chat.shop]]`.
pub(super) const SHOP: &[&str] = &["id", "name", "face", "staff"];

const fn live(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind, reload: Reload::Live }
}

const fn restart(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, kind, reload: Reload::Restart }
}

/// Every key, in the order of the manual.
pub(super) const KEYS: &[Key] = &[
    restart("", "node", Kind::Text),
    restart("", "data_dir", Kind::Text),
    live("", "shutdown_timeout", Kind::Scalar),
    restart("listen", "public", Kind::List),
    restart("listen", "admin", Kind::List),
    restart("listen", "socket_mode", Kind::Text),
    restart("listen", "trusted", Kind::List),
    live("log", "level", Kind::Text),
    restart("log", "format", Kind::Text),
    live("log", "ship", Kind::Scalar),
    live("log", "token", Kind::Text),
    live("log", "legacy_fields", Kind::Scalar),
    live("log", "sample", Kind::List),
    live("logger", "host", Kind::Text),
    live("logger", "port", Kind::Scalar),
    live("logger", "path", Kind::Text),
    live("logger", "sock_type", Kind::Text),
    live("logger", "targets", Kind::List),
    live("logger", "target_order", Kind::Text),
    live("logger", "max_connection_age", Kind::Scalar),
    live("logger", "flush_limit", Kind::Scalar),
    live("logger", "drop_limit", Kind::Scalar),
    live("logger", "timeout", Kind::Scalar),
    live("logger", "max_retry_times", Kind::Scalar),
    live("logger", "retry_interval", Kind::Scalar),
    live("logger", "retry_max_interval", Kind::Scalar),
    live("logger", "pool_size", Kind::Scalar),
    live("logger", "max_buffer_reuse", Kind::Scalar),
    live("logger", "periodic_flush", Kind::Scalar),
    live("logger", "ssl", Kind::Scalar),
    live("logger", "ssl_verify", Kind::Scalar),
    live("logger", "sni_host", Kind::Text),
    live("logger", "ssl_ca", Kind::Text),
    live("logger", "ssl_cert", Kind::Text),
    live("logger", "ssl_key", Kind::Text),
    live("logger", "format", Kind::Text),
    live("logger", "compression", Kind::Scalar),
    live("logger", "ack_timeout", Kind::Scalar),
    live("logger", "syslog_facility", Kind::Text),
    live("logger", "syslog_tag", Kind::Text),
    live("logger", "octet_counting", Kind::Scalar),
    restart("logger", "overflow", Kind::Text),
    restart("logger", "spool_limit", Kind::Scalar),
    restart("logger", "spool_interval", Kind::Scalar),
    restart("logger", "spool_order", Kind::Text),
    live("logger", "shed_limit", Kind::Scalar),
    restart("logger", "dead_letter_limit", Kind::Scalar),
    live("logger", "ready_max_age", Kind::Scalar),
    live("logger", "max_line", Kind::Scalar),
    live("logger", "replay_tail", Kind::Scalar),
    restart("ingest", "listen", Kind::List),
    restart("ingest", "receive_buffer", Kind::Scalar),
    live("gateway", "login_timeout", Kind::Scalar),
    live("gateway", "ping_interval", Kind::Scalar),
    live("gateway", "pong_timeout", Kind::Scalar),
    live("gateway", "client_queue", Kind::Scalar),
    restart("gateway", "tcp", Kind::List),
    live("gateway", "inbox_size", Kind::Scalar),
    live("gateway", "inbox_ttl", Kind::Scalar),
    live("gateway", "memory", Kind::Scalar),
    live("gateway", "allowed_origins", Kind::List),
    live("gateway", "route", Kind::Tables(ROUTE)),
    live("gateway", "namespace", Kind::Tables(NAMESPACE)),
    live("auth", "mode", Kind::Text),
    live("auth", "api_url", Kind::Text),
    live("auth", "api_timeout", Kind::Scalar),
    live("auth", "api_concurrency", Kind::Scalar),
    live("auth", "api_failures", Kind::Scalar),
    live("auth", "api_cache", Kind::Scalar),
    live("auth", "api_stale", Kind::Scalar),
    live("auth", "api_cache_size", Kind::Scalar),
    live("auth", "jwt_secret", Kind::Text),
    live("auth", "jwt_secret_file", Kind::Text),
    live("auth", "jwt_public_key", Kind::Text),
    live("auth", "jwt_public_key_file", Kind::Text),
    live("auth", "jwks_url", Kind::Text),
    live("auth", "jwks_refresh", Kind::Scalar),
    live("auth", "jwks_pause", Kind::Scalar),
    live("auth", "jwt_audience", Kind::Text),
    live("auth", "jwt_issuer", Kind::Text),
    live("auth", "insecure", Kind::Scalar),
    live("chat", "page", Kind::Text),
    live("chat", "subscribe_url", Kind::Text),
    live("chat", "push_url", Kind::Text),
    live("chat", "face", Kind::Text),
    live("chat", "customers", Kind::Scalar),
    live("chat", "profile_ttl", Kind::Scalar),
    live("chat", "token_ttl", Kind::Scalar),
    live("chat", "recall_window", Kind::Scalar),
    live("chat", "upload_size", Kind::Scalar),
    live("chat", "upload_ttl", Kind::Scalar),
    live("chat", "upload_limit", Kind::Scalar),
    live("chat", "shop", Kind::Tables(SHOP)),
    restart("store", "path", Kind::Text),
    restart("store", "limit", Kind::Scalar),
    restart("store", "checkpoint_interval", Kind::Scalar),
    restart("store", "queue", Kind::Scalar),
    restart("store", "cache", Kind::Scalar),
    restart("store", "durability", Kind::Text),
    live("auth", "key", Kind::Tables(KEY)),
    restart("limits", "connections", Kind::Scalar),
    live("limits", "frame", Kind::Scalar),
    live("limits", "room_name", Kind::Scalar),
    live("limits", "rooms_per_session", Kind::Scalar),
    live("limits", "rooms", Kind::Scalar),
    live("limits", "sessions_per_user", Kind::Scalar),
    live("limits", "connect_rate", Kind::Scalar),
    live("limits", "connect_rate_user", Kind::Scalar),
    live("limits", "join_rate", Kind::Scalar),
    live("limits", "publish_rate", Kind::Scalar),
    live("limits", "header", Kind::Scalar),
    live("limits", "header_timeout", Kind::Scalar),
    live("limits", "body", Kind::Scalar),
    live("limits", "body_timeout", Kind::Scalar),
];

/// The key with this section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// True if there is a section of this name.
pub(super) fn is_section(name: &str) -> bool {
    !name.is_empty() && KEYS.iter().any(|key| key.section == name)
}

/// The section that a misspelt section name probably means.
pub(super) fn nearest_section(name: &str) -> Option<&'static str> {
    nearest(name, KEYS.iter().map(|key| key.section).filter(|section| !section.is_empty()))
}

/// What an unknown key probably means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// Misspelt, but in the right section.
    Here(&'static str),
    /// Spelt well, in the wrong section; these have such a key.
    Elsewhere(Vec<(&'static str, &'static str)>),
    /// Misspelt, in the wrong section.
    Perhaps(&'static str, &'static str),
    /// Nothing is near.
    Nothing,
}

/// What the unknown key `name` in `section` probably means.
pub(super) fn meant(section: &str, name: &str) -> Meant {
    let here = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let elsewhere: Vec<_> =
        KEYS.iter().filter(|key| key.name == name).map(|key| (key.section, key.name)).collect();
    if !elsewhere.is_empty() {
        return Meant::Elsewhere(elsewhere);
    }
    if let Some(near) = nearest(name, here) {
        return Meant::Here(near);
    }
    if let Some(near) =
        nearest(name, KEYS.iter().map(|key| key.name)).and_then(|near| named(|key| key.name == near))
    {
        return Meant::Perhaps(near.section, near.name);
    }
    // The whole name finds a variable with one underscore too few.
    let all: Vec<_> = KEYS.iter().map(Key::dotted).collect();
    let near = nearest(&dotted(section, name), all.iter().map(String::as_str));
    let near = near.and_then(|near| named(|key| key.dotted() == near));
    near.map_or(Meant::Nothing, |key| Meant::Perhaps(key.section, key.name))
}

fn named(is_wanted: impl Fn(&Key) -> bool) -> Option<&'static Key> {
    KEYS.iter().find(|key| is_wanted(key))
}

/// `section.name`, or `name` for the keys at the top.
pub(super) fn dotted(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_key_is_listed_twice() {
        for key in KEYS {
            assert_eq!(
                KEYS.iter().filter(|other| other.dotted() == key.dotted()).count(),
                1,
                "{}",
                key.dotted()
            );
        }
    }

    /// The keys that the manual sets, with those of its tables as `gateway.route.path`.
    fn keys_of_the_manual() -> BTreeSet<String> {
        let manual: toml::Table = crate::config::DEFAULTS.parse().unwrap();
        let mut keys = BTreeSet::new();
        for (section, value) in manual {
            match value {
                toml::Value::Table(table) => {
                    keys.extend(table.keys().map(|name| dotted(&section, name)));
                }
                _ => drop(keys.insert(section)),
            }
        }
        keys
    }

    #[test]
    fn the_manual_has_every_key_and_no_other() {
        let known: BTreeSet<_> = KEYS.iter().map(Key::dotted).collect();
        assert_eq!(keys_of_the_manual(), known);
    }

    #[test]
    fn the_manual_explains_every_key_and_marks_those_that_need_a_restart() {
        let mut section = "";
        let mut comment = String::new();
        let mut explained = 0;
        for line in crate::config::DEFAULTS.lines() {
            if let Some(text) = line.strip_prefix('#') {
                comment.push_str(text);
            } else if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = header;
                comment.clear();
            } else if let Some((name, _)) = line.split_once(" = ").filter(|_| !section.starts_with('[')) {
                let key = find(section, name).unwrap();
                assert!(comment.contains("(restart)") == (key.reload == Reload::Restart), "{}", key.dotted());
                // The pair of certificate and key shares its comment.
                assert!(comment.len() > 20 || name == "ssl_key", "{}", key.dotted());
                comment.clear();
                explained += 1;
            } else {
                comment.clear();
            }
        }
        let in_brackets = |key: &&Key| crate::config::DEFAULTS.contains(&format!("\n[[{}]]\n", key.dotted()));
        let tables =
            KEYS.iter().filter(|key| matches!(key.kind, Kind::Tables(_))).filter(in_brackets).count();
        assert_eq!(explained + tables, KEYS.len());
    }

    #[test]
    fn an_unknown_key_is_traced_to_what_was_meant() {
        assert_eq!(meant("logger", "flsh_limit"), Meant::Here("flush_limit"));
        assert_eq!(meant("limits", "drop_limit"), Meant::Elsewhere(vec![("logger", "drop_limit")]));
        assert_eq!(meant("", "format"), Meant::Elsewhere(vec![("log", "format"), ("logger", "format")]));
        assert_eq!(meant("logger", "nod"), Meant::Perhaps("", "node"));
        assert_eq!(meant("", "logger_flush_limit"), Meant::Perhaps("logger", "flush_limit"));
        assert_eq!(meant("loger", "flush_limt"), Meant::Perhaps("logger", "flush_limit"));
        assert_eq!(meant("logger", "elephant"), Meant::Nothing);
    }

    #[test]
    fn an_unknown_section_is_traced_to_what_was_meant() {
        assert_eq!(nearest_section("loger"), Some("logger"));
        assert_eq!(nearest_section("limit"), Some("limits"));
        assert_eq!(nearest_section("kitchen"), None);
        assert!(is_section("log") && !is_section(""));
    }
}
