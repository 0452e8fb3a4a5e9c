//! `[logger]`: the keys of lua-resty-logger-socket, with their meaning, limits and error texts, and those beyond it.

mod form;
mod overflow;
mod target;

use std::path::Path;
use std::time::Duration;

use super::read::Reader;
use super::read::SIZE_MAX;
use super::shipping::Format;
use super::shipping::Logger;
use crate::units::Bare;

/// The least `max_line`: below it the fields that every record has would not fit.
const LINE_MIN: usize = 1024;

/// The section; relations to other sections are checked elsewhere.
pub(super) fn logger(read: Reader<'_>, node: &str, data_dir: &Path) -> Logger {
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
    let (target, alternatives) = target::targets(read);
    let datagrams = target.is_datagram();
    let target_order = target::order(read, &alternatives);
    let periodic_flush = periodic_flush(read);
    let format = form::format(read, node, [&target].into_iter().chain(&alternatives));
    let overflow = overflow::overflow(read);
    Logger {
        max_connection_age: target::max_connection_age(read, target_order, datagrams),
        tls: target::tls(read, datagrams),
        replay_tail: replay_tail(read, max_line, datagrams, &format),
        format,
        target,
        alternatives,
        target_order,
        flush_limit,
        drop_limit,
        shed_limit: overflow::shed_limit(read, drop_limit, overflow),
        timeout: read.duration(
            "logger.timeout",
            Bare::Milliseconds,
            "would leave no time to connect and write",
        ),
        max_retry_times: max_retry_times(read),
        retry_interval,
        retry_max_interval: retry_max_interval(read, retry_interval),
        periodic_flush,
        max_line,
        overflow,
        spool: overflow::spool(read, periodic_flush, overflow),
        dead_letter_limit: read.size("logger.dead_letter_limit", 64 << 10..=SIZE_MAX),
        data_dir: Some(data_dir.to_owned()),
        ready_max_age: overflow::ready_max_age(read),
    }
}

/// Keys that are taken for the sake of old configurations.
fn without_effect(read: Reader<'_>) {
    read.count("logger.pool_size", 1..=65_536);
    read.count("logger.max_buffer_reuse", 0..=i64::MAX);
    if read.is_set("logger.pool_size") {
        read.notice("logger.pool_size", "without effect: one connection is kept open for all lines");
    }
    if read.is_set("logger.max_buffer_reuse") {
        read.notice("logger.max_buffer_reuse", "without effect: buffers are reused for ever without leaking");
    }
}

/// -1 is endless.
fn max_retry_times(read: Reader<'_>) -> Option<u32> {
    let number = read.count("logger.max_retry_times", -1..=i64::from(u32::MAX));
    u32::try_from(number).ok()
}

/// The default follows a longer `retry_interval`, which old configurations may have; a written value does not.
fn retry_max_interval(read: Reader<'_>, retry_interval: Duration) -> Duration {
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

fn periodic_flush(read: Reader<'_>) -> Option<Duration> {
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
fn replay_tail(read: Reader<'_>, max_line: usize, datagrams: bool, format: &Format) -> usize {
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
    if bytes > 0 && datagrams {
        read.notice(key, "without effect: what was sent in datagrams is not sent again");
    }
    if bytes > 0 && matches!(format, Format::Beats(_)) {
        read.notice(key, "without effect: what is not acknowledged is sent again, and nothing else");
    }
    bytes
}
