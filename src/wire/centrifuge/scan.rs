//! The fields of a Protobuf message, one after the other, without a copy.
//!
//! Fields of which a message knows nothing are read past, so that newer clients are understood as far as possible.
//! Groups, which Protobuf has given up, are an error.

use crate::wire::centrifuge::command::Unreadable;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Number(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// A number of 4 or 8 bytes, which the protocol has nowhere.
    Fixed,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) number: u32,
    /// Its value.
    pub(super) value: Value<'a>,
}

impl<'a> Field<'a> {
    /// The number; more bits than the protocol has for it are cut, as Protobuf demands.
    pub(super) fn number(&self) -> Result<u64, Unreadable> {
        match self.value {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) | Value::Fixed => Err(Unreadable::Mismatch(self.number)),
        }
    }

    /// The number, with its sign.
    pub(super) fn signed(&self) -> Result<i64, Unreadable> {
        self.number().map(u64::cast_signed)
    }

    /// The truth.
    pub(super) fn truth(&self) -> Result<bool, Unreadable> {
        self.number().map(|number| number != 0)
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> Result<&'a [u8], Unreadable> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) | Value::Fixed => Err(Unreadable::Mismatch(self.number)),
        }
    }

    /// The text.
    pub(super) fn text(&self) -> Result<String, Unreadable> {
        let text = str::from_utf8(self.bytes()?).map_err(|_| Unreadable::NotUtf8(self.number))?;
        Ok(text.to_owned())
    }
}

/// Gives each field of `message` to `take`.
pub(super) fn fields<'a>(
    message: &'a [u8],
    mut take: impl FnMut(Field<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut left = message;
    while !left.is_empty() {
        take(field(&mut left)?)?;
    }
    Ok(())
}

fn field<'a>(left: &mut &'a [u8]) -> Result<Field<'a>, Unreadable> {
    let tag = varint(left)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
    let number = number.ok_or(Unreadable::Field(tag >> 3))?;
    let value = match tag & 7 {
        0 => Value::Number(varint(left)?),
        2 => {
            let length = varint(left)?;
            Value::Bytes(
                usize::try_from(length)
                    .ok()
                    .and_then(|length| left.split_off(..length))
                    .ok_or(Unreadable::Cut)?,
            )
        }
        1 => left.split_off(..8).map(|_| Value::Fixed).ok_or(Unreadable::Cut)?,
        5 => left.split_off(..4).map(|_| Value::Fixed).ok_or(Unreadable::Cut)?,
        kind => return Err(Unreadable::Kind { field: number, kind: kind as u8 }),
    };
    Ok(Field { number, value })
}

/// Takes a number from the front: seven bits in each byte, the lowest first, and the eighth says that more follow.
pub(super) fn varint(left: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *left.split_off_first().ok_or(Unreadable::Cut)?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if shift == 63 && bits > 1 {
            return Err(Unreadable::TooLong);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Unreadable::TooLong)
}
