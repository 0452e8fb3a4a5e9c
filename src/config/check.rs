//! From what was written to what is true: every value is read, and every relation between values is checked.

use std::path::PathBuf;

use ipnet::IpNet;

use super::Sources;
use super::auth;
use super::chat;
use super::gateway;
use super::logger;
use super::mistake::Place;
use super::nearest::nearest;
use super::read::Reader;
use super::read::SIZE_MAX;
use super::settings::Config;
use super::settings::Ingest;
use super::settings::Level;
use super::settings::Limits;
use super::settings::Listen;
use super::settings::Log;
use super::settings::LogFormat;
use super::settings::TokenMode;
use super::settings::Trusted;
use super::shipping::Target;
use super::store;
use crate::address::Address;
use crate::record::Action;
use crate::units::Bare;

/// The largest part that a sample may leave out.
const SAMPLE_MAX: u32 = 1_000_000;

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

/// The whole configuration. It is only worth something if nothing was reported.
pub(super) fn config(read: Reader<'_>, sources: &Sources<'_>) -> Config {
    let auth = auth::auth(read, sources.read_secret);
    let (node, data_dir) = (node(read, sources.host_name), data_dir(read));
    let config = Config {
        logger: logger::logger(read, &node, &data_dir),
        store: store::store(read, &data_dir),
        node,
        data_dir,
        shutdown_timeout: read.duration(
            "shutdown_timeout",
            Bare::Seconds,
            "would cut connections and lose unsent lines at every stop",
        ),
        listen: listen(read),
        log: log(read),
        ingest: Ingest {
            listen: read.addresses("ingest.listen").into_iter().map(|(address, _)| address).collect(),
            receive_buffer: read.size("ingest.receive_buffer", 4096..=SIZE_MAX),
        },
        gateway: gateway::gateway(read),
        auth,
        chat: chat::chat(read),
        limits: limits(read),
    };
    each_address_once(read);
    no_line_comes_back(read, &config);
    auth::modes_have_what_they_need(read, &config);
    nothing_insecure_in_public(read, &config);
    let queue_holds_a_frame = config.gateway.client_queue >= config.limits.frame;
    read.relation(
        &["gateway.client_queue", "limits.frame"],
        queue_holds_a_frame,
        "\"client_queue\" is below limits.frame, so the largest message would disconnect everybody who gets it",
        "raise client_queue or lower frame",
    );
    config
}

fn node(read: Reader<'_>, host_name: &str) -> String {
    let written = read.text("node");
    let (node, source) = if written.is_empty() {
        (host_name.trim().replace('_', "-"), "the host name ")
    } else {
        (written, "")
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if node.is_empty() {
        read.wrong("node", "this machine has no host name to take", "write node = \"a-name\"");
    } else if node.len() > 64 {
        read.wrong("node", format!("{source}\"{node}\" is longer than 64 bytes"), "write a shorter name");
    } else if !node.chars().all(allowed) {
        let problem = format!(
            "{source}\"{node}\" has signs other than letters, digits, . and -, which log receivers can not read"
        );
        let mended: String = node.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
        read.wrong("node", problem, format!("write node = \"{mended}\""));
    }
    node
}

fn data_dir(read: Reader<'_>) -> PathBuf {
    read.path("data_dir").unwrap_or_else(|| {
        read.relation(&["data_dir"], false, "a directory is needed", "the default is \"/var/lib/pillion\"");
        PathBuf::new()
    })
}

fn listen(read: Reader<'_>) -> Listen {
    Listen {
        public: stream_addresses(read, "listen.public", "HTTP needs"),
        admin: stream_addresses(read, "listen.admin", "HTTP needs"),
        socket_mode: socket_mode(read),
        trusted: trusted(read),
    }
}

/// The addresses of a list, which must be streams because of what `needs` one.
pub(super) fn stream_addresses(read: Reader<'_>, key: &str, needs: &str) -> Vec<Address> {
    let mut addresses = Vec::new();
    for (address, place) in read.addresses(key) {
        if matches!(address, Address::Unixgram(_) | Address::Udp(_)) {
            let remedy = address.to_string().replacen("unixgram:", "unix:", 1).replacen("udp:", "tcp:", 1);
            let problem = format!("\"{address}\": {needs} a stream");
            read.wrong_at(place, key, problem, format!("did you mean {remedy}?"));
        }
        addresses.push(address);
    }
    addresses
}

fn socket_mode(read: Reader<'_>) -> u32 {
    let Some(text) = read.written_text("listen.socket_mode") else { return 0 };
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777 && !text.starts_with('+'));
    if mode.is_none() {
        let problem = format!("\"{text}\" is no file mode");
        read.wrong("listen.socket_mode", problem, "write octal digits in quotes, such as \"0660\"");
    }
    mode.unwrap_or_default()
}

