//! Every metric of the program, named once; Prometheus text.
//!
//! Names are `pillion_<room>_<noun>_<unit>_total`. Rooms count through the fields of [`Metrics`]; nobody else
//! names a metric. What a room counts under its own lock, such as the log buffer, is read at each scrape.

mod ingest;
mod log;
mod store;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::buffer::Buffer;

pub use ingest::KernelDrops;
pub use log::Shipping;
pub use log::Spooling;
pub use store::Storing;

/// A label that names a dialect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDialect {
    /// The wire dialect.
    pub dialect: &'static str,
}

/// A label that names a reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    /// Why.
    pub reason: &'static str,
}

/// A label that names an action of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByAction {
    /// The action.
    pub action: &'static str,
}

/// A label that names a kind of input line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByKind {
    /// What the line was.
    pub kind: &'static str,
}

/// Labels of a call of a server API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCall {
    /// What was called.
    pub endpoint: &'static str,
    /// How it ended.
    pub outcome: &'static str,
}

/// A label that holds an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByStatus {
    /// The status.
    pub status: u16,
}

/// All counters, gauges and histograms.
#[derive(Debug)]
pub struct Metrics {
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections open.
    pub connections_open: Gauge,
    /// Connections refused before a request was read, by reason.
    pub connections_refused: Family<ByReason, Counter>,
    /// HTTP answers, by status.
    pub http_answers: Family<ByStatus, Counter>,
    /// Calls of the server APIs, by endpoint and outcome.
    pub api_calls: Family<ByCall, Counter>,
    /// Sessions logged in, by dialect.
    pub sessions: Family<ByDialect, Gauge>,
    /// Rooms with at least one session.
    pub rooms: Gauge,
    /// Logins that succeeded, by dialect.
    pub logins: Family<ByDialect, Counter>,
    /// Logins that failed, by reason.
    pub logins_failed: Family<ByReason, Counter>,
    /// Sessions that ended, by reason.
    pub closes: Family<ByReason, Counter>,
    /// Logins through the business API, by how they were decided.
    pub auth_api_logins: Family<ByReason, Counter>,
    /// Questions to the business API that were asked again.
    pub auth_api_retries: Counter,
    /// 1 while the business API counts as away.
    pub auth_api_away: Gauge,
    /// Readings of the key set, by how they ended.
    pub auth_jwks_reads: Family<ByReason, Counter>,
    /// Connects, joins and publishes refused because of a rate, by limit.
    pub limits_refused: Family<ByReason, Counter>,
    /// Messages published into rooms.
    pub publications: Counter,
    /// Messages written to one session each.
    pub deliveries: Counter,
    /// Messages that a session did not get, by reason.
    pub undelivered: Family<ByReason, Counter>,
    /// Seconds from publish to write.
    pub send_delay: Histogram,
    /// Records written, by action.
    pub actions: Family<ByAction, Counter>,
    /// Records left out by sampling.
    pub sampled_out: Counter,
    /// Lines taken in, by kind.
    pub ingest_lines: Family<ByKind, Counter>,
    /// Lines that came in and could not be taken whole, by reason.
    pub ingest_faults: Family<ByReason, Counter>,
    /// What chats let go of because of their limits, by kind.
    pub chat_removed: Family<ByKind, Counter>,
    registry: Mutex<Registry>,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let send_delay = times();
        r.register("pillion_gateway_send_delay_seconds", "From publish to write", send_delay.clone());
        Self {
            connections_accepted: add(r, "pillion_listen_connections", "Connections accepted"),
            connections_open: add(r, "pillion_listen_connections_open", "Connections open"),
            connections_refused: add(r, "pillion_listen_refused", "Connections refused, by reason"),
            http_answers: add(r, "pillion_http_answers", "HTTP answers, by status"),
            api_calls: add(r, "pillion_api_calls", "Calls of the server APIs, by endpoint and outcome"),
            sessions: add(r, "pillion_gateway_sessions", "Sessions logged in, by dialect"),
            rooms: add(r, "pillion_gateway_rooms", "Rooms with at least one session"),
            logins: add(r, "pillion_gateway_logins", "Logins that succeeded, by dialect"),
            logins_failed: add(r, "pillion_gateway_logins_failed", "Logins that failed, by reason"),
            closes: add(r, "pillion_gateway_closes", "Sessions that ended, by reason"),
            auth_api_logins: add(
                r,
                "pillion_auth_api_logins",
                "Logins through the business API, by how decided",
            ),
            auth_api_retries: add(r, "pillion_auth_api_retries", "Questions to it that were asked again"),
            auth_api_away: add(r, "pillion_auth_api_away", "1 while the business API counts as away"),
            auth_jwks_reads: add(r, "pillion_auth_jwks_reads", "Readings of the key set, by how they ended"),
            limits_refused: add(r, "pillion_limits_refused", "Refused because of a rate, by limit"),
            publications: add(r, "pillion_gateway_publications", "Messages published into rooms"),
            deliveries: add(r, "pillion_gateway_deliveries", "Messages written to a session"),
            undelivered: add(r, "pillion_gateway_undelivered", "Messages a session did not get, by reason"),
            send_delay,
            actions: add(r, "pillion_log_actions", "Records written, by action"),
            sampled_out: add(r, "pillion_log_sampled_out", "Records left out by sampling"),
            ingest_lines: add(r, "pillion_ingest_lines", "Lines taken in, by kind"),
            ingest_faults: add(r, "pillion_ingest_faults", "Lines not taken whole, by reason"),
            chat_removed: add(r, "pillion_chat_removed", "What chats let go of because of their limits"),
            registry: Mutex::new(registry),
        }
    }

    /// Adds the log's counters: those of its buffer, and what `shipping` says at each scrape.
    pub fn watch_log(
        &self,
        buffer: Arc<Buffer>,
        flush_times: Histogram,
        shipping: impl Fn() -> Shipping + Send + Sync + 'static,
    ) {
        let collector = log::LogCollector { buffer, flush_times, shipping: Box::new(shipping) };
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }

    /// Adds what the kernel dropped at the sockets of ingest: `drops` says it at each scrape.
    pub fn watch_ingest(&self, drops: impl Fn() -> Vec<KernelDrops> + Send + Sync + 'static) {
        let collector = ingest::IngestCollector { drops: Box::new(drops) };
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }

    /// Adds the store's counters: what `storing` says at each scrape.
    pub fn watch_store(&self, storing: impl Fn() -> Storing + Send + Sync + 'static) {
        let collector = store::StoreCollector { storing: Box::new(storing) };
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }

    /// All metrics as Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = encode(&mut text, &registry) {
            // Writing into a String does not fail; a collector of ours that does must be seen by the scraper.
            text.clear();
            write!(text, "# metrics could not be written: {error}").unwrap_or_default();
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram of seconds.
#[must_use]
pub fn times() -> Histogram {
    Histogram::new([0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0])
}

