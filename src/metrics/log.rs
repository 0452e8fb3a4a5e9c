//! The log's counters, read from the buffer and the shipper at each scrape.
//!
//! The buffer counts under its own lock, so that accepted = sent + dropped + queued + spooled holds in every scrape.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::buffer::Buffer;
use crate::buffer::DropCause;
use crate::buffer::Tally;

/// What the shipper did, as far as it is a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shipping {
    /// Flushes that sent something.
    pub flushes: u64,
    /// Flushes that gave up after the last retry.
    pub flushes_failed: u64,
    /// Tries beyond the first of a flush.
    pub retries: u64,
    /// Connections opened after the first one.
    pub reconnects: u64,
    /// Records that were sent before and once more since, and are not counted as sent a second time.
    pub resent: Tally,
    /// Records that the log server acknowledged, where its protocol does that.
    pub acknowledged: Tally,
    /// True while a connection is open.
    pub connected: bool,
    /// The age of the oldest record that is not delivered; zero without one.
    pub oldest: Duration,
    /// The spool, where there is one.
    pub spool: Option<Spooling>,
}

/// What the spool did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spooling {
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Chunks that wait in it, those of an earlier process included.
    pub frames: u64,
    /// Rounds of fdatasync.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Chunks that could not be read back.
    pub rotten: u64,
    /// Times that it refused something, because it or the disk was full.
    pub refused: u64,
    /// True when it takes nothing until a restart.
    pub failed: bool,
}

/// Reads buffer and shipper.
pub(super) struct LogCollector {
    pub(super) buffer: Arc<Buffer>,
    pub(super) flush_times: Histogram,
    pub(super) shipping: Box<dyn Fn() -> Shipping + Send + Sync>,
}

impl fmt::Debug for LogCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogCollector")
    }
}

#[derive(Debug, EncodeLabelSet)]
struct ByCause {
    cause: &'static str,
}

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.buffer.stats();
        let out = &mut encoder;
        tally(out, "accepted", "handed in, dropped ones included", stats.accepted)?;
        tally(out, "sent", "whose last byte the kernel took, or that were acknowledged", stats.sent)?;
        for (kind, unit, value) in [
            ("records", None, (|tally: Tally| tally.records) as fn(Tally) -> u64),
            ("size", Some(Unit::Bytes), |tally: Tally| tally.bytes),
        ] {
            let name = format!("pillion_logger_dropped_{kind}");
            let counter = ConstCounter::new(0_u64);
            let mut family =
                out.encode_descriptor(&name, "Dropped, by cause", unit.as_ref(), counter.metric_type())?;
            // All causes, also those that never came up: a rate needs a zero to start from.
            for cause in DropCause::ALL {
                let label = ByCause { cause: cause.name() };
                ConstCounter::new(value(stats.dropped.of(cause))).encode(family.encode_family(&label)?)?;
            }
        }
        gauge(out, "pillion_logger_queued_records", "Records that wait", None, stats.queued.records)?;
        gauge(out, "pillion_logger_queued_size", "What waits", Some(&Unit::Bytes), stats.queued.bytes)?;
        let shipping = (self.shipping)();
        gauge(
            out,
            "pillion_logger_spooled_records",
            "Records that wait on disk",
            None,
            stats.spooled.records,
        )?;
        gauge(
            out,
            "pillion_logger_spooled_size",
            "What waits on disk",
            Some(&Unit::Bytes),
            stats.spooled.bytes,
        )?;
        tally(out, "resent", "sent again after a connection broke", shipping.resent)?;
        tally(out, "acked", "that the log server acknowledged", shipping.acknowledged)?;
        real_gauge(
            out,
            "pillion_logger_oldest_age",
            "Age of the oldest record that is not delivered",
            shipping.oldest,
        )?;
        for (name, help, value) in [
            ("flushes", "Flushes that sent something", shipping.flushes),
            ("flushes_failed", "Flushes that gave up after the last retry", shipping.flushes_failed),
            ("retries", "Tries beyond the first of a flush", shipping.retries),
            ("reconnects", "Connections opened after the first", shipping.reconnects),
        ] {
            counter(out, &format!("pillion_logger_{name}"), help, None, value)?;
        }
        let times = &self.flush_times;
        let help = "From the start of a flush that sent something to its end";
        times.encode(out.encode_descriptor(
            "pillion_logger_flush_seconds",
            help,
            None,
            times.metric_type(),
        )?)?;
        if let Some(spool) = &shipping.spool {
            spooling(out, spool)?;
        }
        gauge(out, "pillion_logger_connected", "1 with a connection", None, u64::from(shipping.connected))
    }
}

fn spooling(out: &mut DescriptorEncoder<'_>, spool: &Spooling) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    gauge(out, "pillion_logger_spool_disk", "Bytes of the spool's files", bytes, spool.disk_bytes)?;
    gauge(out, "pillion_logger_spool_frames", "Chunks of records in the spool", None, spool.frames)?;
    gauge(
        out,
        "pillion_logger_spool_failed",
        "1 when it takes nothing until a restart",
        None,
        spool.failed.into(),
    )?;
    for (name, help, value) in [
        ("syncs", "Rounds of fdatasync of the spool", spool.syncs),
        ("rotten", "Chunks of the spool that could not be read back", spool.rotten),
        ("refused", "Times that the spool or its disk was full", spool.refused),
    ] {
        counter(out, &format!("pillion_logger_spool_{name}"), help, None, value)?;
    }
    let help = "Time spent in fdatasync of the spool";
    real_counter(out, "pillion_logger_spool_sync_time", help, spool.sync_time)
}

pub(super) fn real_counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Duration,
) -> fmt::Result {
    let time = ConstCounter::new(value.as_secs_f64());
    time.encode(out.encode_descriptor(name, help, Some(&Unit::Seconds), time.metric_type())?)
}

pub(super) fn real_gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Duration,
) -> fmt::Result {
    let gauge = ConstGauge::new(value.as_secs_f64());
    gauge.encode(out.encode_descriptor(name, help, Some(&Unit::Seconds), gauge.metric_type())?)
}

fn tally(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, tally: Tally) -> fmt::Result {
    counter(out, &format!("pillion_logger_{name}_records"), &format!("Records {help}"), None, tally.records)?;
    let (name, help) = (format!("pillion_logger_{name}_size"), format!("Bytes of records {help}"));
    counter(out, &name, &help, Some(&Unit::Bytes), tally.bytes)
}

pub(super) fn counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(out.encode_descriptor(name, help, unit, counter.metric_type())?)
}

pub(super) fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(out.encode_descriptor(name, help, unit, gauge.metric_type())?)
}
