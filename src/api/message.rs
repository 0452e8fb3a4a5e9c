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
    #[error("{0} is no base64: {1}")]
    Base64(&'static str, base64::DecodeError),
    /// Base64, but not of JSON, where only that will do.
    #[error("the content of {0} is no JSON")]
    NotJson(&'static str),
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
        let bytes = decoded("b64data", b64data)?;
        check_length(means, bytes.len())?;
        // What is JSON reaches clients as JSON, as it does in the original.
        return Ok(serde_json::from_slice(&bytes).map_or_else(|_| payload(&bytes), Payload::from_json));
    }
    let data = data.ok_or(Error::Missing)?;
    check_length(means, data.get().len())?;
    Ok(Payload::from_json(data))
}

/// The message that some bytes are.
pub(super) fn of_bytes(means: &Means, bytes: &[u8]) -> Result<Payload, Error> {
    check_length(means, bytes.len())?;
    Ok(payload(bytes))
}

/// The JSON in `info` or, when that is there, in `b64info`.
pub(super) fn info(info: Option<Box<RawValue>>, b64info: &str) -> Result<Option<Box<RawValue>>, Error> {
    if b64info.is_empty() {
        return Ok(info);
    }
    let bytes = decoded("b64info", b64info)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| Error::NotJson("b64info"))
}

fn decoded(field: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|error| Error::Base64(field, error))
}

/// A longer message would end the session of whoever has not read everything before it.
fn check_length(means: &Means, length: usize) -> Result<(), Error> {
    let most = means.config.load().gateway.client_queue / 2;
    if length > most { Err(Error::TooLong { length, most }) } else { Ok(()) }
}

fn payload(bytes: &[u8]) -> Payload {
    match std::str::from_utf8(bytes) {
        Ok(text) => Payload::from_text(text),
        Err(_) => Payload::from_text(&STANDARD.encode(bytes)),
    }
}
