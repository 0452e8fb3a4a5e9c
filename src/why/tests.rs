use super::*;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

/// A record at so many seconds, with the fields that all have.
fn record(second: u64, action: &str, mut fields: Value) -> String {
    let mut record = json!({
        "@timestamp": format!("2026-11-20T23:{:02}:{:02}.000Z", second / 60, second % 60),
        "action": action,
        "boot_id": "b1",
        "log.sequence": second,
    });
    let all = record.as_object_mut().unwrap();
    all.append(fields.as_object_mut().unwrap());
    record.to_string()
}

fn of_alice(second: u64, action: &str, mut fields: Value) -> String {
    fields["session_id"] = "s1".into();
    fields["user_id"] = "alice".into();
    record(second, action, fields)
}

fn asked(who: &str, message: Option<&str>, records: &[String]) -> Answer {
    let message = message.map(str::to_owned);
    let mut case = Case::new(Question { who: who.to_owned(), token_hash: "hash".to_owned(), message });
    for record in records {
        case.take(record.as_bytes());
    }
    case.close()
}

fn check(who: &str, message: Option<&str>, records: &[String], conclusion: &[&str]) -> Answer {
    let answer = asked(who, message, records);
    assert!(answer.conclusion.starts_with(&format!("{who}: ")), "{}", answer.conclusion);
    for words in conclusion {
        assert!(answer.conclusion.contains(words), "{words} is not in: {}", answer.conclusion);
    }
    assert!(!answer.conclusion.contains('\n'));
    answer
}

fn in_room(second: u64) -> [String; 2] {
    [
        of_alice(second, "login", json!({"desc": "in 1 rooms"})),
        of_alice(second + 1, "room_manage", json!({"room_id": "r1", "desc": "in room ok."})),
    ]
}

fn published(second: u64) -> String {
    record(
        second,
        "room_msg",
        json!({"session_id": "s9", "user_id": "bob", "room_id": "r1", "msg_id": "m1", "desc": "5 bytes"}),
    )
}

fn with_room(more: &[String]) -> Vec<String> {
    in_room(0).into_iter().chain(more.iter().cloned()).collect()
}

#[test]
fn a_login_that_fails_is_found_by_token_session_and_hash() {
    let refused = record(
        1,
        "login",
        json!({"session_id": "s1", "token": "hash", "err_code": "4008", "err": "login refused: unknown token"}),
    );
    let records = [refused, of_alice(9, "drain", json!({"desc": "SIGTERM"}))];
    let words = ["login refused (code 4008): login refused: unknown token", "at 2026-11-20T23:00:01.000Z"];
    for who in ["s1", "the token itself", "hash"] {
        let answer = check(who, None, &records, &words);
        assert!(answer.found && answer.advice[0].contains("the token"), "{answer:?}");
    }
}

#[test]
fn a_client_that_could_not_connect_is_found_and_a_later_login_is_told() {
    let failed = of_alice(1, "wsconn", json!({"err_code": "4000", "err": "no login in time"}));
    check("s1", None, std::slice::from_ref(&failed), &["could not connect (code 4000): no login in time"]);
    let later = of_alice(5, "login", json!({"desc": "in 0 rooms"}));
    check("alice", None, &[failed.clone(), failed, later], &["could not connect", "a later login succeeded"]);
}

#[test]
fn messages_that_were_not_sent_are_told_with_the_reason() {
    let failed =
        json!({"err": "3 messages were not sent: slow: more than 64 bytes waiting", "send_time_delay": 2.5});
    let answer = check(
        "alice",
        None,
        &[
            of_alice(1, "memory_msg", json!({"err": "slow: more than 64 bytes waiting"})),
            of_alice(2, "msg_send", failed),
            of_alice(
                3,
                "logout",
                json!({"err": "slow", "err_code": "3008", "desc": "slow: more than 64 bytes waiting"}),
            ),
        ],
        &["messages were not sent (2 lines)", "3 messages were not sent", "logged out by slow (code 3008)"],
    );
    assert_eq!(answer.evidence.len(), 3);
    assert!(answer.advice.iter().any(|advice| advice.contains("gateway.client_queue")), "{answer:?}");
}

