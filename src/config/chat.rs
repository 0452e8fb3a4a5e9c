//! `[chat]` and `[[chat.shop]]`: chats between shops and their customers.

use std::time::Duration;

use super::read::Reader;
use crate::units::Bare;

/// The most bytes of an id of a shop, which is part of room names.
const ID_MAX: usize = 64;

/// `[chat]`: chats between shops and their customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// The chat page, to which customers and staff are sent.
    pub page: String,
    /// Where that page connects to; none: this host.
    pub subscribe_url: Option<String>,
    /// Where that page sends messages to; none: this host.
    pub push_url: Option<String>,
    /// The picture of customers without one.
    pub face: String,
    /// The shops; the first one is meant where none is named.
    pub shops: Vec<Shop>,
    /// Customers that a shop remembers.
    pub customers: usize,
    /// How long silent customers, profiles and read offsets are kept.
    pub profile_ttl: Duration,
    /// How long the token of a chat page is good.
    pub token_ttl: Duration,
    /// How old a message may be that is taken back.
    pub recall_window: Duration,
    /// Bytes of one upload.
    pub upload_size: usize,
    /// How long an upload is kept.
    pub upload_ttl: Duration,
    /// Bytes of all uploads together.
    pub upload_limit: u64,
}

/// `[[chat.shop]]`: one shop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shop {
    /// Its id; as a user it is the staff that speaks.
    pub id: String,
    /// Its name, for customers.
    pub name: String,
    /// Its picture.
    pub face: String,
    /// The users who may act for it.
    pub staff: Vec<String>,
}

/// The section with its shops.
pub(super) fn chat(read: Reader<'_>) -> Chat {
    let kept = |key, zero| read.duration(key, Bare::Seconds, zero);
    let upload_size = read.size("chat.upload_size", 1024..=1 << 32);
    let upload_limit = read.size("chat.upload_limit", 1024..=1 << 50) as u64;
    read.relation(
        &["chat.upload_limit", "chat.upload_size"],
        upload_limit >= upload_size as u64,
        "\"upload_limit\" is below \"upload_size\", so the largest upload would be removed as soon as it is there",
        "raise upload_limit or lower upload_size",
    );
    Chat {
        page: read.text("chat.page"),
        subscribe_url: read.optional_text("chat.subscribe_url"),
        push_url: read.optional_text("chat.push_url"),
        face: read.text("chat.face"),
        shops: shops(read),
        customers: read.amount("chat.customers", 1..=1_000_000),
        profile_ttl: kept("chat.profile_ttl", "would forget every customer at once"),
        token_ttl: kept("chat.token_ttl", "would end every token at its birth"),
        recall_window: kept("chat.recall_window", "would let nobody take a message back: write 1ms"),
        upload_size,
        upload_ttl: kept("chat.upload_ttl", "would remove every upload at once"),
        upload_limit,
    }
}

fn shops(read: Reader<'_>) -> Vec<Shop> {
    let mut shops: Vec<Shop> = Vec::new();
    for (table, place) in read.tables("chat.shop", "chat.shop.") {
        let id = table.written_text("id").unwrap_or_default();
        if !table.has("id") {
            table.wrong_at(place, "id", "a shop needs an id", "write id = \"8000\"");
        } else if id.is_empty()
            || id.len() > ID_MAX
            || id.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            let problem = format!("\"{id}\" can not be part of a room name");
            table.wrong("id", problem, "write at most 64 bytes without white space");
        } else if shops.iter().any(|other| other.id == id) {
            table.wrong("id", format!("\"{id}\" is there already"), "give each shop its own id");
        }
        shops.push(Shop {
            id,
            name: table.written_text("name").unwrap_or_else(|| NAME.to_owned()),
            face: table.written_text("face").unwrap_or_default(),
            staff: if table.has("staff") {
                table.texts("staff").into_iter().map(|(user, _)| user).collect()
            } else {
                Vec::new()
            },
        });
    }
    shops
}

/// The name of a shop that has none: "customer service", as in the original.
const NAME: &str = "客服";
