//! Messages to users who are not there: kept on disk until they log in, or until they are too old.
//!
//! A user who logs in gets them in their order, each with the rest of its time; what a socket has taken is removed, so
//! a message comes at least once. Limits: `gateway.inbox_size` messages a user, the oldest make room, for
//! `gateway.inbox_ttl`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::clock;
use crate::config::Slow;
use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;
use crate::gateway::link::Link;
use crate::gateway::room::archive::Content;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::receipt::Receipt;
use crate::gateway::shared::Shared;
use crate::ids::MessageId;
use crate::store;
use crate::store::Batch;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Store;
use crate::store::Table;
use crate::tasks::OnExit;
use crate::wire::payload::Payload;

/// How long a socket may take for what waited for its user; what it has not taken by then comes again at the next login.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes that are read for one login.
const READ_MAX: usize = 4 * 1024 * 1024;

/// A message as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "p")]
    payload: Content,
    #[serde(rename = "x")]
    expires_ms: u64,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    operation: Option<i32>,
}

/// The messages that wait for users.
#[derive(Debug)]
pub(super) struct Inbox {
    store: Store,
}

/// A message that waited.
struct Waiting {
    id: u64,
    payload: Payload,
    operation: Option<i32>,
    expires_ms: u64,
}

impl Inbox {
    /// What waits in `store`.
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Lets a message wait for a user, for `ttl`; the oldest beyond `size` make room.
    pub(super) async fn keep(
        &self,
        user: &str,
        (id, unix_ms): (MessageId, u64),
        message: &Outgoing,
        (size, ttl): (usize, Duration),
    ) -> Result<(), store::Error> {
        let ttl = message.ttl.unwrap_or(ttl).min(ttl);
        let kept = Kept {
            payload: Content::of(&message.payload),
            expires_ms: unix_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            operation: message.operation,
        };
        let mut batch = Batch::new();
        let value = serde_json::to_vec(&kept).unwrap_or_default();
        batch.put(Table::Inbox, Key::new().text(user).number(id.number()), value);
        let limit = Limit { items: size, bytes: usize::MAX };
        let newest = self.store.range(Table::Inbox, &of(user), Direction::Down, limit)?;
        if let Some((oldest, _)) = newest.entries.get(size.saturating_sub(1)) {
            let first = Key::new().text(user).number(0);
            batch.delete_range(Table::Inbox, &Span::between(first, [oldest.as_slice(), &[0]].concat()));
        }
        self.store.submit(batch)?.await
    }

    fn read(&self, user: &str, size: usize) -> Result<Vec<Waiting>, store::Error> {
        let limit = Limit { items: size, bytes: READ_MAX };
        let page = self.store.range(Table::Inbox, &of(user), Direction::Up, limit)?;
        let waiting = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let mut parts = Parts::new(key);
            parts.text()?;
            let id = parts.number()?;
            let kept: Kept = serde_json::from_slice(value).ok()?;
            let payload = kept.payload.payload()?;
            Some(Waiting { id, payload, operation: kept.operation, expires_ms: kept.expires_ms })
        };
        Ok(page.entries.iter().filter_map(waiting).collect())
    }

    fn remove(&self, user: &str, ids: &[u64]) -> Result<(), store::Error> {
        let mut batch = Batch::new();
        for id in ids {
            batch.delete(Table::Inbox, Key::new().text(user).number(*id));
        }
        // Nobody waits for it: a message that stays comes once more.
        self.store.submit(batch).map(drop)
    }
}

impl Shared {
    /// Sends a user who has logged in what waited; what the socket has taken is removed.
    pub(super) fn empty_inbox(self: &Arc<Self>, link: &Arc<Link>) {
        let Some(user) = link.card().map(|card| Arc::clone(&card.user)).filter(|user| !user.is_empty())
        else {
            return;
        };
        let size = self.settings.load().inbox_size;
        let waiting = match self.inbox.read(&user, size) {
            Ok(waiting) if waiting.is_empty() => return,
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "what waits for a user can not be read");
                return;
            }
        };
        let (now, unix_ms) = (clock::uptime(), crate::gateway::chat::unix_ms());
        let (old, fresh): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|waiting| waiting.expires_ms <= unix_ms);
        let mut done: Vec<u64> = old.iter().map(|waiting| waiting.id).collect();
        let mut sent = Vec::new();
        for waiting in fresh {
            let receipt = Receipt::alone();
            let origin = Origin {
                room: "".into(),
                at: now,
                messages: 1,
                slow: Slow::Disconnect,
                key: None,
                expires: Some(now + Duration::from_millis(waiting.expires_ms - unix_ms)),
                receipt: Some(Arc::clone(&receipt)),
            };
            let message = Outgoing { operation: waiting.operation, ..Outgoing::new(waiting.payload) };
            let bytes = link.form().message(&message);
            let frame = Frame { bytes, origin: Some(Arc::new(origin)) };
            self.count(link.send(&[frame], now, &mut self.observer()));
            sent.push((waiting.id, receipt));
        }
        let shared = Arc::clone(self);
        self.means.tasks.spawn("inbox", OnExit::Ignore, async move {
            for (id, receipt) in sent {
                if receipt.wait(PATIENCE).await.written == 1 {
                    done.push(id);
                }
            }
            if let Err(error) = shared.inbox.remove(&user, &done) {
                tracing::warn!(%error, "messages that a user has got can not be removed: they will come again");
            }
        });
    }
}

fn of(user: &str) -> Span {
    Span::prefix(Key::new().text(user))
}
