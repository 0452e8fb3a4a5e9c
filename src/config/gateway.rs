//! `[gateway]` and `[[gateway.route]]`.

use std::time::Duration;

use super::auth;
use super::check;
use super::mistake::Place;
use super::namespace;
use super::read::Reader;
use super::read::SIZE_MAX;
use super::settings::Carrier;
use super::settings::Dialect;
use super::settings::Gateway;
use super::settings::Route;
use crate::units::Bare;

/// Paths of the public and admin listeners that no route may take. One that ends in `/` stands for all below it.
pub const BUILT_IN_PATHS: &[&str] = &[
    "/",
    "/trial/",
    "/api/",
    "/goim/",
    "/open/",
    "/upload/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/tail",
    "/namespaces/",
];

/// The names of dialects, each with what carries it.
const DIALECTS: &[(&str, (Dialect, Carrier))] = &[
    ("centrifuge", (Dialect::Centrifuge, Carrier::WebSocket)),
    ("centrifuge-sse", (Dialect::Centrifuge, Carrier::Sse)),
    ("centrifuge-http-stream", (Dialect::Centrifuge, Carrier::HttpStream)),
    ("centrifuge-emulation", (Dialect::Centrifuge, Carrier::Emulation)),
    ("centrifuge-uni-sse", (Dialect::Centrifuge, Carrier::UniSse)),
    ("centrifuge-uni-http-stream", (Dialect::Centrifuge, Carrier::UniHttpStream)),
    ("openresty-push", (Dialect::OpenrestyPush, Carrier::WebSocket)),
    ("goim", (Dialect::Goim, Carrier::WebSocket)),
    ("orim", (Dialect::Orim, Carrier::WebSocket)),
    ("golang-im", (Dialect::GolangIm, Carrier::WebSocket)),
];
/// Less than this would be used up by a handful of rooms.
const MEMORY_MIN: u64 = 1024 * 1024;

const NO_PAUSE: &str = "would ping without a pause";

/// The section with its routes and namespaces.
pub(super) fn gateway(read: Reader<'_>) -> Gateway {
    let ping_interval = read.duration("gateway.ping_interval", Bare::Seconds, NO_PAUSE);
    let pong_timeout =
        read.duration("gateway.pong_timeout", Bare::Seconds, "would end every session at its first ping");
    read.relation(
        &["gateway.pong_timeout", "gateway.ping_interval"],
        pong_timeout < ping_interval,
        "\"pong_timeout\" should be < \"ping_interval\", or a client is pinged again before it had to answer",
        "lower pong_timeout or raise ping_interval",
    );
    Gateway {
        routes: routes(read, pong_timeout),
        tcp: check::stream_addresses(read, "gateway.tcp", "goim's packets need"),
        namespaces: namespace::namespaces(read),
        inbox_size: read.amount("gateway.inbox_size", 1..=10_000),
        inbox_ttl: read.duration("gateway.inbox_ttl", Bare::Seconds, "would keep nothing for anybody"),
        memory: read.size("gateway.memory", MEMORY_MIN..=SIZE_MAX),
        login_timeout: read.duration("gateway.login_timeout", Bare::Seconds, "would leave no time to log in"),
        ping_interval,
        pong_timeout,
        client_queue: read.size("gateway.client_queue", 1024..=SIZE_MAX),
        allowed_origins: allowed_origins(read),
    }
}

fn routes(read: Reader<'_>, pong_timeout: Duration) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for (table, place) in read.tables("gateway.route", "gateway.route.") {
        let path = table.written_text("path");
        match &path {
            Some(path) => check_path(table, path, &routes),
            None if table.has("path") => {}
            None => table.wrong_at(place.clone(), "path", "a route needs a path", "write path = \"/ws\""),
        }
        if !table.has("dialect") {
            let remedy =
                "write dialect = \"centrifuge\", \"openresty-push\", \"goim\", \"orim\" or \"golang-im\"";
            table.wrong_at(place, "dialect", "a route needs a dialect", remedy);
        }
        let ping_interval =
            table.has("ping_interval").then(|| table.duration("ping_interval", Bare::Seconds, NO_PAUSE));
        if ping_interval.is_some_and(|interval| !interval.is_zero() && interval <= pong_timeout) {
            let problem = "gateway.pong_timeout should be < \"ping_interval\", or a client is pinged again before it had to answer";
            table.wrong("ping_interval", problem, "lower pong_timeout or raise ping_interval");
        }
        let usual = (Dialect::Centrifuge, Carrier::WebSocket);
        let (dialect, carrier) = table.word("dialect", DIALECTS).unwrap_or(usual);
        routes.push(Route {
            path: path.unwrap_or_default(),
            dialect,
            carrier,
            auth: table.word("auth", auth::MODES),
            ping_interval,
        });
    }
    routes
}

fn check_path(table: Reader<'_>, path: &str, others: &[Route]) {
    if !path.starts_with('/') {
        table.wrong("path", format!("\"{path}\" does not start with /"), format!("write path = \"/{path}\""));
    } else if path.contains(['?', '#', '*', '{', '\\'])
        || path.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        let problem = format!("\"{path}\" is more than a path");
        table.wrong("path", problem, "write the plain path, without query, pattern or white space");
    } else if is_built_in(path) {
        table.wrong("path", format!("\"{path}\" is served by pillion itself"), "choose another path");
    } else if others.iter().any(|other| other.path == path) {
        table.wrong("path", format!("\"{path}\" has a route already"), "give each route its own path");
    }
}

fn is_built_in(path: &str) -> bool {
    BUILT_IN_PATHS.iter().any(|built_in| match built_in.strip_suffix('/') {
        Some(folder) if !folder.is_empty() => path == folder || path.starts_with(built_in),
        _ => path == *built_in,
    })
}

fn allowed_origins(read: Reader<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for (origin, place) in read.texts("gateway.allowed_origins") {
        check_origin(read, &origin, place);
        origins.push(origin);
    }
    origins
}

/// Browsers send scheme, host and port in small letters, and nothing behind them.
fn check_origin(read: Reader<'_>, origin: &str, place: Place) {
    let key = "gateway.allowed_origins";
    let lower = origin.to_ascii_lowercase();
    let host = lower
        .split_once("://")
        .map_or(lower.as_str(), |(_, rest)| rest)
        .split('/')
        .next()
        .unwrap_or_default();
    let scheme = if lower.starts_with("http://") { "http" } else { "https" };
    let right = format!("{scheme}://{host}");
    if origin == "*" {
        read.wrong_at(place, key, "\"*\" is no origin", "an empty list allows any");
    } else if origin != right || host.is_empty() || !is_host_or_pattern(host) {
        let problem = format!("\"{origin}\" is not what browsers send as origin");
        read.wrong_at(
            place,
            key,
            problem,
            format!("write scheme, host and port, such as \"{}\"", suggested(&right, host)),
        );
    }
}

/// True for what can be a name and port, and for `*.` before one: behind it a dot is needed, or it would stand for
/// everybody below a whole top-level domain.
fn is_host_or_pattern(host: &str) -> bool {
    let (name, is_enough) = match host.strip_prefix("*.") {
        Some(name) => (name, name.contains('.')),
        None => (host, true),
    };
    is_enough && !name.is_empty() && !name.contains(['*', '@', ' ', '?', '#'])
}

fn suggested<'a>(right: &'a str, host: &str) -> &'a str {
    if !is_host_or_pattern(host) { "https://example.org" } else { right }
}
