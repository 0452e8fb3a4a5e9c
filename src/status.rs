//! How the daemon is: the phase of its life, where it listens, what its log does, and what speaks against it.
//!
//! The daemon is ready in the phase [`Phase::Ready`] as long as nobody objects. An objection has a key, so that
//! whoever raised it can change and withdraw it, and one sentence for operators. There are as many keys as there are
//! callers in the code, so that their number needs no limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
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
    /// For clients that speak goim's packets without HTTP.
    pub packets: Vec<Address>,
    /// For log lines.
    pub ingest: Vec<Address>,
}

/// What operators are told about the daemon; shared by whoever acts and whoever reports.
#[derive(Debug)]
pub struct Status {
    node: String,
    boot: String,
    buffer: Arc<Buffer>,
    now: Mutex<Now>,
}

#[derive(Clone, Debug, Default)]
struct Now {
    phase: Phase,
    addresses: Addresses,
    objections: BTreeMap<&'static str, String>,
}

impl Now {
    /// Why clients are not welcome: nothing while they are.
    fn reasons(&self) -> Vec<String> {
        let phase = (self.phase != Phase::Ready).then(|| format!("the daemon is {}", self.phase.name()));
        phase.into_iter().chain(self.objections.values().cloned()).collect()
    }
}

impl Status {
    /// A daemon that is starting.
    #[must_use]
    pub fn new(node: &str, boot: String, buffer: Arc<Buffer>) -> Self {
        Self { node: node.to_owned(), boot, buffer, now: Mutex::default() }
    }

    /// The name of this node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The id of this run.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Where clients and backends come in.
    #[must_use]
    pub fn public(&self) -> Vec<Address> {
        self.now().addresses.public.clone()
    }

    /// Where clients come in that speak goim's packets without HTTP.
    #[must_use]
    pub fn packets(&self) -> Vec<Address> {
        self.now().addresses.packets.clone()
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.now().phase = phase;
    }

    /// Notes where the daemon listens.
    pub fn listens(&self, addresses: Addresses) {
        self.now().addresses = addresses;
    }

    /// Objects to the daemon being called ready, for a reason that operators read; `None` withdraws the objection.
    ///
    /// Each `key` has one objection: a new reason takes the place of the former one.
    pub fn objection(&self, key: &'static str, reason: Option<String>) {
        let objections = &mut self.now().objections;
        match reason {
            Some(reason) => drop(objections.insert(key, reason)),
            None => drop(objections.remove(key)),
        }
    }

    /// True while clients are welcome and nobody objects.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.now().reasons().is_empty()
    }

    /// Everything, for `/readyz`: `ready` and `reasons` say the same as [`Self::is_ready`].
    #[must_use]
    pub fn report(&self, sessions: usize) -> Value {
        let now = self.now().clone();
        let (reasons, addresses) = (now.reasons(), now.addresses);
        let log = self.buffer.stats();
        json!({
            "ready": reasons.is_empty(),
            "reasons": reasons,
            "phase": now.phase.name(),
            "node": self.node,
            "boot_id": self.boot,
            "version": env!("CARGO_PKG_VERSION"),
            "listen": {
                "public": written(&addresses.public),
                "admin": written(&addresses.admin),
                "tcp": written(&addresses.packets),
                "ingest": written(&addresses.ingest),
            },
            "sessions": sessions,
            "logger": {
                "accepted": log.accepted.records,
                "sent": log.sent.records,
                "dropped": log.dropped.total().records,
                "queued": log.queued.records,
                "queued_bytes": log.queued.bytes,
                "spooled": log.spooled.records,
            },
        })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Limits;

    fn check(status: &Status, reasons: &[&str]) {
        assert_eq!(status.is_ready(), reasons.is_empty());
        let report = status.report(0);
        assert_eq!((&report["ready"], &report["reasons"]), (&json!(reasons.is_empty()), &json!(reasons)));
    }

    #[test]
    fn ready_is_a_phase_without_objections() {
        let buffer = Arc::new(Buffer::new(Limits { flush_limit: 1, drop_limit: 2, max_line: 1 }));
        let status = Status::new("n", "b".to_owned(), buffer);
        check(&status, &["the daemon is starting"]);
        status.enter(Phase::Ready);
        check(&status, &[]);
        status.objection("log", Some("the oldest line is 61 s old".to_owned()));
        status.objection("disk", Some("the disk is full".to_owned()));
        status.objection("log", Some("the oldest line is 62 s old".to_owned()));
        check(&status, &["the disk is full", "the oldest line is 62 s old"]);
        status.enter(Phase::Draining);
        check(&status, &["the daemon is draining", "the disk is full", "the oldest line is 62 s old"]);
        status.enter(Phase::Ready);
        status.objection("log", None);
        status.objection("log", None);
        check(&status, &["the disk is full"]);
        status.objection("disk", None);
        check(&status, &[]);
    }
}
