//! A frame as bytes: header, payload, and a CRC32C of each. Pure.
//!
//! ```text
//! 0       4    5        8       12        20          24            24+n
//! marker  kind reserved length  sequence  header CRC  payload (n)   body CRC
//! ```
//!
//! Numbers are little-endian. The header CRC begins with the salt of the segment and the body CRC with the header
//! CRC, so neither a payload that looks like a frame nor the body of another frame passes.

/// What a frame begins with: no part of it occurs in UTF-8.
pub(super) const MARKER: [u8; 4] = [0xFE, 0xF5, 0xC1, 0xFF];

/// Bytes before the payload.
pub(super) const HEADER: usize = 24;

/// Bytes after the payload.
pub(super) const TRAILER: usize = 4;

/// Bytes that a frame has more than its payload.
pub const OVERHEAD: u64 = (HEADER + TRAILER) as u64;

/// Bytes of the longest payload: 17 MiB, for 16 MiB of somebody's data and what goes with them. A longer one is refused.
pub const PAYLOAD_MAX: u32 = 17 << 20;

/// The header of a frame whose CRC was right, or that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What the writer calls it.
    pub kind: u8,
    /// Bytes of the payload.
    pub length: u32,
    /// Its number.
    pub sequence: u64,
}

impl Header {
    /// The header at the start of `bytes`, when it is whole.
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let (covered, rest) = bytes.split_at_checked(HEADER - 4)?;
        let crc = u32::from_le_bytes(*rest.first_chunk()?);
        let (marker, fields) = covered.split_first_chunk::<4>()?;
        if *marker != MARKER || crc32c::crc32c_append(salt, covered) != crc {
            return None;
        }
        let ([kind, ..], fields) = fields.split_first_chunk::<4>()?;
        let (length, fields) = fields.split_first_chunk()?;
        let header = Self {
            kind: *kind,
            length: u32::from_le_bytes(*length),
            sequence: u64::from_le_bytes(*fields.first_chunk()?),
        };
        (header.length <= PAYLOAD_MAX).then_some(header)
    }

    /// The header as bytes; the last four are its CRC.
    pub(super) fn encode(self, salt: u32) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MARKER);
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32c::crc32c_append(salt, &bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What the body CRC begins with.
    pub(super) fn seed(self, salt: u32) -> u32 {
        let [.., c0, c1, c2, c3] = self.encode(salt);
        u32::from_le_bytes([c0, c1, c2, c3])
    }

    /// Bytes of the whole frame.
    pub(super) const fn total(self) -> u64 {
        self.length as u64 + OVERHEAD
    }
}

/// Puts a frame behind `target`; `pieces` are its payload and together as long as `header` says.
pub(super) fn encode(target: &mut Vec<u8>, header: Header, salt: u32, pieces: &[&[u8]]) {
    debug_assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), header.length as usize);
    let head = header.encode(salt);
    target.extend_from_slice(&head);
    let [.., c0, c1, c2, c3] = head;
    let mut crc = u32::from_le_bytes([c0, c1, c2, c3]);
    for piece in pieces {
        crc = crc32c::crc32c_append(crc, piece);
        target.extend_from_slice(piece);
    }
    target.extend_from_slice(&crc.to_le_bytes());
}

/// Takes the trailer off `body` (payload and trailer); false when it does not fit.
pub(super) fn open(body: &mut Vec<u8>, seed: u32) -> bool {
    let Some((payload, crc)) = body.split_last_chunk::<TRAILER>() else { return false };
    if crc32c::crc32c_append(seed, payload) != u32::from_le_bytes(*crc) {
        return false;
    }
    body.truncate(body.len() - TRAILER);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 0x1234_5678;

    fn frame(payload: &[u8]) -> (Header, Vec<u8>) {
        let header = Header { kind: 7, length: payload.len() as u32, sequence: 99 };
        let mut bytes = Vec::new();
        let (left, right) = payload.split_at(payload.len() / 2);
        encode(&mut bytes, header, SALT, &[left, right]);
        (header, bytes)
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for payload in [&b""[..], b"x", b"hello, world", &[0xFE; 1000]] {
            let (header, bytes) = frame(payload);
            assert_eq!(bytes.len() as u64, header.total());
            assert_eq!(Header::decode(&bytes, SALT), Some(header));
            let mut body = bytes[HEADER..].to_vec();
            assert!(open(&mut body, header.seed(SALT)));
            assert_eq!(body, payload);
        }
    }

    #[test]
    fn a_changed_bit_anywhere_is_seen() {
        let (header, bytes) = frame(b"some payload");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut body = changed[HEADER..].to_vec();
            let is_whole =
                Header::decode(&changed, SALT) == Some(header) && open(&mut body, header.seed(SALT));
            assert!(!is_whole, "bit {bit}");
        }
    }

    #[test]
    fn a_short_frame_and_one_of_another_segment_are_seen() {
        let (header, bytes) = frame(b"some payload");
        for length in 0..HEADER {
            assert_eq!(Header::decode(&bytes[..length], SALT), None);
        }
        assert_eq!(Header::decode(&bytes, SALT + 1), None);
        assert!(!open(&mut vec![1, 2, 3], header.seed(SALT)));
    }

    #[test]
    fn the_marker_is_no_text() {
        for byte in MARKER {
            assert!(String::from_utf8(vec![byte]).is_err());
            assert!(![0x00, 0x80, 0xBF].contains(&byte));
        }
    }

    #[test]
    fn a_longer_payload_than_may_be_is_no_frame() {
        let header = Header { kind: 0, length: PAYLOAD_MAX + 1, sequence: 1 };
        assert_eq!(Header::decode(&header.encode(SALT), SALT), None);
    }
}
