use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::journal::Journal;

/// Small enough to be full soon, and with the whole disk.
fn options() -> Options {
    Options { headroom_bytes: 0, checkpoint_interval: Duration::from_millis(20), ..Options::default() }
}

fn start(directory: &Path) -> (Store, Recovery) {
    open(directory, options()).unwrap()
}

/// With checkpoints at starts and stops only.
fn start_slow(directory: &Path) -> (Store, Recovery) {
    open(directory, Options { checkpoint_interval: Duration::from_secs(3600), ..options() }).unwrap()
}

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Rooms, key, value);
    batch
}

fn value(store: &Store, key: &str) -> Option<String> {
    store.read(Table::Rooms, key).unwrap().map(|value| String::from_utf8(value).unwrap())
}

const ALL: Limit = Limit { items: usize::MAX, bytes: usize::MAX };

fn keys(store: &Store, span: &Span, direction: Direction, limit: Limit) -> (Vec<String>, bool) {
    let page = store.range(Table::Rooms, span, direction, limit).unwrap();
    (page.entries.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect(), page.more)
}

/// The directory as it is at this moment, as a kill would leave it: no checkpoint may come meanwhile.
fn killed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(directory, copy.path());
    copy
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_read_and_is_there_after_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (store, recovery) = start(directory.path());
    assert!(recovery.is_new && store.is_clean_start());
    store.submit(put("a", "1")).unwrap().await.unwrap();
    assert_eq!(value(&store, "a").as_deref(), Some("1"));
    let mut batch = put("a", "2");
    batch.put(Table::Rooms, "b", "3").put(Table::Users, "a", "4").delete(Table::Rooms, "none");
    batch.durability(Durability::Synced);
    store.submit(batch).unwrap().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.read(Table::Rooms, "a"), Err(Error::Closed)));
    assert!(matches!(store.submit(put("a", "5")), Err(Error::Closed)));
    assert!(matches!(store.close().await, Err(Error::Closed)));

    let (store, recovery) = start(directory.path());
    assert!(!recovery.is_new && recovery.is_clean && store.is_clean_start());
    assert_eq!(recovery.batches, 0);
    assert_eq!((value(&store, "a").unwrap(), value(&store, "b").unwrap()), ("2".into(), "3".into()));
    assert_eq!(store.stats().entries, 3);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = start_slow(directory.path());
    let tickets = (0..100).map(|n| store.submit(put(&format!("{n:03}"), "x")).unwrap());
    join_all(tickets).await.into_iter().for_each(Result::unwrap);
    let mut batch = Batch::new();
    batch.delete_range(Table::Rooms, &Span::between("010", "020"));
    store.submit(batch).unwrap().await.unwrap();
    let copy = killed(directory.path());
    let (again, recovery) = start(copy.path());
    assert!(!recovery.is_clean && !again.is_clean_start() && !recovery.is_damaged(), "{recovery:?}");
    assert_eq!(recovery.batches, 101);
    assert_eq!(keys(&again, &Span::all(), Direction::Up, ALL).0.len(), 90);
    let (first, second) = (store.stats(), again.stats());
    assert_eq!((first.entries, first.stored_bytes), (second.entries, second.stored_bytes));
    assert_eq!(second.entries, 90);
}

#[tokio::test]
async fn a_torn_end_of_the_journal_costs_only_what_was_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = start_slow(directory.path());
    for n in 0..3 {
        store.submit(put(&n.to_string(), "x")).unwrap().await.unwrap();
    }
    let copy = killed(directory.path());
    let segment = std::fs::read_dir(copy.path().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|end| end == "segment")).max().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let length = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(&segment, &bytes[..length - 3]).unwrap();
    let (again, recovery) = start(copy.path());
    assert!(recovery.journal.torn_bytes > 0 && !recovery.is_damaged(), "{recovery:?}");
    assert_eq!(keys(&again, &Span::all(), Direction::Up, ALL).0, ["0", "1"]);
}

