//! What happens when lines can not be delivered: `overflow`, the spool, shedding, and when that is told.

use std::time::Duration;

use crate::config::read::Reader;
use crate::config::shipping::Overflow;
use crate::config::shipping::Spool;
use crate::config::shipping::SpoolOrder;
use crate::units;
use crate::units::Bare;

/// What happens at `drop_limit`.
pub(super) fn overflow(read: Reader<'_>) -> Overflow {
    let words = [
        ("drop_newest", Overflow::DropNewest),
        ("drop_oldest", Overflow::DropOldest),
        ("spool", Overflow::Spool),
    ];
    let overflow = read.word("logger.overflow", &words).unwrap_or(Overflow::DropNewest);
    if overflow != Overflow::Spool {
        for (key, effect) in [
            ("logger.spool_limit", "counts only for what a stop leaves"),
            ("logger.spool_interval", "without effect"),
            ("logger.spool_order", "counts only for what a stop leaves"),
        ] {
            if read.is_changed(key) {
                read.notice(key, &format!("{effect}, because overflow is not \"spool\""));
            }
        }
    }
    overflow
}

/// How the spool works.
pub(super) fn spool(read: Reader<'_>, periodic_flush: Option<Duration>, overflow: Overflow) -> Spool {
    let interval = read.duration(
        "logger.spool_interval",
        Bare::Seconds,
        "would write each line to disk; use at least \"100ms\"",
    );
    read.relation(
        &["logger.spool_interval"],
        interval.is_zero() || (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval),
        format!("{} is out of range", units::show_duration(interval)),
        "write a duration from \"100ms\" to \"1h\"",
    );
    if overflow == Overflow::Spool && periodic_flush.is_none_or(|period| period >= interval) {
        let text =
            "not longer than periodic_flush, so lines of idle times are written to disk before they are sent";
        read.notice("logger.spool_interval", text);
    }
    let words = [("oldest_first", SpoolOrder::OldestFirst), ("errors_first", SpoolOrder::ErrorsFirst)];
    Spool {
        limit: read.size("logger.spool_limit", LIMIT_MIN..=LIMIT_MAX) as u64,
        interval,
        order: read.word("logger.spool_order", &words).unwrap_or(SpoolOrder::OldestFirst),
    }
}

/// Where shedding begins, if it is on.
pub(super) fn shed_limit(read: Reader<'_>, drop_limit: usize, overflow: Overflow) -> Option<usize> {
    let key = "logger.shed_limit";
    if read.is_off(key) {
        return None;
    }
    let bytes = read.size(key, 1..=super::SIZE_MAX);
    read.relation(
        &[key, "logger.drop_limit"],
        bytes < drop_limit,
        "\"shed_limit\" is not below drop_limit, so nothing would ever be shed",
        "lower shed_limit, or write \"off\"",
    );
    if bytes <= drop_limit / 2 && overflow == Overflow::Spool {
        let text = "not above half of drop_limit, where lines go to disk: less important ones are dropped although \
                    the spool may have room";
        read.notice(key, text);
    }
    Some(bytes)
}

/// The age of the oldest line at which the daemon is not ready any more.
pub(super) fn ready_max_age(read: Reader<'_>) -> Option<Duration> {
    let key = "logger.ready_max_age";
    if read.is_off(key) {
        return None;
    }
    Some(read.duration(key, Bare::Seconds, "would never be ready; use \"off\" to turn it off"))
}

const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);

/// The least spool: two segments and what is being written.
const LIMIT_MIN: u64 = 16 << 20;
const LIMIT_MAX: u64 = 1 << 40;
