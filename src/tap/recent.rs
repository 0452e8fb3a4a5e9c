//! The last records, as many whole ones as fit into a fixed number of bytes.
//!
//! Two halves take turns: when the newer one is full, the older one is forgotten and filled again. So a record is
//! copied once, nothing is allocated but the halves, and between one half and all of the bytes are there.

use std::mem;

use super::RECENT;

#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    older: Vec<u8>,
    newer: Vec<u8>,
}

impl Recent {
    /// Keeps a record, which ends with a line break; one that is longer than a half is not kept.
    pub(super) fn push(&mut self, record: &[u8]) {
        if record.len() > RECENT / 2 {
            return;
        }
        if self.newer.len() + record.len() > RECENT / 2 {
            mem::swap(&mut self.older, &mut self.newer);
            self.newer.clear();
        }
        if self.newer.capacity() < RECENT / 2 {
            self.newer.reserve_exact(RECENT / 2 - self.newer.len());
        }
        self.newer.extend_from_slice(record);
    }

    /// The last `count` records that are wanted, in their order.
    pub(super) fn last(&self, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let newest_first = [&self.newer, &self.older].into_iter().flat_map(|half| {
            // The text ends with a line break, so that the first piece from the back is empty.
            half.strip_suffix(b"\n").into_iter().flat_map(|text| text.rsplit(|&byte| byte == b'\n'))
        });
        let mut found: Vec<&[u8]> = newest_first.filter(|record| wanted(record)).take(count).collect();
        found.reverse();
        let mut bytes = Vec::with_capacity(found.iter().map(|record| record.len() + 1).sum());
        for record in found {
            bytes.extend_from_slice(record);
            bytes.push(b'\n');
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_records_are_forgotten_and_the_bytes_are_bounded() {
        let mut recent = Recent::default();
        assert!(recent.last(10, |_| true).is_empty());
        let line = |number: usize| format!("{number:0>99}\n");
        let count = 4 * RECENT / 100;
        for number in 0..count {
            recent.push(line(number).as_bytes());
        }
        recent.push(&vec![b'x'; RECENT]);
        let all = String::from_utf8(recent.last(usize::MAX, |_| true)).unwrap();
        assert!(all.len() <= RECENT && all.len() >= RECENT / 2 - 100, "{}", all.len());
        let first: usize = all.lines().next().unwrap().parse().unwrap();
        assert_eq!(all, (first..count).map(line).collect::<String>(), "the last ones, without a gap");
        let odd = |record: &[u8]| record.ends_with(b"1");
        let two = [line(count - 9 - count % 10), line(count - count % 10 + 1)];
        assert_eq!(recent.last(2, odd), two.concat().as_bytes());
        assert!(recent.newer.capacity() + recent.older.capacity() <= RECENT);
    }
}
