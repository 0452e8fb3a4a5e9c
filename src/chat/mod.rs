//! Chats between shops and their customers: who they are, how far they have read, what they sent besides words.
//!
//! # What it is
//!
//! The memory of a customer service: profiles, shops with their staff and customers, read offsets, notices for the
//! staff's console, uploaded pictures. Messages themselves live in the rooms of the gateway; the gateway indexes
//! those of durable rooms by their id, in the same batch that keeps them, and what is unread is counted there.
//!
//! ```text
//! session or HTTP -> Chat -> ledger (one lock: read, decide, one batch) -> store
//! ```
//!
//! # What it is not
//!
//! It does not deliver anything, knows no session and does not tell who is online: the gateway does.
//!
//! # Limits
//!
//! Everything that is kept has a number or a time after which it goes: customers of a shop (`chat.customers`),
//! profiles and read offsets (`chat.profile_ttl`), notices (`notices::NOTICES_MAX` for each of
//! `notices::SHOPS_MAX` shops), uploads (`chat.upload_ttl`, `chat.upload_limit`). A sweeper takes away what is too old;
//! what goes is counted.
//!
//! # What is lost in a crash
//!
//! What was said in the last milliseconds and not yet written: a read offset may go back by as much, never
//! forward. A row is written with everything that belongs to it, or not at all.
//!
//! # How it stops
//!
//! The sweeper ends with its tasks; the store writes what waits.

mod ledger;
mod notices;
mod profile;
mod reads;
mod room;
mod shops;
mod sweep;
mod typing;
mod uploads;
mod visitors;

pub use profile::Profile;
pub use reads::UNREAD_MAX;
pub use reads::Unread;
pub use reads::last;
pub use reads::unread;
pub use room::room_of;
pub use shops::Customer;
pub use shops::Shop;
pub use uploads::Kind;
pub use uploads::Temporary;
pub use uploads::Upload;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::chat::ledger::Ledger;
use crate::chat::notices::Notices;
use crate::chat::typing::Typing;
use crate::chat::uploads::Uploads;
use crate::chat::visitors::Visitors;
use crate::config;
use crate::ids::MessageId;
use crate::metrics::Metrics;
use crate::store;
use crate::store::Store;

/// Why something of a chat can not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Two pairs of shop and customer have the same room.
    #[error("the room {room} belongs to the shop {shop} and its customer {customer}: take another mid")]
    RoomTaken {
        /// The room.
        room: String,
        /// The shop that has it.
        shop: String,
        /// Its customer.
        customer: String,
    },
    /// An upload is longer than it may be.
    #[error("the file is longer than {most} bytes (chat.upload_size)")]
    UploadTooLong {
        /// The most.
        most: usize,
    },
    /// An upload is not what it may be.
    #[error("not allowed upload file type: the file is none of png, jpeg, gif, webp, bmp")]
    UploadKind,
    /// Too many uploads are on their way.
    #[error("too many uploads at the same time: try again")]
    UploadsBusy,
    /// The files of uploads.
    #[error("{0} can not be used for uploads: {1}")]
    UploadFile(String, #[source] std::io::Error),
}

impl Error {
    /// True when the same may work later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::UploadsBusy => true,
            _ => false,
        }
    }
}

/// Chats; cheap to clone.
#[derive(Clone, Debug)]
pub struct Chat {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Ledger,
    settings: ArcSwap<config::Chat>,
    notices: Notices,
    typing: Typing,
    visitors: Visitors,
    uploads: Uploads,
    metrics: Arc<Metrics>,
}

/// Builds the chats on a store; uploads lie in `directory`, which is made when it is missing.
///
/// # Errors
///
/// [`Error`] when the store can not be read, or the directory can not be used.
pub fn build(
    config: &config::Chat,
    (node, directory): (&str, &Path),
    store: Store,
    metrics: Arc<Metrics>,
) -> Result<Chat, Error> {
    let uploads = Uploads::open(node, directory, &store)?;
    let shared = Shared {
        ledger: Ledger::new(store),
        settings: ArcSwap::from_pointee(config.clone()),
        notices: Notices::default(),
        typing: Typing::default(),
        visitors: Visitors::default(),
        uploads,
        metrics,
    };
    Ok(Chat { shared: Arc::new(shared) })
}

impl Chat {
    /// Takes a new configuration.
    pub fn reload(&self, config: &config::Chat) {
        self.shared.settings.store(Arc::new(config.clone()));
    }

    // === people ===

    /// A user has entered a chat: keeps who it is, and brings a customer up in the list of its shop.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing was changed.
    pub fn login(&self, profile: &Profile, unix_ms: u64) -> Result<(), Error> {
        let settings = self.shared.settings.load();
        let (shop, user) = (&profile.shop_id, &profile.user);
        let names_a_shop = room_of(shop, user) == profile.room && self.shop(shop)?.is_some();
        let is_customer = names_a_shop && self.shop(user)?.is_none();
        let mut desk = self.shared.ledger.open();
        if is_customer && shops::pair(&mut desk, &profile.room)?.is_none() {
            shops::open_room(&mut desk, shop, user, unix_ms)?;
        }
        profile::put(&mut desk, profile, unix_ms);
        if let Some(pair) = shops::pair(&mut desk, &profile.room)?
            && pair.customer == profile.user
        {
            self.lost("customers", shops::touch(&mut desk, &pair, unix_ms, settings.customers)?);
        }
        desk.close()
    }

