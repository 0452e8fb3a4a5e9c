//! Commands in Protobuf: each with its length before it, several in a frame.

use crate::wire::centrifuge::command::COMMANDS_MAX;
use crate::wire::centrifuge::command::Command;
use crate::wire::centrifuge::command::Connect;
use crate::wire::centrifuge::command::Emulation;
use crate::wire::centrifuge::command::FILTER;
use crate::wire::centrifuge::command::Fault;
use crate::wire::centrifuge::command::History;
use crate::wire::centrifuge::command::Method;
use crate::wire::centrifuge::command::Publish;
use crate::wire::centrifuge::command::REJECT_UNRECOVERED;
use crate::wire::centrifuge::command::StreamPosition;
use crate::wire::centrifuge::command::Subscribe;
use crate::wire::centrifuge::command::TYPE;
use crate::wire::centrifuge::command::Unreadable;
use crate::wire::centrifuge::scan::Field;
use crate::wire::centrifuge::scan::fields;
use crate::wire::centrifuge::scan::varint;
use crate::wire::payload::Payload;

/// Reads the commands of one frame.
pub(super) fn commands(frame: &[u8]) -> Result<Vec<Command>, Fault> {
    let mut commands = Vec::new();
    let mut left = frame;
    while !left.is_empty() {
        if commands.len() == COMMANDS_MAX {
            return Err(Fault::TooMany { max: COMMANDS_MAX });
        }
        let number = commands.len() + 1;
        let claimed = varint(&mut left).map_err(|_| Fault::NoLength { command: number })?;
        let available = left.len();
        let message = usize::try_from(claimed).ok().and_then(|length| left.split_off(..length));
        let message = message.ok_or(Fault::Short { command: number, claimed, left: available })?;
        commands.push(command(message, number)?);
    }
    if commands.is_empty() { Err(Fault::Empty) } else { Ok(commands) }
}

/// Reads commands that came by HTTP.
pub(super) fn emulation(body: &[u8]) -> Result<Emulation, Fault> {
    let mut emulation = Emulation { node: String::new(), session: String::new(), frame: Vec::new() };
    let read = fields(body, |field| {
        match field.number {
            1 => emulation.node = field.text()?,
            2 => emulation.session = field.text()?,
            3 => emulation.frame = field.bytes()?.to_vec(),
            _ => {}
        }
        Ok(())
    });
    read.map_err(|why| Fault::NotProtobuf { command: 1, message: "EmulationRequest", why })?;
    Ok(emulation)
}

fn command(message: &[u8], number: usize) -> Result<Command, Fault> {
    let bad = |message, why| Fault::NotProtobuf { command: number, message, why };
    let mut id = 0;
    // Of several methods the first of the protocol's order counts, as its own reader has it.
    let mut method: Option<Field<'_>> = None;
    let read = fields(message, |field| {
        match field.number {
            1 => id = low_half(field.number()?),
            4..=15 if method.is_none_or(|first| field.number <= first.number) => method = Some(field),
            _ => {}
        }
        Ok(())
    });
    read.map_err(|why| bad("Command", why))?;
    let Some(field) = method else {
        return Ok(Command { id, method: if id == 0 { Method::Pong } else { Method::Unknown } });
    };
    let method = method_of(field).map_err(|why| bad(name(field.number), why))?;
    Ok(Command { id, method })
}

/// The name that the protocol has for the parameters of a method.
fn name(field: u32) -> &'static str {
    match field {
        4 => "ConnectRequest",
        5 => "SubscribeRequest",
        6 => "UnsubscribeRequest",
        7 => "PublishRequest",
        8 => "PresenceRequest",
        9 => "PresenceStatsRequest",
        10 => "HistoryRequest",
        11 => "PingRequest",
        12 => "SendRequest",
        13 => "RPCRequest",
        14 => "RefreshRequest",
        _ => "SubRefreshRequest",
    }
}

fn method_of(field: Field<'_>) -> Result<Method, Unreadable> {
    let message = field.bytes()?;
    Ok(match field.number {
        4 => Method::Connect(Box::new(connect(message)?)),
        5 => Method::Subscribe(Box::new(subscribe(message)?)),
        6 => Method::Unsubscribe { channel: channel(message)? },
        7 => Method::Publish(publish(message)?),
        8 => Method::Presence { channel: channel(message)? },
        9 => Method::PresenceStats { channel: channel(message)? },
        10 => Method::History(history(message)?),
        11 => Method::Ping,
        12 => Method::Send { data: call(message)?.1 },
        13 => {
            let (method, data) = call(message)?;
            Method::Rpc { method, data }
        }
        14 => {
            let mut token = String::new();
            fields(message, |field| {
                if field.number == 1 {
                    token = field.text()?;
                }
                Ok(())
            })?;
            Method::Refresh { token }
        }
        _ => sub_refresh(message)?,
    })
}

