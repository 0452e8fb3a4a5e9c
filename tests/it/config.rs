//! Configurations as operators write them: what is accepted, and what is said about what is not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use pillion::config;
use pillion::config::AuthMode;
use pillion::config::Beats;
use pillion::config::Config;
use pillion::config::File;
use pillion::config::Format;
use pillion::config::Loaded;
use pillion::config::Mistake;
use pillion::config::Overflow;
use pillion::config::Sources;
use pillion::config::Spool;
use pillion::config::SpoolOrder;
use pillion::config::Syslog;
use pillion::config::SyslogDialect;
use pillion::config::Target;
use pillion::config::TargetOrder;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::proptest;

/// The texts of a folder of `tests/configs`, by file name.
fn folder(name: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name);
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(path).expect("the folder is part of the project") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are plain").to_owned();
        texts.insert(name, fs::read_to_string(&path).expect("it is text"));
    }
    texts
}

fn load(name: &str, text: &str) -> Result<Loaded, Vec<Mistake>> {
    let no_file = |_: &Path| Err(io::Error::new(io::ErrorKind::NotFound, "no such file"));
    let file = Some(File { name, text });
    config::load(&Sources { file, read_secret: &no_file, ..Sources::default() })
}

/// Loads a file, variables and arguments over each other.
fn layered(text: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Config, String> {
    let environment: Vec<_> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    let file = Some(File { name: "pillion.toml", text });
    let sources = Sources { file, environment: &environment, arguments: &arguments, ..Sources::default() };
    config::load(&sources).map(|loaded| loaded.config).map_err(|mistakes| lines(&mistakes))
}

fn valid(text: &str) -> Config {
    layered(text, &[], &[]).expect("the text is right")
}

fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().map(|item| format!("{}\n", item.to_string())).collect()
}

#[test]
fn every_mistake_gets_its_message() {
    let texts = folder("invalid");
    let files: Vec<_> = texts.iter().filter(|(name, _)| name.ends_with(".toml")).collect();
    for (name, text) in &files {
        let said = load(name, text).map(|loaded| loaded.notices).expect_err(name);
        let expected = name.replace(".toml", ".txt");
        assert_eq!(lines(&said), texts.get(&expected).map_or("", String::as_str), "{name} and {expected}");
    }
    assert_eq!(files.len(), 69);
    assert_eq!(texts.len(), 2 * files.len(), "each has its messages beside it");
}

#[test]
fn every_valid_file_is_accepted_with_its_notices() {
    let texts = folder("valid");
    let files: Vec<_> = texts.iter().filter(|(name, _)| name.ends_with(".toml")).collect();
    for (name, text) in &files {
        let notices = load(name, text).map(|loaded| loaded.notices).map_err(|mistakes| lines(&mistakes));
        let expected = name.replace(".toml", ".txt");
        let expected = texts.get(&expected).cloned().unwrap_or_default();
        assert_eq!(notices.map(|notices| lines(&notices)), Ok(expected), "{name}");
    }
    assert_eq!(files.len(), 12);
}

#[test]
fn the_defaults_have_no_mistake_and_no_notice() {
    let loaded = load("empty.toml", "").expect("the defaults are right");
    assert_eq!(loaded.notices, Vec::<String>::new());
    assert_eq!(loaded.config, Config::default());
    let config = loaded.config;
    assert_eq!(config.node, "localhost");
    assert_eq!(config.listen.socket_mode, 0o660);
    assert_eq!((config.logger.flush_limit, config.logger.drop_limit), (4096, 64 << 20));
    assert_eq!(config.logger.timeout, Duration::from_secs(1));
    assert_eq!(config.logger.max_retry_times, Some(3));
    assert_eq!(config.logger.periodic_flush, Some(Duration::from_secs(1)));
    assert_eq!(config.logger.replay_tail, 8 << 20);
    assert_eq!(config.logger.tls, None);
    assert_eq!(config.gateway.routes.len(), 10);
    assert_eq!(config.auth.mode, AuthMode::None);
}

