//! Which keys differ between two configurations, and when the new values count.

use super::schema;
use super::schema::Reload;
use super::settings::Config;
use super::shipping::Format;
use super::shipping::Target;
use super::shipping::Tls;
use crate::address::HostPort;

/// The keys that differ, by the moment at which their new values count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Counts at once.
    pub live: Vec<&'static str>,
    /// Counts at the next start; until then the old value stays in force.
    pub restart: Vec<&'static str>,
}

impl Changes {
    /// True if nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

/// Lists `"section.field"` for each field that differs.
macro_rules! differing {
    ($old:ident, $new:ident: $($section:ident . $field:ident),* $(,)?) => {
        [$((concat!(stringify!($section), ".", stringify!($field)), $old.$section.$field != $new.$section.$field)),*]
    };
}

/// What differs between the configuration in force and a new one.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Changes {
    let top = [
        ("node", old.node != new.node),
        ("data_dir", old.data_dir != new.data_dir),
        ("shutdown_timeout", old.shutdown_timeout != new.shutdown_timeout),
    ];
    let plain = differing!(old, new:
        listen.public, listen.admin, listen.socket_mode, listen.trusted,
        log.level, log.format, log.ship, log.token, log.legacy_fields,
        logger.target_order, logger.max_connection_age, logger.overflow, logger.shed_limit,
        logger.dead_letter_limit, logger.ready_max_age,
        logger.flush_limit, logger.drop_limit, logger.timeout, logger.max_retry_times, logger.retry_interval,
        logger.retry_max_interval, logger.periodic_flush, logger.max_line, logger.replay_tail,
        ingest.listen, ingest.receive_buffer,
        gateway.login_timeout, gateway.ping_interval, gateway.pong_timeout, gateway.client_queue,
        gateway.tcp, gateway.inbox_size, gateway.inbox_ttl, gateway.memory, gateway.allowed_origins,
        auth.mode, auth.api_url, auth.api_timeout, auth.api_concurrency, auth.api_failures, auth.api_cache,
        auth.api_stale, auth.api_cache_size, auth.jwt_secret, auth.jwt_public_key, auth.jwks_url,
        auth.jwks_refresh, auth.jwks_pause, auth.jwt_audience, auth.jwt_issuer, auth.insecure,
        chat.page, chat.subscribe_url, chat.push_url, chat.face, chat.customers, chat.profile_ttl,
        chat.token_ttl, chat.recall_window, chat.upload_size, chat.upload_ttl, chat.upload_limit,
        store.limit, store.checkpoint_interval, store.queue, store.cache, store.durability,
        limits.connections, limits.frame, limits.room_name, limits.rooms_per_session, limits.rooms,
        limits.sessions_per_user, limits.connect_rate, limits.connect_rate_user, limits.join_rate,
        limits.publish_rate, limits.header, limits.header_timeout, limits.body, limits.body_timeout,
    );
    let lists = [
        ("log.sample", old.log.samples != new.log.samples),
        ("logger.targets", old.logger.alternatives != new.logger.alternatives),
        ("logger.spool_limit", old.logger.spool.limit != new.logger.spool.limit),
        ("logger.spool_interval", old.logger.spool.interval != new.logger.spool.interval),
        ("logger.spool_order", old.logger.spool.order != new.logger.spool.order),
        // Where it is not written, it follows data_dir.
        ("store.path", old.store.path != new.store.path && old.data_dir == new.data_dir),
        ("gateway.route", old.gateway.routes != new.gateway.routes),
        ("chat.shop", old.chat.shops != new.chat.shops),
        ("auth.key", old.auth.keys != new.auth.keys),
        ("gateway.namespace", old.gateway.namespaces != new.gateway.namespaces),
    ];
    let target = target(&old.logger.target, &new.logger.target);
    let tls = tls(old.logger.tls.as_ref(), new.logger.tls.as_ref());
    let format = format(&old.logger.format, &new.logger.format);
    let all = top.into_iter().chain(plain).chain(target).chain(format).chain(tls).chain(lists);
    let mut changes = Changes::default();
    for (key, _) in all.filter(|(_, differs)| *differs) {
        match reload(key) {
            Reload::Live => changes.live.push(key),
            Reload::Restart => changes.restart.push(key),
        }
    }
    changes
}

