//! Who is here: all sessions by number, by user, by device key; and how many addresses they come from.
//!
//! A number is for ever; a user or a key is known from the login to the end of the session. What has the same device
//! key as a newer session is replaced by it, and does not take the newer one's entry along when it goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

use crate::gateway::link::Link;

/// The sessions of this node.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    links: HashMap<u64, Weak<Link>>,
    users: HashMap<Arc<str>, Vec<u64>>,
    keys: HashMap<Box<str>, u64>,
    addresses: HashMap<IpAddr, usize>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Online {
    /// Sessions that are logged in, anonymous ones included.
    pub sessions: usize,
    /// Users.
    pub users: usize,
    /// Addresses that sessions come from.
    pub addresses: usize,
}

/// What must end because of a new login.
#[derive(Debug, Default)]
pub(super) struct Displaced {
    /// The session that had the same device key.
    pub(super) replaced: Option<Arc<Link>>,
    /// The user's oldest sessions, beyond those that one user may have.
    pub(super) surplus: Vec<Arc<Link>>,
}

impl Registry {
    /// Adds a session.
    pub(super) fn add(&self, link: &Arc<Link>) {
        self.inner().links.insert(link.key(), Arc::downgrade(link));
    }

    /// A session has logged in, from `address` with the device key `key`; a user may have `sessions_max` sessions.
    pub(super) fn login(
        &self,
        link: &Arc<Link>,
        address: Option<IpAddr>,
        key: Option<&str>,
        sessions_max: usize,
    ) -> Displaced {
        let mut inner = self.inner();
        let mut displaced = Displaced::default();
        if let Some(address) = address {
            *inner.addresses.entry(address).or_default() += 1;
        }
        if let Some(former) = key.and_then(|key| inner.keys.insert(key.into(), link.key())) {
            displaced.replaced = inner.link(former);
        }
        let Some(card) = link.card().filter(|card| !card.user.is_empty()) else { return displaced };
        let sessions = inner.users.entry(Arc::clone(&card.user)).or_default();
        sessions.push(link.key());
        let surplus: Vec<u64> = sessions.drain(..sessions.len().saturating_sub(sessions_max)).collect();
        displaced.surplus = surplus.into_iter().filter_map(|number| inner.link(number)).collect();
        displaced
    }

    /// Removes a session that came from `address` with the device key `key`; true when it was its user's last one.
    pub(super) fn remove(&self, link: &Link, address: Option<IpAddr>, key: Option<&str>) -> bool {
        let mut inner = self.inner();
        inner.links.remove(&link.key());
        let Some(card) = link.card() else { return false };
        if let Some(address) = address
            && let Some(count) = inner.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                inner.addresses.remove(&address);
            }
        }
        if let Some(key) = key
            && inner.keys.get(key) == Some(&link.key())
        {
            inner.keys.remove(key);
        }
        let Some(sessions) = inner.users.get_mut(&card.user) else { return false };
        sessions.retain(|number| *number != link.key());
        let last = sessions.is_empty();
        if last {
            inner.users.remove(&card.user);
        }
        last
    }

    /// How many sessions there are, those without login included.
    pub(super) fn len(&self) -> usize {
        self.inner().links.len()
    }

    /// How many are logged in, and from where.
    pub(super) fn online(&self) -> Online {
        let inner = self.inner();
        let (users, addresses) = (inner.users.len(), inner.addresses.len());
        Online { sessions: inner.links.len(), users, addresses }
    }

    /// The sessions as of now.
    pub(super) fn all(&self) -> Vec<Arc<Link>> {
        self.inner().links.values().filter_map(Weak::upgrade).collect()
    }

    /// The session with this number.
    pub(super) fn number(&self, number: u64) -> Option<Arc<Link>> {
        self.inner().link(number)
    }

    /// The session with this device key.
    pub(super) fn key(&self, key: &str) -> Option<Arc<Link>> {
        let inner = self.inner();
        inner.link(*inner.keys.get(key)?)
    }

    /// The sessions of a user, the oldest first.
    pub(super) fn user(&self, user: &str) -> Vec<Arc<Link>> {
        let inner = self.inner();
        let numbers = inner.users.get(user).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| inner.link(*number)).collect()
    }

    /// True when the user has a session.
    pub(super) fn is_online(&self, user: &str) -> bool {
        self.inner().users.contains_key(user)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn link(&self, number: u64) -> Option<Arc<Link>> {
        self.links.get(&number)?.upgrade()
    }
}