#[test]
fn a_copy_of_the_manual_changes_nothing() {
    let loaded = load("default.toml", config::DEFAULTS).expect("the manual has no mistake");
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.notices.len(), 2, "{}", lines(&loaded.notices));
    assert!(loaded.notices.iter().all(|notice| notice.contains("without effect")));
}

#[test]
fn variables_lie_over_the_file_and_arguments_over_both() {
    let text = "[logger]\nflush_limit = 1\ntimeout = 1\ndrop_limit = \"1m\"";
    let variables =
        [("PILLION_LOGGER__FLUSH_LIMIT", "2"), ("PILLION_LOGGER__TIMEOUT", "2"), ("HOME", "/root")];
    let config =
        layered(text, &variables, &["logger.flush_limit=3", "logger.flush_limit=4"]).expect("it is right");
    assert_eq!(config.logger.flush_limit, 4);
    assert_eq!(config.logger.timeout, Duration::from_millis(2));
    assert_eq!(config.logger.drop_limit, 1 << 20);
}

#[test]
fn values_outside_a_file_need_no_quotes() {
    let variables = [
        ("PILLION_NODE", "7"),
        ("PILLION_LISTEN__TRUSTED", "[\"unix\", \"10.0.0.1\"]"),
        ("PILLION_AUTH__JWT_SECRET", "01234567890123456789012345678901"),
    ];
    let arguments =
        ["log.level=debug", "logger.drop_limit=1GiB", "logger.periodic_flush=0.5", "auth.mode = jwt"];
    let config = layered("", &variables, &arguments).expect("it is right");
    assert_eq!(config.node, "7");
    assert!(config.listen.trusted.unix);
    let address: IpAddr = [10, 0, 0, 1].into();
    assert!(
        config
            .listen
            .trusted
            .networks
            .iter()
            .all(|network| network.contains(&address) && network.prefix_len() == 32)
    );
    assert_eq!(config.auth.jwt_secret.map(|secret| secret.expose().len()), Some(32));
    assert_eq!(config.logger.periodic_flush, Some(Duration::from_millis(500)));
    assert_eq!(config.logger.drop_limit, 1 << 30);
}

#[test]
fn mistakes_outside_a_file_name_the_variable_or_the_argument() {
    let variables = [
        ("PILLION_LOGGER__FLSH_LIMIT", "1"),
        ("PILLION_LOGGER_FLUSH_LIMIT", "1"),
        ("PILLION_LOGGER__DROP_LIMIT", "64kB"),
        ("PILLION_FLUSH_LIMIT", "1"),
        ("PILLION_SERVICE_HOST", "10.0.0.1"),
        ("PILLION_ELEPHANT", "1"),
    ];
    let arguments = [
        "drop_limit=1m",
        "loger.port=1",
        "log.level",
        "log.level=loud",
        "listen.public=[\"tcp:1",
        "limits.frame=\"1",
    ];
    let expected = "\
PILLION_LOGGER__FLSH_LIMIT: unknown key; did you mean PILLION_LOGGER__FLUSH_LIMIT?
PILLION_LOGGER_FLUSH_LIMIT: unknown key; did you mean PILLION_LOGGER__FLUSH_LIMIT?
PILLION_FLUSH_LIMIT: unknown key; did you mean PILLION_LOGGER__FLUSH_LIMIT?
PILLION_SERVICE_HOST: unknown key; Kubernetes sets it for a service called pillion, unless the pod says enableServiceLinks: false
PILLION_ELEPHANT: unknown key; \"pillion defaults\" prints all that there is
PILLION_LOGGER__DROP_LIMIT: \"64kB\" is ambiguous, since kB may mean 1000 or 1024; write \"64KiB\"
--set drop_limit: unknown key; did you mean logger.drop_limit?
--set loger.port: unknown key; did you mean logger.port?
--set log.level: a key and a value are needed; write --set log.level=VALUE
--set listen.public: unclosed array, expected `]`; the value is written as in a file
--set limits.frame: invalid basic string, expected `\"`; the value is written as in a file
--set log.level: \"loud\" is not known; write one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"
";
    assert_eq!(layered("", &variables, &arguments), Err(expected.to_owned()));
}

