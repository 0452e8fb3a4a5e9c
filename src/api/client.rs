//! Who a request comes from: the peer's address, or what a trusted proxy says about it.

use std::net::IpAddr;

use hyper::HeaderMap;

use crate::config::Trusted;
use crate::net::Peer;
use crate::trail::Subject;

/// The longest request id that is taken over from a proxy, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// The sender of a request.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Its address, when it is known: a proxy on a unix socket may not say.
    pub(super) address: Option<IpAddr>,
    /// The id of the request.
    pub(super) request_id: String,
}

impl Client {
    /// Reads the sender of a request off its peer and headers; `fresh` makes an id when the request has none.
    ///
    /// `X-Real-IP` counts before `X-Forwarded-For`; of the latter, the last address that is not itself a trusted
    /// proxy. Neither counts when the peer is not trusted.
    pub(super) fn of(
        peer: &Peer,
        headers: &HeaderMap,
        trusted: &Trusted,
        fresh: impl FnOnce() -> String,
    ) -> Self {
        let direct = match peer {
            Peer::Unix { .. } => None,
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
        };
        let believed = match direct {
            None => trusted.unix,
            Some(address) => trusts(trusted, address),
        };
        if !believed {
            return Self { address: direct, request_id: fresh() };
        }
        let told = real_ip(headers).or_else(|| forwarded_for(headers, trusted));
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(|id| is_sane(id));
        Self { address: told.or(direct), request_id: id.map_or_else(fresh, ToOwned::to_owned) }
    }

    /// The sender, for the log.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { client: self.address, request_id: Some(&self.request_id), ..Subject::default() }
    }
}

fn trusts(trusted: &Trusted, address: IpAddr) -> bool {
    trusted.networks.iter().any(|network| network.contains(&address))
}

fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get("x-real-ip")?.to_str().ok()?.trim().parse().ok()
}

fn forwarded_for(headers: &HeaderMap, trusted: &Trusted) -> Option<IpAddr> {
    let hops = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<IpAddr> =
        hops.flat_map(|value| value.split(',')).filter_map(|hop| hop.trim().parse().ok()).collect();
    let client = hops.iter().rev().find(|hop| !trusts(trusted, **hop));
    client.or_else(|| hops.first()).copied()
}

fn is_sane(id: &str) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &Peer, headers: &[(&'static str, &str)]) -> (String, String) {
        let trusted = Trusted { unix: true, networks: vec!["10.0.0.0/8".parse().unwrap()] };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let client = Client::of(peer, &map, &trusted, || "fresh".into());
        (client.address.map(|address| address.to_string()).unwrap_or_default(), client.request_id)
    }

    fn tcp(address: &str) -> Peer {
        Peer::Tcp(format!("{address}:4711").parse().unwrap())
    }

    const UNIX: Peer = Peer::Unix { pid: None };

    #[test]
    fn a_trusted_proxy_names_the_client() {
        assert_eq!(of(&UNIX, &[("x-real-ip", "192.0.2.7")]).0, "192.0.2.7");
        assert_eq!(of(&tcp("10.1.1.1"), &[("x-real-ip", "2001:db8::1")]).0, "2001:db8::1");
        assert_eq!(of(&UNIX, &[("x-forwarded-for", "198.51.100.1, 192.0.2.7, 10.0.0.9")]).0, "192.0.2.7");
        assert_eq!(of(&UNIX, &[]).0, "");
    }

    #[test]
    fn anybody_else_is_not_believed() {
        let headers = [("x-real-ip", "192.0.2.7"), ("x-request-id", "forged")];
        assert_eq!(of(&tcp("203.0.113.5"), &headers), ("203.0.113.5".into(), "fresh".into()));
    }

    #[test]
    fn nonsense_in_headers_is_passed_over() {
        assert_eq!(
            of(&UNIX, &[("x-real-ip", "nobody"), ("x-forwarded-for", "unknown, 192.0.2.7")]).0,
            "192.0.2.7"
        );
        assert_eq!(of(&UNIX, &[("x-request-id", "a b")]).1, "fresh");
        assert_eq!(of(&UNIX, &[("x-request-id", &"x".repeat(129))]).1, "fresh");
        assert_eq!(of(&UNIX, &[("x-request-id", "4f1c")]).1, "4f1c");
    }
}
