//! The queue of one client: what the kernel did not take at once. No I/O, no clock.
//!
//! A message is written straight to the socket by whoever publishes it; only what does not fit lands here and
//! waits until the socket is writable again. Frames are shared between receivers, so a queue holds references.
//!
//! Limit: `limit` bytes. A frame that would pass it is refused; what then happens is the link's to decide. Frames
//! that are written in part stay; all others can be taken out again.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;

use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;

/// A frame that waits.
#[derive(Debug)]
struct Waiting {
    frame: Frame,
    /// True when some of it is written.
    started: bool,
    /// How many messages of this room are missing before what follows: then the frame says so.
    gap: Option<(Arc<str>, usize)>,
}

/// The frames that wait for one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    slowest: Duration,
}

/// The frame does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Outbox {
    /// True when nothing waits: the next frame may go straight to the socket.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The messages that wait.
    pub(super) fn messages(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.frame.messages()).sum()
    }

    /// The longest time from publish to write so far.
    pub(super) fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Notes that messages published at `published` were written at `now`; gives their delay.
    pub(super) fn written(&mut self, published: Duration, now: Duration) -> Duration {
        let delay = now.saturating_sub(published);
        self.slowest = self.slowest.max(delay);
        delay
    }

    /// Lets `frame`, of which the first `written` bytes are gone already, wait.
    pub(super) fn push(&mut self, frame: &Frame, written: usize, limit: usize) -> Result<(), Full> {
        let mut bytes = frame.bytes.clone();
        bytes.advance(written.min(frame.bytes.len()));
        // What is written in part must be written whole, whatever the limit.
        if self.bytes + bytes.len() > limit && written == 0 {
            return Err(Full);
        }
        self.bytes += bytes.len();
        let frame = Frame { bytes, origin: frame.origin.clone() };
        self.waiting.push_back(Waiting { frame, started: written > 0, gap: None });
        Ok(())
    }

    /// The first waiting bytes, as many as there are slices.
    pub(super) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, waiting) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(&waiting.frame.bytes);
            filled += 1;
        }
        filled
    }

    /// Takes off `written` bytes; `done` gets the origin of each frame of messages that is now written whole.
    pub(super) fn advance(&mut self, mut written: usize, mut done: impl FnMut(Arc<Origin>)) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.waiting.front_mut() {
            if written < first.frame.bytes.len() {
                first.started |= written > 0;
                first.frame.bytes.advance(written);
                return;
            }
            written -= first.frame.bytes.len();
            if let Some(origin) = first.frame.origin.take() {
                done(origin);
            }
            self.waiting.pop_front();
        }
        // An idle queue keeps no memory.
        self.waiting = VecDeque::new();
    }

    /// Takes out the messages that `unwanted` names, unless they are written in part; gives them to `lost`.
    pub(super) fn discard(&mut self, unwanted: impl Fn(&Origin) -> bool, mut lost: impl FnMut(&Origin)) {
        let mut freed = 0;
        self.waiting.retain(|waiting| match &waiting.frame.origin {
            Some(origin) if !waiting.started && unwanted(origin) => {
                freed += waiting.frame.bytes.len();
                lost(origin);
                false
            }
            _ => true,
        });
        self.bytes = self.bytes.saturating_sub(freed);
    }

    /// Takes out the oldest message that `droppable` names, and puts in its place a frame that says how many of its
    /// room are missing there; false when there is no such message.
    pub(super) fn drop_oldest(
        &mut self,
        droppable: impl Fn(&Origin) -> bool,
        notice: impl Fn(&str, usize) -> Option<Bytes>,
        mut lost: impl FnMut(&Origin),
    ) -> bool {
        let found = self.waiting.iter().position(|waiting| {
            !waiting.started && waiting.frame.origin.as_ref().is_some_and(|origin| droppable(origin))
        });
        let Some(index) = found else { return false };
        let Some(dropped) = self.waiting.remove(index) else { return false };
        self.bytes = self.bytes.saturating_sub(dropped.frame.bytes.len());
        let Some(origin) = dropped.frame.origin else { return true };
        lost(&origin);
        let before = index.checked_sub(1).and_then(|before| self.waiting.get_mut(before));
        let told = before.filter(|waiting| !waiting.started && is_about(waiting, &origin.room));
        let missing =
            origin.messages() + told.as_ref().and_then(|told| told.gap.as_ref()).map_or(0, |gap| gap.1);
        let Some(bytes) = notice(&origin.room, missing) else { return true };
        let gap = Some((Arc::clone(&origin.room), missing));
        self.bytes += bytes.len();
        let notice = Waiting { frame: Frame::control(bytes), started: false, gap };
        match told {
            Some(told) => {
                let former = std::mem::replace(told, notice);
                self.bytes = self.bytes.saturating_sub(former.frame.bytes.len());
            }
            None => self.waiting.insert(index, notice),
        }
        true
    }

    /// Throws away what waits: the client will not get it. `lost` gets its messages.
    pub(super) fn clear(&mut self, mut lost: impl FnMut(&Origin)) {
        for waiting in self.waiting.drain(..) {
            if let Some(origin) = &waiting.frame.origin {
                lost(origin);
            }
        }
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }
}

