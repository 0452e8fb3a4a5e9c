//! The file of the store: what redb does, as the store needs it.
//!
//! A plain open of redb trusts its file, and may panic in the middle of a damaged one; every use is therefore guarded,
//! and a panic counts as the damage that it comes from. Checkpoints save what redb knows of free pages, and sync twice,
//! so that an open after a kill need not walk through the file.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use redb::Database;
use redb::Durability;
use redb::ReadableDatabase;
use redb::TableDefinition;
use redb::TableError;

use super::Error;
use super::batch::Change;
use super::batch::Changes;
use super::batch::ENTRY_WEIGHT;
use super::batch::Unreadable;
use super::key::Span;
use super::table::Table;

/// The name of the file in the directory of the store.
pub(super) const FILE: &str = "store.redb";

/// What the store knows of itself, by name.
const OWN: TableDefinition<&str, u64> = TableDefinition::new("store");

const ENTRIES: &str = "entries";
const BYTES: &str = "bytes";
const NEXT: &str = "next";

/// What is in the tables, and up to where the journal is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    /// Keys.
    pub entries: u64,
    /// Bytes of keys and values, and a little for each.
    pub bytes: u64,
    /// The number of the first frame of the journal that is not in them.
    pub next: u64,
}

impl Volume {
    /// What a file says of itself.
    pub(super) fn of(database: &impl ReadableDatabase) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(OWN) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let of = |name| Ok::<_, redb::Error>(table.get(name)?.map_or(0, |value| value.value()));
        Ok(Self { entries: of(ENTRIES)?, bytes: of(BYTES)?, next: of(NEXT)? })
    }
}

/// Which of a range is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The lowest key first.
    Up,
    /// The highest key first.
    Down,
}

/// How much of a range is read at once.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Entries; at most [`RANGE_ITEMS_MAX`].
    pub items: usize,
    /// Bytes of keys and values; at most [`RANGE_BYTES_MAX`]. One entry is read even when it is longer.
    pub bytes: usize,
}

/// Entries that one read of a range gives: 65 536.
pub const RANGE_ITEMS_MAX: usize = 65_536;

/// Bytes that one read of a range gives: 64 MiB.
pub const RANGE_BYTES_MAX: usize = 64 << 20;

/// What was read of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values, in the order of the direction.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// True when the limit left something out.
    pub more: bool,
}

/// How much an open believes of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Its pages are what was written.
    Pages,
    /// Every page is looked at.
    Nothing,
}

/// The open file, for the thread and for whoever reads.
pub(super) struct Base {
    path: PathBuf,
    /// None once it is closed.
    database: RwLock<Option<Database>>,
}

impl fmt::Debug for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Base").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Base {
    /// Opens the file, or makes it.
    pub(super) fn open(directory: &Path, cache_bytes: usize, trust: Trust) -> Result<Self, Error> {
        Self::open_at(directory.join(FILE), cache_bytes, trust)
    }

    /// Opens a file of any name, or makes it.
    pub(super) fn open_at(path: PathBuf, cache_bytes: usize, trust: Trust) -> Result<Self, Error> {
        let database = guarded(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(cache_bytes).set_check_integrity_on_open(trust == Trust::Nothing);
            Ok(builder.create(&path)?)
        });
        let database = database.map_err(|error| opened_wrong(&path, error))?;
        Ok(Self::new(path, database))
    }

    /// The file that is open as `database`.
    pub(super) fn new(path: PathBuf, database: Database) -> Self {
        Self { path, database: RwLock::new(Some(database)) }
    }

    /// Closes the file, as soon as those who read have done so.
    pub(super) fn close(&self) -> Result<(), Error> {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(database) = database else { return Err(Error::Closed) };
        guarded(|| Ok(database.close()?)).map_err(|error| wrong(&self.path, error))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, as the last checkpoint says.
    pub(super) fn volume(&self) -> Result<Volume, Error> {
        self.work(Volume::of)
    }

    /// Makes the changes of all batches at once: seen by whoever reads from now on, and safe after a checkpoint.
    ///
    /// `volume` follows; after an error it is what it was.
    pub(super) fn apply<'a>(
        &self,
        batches: impl Iterator<Item = &'a [u8]>,
        volume: &mut Volume,
    ) -> Result<(), Error> {
        let mut after = *volume;
        self.work(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            let mut tables = BTreeMap::new();
            for change in batches.flat_map(Changes::new) {
                let change = change.map_err(not_ours)?;
                let (Change::Put(table, ..) | Change::Delete(table, ..) | Change::DeleteRange(table, ..)) =
                    change;
                let table = match tables.entry(table) {
                    std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        vacant.insert(transaction.open_table(definition(table))?)
                    }
                };
                make(&change, table, &mut after)?;
            }
            drop(tables);
            Ok(transaction.commit()?)
        })?;
        *volume = after;
        Ok(())
    }

    /// Puts everything that was applied on disk, and what is known of it.
    pub(super) fn checkpoint(&self, volume: Volume) -> Result<(), Error> {
        self.work(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            let mut own = transaction.open_table(OWN)?;
            for (name, value) in [(ENTRIES, volume.entries), (BYTES, volume.bytes), (NEXT, volume.next)] {
                own.insert(name, value)?;
            }
            drop(own);
            Ok(transaction.commit()?)
        })
    }

    /// The value of a key.
    pub(super) fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.work(|database| {
            let transaction = database.begin_read()?;
            match transaction.open_table(definition(table)) {
                Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// The entries of a range, within a limit.
    pub(super) fn range(
        &self,
        table: Table,
        span: &Span,
        direction: Direction,
        limit: Limit,
    ) -> Result<Page, Error> {
        let (most, mut room) = (limit.items.min(RANGE_ITEMS_MAX), limit.bytes.min(RANGE_BYTES_MAX));
        let mut page = Page::default();
        if span.is_empty() {
            return Ok(page);
        }
        self.work(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let mut range = table.range::<&[u8]>(bounds(span))?;
            loop {
                let entry = match direction {
                    Direction::Up => range.next(),
                    Direction::Down => range.next_back(),
                };
                let Some(entry) = entry else { return Ok(()) };
                let (key, value) = entry?;
                let (key, value) = (key.value(), value.value());
                let fits = room.checked_sub(key.len() + value.len());
                if page.entries.len() >= most || (fits.is_none() && !page.entries.is_empty()) {
                    page.more = true;
                    return Ok(());
                }
                room = fits.unwrap_or(0);
                page.entries.push((key.to_vec(), value.to_vec()));
            }
        })?;
        Ok(page)
    }

    /// Does something with the open file.
    pub(super) fn work<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else { return Err(Error::Closed) };
        guarded(|| work(database)).map_err(|error| wrong(&self.path, error))
    }
}

