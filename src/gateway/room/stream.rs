//! The stream of one room: numbered messages, the latest of them kept, so that who was away can catch up. No I/O, no
//! clock.
//!
//! Every message gets the next offset. The stream's epoch is its name from birth: an offset means something only
//! together with it. Who comes back with an offset gets everything behind it, or is told that something is missing;
//! never a part.
//!
//! Limits: so many messages for so long, as the room's rules say ([`Keeping`]), and [`SEEN_MAX`] idempotency keys for
//! [`SEEN_FOR`]. What is beyond them is forgotten, which is noticed by whoever would have needed it.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::room::publication::Publication;
use crate::ids::Epoch;
use crate::ids::MessageId;

/// How long an idempotency key is remembered.
pub(in crate::gateway) const SEEN_FOR: Duration = Duration::from_secs(300);

/// The most idempotency keys that a room remembers.
pub(in crate::gateway) const SEEN_MAX: usize = 4096;

/// What a room keeps of its past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Keeping {
    /// So many messages; 0: none, and no recovery.
    pub(in crate::gateway) size: usize,
    /// For so long.
    pub(in crate::gateway) ttl: Duration,
}

impl Keeping {
    /// What was said before this is forgotten, in Unix milliseconds.
    pub(in crate::gateway) fn oldest(self, unix_ms: u64) -> u64 {
        unix_ms.saturating_sub(millis(self.ttl))
    }
}

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset of the last message; 0 before the first.
    pub offset: u64,
    /// The stream's name.
    pub epoch: Epoch,
}

/// What somebody who was away gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Missed {
    /// Everything, in its order.
    All(Vec<Arc<Publication>>),
    /// It is older than what is kept here: look behind this offset elsewhere, or tell that there is a gap.
    Older {
        /// The lowest offset that is kept.
        kept_from: u64,
    },
    /// The stream is another one, or has never been where the client says it was.
    Unknown,
}

/// A page of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The most messages; none asks for the position only.
    pub limit: usize,
    /// From the one behind (or, in reverse, before) this offset on.
    pub since: Option<u64>,
    /// The newest first.
    pub reverse: bool,
}

/// The stream of a room.
#[derive(Debug)]
pub(in crate::gateway) struct Stream {
    epoch: Epoch,
    top: u64,
    ring: VecDeque<Arc<Publication>>,
    bytes: usize,
    seen: Option<Box<Seen>>,
}

/// The idempotency keys of late.
#[derive(Debug, Default)]
struct Seen {
    offsets: HashMap<Box<str>, u64>,
    order: VecDeque<(u64, Box<str>)>,
}

impl Stream {
    /// An empty stream.
    pub(in crate::gateway) fn new(epoch: Epoch) -> Self {
        Self { epoch, top: 0, ring: VecDeque::new(), bytes: 0, seen: None }
    }

    /// A stream as it was kept elsewhere: where it stands, and the last of its messages in their order.
    pub(in crate::gateway) fn restored(position: Position, tail: Vec<Arc<Publication>>) -> Self {
        let mut stream = Self { top: position.offset, ..Self::new(position.epoch) };
        for publication in tail {
            if let Some(key) = &publication.idempotency_key {
                stream.remember(key, publication.offset, publication.unix_ms);
            }
            stream.keep(publication);
        }
        stream
    }

    /// Where the stream stands.
    pub(in crate::gateway) fn position(&self) -> Position {
        Position { offset: self.top, epoch: self.epoch }
    }

    /// The memory of what is kept, about, in bytes.
    pub(in crate::gateway) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The offset that was given to a message with this key of late.
    pub(in crate::gateway) fn seen(&self, key: &str) -> Option<u64> {
        self.seen.as_ref()?.offsets.get(key).copied()
    }

    /// True while there is an idempotency key to be remembered.
    pub(in crate::gateway) fn knows_keys(&self) -> bool {
        self.seen.is_some()
    }

    /// Takes `publication` in: when it is kept it gets the next offset, else none.
    pub(in crate::gateway) fn append(
        &mut self,
        mut publication: Publication,
        keeps: bool,
    ) -> Arc<Publication> {
        if keeps {
            self.top += 1;
            publication.offset = self.top;
        }
        if let Some(key) = &publication.idempotency_key {
            self.remember(key, publication.offset, publication.unix_ms);
        }
        let publication = Arc::new(publication);
        if keeps {
            self.keep(Arc::clone(&publication));
        }
        publication
    }

    /// The id of the newest message that is kept.
    pub(in crate::gateway) fn newest(&self) -> Option<MessageId> {
        self.ring.back().map(|publication| publication.id)
    }

    /// The message with this id, when it is kept.
    pub(in crate::gateway) fn find(&self, id: MessageId) -> Option<Arc<Publication>> {
        self.ring.iter().rev().find(|publication| publication.id == id).cloned()
    }

