//! The cases of lua-resty-logger-socket's test catalogue that are about the arguments of `init`: here, the keys of
//! `[logger]`. Each test is named after its origin.
//!
//! Where the original's error text says what would be right, it must occur in the message. Its "must be a string" and
//! "must be a boolean value" became sentences that say what was found and what to write; there and where a value is
//! written in another way here (a size with its unit, a word for "off"), the key must be named and the value refused.

use std::fs;
use std::path::Path;

use pillion::config;
use pillion::config::File;
use pillion::config::Sources;
use pillion::config::Target;

fn load(text: &str) -> Result<config::Logger, String> {
    let sources = Sources {
        file: Some(File { name: "pillion.toml", text }),
        read_secret: &|path: &Path| fs::read_to_string(path),
        ..Sources::default()
    };
    match config::load(&sources) {
        Ok(loaded) => Ok(loaded.config.logger),
        Err(mistakes) => Err(mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()),
    }
}

/// What is wrong with a text, a line each.
fn refused(text: &str) -> String {
    load(text).expect_err(text)
}

#[test]
fn sanity_09_the_configuration_must_be_a_table() {
    let said = refused("logger = \"hello\"\n");
    assert!(said.starts_with("pillion.toml:1: logger is a section, and not a key"), "{said}");
}

#[test]
fn sanity_10_without_a_destination_there_is_no_logger() {
    let said = refused("[logger]\nhost = \"\"\nflush_limit = 1\ndrop_limit = 10000\n");
    assert!(
        said.contains("no logging server configured. \"host\"/\"port\" or \"path\" is required."),
        "{said}"
    );
}

#[test]
fn sanity_11_flush_limit_must_be_below_drop_limit() {
    let said = refused("[logger]\nflush_limit = 2\ndrop_limit = 1\n");
    assert!(said.contains("\"flush_limit\" should be < \"drop_limit\""), "{said}");
}

#[test]
fn sanity_20_each_wrong_type_or_range_is_refused_by_name() {
    let cases = [
        ("host = 128", "write host = \"128\""),
        ("port = \"abc\"", "logger.port"),
        ("port = -1", "\"port\" out of range 0~65535"),
        ("port = 65536", "\"port\" out of range 0~65535"),
        ("path = 123", "write path = \"123\""),
        ("sock_type = 1", "text is needed"),
        ("sock_type = \"pcp\"", "\"sock_type\" must be \"tcp\" or \"udp\""),
        ("flush_limit = \"x\"", "logger.flush_limit"),
        ("flush_limit = -1", "logger.flush_limit"),
        ("drop_limit = \"x\"", "logger.drop_limit"),
        ("timeout = \"x\"", "logger.timeout"),
        ("max_retry_times = \"x\"", "logger.max_retry_times"),
        ("retry_interval = \"x\"", "logger.retry_interval"),
        ("pool_size = \"x\"", "logger.pool_size"),
        ("max_buffer_reuse = \"x\"", "logger.max_buffer_reuse"),
        ("periodic_flush = \"x\"", "logger.periodic_flush"),
        ("ssl = \"1\"", "true or false is needed"),
        ("ssl_verify = 2", "true or false is needed"),
        ("sni_host = true", "text is needed"),
        ("format = 3164", "write one of \"ndjson\", \"syslog3164\", \"syslog5424\", \"beats\""),
        ("targets = 5170", "a list is needed"),
        ("compression = \"x\"", "logger.compression"),
        ("overflow = 1", "write one of \"drop_newest\", \"drop_oldest\", \"spool\""),
        ("spool_limit = \"x\"", "logger.spool_limit"),
        ("shed_limit = \"x\"", "logger.shed_limit"),
    ];
    let missing: Vec<String> = cases
        .iter()
        .map(|(line, words)| (*line, *words, refused(&format!("[logger]\n{line}\n"))))
        .filter(|(_, words, said)| !(said.starts_with("pillion.toml:2: logger.") && said.contains(words)))
        .map(|(line, words, said)| format!("{line}: expected {words}, said {said}"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.concat());
    for (line, _) in cases {
        let said = refused(&format!("[logger]\n{line}\n"));
        assert_eq!(said.lines().count(), 1, "a mistake is told once: {said}");
    }
}

#[test]
fn proto_01_without_sock_type_it_is_tcp() {
    let logger = load("[logger]\nhost = \"192.0.2.1\"\nport = 5170\n").unwrap();
    assert!(matches!(logger.target, Target::Tcp(_)), "{:?}", logger.target);
}

#[test]
fn proto_03_with_sock_type_udp_it_is_udp() {
    let logger = load("[logger]\nhost = \"192.0.2.1\"\nport = 5170\nsock_type = \"udp\"\n").unwrap();
    assert!(matches!(logger.target, Target::Udp(_)), "{:?}", logger.target);
}
