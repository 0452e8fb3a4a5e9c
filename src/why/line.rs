//! What is read of one record.

use std::cmp::Ordering;

use crate::members::members;

/// One record, as far as the questions of troubleshooting need it.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Milliseconds since 1970, when the record says when it was written.
    pub(super) at: Option<i64>,
    /// The time as it stands in the record.
    pub(super) stamp: String,
    pub(super) boot: String,
    pub(super) sequence: Option<u64>,
    pub(super) action: String,
    pub(super) level: String,
    pub(super) session: Option<String>,
    pub(super) user: Option<String>,
    pub(super) room: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) token: Option<String>,
    pub(super) code: Option<String>,
    pub(super) err: Option<String>,
    pub(super) desc: Option<String>,
    pub(super) message: Option<String>,
    /// Seconds from publish to write: the longest so far, in a line about the end of a session.
    pub(super) delay: Option<f64>,
    /// Seconds since the client was last heard.
    pub(super) silence: Option<f64>,
    pub(super) request: [Option<String>; 3],
    pub(super) gap: Gap,
    /// How many lines alike this one stands for besides itself.
    pub(super) more: u64,
}

/// What a `log_gap` says.
#[derive(Clone, Debug, Default)]
pub(super) struct Gap {
    pub(super) lines: u64,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) cause: Option<String>,
}

impl Line {
    /// Reads a record; what is no JSON object has no action and no time.
    pub(super) fn read(record: &[u8]) -> Self {
        let mut line = Self::default();
        let (mut legacy_action, mut legacy_session, mut seconds) = (None, None, None);
        for member in members(record) {
            let text = || member.text().into_owned();
            let Ok(name) = str::from_utf8(member.key) else { continue };
            match name {
                "@timestamp" => line.stamp = text(),
                "time" => seconds = text().parse::<f64>().ok(),
                "boot_id" => line.boot = text(),
                "log.sequence" => line.sequence = text().parse().ok(),
                "action" => line.action = text(),
                "acction" => legacy_action = Some(text()),
                "log.level" => line.level = text(),
                "session_id" => line.session = Some(text()),
                "session" | "sesson_id" => legacy_session = Some(text()),
                "user_id" => line.user = Some(text()),
                "room_id" => line.room = Some(text()),
                "msg_id" => line.message_id = Some(text()),
                "token" => line.token = Some(text()),
                "err_code" => line.code = Some(text()),
                "err" => line.err = Some(text()).filter(|err| !err.is_empty()),
                "desc" => line.desc = Some(text()).filter(|desc| !desc.is_empty()),
                "message" => line.message = Some(text()),
                "send_time_delay" => line.delay = text().parse().ok(),
                "heartbeat" => line.silence = text().parse().ok(),
                "method" => line.request[0] = Some(text()),
                "path" => line.request[1] = Some(text()),
                "status" => line.request[2] = Some(text()),
                "gap.lines" => line.gap.lines = text().parse().unwrap_or(0),
                "gap.from_sequence" => line.gap.from = text().parse().ok(),
                "gap.to_sequence" => line.gap.to = text().parse().ok(),
                "gap.cause" => line.gap.cause = Some(text()),
                _ => {}
            }
        }
        // The original gateway spelled these in its own ways.
        if let Some(action) = legacy_action.filter(|_| line.action.is_empty()) {
            line.action = action;
        }
        line.session = line.session.or(legacy_session);
        line.at = line.stamp.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        if let (None, Some(seconds)) = (line.at, seconds) {
            line.at = Some((seconds * 1000.0) as i64);
            line.stamp = format!("{seconds}");
        }
        line
    }

    pub(super) fn is(&self, action: &str) -> bool {
        self.action == action
    }

    pub(super) fn room_is(&self, room: &str) -> bool {
        self.room.as_deref() == Some(room)
    }

    /// The order of time; within a millisecond, that of writing.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.at
            .cmp(&other.at)
            .then_with(|| self.boot.cmp(&other.boot))
            .then(self.sequence.cmp(&other.sequence))
    }

    /// True when both are one record, which came twice.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.sequence.is_some() && self.order(other).is_eq()
    }

    /// Seconds from `earlier` to this line, when both have a time.
    pub(super) fn seconds_after(&self, earlier: &Self) -> Option<f64> {
        Some((self.at? - earlier.at?) as f64 / 1000.0)
    }
}
