//! One room: its queue of steps, its members, its stream, and what it keeps on disk.
//!
//! ```text
//! step -> rooms (one queue a room) -> worker -> stream, archive -> form -> link
//! ```
//!
//! Whoever adds a step to a room that nobody works on becomes its worker ([`rooms`]) and carries out all steps in
//! their order ([`worker`]). Messages are numbered and kept by the [`stream`], those of durable rooms by the [`archive`]
//! as well; [`rhythm`] says when they leave together, and a [`receipt`] who got them.

pub(super) mod archive;
pub(super) mod index;
pub(super) mod publication;
pub(super) mod recall;
pub(super) mod receipt;
mod rhythm;
pub(super) mod rooms;
pub(super) mod stamp;
pub(super) mod step;
pub(super) mod stream;
pub(super) mod worker;
