use super::*;
use crate::ids::MessageIds;
use crate::store::Batch;
use crate::store::Key;
use crate::store::Table;
use crate::store::Ticket;

const DAY: u64 = 86_400_000;
const NOW: u64 = 1_795_217_939_404;

struct House {
    chat: Chat,
    store: Store,
    metrics: Arc<Metrics>,
    _directory: tempfile::TempDir,
}

fn house(change: impl FnOnce(&mut config::Chat)) -> House {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store::open(&directory.path().join("store"), store::Options::default()).unwrap();
    let mut config = config::Config::default().chat;
    change(&mut config);
    let metrics = Arc::new(Metrics::new());
    let uploads = directory.path().join("uploads");
    let chat = build(&config, ("n", &uploads), store.clone(), Arc::clone(&metrics)).unwrap();
    House { chat, store, metrics, _directory: directory }
}

impl House {
    /// Waits until everything that was handed in is in the store.
    async fn settle(&self) {
        let mut batch = Batch::new();
        batch.put(Table::Bans, b"settle", b"");
        self.store.submit(batch).unwrap().await.unwrap();
    }

    fn enter(&self, shop: &str, customer: &str, unix_ms: u64) -> String {
        let room = self.chat.open_room(shop, customer, unix_ms).unwrap();
        let profile = Profile {
            user: customer.to_owned(),
            room: room.clone(),
            nickname: format!("name of {customer}"),
            ..Profile::default()
        };
        self.chat.login(&profile, unix_ms).unwrap();
        room
    }

    fn index(&self, room: &str, id: MessageId, user: &str) -> Ticket {
        let mut batch = Batch::new();
        let value = serde_json::json!({ "o": 1, "u": user }).to_string();
        batch.put(Table::Messages, Key::new().text(room).number(id.number()), value.as_bytes());
        self.store.submit(batch).unwrap()
    }

    async fn customers(&self, shop: &str) -> Vec<String> {
        self.settle().await;
        self.chat.customers(shop, 100).unwrap().into_iter().map(|customer| customer.id).collect()
    }

    fn removed(&self, what: &str) -> bool {
        self.metrics.render().contains(&format!("pillion_chat_removed_total{{kind=\"{what}\"}}"))
    }
}

#[tokio::test]
async fn a_read_offset_never_goes_back_even_when_acks_are_not_written_yet() {
    let house = house(|_| {});
    let ids = MessageIds::new("n");
    let [first, second, third] = [NOW, NOW + 1, NOW + 2].map(|ms| ids.next(ms));
    assert!(house.chat.ack("u", "r", second, NOW).unwrap());
    assert!(!house.chat.ack("u", "r", first, NOW).unwrap(), "an older one does not move it back");
    assert!(!house.chat.ack("u", "r", second, NOW).unwrap());
    assert_eq!(house.chat.read("u", "r").unwrap(), Some(second));
    house.settle().await;
    assert!(!house.chat.ack("u", "r", first, NOW).unwrap());
    assert!(house.chat.ack("u", "r", third, NOW).unwrap());
    assert_eq!(house.chat.read("u", "r").unwrap(), Some(third));
    assert_eq!(house.chat.read("v", "r").unwrap(), None);
}

#[tokio::test]
async fn nobody_reads_ahead_of_time() {
    let house = house(|_| {});
    for future in [MessageId::from_number(u64::MAX), MessageIds::new("n").next(NOW + DAY)] {
        assert!(!house.chat.ack("u", "r", future, NOW).unwrap());
    }
    assert_eq!(house.chat.read("u", "r").unwrap(), None);
}

