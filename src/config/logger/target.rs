//! Where lines go: one target from the original's keys, or several from `targets`.

use std::time::Duration;

use crate::address::Address;
use crate::address::HostPort;
use crate::address::PATH_MAX;
use crate::address::is_host;
use crate::config::read::Reader;
use crate::config::shipping::Target;
use crate::config::shipping::TargetOrder;
use crate::config::shipping::Tls;
use crate::units::Bare;

/// Where lines go, and the alternatives: what `targets` lists, or else the one target of the original's keys.
pub(super) fn targets(read: Reader<'_>) -> (Target, Vec<Target>) {
    let one = target(read);
    let mut listed = listed(read).into_iter();
    let first = listed.next().unwrap_or(one);
    (first, listed.collect())
}

/// The one target of `host`, `port`, `path` and `sock_type`.
fn target(read: Reader<'_>) -> Target {
    let host = read.text("logger.host");
    let number = read.count("logger.port", i64::MIN..=i64::MAX);
    let port = u16::try_from(number).unwrap_or_else(|_| {
        read.wrong("logger.port", "\"port\" out of range 0~65535", "the default is 5170");
        0
    });
    let path = read.path("logger.path");
    let datagrams = sock_type(read);
    let host_set = read.is_set("logger.host") || read.is_set("logger.port");
    if let Some(path) = path {
        read.relation(
            &["logger.path", "logger.host", "logger.port"],
            host.is_empty() || !host_set,
            format!("\"host\"/\"port\" and \"path\" are both set; lua-resty-logger-socket would send to {host}:{port} and ignore the path"),
            "remove one of them, or write host = \"\" to send to the path",
        );
        let length = path.as_os_str().len();
        if length > PATH_MAX {
            let problem = format!("a socket path has at most {PATH_MAX} bytes, this one has {length}");
            read.wrong("logger.path", problem, "choose a shorter one");
        }
        return if datagrams { Target::Unixgram(path) } else { Target::Unix(path) };
    }
    if host.is_empty() {
        // With targets nobody needs the original's keys.
        read.relation(
            &["logger.host", "logger.path"],
            read.is_changed("logger.targets"),
            "no logging server configured. \"host\"/\"port\" or \"path\" is required.",
            "",
        );
    } else if !is_host(&host) {
        let problem = format!("\"{host}\" is neither a host name nor an IP address");
        read.wrong("logger.host", problem, "write the name alone; the port has its own key");
    } else {
        read.relation(&["logger.port"], port != 0, "nothing can be sent to port 0", "the default is 5170");
    }
    let host_port = HostPort { host, port };
    if datagrams { Target::Udp(host_port) } else { Target::Tcp(host_port) }
}

/// True for datagrams.
fn sock_type(read: Reader<'_>) -> bool {
    let Some(text) = read.written_text("logger.sock_type") else { return false };
    if !matches!(text.as_str(), "tcp" | "udp") {
        let remedy = format!("\"{text}\" is neither");
        read.wrong("logger.sock_type", "\"sock_type\" must be \"tcp\" or \"udp\"", remedy);
    }
    text == "udp"
}

/// The targets of `targets`, none when the original's keys count.
fn listed(read: Reader<'_>) -> Vec<Target> {
    let key = "logger.targets";
    let mut targets: Vec<Target> = Vec::new();
    for (address, place) in read.addresses(key) {
        let name = address.to_string();
        let target = match address {
            Address::Tcp(host_port) => Target::Tcp(host_port),
            Address::Udp(host_port) => Target::Udp(host_port),
            Address::Unix(path) => Target::Unix(path),
            Address::Unixgram(path) => Target::Unixgram(path),
        };
        if let Target::Tcp(HostPort { port: 0, .. }) | Target::Udp(HostPort { port: 0, .. }) = target {
            let problem = format!("\"{name}\": nothing can be sent to port 0");
            read.wrong_at(place, key, problem, "write the port of the log server");
        } else if targets.contains(&target) {
            read.wrong_at(place, key, format!("\"{name}\" is listed twice"), "write each of them once");
        } else if targets.first().is_some_and(|first| first.is_datagram() != target.is_datagram()) {
            let (this, first) = match target.is_datagram() {
                true => ("datagrams", "a stream"),
                false => ("a stream", "datagrams"),
            };
            let problem = format!("\"{name}\" is for {this}, and the first target is for {first}");
            read.wrong_at(place, key, problem, "write only tcp: and unix:, or only udp: and unixgram:");
        } else {
            targets.push(target);
        }
    }
    read.relation(
        &[key],
        targets.len() <= TARGETS_MAX,
        format!("{} targets are too many", targets.len()),
        "write at most 16; a name with several addresses is one target",
    );
    if !targets.is_empty() {
        for other in ["logger.host", "logger.port", "logger.path", "logger.sock_type"] {
            if read.is_changed(other) {
                read.notice(other, "without effect, because targets is set");
            }
        }
    }
    targets
}