#[tokio::test]
async fn ranges_go_both_ways_within_their_limit() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = start(directory.path());
    let mut batch = Batch::new();
    for key in ["a1", "a2", "a3", "b1"] {
        batch.put(Table::Rooms, key, vec![b'x'; 98]);
    }
    store.submit(batch).unwrap().await.unwrap();
    let check = |span: Span, direction, items, bytes, expected: &[&str], more| {
        let found = keys(&store, &span, direction, Limit { items, bytes });
        assert_eq!(found, (expected.iter().map(ToString::to_string).collect(), more));
    };
    use Direction::Down;
    use Direction::Up;
    check(Span::prefix("a"), Up, 9, 1000, &["a1", "a2", "a3"], false);
    check(Span::prefix("a"), Down, 2, 1000, &["a3", "a2"], true);
    check(Span::from("a2"), Up, 9, 200, &["a2", "a3"], true);
    check(Span::between("a2", "b1"), Down, 9, 1, &["a3"], true);
    check(Span::between("a2", "a2"), Up, 9, 1000, &[], false);
    check(Span::between("b", "a"), Up, 9, 1000, &[], false);
    check(Span::all(), Up, 0, 1000, &[], true);
    assert_eq!(store.range(Table::Users, &Span::all(), Up, ALL).unwrap(), Page::default());
}

#[tokio::test]
async fn each_limit_refuses_with_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { queue_bytes: 1000, queue_batches: 3, limit_bytes: 500, ..options() };
    let (store, _) = open(directory.path(), small).unwrap();
    let error = store.submit(put("a", &"x".repeat(1001))).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 1000, .. }) && !error.retryable(), "{error}");
    let error = store.submit(put(&"k".repeat(KEY_MAX + 1), "")).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    store.submit(put("a", &"x".repeat(450))).unwrap().await.unwrap();
    let error = store.submit(put("b", &"x".repeat(50))).unwrap_err();
    assert!(matches!(error, Error::Full { limit: 500 }) && error.retryable(), "{error}");
    let mut batch = Batch::new();
    batch.delete(Table::Rooms, "a");
    store.submit(batch).unwrap().await.unwrap();
    store.submit(put("b", &"x".repeat(50))).unwrap().await.unwrap();
    assert_eq!(store.stats().stored_bytes, 1 + 50 + 16);
    assert_eq!(store.stats().refused_full, 1);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_at_once_and_drops_nothing_it_took() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { queue_bytes: 10_000, queue_batches: 50, ..options() };
    let (store, _) = open(directory.path(), small).unwrap();
    let (mut taken, mut busy) = (Vec::new(), 0);
    for n in 0..20_000 {
        match store.submit(put(&format!("{n:05}"), "x")) {
            Ok(ticket) => taken.push((n, ticket)),
            Err(Error::Busy { batches, .. }) => {
                assert!(batches <= 50);
                busy += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(busy > 0, "the queue was never full");
    let count = taken.len();
    for (_, ticket) in taken {
        ticket.await.unwrap();
    }
    assert_eq!(store.stats().entries as usize, count);
    assert_eq!((store.stats().queued_batches, store.stats().refused_busy), (0, busy));
}

#[tokio::test]
async fn a_journal_that_is_full_of_what_is_in_no_checkpoint_makes_one() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { journal_bytes: 1 << 20, checkpoint_interval: Duration::from_secs(60), ..options() };
    let (store, _) = open(directory.path(), small).unwrap();
    let value = "x".repeat(50_000);
    let tickets = (0..100).map(|n| store.submit(put(&n.to_string(), &value)).unwrap());
    join_all(tickets).await.into_iter().for_each(Result::unwrap);
    assert_eq!(store.stats().entries, 100);
    assert!(store.stats().checkpoints > 0 && store.stats().journal.disk_bytes <= 1 << 20);
}

#[tokio::test]
async fn a_disk_without_room_refuses_and_takes_again_when_there_is_some() {
    let directory = tempfile::tempdir().unwrap();
    let greedy = Options { headroom_bytes: 1 << 60, ..options() };
    let (store, _) = open(directory.path(), greedy).unwrap();
    let error = store.submit(put("a", "1")).unwrap().await.unwrap_err();
    assert!(matches!(error, Error::Journal(journal::Error::NoSpace { .. })) && error.retryable(), "{error}");
    assert_eq!((value(&store, "a"), store.stats().refused_full), (None, 1));
    assert!(store.failure().is_none(), "there may be room later");
    store.close().await.unwrap();
    let (store, _) = start(directory.path());
    store.submit(put("a", "1")).unwrap().await.unwrap();
}

#[tokio::test]
async fn dropping_the_last_handle_stops_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = start(directory.path());
    drop(store.submit(put("a", "1")).unwrap());
    let thread = store.shared.thread.lock().unwrap().take().unwrap();
    drop(store);
    thread.join().unwrap();
    let (store, recovery) = start(directory.path());
    assert!(recovery.is_clean);
    assert_eq!(value(&store, "a").as_deref(), Some("1"));
}