#[tokio::test]
async fn acks_from_many_threads_leave_the_highest() {
    let house = house(|_| {});
    let ids = MessageIds::new("n");
    let ids: Vec<MessageId> = (0..200).map(|n| ids.next(NOW + n)).collect();
    let moved: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|part| {
                let (chat, ids) = (&house.chat, &ids);
                scope.spawn(move || {
                    ids.iter()
                        .skip(part)
                        .step_by(4)
                        .filter(|id| chat.ack("u", "r", **id, NOW).unwrap())
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(moved >= 1);
    assert_eq!(house.chat.read("u", "r").unwrap(), ids.last().copied());
    house.settle().await;
    assert_eq!(house.chat.read("u", "r").unwrap(), ids.last().copied());
}

#[tokio::test]
async fn unread_counts_exactly_what_others_wrote() {
    let house = house(|_| {});
    let ids = MessageIds::new("n");
    let ids: Vec<MessageId> = (0..5).map(|n| ids.next(NOW + n)).collect();
    for (id, user) in ids.iter().zip(["8000", "u", "8000", "8000", "u"]) {
        house.index("r", *id, user).await.unwrap();
        house.index("r2", *id, "8000").await.unwrap();
    }
    let unread = |count| Unread { count, more: false };
    assert_eq!(house.chat.unread("u", "r").unwrap(), unread(3), "all three, where the original says two");
    house.chat.ack("u", "r", ids[2], NOW).unwrap();
    assert_eq!(house.chat.unread("u", "r").unwrap(), unread(1));
    assert_eq!(house.chat.unread("8000", "r").unwrap(), unread(2));
    house.chat.ack("u", "r", ids[4], NOW).unwrap();
    assert_eq!(house.chat.unread("u", "r").unwrap(), unread(0));
    assert_eq!(last(&house.store, "r").unwrap(), Some(ids[4]));
    assert_eq!(last(&house.store, "empty").unwrap(), None);
}

#[tokio::test]
async fn beyond_the_bound_it_is_said_that_there_are_more() {
    let house = house(|_| {});
    let mut batch = Batch::new();
    for n in 0..=UNREAD_MAX as u64 {
        batch.put(Table::Messages, Key::new().text("r").number(n + 1), br#"{"o":1,"u":"v"}"#);
    }
    house.store.submit(batch).unwrap().await.unwrap();
    assert_eq!(house.chat.unread("u", "r").unwrap(), Unread { count: UNREAD_MAX, more: true });
    house.chat.ack("u", "r", MessageId::from_number(1), NOW).unwrap();
    assert_eq!(house.chat.unread("u", "r").unwrap(), Unread { count: UNREAD_MAX, more: false });
}

#[tokio::test]
async fn customers_come_in_the_order_of_their_last_activity_and_each_once() {
    let house = house(|_| {});
    let room = house.enter("8000", "1", NOW);
    house.enter("8000", "2", NOW + 2_000);
    house.enter("8001", "3", NOW + 3_000);
    assert_eq!(house.customers("8000").await, ["2", "1"]);
    house.chat.said("1", &room, NOW + 4_000, Duration::ZERO).unwrap();
    house.chat.said("1", &room, NOW + 6_000, Duration::ZERO).unwrap();
    assert_eq!(house.customers("8000").await, ["1", "2"]);
    assert_eq!(house.chat.profile("1", &room).unwrap().unwrap().nickname, "name of 1");
}

#[tokio::test]
async fn staff_is_no_customer_and_gets_no_notice_of_its_own_words() {
    let house = house(|_| {});
    let room = house.enter("8000", "1", NOW);
    let staff =
        Profile { user: "8000".into(), room: room.clone(), shop_id: "1".into(), ..Profile::default() };
    house.chat.login(&staff, NOW + 5_000).unwrap();
    house.chat.said("8000", &room, NOW + 6_000, Duration::ZERO).unwrap();
    assert_eq!(house.customers("8000").await, ["1"]);
    assert_eq!(house.customers("1").await, [""; 0], "the customer does not become a shop");
    assert_eq!(house.chat.shop("1").unwrap(), None);
    assert_eq!(house.chat.next_notice("1", Duration::ZERO), None);
    assert_eq!(house.chat.next_notice("8000", Duration::ZERO), None);
    house.chat.said("1", &room, NOW + 7_000, Duration::ZERO).unwrap();
    assert_eq!(house.chat.next_notice("8000", Duration::ZERO).as_deref(), Some("1"));
}

#[tokio::test]
async fn two_pairs_never_share_a_room() {
    let house = house(|_| {});
    house.enter("1", "112", NOW);
    let error = house.chat.open_room("11", "12", NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the room live://1112 belongs to the shop 1 and its customer 112: take another mid"
    );
    assert!(house.chat.open_room("1", "112", NOW).is_ok(), "the same pair comes back");
}

#[tokio::test]
async fn a_shop_remembers_so_many_customers() {
    let house = house(|config| config.customers = 3);
    for n in 1..=6_u64 {
        house.enter("8000", &n.to_string(), NOW + n * 2_000);
        house.settle().await;
    }
    assert_eq!(house.customers("8000").await, ["6", "5", "4"]);
    assert!(house.removed("customers"));
    // The rooms of those who went are free again.
    assert!(!house.chat.is_staff("8000", &room_of("8000", "1")).unwrap());
    assert!(house.chat.is_staff("8000", &room_of("8000", "6")).unwrap());
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_forgotten_with_everything() {
    let house = house(|_| {});
    let (silent, active) = (house.enter("8000", "1", NOW), house.enter("8000", "2", NOW));
    let id = MessageIds::new("n").next(NOW);
    for (user, room) in [("1", &silent), ("2", &active)] {
        house.chat.ack(user, room, id, NOW).unwrap();
    }
    house.chat.said("2", &active, NOW + 6 * DAY, Duration::ZERO).unwrap();
    // A room with messages in it: what was read there counts.
    house.chat.ack("1", "other", id, NOW).unwrap();
    house.index("other", id, "2").await.unwrap();
    house.settle().await;
    let late = NOW + 8 * DAY;
    let mut cursor = sweep::Cursor::default();
    for _ in 0..2 {
        house.chat.sweep_rows(&mut cursor, late).unwrap();
        house.settle().await;
    }
    assert_eq!(house.chat.read("1", "other").unwrap(), Some(id));
    assert_eq!(house.chat.profile("1", &silent).unwrap(), None);
    assert_eq!(house.chat.read("1", &silent).unwrap(), None);
    assert!(house.chat.profile("2", &active).unwrap().is_some(), "its customer is active");
    assert_eq!(house.chat.read("2", &active).unwrap(), Some(id));
    assert_eq!(house.customers("8000").await, ["2"]);
    assert!(house.removed("profiles") && house.removed("read_offsets") && house.removed("customers"));
}

#[tokio::test]
async fn cleaning_goes_through_all_shops_and_all_their_customers() {
    let house = house(|_| {});
    for shop in 1..=3 {
        for customer in 0..60 {
            house.enter(&format!("80{shop}"), &format!("9{shop}{customer}"), NOW);
        }
        house.enter(&format!("80{shop}"), "7", NOW + 8 * DAY);
    }
    house.settle().await;
    assert_eq!(house.chat.clean(NOW + 9 * DAY).unwrap(), (180, false));
    assert_eq!(house.customers("802").await, ["7"]);
}

#[tokio::test]
async fn a_shop_that_was_opened_goes_when_it_has_no_customers() {
    let house = house(|_| {});
    let shop = Shop { id: "8001".into(), name: "tea".into(), ..Shop::default() };
    house.chat.open_shop(&shop, NOW).unwrap();
    assert_eq!(house.chat.shop("8001").unwrap(), Some(shop));
    assert_eq!(house.chat.shop("8000").unwrap().unwrap().name, "客服", "as configured");
    house.settle().await;
    house.chat.sweep_rows(&mut sweep::Cursor::default(), NOW + 6 * DAY).unwrap();
    assert!(house.chat.shop("8001").unwrap().is_some());
    house.chat.sweep_rows(&mut sweep::Cursor::default(), NOW + 8 * DAY).unwrap();
    assert_eq!(house.chat.shop("8001").unwrap(), None);
    assert!(house.chat.shop("8000").unwrap().is_some());
}

#[tokio::test]
async fn staff_is_whom_the_configuration_names_and_the_shop_itself() {
    let house = house(|config| config.shops[0].staff = vec!["alice".into()]);
    let room = house.enter("8000", "1", NOW);
    for (user, is_staff) in [("8000", true), ("alice", true), ("1", false), ("", false)] {
        assert_eq!(house.chat.is_staff(user, &room).unwrap(), is_staff, "{user}");
    }
    assert!(!house.chat.is_staff("8000", "elsewhere").unwrap());
}

#[tokio::test]
async fn new_visitors_are_numbered_by_day_whatever_happens() {
    let house = house(|_| {});
    assert_eq!(house.chat.new_visitor(NOW).await.unwrap(), "202611201");
    assert_eq!(house.chat.new_visitor(NOW - 2 * DAY).await.unwrap(), "202611202", "the clock went back");
    let other = Visitors::default();
    assert_eq!(other.next(&house.store, NOW).await.unwrap(), "202611203", "a restart");
    assert_eq!(other.next(&house.store, NOW + DAY).await.unwrap(), "202611211");
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0000000000";

async fn upload(house: &House, pieces: &[&[u8]], unix_ms: u64) -> Result<Upload, Error> {
    let mut temporary = house.chat.begin_upload(unix_ms).await?;
    for piece in pieces {
        temporary.write(piece).await?;
    }
    house.chat.finish_upload(temporary, "u", unix_ms).await
}

fn files(house: &House) -> usize {
    std::fs::read_dir(house._directory.path().join("uploads")).unwrap().count()
}

#[tokio::test]
async fn what_is_no_picture_leaves_nothing_behind() {
    let house = house(|config| config.upload_size = 1024);
    let script = b"<script>alert(document.cookie)</script>".as_slice();
    assert!(matches!(upload(&house, &[script], NOW).await, Err(Error::UploadKind)));
    assert!(matches!(upload(&house, &[b"<", b"svg"], NOW).await, Err(Error::UploadKind)));
    assert!(matches!(upload(&house, &[], NOW).await, Err(Error::UploadKind)));
    assert!(matches!(
        upload(&house, &[PNG, &[0; 1024]], NOW).await,
        Err(Error::UploadTooLong { most: 1024 })
    ));
    assert_eq!(files(&house), 0);
    let upload = upload(&house, &[b"\x89PN", b"G\r\n\x1a\n", b"0000000000000"], NOW).await.unwrap();
    assert!(upload.name.ends_with(".png") && upload.bytes == 21, "{upload:?}");
    assert_eq!(house.chat.open_upload(&upload.name).await.unwrap().1, upload);
    assert_eq!(files(&house), 1);
}

#[tokio::test]
async fn uploads_have_a_limit_together_and_an_age() {
    let house = house(|config| (config.upload_size, config.upload_limit) = (1024, 40));
    let mut names = Vec::new();
    for n in 0..4 {
        names.push(upload(&house, &[PNG], NOW + n * DAY).await.unwrap().name);
    }
    assert_eq!(files(&house), 2, "of 18 bytes each");
    assert!(house.chat.open_upload(&names[1]).await.is_none());
    assert!(house.chat.open_upload(&names[2]).await.is_some());
    house.chat.expire_uploads(NOW + 32 * DAY + 1).await.unwrap();
    assert!(house.chat.open_upload(&names[2]).await.is_none());
    assert!(house.chat.open_upload(&names[3]).await.is_some());
    assert!(house.removed("uploads"));
}

#[tokio::test]
async fn a_file_that_a_crash_left_without_a_row_goes_at_the_next_start() {
    let house = house(|_| {});
    let kept = upload(&house, &[PNG], NOW).await.unwrap();
    let directory = house._directory.path().join("uploads");
    for name in ["1.png", "2.part", "README"] {
        std::fs::write(directory.join(name), b"x").unwrap();
    }
    let again = build(
        &config::Config::default().chat,
        ("n", &directory),
        house.store.clone(),
        Arc::clone(&house.metrics),
    )
    .unwrap();
    assert_eq!(files(&house), 2, "what is not ours is left alone");
    assert!(again.open_upload(&kept.name).await.is_some());
}
