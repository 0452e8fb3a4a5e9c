//! In which form lines travel: `format` and the keys that go with one form only.

use crate::config::read::Reader;
use crate::config::shipping::Beats;
use crate::config::shipping::Format;
use crate::config::shipping::Syslog;
use crate::config::shipping::SyslogDialect;
use crate::config::shipping::Target;
use crate::units::Bare;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Ndjson,
    Syslog(SyslogDialect),
    Beats,
}

/// The form and its parameters; parameters of other forms are checked as well, and said to be without effect.
pub(super) fn format<'a>(
    read: Reader<'_>,
    node: &str,
    targets: impl Iterator<Item = &'a Target> + Clone,
) -> Format {
    let datagrams = targets.clone().any(Target::is_datagram);
    let words = [
        ("ndjson", Word::Ndjson),
        ("syslog3164", Word::Syslog(SyslogDialect::Rfc3164)),
        ("syslog5424", Word::Syslog(SyslogDialect::Rfc5424)),
        ("beats", Word::Beats),
    ];
    let word = read.word("logger.format", &words).unwrap_or(Word::Ndjson);
    let beats = beats(read, datagrams, word == Word::Beats);
    let syslog = syslog(read, node, datagrams, matches!(word, Word::Syslog(_)));
    a_port_of_another_form(read, word, targets);
    match word {
        Word::Ndjson => Format::Ndjson,
        Word::Syslog(dialect) => Format::Syslog(Syslog { dialect, ..syslog }),
        Word::Beats => Format::Beats(beats),
    }
}

fn beats(read: Reader<'_>, datagrams: bool, counts: bool) -> Beats {
    let compression = u32::try_from(read.count("logger.compression", 0..=9)).unwrap_or_default();
    let ack_timeout =
        read.duration("logger.ack_timeout", Bare::Seconds, "would give up each connection at once");
    read.relation(
        &["logger.format", "logger.sock_type", "logger.targets"],
        !(counts && datagrams),
        "\"beats\" needs a stream: datagrams are not acknowledged",
        match read.is_changed("logger.targets") {
            true => "write tcp: targets, or another format",
            false => "write sock_type = \"tcp\", or another format",
        },
    );
    only_with(read, counts, &["logger.compression", "logger.ack_timeout"], "format is not \"beats\"");
    Beats { compression, ack_timeout }
}

fn syslog(read: Reader<'_>, node: &str, datagrams: bool, counts: bool) -> Syslog {
    let facilities: Vec<(&str, u8)> = FACILITIES.iter().copied().zip(0..).collect();
    let facility = read.word("logger.syslog_facility", &facilities).unwrap_or(LOCAL0);
    let tag = read.text("logger.syslog_tag");
    let is_tag = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if tag.is_empty() || tag.len() > TAG_MAX || !tag.chars().all(is_tag) {
        let problem = format!("\"{tag}\" is no tag");
        let remedy = format!("write 1 to {TAG_MAX} letters, digits, - and _; the default is \"pillion\"");
        read.wrong("logger.syslog_tag", problem, remedy);
    }
    let octet_counting = read.switch("logger.octet_counting");
    read.relation(
        &["logger.octet_counting", "logger.sock_type", "logger.targets"],
        !(counts && octet_counting && datagrams),
        "\"octet_counting\" is for streams: a datagram has a length of its own",
        "write octet_counting = false",
    );
    let keys = ["logger.syslog_facility", "logger.syslog_tag", "logger.octet_counting"];
    only_with(read, counts, &keys, "format is no syslog");
    Syslog { dialect: SyslogDialect::Rfc3164, facility, host: node.to_owned(), tag, octet_counting }
}

fn only_with(read: Reader<'_>, counts: bool, keys: &[&str], why: &str) {
    for key in keys {
        if !counts && read.is_changed(key) {
            read.notice(key, &format!("without effect, because {why}"));
        }
    }
}

/// Ports by which receivers of another form are known.
fn a_port_of_another_form<'a>(read: Reader<'_>, word: Word, targets: impl Iterator<Item = &'a Target>) {
    let ports: Vec<u16> = targets
        .filter_map(|target| match target {
            Target::Tcp(address) | Target::Udp(address) => Some(address.port),
            Target::Unix(_) | Target::Unixgram(_) => None,
        })
        .collect();
    let keys = ["logger.format", "logger.targets", "logger.port"];
    let key = keys.into_iter().find(|key| read.is_set(key)).unwrap_or("logger.port");
    let is_syslog = matches!(word, Word::Syslog(_));
    let is_older_syslog = word == Word::Syslog(SyslogDialect::Rfc3164);
    for (port, fits, text) in [
        (5044, word == Word::Beats, "is that of Logstash's beats input, which wants format = \"beats\""),
        (
            514,
            is_syslog,
            "is that of syslog, which wants format = \"syslog3164\": Logstash's syslog input does not read JSON \
             without a header",
        ),
        (
            3567,
            is_older_syslog,
            "is that of the syslog input in pillion's logstash folder, which reads format = \"syslog3164\" best",
        ),
        (
            5170,
            word == Word::Ndjson,
            "is that of the tcp and udp inputs in pillion's logstash folder, which want format = \"ndjson\"",
        ),
    ] {
        if !fits && ports.contains(&port) {
            read.notice(key, &format!("port {port} {text}"));
        }
    }
}

/// The facilities of RFC 5424 by the names that everybody uses, in the order of their numbers.
const FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

const LOCAL0: u8 = 16;

/// The longest tag that RFC 3164 knows.
const TAG_MAX: usize = 32;
