//! `[logger]`: the keys of lua-resty-logger-socket, with their meaning, limits and error texts.

use super::read::Reader;
use super::read::SIZE_MAX;
use super::settings::Logger;
use super::settings::Target;
use super::settings::Tls;
use crate::address::HostPort;
use crate::address::PATH_MAX;
use crate::address::is_host;
use crate::units::Bare;

/// The least `max_line`: below it the fields that every record has would not fit.
const LINE_MIN: usize = 1024;

/// The section; relations to other sections are checked elsewhere.
pub(super) fn logger(read: Reader<'_>) -> Logger {
    without_effect(read);
    let flush_limit = read.size("logger.flush_limit", 0..=SIZE_MAX);
    let drop_limit = read.size("logger.drop_limit", 1..=SIZE_MAX);
    read.relation(
        &["logger.flush_limit", "logger.drop_limit"],
        flush_limit < drop_limit,
        "\"flush_limit\" should be < \"drop_limit\", or lines are dropped before enough of them wait to be sent",
        "raise drop_limit or lower flush_limit",
    );
    let retry_interval =
        read.duration("logger.retry_interval", Bare::Milliseconds, "would retry without a pause");
    let max_line = max_line(read, drop_limit);
    Logger {
        target: target(read),
        flush_limit,
        drop_limit,
        timeout: read.duration(
            "logger.timeout",
            Bare::Milliseconds,
            "would leave no time to connect and write",
        ),
        max_retry_times: max_retry_times(read),
        retry_interval,
        retry_max_interval: retry_max_interval(read, retry_interval),
        periodic_flush: periodic_flush(read),
        max_line,
        replay_tail: replay_tail(read, max_line),
        tls: tls(read),
    }
}

/// Keys that are taken for the sake of old configurations, and keys that have one value so far.
fn without_effect(read: Reader<'_>) {
    read.word("logger.format", &[("ndjson", ())]);
    read.word("logger.overflow", &[("drop_newest", ())]);
    read.count("logger.pool_size", 1..=65_536);
    read.count("logger.max_buffer_reuse", 0..=i64::MAX);
    if read.is_set("logger.pool_size") {
        read.notice("logger.pool_size", "without effect: one connection is kept open for all lines");
    }
    if read.is_set("logger.max_buffer_reuse") {
        read.notice("logger.max_buffer_reuse", "without effect: buffers are reused for ever without leaking");
    }
}

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
        read.relation(
            &["logger.host", "logger.path"],
            false,
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

/// -1 is endless.
fn max_retry_times(read: Reader<'_>) -> Option<u32> {
    let number = read.count("logger.max_retry_times", -1..=i64::from(u32::MAX));
    u32::try_from(number).ok()
}

/// The default follows a longer `retry_interval`, which old configurations may have; a written value does not.
fn retry_max_interval(read: Reader<'_>, retry_interval: std::time::Duration) -> std::time::Duration {
    let key = "logger.retry_max_interval";
    let longest = read.duration(key, Bare::Seconds, "would retry without a pause");
    if !read.is_set(key) {
        return longest.max(retry_interval);
    }
    read.relation(
        &[key, "logger.retry_interval"],
        longest >= retry_interval,
        "\"retry_max_interval\" is below retry_interval, but pauses only grow",
        "raise retry_max_interval or lower retry_interval",
    );
    longest
}

fn periodic_flush(read: Reader<'_>) -> Option<std::time::Duration> {
    let key = "logger.periodic_flush";
    if read.is_off(key) {
        return None;
    }
    Some(read.duration(key, Bare::Seconds, "would spin; use \"off\" to turn it off"))
}

/// The default follows a smaller `drop_limit`, which old configurations have; a written value does not.
fn max_line(read: Reader<'_>, drop_limit: usize) -> usize {
    let key = "logger.max_line";
    let longest = read.size(key, LINE_MIN as u64..=16 << 20);
    if !read.is_set(key) && longest > drop_limit && read.sound(&["logger.drop_limit"]) {
        let lowered = drop_limit.max(LINE_MIN);
        let text = format!("max_line is lowered to {lowered} bytes with it, and longer lines are cut");
        read.notice("logger.drop_limit", &text);
        return lowered;
    }
    read.relation(
        &[key, "logger.drop_limit"],
        longest <= drop_limit,
        "\"max_line\" is above drop_limit, so the longest lines would always be dropped",
        "raise drop_limit or lower max_line",
    );
    longest
}

/// The default follows a longer `max_line`; a written value does not.
fn replay_tail(read: Reader<'_>, max_line: usize) -> usize {
    let key = "logger.replay_tail";
    let bytes = if read.is_off(key) { 0 } else { read.size(key, 0..=SIZE_MAX) };
    if !read.is_set(key) {
        return bytes.max(max_line);
    }
    read.relation(
        &[key, "logger.max_line"],
        bytes == 0 || bytes >= max_line,
        "\"replay_tail\" is below max_line, so the longest lines could not be sent again",
        "raise replay_tail, lower max_line, or write \"off\"",
    );
    if bytes > 0 && read.text("logger.sock_type") == "udp" {
        read.notice(key, "without effect: what was sent in datagrams is not sent again");
    }
    bytes
}

fn tls(read: Reader<'_>) -> Option<Tls> {
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
    read.relation(
        &["logger.ssl", "logger.sock_type"],
        read.text("logger.sock_type") != "udp",
        "\"ssl\" needs a stream, and sock_type is \"udp\"",
        "write sock_type = \"tcp\", or ssl = false",
    );
    if !tls.verify && read.sound(&["logger.ssl_verify"]) {
        read.notice(
            "logger.ssl_verify",
            "any certificate is accepted, so anybody between can read and change lines",
        );
    }
    Some(tls)
}