    /// Puts another message into the place of the one with its offset, when that is kept.
    pub(in crate::gateway) fn replace(&mut self, publication: Publication) {
        let place = self.ring.binary_search_by_key(&publication.offset, |kept| kept.offset);
        if let Some(kept) = place.ok().and_then(|place| self.ring.get_mut(place)) {
            self.bytes = (self.bytes + publication.size()).saturating_sub(kept.size());
            *kept = Arc::new(publication);
        }
    }

    /// Takes the last `count` kept messages back: they were never said.
    pub(in crate::gateway) fn retract(&mut self, count: usize) {
        for publication in self.ring.split_off(self.ring.len().saturating_sub(count)) {
            self.bytes = self.bytes.saturating_sub(publication.size());
            self.top = self.top.min(publication.offset.saturating_sub(1));
            if let (Some(key), Some(seen)) = (&publication.idempotency_key, &mut self.seen) {
                seen.offsets.remove(key);
                seen.order.retain(|(_, remembered)| remembered != key);
            }
        }
    }

    /// Forgets what is beyond `keeping` at `unix_ms`; gives the lowest offset that is still kept, if that changed.
    pub(in crate::gateway) fn trim(&mut self, keeping: Keeping, unix_ms: u64) -> Option<u64> {
        let oldest = keeping.oldest(unix_ms);
        let mut trimmed = false;
        while let Some(first) = self.ring.front()
            && (self.ring.len() > keeping.size || first.unix_ms < oldest)
        {
            self.bytes = self.bytes.saturating_sub(first.size());
            self.ring.pop_front();
            trimmed = true;
        }
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
        self.forget_keys(unix_ms);
        trimmed.then(|| self.kept_from())
    }

    /// Forgets all messages; the stream goes on.
    pub(in crate::gateway) fn clear(&mut self) {
        self.ring = VecDeque::new();
        self.bytes = 0;
    }

    /// Gives up the older half of what is kept, because memory is short.
    pub(in crate::gateway) fn shed(&mut self) {
        for _ in 0..self.ring.len().div_ceil(2) {
            if let Some(first) = self.ring.pop_front() {
                self.bytes = self.bytes.saturating_sub(first.size());
            }
        }
        self.ring.shrink_to_fit();
    }

    /// What somebody has missed who was here before.
    pub(in crate::gateway) fn missed(&self, since: Position) -> Missed {
        if since.epoch != self.epoch || since.offset > self.top {
            return Missed::Unknown;
        }
        if since.offset == self.top {
            return Missed::All(Vec::new());
        }
        let kept_from = self.kept_from();
        if since.offset + 1 < kept_from {
            return Missed::Older { kept_from };
        }
        // Offsets leap where messages were lost: who has seen one of those is told.
        if since.offset >= kept_from && !self.has(since.offset) {
            return Missed::Unknown;
        }
        Missed::All(self.behind(since.offset).cloned().collect())
    }

    /// A page of what is kept.
    pub(in crate::gateway) fn page(&self, query: Query) -> Vec<Arc<Publication>> {
        if query.reverse {
            let before = query.since.unwrap_or(u64::MAX);
            let older = self.ring.iter().rev().filter(|publication| publication.offset < before);
            return older.take(query.limit).cloned().collect();
        }
        self.behind(query.since.unwrap_or(0)).take(query.limit).cloned().collect()
    }

    /// The lowest offset that is kept; one above the top when nothing is.
    pub(in crate::gateway) fn kept_from(&self) -> u64 {
        self.ring.front().map_or(self.top + 1, |first| first.offset)
    }

    fn has(&self, offset: u64) -> bool {
        self.ring.binary_search_by_key(&offset, |publication| publication.offset).is_ok()
    }

    fn behind(&self, offset: u64) -> impl Iterator<Item = &Arc<Publication>> {
        let start = self.ring.partition_point(|publication| publication.offset <= offset);
        self.ring.range(start..)
    }

    fn keep(&mut self, publication: Arc<Publication>) {
        self.bytes += publication.size();
        self.ring.push_back(publication);
    }

    fn remember(&mut self, key: &str, offset: u64, unix_ms: u64) {
        let seen = self.seen.get_or_insert_default();
        seen.offsets.insert(key.into(), offset);
        seen.order.push_back((unix_ms, key.into()));
        while seen.order.len() > SEEN_MAX {
            seen.forget_first();
        }
    }

    fn forget_keys(&mut self, unix_ms: u64) {
        let Some(seen) = &mut self.seen else { return };
        let oldest = unix_ms.saturating_sub(millis(SEEN_FOR));
        while seen.order.front().is_some_and(|(at, _)| *at < oldest) {
            seen.forget_first();
        }
        if seen.order.is_empty() {
            self.seen = None;
        }
    }
}

impl Seen {
    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.offsets.remove(&key);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::payload::Payload;
    use std::collections::BTreeMap;

    const KEEPING: Keeping = Keeping { size: 3, ttl: Duration::from_secs(10) };
    const EPOCH: Epoch = Epoch::from_number(7);

    fn publication(unix_ms: u64, key: Option<&str>) -> Publication {
        Publication {
            offset: 0,
            id: MessageId::from_number(1),
            idempotency_key: key.map(Into::into),
            payload: Payload::from_text("x"),
            publisher: None,
            operation: None,
            tags: BTreeMap::new(),
            unix_ms,
            expires_ms: None,
        }
    }