/// The table as redb knows it.
pub(super) fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

fn bounds(span: &Span) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(span.first()), span.end().map_or(Bound::Unbounded, Bound::Excluded))
}

/// Makes one change, and keeps count.
fn make(
    change: &Change<'_>,
    table: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    volume: &mut Volume,
) -> Result<(), redb::Error> {
    match *change {
        Change::Put(_, key, value) => {
            let before = table.insert(key, value)?.map(|value| value.value().len());
            match before {
                Some(length) => volume.bytes = volume.bytes.saturating_sub(length as u64),
                None => {
                    volume.entries += 1;
                    volume.bytes += key.len() as u64 + ENTRY_WEIGHT;
                }
            }
            volume.bytes += value.len() as u64;
        }
        Change::Delete(_, key) => {
            if let Some(value) = table.remove(key)? {
                volume.entries = volume.entries.saturating_sub(1);
                volume.bytes = volume.bytes.saturating_sub(weight(key, value.value()));
            }
        }
        Change::DeleteRange(_, from, to) => {
            let span = to.map_or_else(|| Span::from(from), |to| Span::between(from, to));
            if span.is_empty() {
                return Ok(());
            }
            let mut gone = (0, 0);
            table.retain_in::<&[u8], _>(bounds(&span), |key, value| {
                gone = (gone.0 + 1, gone.1 + weight(key, value));
                false
            })?;
            volume.entries = volume.entries.saturating_sub(gone.0);
            volume.bytes = volume.bytes.saturating_sub(gone.1);
        }
    }
    Ok(())
}

/// What an entry counts.
pub(super) const fn weight(key: &[u8], value: &[u8]) -> u64 {
    key.len() as u64 + value.len() as u64 + ENTRY_WEIGHT
}

/// Does something with redb; a panic in it is the damage that it comes from.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    // What a panic leaves half done is either dropped with the transaction or refused by redb from then on.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(redb::Error::Corrupted(said(&*panic))))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

fn not_ours(unreadable: Unreadable) -> redb::Error {
    redb::Error::Corrupted(format!("a batch can not be read: {unreadable:?}"))
}

/// What went wrong in an open file, for whoever asked.
fn wrong(path: &Path, error: redb::Error) -> Error {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseClosed => Error::Closed,
        redb::Error::Corrupted(what) => Error::Damaged { path, what },
        error => Error::File { path, source: Arc::new(error) },
    }
}

/// What went wrong in opening a file: more of it is damage than in an open one.
pub(super) fn opened_wrong(path: &Path, error: redb::Error) -> Error {
    match error {
        redb::Error::DatabaseAlreadyOpen => Error::InUse(path.to_owned()),
        redb::Error::UpgradeRequired(version) => Error::Foreign { path: path.to_owned(), version },
        redb::Error::RepairAborted => Error::Damaged {
            path: path.to_owned(),
            what: "it was not closed in good order and can not be repaired".to_owned(),
        },
        redb::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Error::Damaged { path: path.to_owned(), what: error.to_string() }
        }
        error => wrong(path, error),
    }
}