fn trusted(read: Reader<'_>) -> Trusted {
    let mut trusted = Trusted { unix: false, networks: Vec::new() };
    for (text, place) in read.texts("listen.trusted") {
        let network = text
            .parse()
            .or_else(|_| text.parse().map(|address| IpNet::new_assert(address, host_bits(address))));
        match network {
            _ if text == "unix" => trusted.unix = true,
            Ok(network) => trusted.networks.push(network.trunc()),
            Err(_) => {
                let problem = format!("\"{text}\" is neither \"unix\" nor an address or network");
                read.wrong_at(place, "listen.trusted", problem, "write it such as \"10.0.0.0/8\"");
            }
        }
    }
    trusted
}

/// The prefix length of a network that holds one address only.
fn host_bits(address: std::net::IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn log(read: Reader<'_>) -> Log {
    Log {
        level: read.word("log.level", LEVELS).unwrap_or(Level::Info),
        format: read
            .word("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            .unwrap_or(LogFormat::Text),
        ship: read.switch("log.ship"),
        token: read
            .word("log.token", &[("hashed", TokenMode::Hashed), ("plain", TokenMode::Plain)])
            .unwrap_or(TokenMode::Hashed),
        legacy_fields: read.switch("log.legacy_fields"),
        samples: samples(read),
    }
}

/// Each entry of `log.sample`: an action and how many of its records one stands for.
fn samples(read: Reader<'_>) -> Vec<(Action, u32)> {
    let key = "log.sample";
    let mut samples: Vec<(Action, u32)> = Vec::new();
    for (text, place) in read.texts(key) {
        let parts = text.split_once("=1/");
        let number = parts.and_then(|(_, number)| number.parse().ok());
        let (Some((word, _)), Some(number @ 1..=SAMPLE_MAX)) = (parts, number) else {
            let problem = format!("\"{text}\" is not ACTION=1/NUMBER, with a number from 1 to {SAMPLE_MAX}");
            read.wrong_at(place, key, problem, "write such as \"nginx_access=1/100\"");
            continue;
        };
        match sampled_action(word) {
            Err((problem, remedy)) => read.wrong_at(place, key, problem, remedy),
            Ok(action) if samples.iter().any(|(other, _)| *other == action) => {
                read.wrong_at(place, key, format!("\"{word}\" is listed twice"), "write each action once");
            }
            Ok(action) => samples.push((action, number)),
        }
    }
    samples
}

/// The action that may be sampled, or what is wrong with it.
fn sampled_action(word: &str) -> Result<Action, (String, String)> {
    let known = || Action::ALL.iter().map(|action| action.as_str());
    let gap = Action::LogGap.as_str();
    match Action::of(word) {
        Some(Action::LogGap) => {
            let problem = "\"log_gap\" tells of losses and is never left out".to_owned();
            Err((problem, "remove this entry".to_owned()))
        }
        Some(action) => Ok(action),
        None => {
            let near = nearest(word, known()).map(|near| format!("did you mean \"{near}\"?"));
            let all = || {
                format!("there are {}", known().filter(|name| *name != gap).collect::<Vec<_>>().join(", "))
            };
            Err((format!("\"{word}\" is no action"), near.unwrap_or_else(all)))
        }
    }
}

fn limits(read: Reader<'_>) -> Limits {
    Limits {
        connections: read.amount("limits.connections", 1..=16_777_216),
        frame: read.size("limits.frame", 128..=16 << 20),
        room_name: read.amount("limits.room_name", 1..=4096),
        rooms_per_session: read.amount("limits.rooms_per_session", 1..=65_536),
        rooms: read.amount("limits.rooms", 1..=100_000_000),
        sessions_per_user: read.amount("limits.sessions_per_user", 1..=65_536),
        connect_rate: read.rate("limits.connect_rate"),
        connect_rate_user: read.rate("limits.connect_rate_user"),
        join_rate: read.rate("limits.join_rate"),
        publish_rate: read.rate("limits.publish_rate"),
        header: read.size("limits.header", 1024..=1 << 20),
        header_timeout: read.duration(
            "limits.header_timeout",
            Bare::Seconds,
            "would leave no time for a request",
        ),
        body: read.size("limits.body", 1024..=16 << 20),
        body_timeout: read.duration("limits.body_timeout", Bare::Seconds, "would leave no time for a body"),
    }
}

/// No two listeners may have one address; with port 0 they have not.
fn each_address_once(read: Reader<'_>) {
    let mut seen: Vec<(Address, Place, &str)> = Vec::new();
    for key in ["listen.public", "listen.admin", "ingest.listen", "gateway.tcp"] {
        // A list that can not be read was reported when its section was.
        if !read.sound(&[key]) {
            continue;
        }
        for (text, place) in read.texts(key) {
            let Ok(address) = text.parse::<Address>() else { continue };
            if let Some((_, other_place, other_key)) =
                seen.iter().find(|(other, ..)| collide(other, &address))
            {
                let (place, key, other) = if place == Place::Default {
                    (other_place.clone(), *other_key, key)
                } else {
                    (place.clone(), key, *other_key)
                };
                let problem = if key == other {
                    format!("\"{address}\" is listed twice")
                } else {
                    format!("\"{address}\" is also listed in {other}")
                };
                read.wrong_at(place, key, problem, "give each listener its own address");
            }
            seen.push((address, place, key));
        }
    }
}

fn collide(one: &Address, other: &Address) -> bool {
    match (one.path(), other.path()) {
        (Some(path), Some(other)) => path == other,
        _ => one == other && one.host_port().is_none_or(|host_port| host_port.port != 0),
    }
}

/// A daemon that sends its lines to its own ingest sends each line for ever.
fn no_line_comes_back(read: Reader<'_>, config: &Config) {
    for target in [&config.logger.target].into_iter().chain(&config.logger.alternatives) {
        let target = match target.clone() {
            Target::Tcp(host_port) => Address::Tcp(host_port),
            Target::Udp(host_port) => Address::Udp(host_port),
            Target::Unix(path) => Address::Unix(path),
            Target::Unixgram(path) => Address::Unixgram(path),
        };
        let own = config.ingest.listen.iter().any(|address| collide(address, &target));
        read.relation(
            &["logger.targets", "logger.path", "logger.port", "logger.host", "ingest.listen"],
            !own,
            format!(
                "\"{target}\" is also listed in ingest.listen, so every line would come back and be sent for ever"
            ),
            "send to the log server, or listen elsewhere",
        );
    }
}

fn nothing_insecure_in_public(read: Reader<'_>, config: &Config) {
    if let Some(address) =
        config.listen.public.iter().chain(&config.gateway.tcp).find(|address| !address.is_local())
    {
        read.relation(
            &["auth.insecure", "listen.public"],
            !config.auth.insecure,
            format!("with insecure = true everybody who reaches {address} may read and write everything"),
            "listen on a unix socket or on 127.0.0.1, or remove insecure",
        );
    }
    if config.auth.insecure && read.sound(&["auth.insecure"]) {
        read.notice(
            "auth.insecure",
            "clients need no login, or name their user themselves, and backends need no key; this is for trials on one machine",
        );
    }
    if let Some(address) = config.listen.admin.iter().find(|address| !address.is_local()) {
        let text = format!("{address} can be reached from other machines and asks nobody for a password");
        read.notice("listen.admin", &text);
    }
}