    fn stream(messages: u64) -> Stream {
        let mut stream = Stream::new(EPOCH);
        for second in 1..=messages {
            stream.append(publication(second * 1000, None), true);
            stream.trim(KEEPING, second * 1000);
        }
        stream
    }

    fn at(offset: u64) -> Position {
        Position { offset, epoch: EPOCH }
    }

    fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
        publications.iter().map(|publication| publication.offset).collect()
    }

    fn missed(stream: &Stream, since: Position) -> Result<Vec<u64>, Missed> {
        match stream.missed(since) {
            Missed::All(publications) => Ok(offsets(&publications)),
            other => Err(other),
        }
    }

    #[test]
    fn who_was_away_gets_all_or_is_told() {
        let stream = stream(5);
        assert_eq!(missed(&stream, at(5)), Ok(vec![]));
        assert_eq!(missed(&stream, at(2)), Ok(vec![3, 4, 5]));
        assert_eq!(missed(&stream, at(1)), Err(Missed::Older { kept_from: 3 }));
        assert_eq!(missed(&stream, at(6)), Err(Missed::Unknown), "never been there");
        let other = Position { offset: 5, epoch: Epoch::from_number(8) };
        assert_eq!(missed(&stream, other), Err(Missed::Unknown));
    }

    #[test]
    fn messages_are_forgotten_by_number_and_by_age() {
        let mut stream = stream(5);
        assert_eq!(stream.trim(KEEPING, 5000), None);
        assert_eq!(stream.trim(KEEPING, 14_001), Some(5));
        assert_eq!(stream.trim(KEEPING, 15_001), Some(6));
        assert_eq!(stream.bytes(), 0);
        assert_eq!(missed(&stream, at(5)), Ok(vec![]), "nothing was missed");
        assert_eq!(missed(&stream, at(4)), Err(Missed::Older { kept_from: 6 }));
    }

    #[test]
    fn a_page_goes_forwards_or_backwards() {
        let stream = stream(5);
        let page = |limit, since, reverse| offsets(&stream.page(Query { limit, since, reverse }));
        assert_eq!(page(2, None, false), [3, 4]);
        assert_eq!(page(9, Some(3), false), [4, 5]);
        assert_eq!(page(2, None, true), [5, 4]);
        assert_eq!(page(9, Some(5), true), [4, 3]);
        assert_eq!(page(0, None, false), [0; 0]);
    }

    #[test]
    fn a_key_is_remembered_for_its_window() {
        let mut stream = stream(0);
        stream.append(publication(1000, Some("k")), true);
        assert_eq!(stream.seen("k"), Some(1));
        stream.trim(KEEPING, 301_000);
        assert_eq!(stream.seen("k"), Some(1));
        stream.trim(KEEPING, 301_001);
        assert_eq!(stream.seen("k"), None);
    }

    #[test]
    fn what_is_not_kept_has_no_offset() {
        let mut stream = stream(2);
        assert_eq!(stream.append(publication(3000, None), false).offset, 0);
        assert_eq!(stream.append(publication(4000, None), true).offset, 3);
        assert_eq!(missed(&stream, at(1)), Ok(vec![2, 3]));
    }

    #[test]
    fn who_has_seen_what_was_lost_in_a_crash_is_told() {
        let kept = Arc::new(Publication { offset: 5, ..publication(1000, None) });
        let leapt = Stream::restored(at(1_000_005), vec![kept]);
        assert_eq!(missed(&leapt, at(4)), Ok(vec![5]));
        assert_eq!(missed(&leapt, at(5)), Ok(vec![]));
        assert_eq!(missed(&leapt, at(6)), Err(Missed::Unknown));
        assert_eq!(missed(&leapt, at(1_000_005)), Ok(vec![]));
    }

    #[test]
    fn another_message_takes_the_place_of_one() {
        let mut stream = stream(2);
        let mut message = Publication { id: MessageId::from_number(2), ..publication(3000, None) };
        stream.append(message.clone(), true);
        assert_eq!(stream.newest(), Some(message.id));
        message = (*stream.find(message.id).unwrap()).clone();
        let before = stream.bytes();
        stream.replace(Publication { payload: Payload::from_text("longer"), ..message });
        assert_eq!(stream.bytes(), before + "longer".len() - "x".len());
        assert_eq!(stream.find(MessageId::from_number(2)).unwrap().payload, Payload::from_text("longer"));
        stream.replace(Publication { offset: 9, ..publication(0, None) });
        assert_eq!(missed(&stream, at(0)), Ok(vec![1, 2, 3]));
        assert_eq!(stream.find(MessageId::from_number(3)), None);
    }

    #[test]
    fn shedding_gives_up_the_older_half() {
        let mut stream = stream(3);
        stream.shed();
        assert_eq!(missed(&stream, at(2)), Ok(vec![3]));
        assert_eq!(missed(&stream, at(1)), Err(Missed::Older { kept_from: 3 }));
    }
}