#[test]
fn a_dropped_session_is_told_with_its_reason_in_words() {
    let end = json!({"err": "heartbeat_timeout", "err_code": "3012", "heartbeat": 35.2, "desc": "no pong"});
    check(
        "s1",
        None,
        &with_room(&[of_alice(40, "logout", end)]),
        &[
            "logged out by heartbeat_timeout (code 3012): no pong; the client had been silent for 35.2 s",
            "the client gave no sign of life",
        ],
    );
    let goodbye =
        json!({"err": "client_closed", "err_code": "1000", "desc": "connection closed by the client"});
    check(
        "s1",
        None,
        &with_room(&[of_alice(40, "logout", goodbye)]),
        &["nothing went wrong on record; 1 login and 1 logout"],
    );
}

#[test]
fn the_longest_delay_is_told() {
    let records = with_room(&[
        of_alice(9, "msg_send", json!({"send_time_delay": 6.25, "desc": "sent late"})),
        of_alice(12, "logout", json!({"err": "client_closed", "send_time_delay": 1.5})),
    ]);
    let answer =
        check("alice", None, &records, &["messages were up to 6.2 s late, told at 2026-11-20T23:00:09"]);
    assert!(answer.evidence[2].ends_with("a message came 6.2 s after it was published"), "{answer:?}");
}

#[test]
fn redis_that_is_gone_is_told_to_whoever_asks() {
    let gone = record(3, "redis_connected_msg", json!({"err": "connection refused", "log.level": "error"}));
    let answer =
        check("alice", None, &with_room(&[gone]), &["Redis: 1 line, the last at", "connection refused"]);
    assert!(answer.advice[0].contains("whether Redis runs"));
}

#[test]
fn lost_lines_of_the_same_run_are_told_and_others_are_not() {
    let lost =
        json!({"gap.lines": 40, "gap.from_sequence": 10, "gap.to_sequence": 49, "gap.cause": "overflow"});
    let mut other = lost.clone();
    other["boot_id"] = "b0".into();
    let records = with_room(&[record(4, "log_gap", lost), record(5, "log_gap", other)]);
    let answer = check("alice", None, &records, &["40 lines of the log were lost in 1 gap"]);
    assert_eq!(answer.evidence.len(), 3);
    assert!(answer.evidence[2].contains("(overflow), between numbers 10 and 49 of run b1"), "{answer:?}");
}

#[test]
fn a_message_is_followed_to_where_it_stopped() {
    let m1 = Some("m1");
    let unsent = of_alice(12, "msg_send", json!({"err": "2 messages were not sent: connection lost"}));
    let late = of_alice(17, "msg_send", json!({"send_time_delay": 7.0, "desc": "sent late"}));
    let lost = of_alice(12, "logout", json!({"err": "peer_gone", "desc": "connection lost"}));
    let left = of_alice(5, "room_manage", json!({"room_id": "r1", "desc": "out room ok."}));
    let full = of_alice(11, "memory_msg", json!({"err": "slow: more than 64 bytes waiting"}));
    for (more, words) in [
        (
            vec![published(10), unsent],
            "it stopped in the queue of session s1: 2.0 s after it was published, 2 messages",
        ),
        (vec![published(10), full], "it stopped in the queue of session s1, which was full 1.0 s after"),
        (vec![published(10), late], "it reached session s1 late, after up to 7.0 s"),
        (vec![published(10), lost.clone()], "which ended 2.0 s later with nothing left unsent (peer_gone)"),
        (vec![published(10)], "no line tells of a failure or a delay: it was written to the connection"),
        (vec![left, published(10)], "session s1 had left the room at 2026-11-20T23:00:05.000Z"),
        (vec![lost, published(20)], "session s1 was over by then: logged out by peer_gone"),
        (vec![], "message m1: no line says that it was published"),
    ] {
        check("alice", m1, &with_room(&more), &[words]);
    }
    let elsewhere = [of_alice(0, "login", json!({"desc": "in 0 rooms"})), published(10)];
    check("alice", m1, &elsewhere, &["session s1 was not in the room"]);
    check(
        "alice",
        m1,
        &[published(10), of_alice(30, "login", json!({"desc": ""}))],
        &["had not logged in yet"],
    );
    check("alice", m1, &[published(10)], &["no line tells of a session of alice"]);
    check(
        "bob",
        m1,
        &[published(10)],
        &["bob published it at", "room r1 took it", "pillion why USER --msg m1"],
    );
}

