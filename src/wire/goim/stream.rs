//! Packets out of a raw stream, which is cut wherever the network likes.
//!
//! A packet that arrives in one piece is lent from the piece; of one that does not, what is there is held, at most one
//! packet of the longest allowed. Between packets nothing is held. The first fault is the last answer: the stream is
//! to be closed.

use crate::wire::goim::Fault;
use crate::wire::goim::HEADER;
use crate::wire::goim::Packet;
use crate::wire::goim::announced;

/// The packets of one stream.
#[derive(Debug)]
pub struct Packets {
    body_max: usize,
    pub(super) held: Vec<u8>,
    /// What is held was given out as a packet.
    is_told: bool,
}

impl Packets {
    /// The packets of a stream, with bodies of at most `body_max` bytes.
    #[must_use]
    pub const fn new(body_max: usize) -> Self {
        Self { body_max, held: Vec::new(), is_told: false }
    }

    /// The next packet, taken from the front of `bytes`; none when all of them were taken and a packet is not complete.
    ///
    /// # Errors
    ///
    /// [`Fault`] as soon as the bytes cannot become a packet.
    pub fn next<'a, 'b: 'a>(&'a mut self, bytes: &mut &'b [u8]) -> Result<Option<Packet<'a>>, Fault> {
        if self.is_told {
            self.held = Vec::new();
            self.is_told = false;
        }
        if self.held.is_empty() {
            let whole = announced(bytes, self.body_max)?.and_then(|length| bytes.split_off(..length));
            if let Some(whole) = whole {
                return Packet::read(whole, self.body_max).map(Some);
            }
        }
        let length = loop {
            // Not more than the header is taken before it has told how long the packet is.
            let told = announced(&self.held, self.body_max)?;
            let wanted = told.filter(|_| self.held.len() >= HEADER).unwrap_or(HEADER);
            let missing = wanted.saturating_sub(self.held.len());
            if missing == 0 {
                break wanted;
            }
            let taken = bytes.split_off(..missing.min(bytes.len())).unwrap_or_default();
            if taken.is_empty() {
                return Ok(None);
            }
            self.held.extend_from_slice(taken);
        };
        debug_assert_eq!(length, self.held.len());
        self.is_told = true;
        Packet::read(&self.held, self.body_max).map(Some)
    }

    /// Whether the stream would end within a packet if it ended now.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        !self.held.is_empty() && !self.is_told
    }
}
