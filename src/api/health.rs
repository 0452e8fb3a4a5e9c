//! Live, ready, metrics.

use hyper::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::api::Means;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::store;

/// The process answers: that is all this says.
pub(super) fn live() -> Answer {
    reply::with(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// What the daemon does right now; 503 with the reasons unless it takes clients and nobody objects.
pub(super) fn ready(means: &Means) -> Answer {
    means.status.objection("log", log_is_late(means));
    means.status.objection("store", means.store.failure().map(|failure| failure.told()));
    let mut report = means.status.report(means.gateway.sessions());
    if let Some(report) = report.as_object_mut() {
        report.insert("store".to_owned(), store(&means.store.stats()));
    }
    // One look for both: an objection may come at any moment.
    let is_ready = report.get("ready").is_some_and(|ready| *ready == true);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &report)
}

/// What the store holds, and what waits for it.
fn store(stats: &store::Stats) -> Value {
    json!({
        "entries": stats.entries,
        "stored_bytes": stats.stored_bytes,
        "file_bytes": stats.file_bytes,
        "queued_batches": stats.queued_batches,
        "queued_bytes": stats.queued_bytes,
        "refused": stats.refused_busy + stats.refused_full,
        "checkpoints": stats.checkpoints,
    })
}

/// Says when the oldest log line has been waiting for too long.
fn log_is_late(means: &Means) -> Option<String> {
    let most = means.config.load().logger.ready_max_age?;
    let oldest = means.logger.stats().oldest.filter(|oldest| *oldest > most)?;
    let (oldest, most) = (oldest.as_secs(), most.as_secs());
    Some(format!("the oldest unsent log line is {oldest} s old (logger.ready_max_age is {most} s)"))
}

/// All metrics, as Prometheus reads them.
pub(super) fn metrics(means: &Means) -> Answer {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    reply::with(StatusCode::OK, content_type, means.metrics.render())
}