    /// Who a user is in a room.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn profile(&self, user: &str, room: &str) -> Result<Option<Profile>, Error> {
        profile::of(&mut self.shared.ledger.open(), user, room)
    }

    // === shops ===

    /// The shop, as the configuration has it or as it was opened; none when there is no such shop.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn shop(&self, id: &str) -> Result<Option<Shop>, Error> {
        let settings = self.shared.settings.load();
        match settings.shops.iter().find(|shop| shop.id == id) {
            Some(shop) => Ok(Some(Shop::from(shop))),
            None => shops::of(&mut self.shared.ledger.open(), id),
        }
    }

    /// Opens a shop that the configuration does not have, or takes its new name and picture.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing was changed.
    pub fn open_shop(&self, shop: &Shop, unix_ms: u64) -> Result<(), Error> {
        let mut desk = self.shared.ledger.open();
        shops::put(&mut desk, shop, unix_ms)?;
        desk.close()
    }

    /// Has a room be that of a shop and a customer.
    ///
    /// # Errors
    ///
    /// [`Error::RoomTaken`] when it is that of others.
    pub fn open_room(&self, shop: &str, customer: &str, unix_ms: u64) -> Result<String, Error> {
        let mut desk = self.shared.ledger.open();
        let room = shops::open_room(&mut desk, shop, customer, unix_ms)?;
        desk.close()?;
        Ok(room)
    }

    /// The room of a shop and a customer, which may be nobody else's.
    ///
    /// # Errors
    ///
    /// [`Error::RoomTaken`] when it is that of others.
    pub fn check_room(&self, shop: &str, customer: &str) -> Result<String, Error> {
        // The desk is left without writing.
        shops::open_room(&mut self.shared.ledger.open(), shop, customer, 0)
    }

    /// True when the user is the shop of a room, or of its staff.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn is_staff(&self, user: &str, room: &str) -> Result<bool, Error> {
        let pair = shops::pair(&mut self.shared.ledger.open(), room)?;
        let Some(pair) = pair else { return Ok(false) };
        self.is_staff_of(user, &pair.shop)
    }

    /// True when the user is the shop, or of its staff.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn is_staff_of(&self, user: &str, shop: &str) -> Result<bool, Error> {
        let Some(found) = self.shop(shop)? else { return Ok(false) };
        Ok(user == shop || found.staff.iter().any(|member| member == user))
    }

    /// The customers of a shop, at most so many, who was active last comes first.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn customers(&self, shop: &str, most: usize) -> Result<Vec<Customer>, Error> {
        shops::customers(&mut self.shared.ledger.open(), shop, most)
    }

    /// The customer of a shop of whom the console has not heard for longest that something is new; none when there is
    /// none.
    #[must_use]
    pub fn next_notice(&self, shop: &str, now: Duration) -> Option<String> {
        self.shared.notices.take(shop, now)
    }

    /// A new customer's id: the day and a number.
    ///
    /// # Errors
    ///
    /// [`Error`] when it can not be written down that it was given.
    pub async fn new_visitor(&self, unix_ms: u64) -> Result<String, Error> {
        self.shared.visitors.next(self.shared.ledger.store(), unix_ms).await
    }

    /// Lets go of the customers who were silent for `chat.profile_ttl` in all shops; gives how many, and whether there may
    /// be more.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing was changed.
    pub fn clean(&self, unix_ms: u64) -> Result<(usize, bool), Error> {
        let oldest = unix_ms.saturating_sub(millis(self.shared.settings.load().profile_ttl));
        let mut desk = self.shared.ledger.open();
        let (gone, more) = shops::clean(&mut desk, oldest)?;
        desk.close()?;
        self.lost("customers", gone);
        Ok((gone, more))
    }

    // === messages ===

    /// A user has said something in a room: the shop's console gets a notice, and a customer comes up in its list.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing was changed.
    pub fn said(&self, user: &str, room: &str, unix_ms: u64, now: Duration) -> Result<(), Error> {
        let settings = self.shared.settings.load();
        let mut desk = self.shared.ledger.open();
        if let Some(pair) = shops::pair(&mut desk, room)?
            && pair.customer == user
        {
            self.lost("customers", shops::touch(&mut desk, &pair, unix_ms, settings.customers)?);
            desk.close()?;
            self.lost("notices", self.shared.notices.add(&pair.shop, user, now));
        }
        Ok(())
    }

    /// A user has read up to a message; false when it had read as far before. Never goes back.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing was changed.
    pub fn ack(&self, user: &str, room: &str, id: MessageId, unix_ms: u64) -> Result<bool, Error> {
        let settings = self.shared.settings.load();
        let mut desk = self.shared.ledger.open();
        let moved = reads::ack(&mut desk, user, room, id, unix_ms)?;
        if let Some(pair) = shops::pair(&mut desk, room)?
            && pair.customer == user
        {
            self.lost("customers", shops::touch(&mut desk, &pair, unix_ms, settings.customers)?);
        }
        desk.close()?;
        Ok(moved)
    }

    /// How far a user has read in a room.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn read(&self, user: &str, room: &str) -> Result<Option<MessageId>, Error> {
        reads::read(&mut self.shared.ledger.open(), user, room)
    }

    /// What a user has not read in a room: exactly up to [`UNREAD_MAX`], without its own messages.
    ///
    /// # Errors
    ///
    /// [`Error`] when the store can not be read.
    pub fn unread(&self, user: &str, room: &str) -> Result<Unread, Error> {
        let read = self.read(user, room)?;
        unread(self.shared.ledger.store(), room, user, read)
    }

    /// May a user tell a room that it is typing? Once a second.
    #[must_use]
    pub fn may_type(&self, user: &str, room: &str, now: Duration) -> bool {
        self.shared.typing.may(user, room, now)
    }

    /// How old a message may be that is taken back.
    #[must_use]
    pub fn recall_window(&self) -> Duration {
        self.shared.settings.load().recall_window
    }

    fn lost(&self, what: &'static str, count: usize) {
        sweep::count(&self.shared.metrics, what, count);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
