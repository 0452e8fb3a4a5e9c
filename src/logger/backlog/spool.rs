//! The spool: chunks that could not be delivered in time, on disk until they are.
//!
//! Each chunk is a frame of the journal: the number of its records, where each ends, and their bytes. Frames of errors
//! are told from the others by their kind where errors are to be sent first.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::buffer::Chunk;
use crate::buffer::DropCause;
use crate::buffer::Tally;
use crate::clock;
use crate::config;
use crate::config::Overflow;
use crate::config::SpoolOrder;
use crate::journal;
use crate::journal::Durability;
use crate::journal::Journal;
use crate::journal::Position;
use crate::logger::backlog::Backlog;
use crate::logger::backlog::State;
use crate::logger::backlog::Stored;
use crate::logger::backlog::Ticket;
use crate::logger::complaints::Complaint;
use crate::logger::complaints::Complaints;
use crate::logger::worker::TARGET;
use crate::record::Level;
use crate::record::peek;

/// The directory of the spool within that of everything durable.
pub const SPOOL: &str = "spool";

/// Frames that are sent in their order.
const ORDERLY: u8 = 1;

/// Frames that are sent first, where that is wished.
const URGENT: u8 = 2;

/// The spool, open.
#[derive(Debug)]
pub(in crate::logger) struct Spool {
    journal: journal::Handle,
    settings: config::Spool,
    /// False when the spool is only emptied: an earlier process filled it.
    fills: bool,
    /// One at a time writes: what two wrote would come twice.
    turn: tokio::sync::Mutex<()>,
    complaints: Mutex<Complaints>,
}

impl Spool {
    /// Opens the spool and says what an earlier process left in it, the oldest first; none when it is not `wanted` and
    /// nothing was left.
    ///
    /// # Errors
    /// When the directory can not be used.
    pub(in crate::logger) fn open(
        config: &config::Logger,
        wanted: bool,
    ) -> Result<Option<(Self, Vec<Stored>)>, journal::Error> {
        let Some(directory) = config.data_dir.as_ref().map(|directory| directory.join(SPOOL)) else {
            return Ok(None);
        };
        let fills = config.overflow == Overflow::Spool;
        if !wanted && !directory.exists() {
            return Ok(None);
        }
        let options = journal::Options {
            limit_bytes: config.spool.limit,
            segment_bytes: (config.spool.limit / 4).min(SEGMENT_MAX),
            ..journal::Options::default()
        };
        let (journal, recovery) = Journal::open(&directory, options)?;
        tell_recovery(&directory, &recovery);
        let inherited: Vec<_> = journal
            .unacknowledged(None)
            .map(|meta| {
                let urgent = meta.kind == URGENT && config.spool.order == SpoolOrder::ErrorsFirst;
                Stored { position: meta.position, length: meta.length, urgent, tally: None }
            })
            .collect();
        if !wanted && inherited.is_empty() {
            return Ok(None);
        }
        let journal = journal::spawn(journal, "log spool", journal::Queue::default())
            .map_err(|error| journal::Error::Directory(directory, Arc::new(error)))?;
        let (turn, complaints) = (tokio::sync::Mutex::default(), Mutex::default());
        Ok(Some((Self { journal, settings: config.spool, fills, turn, complaints }, inherited)))
    }

    /// True when what can not be delivered goes to disk.
    pub(in crate::logger) fn fills(&self) -> bool {
        self.fills
    }

    /// What was not delivered within this time goes to disk.
    pub(in crate::logger) fn settings(&self) -> &config::Spool {
        &self.settings
    }

    /// What the journal says of itself.
    pub(in crate::logger) fn stats(&self) -> journal::Stats {
        self.journal.stats()
    }

    /// Reads a chunk; none when it is damaged, which is told.
    pub(in crate::logger) async fn load(&self, position: Position) -> Option<Chunk> {
        match self.journal.read(position).await {
            Ok(frame) => {
                let chunk = decode(frame.payload);
                if chunk.is_none() {
                    self.mourn(&"a frame is no chunk of log lines");
                }
                chunk
            }
            Err(error) => {
                self.mourn(&error);
                None
            }
        }
    }

    /// A chunk was delivered.
    pub(in crate::logger) fn acknowledge(&self, position: Position) {
        self.journal.acknowledge(position);
    }

    /// Syncs and ends.
    pub(in crate::logger) async fn close(&self) {
        if let Err(error) = self.journal.close().await {
            self.complain(&error);
        }
    }

    /// Tells when lines begin to go to disk and when all of them have left it; returns whether some are on it.
    pub(in crate::logger) fn tell(&self, filling: bool, filled: bool, is_empty: bool) -> bool {
        if filled && !filling && self.raise(Complaint::Filling).is_some() {
            tracing::warn!(
                target: TARGET,
                "the log server does not take lines in time: they go to disk, and are sent when it does"
            );
        }
        if filling && is_empty && !filled && self.raise(Complaint::Emptied).is_some() {
            tracing::info!(target: TARGET, "all log lines in the spool were sent");
        }
        filled || (filling && !is_empty)
    }

