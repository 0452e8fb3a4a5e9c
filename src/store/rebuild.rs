//! A new file, made of what can be read of the old one and of the journal.
//!
//! A file that passes its check is copied whole, which also makes it small. Of a damaged one each table is read from
//! its lowest key up to where it can not be read, and from its highest key down; what lies between is lost. When not
//! even the list of tables can be read, the commit before the last one is tried, which may lack the last checkpoint.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use redb::ConcurrencyMode;
use redb::Database;
use redb::ReadableDatabase;
use redb::ReadableTable as _;
use redb::TableError;

use super::Error;
use super::Options;
use super::Recovery;
use super::base::Base;
use super::base::FILE;
use super::base::Trust;
use super::base::Volume;
use super::base::definition;
use super::base::guarded;
use super::base::opened_wrong;
use super::batch::Batch;
use super::check::CACHE;
use super::check::whole;
use super::marker;
use super::open::JOURNAL;
use super::open::journal;
use super::open::replay;
use super::overlay::Overlay;
use super::overlay::SLOT;
use super::overlay::UNCLEAN;
use super::table::Table;

/// The file in the making.
const NEW: &str = "store.redb.new";

/// Bytes that are copied together.
const CHUNK: usize = 4 << 20;

/// What a rebuild did.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// Where the old file is now; none when there was none.
    pub set_aside: Option<PathBuf>,
    /// Entries that were read of it.
    pub read: u64,
    /// Entries that it said it has; none when not even that could be read.
    pub expected: Option<u64>,
    /// What could not be read, a sentence each.
    pub losses: Vec<String>,
    /// Batches that came from the journal.
    pub batches: u64,
    /// Entries of the new file.
    pub entries: u64,
    /// Bytes of keys and values, and 16 for each entry.
    pub stored_bytes: u64,
}

/// Makes a new file in `directory`; none when there is no store. The old one stays, under another name.
///
/// # Errors
///
/// Nothing was changed then, and the same may be tried again.
pub fn rebuild(directory: &Path, options: Options) -> Result<Option<Rebuilt>, Error> {
    let failed = |error| Error::directory(directory, error);
    if !directory.join(FILE).exists() && !directory.join(JOURNAL).is_dir() {
        return Ok(None);
    }
    // Its lock keeps others out.
    let (mut journal, found) = journal(directory, options)?;
    marker::take(directory).map_err(failed)?;
    let (path, new) = (directory.join(FILE), directory.join(NEW));
    remove(&new).map_err(failed)?;
    let mut rebuilt = Rebuilt::default();
    let base = Base::open_at(new.clone(), CACHE, Trust::Nothing)?;
    let mut copy = Copy { base: &base, batch: Batch::new(), volume: Volume::default(), failure: None };
    let old = if path.exists() { read_all(&path, &mut copy, &mut rebuilt)? } else { Some(Volume::default()) };
    copy.flush()?;
    let Copy { mut volume, .. } = copy;
    rebuilt.read = volume.entries;

    let state = journal.stats();
    let behind = old.map_or(0, |old| state.cursor.saturating_sub(old.next.max(1)));
    if behind > 0 {
        rebuilt
            .losses
            .push(format!("{behind} batches at most that were in no journal any more and not in the file"));
    }
    let mut recovery = Recovery { journal: found, ..Recovery::default() };
    let replayed = replay(&mut journal, &mut recovery, |batches| {
        base.apply(batches.iter().map(Vec::as_slice), &mut volume)
    })?;
    if recovery.lost > 0 || recovery.journal.is_damaged() {
        rebuilt.losses.push(format!("{} batches of the journal, which is damaged", recovery.lost));
    }
    volume.next = journal.next().sequence();
    base.checkpoint(volume)?;
    base.close()?;
    (rebuilt.batches, rebuilt.entries, rebuilt.stored_bytes) =
        (recovery.batches, volume.entries, volume.bytes);

    // The old file has both names for a moment, so that it is never gone.
    if path.exists() {
        rebuilt.set_aside = Some(set_aside(&path).map_err(failed)?);
    }
    fs::rename(&new, &path).and_then(|()| marker::sync(directory)).map_err(failed)?;
    journal.acknowledge_all(replayed)?;
    Ok(Some(rebuilt))
}