fn connect(message: &[u8]) -> Result<Connect, Unreadable> {
    let mut connect = Connect::default();
    fields(message, |field| {
        match field.number {
            1 => connect.token = field.text()?,
            2 => connect.data = payload(field)?,
            3 => {
                let (key, value) = entry(field.bytes()?)?;
                let value = value.map(|value| subscribe(value.bytes()?)).transpose()?;
                connect.subs.insert(key, value.unwrap_or_default());
            }
            4 => connect.name = field.text()?,
            5 => connect.version = field.text()?,
            6 => {
                let (key, value) = entry(field.bytes()?)?;
                let value = value.map(|value| value.text()).transpose()?;
                connect.headers.insert(key, value.unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(connect)
}

fn subscribe(message: &[u8]) -> Result<Subscribe, Unreadable> {
    let mut subscribe = Subscribe::default();
    let (mut filter, mut kind) = (None, 0);
    fields(message, |field| {
        match field.number {
            1 => subscribe.channel = field.text()?,
            2 => subscribe.token = field.text()?,
            3 => subscribe.recover = field.truth()?,
            6 => subscribe.epoch = field.text()?,
            7 => subscribe.offset = field.number()?,
            8 => subscribe.data = payload(field)?,
            9 => subscribe.positioned = field.truth()?,
            10 => subscribe.recoverable = field.truth()?,
            11 => subscribe.join_leave = field.truth()?,
            12 => subscribe.delta = field.text()?,
            13 => filter = Some(FILTER),
            14 => subscribe.reject_unrecovered = field.signed()? & REJECT_UNRECOVERED != 0,
            15 => kind = field.number()?,
            _ => {}
        }
        Ok(())
    })?;
    subscribe.beyond = if kind == 0 { filter } else { Some(TYPE) };
    Ok(subscribe)
}

fn publish(message: &[u8]) -> Result<Publish, Unreadable> {
    let mut publish = Publish::default();
    fields(message, |field| {
        match field.number {
            1 => publish.channel = field.text()?,
            2 => publish.data = payload(field)?,
            3 => publish.beyond = (field.number()? != 0).then_some(TYPE),
            _ => {}
        }
        Ok(())
    })?;
    Ok(publish)
}

fn history(message: &[u8]) -> Result<History, Unreadable> {
    let mut history = History::default();
    fields(message, |field| {
        match field.number {
            1 => history.channel = field.text()?,
            7 => history.limit = low_half(field.number()?).cast_signed(),
            8 => history.since = Some(position(field.bytes()?)?),
            9 => history.reverse = field.truth()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(history)
}

fn position(message: &[u8]) -> Result<StreamPosition, Unreadable> {
    let mut position = StreamPosition::default();
    fields(message, |field| {
        match field.number {
            1 => position.offset = field.number()?,
            2 => position.epoch = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(position)
}

/// The parameters of `rpc`, and of `send`, which has only the first of the two.
fn call(message: &[u8]) -> Result<(String, Option<Payload>), Unreadable> {
    let (mut method, mut data) = (String::new(), None);
    fields(message, |field| {
        match field.number {
            1 => data = payload(field)?,
            2 => method = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((method, data))
}

fn sub_refresh(message: &[u8]) -> Result<Method, Unreadable> {
    let (mut room, mut token, mut beyond) = (String::new(), String::new(), None);
    fields(message, |field| {
        match field.number {
            1 => room = field.text()?,
            2 => token = field.text()?,
            3 => beyond = (field.number()? != 0).then_some(TYPE),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Method::SubRefresh { channel: room, token, beyond })
}

fn channel(message: &[u8]) -> Result<String, Unreadable> {
    let mut channel = String::new();
    fields(message, |field| {
        if field.number == 1 {
            channel = field.text()?;
        }
        Ok(())
    })?;
    Ok(channel)
}

/// An entry of a map: its key and its value, which is not there when it has its default.
fn entry(message: &[u8]) -> Result<(String, Option<Field<'_>>), Unreadable> {
    let (mut key, mut value) = (String::new(), None);
    fields(message, |field| {
        match field.number {
            1 => key = field.text()?,
            2 => value = Some(field),
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

fn payload(field: Field<'_>) -> Result<Option<Payload>, Unreadable> {
    let bytes = field.bytes()?;
    Ok((!bytes.is_empty()).then(|| Payload::from_bytes(bytes)))
}

/// The low half of a number: Protobuf cuts what is too long for a field's type.
fn low_half(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}