    /// The disk does not take lines.
    fn complain(&self, error: &journal::Error) {
        let text = match error {
            journal::Error::Full { limit } => format!("it is full: logger.spool_limit is {limit} bytes"),
            other => other.to_string(),
        };
        if let Some(count) = self.raise(Complaint::Spool) {
            tracing::error!(target: TARGET, count, error = text, "the log spool takes nothing: lines stay in memory");
        }
    }

    /// The disk does not give lines back.
    fn mourn(&self, error: &dyn fmt::Display) {
        if let Some(count) = self.raise(Complaint::Dropped(DropCause::Rotten)) {
            tracing::error!(target: TARGET, count, %error, "log lines in the spool can not be read and are lost");
        }
    }

    fn raise(&self, complaint: Complaint) -> Option<u64> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.raise(complaint, 1, clock::now())
    }
}

impl Backlog {
    /// Puts everything on disk that is not there, what the shipper holds included; true when all of it is.
    ///
    /// A dropped future loses nothing; what was being written may be written once more.
    pub(in crate::logger) async fn spill(&self) -> bool {
        match self.spool().filter(|spool| spool.fills) {
            Some(spool) => self.write_to(spool).await,
            None => false,
        }
    }

    /// Does the same at the end of the process, for the next one, whatever happens to records otherwise.
    pub(in crate::logger) async fn save(&self) {
        if !self.buffer.stats().queued.is_zero()
            && let Some(spool) = self.last_resort()
        {
            self.write_to(spool).await;
        }
        if let Some(spool) = self.spool() {
            spool.close().await;
        }
    }

    async fn write_to(&self, spool: &Spool) -> bool {
        let _turn = spool.turn.lock().await;
        loop {
            let batch = self.gather(spool.settings.order);
            if batch.is_empty() {
                return true;
            }
            let frames = batch.iter().map(|part| (part.kind, encode(&part.chunk))).collect();
            match spool.journal.append_all(frames, Durability::Synced).await {
                Ok(positions) => self.note_spilled(spool, batch.into_iter().zip(positions).collect()),
                Err(error) => {
                    spool.complain(&error);
                    return false;
                }
            }
        }
    }

    /// The spool at the end of the process.
    fn last_resort(&self) -> Option<&Spool> {
        self.spool_for_the_end().unwrap_or_else(|error| {
            tracing::error!(target: TARGET, %error, "the log spool can not be opened for the last lines");
            None
        })
    }

    /// Puts copies of chunks on disk that the backlog knows nothing of; none when that is not possible, or not wanted
    /// before the end of the process.
    pub(in crate::logger) async fn copy(
        &self,
        chunks: Vec<Chunk>,
        at_the_end: bool,
    ) -> Option<Vec<Position>> {
        let spool = if at_the_end { self.last_resort() } else { self.spool().filter(|spool| spool.fills) }?;
        let _turn = spool.turn.lock().await;
        let mut copies = Vec::with_capacity(chunks.len());
        let mut rest = chunks.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |chunk: &&Chunk| {
                bytes += chunk.bytes().len();
                bytes <= BATCH_BYTES
            };
            let (batch, more) = rest.split_at(rest.iter().take_while(fits).count().max(1).min(rest.len()));
            let frames = batch.iter().map(|chunk| (ORDERLY, encode(chunk))).collect();
            match spool.journal.append_all(frames, Durability::Synced).await {
                Ok(positions) => copies.extend(positions),
                Err(error) => {
                    spool.complain(&error);
                    self.forget_copies(copies);
                    return None;
                }
            }
            rest = more;
        }
        Some(copies)
    }

    /// Takes copies off the disk.
    pub(in crate::logger) fn forget_copies(&self, copies: Vec<Position>) {
        if let Some(spool) = self.spool().filter(|_| !copies.is_empty()) {
            spool.journal.acknowledge_all(copies);
        }
    }

    /// Some of what is not on disk, the oldest first.
    fn gather(&self, order: SpoolOrder) -> Vec<Part> {
        let mut state = self.lock();
        while let Some(chunk) = self.buffer.take() {
            state.add(Arc::new(chunk), false);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for item in &state.live {
            let Some(chunk) = &item.chunk else { continue };
            if bytes > 0 && bytes + chunk.bytes().len() > BATCH_BYTES {
                break;
            }
            bytes += chunk.bytes().len();
            let part = |kind, chunk| Part { ticket: item.ticket, kind, chunk };
            match (order, item.taken) {
                (SpoolOrder::ErrorsFirst, false) => {
                    let (urgent, rest) = chunk.split(is_error);
                    let parts = [(URGENT, urgent), (ORDERLY, rest)];
                    let parts = parts.into_iter().filter(|(_, chunk)| !chunk.is_empty());
                    batch.extend(parts.map(|(kind, chunk)| part(kind, Arc::new(chunk))));
                }
                _ => batch.push(part(ORDERLY, Arc::clone(chunk))),
            }
        }
        batch
    }

    fn note_spilled(&self, spool: &Spool, parts: Vec<(Part, Position)>) {
        let mut state = self.lock();
        for (part, position) in parts {
            let tally = Tally::new(part.chunk.records(), part.chunk.bytes().len());
            match state.find(part.ticket) {
                // Delivered while it was written.
                None => spool.acknowledge(position),
                Some(index) if self.move_to_disk(&mut state, index, &part, (position, tally)) => {}
                Some(_) => spool.acknowledge(position),
            }
        }
    }

    /// The item is on disk now, or a part of it; false when that is of no use.
    fn move_to_disk(
        &self,
        state: &mut State,
        index: usize,
        part: &Part,
        (position, tally): (Position, Tally),
    ) -> bool {
        let Some(item) = state.live.get_mut(index) else { return false };
        if item.taken {
            // Taken after it was split: only a copy of the whole could stand for it, and the next round makes one.
            let whole = item.chunk.take_if(|chunk| Arc::ptr_eq(chunk, &part.chunk)).is_some();
            if whole {
                item.position = Some(position);
                self.buffer.spooled(item.left);
            }
            return whole;
        }
        item.left = item.left.without(tally);
        if item.left.is_zero() {
            state.live.remove(index);
        }
        self.buffer.spooled(tally);
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let stored = Stored {
            position,
            length: narrow(tally.bytes),
            urgent: part.kind == URGENT,
            tally: Some((narrow(tally.records), narrow(tally.bytes))),
        };
        state.shelve(stored);
        true
    }
}

