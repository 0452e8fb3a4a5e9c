//! Centrifugo's server API: `POST /api/METHOD` with a JSON object, and the reply shapes of the original, so that its
//! published SDKs for backends work unchanged.
//!
//! ```text
//! head -> key -> body -> parameters -> gateway -> {"result":{}}, or {"error":{"code","message"}} with HTTP 200
//! ```
//!
//! As in the original, what is no JSON is HTTP 400, a request without a good key 401, and the header
//! `X-Centrifugo-Error-Mode: transport` turns errors into statuses. Parameters that are not known are passed over;
//! those of features that are not here (delta, version) are too.
//!
//! Limits: those of [`crate::api::body`] and [`crate::api::message`], 10 000 rooms a broadcast, 1000 commands a batch.

mod batch;
mod envelope;
mod fault;
mod history;
mod method;
mod overview;
mod params;
mod pattern;
mod people;
mod presence;
mod publish;
mod receipt;
mod sessions;

use hyper::Method as Verb;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::header::RETRY_AFTER;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::access::Caller;
use crate::api::access::Refusal;
use crate::api::call::Call;
use crate::api::call::Outcome;
use crate::api::centrifugo::envelope::Error;
use crate::api::centrifugo::envelope::Reply;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::method::Method;
use crate::api::reply;
use crate::api::reply::Answer;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    One(Method),
    Batch,
    /// `/api` itself: commands in the older form.
    Old,
}

impl Wanted {
    fn of(path: &str) -> Option<Self> {
        match path.strip_prefix("/api")? {
            "" | "/" => Some(Self::Old),
            "/batch" => Some(Self::Batch),
            method => Method::of(method.strip_prefix('/')?).map(Self::One),
        }
    }

    fn endpoint(self) -> &'static str {
        match self {
            Self::One(method) => method.endpoint(),
            Self::Batch => "/api/batch",
            Self::Old => "/api",
        }
    }
}

/// Answers a request below `/api`.
pub(super) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    let path = call.head.uri.path();
    let Some(wanted) = Wanted::of(path) else {
        call.refuse("/api", Outcome::Unavailable, (404, &format!("nothing is at {path}")));
        return reply::not_found(path);
    };
    let endpoint = wanted.endpoint();
    if call.head.method != Verb::POST {
        call.refuse(endpoint, Outcome::BadRequest, (405, call.head.method.as_str()));
        return reply::method_not_allowed("POST");
    }
    // A batch says in its body what it wants, and each command is looked at then.
    let admitted = match wanted {
        Wanted::One(method) => call.access.check(call.means, method.scope()),
        Wanted::Batch | Wanted::Old => call.access.check_any(call.means),
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(refusal) => return turned_away(call, endpoint, &refusal),
    };
    let limits = call.means.config.load().limits.clone();
    let body = match call.means.bodies.read(body, &limits).await {
        Ok(body) => body,
        Err(error) => {
            call.refuse(endpoint, Outcome::BadRequest, (error.status().as_u16(), &error.to_string()));
            return reply::error(error.status(), &error.to_string());
        }
    };
    let done = match wanted {
        Wanted::One(method) => run(call, &caller, method, &body).await.and_then(|result| enveloped(&result)),
        Wanted::Batch => counted(call, endpoint, batch::batch(call, &body).await),
        Wanted::Old => counted(call, endpoint, batch::old(call, &body).await),
    };
    match done {
        Ok(text) => reply::with(StatusCode::OK, "application/json", text),
        Err(fault) => failed(call, &fault),
    }
}

/// Carries out one method of several, for which the key has not been looked at.
async fn execute(call: &Call<'_>, method: Method, params: &[u8]) -> Result<Box<RawValue>, Fault> {
    match call.access.check(call.means, method.scope()) {
        Ok(caller) => run(call, &caller, method, params).await,
        Err(refusal) => counted(call, method.endpoint(), Err(Fault::from(refusal))),
    }
}

