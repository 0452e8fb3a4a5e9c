//! One desk at which rows are read, decided upon and written, by one at a time.
//!
//! Rows that were written and are not yet in the store are kept here, so that whoever comes next sees them: thus
//! what is decided (an offset that only grows, an order without doubles) is decided upon what is true. A row goes from
//! here when its batch is made, or was not made: then the store's word counts again. As many rows wait here as
//! wait in the store's queue, which has a limit.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use futures_util::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chat::Error;
use crate::store::Batch;
use crate::store::Key;
use crate::store::Store;
use crate::store::Table;
use crate::store::Ticket;

/// The desk's room.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Store,
    waiting: Mutex<Waiting>,
}

/// What is written and not yet in the store.
#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Sent>,
    rows: HashMap<Row, Written>,
    next: u64,
}

type Row = (Table, Vec<u8>);

#[derive(Debug)]
struct Written {
    batch: u64,
    value: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Sent {
    batch: u64,
    ticket: Ticket,
    rows: Vec<Row>,
}

/// The desk: whoever has it is alone.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    store: &'a Store,
    waiting: MutexGuard<'a, Waiting>,
    batch: Batch,
    changed: HashMap<Row, Option<Vec<u8>>>,
}

impl Ledger {
    pub(super) fn new(store: Store) -> Self {
        Self { store, waiting: Mutex::default() }
    }

    /// The store itself, for what needs no desk.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Takes the desk.
    pub(super) fn open(&self) -> Desk<'_> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.settle();
        Desk { store: &self.store, waiting, batch: Batch::new(), changed: HashMap::new() }
    }
}

impl Waiting {
    /// Lets go of the rows whose batch is made.
    fn settle(&mut self) {
        while let Some(first) = self.batches.front_mut() {
            let Some(outcome) = (&mut first.ticket).now_or_never() else { return };
            if let Err(error) = outcome {
                tracing::warn!(%error, "something of a chat was not kept: it is as it was before");
            }
            let Some(Sent { batch, rows, .. }) = self.batches.pop_front() else { return };
            for row in rows {
                if self.rows.get(&row).is_some_and(|written| written.batch == batch) {
                    self.rows.remove(&row);
                }
            }
        }
    }
}

impl Desk<'_> {
    /// The value of a row, as the last one at the desk left it.
    pub(super) fn bytes(&self, table: Table, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let row = (table, key.as_ref().to_vec());
        if let Some(value) = self.changed.get(&row) {
            return Ok(value.clone());
        }
        if let Some(written) = self.waiting.rows.get(&row) {
            return Ok(written.value.clone());
        }
        Ok(self.store.read(table, &row.1)?)
    }

    /// The value of a row; none when there is none, or it is no such value.
    pub(super) fn value<T: DeserializeOwned>(
        &self,
        table: Table,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, Error> {
        Ok(self.bytes(table, key)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// The store, for ranges: they do not show the rows that wait.
    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// Writes a row.
    pub(super) fn put<T: Serialize>(&mut self, table: Table, key: Key, value: &T) {
        let value = serde_json::to_vec(value).expect("rows of a chat are plain structures");
        let key = key.into_bytes();
        self.batch.put(table, &key, &value);
        self.changed.insert((table, key), Some(value));
    }

    /// Deletes a row.
    pub(super) fn delete(&mut self, table: Table, key: impl AsRef<[u8]>) {
        let key = key.as_ref().to_vec();
        self.batch.delete(table, &key);
        self.changed.insert((table, key), None);
    }

    /// Hands everything that was written to the store, as one batch.
    pub(super) fn close(mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let ticket = self.store.submit(std::mem::take(&mut self.batch))?;
        let waiting = &mut *self.waiting;
        waiting.next += 1;
        let batch = waiting.next;
        let rows = self.changed.keys().cloned().collect();
        for (row, value) in self.changed.drain() {
            waiting.rows.insert(row, Written { batch, value });
        }
        waiting.batches.push_back(Sent { batch, ticket, rows });
        Ok(())
    }
}
