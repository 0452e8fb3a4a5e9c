//! What a Centrifuge client asks for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One command of a client.
#[derive(Debug)]
pub struct Command {
    /// The number that the reply repeats.
    pub id: u32,
    /// What is asked.
    pub method: Method,
}

/// The methods of the protocol, as far as they are told apart here.
#[derive(Debug)]
pub enum Method {
    /// Log in; must come first.
    Connect(Connect),
    /// Join a room.
    Subscribe(Subscribe),
    /// Leave a room.
    Unsubscribe {
        /// The room.
        channel: String,
    },
    /// Publish into a room.
    Publish(Publish),
    /// Renew the token before it expires.
    Refresh {
        /// The new token.
        token: String,
    },
    /// Ask for a sign of life.
    Ping,
    /// An empty command: the answer to the server's ping.
    Pong,
    /// A method of the protocol that this server does not offer.
    Unavailable(&'static str),
    /// No method, or one that the protocol does not have.
    Unknown,
}

/// The parameters of a login.
#[derive(Debug, Default, Deserialize)]
pub struct Connect {
    /// The token, empty when there is none.
    #[serde(default)]
    pub token: String,
    /// The name of the client's library.
    #[serde(default)]
    pub name: String,
    /// The version of the client's library.
    #[serde(default)]
    pub version: String,
}

/// The parameters of a subscription.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    /// The room.
    pub channel: String,
}

/// A message to publish.
#[derive(Debug, Deserialize)]
pub struct Publish {
    /// The room.
    pub channel: String,
    /// The message, any JSON value.
    pub data: Box<RawValue>,
}

/// Why a frame could not be read; nothing of it was carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line is not a JSON object.
    #[error("line {line} is no JSON object: {why}")]
    NotJson {
        /// The line in the frame, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// A method's parameters are not what the protocol says.
    #[error("line {line}: bad parameters of {method}: {why}")]
    BadParameters {
        /// The line in the frame, from 1.
        line: usize,
        /// The method.
        method: String,
        /// What the parser says.
        why: String,
    },
    /// The frame holds no command.
    #[error("the frame is empty")]
    Empty,
    /// The frame holds too many commands.
    #[error("the frame holds more than {max} commands")]
    TooMany {
        /// How many a frame may hold.
        max: usize,
    },
}

/// The most commands in one frame: a client that joins all its rooms at once sends one for each.
const COMMANDS_MAX: usize = 1024;

/// Reads the commands of one frame.
///
/// # Errors
///
/// [`Fault`] names the line and what is wrong with it.
pub fn commands(frame: &str) -> Result<Vec<Command>, Fault> {
    let mut commands = Vec::new();
    for (index, line) in frame.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if commands.len() == COMMANDS_MAX {
            return Err(Fault::TooMany { max: COMMANDS_MAX });
        }
        commands.push(command(line, index + 1)?);
    }
    if commands.is_empty() { Err(Fault::Empty) } else { Ok(commands) }
}

fn command(text: &str, line: usize) -> Result<Command, Fault> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|error| Fault::NotJson { line, why: error.to_string() })?;
    let parameters = |method: &str, why: &serde_json::Error| Fault::BadParameters {
        line,
        method: method.to_owned(),
        why: why.to_string(),
    };
    let id = match members.get("id") {
        None => 0,
        Some(value) => serde_json::from_str(value.get()).map_err(|why| parameters("id", &why))?,
    };
    let method = members.iter().find(|(key, _)| key.as_str() != "id");
    let Some((name, value)) = method else {
        return Ok(Command { id, method: if id == 0 { Method::Pong } else { Method::Unknown } });
    };
    let method = method_of(name, value.get()).map_err(|why| parameters(name, &why))?;
    Ok(Command { id, method })
}

fn method_of(name: &str, parameters: &str) -> serde_json::Result<Method> {
    #[derive(Deserialize)]
    struct Channel {
        channel: String,
    }
    #[derive(Deserialize)]
    struct Token {
        token: String,
    }
    Ok(match name {
        "connect" => Method::Connect(serde_json::from_str(parameters)?),
        "subscribe" => Method::Subscribe(serde_json::from_str(parameters)?),
        "unsubscribe" => {
            Method::Unsubscribe { channel: serde_json::from_str::<Channel>(parameters)?.channel }
        }
        "publish" => Method::Publish(serde_json::from_str(parameters)?),
        "refresh" => Method::Refresh { token: serde_json::from_str::<Token>(parameters)?.token },
        "ping" => Method::Ping,
        "presence" => Method::Unavailable("presence"),
        "presence_stats" => Method::Unavailable("presence_stats"),
        "history" => Method::Unavailable("history"),
        "rpc" => Method::Unavailable("rpc"),
        "send" => Method::Unavailable("send"),
        "sub_refresh" => Method::Unavailable("sub_refresh"),
        _ => Method::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(frame: &str) -> String {
        commands(frame).unwrap_err().to_string()
    }

    #[test]
    fn a_frame_holds_one_command_per_line() {
        let frame = "{\"id\":1,\"connect\":{\"token\":\"t\",\"name\":\"js\"}}\n{\"subscribe\":{\"channel\":\"r\"},\"id\":2}\n";
        let commands = commands(frame).unwrap();
        assert_eq!(commands.len(), 2);
        assert!(matches!(&commands[0], Command { id: 1, method: Method::Connect(c) } if c.token == "t"));
        assert!(matches!(&commands[1], Command { id: 2, method: Method::Subscribe(s) } if s.channel == "r"));
    }

    #[test]
    fn an_empty_object_is_a_pong() {
        assert!(matches!(commands("{}").unwrap()[0].method, Method::Pong));
    }

    #[test]
    fn unknown_methods_are_told_apart_from_those_not_offered() {
        assert!(matches!(commands("{\"id\":3,\"fly\":{}}").unwrap()[0].method, Method::Unknown));
        assert!(matches!(commands("{\"id\":3,\"rpc\":{}}").unwrap()[0].method, Method::Unavailable("rpc")));
        assert!(matches!(commands("{\"id\":3}").unwrap()[0].method, Method::Unknown));
    }

    #[test]
    fn faults_name_the_line_and_what_is_wrong() {
        assert_eq!(fault(""), "the frame is empty");
        assert!(fault("{}\nhello").starts_with("line 2 is no JSON object: expected value"));
        assert!(fault("[1]").starts_with("line 1 is no JSON object: invalid type: sequence"));
        assert!(fault("{\"id\":-1,\"ping\":{}}").starts_with("line 1: bad parameters of id: invalid value"));
        let missing = fault("{\"id\":1,\"publish\":{\"channel\":\"r\"}}");
        assert!(missing.starts_with("line 1: bad parameters of publish: missing field `data`"), "{missing}");
        assert_eq!(fault(&"{}\n".repeat(1025)), "the frame holds more than 1024 commands");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            drop(commands(&text));
        }
    }
}
