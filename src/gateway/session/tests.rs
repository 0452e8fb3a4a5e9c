use super::*;
use crate::config::Namespace;
use crate::config::Publish;
use crate::config::Subscribe;
use crate::gateway::throttle::Rates;
use crate::gateway::throttle::Throttle;
use crate::ids::BootId;
use crate::ids::SessionIds;
use bytes::Bytes;
use std::time::Duration;

struct Client {
    session: Session,
    rules: Rules,
    throttle: Throttle,
    rates: Rates,
}

impl Client {
    fn new(form: Form) -> Self {
        let rules =
            |name, subscribe| Namespace { subscribe, publish: Publish::Members, ..Namespace::named(name) };
        let (open, closed) = (rules("open", Subscribe::Anyone), rules("", Subscribe::Token));
        let id = SessionIds::new("n", BootId::new(1)).next(0);
        Self {
            session: Session::new(id, form),
            rules: Rules::new(&[open, closed], 255, 4, false),
            throttle: Throttle::new(&Arc::default()),
            rates: Rates::default(),
        }
    }

    /// Runs one step of the session and writes its effects down, one line each.
    fn step(&mut self, act: impl FnOnce(&mut Session, &World<'_>, &mut Vec<Effect>)) -> Vec<String> {
        let pace = Pace { throttle: &self.throttle, rates: &self.rates, now: Duration::ZERO };
        let world = World { rules: &self.rules, node: "n", ping_seconds: 25, unix: 1000, pace };
        let mut effects = Vec::new();
        act(&mut self.session, &world, &mut effects);
        effects.iter().map(written).collect()
    }

    fn send(&mut self, text: &str) -> Vec<String> {
        self.step(|session, world, effects| session.receive(Input::Text(text), world, effects))
    }

    fn login(&mut self, outcome: Result<Identity, Refusal>) -> Vec<String> {
        self.step(|session, world, effects| session.login(outcome, world, effects))
    }
}

fn identity(user: &str, rooms: &[&str]) -> Identity {
    let rooms = rooms.iter().map(ToString::to_string).collect();
    Identity { user: user.into(), rooms, expires: Some(1060), ..Identity::default() }
}

fn written(effect: &Effect) -> String {
    let payload =
        |frame: &Bytes| String::from_utf8_lossy(&frame[if frame[1] < 126 { 2 } else { 4 }..]).to_string();
    match effect {
        Effect::Send(frame) => format!("send {}", payload(frame)),
        Effect::Login(credentials) => format!("login {:?}", credentials.token),
        Effect::Enter { rooms, greeting } => {
            let rooms: Vec<&str> = rooms.iter().map(|entrance| entrance.room.as_str()).collect();
            let command = match greeting {
                Greeting::Connected(connected) => connected.command.to_string(),
                Greeting::None | Greeting::Frame(_) => String::new(),
            };
            format!("enter {rooms:?} greeting {command}")
        }
        Effect::Join { entrance, welcome } => {
            let since = entrance.since.map(|since| format!(" since {}", since.offset)).unwrap_or_default();
            format!("join {}{since} {welcome:?}", entrance.room)
        }
        Effect::Leave { room, notice } => {
            let notice =
                notice.as_ref().map(|notice| format!(" {}", payload(&notice.bytes))).unwrap_or_default();
            format!("leave {room}{notice}")
        }
        Effect::Publish { room, payload, command } => {
            format!("publish {room} {} {command:?}", payload.json())
        }
        Effect::Ask { room, question, command } => format!("ask {room} {question:?} {command}"),
        Effect::Refresh(credentials) => format!("refresh {:?}", credentials.token),
        Effect::Renewed => "renewed".to_owned(),
        Effect::Vouch(vouching) => format!("vouch {} {}", vouching.entrance.room, vouching.token),
        Effect::Accept(operations) => format!("accept {operations:?}"),
        Effect::Count { room, heartbeat } => format!("count {room:?} {heartbeat:?}"),
        Effect::Read { room, message, reply } => format!("read {room:?} {message} {reply:?}"),
        Effect::Call { call, command } => format!("call {call:?} {command}"),
        Effect::Refused(why) => format!("refused {why}"),
        Effect::Close(reason) => format!("close {}", reason.detail()),
    }
}

#[test]
fn commands_that_come_during_the_login_wait_for_it() {
    let mut client = Client::new(Form::Json);
    let effects = client
        .send("{\"id\":1,\"connect\":{\"token\":\"t\"}}\n{\"id\":2,\"subscribe\":{\"channel\":\"open:1\"}}");
    assert_eq!(effects, ["login Some(\"t\")"]);
    let effects = client.login(Ok(identity("u", &["r1"])));
    assert_eq!(effects, ["enter [\"r1\"] greeting 1", "join open:1 Subscribed(2)"]);
}

#[test]
fn what_comes_during_the_login_has_a_limit() {
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    let long = format!(r#"{{"id":2,"publish":{{"channel":"r","data":"{}"}}}}"#, "x".repeat(40_000));
    assert_eq!(client.send(&long), [""; 0]);
    assert_eq!(client.send(&long), ["close bad request: more than 65536 bytes before the login is done"]);
}

#[test]
fn a_login_that_names_too_many_rooms_is_refused_with_the_limit() {
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    assert_eq!(
        client.login(Ok(identity("u", &["1", "2", "3", "4", "5"]))),
        ["close invalid token: it names 5 rooms, and limits.rooms_per_session is 4"]
    );
}

#[test]
fn a_member_publishes_and_others_are_told_to_join() {
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{}}"#);
    client.login(Ok(identity("u", &["r1"])));
    let publish = |room: &str| format!(r#"{{"id":2,"publish":{{"channel":"{room}","data":{{"a":1}}}}}}"#);
    assert_eq!(client.send(&publish("r1")), [r#"publish r1 {"a":1} Some(2)"#]);
    let refused = client.send(&publish("r2"));
    assert!(refused[0].starts_with(r#"send {"id":2,"error":{"code":103,"#), "{refused:?}");
    assert_eq!(refused[1], "refused join the room \"r2\" first");
    assert_eq!(
        client.send(r#"{"id":3,"unsubscribe":{"channel":"r1"}}"#),
        ["leave r1", "send {\"id\":3,\"unsubscribe\":{}}"]
    );
    assert_eq!(client.send(&publish("r1"))[1], "refused join the room \"r1\" first");
}

#[test]
fn what_breaks_the_order_ends_the_session_with_the_reason() {
    let cases = [
        (r#"{"id":1,"publish":{"channel":"r","data":1}}"#, "the first command must be connect"),
        ("nonsense", "line 1 is no JSON object: expected ident at line 1 column 2"),
    ];
    for (frame, why) in cases {
        let effects = Client::new(Form::Json).send(frame);
        assert_eq!(effects, [format!("close bad request: {why}")]);
    }
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{}}"#);
    client.login(Ok(identity("u", &[])));
    assert_eq!(client.send(r#"{"id":2,"connect":{}}"#), ["close bad request: connect a second time"]);
}

#[test]
fn unknown_commands_are_answered_and_disturb_nothing() {
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{}}"#);
    client.login(Ok(identity("u", &[])));
    let replies = client
        .send("{\"id\":2,\"fly\":{}}\n{\"id\":3,\"history\":{\"channel\":\"r\"}}\n{\"id\":5,\"rpc\":{\"method\":\"x\"}}\n{\"id\":4,\"ping\":{}}");
    assert_eq!(
        replies,
        [
            r#"send {"id":2,"error":{"code":104,"message":"method not found"}}"#,
            r#"send {"id":3,"error":{"code":103,"message":"permission denied: join the room \"r\" first"}}"#,
            r#"refused join the room "r" first"#,
            r#"send {"id":5,"error":{"code":104,"message":"method not found: no rpc method is called \"x\""}}"#,
            r#"send {"id":4,"ping":{}}"#,
        ]
    );
}

#[test]
fn an_expired_token_is_answered_so_that_the_client_renews_it() {
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{"token":"old"}}"#);
    assert_eq!(
        client.login(Err(Refusal::Expired)),
        [r#"send {"id":1,"error":{"code":109,"message":"token expired"}}"#]
    );
    assert_eq!(client.send(r#"{"id":2,"connect":{"token":"new"}}"#), ["login Some(\"new\")"]);
}

#[test]
fn a_renewed_token_must_name_the_same_user() {
    let mut client = Client::new(Form::Json);
    client.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    client.login(Ok(identity("u", &[])));
    assert_eq!(client.send(r#"{"id":2,"refresh":{"token":"t2"}}"#), ["refresh Some(\"t2\")"]);
    let renewed = client.step(|s, world, effects| s.refreshed(Ok(identity("u", &[])), world, effects));
    assert!(renewed[0].contains(r#""ttl":60"#), "{renewed:?}");
    client.send(r#"{"id":3,"refresh":{"token":"t3"}}"#);
    let other = client.step(|s, world, effects| s.refreshed(Ok(identity("x", &[])), world, effects));
    assert_eq!(other, ["close invalid token: the new token names another user"]);
}

#[test]
fn the_push_dialect_logs_in_from_the_address_and_echoes_heartbeats() {
    let mut client = Client::new(Form::Text);
    let credentials = Credentials { token: Some("t".into()), ..Credentials::default() };
    let login = client.step(|session, _, effects| session.start(credentials, effects));
    assert_eq!(login, ["login Some(\"t\")"]);
    assert_eq!(client.login(Ok(identity("u", &["r1"]))), ["enter [\"r1\"] greeting "]);
    assert_eq!(client.send("ping"), ["send ping"]);
    assert_eq!(client.send("a longer text"), [""; 0]);
    assert_eq!(client.send(r#"{"cid":"r1","d":"aGk="}"#), ["publish r1 \"hi\" None"]);
    assert_eq!(client.send(r#"{"cid":"r2","d":"aGk="}"#), ["refused join the room \"r2\" first"]);
}

#[test]
fn the_push_dialect_ends_without_token_and_on_binary() {
    let mut client = Client::new(Form::Text);
    let start = client.step(|session, _, effects| session.start(Credentials::default(), effects));
    assert_eq!(start, ["close token missing"]);
    let binary = client.step(|session, world, effects| session.receive(Input::Binary(&[1]), world, effects));
    assert_eq!(binary, ["close bad request: a binary frame; this dialect speaks text"]);
}

#[test]
fn who_does_too_much_is_told_when_to_try_again() {
    let mut client = Client::new(Form::Json);
    let limits = crate::config::Limits {
        join_rate: Some(crate::units::rate("1/m").unwrap()),
        publish_rate: Some(crate::units::rate("1/s burst 2").unwrap()),
        connect_rate_user: Some(crate::units::rate("1/h").unwrap()),
        ..crate::config::Config::default().limits
    };
    client.rates = Rates::new(&limits);
    client.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    client.login(Ok(identity("u1", &["a"])));
    let publish = r#"{"id":2,"publish":{"channel":"a","data":1}}"#;
    let answers = [client.send(publish), client.send(publish), client.send(publish)];
    assert!(!answers[1][0].contains("111"), "{answers:?}");
    assert!(
        answers[2][0].contains("\"code\":111") && answers[2][0].contains("try again in 1 s"),
        "{answers:?}"
    );
    assert!(!client.send(r#"{"id":3,"subscribe":{"channel":"open:1"}}"#)[0].contains("111"));
    let again = client.send(r#"{"id":4,"subscribe":{"channel":"open:2"}}"#);
    assert!(again[0].contains("\"code\":111") && again[0].contains("try again in 60 s"), "{again:?}");
    assert_eq!(client.session.rooms(), ["a", "open:1"]);
    let second = Client::new(Form::Json);
    let mut second = Client { throttle: client.throttle, rates: client.rates, ..second };
    second.send(r#"{"id":1,"connect":{"token":"t"}}"#);
    let refused = second.login(Ok(identity("u1", &["a"])));
    assert!(refused[0].starts_with("close too many") && refused[0].contains("3600"), "{refused:?}");
}

#[test]
fn a_client_that_only_listens_says_with_its_login_where_it_was() {
    let mut client = Client::new(Form::UniEvents);
    let login = br#"{"token":"t","subs":{"lobby":{"recover":true,"offset":3,"epoch":"a"},"other":{}}}"#;
    let login = crate::wire::centrifuge::Encoding::connect(login).unwrap();
    let effects = client.step(|session, world, effects| session.connect(login, world, effects));
    assert_eq!(effects, ["login Some(\"t\")"]);
    let effects = client.login(Ok(identity("u", &["lobby"])));
    assert_eq!(effects, ["enter [\"lobby\"] greeting 0"]);
    let refused = client.send("{\"id\":1,\"ping\":{}}");
    assert_eq!(refused, ["close bad request: commands, on a connection without"]);
}

#[test]
fn a_client_that_only_listens_can_not_renew_its_token_and_is_told_to_come_back() {
    let mut client = Client::new(Form::UniLines);
    client.step(|session, world, effects| session.connect(Connect::default(), world, effects));
    assert_eq!(client.login(Err(Refusal::Expired)), ["close connection expired"]);
}
