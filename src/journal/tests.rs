//! The journal as its users see it, on real files.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;

pub(super) const SMALL: Options = Options { segment_bytes: 400, limit_bytes: 1 << 20, headroom_bytes: 0 };

pub(super) fn open(path: &Path) -> (Journal, Recovery) {
    Journal::open(path, SMALL).unwrap()
}

pub(super) fn payload(number: u64) -> Vec<u8> {
    (0..number * 7 % 90).map(|n| (n + number) as u8).collect()
}

/// A journal with frames 1 to `count`.
pub(super) fn filled(path: &Path, count: u64) -> Journal {
    let (mut journal, _) = open(path);
    for number in 1..=count {
        let position = journal.append(number as u8, &[&payload(number)]).unwrap();
        assert_eq!(position.sequence(), number);
    }
    journal.commit(Durability::Written).unwrap();
    journal
}

pub(super) fn numbers(journal: &Journal) -> Vec<u64> {
    journal.unacknowledged(None).map(|meta| meta.position.sequence()).collect()
}

pub(super) fn check_frames(journal: &mut Journal, expected: impl IntoIterator<Item = u64>) {
    let expected: Vec<u64> = expected.into_iter().collect();
    assert_eq!(numbers(journal), expected);
    for number in expected {
        let frame = journal.read(Position::new(number)).unwrap();
        assert_eq!((frame.kind, frame.payload), (number as u8, payload(number)));
    }
}

#[test]
fn what_was_committed_is_there_after_an_open() {
    let directory = tempfile::tempdir().unwrap();
    check_frames(&mut filled(directory.path(), 30), 1..=30);
    let (mut journal, recovery) = open(directory.path());
    assert!(!recovery.is_damaged() && recovery.torn_bytes == 0, "{recovery:?}");
    assert!(recovery.segments > 3, "{recovery:?}");
    check_frames(&mut journal, 1..=30);
    assert_eq!(journal.append(31, &[&payload(31)]).unwrap().sequence(), 31);
    assert_eq!(numbers(&journal).len(), 30);
    journal.commit(Durability::Synced).unwrap();
    check_frames(&mut journal, 1..=31);
}

#[test]
fn what_was_acknowledged_does_not_come_again_below_the_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = filled(directory.path(), 30);
    for number in (1..=20).rev().chain([25]) {
        assert!(journal.acknowledge(Position::new(number)).unwrap());
    }
    let disk = journal.stats().disk_bytes;
    check_frames(&mut journal, (21..=24).chain(26..=30));
    assert!(matches!(journal.read(Position::new(5)), Err(Error::NotFound(_))));
    drop(journal);
    let (mut journal, recovery) = open(directory.path());
    assert_eq!(recovery.frames, 10);
    assert_eq!(journal.stats().disk_bytes, disk);
    check_frames(&mut journal, 21..=30);
}

#[tokio::test]
async fn the_thread_does_what_the_journal_does() {
    let directory = tempfile::tempdir().unwrap();
    let handle = spawn(open(directory.path()).0, "journal-test", Queue::default()).unwrap();
    let first = handle.append(1, b"one".to_vec(), Durability::Written).await.unwrap();
    let group = vec![(2, b"two".to_vec()), (3, b"three".to_vec())];
    let others = handle.append_all(group, Durability::Synced).await.unwrap();
    assert_eq!((first, others), (Position::new(1), vec![Position::new(2), Position::new(3)]));
    assert_eq!(handle.read(Position::new(3)).await.unwrap().payload, b"three");
    handle.acknowledge_all([Position::new(1), Position::new(2)]);
    assert_eq!(handle.unacknowledged(None, 10).await.unwrap().len(), 1);
    handle.close().await.unwrap();
    assert!(matches!(handle.append(1, Vec::new(), Durability::Written).await, Err(Error::Closed)));
    assert_eq!(handle.stats().acknowledged, 2);
    check_scan(directory.path(), Which::All, 3);
    check_scan(directory.path(), Which::Unacknowledged, 1);
    assert_eq!(open(directory.path()).1.frames, 1);
}

fn check_scan(path: &Path, which: Which, count: usize) {
    let frames: Result<Vec<Frame>, Error> = scan(path, which).unwrap().collect();
    assert_eq!(frames.unwrap().len(), count, "{which:?}");
}

/// The files of a journal that hold frames.
pub(super) fn segments(path: &Path) -> Vec<PathBuf> {
    segment::list(path).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// A copy of a journal, without its lock.
pub(super) fn copied(path: &Path) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), target.path().join(entry.file_name())).unwrap();
    }
    target
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u16>),
    Commit(bool),
    Acknowledge(prop::sample::Index),
    AcknowledgeFirst(u8),
    Open,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0..300_u16, 1..5).prop_map(Step::Append),
        3 => (0..8).prop_map(|n| Step::Commit(n == 0)),
        3 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        2 => (1..9_u8).prop_map(Step::AcknowledgeFirst),
        1 => Just(Step::Open),
    ]
}