/// Carries out one method, counts it, and leaves a record when it was not done.
async fn run(
    call: &Call<'_>,
    caller: &Caller,
    method: Method,
    params: &[u8],
) -> Result<Box<RawValue>, Fault> {
    let done = match method {
        Method::Publish => raw(publish::publish(call, caller, params).await),
        Method::Broadcast => raw(publish::broadcast(call, caller, params).await),
        Method::Subscribe => raw(sessions::subscribe(call, caller, params)),
        Method::Unsubscribe => raw(sessions::unsubscribe(call, caller, params)),
        Method::Disconnect => raw(sessions::disconnect(call, caller, params)),
        Method::Refresh => raw(sessions::refresh(call, caller, params)),
        Method::Presence => raw(presence::presence(call, params).await),
        Method::PresenceStats => raw(presence::stats(call, params).await),
        Method::History => raw(history::history(call, params).await),
        Method::HistoryRemove => raw(history::remove(call, caller, params).await),
        Method::Channels => raw(overview::channels(call, params)),
        Method::Info => raw(Ok(overview::info(call))),
        Method::Send => raw(people::send(call, caller, params).await),
        Method::Dissolve => raw(publish::dissolve(call, caller, params)),
        Method::Ban => raw(people::ban(call, caller, params).await),
        Method::Unban => raw(people::unban(call, caller, params).await),
        Method::Bans => raw(Ok(people::bans(call))),
    };
    counted(call, method.endpoint(), done)
}

fn raw<T: Serialize>(done: Result<T, Fault>) -> Result<Box<RawValue>, Fault> {
    serde_json::value::to_raw_value(&done?).map_err(|error| Fault::Internal(error.to_string()))
}

fn enveloped(result: &RawValue) -> Result<String, Fault> {
    serde_json::to_string(&Reply::Result(result)).map_err(|error| Fault::Internal(error.to_string()))
}

fn counted<T>(call: &Call<'_>, endpoint: &'static str, done: Result<T, Fault>) -> Result<T, Fault> {
    match &done {
        Ok(_) => call.count(endpoint, Outcome::Done),
        Err(fault) => call.refuse(endpoint, fault.outcome(), (fault.code(), &fault.message())),
    }
    done
}

/// An error in the shape that the caller wants.
fn failed(call: &Call<'_>, fault: &Fault) -> Answer {
    if let Fault::Malformed(why) = fault {
        return reply::error(StatusCode::BAD_REQUEST, &format!("the body can not be read: {why}"));
    }
    let as_status = call.head.headers.get("x-centrifugo-error-mode").is_some_and(|mode| mode == "transport");
    let text = match as_status {
        true => serde_json::to_string(&Error::from(fault)),
        false => serde_json::to_string(&Reply::<()>::Error(Error::from(fault))),
    };
    let status = if as_status { fault.status() } else { StatusCode::OK };
    reply::with(status, "application/json", text.unwrap_or_default())
}

fn turned_away(call: &Call<'_>, endpoint: &'static str, refusal: &Refusal) -> Answer {
    let (status, why) = (refusal.status(), refusal.to_string());
    let outcome = if refusal.retry_after().is_some() { Outcome::TooMany } else { Outcome::Refused };
    call.refuse(endpoint, outcome, (status.as_u16(), &why));
    let mut answer = reply::error(status, &why);
    if let Some(seconds) = refusal.retry_after() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_method_a_batch_or_the_older_form() {
        assert_eq!(Wanted::of("/api/history_remove"), Some(Wanted::One(Method::HistoryRemove)));
        assert_eq!(Wanted::of("/api/batch"), Some(Wanted::Batch));
        assert_eq!((Wanted::of("/api"), Wanted::of("/api/")), (Some(Wanted::Old), Some(Wanted::Old)));
        for path in ["/api/rpc", "/apipublish", "/api/publish/", "/api//publish", "/api/Publish"] {
            assert_eq!(Wanted::of(path), None, "{path}");
        }
    }
}
