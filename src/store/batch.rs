//! A batch: what is changed together. Its bytes are what the journal keeps.
//!
//! ```text
//! change = kind, table, key length (u16), key [, value length (u32), value]      put, delete
//!        = kind, table, length (u16), first key, 0 | 1, length (u16), end        delete a range; 0: it has no end
//! ```
//!
//! Numbers are little-endian. Every change may be made twice: what is replayed after a crash harms nothing.

use super::Durability;
use super::key::Span;
use super::table::Table;

/// Bytes of a key: 32 KiB.
pub const KEY_MAX: usize = 32 << 10;

/// Bytes of a batch, as the journal keeps it: 8 MiB.
pub const BATCH_MAX: usize = 8 << 20;

/// The kind of the journal's frames, and their version.
pub(super) const FRAME: u8 = 1;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

/// Bytes that a change may add to what is stored beside its key and value.
pub(super) const ENTRY_WEIGHT: u64 = 16;

/// Changes that are made in their order, all or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: usize,
    /// Bytes that it can add to the store.
    growth: u64,
    durability: Option<Durability>,
    longest_key: usize,
}

impl Batch {
    /// A batch without changes, with the durability of the store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `key` this value.
    pub fn put(&mut self, table: Table, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.begin(PUT, table);
        self.key(key);
        self.bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.growth += key.len() as u64 + value.len() as u64 + ENTRY_WEIGHT;
        self
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, table: Table, key: impl AsRef<[u8]>) -> &mut Self {
        self.begin(DELETE, table);
        self.key(key.as_ref());
        self
    }

    /// Removes all keys of a range. It takes time for each of them, and others wait meanwhile.
    pub fn delete_range(&mut self, table: Table, span: &Span) -> &mut Self {
        self.begin(DELETE_RANGE, table);
        self.key(span.first());
        self.bytes.push(span.end().is_some().into());
        self.key(span.end().unwrap_or_default());
        self
    }

    /// Asks for a durability other than that of the store.
    pub const fn durability(&mut self, durability: Durability) -> &mut Self {
        self.durability = Some(durability);
        self
    }

    /// True without changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// How many changes there are.
    #[must_use]
    pub const fn changes(&self) -> usize {
        self.changes
    }

    /// Bytes in the journal.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that it can add to the store at most.
    pub(super) const fn growth(&self) -> u64 {
        self.growth
    }

    pub(super) const fn wanted(&self) -> Option<Durability> {
        self.durability
    }

    pub(super) const fn longest_key(&self) -> usize {
        self.longest_key
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn begin(&mut self, kind: u8, table: Table) {
        self.changes += 1;
        self.bytes.extend_from_slice(&[kind, table.code()]);
    }

    /// A key that is too long is cut: the batch is refused for it.
    fn key(&mut self, key: &[u8]) {
        self.longest_key = self.longest_key.max(key.len());
        let key = key.get(..KEY_MAX).unwrap_or(key);
        self.bytes.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.bytes.extend_from_slice(key);
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Put(Table, &'a [u8], &'a [u8]),
    Delete(Table, &'a [u8]),
    DeleteRange(Table, &'a [u8], Option<&'a [u8]>),
}

/// What a frame holds that is no batch of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A later version knows it.
    Unknown,
    /// It ends in the middle.
    Torn,
}

/// The changes in the bytes of a batch, in their order; after an error there are no more.
#[derive(Clone, Debug)]
pub(super) struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Changes<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn read(&mut self) -> Result<Change<'a>, Unreadable> {
        let [kind, table] = *self.chunk::<2>()?;
        let table = Table::of(table).ok_or(Unreadable::Unknown)?;
        match kind {
            PUT => {
                let key = self.key()?;
                let length = u32::from_le_bytes(*self.chunk()?);
                Ok(Change::Put(table, key, self.take(length as usize)?))
            }
            DELETE => Ok(Change::Delete(table, self.key()?)),
            DELETE_RANGE => {
                let from = self.key()?;
                let has_end = *self.chunk::<1>()? == [1];
                let end = self.key()?;
                Ok(Change::DeleteRange(table, from, has_end.then_some(end)))
            }
            _ => Err(Unreadable::Unknown),
        }
    }

    fn key(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = u16::from_le_bytes(*self.chunk()?);
        self.take(length.into())
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Unreadable> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(Unreadable::Torn)?;
        self.rest = rest;
        Ok(chunk)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unreadable::Torn)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let change = self.read();
        if change.is_err() {
            self.rest = &[];
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_put_in_comes_out_in_its_order() {
        let mut batch = Batch::new();
        batch.put(Table::Rooms, "a", "1").delete(Table::Users, "b");
        batch
            .delete_range(Table::Inbox, &Span::between("c", "d"))
            .delete_range(Table::Inbox, &Span::from("e"));
        let changes: Result<Vec<_>, _> = Changes::new(batch.bytes()).collect();
        let expected = vec![
            Change::Put(Table::Rooms, b"a", b"1"),
            Change::Delete(Table::Users, b"b"),
            Change::DeleteRange(Table::Inbox, b"c", Some(b"d")),
            Change::DeleteRange(Table::Inbox, b"e", None),
        ];
        assert_eq!(changes.unwrap(), expected);
        assert_eq!((batch.changes(), batch.growth()), (4, 2 + ENTRY_WEIGHT));
    }

    #[test]
    fn a_batch_of_a_later_version_is_told_from_a_torn_one() {
        let mut batch = Batch::new();
        batch.put(Table::Rooms, "a", "1");
        let mut bytes = batch.bytes().to_vec();
        bytes[1] = 255;
        assert_eq!(Changes::new(&bytes).next(), Some(Err(Unreadable::Unknown)));
        let torn = &batch.bytes()[..batch.len() - 1];
        assert_eq!(Changes::new(torn).next(), Some(Err(Unreadable::Torn)));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read_without_a_panic(bytes in prop::collection::vec(0_u8..6, 0..60)) {
            prop_assert!(Changes::new(&bytes).count() <= bytes.len());
        }
    }
}