/// What a journal should hold.
#[derive(Default)]
struct Model {
    held: BTreeMap<u64, Vec<u8>>,
    /// Acknowledged, and perhaps still on disk.
    gone: BTreeMap<u64, Vec<u8>>,
    staged: BTreeMap<u64, Vec<u8>>,
    seen: u64,
}

impl Model {
    fn append(&mut self, journal: &mut Journal, lengths: &[u16], limit: u64) {
        let bytes = |n: usize, length: u16| vec![(self.seen as u8).wrapping_add(n as u8); length.into()];
        let frames: Vec<_> =
            lengths.iter().enumerate().map(|(n, length)| (n as u8, bytes(n, *length))).collect();
        match journal.append_all(&frames) {
            Ok(positions) => {
                for (position, (_, payload)) in positions.into_iter().zip(frames) {
                    assert!(position.sequence() > self.seen, "a number came twice");
                    self.seen = position.sequence();
                    self.staged.insert(self.seen, payload);
                }
            }
            Err(Error::Full { .. }) => {
                // Frames that are staged count; those of full segments were written before.
                let least: u64 = lengths.iter().map(|length| u64::from(*length) + FRAME_OVERHEAD).sum();
                let stats = journal.stats();
                let staged = journal.staged_bytes() as u64;
                assert!(stats.disk_bytes + staged + least + 32 > limit, "refused with room: {stats:?}");
            }
            Err(error) => panic!("{error}"),
        }
        let written: Vec<u64> =
            self.staged.keys().copied().filter(|number| *number < journal.index.next).collect();
        for number in written {
            let payload = self.staged.remove(&number).unwrap();
            self.held.insert(number, payload);
        }
    }

    fn acknowledge(&mut self, journal: &mut Journal, number: u64) {
        let payload = self.held.remove(&number).unwrap();
        assert!(journal.acknowledge(Position::new(number)).unwrap());
        assert!(!journal.acknowledge(Position::new(number)).unwrap());
        self.gone.insert(number, payload);
    }

    /// After an open: frames above the cursor may have come again, all others are as they were.
    fn reopen(&mut self, journal: &Journal, cursor: u64) {
        self.staged.clear();
        let found: BTreeSet<u64> = numbers(journal).into_iter().collect();
        for (number, payload) in std::mem::take(&mut self.gone) {
            if found.contains(&number) {
                assert!(number >= cursor, "{number} came again below the cursor {cursor}");
                self.held.insert(number, payload);
            }
        }
        self.seen = self.seen.min(journal.next().sequence() - 1);
    }

    fn check(&self, journal: &mut Journal, path: &Path, limit: u64) {
        assert_eq!(numbers(journal), self.held.keys().copied().collect::<Vec<_>>());
        for (number, payload) in &self.held {
            assert_eq!(&journal.read(Position::new(*number)).unwrap().payload, payload);
        }
        let disk: u64 = segments(path).iter().map(|path| path.metadata().unwrap().len()).sum();
        let stats = journal.stats();
        let bytes = self.held.values().map(Vec::len).sum::<usize>() as u64;
        assert_eq!((stats.disk_bytes, stats.frames, stats.bytes), (disk, self.held.len() as u64, bytes));
        assert!(disk <= limit, "{disk} of {limit} bytes");
        let scanned = scan(path, Which::All).unwrap().map(|frame| frame.unwrap().position.sequence());
        let scanned: BTreeSet<u64> = scanned.collect();
        assert!(self.held.keys().all(|number| scanned.contains(number)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_an_ordered_map(
        steps in prop::collection::vec(step(), 1..80),
        segment_bytes in 1..1500_u64,
        limit_bytes in 600..8000_u64,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes, limit_bytes, headroom_bytes: 0 };
        let (mut journal, _) = Journal::open(directory.path(), options).unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(lengths) => model.append(&mut journal, &lengths, limit_bytes),
                Step::Commit(is_synced) => {
                    let durability = if is_synced { Durability::Synced } else { Durability::Written };
                    journal.commit(durability).unwrap();
                    model.held.append(&mut model.staged);
                }
                Step::Acknowledge(index) => {
                    if !model.held.is_empty() {
                        let number = *model.held.keys().nth(index.index(model.held.len())).unwrap();
                        model.acknowledge(&mut journal, number);
                    }
                }
                Step::AcknowledgeFirst(count) => {
                    for number in model.held.keys().copied().take(count.into()).collect::<Vec<_>>() {
                        model.acknowledge(&mut journal, number);
                    }
                }
                Step::Open => {
                    let cursor = journal.stats().cursor;
                    drop(journal);
                    let (opened, recovery) = Journal::open(directory.path(), options).unwrap();
                    prop_assert!(!recovery.is_damaged() && recovery.torn_bytes == 0, "{:?}", recovery);
                    journal = opened;
                    model.reopen(&journal, cursor);
                }
            }
            model.check(&mut journal, directory.path(), limit_bytes);
        }
    }
}

impl Journal {
    /// What it writes from now on can not be synced, as when its disk fails.
    pub(crate) fn lose_disk(&mut self) {
        self.append(1, &[b"before"]).unwrap();
        self.commit(Durability::Written).unwrap();
        self.active.as_mut().unwrap().file =
            std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    }
}
