//! The content of messages that backends send: JSON, or bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::api::Means;
use crate::wire::payload::Payload;

/// Why there is no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// Neither form was given.
    #[error("data is missing")]
    Missing,
    /// Not base64.
    #[error("b64data is no base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// It would overrun the receivers.
    #[error("the data has {length} bytes, and at most {most} reach a client (half of gateway.client_queue)")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most.
        most: usize,
    },
}

/// The message in `data` or, when that is there, in `b64data`.
pub(super) fn of(means: &Means, data: Option<&RawValue>, b64data: &str) -> Result<Payload, Error> {
    if !b64data.is_empty() {
        let bytes = STANDARD.decode(b64data)?;
        check_length(means, bytes.len())?;
        return Ok(Payload::from_bytes(&bytes));
    }
    let data = data.ok_or(Error::Missing)?;
    check_length(means, data.get().len())?;
    Ok(Payload::from_json(data))
}

/// The message that some bytes are.
pub(super) fn of_bytes(means: &Means, bytes: &[u8]) -> Result<Payload, Error> {
    check_length(means, bytes.len())?;
    Ok(Payload::from_body(bytes))
}

/// A longer message would end the session of whoever has not read everything before it.
fn check_length(means: &Means, length: usize) -> Result<(), Error> {
    let most = means.config.load().gateway.client_queue / 2;
    if length > most { Err(Error::TooLong { length, most }) } else { Ok(()) }
}