/// True when a waiting frame tells of a gap in this room.
fn is_about(waiting: &Waiting, room: &str) -> bool {
    waiting.gap.as_ref().is_some_and(|(about, _)| **about == *room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Slow;
    use proptest::prelude::*;

    fn message(bytes: &[u8], key: Option<&str>) -> Frame {
        let origin = Origin {
            room: "r".into(),
            at: Duration::from_secs(1),
            messages: 1,
            slow: Slow::Disconnect,
            key: key.map(Into::into),
            expires: None,
            receipt: None,
        };
        Frame { bytes: Bytes::copy_from_slice(bytes), origin: Some(Arc::new(origin)) }
    }

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = outbox.fill(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_and_the_others_stay() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&message(b"abcdef", None), 2, 6), Ok(()));
        assert_eq!(outbox.push(&message(b"ghi", None), 0, 6), Err(Full));
        assert_eq!(outbox.push(&message(b"gh", None), 0, 6), Ok(()));
        assert_eq!(waiting(&outbox), b"cdefgh");
    }

    #[test]
    fn a_message_is_done_when_its_last_byte_is_written() {
        let mut outbox = Outbox::default();
        outbox.push(&message(b"abc", None), 0, 10).unwrap();
        outbox.push(&Frame::control(Bytes::from_static(b"ping")), 0, 10).unwrap();
        let mut done = Vec::new();
        outbox.advance(2, |origin| done.push(origin.at));
        assert!(done.is_empty());
        outbox.advance(1, |origin| done.push(origin.at));
        assert_eq!(done, [Duration::from_secs(1)]);
        assert_eq!((outbox.messages(), waiting(&outbox)), (0, b"ping".to_vec()));
        outbox.advance(4, |_| panic!("no message"));
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_oldest_make_room_and_their_place_says_how_many_there_were() {
        let mut outbox = Outbox::default();
        for bytes in [b"aa", b"bb", b"cc", b"dd"] {
            outbox.push(&message(bytes, None), 0, 100).unwrap();
        }
        outbox.advance(1, |_| panic!("not whole"));
        let notice = |_: &str, missing: usize| Some(Bytes::from(format!("<{missing}>")));
        let mut lost = 0;
        for _ in 0..2 {
            assert!(outbox.drop_oldest(|_| true, notice, |origin| lost += origin.messages()));
        }
        assert_eq!((waiting(&outbox), lost), (b"a<2>dd".to_vec(), 2));
        assert_eq!(outbox.bytes(), 6);
        assert!(outbox.drop_oldest(|_| true, notice, |_| {}));
        assert!(!outbox.drop_oldest(|_| true, notice, |_| {}));
        assert_eq!(waiting(&outbox), b"a<3>");
    }

    #[test]
    fn what_is_written_in_part_can_not_be_taken_out() {
        let mut outbox = Outbox::default();
        outbox.push(&message(b"abc", Some("k")), 0, 100).unwrap();
        outbox.push(&message(b"def", Some("k")), 0, 100).unwrap();
        outbox.advance(1, |_| {});
        outbox.discard(|origin| origin.key.as_deref() == Some("k"), |_| {});
        assert_eq!((waiting(&outbox), outbox.bytes()), (b"bc".to_vec(), 2));
    }

    proptest! {
        #[test]
        fn bytes_come_out_in_order_whatever_the_socket_takes(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..20),
            takes in prop::collection::vec(1_usize..30, 0..60),
        ) {
            let mut outbox = Outbox::default();
            for frame in &frames {
                outbox.push(&message(frame, None), 0, usize::MAX).unwrap();
            }
            let (mut read, mut done) = (Vec::new(), 0);
            for take in takes.into_iter().chain([usize::MAX]) {
                let bytes = waiting(&outbox);
                let taken = take.min(bytes.len());
                read.extend_from_slice(&bytes[..taken]);
                outbox.advance(taken, |_| done += 1);
            }
            prop_assert_eq!(read, frames.concat());
            prop_assert_eq!(done, frames.len());
            prop_assert_eq!(outbox.bytes, 0);
        }
    }
}