/// Reads what can be read of the file, and gives what it says of itself, when that can be read.
fn read_all(path: &Path, copy: &mut Copy<'_>, rebuilt: &mut Rebuilt) -> Result<Option<Volume>, Error> {
    match whole(path) {
        Ok((database, _)) => {
            let old = Base::new(path.to_owned(), database);
            let volume = old.volume()?;
            rebuilt.expected = Some(volume.entries);
            old.work(|database| {
                read_tables(database, copy, rebuilt);
                Ok(())
            })?;
            copy.failed()?;
            return Ok(Some(volume));
        }
        Err(Error::Damaged { what, .. }) => rebuilt.losses.push(format!("the file is damaged: {what}")),
        Err(error) => return Err(error),
    }
    for flip in [0, SLOT] {
        let overlay = Overlay::open(path)?;
        let read = guarded(|| {
            overlay.turn(UNCLEAN, flip)?;
            // In this mode nothing is asked of the list of free pages, which may be what is damaged.
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE).set_concurrency_mode(ConcurrencyMode::SingleWriter);
            let database = builder.open_read_only_with_backend(overlay)?;
            let volume = guarded(|| Volume::of(&database)).ok();
            rebuilt.expected = volume.map(|volume| volume.entries);
            Ok(read_tables(&database, copy, rebuilt).then_some(volume))
        });
        copy.failed()?;
        match read {
            Ok(Some(volume)) => return Ok(volume),
            failed => {
                let which = if flip == 0 { "the last commit" } else { "the commit before it" };
                let error = failed.err().map(|error| format!(": {}", opened_wrong(path, error).told()));
                rebuilt.losses.push(format!("{which} can not be read{}", error.unwrap_or_default()));
            }
        }
    }
    Ok(None)
}

/// Copies what can be read of all tables; false when that is not even a part of one.
fn read_tables(database: &impl ReadableDatabase, copy: &mut Copy<'_>, rebuilt: &mut Rebuilt) -> bool {
    let mut is_readable = false;
    for table in Table::ALL {
        let mut last = None;
        let up = guarded(|| read_table(database, *table, copy, &mut last, None));
        is_readable |= up.is_ok() || last.is_some();
        let Err(error) = up else { continue };
        let (from, mut lowest) = (last, None);
        let down = guarded(|| read_table(database, *table, copy, &mut lowest, Some(from.as_deref())));
        if down.is_err() || lowest != from {
            rebuilt.losses.push(format!("a part of the table {}: {error}", table.name()));
        }
        is_readable |= lowest.is_some();
    }
    is_readable
}

/// Copies a table from its lowest key up; or from its highest key down to one that was copied, itself not included.
fn read_table(
    database: &impl ReadableDatabase,
    table: Table,
    copy: &mut Copy<'_>,
    last: &mut Option<Vec<u8>>,
    down_to: Option<Option<&[u8]>>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let stored = match transaction.open_table(definition(table)) {
        Ok(stored) => stored,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut entries = stored.iter()?;
    loop {
        let entry = if down_to.is_some() { entries.next_back() } else { entries.next() };
        let Some(entry) = entry else { return Ok(()) };
        let (key, value) = entry?;
        let key = key.value();
        if down_to.flatten().is_some_and(|from| key <= from) {
            *last = down_to.flatten().map(<[u8]>::to_vec);
            return Ok(());
        }
        copy.put(table, key, value.value());
        *last = Some(key.to_vec());
    }
}

/// What puts entries into the new file.
struct Copy<'a> {
    base: &'a Base,
    batch: Batch,
    volume: Volume,
    /// Why the new file can not be written: that is no damage of the old one.
    failure: Option<Error>,
}

impl Copy<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.batch.put(table, key, value);
        if self.batch.len() >= CHUNK
            && let Err(error) = self.flush()
        {
            self.failure.get_or_insert(error);
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        self.base.apply([batch.bytes()].into_iter(), &mut self.volume)?;
        self.base.checkpoint(self.volume)
    }

    fn failed(&mut self) -> Result<(), Error> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Gives a file another name as well: the first that is free.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let aside = path.with_extension(format!("redb.damaged-{number}"));
        match fs::hard_link(path, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