/// Which of several targets is used.
pub(super) fn order(read: Reader<'_>, alternatives: &[Target]) -> TargetOrder {
    let key = "logger.target_order";
    let words = [("failover", TargetOrder::Failover), ("balanced", TargetOrder::Balanced)];
    let order = read.word(key, &words).unwrap_or(TargetOrder::Failover);
    if alternatives.is_empty() && read.is_changed(key) {
        read.notice(key, "there is only one target to choose from: write several in targets");
    }
    order
}

/// Balanced targets take turns even where nobody wrote an age.
pub(super) fn max_connection_age(read: Reader<'_>, order: TargetOrder, datagrams: bool) -> Option<Duration> {
    let key = "logger.max_connection_age";
    if datagrams && read.is_changed(key) {
        read.notice(key, "without effect: datagrams have no connection");
    }
    if !read.is_set(key) {
        return (order == TargetOrder::Balanced).then_some(BALANCED_AGE);
    }
    if read.is_off(key) {
        return None;
    }
    let age = read.duration(key, Bare::Seconds, "would never send a line; use \"off\" to turn it off");
    read.relation(
        &[key],
        age.is_zero() || age >= AGE_MIN,
        "a connection this short-lived would spend its time on connecting",
        "write at least \"1s\"",
    );
    Some(age)
}

/// TLS to the log server, if it is on.
pub(super) fn tls(read: Reader<'_>, datagrams: bool) -> Option<Tls> {
    let on = read.switch("logger.ssl");
    let tls = Tls {
        verify: read.switch("logger.ssl_verify"),
        sni_host: read.optional_text("logger.sni_host"),
        ca: read.path("logger.ssl_ca"),
        cert: read.path("logger.ssl_cert"),
        key: read.path("logger.ssl_key"),
    };
    let pair = &["logger.ssl_cert", "logger.ssl_key"];
    read.relation(
        pair,
        tls.cert.is_none() || tls.key.is_some(),
        "\"ssl_cert\" without ssl_key: a certificate can only be shown with its key",
        "set both or none",
    );
    read.relation(
        pair,
        tls.key.is_none() || tls.cert.is_some(),
        "\"ssl_key\" without ssl_cert: a key is of no use without its certificate",
        "set both or none",
    );
    if !on {
        for key in
            ["logger.ssl_verify", "logger.sni_host", "logger.ssl_ca", "logger.ssl_cert", "logger.ssl_key"]
        {
            if read.is_changed(key) {
                read.notice(key, "without effect, because ssl is not true: lines travel unencrypted");
            }
        }
        return None;
    }
    let (problem, remedy) = match read.is_changed("logger.targets") {
        true => ("\"ssl\" needs streams, and targets are datagrams", "write tcp: targets, or ssl = false"),
        false => {
            ("\"ssl\" needs a stream, and sock_type is \"udp\"", "write sock_type = \"tcp\", or ssl = false")
        }
    };
    read.relation(&["logger.ssl", "logger.sock_type", "logger.targets"], !datagrams, problem, remedy);
    if !tls.verify && read.sound(&["logger.ssl_verify"]) {
        read.notice(
            "logger.ssl_verify",
            "any certificate is accepted, so anybody between can read and change lines",
        );
    }
    Some(tls)
}

/// The most targets.
const TARGETS_MAX: usize = 16;

/// How long a connection to one of several balanced targets lasts, unless it is written.
const BALANCED_AGE: Duration = Duration::from_secs(5 * 60);

/// The least `max_connection_age`.
const AGE_MIN: Duration = Duration::from_secs(1);