#[test]
fn a_broken_file_does_not_hide_mistakes_elsewhere() {
    let said = layered("node = [\n", &[("PILLION_LOGGER__PORT", "x")], &["logger.timeout=0"]);
    let expected = "\
pillion.toml:1:9: unclosed array, expected `]`
PILLION_LOGGER__PORT: \"x\" is text, a whole number is needed; write port = 5170
--set logger.timeout: 0 would leave no time to connect and write; the default is \"1s\"
";
    assert_eq!(said, Err(expected.to_owned()));
}

#[test]
fn the_node_takes_the_host_name_if_it_has_none() {
    let from = |host_name| config::load(&Sources { host_name, ..Sources::default() });
    assert_eq!(from("web_1.example.org").expect("it is mended").config.node, "web-1.example.org");
    let said = lines(&from("").expect_err("nobody knows a name"));
    assert_eq!(
        said,
        "built-in defaults: node: this machine has no host name to take; write node = \"a-name\"\n"
    );
    let long = "a".repeat(65);
    assert!(lines(&from(&long).expect_err("it is too long")).contains("longer than 64 bytes"));
    assert!(layered("", &[], &[&format!("node={}", "a".repeat(64))]).is_ok());
}

#[test]
fn the_secret_comes_from_its_file_without_the_newline() {
    let text = "[auth]\nmode = \"jwt\"\njwt_secret_file = \"/etc/pillion/jwt\"";
    let from = |content: &'static str| {
        let read_secret = move |path: &Path| {
            assert_eq!(path, Path::new("/etc/pillion/jwt"));
            Ok(content.to_owned())
        };
        let file = Some(File { name: "pillion.toml", text });
        config::load(&Sources { file, read_secret: &read_secret, ..Sources::default() })
    };
    let config = from("0123456789abcdef0123456789abcdef\n").expect("it is long enough").config;
    assert_eq!(config.auth.jwt_secret.map(|secret| secret.expose().len()), Some(32));
    assert!(
        lines(&from("short\n").expect_err("it is too short"))
            .starts_with("pillion.toml:3: auth.jwt_secret_file: the secret has 5 bytes")
    );
    assert!(lines(&from("\n").expect_err("it is empty")).contains("/etc/pillion/jwt is empty"));
}

#[test]
fn no_message_shows_a_secret() {
    for value in ["swordfish", "\"swordfish\"", "['swordfish']", "\"swordfish", "swordfish'", "“swordfish”"]
    {
        let said = layered(&format!("[auth]\nmode = \"jwt\"\njwt_secret = {value}\n"), &[], &[]);
        let said = said.expect_err("it is too short at best");
        assert!(said.contains("jwt_secret") && !said.contains("swordfish"), "{said}");
    }
}

#[test]
fn the_target_is_a_path_if_there_is_one() {
    let target = |text: &str| valid(&format!("[logger]\n{text}")).logger.target;
    assert!(matches!(target(""), Target::Tcp(address) if address.to_string() == "127.0.0.1:5170"));
    assert!(
        matches!(target("sock_type = \"udp\"\nhost = \"::1\""), Target::Udp(address) if address.to_string() == "[::1]:5170")
    );
    assert_eq!(target("path = \"/run/a\""), Target::Unix(PathBuf::from("/run/a")));
    assert_eq!(target("path = \"/run/a\"\nsock_type = \"udp\""), Target::Unixgram(PathBuf::from("/run/a")));
    assert_eq!(target("path = \"/run/a\"\nhost = \"\"\nport = 7"), Target::Unix(PathBuf::from("/run/a")));
}