fn reload(key: &str) -> Reload {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    schema::find(section, name).map_or(Reload::Restart, |key| key.reload)
}

/// The keys from which the target is made.
fn target(old: &Target, new: &Target) -> [(&'static str, bool); 4] {
    let host_port = |target: &Target| match target {
        Target::Tcp(host_port) | Target::Udp(host_port) => Some(host_port.clone()),
        Target::Unix(_) | Target::Unixgram(_) => None,
    };
    let path = |target: &Target| match target {
        Target::Unix(path) | Target::Unixgram(path) => Some(path.clone()),
        Target::Tcp(_) | Target::Udp(_) => None,
    };
    let datagrams = |target: &Target| matches!(target, Target::Udp(_) | Target::Unixgram(_));
    let host = |target| host_port(target).map(|HostPort { host, .. }| host);
    let port = |target| host_port(target).map(|HostPort { port, .. }| port);
    [
        ("logger.host", host(old) != host(new)),
        ("logger.port", port(old) != port(new)),
        ("logger.path", path(old) != path(new)),
        ("logger.sock_type", datagrams(old) != datagrams(new)),
    ]
}

/// The keys from which the format is made. When another one is chosen, that alone is the change.
fn format(old: &Format, new: &Format) -> Vec<(&'static str, bool)> {
    match (old, new) {
        (Format::Ndjson, Format::Ndjson) => Vec::new(),
        (Format::Syslog(old), Format::Syslog(new)) => vec![
            ("logger.format", old.dialect != new.dialect),
            ("logger.syslog_facility", old.facility != new.facility),
            ("logger.syslog_tag", old.tag != new.tag),
            ("logger.octet_counting", old.octet_counting != new.octet_counting),
        ],
        (Format::Beats(old), Format::Beats(new)) => vec![
            ("logger.compression", old.compression != new.compression),
            ("logger.ack_timeout", old.ack_timeout != new.ack_timeout),
        ],
        (Format::Ndjson | Format::Syslog(_) | Format::Beats(_), _) => vec![("logger.format", true)],
    }
}

/// The keys from which TLS is made. When it is switched on or off, that alone is the change.
fn tls(old: Option<&Tls>, new: Option<&Tls>) -> Vec<(&'static str, bool)> {
    let (Some(old), Some(new)) = (old, new) else {
        return vec![("logger.ssl", old.is_some() != new.is_some())];
    };
    vec![
        ("logger.ssl_verify", old.verify != new.verify),
        ("logger.sni_host", old.sni_host != new.sni_host),
        ("logger.ssl_ca", old.ca != new.ca),
        ("logger.ssl_cert", old.cert != new.cert),
        ("logger.ssl_key", old.key != new.key),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::config::load;
    use crate::config::schema::KEYS;

    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    /// A value other than the default for each key, with what else must be set for it to count.
    const OTHERS: &[(&str, &str, &[&str])] = &[
        ("node", "web-2", &[]),
        ("data_dir", "/srv/pillion", &[]),
        ("shutdown_timeout", "20s", &[]),
        ("listen.public", "[\"tcp:127.0.0.1:8000\"]", &[]),
        ("listen.admin", "[]", &[]),
        ("listen.socket_mode", "0600", &[]),
        ("listen.trusted", "[\"10.0.0.0/8\"]", &[]),
        ("log.level", "debug", &[]),
        ("log.format", "json", &[]),
        ("log.ship", "false", &[]),
        ("log.token", "plain", &[]),
        ("log.legacy_fields", "true", &[]),
        ("log.sample", "[\"nginx_access=1/10\"]", &[]),
        ("logger.host", "logs.example.org", &[]),
        ("logger.port", "1", &[]),
        ("logger.sock_type", "udp", &[]),
        ("logger.targets", "[\"tcp:127.0.0.1:5170\", \"tcp:127.0.0.1:5171\"]", &[]),
        ("logger.max_connection_age", "1m", &[]),
        ("logger.flush_limit", "8k", &[]),
        ("logger.drop_limit", "128m", &[]),
        ("logger.timeout", "1", &[]),
        ("logger.max_retry_times", "-1", &[]),
        ("logger.retry_interval", "1", &[]),
        ("logger.retry_max_interval", "1m", &[]),
        ("logger.periodic_flush", "off", &[]),
        ("logger.ssl", "true", &[]),
        ("logger.ssl_verify", "false", &["logger.ssl=true"]),
        ("logger.sni_host", "logs.example.org", &["logger.ssl=true"]),
        ("logger.ssl_ca", "/etc/ca.pem", &["logger.ssl=true"]),
        ("logger.format", "syslog5424", &["logger.format=syslog3164"]),
        ("logger.compression", "3", &["logger.format=beats"]),
        ("logger.ack_timeout", "1m", &["logger.format=beats"]),
        ("logger.syslog_facility", "daemon", &["logger.format=syslog3164"]),
        ("logger.syslog_tag", "im", &["logger.format=syslog3164"]),
        ("logger.octet_counting", "true", &["logger.format=syslog3164"]),
        ("logger.overflow", "spool", &[]),
        ("logger.spool_limit", "2g", &[]),
        ("logger.spool_interval", "5s", &[]),
        ("logger.spool_order", "errors_first", &[]),
        ("logger.shed_limit", "1m", &[]),
        ("logger.dead_letter_limit", "1m", &[]),
        ("logger.ready_max_age", "off", &[]),
        ("logger.max_line", "1m", &[]),
        ("logger.replay_tail", "off", &[]),
        ("ingest.listen", "[]", &[]),
        ("ingest.receive_buffer", "1m", &[]),
        ("gateway.login_timeout", "1m", &[]),
        ("gateway.ping_interval", "1m", &[]),
        ("gateway.pong_timeout", "1s", &[]),
        ("gateway.client_queue", "2m", &[]),
        ("gateway.tcp", "[\"tcp:127.0.0.1:3101\"]", &[]),
        ("gateway.inbox_size", "10", &[]),
        ("gateway.inbox_ttl", "1h", &[]),
        ("gateway.memory", "1g", &[]),
        ("gateway.allowed_origins", "[\"https://example.org\"]", &[]),
        ("gateway.route", "[{ path = \"/sub\", dialect = \"centrifuge\" }]", &[]),
        ("gateway.namespace", "[{ name = \"chat\" }]", &[]),
        ("auth.mode", "api", &["auth.api_url=http://localhost"]),
        ("auth.api_url", "http://localhost", &[]),
        ("auth.api_timeout", "1s", &[]),
        ("auth.api_concurrency", "1", &[]),
        ("auth.api_failures", "1", &[]),
        ("auth.api_cache", "1m", &["auth.api_stale=1h"]),
        ("auth.api_stale", "1h", &[]),
        ("auth.api_cache_size", "1m", &[]),
        ("auth.jwt_public_key", ED25519, &[]),
        ("auth.jwks_url", "http://localhost/keys", &[]),
        ("auth.jwks_refresh", "1h", &[]),
        ("auth.jwks_pause", "1s", &[]),
        ("auth.jwt_secret", "0123456789abcdef0123456789abcdef", &[]),
        ("auth.jwt_audience", "me", &[]),
        ("auth.jwt_issuer", "you", &[]),
        ("auth.insecure", "true", &[]),
        ("chat.page", "/chat.html", &[]),
        ("chat.subscribe_url", "wss://example.org/orim/sub", &[]),
        ("chat.push_url", "https://example.org/open/push", &[]),
        ("chat.face", "/face.png", &[]),
        ("chat.customers", "10", &[]),
        ("chat.profile_ttl", "1d", &[]),
        ("chat.token_ttl", "1d", &[]),
        ("chat.recall_window", "1m", &[]),
        ("chat.upload_size", "1m", &[]),
        ("chat.upload_ttl", "1d", &[]),
        ("chat.upload_limit", "1g", &[]),
        ("chat.shop", "[{ id = \"8001\" }]", &[]),
        ("store.path", "/srv/store", &[]),
        ("store.limit", "1g", &[]),
        ("store.checkpoint_interval", "2s", &[]),
        ("store.queue", "32m", &[]),
        ("store.cache", "32m", &[]),
        ("store.durability", "synced", &[]),
        ("auth.key", "[{ name = \"shop\", key = \"0123456789abcdef\", scopes = [\"*\"] }]", &[]),
        ("limits.connections", "1", &[]),
        ("limits.frame", "1k", &[]),
        ("limits.room_name", "1", &[]),
        ("limits.rooms", "10", &[]),
        ("limits.sessions_per_user", "1", &[]),
        ("limits.rooms_per_session", "1", &[]),
        ("limits.connect_rate", "20/s", &[]),
        ("limits.connect_rate_user", "20/m burst 3", &[]),
        ("limits.join_rate", "20/s", &[]),
        ("limits.publish_rate", "20/s", &[]),
        ("limits.header", "1k", &[]),
        ("limits.header_timeout", "1s", &[]),
        ("limits.body", "1k", &[]),
        ("limits.body_timeout", "1s", &[]),
    ];

    /// Keys that never change alone, or never count.
    const NOT_ALONE: &[&str] = &[
        "logger.path",
        "logger.pool_size",
        "logger.max_buffer_reuse",
        "logger.ssl_cert",
        "logger.ssl_key",
        "logger.target_order",
        "auth.jwt_secret_file",
        "auth.jwt_public_key_file",
    ];

    fn config(arguments: &[String]) -> Config {
        load(&Sources { arguments, ..Sources::default() }).unwrap().config
    }

    #[test]
    fn every_key_counts_and_is_noticed_when_it_changes() {
        for (key, value, with) in OTHERS {
            let mut arguments: Vec<_> = with.iter().map(ToString::to_string).collect();
            let old = config(&arguments);
            arguments.push(format!("{key}={value}"));
            let changes = changes(&old, &config(&arguments));
            let restarts = [
                "node",
                "data_dir",
                "log.format",
                "limits.connections",
                "logger.overflow",
                "logger.dead_letter_limit",
            ];
            if restarts.contains(key)
                || key.starts_with("listen.")
                || key.starts_with("ingest.")
                || key.starts_with("store.")
                || *key == "gateway.tcp"
                || key.starts_with("logger.spool_")
            {
                assert_eq!((changes.restart, changes.live), (vec![*key], vec![]));
            } else {
                assert_eq!((changes.live, changes.restart), (vec![*key], vec![]));
            }
        }
        let known = OTHERS.iter().map(|(key, ..)| *key).chain(NOT_ALONE.iter().copied());
        let mut known: Vec<_> = known.map(str::to_owned).collect();
        let mut all: Vec<_> = KEYS.iter().map(schema::Key::dotted).collect();
        known.sort();
        all.sort();
        assert_eq!(known, all);
    }

    #[test]
    fn keys_that_only_change_together_are_all_named() {
        let old = Config::default();
        assert!(changes(&old, &old.clone()).is_empty());
        let new = config(&["logger.path=/run/logstash.sock".to_owned(), "logger.sock_type=udp".to_owned()]);
        assert_eq!(
            changes(&old, &new).live,
            ["logger.host", "logger.port", "logger.path", "logger.sock_type"]
        );
        let with_tls =
            ["logger.ssl=true", "logger.ssl_cert=/a.pem", "logger.ssl_key=/b.pem"].map(str::to_owned);
        let new = config(&with_tls);
        assert_eq!(changes(&config(&with_tls[..1]), &new).live, ["logger.ssl_cert", "logger.ssl_key"]);
    }
}
