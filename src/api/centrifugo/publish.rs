//! `publish` and `broadcast`.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::access::Caller;
use crate::api::call::Call;
use crate::api::centrifugo::envelope::Empty;
use crate::api::centrifugo::envelope::Reply;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::method::Method;
use crate::api::centrifugo::params::any;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;
use crate::api::centrifugo::receipt::Receipt;
use crate::api::centrifugo::receipt::Wish;
use crate::api::message;
use crate::gateway::Outgoing;
use crate::gateway::Position;
use crate::gateway::Published;

/// The most rooms of one broadcast.
const ROOMS_MAX: usize = 10_000;

/// So many rooms of a broadcast are published into at the same time.
const AT_ONCE: usize = 64;

/// The longest idempotency key in bytes.
const KEY_MAX: usize = 256;

/// The parameters of both methods.
#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default, deserialize_with = "lenient")]
    channel: String,
    #[serde(default, deserialize_with = "lenient")]
    channels: Vec<String>,
    #[serde(default, deserialize_with = "any")]
    data: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    b64data: String,
    #[serde(default, deserialize_with = "lenient")]
    skip_history: bool,
    #[serde(default, deserialize_with = "lenient")]
    tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient")]
    idempotency_key: String,
    #[serde(default)]
    receipt: Option<Wish>,
    /// Milliseconds after which it is not delivered any longer.
    #[serde(default, deserialize_with = "lenient")]
    ttl: u64,
    #[serde(default, deserialize_with = "lenient")]
    conflation_key: String,
    /// Why a room ends.
    #[serde(default, deserialize_with = "lenient")]
    reason: String,
}

/// Where the message stands; empty in a room without history.
#[derive(Debug, Default, Serialize)]
pub(super) struct PublishResult {
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    epoch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

#[derive(Debug, Serialize)]
pub(super) struct BroadcastResult {
    responses: Vec<Reply<PublishResult>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Publishes into a room.
pub(super) async fn publish(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<PublishResult, Fault> {
    let request: Request = read(params)?;
    into(call, caller, (&request.channel, request.receipt), request.outgoing(call)?).await
}

/// Ends a room: everybody leaves, behind the message if there is one, and what was said is forgotten.
pub(super) fn dissolve(call: &Call<'_>, caller: &Caller, params: &[u8]) -> Result<Empty, Fault> {
    let request: Request = read(params)?;
    call.check_room(&request.channel).map_err(Fault::BadRequest)?;
    let has_message = request.data.is_some() || !request.b64data.is_empty();
    let notice = has_message.then(|| request.outgoing(call)).transpose()?;
    let reason = if request.reason.is_empty() { "room dissolved" } else { &request.reason };
    call.means.gateway.dissolve(&request.channel, notice, reason)?;
    call.managed((None, None), Some(&request.channel), &format!("dissolve, by the key {}", caller.name));
    Ok(Empty {})
}

/// Publishes into several rooms: each has its own answer.
pub(super) async fn broadcast(
    call: &Call<'_>,
    caller: &Caller,
    params: &[u8],
) -> Result<BroadcastResult, Fault> {
    let mut request: Request = read(params)?;
    let channels = mem::take(&mut request.channels);
    if channels.is_empty() {
        return Err(Fault::BadRequest("channels is missing".to_owned()));
    }
    if channels.len() > ROOMS_MAX {
        let why = format!("{} channels; at most {ROOMS_MAX} in one broadcast", channels.len());
        return Err(Fault::BadRequest(why));
    }
    let outgoing = request.outgoing(call)?;
    let each = channels.into_iter().map(|room| one_of_many(call, caller, room, &outgoing));
    let responses = stream::iter(each).buffered(AT_ONCE).collect().await;
    Ok(BroadcastResult { responses })
}

async fn one_of_many(
    call: &Call<'_>,
    caller: &Caller,
    room: String,
    outgoing: &Outgoing,
) -> Reply<PublishResult> {
    let published = into(call, caller, (&room, None), outgoing.clone()).await;
    if let Err(fault) = &published {
        call.refuse(Method::Broadcast.endpoint(), fault.outcome(), (fault.code(), &fault.message()));
    }
    Reply::from(published)
}

async fn into(
    call: &Call<'_>,
    caller: &Caller,
    (room, wish): (&str, Option<Wish>),
    outgoing: Outgoing,
) -> Result<PublishResult, Fault> {
    call.check_room(room).map_err(Fault::BadRequest)?;
    let bytes = outgoing.payload.bytes().len();
    let gateway = &call.means.gateway;
    let (published, receipt) = match wish {
        None => (gateway.publish(room, outgoing).await?, None),
        Some(wish) => {
            let (wanted, patience) = wish.read()?;
            let (published, counts) = gateway.publish_with_receipt(room, outgoing, wanted, patience).await?;
            (published, Some(Receipt::of(&published, counts)))
        }
    };
    let Published { id, position, duplicate } = published;
    if !duplicate {
        call.published(&caller.name, room, id, bytes);
    }
    let (offset, epoch) = match position {
        Some(Position { offset, epoch }) => (offset, epoch.to_string()),
        None => (0, String::new()),
    };
    Ok(PublishResult { offset, epoch, receipt })
}

impl Request {
    fn outgoing(&self, call: &Call<'_>) -> Result<Outgoing, Fault> {
        if self.conflation_key.len() > KEY_MAX {
            return Err(Fault::BadRequest(format!("conflation_key is longer than {KEY_MAX} bytes")));
        }
        if self.idempotency_key.len() > KEY_MAX {
            return Err(Fault::BadRequest(format!("idempotency_key is longer than {KEY_MAX} bytes")));
        }
        let payload = message::of(call.means, self.data.as_deref(), &self.b64data)?;
        Ok(Outgoing {
            idempotency_key: Some(self.idempotency_key.clone()).filter(|key| !key.is_empty()),
            tags: self.tags.clone(),
            skip_history: self.skip_history,
            ttl: Some(Duration::from_millis(self.ttl)).filter(|ttl| !ttl.is_zero()),
            conflation_key: Some(self.conflation_key.as_str()).filter(|key| !key.is_empty()).map(Into::into),
            ..Outgoing::new(payload)
        })
    }
}