#[test]
fn targets_take_the_place_of_the_target_and_need_no_host() {
    let text = "[logger]\nhost = \"\"\ntargets = [\"tcp:a:1\", \"unix:/run/b\"]";
    let logger = valid(text).logger;
    assert!(matches!(logger.target, Target::Tcp(address) if address.to_string() == "a:1"));
    assert_eq!(logger.alternatives, [Target::Unix(PathBuf::from("/run/b"))]);
    assert_eq!((logger.target_order, logger.max_connection_age), (TargetOrder::Failover, None));
}

#[test]
fn balanced_targets_take_turns_unless_that_is_off() {
    let age = |text: &str| {
        let text =
            format!("[logger]\ntargets = [\"tcp:a:1\", \"tcp:b:1\"]\ntarget_order = \"balanced\"\n{text}");
        valid(&text).logger.max_connection_age
    };
    assert_eq!(age(""), Some(Duration::from_secs(300)));
    assert_eq!(age("max_connection_age = 7"), Some(Duration::from_secs(7)));
    assert_eq!(age("max_connection_age = \"off\""), None);
}

#[test]
fn each_format_takes_its_own_keys() {
    let format = |text: &str| valid(&format!("node = \"n\"\n[logger]\n{text}")).logger.format;
    assert_eq!(format(""), Format::Ndjson);
    let beats = Beats { compression: 3, ack_timeout: Duration::from_secs(60) };
    assert_eq!(format("format = \"beats\"\ncompression = 3\nack_timeout = 60"), Format::Beats(beats));
    let syslog = Syslog {
        dialect: SyslogDialect::Rfc5424,
        facility: 3,
        host: "n".to_owned(),
        tag: "edge".to_owned(),
        octet_counting: true,
    };
    let text =
        "format = \"syslog5424\"\nsyslog_facility = \"daemon\"\nsyslog_tag = \"edge\"\noctet_counting = true";
    assert_eq!(format(text), Format::Syslog(syslog));
}

#[test]
fn what_happens_to_lines_that_do_not_fit_is_a_choice() {
    let logger = |text: &str| valid(&format!("[logger]\n{text}")).logger;
    assert_eq!(logger("").overflow, Overflow::DropNewest);
    assert_eq!((logger("").shed_limit, logger("").ready_max_age), (None, Some(Duration::from_secs(300))));
    assert_eq!(logger("overflow = \"drop_oldest\"").overflow, Overflow::DropOldest);
    let spools = logger("overflow = \"spool\"\nspool_limit = \"16MiB\"\nspool_order = \"errors_first\"");
    let spool = Spool { limit: 16 << 20, interval: Duration::from_secs(2), order: SpoolOrder::ErrorsFirst };
    assert_eq!((spools.overflow, spools.spool), (Overflow::Spool, spool));
    let off = logger("shed_limit = \"1MiB\"\nready_max_age = \"off\"");
    assert_eq!((off.shed_limit, off.ready_max_age), (Some(1 << 20), None));
}

#[test]
fn keys_of_the_original_keep_their_units() {
    let text = "[logger]\ntimeout = 1500\nretry_interval = 60000\nperiodic_flush = 2\nmax_retry_times = -1\nflush_limit = 0";
    let logger = valid(text).logger;
    assert_eq!(logger.timeout, Duration::from_millis(1500));
    assert_eq!(logger.retry_interval, Duration::from_secs(60));
    assert_eq!(logger.retry_max_interval, Duration::from_secs(60), "it follows");
    assert_eq!(logger.periodic_flush, Some(Duration::from_secs(2)));
    assert_eq!(logger.max_retry_times, None);
    assert_eq!(logger.flush_limit, 0);
    assert_eq!(valid("[logger]\nperiodic_flush = false").logger.periodic_flush, None);
}

