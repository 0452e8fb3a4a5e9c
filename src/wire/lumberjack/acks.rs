//! Acknowledgements: written by the receiver, read by the sender.

use super::ACK;
use super::Error;
use super::Place;
use super::VERSION;

/// The length of an acknowledgement.
const FRAME: usize = 6;

/// Appends the acknowledgement of all records of a window up to `sequence`; 0 is a sign of life.
pub fn ack_into(out: &mut Vec<u8>, sequence: u32) {
    out.extend_from_slice(&[VERSION, ACK]);
    out.extend_from_slice(&sequence.to_be_bytes());
}

/// Reads acknowledgements out of a stream that comes in pieces; holds at most the beginning of one.
#[derive(Debug, Default)]
pub struct Acks {
    /// How many bytes of the frame have come.
    have: usize,
    sequence: u32,
    offset: u64,
}

impl Acks {
    /// Takes the next acknowledgement off the front of `bytes`; `None` when they are used up before its end.
    ///
    /// # Errors
    /// At the first byte that belongs to no acknowledgement. The stream is of no use from there on.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<u32>, Error> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let place = Place { offset: self.offset, inflated: None };
            match self.have {
                0 if byte != VERSION => return Err(Error::Version { byte, place }),
                1 if byte != ACK => {
                    return Err(Error::Kind { byte, place, expected: "A, an acknowledgement" });
                }
                // The version and the type are no part of the number: they are shifted out of it.
                _ => self.sequence = self.sequence << 8 | u32::from(byte),
            }
            *bytes = rest;
            self.offset += 1;
            self.have += 1;
            if self.have == FRAME {
                self.have = 0;
                return Ok(Some(self.sequence));
            }
        }
        Ok(None)
    }

    /// True when an acknowledgement has begun and not ended: then the end of the stream tears it.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.have > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<u32>, String> {
        let (mut acks, mut found) = (Acks::default(), Vec::new());
        for piece in pieces {
            let mut bytes = *piece;
            while let Some(sequence) = acks.next(&mut bytes).map_err(|error| error.to_string())? {
                found.push(sequence);
            }
            assert!(bytes.is_empty());
        }
        Ok(found)
    }

    #[test]
    fn what_is_no_acknowledgement_is_named_with_its_place() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(read(&[bytes]).unwrap_err(), expected);
        check(
            b"2A\0\0\0\x01HTTP/1.1 400",
            "byte H (0x48) at offset 6 begins no frame: expected 2, the version of the protocol; this looks like \
             HTTP",
        );
        check(
            b"\x15\x03\x03\0\x02",
            "byte 0x15 at offset 0 begins no frame: expected 2, the version of the protocol; this looks like TLS",
        );
        check(b"2W\0\0\0\0", "frame type W (0x57) at offset 1: expected A, an acknowledgement");
    }

    #[test]
    fn a_half_acknowledgement_is_waited_for() {
        let mut acks = Acks::default();
        assert_eq!(acks.next(&mut b"2A\0".as_slice()), Ok(None));
        assert!(acks.is_torn());
        assert_eq!(acks.next(&mut b"\0\x01\0".as_slice()), Ok(Some(256)));
        assert!(!acks.is_torn());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_is_cut(sequences: Vec<u32>, at: proptest::sample::Index) {
            let mut bytes = Vec::new();
            for &sequence in &sequences {
                ack_into(&mut bytes, sequence);
            }
            let single: Vec<_> = bytes.chunks(1).collect();
            prop_assert_eq!(read(&single), Ok(sequences.clone()));
            let (first, second) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(read(&[first, second]), Ok(sequences));
        }

        #[test]
        fn garbage_is_an_error_and_no_more(pieces: Vec<Vec<u8>>) {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            read(&pieces).map(drop).unwrap_or_default();
        }
    }
}
