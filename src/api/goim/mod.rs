//! goim's API for backends, `/goim/...`, with the original's replies: a JSON object with `code`, `message` and
//! `data`. What differs: all but `/goim/nodes/weighted`, which clients ask, needs a key.
//!
//! Limits: those of [`crate::api::body`] and [`crate::api::message`]; the query is part of the head (`limits.header`).

mod nodes;
mod online;
mod push;
mod query;
mod reply;

pub use push::PUSHES_MAX;

use hyper::Method;
use hyper::body::Incoming;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::call::Outcome;
use crate::api::goim::query::Query;
use crate::api::goim::reply::Fault;
use crate::api::reply as plain;
use crate::api::reply::Answer;
use crate::config::Scope;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    PushKeys,
    PushMids,
    PushRoom,
    PushAll,
    OnlineTop,
    OnlineRoom,
    OnlineTotal,
    NodesWeighted,
    NodesInstances,
}

impl Endpoint {
    const ALL: [Self; 9] = [
        Self::PushKeys,
        Self::PushMids,
        Self::PushRoom,
        Self::PushAll,
        Self::OnlineTop,
        Self::OnlineRoom,
        Self::OnlineTotal,
        Self::NodesWeighted,
        Self::NodesInstances,
    ];

    fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    fn path(self) -> &'static str {
        match self {
            Self::PushKeys => "/goim/push/keys",
            Self::PushMids => "/goim/push/mids",
            Self::PushRoom => "/goim/push/room",
            Self::PushAll => "/goim/push/all",
            Self::OnlineTop => "/goim/online/top",
            Self::OnlineRoom => "/goim/online/room",
            Self::OnlineTotal => "/goim/online/total",
            Self::NodesWeighted => "/goim/nodes/weighted",
            Self::NodesInstances => "/goim/nodes/instances",
        }
    }

    fn verb(self) -> (Method, &'static str) {
        match self {
            Self::PushKeys | Self::PushMids | Self::PushRoom | Self::PushAll => (Method::POST, "POST"),
            _ => (Method::GET, "GET"),
        }
    }
}

/// Answers a request below `/goim/`.
pub(super) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    let path = call.head.uri.path();
    let Some(endpoint) = Endpoint::of(path) else {
        call.refuse("/goim", Outcome::Unavailable, (404, &format!("nothing is at {path}")));
        return plain::not_found(path);
    };
    let (verb, word) = endpoint.verb();
    if call.head.method != verb {
        call.refuse(endpoint.path(), Outcome::BadRequest, (405, call.head.method.as_str()));
        return plain::method_not_allowed(word);
    }
    match carry_out(call, endpoint, body).await {
        Ok(answer) => {
            call.count(endpoint.path(), Outcome::Done);
            answer
        }
        Err(fault) => {
            call.refuse(endpoint.path(), fault.outcome(), (fault.err_code(), &fault.message()));
            reply::failed(&fault)
        }
    }
}

async fn carry_out(call: &Call<'_>, endpoint: Endpoint, body: Incoming) -> Result<Answer, Fault> {
    let caller =
        || -> Result<Caller, Fault> { call.access.check(call.means, Scope::Goim).map_err(Fault::Refused) };
    let query = Query::of(call.head.uri.query().unwrap_or_default());
    match endpoint {
        Endpoint::PushKeys => push::keys(call, &caller()?, &query, body).await,
        Endpoint::PushMids => push::mids(call, &caller()?, &query, body).await,
        Endpoint::PushRoom => push::room(call, &caller()?, &query, body).await,
        Endpoint::PushAll => push::all(call, &caller()?, &query, body).await,
        Endpoint::OnlineTop => caller().and_then(|_| online::top(call, &query)),
        Endpoint::OnlineRoom => caller().and_then(|_| online::room(call, &query)),
        Endpoint::OnlineTotal => caller().and_then(|_| online::total(call)),
        Endpoint::NodesWeighted => nodes::weighted(call),
        Endpoint::NodesInstances => caller().and_then(|_| nodes::instances(call)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_by_its_path() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::of(endpoint.path()), Some(endpoint));
        }
        assert_eq!(Endpoint::of("/goim/push/"), None);
    }
}
