//! Looking at a store without changing anything: its file page by page, and whether the journal goes with it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use redb::Database;
use redb::ReadableDatabase;
use redb::ReadableTable as _;
use redb::TableError;

use super::Error;
use super::base::Base;
use super::base::FILE;
use super::base::Volume;
use super::base::definition;
use super::base::guarded;
use super::base::opened_wrong;
use super::base::weight;
use super::batch::Unreadable;
use super::marker;
use super::open::JOURNAL;
use super::open::understood;
use super::overlay::Overlay;
use super::table::Table;
use crate::journal;
use crate::journal::Which;

/// Memory for the pages of a file that is looked at.
pub(super) const CACHE: usize = 64 << 20;

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The file.
    pub path: PathBuf,
    /// Bytes of it.
    pub file_bytes: u64,
    /// True when the last stop was in good order.
    pub is_clean: bool,
    /// Entries and bytes of each table that has some.
    pub tables: Vec<(Table, u64, u64)>,
    /// Batches in the journal that are in no checkpoint.
    pub batches: u64,
    /// Their bytes.
    pub batch_bytes: u64,
    /// What is wrong, a sentence each; empty when all is well.
    pub findings: Vec<String>,
}

/// Looks at the store in `directory`; nothing is changed. None when there is no store.
///
/// # Errors
///
/// It can not be looked at, or a process has it.
pub fn check(directory: &Path) -> Result<Option<Checked>, Error> {
    let path = directory.join(FILE);
    let has_journal = directory.join(JOURNAL).is_dir();
    let mut checked = Checked { is_clean: marker::is_there(directory), ..Checked::default() };
    match fs::metadata(&path) {
        Ok(file) if file.len() > 0 => checked.file_bytes = file.len(),
        _ if !has_journal => return Ok(None),
        _ => {
            checked.findings.push("the file is gone, and the journal is there".to_owned());
            checked.path = path;
            return Ok(Some(checked));
        }
    }
    let base = match whole(&path) {
        Ok((database, was_whole)) => {
            if !was_whole {
                let text = "its list of free pages was wrong; the next start mends that";
                checked.findings.push(text.to_owned());
            }
            Some(Base::new(path.clone(), database))
        }
        Err(Error::Damaged { what, .. }) => {
            checked.findings.push(format!("the file is damaged: {what}"));
            None
        }
        Err(error) => return Err(error),
    };
    checked.path = path;
    let volume = base.as_ref().map(|base| count(base, &mut checked)).transpose()?;
    if has_journal {
        against_journal(directory, base.as_ref().zip(volume), &mut checked)?;
    } else {
        checked.findings.push("there is no journal in front of the file: it may have had batches".to_owned());
    }
    Ok(Some(checked))
}

/// Opens a file beside itself and looks at all of it; false when redb had to mend what it knows of free pages.
pub(super) fn whole(path: &Path) -> Result<(Database, bool), Error> {
    let overlay = Overlay::open(path)?;
    let opened = guarded(|| {
        let mut database = Database::builder().set_cache_size(CACHE).create_with_backend(overlay)?;
        let was_whole = database.check_integrity()?;
        Ok((database, was_whole))
    });
    opened.map_err(|error| opened_wrong(path, error))
}

/// Counts what is in the tables, and compares it with what the file says of itself.
fn count(base: &Base, checked: &mut Checked) -> Result<Volume, Error> {
    let volume = base.volume()?;
    let mut found = Volume { next: volume.next, ..Volume::default() };
    for table in Table::ALL {
        let (mut entries, mut bytes) = (0, 0);
        base.work(|database| {
            each(database, *table, |key, value| {
                entries += 1;
                bytes += weight(key, value);
            })
        })?;
        if entries > 0 {
            checked.tables.push((*table, entries, bytes));
        }
        (found.entries, found.bytes) = (found.entries + entries, found.bytes + bytes);
    }
    if found != volume {
        checked.findings.push(format!(
            "the file says that it has {} entries of {} bytes, and has {} of {}; \"pillion store rebuild\" counts anew",
            volume.entries, volume.bytes, found.entries, found.bytes
        ));
    }
    Ok(volume)
}

/// Hands every entry of a table to `take`, the lowest key first.
fn each(
    database: &impl ReadableDatabase,
    table: Table,
    mut take: impl FnMut(&[u8], &[u8]),
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(definition(table)) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in table.iter()? {
        let (key, value) = entry?;
        take(key.value(), value.value());
    }
    Ok(())
}

/// Reads what is in the journal and in no checkpoint, and makes it beside the file.
fn against_journal(
    directory: &Path,
    file: Option<(&Base, Volume)>,
    checked: &mut Checked,
) -> Result<(), Error> {
    let directory = directory.join(JOURNAL);
    let survey = journal::survey(&directory)?;
    if survey.rotten_frames + survey.rotten_bytes > 0 {
        let (frames, bytes) = (survey.rotten_frames, survey.rotten_bytes);
        checked.findings.push(format!("{frames} batches in the journal are damaged, {bytes} bytes"));
    }
    let mut volume = file.map(|(_, volume)| volume).unwrap_or_default();
    match survey.cursor {
        None => {
            checked
                .findings
                .push("the journal does not know where it was: old batches come again".to_owned());
        }
        Some(cursor) if file.is_some() && cursor.sequence() > volume.next.max(1) => {
            let missing = cursor.sequence() - volume.next.max(1);
            checked.findings.push(format!(
                "the file is older than its journal: {missing} batches that were in it are not; was a backup brought back?"
            ));
        }
        Some(_) => {}
    }
    for frame in journal::scan(&directory, Which::Unacknowledged)? {
        let frame = frame?;
        match understood(frame.kind, &frame.payload) {
            Ok(()) => {}
            Err(Unreadable::Unknown) => {
                checked.findings.push(Error::Future(frame.position).to_string());
                return Ok(());
            }
            Err(Unreadable::Torn) => {
                checked.findings.push(format!("batch {} in the journal ends in the middle", frame.position));
                continue;
            }
        }
        checked.batches += 1;
        checked.batch_bytes += frame.payload.len() as u64;
        if let Some((base, _)) = file {
            base.apply([frame.payload.as_slice()].into_iter(), &mut volume)?;
        }
    }
    Ok(())
}
