//! What waits for one client, and what happens when it is too much. No I/O, no clock.
//!
//! Every frame of messages says by its room's rules what may become of it when the queue is full: the session ends,
//! older messages make room, or only the newest of each key waits. What is thrown away is counted and told.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Slow;
use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;
use crate::gateway::frame::messages;
use crate::gateway::link::Done;
use crate::gateway::link::Terms;
use crate::gateway::link::outbox::Full;
use crate::gateway::link::outbox::Outbox;

/// The frames that wait for one client.
#[derive(Debug, Default)]
pub(super) struct Queue {
    outbox: Outbox,
    /// The messages that were thrown away.
    lost: usize,
    /// Rooms whose messages are not sent until the client has subscribed again.
    lapsed: Vec<Arc<str>>,
    /// Those of them that the session does not know of yet.
    untold: usize,
    /// Rooms that the client is in without having asked for it: it would not subscribe again.
    led_into: Vec<Arc<str>>,
}

impl Queue {
    /// What waits.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The messages that were thrown away.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    /// Counts messages that were thrown away before they came here.
    pub(super) fn lose(&mut self, messages: usize) -> usize {
        self.lost += messages;
        messages
    }

    /// True when frames may go straight to the socket while nothing waits.
    pub(super) fn is_direct(&self) -> bool {
        self.lapsed.is_empty()
    }

    /// A room that had lapsed is subscribed to again.
    pub(super) fn resumes(&mut self, room: &str) {
        self.lapsed.retain(|lapsed| **lapsed != *room);
    }

    /// Notes whether the client is in a room without having asked for it.
    pub(super) fn is_led_into(&mut self, room: &Arc<str>, led: bool) {
        self.led_into.retain(|one| one != room);
        if led {
            self.led_into.push(Arc::clone(room));
        }
    }

    /// The rooms that have lapsed since this was asked last.
    pub(super) fn take_lapsed(&mut self) -> Vec<Arc<str>> {
        let untold = mem::take(&mut self.untold);
        let told = self.lapsed.len().saturating_sub(untold);
        self.lapsed.iter().skip(told).cloned().collect()
    }

    /// Lets frames wait, the first of which is written up to `gone`; gives how many messages are lost to it, as an error
    /// when the session must end: those that came among them.
    pub(super) fn wait(&mut self, terms: &Terms, frames: &[Frame], gone: usize) -> Result<usize, usize> {
        let mut lost = 0;
        for (index, frame) in frames.iter().enumerate() {
            if self.push(terms, frame, if index == 0 { gone } else { 0 }, &mut lost) == Err(Full) {
                let coming = frames.get(index..).unwrap_or_default();
                lose_frames(coming);
                return Err(lost + messages(coming));
            }
        }
        self.lost += lost;
        Ok(lost)
    }

    /// Lets a last frame wait, whatever the limit.
    pub(super) fn push_last(&mut self, terms: &Terms, frame: &Frame) {
        let pushed = self.accounted(terms, |outbox| outbox.push(frame, 0, usize::MAX));
        debug_assert!(pushed.is_ok(), "there is no limit");
    }

    /// Takes off `written` bytes; `done` learns of each message that is now written whole.
    pub(super) fn advance(&mut self, terms: &Terms, written: usize, now: Duration, done: Done<'_>) {
        let mut origins = Vec::new();
        self.accounted(terms, |outbox| outbox.advance(written, |origin| origins.push(origin)));
        for origin in origins {
            self.delivered(&origin, now, done);
        }
    }

    /// The frames that remain after `written` bytes went straight to the socket, and how much of the first is gone.
    pub(super) fn skip<'a>(
        &mut self,
        frames: &'a [Frame],
        mut written: usize,
        now: Duration,
        done: Done<'_>,
    ) -> (&'a [Frame], usize) {
        let mut rest = frames;
        while let Some((first, others)) = rest.split_first() {
            if written < first.bytes.len() {
                break;
            }
            written -= first.bytes.len();
            if let Some(origin) = &first.origin {
                self.delivered(origin, now, done);
            }
            rest = others;
        }
        (rest, written)
    }

    /// Takes out the messages that nobody wants any longer; gives how many.
    pub(super) fn discard(&mut self, terms: &Terms, unwanted: impl Fn(&Origin) -> bool) -> usize {
        let mut lost = 0;
        self.accounted(terms, |outbox| {
            outbox.discard(unwanted, |origin| {
                lose(origin);
                lost += origin.messages();
            });
        });
        lost
    }

    /// Throws everything away; gives how many messages.
    pub(super) fn clear(&mut self, terms: &Terms) -> usize {
        let lost = self.outbox.messages();
        self.accounted(terms, |outbox| outbox.clear(lose));
        self.lost += lost;
        lost
    }

    /// Lets a frame wait, of which `gone` bytes are written. `lost` grows by the messages that made room for it, or are
    /// not sent because their room has lapsed.
    fn push(&mut self, terms: &Terms, frame: &Frame, gone: usize, lost: &mut usize) -> Result<(), Full> {
        let Some(origin) = &frame.origin else {
            return self.accounted(terms, |outbox| outbox.push(frame, gone, terms.limit));
        };
        if self.lapsed.contains(&origin.room) && gone == 0 {
            lose(origin);
            *lost += origin.messages();
            return Ok(());
        }
        if origin.slow == Slow::Conflate && origin.key.is_some() {
            *lost += self.discard(terms, |older| older.key == origin.key && older.room == origin.room);
        }
        loop {
            if self.accounted(terms, |outbox| outbox.push(frame, gone, terms.limit)).is_ok() {
                return Ok(());
            }
            match origin.slow {
                Slow::DropOldest if terms.form.refills() && self.led_into.contains(&origin.room) => {
                    // It comes back with all its rooms, and gets what it missed.
                    return Err(Full);
                }
                Slow::DropOldest if terms.form.refills() => {
                    *lost += self.lapse(terms, origin);
                    return Ok(());
                }
                Slow::DropOldest => *lost += self.drop_oldest(terms).ok_or(Full)?,
                Slow::Conflate | Slow::Disconnect => return Err(Full),
            }
        }
    }

    /// The client has to subscribe to the room again, and gets then what it missed: nothing of it waits any longer.
    fn lapse(&mut self, terms: &Terms, origin: &Arc<Origin>) -> usize {
        lose(origin);
        let lost = self.discard(terms, |older| older.room == origin.room) + origin.messages();
        let notice = Frame::control(terms.form.lapsed(&origin.room));
        // The notice is short, and it is what keeps the client from waiting for ever.
        self.push_last(terms, &notice);
        self.lapsed.push(Arc::clone(&origin.room));
        self.untold += 1;
        lost
    }

    fn drop_oldest(&mut self, terms: &Terms) -> Option<usize> {
        let mut lost = 0;
        let dropped = self.accounted(terms, |outbox| {
            let droppable = |origin: &Origin| origin.slow == Slow::DropOldest;
            let notice = |room: &str, missing| terms.form.gap(room, missing);
            outbox.drop_oldest(droppable, notice, |origin| {
                lose(origin);
                lost += origin.messages();
            })
        });
        dropped.then_some(lost)
    }

    fn delivered(&mut self, origin: &Origin, now: Duration, done: Done<'_>) {
        done(self.outbox.written(origin.at, now), origin.messages);
        if let Some(receipt) = &origin.receipt {
            receipt.written();
        }
    }

    /// Changes what waits, and tells the budget.
    fn accounted<T>(&mut self, terms: &Terms, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let before = self.outbox.bytes();
        let outcome = change(&mut self.outbox);
        let after = self.outbox.bytes();
        if before != after {
            terms.budget.waiting_changed(before, after);
        }
        outcome
    }
}

