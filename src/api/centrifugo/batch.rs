//! Several commands in one request: `batch`, and the older form in which each has a method and parameters.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Deserializer;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::call::Call;
use crate::api::centrifugo::envelope::Error;
use crate::api::centrifugo::execute;
use crate::api::centrifugo::fault::Fault;
use crate::api::centrifugo::method::Method;
use crate::api::centrifugo::params::lenient;
use crate::api::centrifugo::params::read;

/// The most commands of one request.
const COMMANDS_MAX: usize = 1000;

/// So many commands of a parallel batch are worked on at the same time.
const AT_ONCE: usize = 64;

/// The bytes of all replies after which no further command is carried out.
const REPLIES_MAX: usize = 16 << 20;

/// Where commands are counted that are none.
const ENDPOINT: &str = "/api/batch";

#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(default, deserialize_with = "lenient")]
    commands: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    parallel: bool,
}

#[derive(Debug, Serialize)]
struct Replies<'a> {
    replies: Vec<BTreeMap<&'a str, Box<RawValue>>>,
}

/// Carries out the commands of a batch; gives its whole answer.
pub(super) async fn batch(call: &Call<'_>, params: &[u8]) -> Result<String, Fault> {
    let Batch { commands, parallel } = read(params)?;
    check_number(commands.len())?;
    let replied = AtomicUsize::new(0);
    let each = commands.into_iter().map(|command| one(call, command, &replied));
    let at_once = if parallel { AT_ONCE } else { 1 };
    let replies = stream::iter(each).buffered(at_once).collect::<Vec<_>>().await;
    written(&Replies { replies: replies.into_iter().map(BTreeMap::from_iter).collect() })
}

async fn one(
    call: &Call<'_>,
    command: Box<RawValue>,
    replied: &AtomicUsize,
) -> Option<(&'static str, Box<RawValue>)> {
    let done = match named(&command) {
        Ok((method, params)) => {
            within(call, method, params, replied).await.map(|reply| (method.name(), reply))
        }
        Err(fault) => {
            call.refuse(ENDPOINT, fault.outcome(), (fault.code(), &fault.message()));
            Err(fault)
        }
    };
    match done {
        Ok(reply) => Some(reply),
        Err(fault) => raw(&Error::from(&fault)).ok().map(|error| ("error", error)),
    }
}

/// The method of a command and its parameters: `{"publish":{...}}`.
fn named(command: &RawValue) -> Result<(Method, &RawValue), Fault> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(command.get())
        .map_err(|_| Fault::BadRequest("a command is no object such as {\"publish\":{...}}".to_owned()))?;
    let known = members.iter().find_map(|(name, params)| Some((Method::of(name)?, *params)));
    known.ok_or_else(|| {
        let names: Vec<_> = members.keys().map(String::as_str).collect();
        Fault::NotFound(format!("no method is called {:?}", names.join(", ")))
    })
}

#[derive(Debug, Deserialize)]
struct OldCommand {
    #[serde(default, deserialize_with = "lenient")]
    id: u32,
    /// A name in letters of any size, or a number; nothing is publish.
    #[serde(default)]
    method: Value,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct OldReply {
    #[serde(skip_serializing_if = "is_zero")]
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Carries out commands in the older form, one after the other; gives their answers, one a line.
pub(super) async fn old(call: &Call<'_>, body: &[u8]) -> Result<String, Fault> {
    let commands = Deserializer::from_slice(body).into_iter::<OldCommand>();
    let commands: Vec<OldCommand> =
        commands.collect::<Result<_, _>>().map_err(|error| Fault::Malformed(error.to_string()))?;
    if commands.is_empty() {
        return Err(Fault::Malformed("no command; a body is {\"method\":...,\"params\":{...}}".to_owned()));
    }
    check_number(commands.len())?;
    let (mut lines, replied) = (Vec::new(), AtomicUsize::new(0));
    for OldCommand { id, method, params } in commands {
        let params = params.unwrap_or_default();
        let done = match old_method(&method) {
            Some(method) => within(call, method, &params, &replied).await,
            None => {
                let fault = Fault::NotFound(format!("no method is called {method}"));
                call.refuse(ENDPOINT, fault.outcome(), (fault.code(), &fault.message()));
                Err(fault)
            }
        };
        let reply = match done {
            Ok(result) => OldReply { id, error: None, result: Some(result) },
            Err(fault) => OldReply { id, error: Some(Error::from(&fault)), result: None },
        };
        lines.push(written(&reply)?);
    }
    Ok(lines.join("\n"))
}

fn old_method(method: &Value) -> Option<Method> {
    match method {
        Value::Null => Some(Method::Publish),
        Value::String(name) => Method::of(&name.to_ascii_lowercase()),
        method => Method::numbered(method.as_u64()?),
    }
}

/// Carries out one of several commands, as long as the answer does not grow beyond measure.
async fn within(
    call: &Call<'_>,
    method: Method,
    params: &RawValue,
    replied: &AtomicUsize,
) -> Result<Box<RawValue>, Fault> {
    if replied.load(Relaxed) > REPLIES_MAX {
        let fault = Fault::NotAvailable(format!("the replies before have more than {REPLIES_MAX} bytes"));
        call.refuse(method.endpoint(), fault.outcome(), (fault.code(), &fault.message()));
        return Err(fault);
    }
    // An old command may leave its parameters out.
    let params = if params.get() == "null" { "{}" } else { params.get() };
    let reply = execute(call, method, params.as_bytes()).await?;
    replied.fetch_add(reply.get().len(), Relaxed);
    Ok(reply)
}

fn check_number(commands: usize) -> Result<(), Fault> {
    if commands <= COMMANDS_MAX {
        return Ok(());
    }
    Err(Fault::BadRequest(format!("{commands} commands; at most {COMMANDS_MAX} in one request")))
}

fn raw<T: Serialize>(value: &T) -> Result<Box<RawValue>, Fault> {
    serde_json::value::to_raw_value(value).map_err(|error| Fault::Internal(error.to_string()))
}

fn written<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn command(text: &str) -> Result<(Method, String), String> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let named = named(raw).map(|(method, params)| (method, params.get().to_owned()));
        named.map_err(|fault| fault.message())
    }

    #[test]
    fn a_command_is_named_by_its_only_member() {
        assert_eq!(command(r#"{"info":{"a":1}}"#), Ok((Method::Info, r#"{"a":1}"#.to_owned())));
        assert_eq!(command(r#"{"rpc":{}}"#), Err("not found: no method is called \"rpc\"".to_owned()));
        assert_eq!(command("{}"), Err("not found: no method is called \"\"".to_owned()));
        for text in ["null", "7", "[]", "\"info\""] {
            assert!(command(text).unwrap_err().contains("no object"), "{text}");
        }
    }

    #[test]
    fn the_oldest_clients_write_methods_in_large_letters_or_as_numbers() {
        for (written, method) in [
            (json!("publish"), Some(Method::Publish)),
            (json!("PRESENCE_STATS"), Some(Method::PresenceStats)),
            (json!(9), Some(Method::Info)),
            (json!(null), Some(Method::Publish)),
            (json!("9"), None),
            (json!(-1), None),
            (json!(13), None),
        ] {
            assert_eq!(old_method(&written), method, "{written}");
        }
    }
}