#[test]
fn flush_limit_and_drop_limit_are_compared_with_their_defaults() {
    assert!(
        layered("[logger]\ndrop_limit = 4096", &[], &[])
            .is_err_and(|said| said.contains("\"flush_limit\" should be < \"drop_limit\""))
    );
    let logger = valid("[logger]\ndrop_limit = 4097").logger;
    assert_eq!((logger.drop_limit, logger.max_line), (4097, 4097), "a smaller drop_limit lowers max_line");
}

#[test]
fn the_replay_tail_can_be_off_and_follows_a_longer_line() {
    let tail = |text: &str| valid(&format!("[logger]\n{text}")).logger.replay_tail;
    assert_eq!([tail("replay_tail = 0"), tail("replay_tail = \"off\""), tail("replay_tail = false")], [0; 3]);
    assert_eq!(tail("max_line = \"16MiB\""), 16 << 20);
    assert_eq!(tail("replay_tail = \"2MiB\""), 2 << 20);
}

#[test]
fn routes_of_a_file_replace_the_defaults_and_namespaces_keep_the_empty_name_and_that_of_chats() {
    let text = "[[gateway.route]]\npath = \"/sub\"\ndialect = \"centrifuge\"\n[[gateway.namespace]]\nname = \"chat\"";
    let gateway = valid(text).gateway;
    let paths: Vec<_> = gateway.routes.iter().map(|route| route.path.as_str()).collect();
    let names: Vec<_> = gateway.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!((paths, names), (vec!["/sub"], vec!["chat", "", "live"]));
    assert!(valid("[gateway]\nroute = []").gateway.routes.is_empty());
}

#[test]
fn a_route_with_its_own_auth_needs_what_that_needs() {
    let text = "[[gateway.route]]\npath = \"/sub\"\ndialect = \"centrifuge\"\nauth = \"api\"\n";
    let said = layered(text, &[], &[]).expect_err("there is no URL");
    assert_eq!(
        said,
        "pillion.toml:1: gateway.route: a route with auth = \"api\" needs \"api_url\", to ask it who a client is; write api_url = \"http://...\" under [auth]\n"
    );
    assert!(layered(text, &[], &["auth.api_url=https://example.org/login"]).is_ok());
}

#[test]
fn a_short_secret_is_for_trials() {
    let arguments = ["auth.mode=jwt", "auth.jwt_secret=short", "auth.insecure=true"];
    assert!(layered("", &[], &arguments).is_ok());
    assert!(layered("", &[], &arguments[..2]).is_err());
}

#[test]
fn strange_files_are_read_or_refused_and_never_crash() {
    assert!(layered("\u{feff}node = \"a\"\r\n[log]\r\nlevel = \"warn\"\r\n", &[], &[]).is_ok());
    let broken = "]\n".repeat(500);
    assert!(layered(&broken, &[], &[]).is_err());
    for text in [
        "=",
        "[",
        "[[",
        "\"",
        "'''",
        "a = {",
        "a = [[[[",
        "[a.b.c]",
        "\0",
        "é = \"é",
        "x = \"\"\"\né",
        "[logger]\n=\n[log]\nlevel = {a",
    ] {
        assert!(layered(text, &[], &[]).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// A slip of the hand in a good file gives a configuration or one-line mistakes, and nothing else.
    #[test]
    fn a_slip_of_the_hand_never_crashes(
        at in 0..config::DEFAULTS.len(),
        removed in 0..3_usize,
        typed in prop_oneof![any::<char>(), Just('"'), Just('['), Just('='), Just('\n'), Just('{'), Just('\'')],
    ) {
        let head = config::DEFAULTS.chars().take(at);
        let text: String = head.chain([typed]).chain(config::DEFAULTS.chars().skip(at + removed)).collect();
        if let Err(mistakes) = load("pillion.toml", &text) {
            assert!(!mistakes.is_empty());
            assert!(mistakes.iter().all(|mistake| mistake.to_string().lines().count() == 1), "{}", lines(&mistakes));
        }
    }
}