#[test]
fn a_file_that_is_gone_is_told_and_not_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (store, _) = start(directory.path());
        store.submit(put("a", "1")).unwrap().await.unwrap();
        store.close().await.unwrap();
    });
    std::fs::remove_file(directory.path().join("store.redb")).unwrap();
    let error = open(directory.path(), options()).unwrap_err();
    assert!(matches!(error, Error::Missing { batches: 1, .. }), "{error}");
}

#[test]
fn a_batch_of_a_later_version_stops_the_start_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    drop(start(directory.path()));
    let journal = || Journal::open(&directory.path().join("journal"), journal::Options::default());
    // The thread of the dropped store ends soon.
    let (mut journal, _) = std::iter::repeat_with(journal).find_map(Result::ok).unwrap();
    journal.append(batch::FRAME + 1, &[b"?"]).unwrap();
    journal.commit(Durability::Written).unwrap();
    drop(journal);
    for _ in 0..2 {
        let error = open(directory.path(), options()).unwrap_err();
        assert!(matches!(error, Error::Future(_)), "{error}");
    }
}

/// A closed store with a thousand entries in each of two tables, and one batch in its journal only.
async fn filled(directory: &Path) {
    let (store, _) = start_slow(directory);
    let mut batch = Batch::new();
    for n in 0..1000 {
        batch.put(Table::Rooms, format!("key-{n:04}"), format!("value-{n:04}").repeat(20));
        batch.put(Table::Users, format!("key-{n:04}"), "user");
    }
    store.submit(batch).unwrap().await.unwrap();
    store.close().await.unwrap();
    let (mut journal, _) = Journal::open(&directory.join("journal"), journal::Options::default()).unwrap();
    journal.append(batch::FRAME, &[put("late", "1").bytes()]).unwrap();
    journal.commit(Durability::Written).unwrap();
}

