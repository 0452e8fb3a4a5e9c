//! The HTTP side of chats: openresty-im's `/open/...` and `/upload/...`, and what they lacked.
//!
//! Replies have the original's shape. What the original lets anybody do needs a token, or a key with the scope `chat`,
//! unless `auth.insecure` is set. Limits: bodies as everywhere (`limits.body`), uploads as in [`upload`].

mod entrance;
mod lists;
mod query;
mod reply;
mod talk;
mod token;
mod upload;
mod who;

use hyper::Method;
use hyper::body::Incoming;

use crate::api::call::Call;
use crate::api::call::Outcome;
use crate::api::chat::query::Query;
use crate::api::chat::reply::Fault;
use crate::api::reply as plain;
use crate::api::reply::Answer;
use crate::clock;

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Im,
    Com,
    Push,
    FindUserList,
    Del,
    History,
    ListMsg,
    Typing,
    Read,
    Recall,
    Unread,
    Upload,
    Uploaded,
}

impl Endpoint {
    const ALL: [Self; 13] = [
        Self::Im,
        Self::Com,
        Self::Push,
        Self::FindUserList,
        Self::Del,
        Self::History,
        Self::ListMsg,
        Self::Typing,
        Self::Read,
        Self::Recall,
        Self::Unread,
        Self::Upload,
        Self::Uploaded,
    ];

    fn of(path: &str) -> Option<Self> {
        let exact = Self::ALL.into_iter().find(|endpoint| endpoint.path() == path);
        exact.or_else(|| path.starts_with(Self::Uploaded.path()).then_some(Self::Uploaded))
    }

    fn path(self) -> &'static str {
        match self {
            Self::Im => "/open/im",
            Self::Com => "/open/com",
            Self::Push => "/open/push",
            Self::FindUserList => "/open/finduserlist",
            Self::Del => "/open/del",
            Self::History => "/open/history",
            Self::ListMsg => "/open/listmsg",
            Self::Typing => "/open/typing",
            Self::Read => "/open/read",
            Self::Recall => "/open/recall",
            Self::Unread => "/open/unread",
            Self::Upload => "/upload/file",
            Self::Uploaded => "/upload/",
        }
    }

    fn verb(self) -> (Method, &'static str) {
        match self {
            Self::Im | Self::Com | Self::Del | Self::History | Self::Uploaded => (Method::GET, "GET"),
            _ => (Method::POST, "POST"),
        }
    }
}

/// Answers a request below `/open/` or `/upload/`.
pub(super) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    let path = call.head.uri.path();
    let Some(endpoint) = Endpoint::of(path) else {
        call.refuse("/open", Outcome::Unavailable, (404, &format!("nothing is at {path}")));
        return Fault::Nothing("404! sorry, not found.".to_owned()).answer();
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
            fault.answer()
        }
    }
}

async fn carry_out(call: &Call<'_>, endpoint: Endpoint, body: Incoming) -> Result<Answer, Fault> {
    let query = Query::of(call.head.uri.query().unwrap_or_default());
    match endpoint {
        Endpoint::Im => entrance::customer(call, &query).await,
        Endpoint::Com => entrance::staff(call, &query).await,
        Endpoint::Push => talk::push(call, query, body).await,
        Endpoint::FindUserList => lists::customers(call, query, body).await,
        Endpoint::Del => lists::clean(call, query).await,
        Endpoint::History => lists::history(call, query).await,
        Endpoint::ListMsg => lists::list_messages(call, query, body).await,
        Endpoint::Typing => talk::typing(call, query, body).await,
        Endpoint::Read => talk::read(call, query, body).await,
        Endpoint::Recall => talk::recall(call, query, body).await,
        Endpoint::Unread => talk::unread(call, query, body).await,
        Endpoint::Upload => upload::take(call, &query, body).await,
        Endpoint::Uploaded => {
            let name = call.head.uri.path().strip_prefix(Endpoint::Uploaded.path()).unwrap_or_default();
            upload::give(call, name).await
        }
    }
}

/// The form that is the body of a request.
async fn form(call: &Call<'_>, body: Incoming) -> Result<Query, Fault> {
    let limits = call.means.config.load().limits.clone();
    let body = call.means.bodies.read(body, &limits).await?;
    Ok(Query::of(&String::from_utf8_lossy(&body)))
}

fn unix_ms() -> u64 {
    u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_by_its_path() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::of(endpoint.path()), Some(endpoint));
        }
        assert_eq!(Endpoint::of("/upload/1.png"), Some(Endpoint::Uploaded));
        assert_eq!(Endpoint::of("/open/"), None);
    }
}
