//! How parameters are read: what is null is as if it was not there, and what is not known is passed over.

use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::api::centrifugo::fault::Fault;
use crate::ids::Epoch;

/// Reads the parameters of a method; none at all is an empty object.
pub(super) fn read<T: DeserializeOwned>(params: &[u8]) -> Result<T, Fault> {
    let params = if params.trim_ascii().is_empty() { b"{}" } else { params };
    // A list would be taken as the values of all parameters in their order.
    if !params.trim_ascii_start().starts_with(b"{") {
        return Err(Fault::Malformed("the parameters are no JSON object".to_owned()));
    }
    serde_json::from_slice(params).map_err(|error| Fault::Malformed(error.to_string()))
}

/// A value, or what it is when it is left out.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Any JSON value; null is one too.
pub(super) fn any<'de, D>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error>
where
    D: Deserializer<'de>,
{
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A position in a room's stream.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Position {
    /// The number of a message.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) offset: u64,
    /// The life of the stream.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) epoch: String,
}

impl Position {
    /// The life of the stream, if one was named.
    pub(super) fn epoch(&self) -> Result<Option<Epoch>, Fault> {
        match self.epoch.as_str() {
            "" => Ok(None),
            // What is no epoch is none of this room's.
            written => Epoch::parse(written).map(Some).ok_or(Fault::Unrecoverable),
        }
    }
}
