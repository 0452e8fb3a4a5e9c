//! Takes away what is too old: profiles, read offsets, customers, shops and rooms nobody uses, notices, uploads.
//!
//! It goes through the tables a few rows at a time, round after round, so that it never holds the desk for long and
//! costs the same whatever there is. What it finds too old is looked at again at the desk, where nothing is written
//! meanwhile.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::MissedTickBehavior;

use crate::chat::Chat;
use crate::chat::Error;
use crate::chat::ledger::Desk;
use crate::chat::millis;
use crate::chat::profile;
use crate::chat::reads;
use crate::chat::shops;
use crate::clock;
use crate::metrics::ByKind;
use crate::metrics::Metrics;
use crate::store::Direction;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Table;
use crate::tasks::Tasks;

/// How often some rows are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How often notices and uploads are looked at.
const ROUND: Duration = Duration::from_secs(60);

/// How many rows at once.
const ROWS: Limit = Limit { items: 256, bytes: 256 * 1024 };

/// The tables that are gone through, and what a row of each is called where it is counted.
const TABLES: [(Table, &str); 3] =
    [(Table::Users, "profiles"), (Table::Reads, "read_offsets"), (Table::Shops, "customers")];

/// Where a sweep has come to in each table.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    from: [Vec<u8>; TABLES.len()],
}

impl Chat {
    /// Takes away what is too old, until the tasks are asked to stop.
    pub async fn sweep(self, tasks: Tasks) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cursor = Cursor::default();
        let mut round = Instant::now();
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                _ = ticks.tick() => {}
            }
            let unix_ms = millis(clock::wall());
            let mut outcome = self.sweep_rows(&mut cursor, unix_ms);
            if round.elapsed() >= ROUND {
                round = Instant::now();
                outcome = outcome.and(self.sweep_rest(unix_ms, clock::uptime()).await);
            }
            if let Err(error) = outcome {
                tracing::warn!(%error, "what is too old in chats can not be taken away now");
            }
        }
    }

    /// Looks at the next rows of each table.
    pub(super) fn sweep_rows(&self, cursor: &mut Cursor, unix_ms: u64) -> Result<(), Error> {
        let oldest = unix_ms.saturating_sub(millis(self.shared.settings.load().profile_ttl));
        for ((table, what), from) in TABLES.into_iter().zip(&mut cursor.from) {
            let mut desk = self.shared.ledger.open();
            let page = desk.store().range(table, &Span::from(&from), Direction::Up, ROWS)?;
            *from = match page.entries.last() {
                Some((last, _)) if page.more => [last.as_slice(), &[0]].concat(),
                _ => Vec::new(),
            };
            let mut gone = 0;
            for (key, value) in page.entries {
                // What was written meanwhile is not as it was read, and not old.
                if desk.bytes(table, &key)?.as_ref() == Some(&value) {
                    gone += usize::from(sweep(&mut desk, table, (&key, &value), oldest)?);
                }
            }
            desk.close()?;
            self.lost(what, gone);
        }
        Ok(())
    }

    async fn sweep_rest(&self, unix_ms: u64, now: Duration) -> Result<(), Error> {
        self.lost("notices", self.shared.notices.forget(now));
        self.expire_uploads(unix_ms).await
    }
}

/// Takes a row away when it is too old; true when it was.
fn sweep(
    desk: &mut Desk<'_>,
    table: Table,
    (key, value): (&[u8], &[u8]),
    oldest: u64,
) -> Result<bool, Error> {
    if table == Table::Shops {
        return shops::sweep(desk, (key, value), oldest);
    }
    let time = if table == Table::Users { profile::time(value) } else { reads::time(value) };
    if time.is_some_and(|time| time >= oldest) {
        return Ok(false);
    }
    let mut parts = Parts::new(key);
    let room = parts.text().and_then(|_| parts.text()).unwrap_or_default();
    // As long as there are messages, it counts how far somebody has read.
    if table == Table::Reads && reads::last(desk.store(), &room)?.is_some() {
        return Ok(false);
    }
    // Who is silent in one way may be active in another: as long as the customer is, all that the room has stays.
    if let Some(pair) = shops::pair(desk, &room)?
        && shops::activity(desk, &pair)?.is_some_and(|active| active >= oldest)
    {
        return Ok(false);
    }
    desk.delete(table, key);
    Ok(true)
}

/// Counts what went.
pub(super) fn count(metrics: &Metrics, what: &'static str, gone: usize) {
    if gone > 0 {
        metrics.chat_removed.get_or_create(&ByKind { kind: what }).inc_by(gone as u64);
        tracing::debug!(what, gone, "taken away: beyond the limits of [chat]");
    }
}