#[test]
fn the_session_in_which_a_message_came_farthest_tells() {
    let mut records = with_room(&[]);
    let old = json!({"session_id": "s0", "user_id": "alice", "err": "peer_gone", "desc": "connection lost"});
    records.push(record(2, "logout", old));
    records.push(published(10));
    check("alice", Some("m1"), &records, &["session s1 was in the room"]);
}

#[test]
fn evidence_is_in_the_order_of_time_and_each_record_is_there_once() {
    let mut records = with_room(&[of_alice(8, "logout", json!({"err": "peer_gone"}))]);
    records.reverse();
    records.push(records[0].clone());
    let answer = asked("alice", None, &records);
    let said: Vec<_> = answer.evidence.iter().map(|line| &line[26..]).collect();
    let expected = [
        "session s1  logged in, in 1 rooms",
        "session s1  joined room r1",
        "session s1  logged out by peer_gone: the connection broke without a goodbye",
    ];
    assert_eq!(said, expected);
}

#[test]
fn the_spellings_of_the_original_are_understood() {
    let records = [
        r#"{"acction":"login","session":"s1","user_id":7,"time":1511136000,"token":"t","err_code":4008,"err":"no"}"#,
        r#"{"acction":"msg_send","sesson_id":"s1","user_id":7,"time":1511136001.5,"err":"closed"}"#,
    ];
    let answer = check(
        "7",
        None,
        &records.map(str::to_owned),
        &["login refused (code 4008): no at 1511136000", "messages were not sent (1 line)"],
    );
    assert_eq!(answer.evidence.len(), 2);
}

#[test]
fn nothing_found_says_what_was_read_and_what_to_check() {
    let answer = asked("carol", None, &with_room(&[record(9, "drain", json!({"desc": "SIGTERM"}))]));
    assert!(!answer.found);
    assert_eq!(
        answer.conclusion,
        "carol: nothing about it among 3 lines, from 2026-11-20T23:00:00.000Z to 2026-11-20T23:00:09.000Z"
    );
    assert!(answer.advice.len() >= 3);
    let gone = record(3, "redis_connected_msg", json!({"err": "connection refused"}));
    let answer = asked("carol", None, &[gone]);
    assert!(!answer.found && answer.conclusion.contains("; Redis: 1 line, the last at"), "{answer:?}");
    let answer = asked("carol", Some("m7"), &[]);
    assert_eq!(answer.conclusion, "carol: nothing about it or message m7 among 0 lines");
}

#[test]
fn a_talk_is_one_line_and_older_lines_are_left_out_aloud() {
    let talk: Vec<_> = (0..50)
        .map(|second| of_alice(second, "room_msg", json!({"room_id": "r1", "desc": "5 bytes"})))
        .collect();
    let answer = asked("alice", None, &talk);
    assert_eq!(answer.evidence.len(), 1);
    assert!(
        answer.evidence[0].ends_with("published 50 messages into room r1, the first of 5 bytes"),
        "{answer:?}"
    );
    let mut case = Case::new(Question { who: "alice".to_owned(), ..Question::default() });
    for number in 0..LINES + 3 {
        case.take(json!({"user_id": "alice", "action": "login", "time": number}).to_string().as_bytes());
    }
    let answer = case.close();
    assert_eq!(answer.evidence.len(), LINES + 1);
    assert_eq!(answer.evidence[0], "3 lines before these were left out");
}

proptest! {
    #[test]
    fn any_records_have_an_answer(
        records in proptest::collection::vec(
            ("[a-z_]{0,3}|login|logout|room_msg|msg_send|room_manage|log_gap", "[ab]?", proptest::option::of("r1|out r"), 0_u32..99),
            0..20,
        ),
        odd: Vec<u8>,
    ) {
        let mut case = Case::new(Question { who: "a".to_owned(), token_hash: String::new(), message: Some("b".to_owned()) });
        case.take(&odd);
        for (action, user, room, time) in &records {
            let record = json!({"action": action, "user_id": user, "session_id": user, "room_id": room, "desc": room,
                "msg_id": user, "time": time, "send_time_delay": time, "err": room});
            case.take(record.to_string().as_bytes());
        }
        let answer = case.close();
        prop_assert!(answer.conclusion.starts_with("a: "));
    }
}
