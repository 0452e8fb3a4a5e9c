//! The queue of one client: what the kernel did not take at once. No I/O, no clock.
//!
//! A message is written straight to the socket by whoever publishes it; only what does not fit lands here and
//! waits until the socket is writable again. Frames are shared between receivers, so a queue holds references.
//!
//! Limit: `limit` bytes. A frame that would pass it is refused and the session is closed as slow: a client that
//! does not read costs its own connection and nobody else's memory.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;

/// A frame that waits.
#[derive(Debug)]
struct Waiting {
    frame: Bytes,
    /// When the message was published, on the gateway's clock; none for what is no message.
    published: Option<Duration>,
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

    /// The messages that wait.
    pub(super) fn messages(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.published.is_some()).count()
    }

    /// The longest time from publish to write so far.
    pub(super) fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Notes that a message published at `published` was written at `now`; gives its delay.
    pub(super) fn written(&mut self, published: Duration, now: Duration) -> Duration {
        let delay = now.saturating_sub(published);
        self.slowest = self.slowest.max(delay);
        delay
    }

    /// Lets `frame`, of which the first `written` bytes are gone already, wait.
    pub(super) fn push(
        &mut self,
        frame: &Bytes,
        written: usize,
        published: Option<Duration>,
        limit: usize,
    ) -> Result<(), Full> {
        let mut rest = frame.clone();
        rest.advance(written.min(frame.len()));
        if self.bytes + rest.len() > limit {
            return Err(Full);
        }
        self.bytes += rest.len();
        self.waiting.push_back(Waiting { frame: rest, published });
        Ok(())
    }

    /// The first waiting bytes, as many as there are slices.
    pub(super) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, waiting) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(&waiting.frame);
            filled += 1;
        }
        filled
    }

    /// Takes off `written` bytes; `done` gets the publish time of each message that is now written whole.
    pub(super) fn advance(&mut self, mut written: usize, mut done: impl FnMut(Duration)) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.waiting.front_mut() {
            if written < first.frame.len() {
                first.frame.advance(written);
                return;
            }
            written -= first.frame.len();
            if let Some(published) = first.published {
                done(published);
            }
            self.waiting.pop_front();
        }
        // An idle queue keeps no memory.
        self.waiting = VecDeque::new();
    }

    /// Throws away what waits: the client will not get it.
    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: Option<Duration> = Some(Duration::from_secs(1));

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = outbox.fill(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_and_the_others_stay() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&Bytes::from_static(b"abcdef"), 2, AT, 6), Ok(()));
        assert_eq!(outbox.push(&Bytes::from_static(b"ghi"), 0, AT, 6), Err(Full));
        assert_eq!(outbox.push(&Bytes::from_static(b"gh"), 0, AT, 6), Ok(()));
        assert_eq!(waiting(&outbox), b"cdefgh");
    }

    #[test]
    fn a_message_is_done_when_its_last_byte_is_written() {
        let mut outbox = Outbox::default();
        outbox.push(&Bytes::from_static(b"abc"), 0, AT, 10).unwrap();
        outbox.push(&Bytes::from_static(b"ping"), 0, None, 10).unwrap();
        let mut done = Vec::new();
        outbox.advance(2, |published| done.push(published));
        assert!(done.is_empty());
        outbox.advance(1, |published| done.push(published));
        assert_eq!(done, [Duration::from_secs(1)]);
        assert_eq!((outbox.messages(), waiting(&outbox)), (0, b"ping".to_vec()));
        outbox.advance(4, |_| panic!("no message"));
        assert!(outbox.is_empty());
    }

    proptest! {
        #[test]
        fn bytes_come_out_in_order_whatever_the_socket_takes(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..20),
            takes in prop::collection::vec(1_usize..30, 0..60),
        ) {
            let mut outbox = Outbox::default();
            for frame in &frames {
                outbox.push(&Bytes::copy_from_slice(frame), 0, AT, usize::MAX).unwrap();
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