/// Overwrites the page of the file that holds `text`.
fn damage(directory: &Path, text: &str) {
    let path = directory.join("store.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    let pages: Vec<usize> = memchr::memmem::find_iter(&bytes, text).map(|at| at / 4096 * 4096).collect();
    assert!(!pages.is_empty());
    for page in pages {
        bytes[page..page + 4096].fill(0xee);
    }
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_check_finds_nothing_in_a_sound_store_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    assert!(check(directory.path()).unwrap().is_none());
    filled(directory.path()).await;
    let bytes = std::fs::read(directory.path().join("store.redb")).unwrap();
    let found = check(directory.path()).unwrap().unwrap();
    assert_eq!(found.findings, Vec::<String>::new());
    assert!(found.is_clean);
    let counts: Vec<_> = found.tables.iter().map(|(table, entries, _)| (*table, *entries)).collect();
    assert_eq!(counts, [(Table::Rooms, 1000), (Table::Users, 1000)]);
    assert_eq!(found.batches, 1);
    assert_eq!(std::fs::read(directory.path().join("store.redb")).unwrap(), bytes);
}

#[tokio::test]
async fn a_check_of_what_a_kill_left_finds_nothing_and_one_beside_the_owner_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = start_slow(directory.path());
    store.submit(put("a", "1")).unwrap().await.unwrap();
    let found = check(killed(directory.path()).path()).unwrap().unwrap();
    assert_eq!((found.findings, found.batches, found.is_clean), (Vec::new(), 1, false));
    assert!(matches!(check(directory.path()), Err(Error::InUse(_))));
    let error = rebuild(directory.path(), options()).unwrap_err();
    assert!(matches!(error, Error::Journal(journal::Error::InUse(_))), "{error}");
    store.submit(put("a", "2")).unwrap().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_told_and_a_rebuild_keeps_what_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    std::fs::remove_file(directory.path().join("clean")).unwrap();
    damage(directory.path(), "value-0500");
    let error = open(directory.path(), options()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    let found = check(directory.path()).unwrap().unwrap();
    assert!(found.findings[0].contains("damaged"), "{:?}", found.findings);

    let made = rebuild(directory.path(), options()).unwrap().unwrap();
    assert!(made.losses.iter().any(|loss| loss.contains("rooms")), "{:?}", made.losses);
    assert_eq!((made.batches, made.expected), (1, Some(2000)));
    assert!((1900..2000).contains(&made.read), "{made:?}");
    assert_eq!(made.entries, made.read + 1);
    assert!(made.set_aside.unwrap().exists());
    assert!(check(directory.path()).unwrap().unwrap().findings.is_empty());

    let (store, recovery) = start(directory.path());
    assert!(!store.is_clean_start() && !recovery.is_damaged(), "{recovery:?}");
    assert_eq!(store.stats().entries, made.entries);
    assert_eq!(value(&store, "late").as_deref(), Some("1"));
    for n in [0, 400, 600, 999] {
        assert_eq!(value(&store, &format!("key-{n:04}")).unwrap(), format!("value-{n:04}").repeat(20));
    }
    assert_eq!(value(&store, "key-0500"), None);
}

#[tokio::test]
async fn a_file_that_can_not_be_read_at_all_is_rebuilt_from_the_journal() {
    for damage in [&b"not a database"[..], b""] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path()).await;
        std::fs::write(directory.path().join("store.redb"), damage).unwrap();
        assert!(open(directory.path(), options()).is_err());
        assert!(!check(directory.path()).unwrap().unwrap().findings.is_empty());
        let made = rebuild(directory.path(), options()).unwrap().unwrap();
        assert_eq!((made.read, made.entries), (0, 1), "{made:?}");
        assert!(!made.losses.is_empty());
        let (store, _) = start(directory.path());
        assert_eq!(value(&store, "late").as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_rebuild_of_a_sound_store_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let made = rebuild(directory.path(), options()).unwrap().unwrap();
    assert_eq!((made.losses, made.read, made.entries), (Vec::new(), 2000, 2001));
    assert!(rebuild(&directory.path().join("none"), options()).unwrap().is_none());
}

#[tokio::test]
async fn a_file_that_is_older_than_its_journal_is_told() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let old = std::fs::read(directory.path().join("store.redb")).unwrap();
    let (store, _) = start(directory.path());
    for n in 0..5 {
        store.submit(put(&n.to_string(), "x")).unwrap().await.unwrap();
    }
    store.close().await.unwrap();
    std::fs::write(directory.path().join("store.redb"), old).unwrap();
    let found = check(directory.path()).unwrap().unwrap();
    assert!(found.findings[0].contains("6 batches"), "{:?}", found.findings);
    let (store, recovery) = start(directory.path());
    assert_eq!((recovery.behind, recovery.is_damaged(), store.is_clean_start()), (6, true, false));
}