/// What goes first, where errors do.
fn is_error(record: &[u8]) -> bool {
    peek(record).level == Some(Level::Error)
}

/// A chunk, or a part of one, on its way to disk.
struct Part {
    ticket: Ticket,
    kind: u8,
    chunk: Arc<Chunk>,
}

/// The records of a frame of the spool, as whoever reads the directory finds it; none when it is no such frame.
#[must_use]
pub fn decode(payload: Vec<u8>) -> Option<Chunk> {
    let number = |at: usize| {
        let bytes = payload.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let count = number(0)? as usize;
    let table = count.checked_mul(4)?.checked_add(4)?;
    // Checked before anything is made room for.
    payload.get(..table)?;
    let ends: Vec<u32> = (0..count).map_while(|index| number(4 + 4 * index)).collect();
    let mut bytes = payload;
    bytes.drain(..table);
    Chunk::of(bytes, ends)
}

fn encode(chunk: &Chunk) -> Vec<u8> {
    let mut payload = Vec::with_capacity(4 + 4 * chunk.records() + chunk.bytes().len());
    payload.extend_from_slice(&u32::try_from(chunk.records()).unwrap_or(u32::MAX).to_le_bytes());
    for end in chunk.ends() {
        payload.extend_from_slice(&end.to_le_bytes());
    }
    payload.extend_from_slice(chunk.bytes());
    payload
}

fn tell_recovery(directory: &Path, recovery: &journal::Recovery) {
    let directory = directory.display();
    if recovery.is_damaged() {
        tracing::error!(
            target: TARGET, %directory, frames = recovery.frames, lost_frames = recovery.skipped_frames,
            lost_bytes = recovery.skipped_bytes, set_aside = ?recovery.set_aside,
            "the log spool was damaged; what could be read is sent"
        );
    } else if recovery.frames > 0 || recovery.torn_bytes > 0 {
        tracing::info!(
            target: TARGET, %directory, frames = recovery.frames, bytes = recovery.bytes,
            torn_bytes = recovery.torn_bytes, "log lines of an earlier run are in the spool and will be sent"
        );
    }
}

/// The largest segment: what is delivered frees its disk space in steps of this.
const SEGMENT_MAX: u64 = 64 << 20;

/// Bytes of records that are written at once: the journal takes groups of a limited size.
const BATCH_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_from_its_frame_and_garbage_does_not() {
        let chunk = Chunk::of(b"ab\ncde\n".to_vec(), vec![3, 7]).unwrap();
        let payload = encode(&chunk);
        let back = decode(payload.clone()).unwrap();
        assert_eq!((back.bytes(), back.ends()), (chunk.bytes(), chunk.ends()));
        for cut in 0..payload.len() {
            assert!(decode(payload[..cut].to_vec()).is_none(), "cut at {cut}");
        }
        let mut huge = payload;
        huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(huge).is_none());
    }
}
