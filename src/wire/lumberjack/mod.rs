//! Lumberjack, version 2: what beats and Logstash's `beats` input speak.
//!
//! Every frame begins with the byte `2` and a letter; numbers have 32 bits and the big end first.
//!
//! ```text
//! sender  2 W count                       a window: so many records follow
//!         2 J sequence length json        a record; sequences count from 1 in every window
//!         2 C length zlib                 instead of J frames: one or more of them, compressed
//! answer  2 A sequence                    all records of the window up to this one are taken
//!         2 A 0                           nothing yet, but the receiver is alive
//! ```
//!
//! An answer may come for a part of a window; answers of several windows come in the order of the windows. An empty
//! window is answered with `2 A 0` and is a sign of life. The first version's key-value frames (`2 D`, `1 D`) are
//! not understood.
//!
//! [`Windows`] and [`Acks`] are the sender's half, [`Reader`] and [`ack_into`] the receiver's. They do no I/O and
//! take their bytes in pieces of any size. [`Reader`] holds at most one record and a block of inflated bytes;
//! [`Limits`] are its bounds, and beyond them the stream ends with an [`Error`] that says what was wrong, and where.
//! Nothing that is left over tells where the next frame begins, so that every error is the end of its stream.

mod acks;
mod frames;
mod inflating;
mod reader;
#[cfg(test)]
mod tests;
mod windows;

pub use acks::Acks;
pub use acks::ack_into;
pub use reader::Event;
pub use reader::Limits;
pub use reader::Reader;
pub use windows::Windows;

use std::fmt;

use crate::wire::opening::Opening;

/// The first byte of every frame.
const VERSION: u8 = b'2';

const WINDOW: u8 = b'W';
const JSON: u8 = b'J';
const COMPRESSED: u8 = b'C';
const ACK: u8 = b'A';

/// Where in a stream something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of bytes before it.
    pub offset: u64,
    /// The same in the inflated content, when it was found in the compressed frame whose content begins at `offset`.
    pub inflated: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, inflated } = self;
        match inflated {
            None => write!(f, "offset {offset}"),
            Some(inside) => write!(f, "offset {inside} of what is compressed at offset {offset}"),
        }
    }
}

/// Why a stream is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A frame begins with another byte.
    #[error(
        "byte {byte} at {place} begins no frame: expected 2, the version of the protocol{}", hint(*.byte),
        byte = Shown(*.byte)
    )]
    Version {
        /// The byte.
        byte: u8,
        /// Where it is.
        place: Place,
    },
    /// A frame is none of those that may stand here.
    #[error("frame type {byte} at {place}: expected {expected}{}", old(*.byte), byte = Shown(*.byte))]
    Kind {
        /// The type that was found.
        byte: u8,
        /// Where it is.
        place: Place,
        /// What may stand there.
        expected: &'static str,
    },
    /// A record comes without a window around it.
    #[error("a record at {0} is outside of a window: a frame W with their number comes before records")]
    Outside(Place),
    /// A window begins within another one.
    #[error("a new window at {place}, but the one before lacks {missing} of its records")]
    Early {
        /// Where it begins.
        place: Place,
        /// How many records of the former window did not come.
        missing: u32,
    },
    /// A window is too large.
    #[error("the window at {place} is of {count} records: at most {max} are taken")]
    Window {
        /// Where the count stands.
        place: Place,
        /// The count.
        count: u32,
        /// The limit.
        max: u32,
    },
    /// A frame is too long.
    #[error("the frame at {place} is of {length} bytes: at most {max} are taken")]
    Length {
        /// Where its length stands.
        place: Place,
        /// The length.
        length: u32,
        /// The limit.
        max: u32,
    },
    /// A frame has nothing in it.
    #[error("the frame at {0} is empty")]
    Empty(Place),
    /// What is compressed can not be inflated.
    #[error("the compressed frame whose content begins at {place} can not be inflated: {why}")]
    Zlib {
        /// Where its content begins.
        place: Place,
        /// What is wrong.
        why: &'static str,
    },
    /// What is compressed inflates to too much.
    #[error("the compressed frame whose content begins at {place} inflates to more than {max} bytes")]
    Inflated {
        /// Where its content begins.
        place: Place,
        /// The limit.
        max: u64,
    },
}

/// A byte as an operator can read it.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            byte @ 0x21..=0x7e => write!(f, "{} ({byte:#04x})", char::from(byte)),
            byte => write!(f, "{byte:#04x}"),
        }
    }
}

/// What a first byte that is no version looks like.
fn hint(byte: u8) -> String {
    Opening::of(&[byte]).map(|opening| format!("; this looks like {opening}")).unwrap_or_default()
}

/// What is to say of the frames of version 1.
fn old(byte: u8) -> &'static str {
    if byte == b'D' { "; key-value frames are of version 1, which is not understood" } else { "" }
}
