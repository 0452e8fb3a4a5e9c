//! How the daemon is: the phase of its life, where it listens, what its log does.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;
use serde_json::json;

use crate::address::Address;
use crate::buffer::Buffer;

/// The life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Sockets are bound, nothing is served yet.
    #[default]
    Starting,
    /// Clients are welcome.
    Ready,
    /// No new clients; sessions are being ended.
    Draining,
    /// Sessions are gone; the log is being sent.
    Flushing,
    /// All done.
    Stopped,
}

impl Phase {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Flushing => "flushing",
            Self::Stopped => "stopped",
        }
    }
}

/// Where the daemon listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// For clients.
    pub public: Vec<Address>,
    /// For operators.
    pub admin: Vec<Address>,
    /// For log lines.
    pub ingest: Vec<Address>,
}

/// What operators are told about the daemon; shared by whoever acts and whoever reports.
#[derive(Debug)]
pub struct Status {
    node: String,
    boot: String,
    buffer: Arc<Buffer>,
    now: Mutex<(Phase, Addresses)>,
}

impl Status {
    /// A daemon that is starting.
    #[must_use]
    pub fn new(node: &str, boot: String, buffer: Arc<Buffer>) -> Self {
        Self { node: node.to_owned(), boot, buffer, now: Mutex::default() }
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 = phase;
    }

    /// Notes where the daemon listens.
    pub fn listens(&self, addresses: Addresses) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1 = addresses;
    }

    /// True while clients are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 == Phase::Ready
    }

    /// Everything, for `/readyz`.
    #[must_use]
    pub fn report(&self, sessions: usize) -> Value {
        let (phase, addresses) = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = self.buffer.stats();
        json!({
            "phase": phase.name(),
            "node": self.node,
            "boot_id": self.boot,
            "version": env!("CARGO_PKG_VERSION"),
            "listen": {
                "public": written(&addresses.public),
                "admin": written(&addresses.admin),
                "ingest": written(&addresses.ingest),
            },
            "sessions": sessions,
            "logger": {
                "accepted": log.accepted.records,
                "sent": log.sent.records,
                "dropped": log.dropped.total().records,
                "queued": log.queued.records,
                "queued_bytes": log.queued.bytes,
            },
        })
    }
}

fn written(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}
