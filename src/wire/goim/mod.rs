//! goim's packets, which its relatives [`crate::wire::orim`] and [`crate::wire::golang_im`] share: a header of 16 bytes and a
//! body, all numbers signed and big-endian.
//!
//! | at | bytes | |
//! |--|--|--|
//! | 0 | 4 | length of the packet, header and body |
//! | 4 | 2 | length of the header, 16 |
//! | 6 | 2 | version, 1; an answer repeats the client's |
//! | 8 | 4 | operation |
//! | 12 | 4 | sequence; an answer repeats the client's, a push has 0 |
//! | 16 | | body, JSON or ASCII by custom |
//!
//! On a websocket one frame holds one packet; a push is an outer packet of [`operation::RAW`] whose body is one or more
//! packets ([`batch`]). On a raw stream packets follow each other, and the outer header of a push is left out
//! ([`Packets`] reads such a stream).
//!
//! The originals believe lengths that are not true, and read beyond the frame. Here [`Fault`] ends such a connection
//! with its reason. Limits are arguments: [`BODY_MAX`] is the original's.

mod body;
mod loose;
mod stream;

pub use body::Auth;
pub use body::BadBody;
pub use body::Request;
pub use body::online;
pub use body::request;
pub(in crate::wire) use loose::List;
pub(in crate::wire) use loose::Loose;
pub(in crate::wire) use loose::object;
pub use stream::Packets;

/// The length of a header.
pub const HEADER: usize = 16;

/// The longest body that the original takes from a client, in bytes.
pub const BODY_MAX: usize = 4096;

/// The version of packets that are no answer.
pub const VERSION: i16 = 1;

/// The numbers of the operations: those that all relatives share, and goim's own.
pub mod operation {
    /// A sign of life.
    pub const HEARTBEAT: i32 = 2;
    /// Its answer.
    pub const HEARTBEAT_REPLY: i32 = 3;
    /// A message from a client.
    pub const SEND: i32 = 4;
    /// A message to a client (relatives); the answer to [`SEND`].
    pub const SEND_REPLY: i32 = 5;
    /// The server is about to close.
    pub const DISCONNECT_REPLY: i32 = 6;
    /// The login.
    pub const AUTH: i32 = 7;
    /// Its answer.
    pub const AUTH_REPLY: i32 = 8;
    /// Packets within a packet.
    pub const RAW: i32 = 9;
    /// Go to another room.
    pub const CHANGE_ROOM: i32 = 12;
    /// Its answer.
    pub const CHANGE_ROOM_REPLY: i32 = 13;
    /// Accept pushes of these operations.
    pub const SUB: i32 = 14;
    /// Its answer.
    pub const SUB_REPLY: i32 = 15;
    /// Accept pushes of these operations no more.
    pub const UNSUB: i32 = 16;
    /// Its answer.
    pub const UNSUB_REPLY: i32 = 17;
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The version.
    pub version: i16,
    /// What is asked or told.
    pub operation: i32,
    /// The client's number for it; 0 in a push.
    pub sequence: i32,
    /// What belongs to it.
    pub body: &'a [u8],
}

/// Why bytes are no packet: the connection ends, for nothing after them can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame is too short for a header.
    #[error("the frame has {0} bytes, and a packet's header alone has 16")]
    Short(usize),
    /// A packet claims to be shorter than its header.
    #[error("the packet claims {0} bytes, and its header alone has 16")]
    BelowHeader(i32),
    /// A packet claims to be longer than is allowed.
    #[error("the packet claims {claimed} bytes, and at most {max} are allowed")]
    TooLong {
        /// The length that it claims.
        claimed: i32,
        /// The longest that is allowed.
        max: usize,
    },
    /// The header's length is not what it always is.
    #[error("the packet claims a header of {0} bytes, and it always has 16")]
    Header(i16),
    /// A packet is not as long as its frame.
    #[error("the packet claims {claimed} bytes, and its frame has {frame}")]
    Length {
        /// The length that it claims.
        claimed: i32,
        /// The frame's length.
        frame: usize,
    },
}

impl Fault {
    /// The name in log and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Short(_) => "packet_short",
            Self::BelowHeader(_) => "packet_below_header",
            Self::TooLong { .. } => "packet_too_long",
            Self::Header(_) => "packet_header",
            Self::Length { .. } => "packet_length",
        }
    }
}

