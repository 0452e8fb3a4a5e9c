//! The replay tail on disk: what a dead log server may not have read, while there is no other one to send it to.
//!
//! A line that the kernel took has been settled: neither the buffer nor the spool knows it any more, only the tail
//! does, in memory. When a connection ends in doubt and the next one can not be had, a spool that fills takes a copy
//! of what is due, so that a crash meanwhile costs none of it; at the end of the process one is made where there is
//! none. When all of it was sent again the copies are acknowledged; the next process finds those that were not, and
//! sends them like everything else in the spool.
//!
//! Until the copy is written, between the death and the first connection that fails, a crash loses what is in doubt.

use crate::journal::Position;
use crate::logger::parcel::Parcel;
use crate::logger::worker::Shipper;

/// What is on disk of the tail.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    copies: Vec<Position>,
    /// True when there is more in doubt than the copies hold.
    grown: bool,
}

impl Shipper {
    /// A connection has ended: notes that there may be something in doubt.
    pub(super) fn note_doubt(&mut self) {
        self.doubt.grown |= self.tail.owes();
    }

    /// Puts on disk what is due to be sent again, for the next process whatever happens to records otherwise; true when
    /// all of it is there.
    ///
    /// A dropped future loses nothing; what was being written may come twice.
    pub(super) async fn secure_doubt(&mut self, at_the_end: bool) -> bool {
        if !self.doubt.grown || !self.tail.owes() {
            return true;
        }
        let Some(copies) = self.backlog.copy(self.tail.due_again(), at_the_end).await else { return false };
        self.doubt.grown = false;
        let former = std::mem::replace(&mut self.doubt.copies, copies);
        self.backlog.forget_copies(former);
        true
    }

    /// Gives up the copies once everything was sent again.
    pub(super) fn settle_doubt(&mut self) {
        if self.doubt.copies.is_empty() && !self.doubt.grown {
            return;
        }
        let repeats = self.tail.owes() || self.parcel.as_ref().is_some_and(Parcel::repeats);
        if !repeats && self.flight.is_empty() {
            self.doubt.grown = false;
            self.backlog.forget_copies(std::mem::take(&mut self.doubt.copies));
        }
    }
}
