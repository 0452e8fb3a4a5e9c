//! `/goim/nodes/{weighted,instances}`: where clients should connect. This node is the only one, and it is reached as
//! the request itself reached it: clients get the name they asked, and backends see the sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::HOST;
use serde::Serialize;

use crate::address::Address;
use crate::address::HostPort;
use crate::api::call::Call;
use crate::api::goim::reply;
use crate::api::goim::reply::Fault;
use crate::api::reply::Answer;
use crate::clock;
use crate::config::Dialect;

/// After how many heartbeats without a sign a client is gone.
const HEARTBEAT_MAX: u32 = 2;

/// How long a client of goim may be silent where its route does not say.
const SILENCE: Duration = Duration::from_secs(480);

#[derive(Debug, Serialize)]
struct Backoff {
    max_delay: u32,
    base_delay: u32,
    factor: f32,
    jitter: f32,
}

/// How clients should come back; the original's own example.
const BACKOFF: Backoff = Backoff { max_delay: 300, base_delay: 3, factor: 1.8, jitter: 0.3 };

#[derive(Debug, Serialize)]
struct Nodes {
    domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_port: Option<u16>,
    ws_port: u16,
    wss_port: u16,
    heartbeat: u64,
    nodes: Vec<String>,
    backoff: Backoff,
    heartbeat_max: u32,
}

#[derive(Debug, Serialize)]
struct Instance {
    region: &'static str,
    zone: &'static str,
    env: &'static str,
    appid: &'static str,
    hostname: String,
    addrs: Vec<String>,
    version: &'static str,
    latest_timestamp: u64,
    metadata: BTreeMap<&'static str, String>,
}

/// Where a client should connect.
pub(super) fn weighted(call: &Call<'_>) -> Result<Answer, Fault> {
    let header = |name: &str| call.head.headers.get(name).and_then(|value| value.to_str().ok());
    let (domain, port) = host(header(HOST.as_str()).unwrap_or_default());
    let secure = header("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let (ws_port, wss_port) = ports(port, secure);
    reply::done(Some(Nodes {
        nodes: vec![domain.clone()],
        domain,
        tcp_port: call.means.status.packets().iter().find_map(tcp_port),
        ws_port,
        wss_port,
        heartbeat: heartbeat(call),
        backoff: BACKOFF,
        heartbeat_max: HEARTBEAT_MAX,
    }))
}

/// The name and the port of a Host header.
fn host(header: &str) -> (String, Option<u16>) {
    match header.rsplit_once(':') {
        // In an IPv6 address without a port the last colon stands within the brackets.
        Some((name, port)) if !port.ends_with(']') => (name.to_owned(), port.parse().ok()),
        _ => (header.to_owned(), None),
    }
}

/// The ports for plain and for TLS websockets: the one that was used, and the usual one for the other.
fn ports(port: Option<u16>, secure: bool) -> (u16, u16) {
    if secure { (80, port.unwrap_or(443)) } else { (port.unwrap_or(80), 443) }
}

fn tcp_port(address: &Address) -> Option<u16> {
    match address {
        Address::Tcp(HostPort { port, .. }) => Some(*port),
        _ => None,
    }
}

/// How often a client should send a heartbeat, in seconds: twice in the silence that its route allows.
fn heartbeat(call: &Call<'_>) -> u64 {
    let config = call.means.config.load();
    let route = config.gateway.routes.iter().find(|route| route.dialect == Dialect::Goim);
    let silence = route.and_then(|route| route.ping_interval).unwrap_or(SILENCE);
    silence.as_secs().div_euclid(u64::from(HEARTBEAT_MAX)).max(1)
}

/// The nodes, as the original's registry shows them.
pub(super) fn instances(call: &Call<'_>) -> Result<Answer, Fault> {
    let online = call.means.gateway.online();
    let addresses: Vec<String> = call.means.status.public().iter().map(ToString::to_string).collect();
    let metadata = BTreeMap::from([
        ("addrs", addresses.join(",")),
        ("conn_count", online.sessions.to_string()),
        ("ip_count", online.addresses.to_string()),
        ("offline", (!call.means.status.is_ready()).to_string()),
        ("weight", "10".to_owned()),
    ]);
    reply::done(Some([Instance {
        region: "",
        zone: "",
        env: "",
        appid: "goim.comet",
        hostname: call.means.status.node().to_owned(),
        addrs: addresses,
        version: env!("CARGO_PKG_VERSION"),
        latest_timestamp: u64::try_from(clock::wall().as_nanos()).unwrap_or(u64::MAX),
        metadata,
    }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_to_where_they_asked() {
        for (header, name, port) in [
            ("push.example.org", "push.example.org", None),
            ("push.example.org:8443", "push.example.org", Some(8443)),
            ("[::1]:8080", "[::1]", Some(8080)),
            ("[::1]", "[::1]", None),
            ("", "", None),
            ("a:b", "a", None),
        ] {
            assert_eq!(host(header), (name.to_owned(), port), "{header}");
        }
        assert_eq!(ports(None, false), (80, 443));
        assert_eq!(ports(Some(8080), false), (8080, 443));
        assert_eq!(ports(Some(8443), true), (80, 8443));
    }
}