impl<'a> Packet<'a> {
    /// A packet that answers nothing.
    #[must_use]
    pub const fn push(operation: i32, body: &'a [u8]) -> Self {
        Self { version: VERSION, operation, sequence: 0, body }
    }

    /// The answer to this packet.
    #[must_use]
    pub const fn answer<'b>(&self, operation: i32, body: &'b [u8]) -> Packet<'b> {
        Packet { version: self.version, operation, sequence: self.sequence, body }
    }

    /// Reads the one packet of a frame, with a body of at most `body_max` bytes.
    ///
    /// # Errors
    ///
    /// [`Fault`] says in what the frame is no packet.
    pub fn read(frame: &'a [u8], body_max: usize) -> Result<Self, Fault> {
        let length = announced(frame, body_max)?.filter(|_| frame.len() >= HEADER);
        let length = length.ok_or(Fault::Short(frame.len()))?;
        if length != frame.len() {
            let claimed = i32::try_from(length).unwrap_or(i32::MAX);
            return Err(Fault::Length { claimed, frame: frame.len() });
        }
        Self::of_whole(frame).ok_or(Fault::Short(frame.len()))
    }

    /// Reads the packets that follow each other in the body of a batch.
    ///
    /// # Errors
    ///
    /// [`Fault`] says in what the bytes are no packets.
    pub fn read_all(bytes: &'a [u8], body_max: usize) -> Result<Vec<Self>, Fault> {
        let mut left = bytes;
        let mut packets = Vec::new();
        while !left.is_empty() {
            let length = announced(left, body_max)?.ok_or(Fault::Short(left.len()))?;
            let available = left.len();
            let claimed = i32::try_from(length).unwrap_or(i32::MAX);
            let frame = left.split_off(..length).ok_or(Fault::Length { claimed, frame: available })?;
            packets.push(Self::read(frame, body_max)?);
        }
        Ok(packets)
    }

    /// The packet of bytes whose lengths were checked.
    fn of_whole(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER>()?;
        let [.., v0, v1, o0, o1, o2, o3, s0, s1, s2, s3] = *header;
        Some(Self {
            version: i16::from_be_bytes([v0, v1]),
            operation: i32::from_be_bytes([o0, o1, o2, o3]),
            sequence: i32::from_be_bytes([s0, s1, s2, s3]),
            body,
        })
    }

    /// Writes the packet at the end of `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(HEADER + self.body.len());
        out.extend_from_slice(&self.header());
        out.extend_from_slice(self.body);
    }

    /// The packet's bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The packet's header.
    ///
    /// # Panics
    ///
    /// When the body has 2 GiB, which is beyond every limit of what may be published.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER] {
        let length = i32::try_from(HEADER + self.body.len()).expect("a body has less than 2 GiB");
        let [l0, l1, l2, l3] = length.to_be_bytes();
        let [v0, v1] = self.version.to_be_bytes();
        let [o0, o1, o2, o3] = self.operation.to_be_bytes();
        let [s0, s1, s2, s3] = self.sequence.to_be_bytes();
        [l0, l1, l2, l3, 0, HEADER as u8, v0, v1, o0, o1, o2, o3, s0, s1, s2, s3]
    }
}

/// Pushes as they go into one frame of a websocket: `packets`, which follow each other, within a packet.
#[must_use]
pub fn batch(packets: &[u8]) -> Vec<u8> {
    Packet::push(operation::RAW, packets).to_vec()
}

/// How long the packet says it is, as far as the bytes tell; what is wrong with it is told as soon as it is seen.
fn announced(bytes: &[u8], body_max: usize) -> Result<Option<usize>, Fault> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let claimed = i32::from_be_bytes(*length);
    let length = usize::try_from(claimed).ok().filter(|length| *length >= HEADER);
    let length = length.ok_or(Fault::BelowHeader(claimed))?;
    let max = HEADER + body_max;
    if length > max {
        return Err(Fault::TooLong { claimed, max });
    }
    match rest.first_chunk::<2>().map(|header| i16::from_be_bytes(*header)) {
        Some(header) if usize::try_from(header) != Ok(HEADER) => Err(Fault::Header(header)),
        _ => Ok(Some(length)),
    }
}

#[cfg(test)]
mod tests;
