//! What the shipper lets others see of its work.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use prometheus_client::metrics::histogram::Histogram;

use crate::buffer::Tally;
use crate::metrics;

/// The shipper's side of the statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShipperStats {
    /// Flushes that had something to send and sent it.
    pub flushes: u64,
    /// Flushes that gave up after the last retry; nothing is lost by that.
    pub flushes_failed: u64,
    /// Tries beyond the first of a flush.
    pub retries: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Connections opened after the first one.
    pub reconnects: u64,
    /// Records of the replay tail that were sent again; they were counted as sent before, and are not counted so
    /// again.
    pub resent: Tally,
    /// Records that the log server acknowledged, where its protocol does that.
    pub acknowledged: Tally,
    /// True while a connection is open.
    pub connected: bool,
    /// The error of the last try that failed; it stays until the next one.
    pub last_error: Option<String>,
}

/// The shared place for it.
#[derive(Debug)]
pub(super) struct Report {
    /// How long flushes took that sent something.
    pub(super) flush_times: Histogram,
    state: Mutex<State>,
}

impl Default for Report {
    fn default() -> Self {
        Self { flush_times: metrics::times(), state: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct State {
    stats: ShipperStats,
    unread_error: Option<String>,
}

impl Report {
    pub(super) fn stats(&self) -> ShipperStats {
        self.lock().stats.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut ShipperStats)) {
        change(&mut self.lock().stats);
    }

    /// Keeps the error of a failed flush for whoever asks next; a newer one replaces it.
    pub(super) fn leave_error(&self, error: String) {
        self.lock().unread_error = Some(error);
    }

    pub(super) fn take_error(&self) -> Option<String> {
        self.lock().unread_error.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