/// These messages will not reach the client.
fn lose(origin: &Origin) {
    if let Some(receipt) = &origin.receipt {
        receipt.lost();
    }
}

/// None of these messages will reach the client.
pub(super) fn lose_frames(frames: &[Frame]) {
    for origin in frames.iter().filter_map(|frame| frame.origin.as_ref()) {
        lose(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::budget::Budget;
    use crate::gateway::form::Form;
    use bytes::Bytes;
    use std::io::IoSlice;

    fn terms(form: Form, limit: usize) -> Terms {
        Terms { form, limit, budget: Arc::new(Budget::new(1000)) }
    }

    fn message(bytes: &str, slow: Slow, key: Option<&str>) -> Frame {
        let origin = Origin {
            room: "r".into(),
            at: Duration::ZERO,
            messages: 1,
            slow,
            key: key.map(Into::into),
            expires: None,
            receipt: None,
        };
        Frame { bytes: Bytes::copy_from_slice(bytes.as_bytes()), origin: Some(Arc::new(origin)) }
    }

    fn waiting(queue: &Queue) -> String {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = queue.outbox.fill(&mut slices);
        slices[..filled].iter().map(|slice| String::from_utf8_lossy(slice).into_owned()).collect()
    }

    #[test]
    fn a_full_queue_ends_the_session_where_nothing_may_be_dropped() {
        let (mut queue, terms) = (Queue::default(), terms(Form::Text, 4));
        let frames = ["ab", "cd", "ef", "gh"].map(|bytes| message(bytes, Slow::Disconnect, None));
        assert_eq!(queue.wait(&terms, &frames, 0), Err(2));
        assert_eq!((waiting(&queue).as_str(), terms.budget.waiting()), ("abcd", 4));
    }

    #[test]
    fn of_each_key_only_the_newest_waits() {
        let (mut queue, terms) = (Queue::default(), terms(Form::Text, 100));
        let frames = [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")];
        let frames = frames.map(|(bytes, key)| message(bytes, Slow::Conflate, Some(key)));
        assert_eq!(queue.wait(&terms, &frames, 0), Ok(2));
        assert_eq!((waiting(&queue).as_str(), queue.lost(), terms.budget.waiting()), ("b1a3", 2, 4));
    }

    #[test]
    fn the_oldest_make_room_and_a_text_client_is_told() {
        let (mut queue, terms) = (Queue::default(), terms(Form::Text, 120));
        let frames: Vec<_> = (0..4).map(|n| message(&format!("{n:50}"), Slow::DropOldest, None)).collect();
        assert_eq!(queue.wait(&terms, &frames, 0), Ok(3));
        let waits = waiting(&queue);
        assert!(waits.contains(r#""missing":3"#) && waits.ends_with('3'), "{waits}");
        assert!(terms.budget.waiting() <= 120);
    }

    #[test]
    fn a_centrifuge_client_that_missed_messages_subscribes_again() {
        let (mut queue, terms) = (Queue::default(), terms(Form::Json, 160));
        let frames: Vec<_> = (0..4).map(|n| message(&format!("{n:50}"), Slow::DropOldest, None)).collect();
        assert_eq!(queue.wait(&terms, &frames, 0), Ok(4), "three that waited and the one that came");
        assert!(waiting(&queue).contains(r#""code":2500"#), "{}", waiting(&queue));
        assert_eq!(queue.take_lapsed().len(), 1);
        assert_eq!(queue.take_lapsed().len(), 0);
        assert_eq!(queue.wait(&terms, &frames, 0), Ok(4), "nothing more until then");
        queue.resumes("r");
        assert_eq!(queue.wait(&terms, &frames[..1], 0), Ok(0));
    }
}
