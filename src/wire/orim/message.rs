//! A message of the chat, as it is sent, kept in the history and listed.

use serde::Deserialize;
use serde::Serialize;

use crate::wire::goim::Loose;
use crate::wire::goim::object;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The side of the room that is the shop.
    pub shop_id: String,
    /// What the message is: `text` or `image`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text, or the address of the picture.
    pub msg: String,
    /// The room, with its type.
    pub room_id: String,
    /// The id: a number of 64 bits, which a script cannot hold, so a text.
    pub id: String,
    /// When it was sent, in Unix seconds.
    pub dateline: u64,
    /// Who sent it.
    pub mid: String,
}

impl Message {
    /// Reads a message, of which only `msg` must be there; numbers may stand where texts are expected, and texts where numbers are.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Members {
            #[serde(default)]
            shop_id: Loose,
            #[serde(rename = "type", default)]
            kind: Loose,
            msg: Loose,
            #[serde(default)]
            room_id: Loose,
            #[serde(default)]
            id: Loose,
            #[serde(default)]
            dateline: Loose,
            #[serde(alias = "user_id", default)]
            mid: Loose,
        }
        let members: Members =
            object("a message", json, r#"{"mid":"1","room_id":"live://18000","msg":"…","id":"…"}"#)?;
        let Loose(dateline) = members.dateline;
        let seconds = if dateline.is_empty() { Ok(0) } else { dateline.parse() };
        Ok(Self {
            shop_id: members.shop_id.0,
            kind: members.kind.0,
            msg: members.msg.0,
            room_id: members.room_id.0,
            id: members.id.0,
            dateline: seconds.map_err(|_| format!("dateline: {dateline:?} are no Unix seconds"))?,
            mid: members.mid.0,
        })
    }

    /// The message as openresty-im writes it: a slash within a text has a backslash before it.
    #[must_use]
    pub fn json(&self) -> String {
        // Slashes stand only within texts.
        serde_json::to_string(self).expect("texts and a number can be written").replace('/', "\\/")
    }
}