/// Makes a metric and registers it; counters get their `_total` from the text format.
fn add<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Clone + Default + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_prefix_and_counters_end_in_total() {
        let metrics = Metrics::new();
        metrics.publications.inc();
        metrics.closes.get_or_create(&ByReason { reason: "slow" }).inc();
        let limits = crate::buffer::Limits { flush_limit: 1, drop_limit: 10, max_line: 10 };
        let buffer = Arc::new(Buffer::new(limits));
        metrics.watch_log(Arc::clone(&buffer), times(), || Shipping { flushes: 7, ..Shipping::default() });
        buffer.log(b"12345").unwrap();
        buffer.log(b"1234567").unwrap_err();
        metrics.watch_store(|| Storing { batches: 3, queued_bytes: 4, ..Storing::default() });
        let text = metrics.render();
        assert!(text.contains("pillion_store_batches_total 3"), "{text}");
        assert!(text.contains("pillion_store_queued_size_bytes 4"), "{text}");
        assert!(text.contains("pillion_logger_accepted_records_total 2"), "{text}");
        assert!(text.contains("pillion_logger_dropped_records_total{cause=\"overflow\"} 1"), "{text}");
        assert!(text.contains("pillion_logger_queued_size_bytes 5"), "{text}");
        assert!(text.contains("pillion_logger_flushes_total 7"), "{text}");
        assert!(text.contains("pillion_gateway_publications_total 1"), "{text}");
        assert!(text.contains("pillion_gateway_closes_total{reason=\"slow\"} 1"), "{text}");
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            assert!(line.starts_with("# TYPE pillion_"), "{line}");
        }
    }
}