#[tokio::test]
async fn a_file_that_fails_under_way_refuses_what_comes_and_what_was_answered_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = start_slow(directory.path());
    store.submit(put("a", "1")).unwrap().await.unwrap();
    // The file is closed behind the back of the thread, as a disk that goes away would do it.
    store.shared.base.close().unwrap();
    let error = store.submit(put("b", "1")).unwrap().await.unwrap_err();
    assert!(matches!(error, Error::Failed(_)) && !error.retryable(), "{error}");
    assert!(matches!(store.submit(put("c", "1")), Err(Error::Failed(_))));
    assert!(store.failure().unwrap().told().contains("until a restart") && store.stats().is_failed);
    assert!(store.close().await.is_err(), "this is no clean stop");
    let (store, _) = start(directory.path());
    assert!(!store.is_clean_start());
    assert_eq!(value(&store, "a").as_deref(), Some("1"));
    assert_eq!(value(&store, "c"), None);
}

#[tokio::test]
async fn a_failed_sync_refuses_what_comes_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open::journal(directory.path(), options()).unwrap();
    journal.lose_disk();
    let base = Base::open(directory.path(), 1 << 20, base::Trust::Nothing).unwrap();
    let store = open::start((directory.path(), options()), journal, (base, base::Volume::default()), true);
    let store = store.unwrap();
    let mut batch = put("a", "1");
    batch.durability(Durability::Synced);
    let error = store.submit(batch).unwrap().await.unwrap_err();
    assert!(
        matches!(error, Error::Journal(journal::Error::Poisoned { .. })) && !error.retryable(),
        "{error}"
    );
    let error = store.submit(put("b", "1")).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error}");
    let told = store.failure().unwrap().told();
    assert!(told.contains("until a restart") && told.contains("check the disk"), "{told}");
    assert!(store.close().await.is_err() && !marker::is_there(directory.path()));
}

#[tokio::test]
async fn damage_that_a_read_meets_is_told_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let (store, _) = open(directory.path(), Options { cache_bytes: 0, ..options() }).unwrap();
    damage(directory.path(), "value-0500");
    assert!(store.failure().is_none());
    let error = store.read(Table::Rooms, "key-0500").unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    assert!(store.failure().unwrap().told().contains("pillion store check"));
    assert!(value(&store, "key-0000").is_some());
    let mut batch = Batch::new();
    batch.put(Table::Users, "new", "1");
    store.submit(batch).unwrap().await.unwrap();
}

/// What a step of the model does.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    DeleteRange(u8, u8),
    Kill,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u8..20, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0_u8..20).prop_map(Step::Delete),
        2 => (0_u8..20, 0_u8..20).prop_map(|(from, to)| Step::DeleteRange(from, to)),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_is_a_map_whatever_kills_and_stops_it(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut directory = tempfile::tempdir().unwrap();
            let mut store = start_slow(directory.path()).0;
            let mut model = BTreeMap::new();
            for step in steps {
                let mut batch = Batch::new();
                match step {
                    Step::Put(key, value) => {
                        batch.put(Table::Inbox, [key], [value]);
                        model.insert(key, value);
                    }
                    Step::Delete(key) => {
                        batch.delete(Table::Inbox, [key]);
                        model.remove(&key);
                    }
                    Step::DeleteRange(from, to) => {
                        batch.delete_range(Table::Inbox, &Span::between([from], [to]));
                        model.retain(|key, _| *key < from || *key >= to);
                    }
                    Step::Kill => {
                        directory = killed(directory.path());
                        store = start_slow(directory.path()).0;
                        assert!(!store.is_clean_start());
                    }
                    Step::Stop => {
                        store.close().await.unwrap();
                        store = start_slow(directory.path()).0;
                        assert!(store.is_clean_start());
                    }
                }
                store.submit(batch).unwrap().await.unwrap();
                let found = store.range(Table::Inbox, &Span::all(), Direction::Up, ALL).unwrap().entries;
                let expected: Vec<_> = model.iter().map(|(key, value)| (vec![*key], vec![*value])).collect();
                assert_eq!(found, expected);
                let bytes = model.len() as u64 * 18;
                assert_eq!((store.stats().entries, store.stats().stored_bytes), (model.len() as u64, bytes));
            }
        });
    }
}
