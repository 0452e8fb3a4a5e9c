//! The journal as its users see it, on real files.

use std::path::Path;

use super::*;

const SMALL: Options = Options { segment_bytes: 400, limit_bytes: 1 << 20, headroom_bytes: 0 };

fn open(path: &Path) -> (Journal, Recovery) {
    Journal::open(path, SMALL).unwrap()
}

fn payload(number: u64) -> Vec<u8> {
    (0..number * 7 % 90).map(|n| (n + number) as u8).collect()
}

/// A journal with frames 1 to `count`.
fn filled(path: &Path, count: u64) -> Journal {
    let (mut journal, _) = open(path);
    for number in 1..=count {
        let position = journal.append(number as u8, &[&payload(number)]).unwrap();
        assert_eq!(position.sequence(), number);
    }
    journal.commit(Durability::Written).unwrap();
    journal
}

fn numbers(journal: &Journal) -> Vec<u64> {
    journal.unacknowledged(None).map(|meta| meta.position.sequence()).collect()
}

fn check_frames(journal: &mut Journal, expected: impl IntoIterator<Item = u64>) {
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
