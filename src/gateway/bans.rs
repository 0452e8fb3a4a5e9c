//! Who may not log in, and until when.
//!
//! The list is in memory and in the store: it outlives the process. Limit: [`BANS_MAX`] users; more are refused. What
//! is over is forgotten when the list is read or full.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;

use crate::store;
use crate::store::Batch;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Store;
use crate::store::Table;

/// The most users on the list.
const BANS_MAX: usize = 100_000;

/// One user's ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// When it is over, in Unix seconds; never without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<u64>,
    /// What the user is told.
    pub reason: String,
}

impl Ban {
    fn is_over(&self, unix: u64) -> bool {
        self.until.is_some_and(|until| unix >= until)
    }
}

/// Why a user could not be put on the list, or taken off it.
#[derive(Debug, thiserror::Error)]
pub enum BanError {
    /// The list is full.
    #[error("the list of bans has {BANS_MAX} users already: take some off it")]
    Full,
    /// The store did not keep it.
    #[error("the list of bans could not be kept")]
    Store(#[from] store::Error),
}

/// The list.
#[derive(Debug)]
pub(super) struct Bans {
    store: Store,
    users: Mutex<HashMap<String, Ban>>,
}

impl Bans {
    /// The list as `store` has it.
    ///
    /// # Errors
    ///
    /// When the store can not be read.
    pub(super) fn open(store: Store) -> Result<Self, store::Error> {
        let mut users = HashMap::new();
        let mut span = Span::all();
        loop {
            let limit = Limit { items: 1000, bytes: 1 << 20 };
            let page = store.range(Table::Bans, &span, Direction::Up, limit)?;
            for (key, value) in &page.entries {
                if let (Some(user), Ok(ban)) = (Parts::new(key).text(), serde_json::from_slice(value)) {
                    users.insert(user, ban);
                }
            }
            match page.entries.last().filter(|_| page.more) {
                Some((last, _)) => span = Span::from([last.as_slice(), &[0]].concat()),
                None => return Ok(Self { store, users: Mutex::new(users) }),
            }
        }
    }

    /// What keeps a user out at `unix` seconds.
    pub(super) fn of(&self, user: &str, unix: u64) -> Option<Ban> {
        self.users().get(user).filter(|ban| !ban.is_over(unix)).cloned()
    }

    /// Puts a user on the list.
    pub(super) async fn add(&self, user: &str, ban: Ban, unix: u64) -> Result<(), BanError> {
        let value = serde_json::to_vec(&ban).unwrap_or_default();
        {
            let mut users = self.users();
            if users.len() >= BANS_MAX {
                users.retain(|_, ban| !ban.is_over(unix));
            }
            if users.len() >= BANS_MAX && !users.contains_key(user) {
                return Err(BanError::Full);
            }
            users.insert(user.to_owned(), ban);
        }
        let mut batch = Batch::new();
        batch.put(Table::Bans, Key::new().text(user), value);
        Ok(self.store.submit(batch)?.await?)
    }

    /// Takes a user off the list; false when it was not on it.
    pub(super) async fn remove(&self, user: &str) -> Result<bool, BanError> {
        if self.users().remove(user).is_none() {
            return Ok(false);
        }
        let mut batch = Batch::new();
        batch.delete(Table::Bans, Key::new().text(user));
        self.store.submit(batch)?.await?;
        Ok(true)
    }

    /// The list at `unix` seconds, by user.
    pub(super) fn all(&self, unix: u64) -> Vec<(String, Ban)> {
        let users = self.users();
        let standing = users.iter().filter(|(_, ban)| !ban.is_over(unix));
        let mut all: Vec<_> = standing.map(|(user, ban)| (user.clone(), ban.clone())).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    fn users(&self) -> MutexGuard<'_, HashMap<String, Ban>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
